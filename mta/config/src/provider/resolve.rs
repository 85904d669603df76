//! From a provider's name and what a person says beside it to a host, a port, TLS and limits.
//!
//! Pure. What the person says goes before what the table says; what the provider has no use for is refused, as it would be
//! without effect.

use super::presets::{Host, Preset, preset};
use super::{Fact, Provider};
use crate::file::{Endpoint, TlsMode};
use crate::limits::{Rate, RouteLimits};
use crate::text::{Octets, Period};

/// What a person says beside the name. Empty texts are as absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given<'a> {
    /// Region of the account.
    pub region: Option<&'a str>,
    /// Tenant, as in the host name of its MX record.
    pub tenant: Option<&'a str>,
    /// See [`Preset::domain`].
    pub domain: Option<&'a str>,
    /// In place of the provider's own.
    pub host: Option<&'a str>,
    /// In place of the usual one.
    pub port: Option<u16>,
}

/// What a route is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The host.
    pub to: Endpoint,
    /// TLS comes first there.
    pub implicit_tls: bool,
    /// How TLS is used.
    pub tls: TlsMode,
    /// Limits.
    pub limits: RouteLimits,
    /// What is said in EHLO, where the provider goes by it.
    pub hello_name: Option<String>,
    /// Its recipients are those of the own organisation.
    pub internal_only: bool,
}

/// Why not: the field, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// `region`, `tenant`, `domain`, `host` or `port`.
    pub field: &'static str,
    /// What is wrong, and the mend.
    pub sentence: String,
}

/// Decides.
pub fn resolve(provider: Provider, given: Given<'_>) -> Result<Resolved, Refused> {
    let row = preset(provider);
    let host = host(&row, given)?;
    let domain = given.domain.filter(|text| !text.is_empty());
    if let (Some(_), None) = (domain, row.domain) {
        return Err(unused(provider, "domain"));
    }
    if let Some(text) = domain {
        text.parse::<crate::DomainName>()
            .map_err(|error| refused("domain", error.to_string()))?;
    }
    let port = given.port.unwrap_or(row.port);
    if port == 0 {
        return Err(refused(
            "port",
            "0 is no port; leave it out, or give 1 to 65535".to_owned(),
        ));
    }
    Ok(Resolved {
        to: Endpoint { host, port },
        implicit_tls: row.implicit_ports.contains(&port),
        tls: row.tls,
        limits: limits(&row, port),
        hello_name: domain.filter(|_| row.knows_hello).map(str::to_owned),
        internal_only: row.internal_only,
    })
}

fn host(row: &Preset, given: Given<'_>) -> Result<String, Refused> {
    let said = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    let (region, tenant, own) = (said(given.region), said(given.tenant), said(given.host));
    let takes_region = matches!(row.host.value, Host::Region(..) | Host::MaybeRegion(..));
    if region.is_some() && !takes_region {
        return Err(unused(row.provider, "region"));
    }
    if tenant.is_some() && !takes_tenant(row) {
        return Err(unused(row.provider, "tenant"));
    }
    let region = region.map(|text| label("region", &text)).transpose()?;
    if let Some(own) = own {
        return host_name(own);
    }
    match row.host.value {
        Host::One(host) => Ok(host.to_owned()),
        Host::MaybeRegion(host, by_region, usual) => Ok(match region {
            Some(region) if !usual.contains(&region.as_str()) => by_region.replace("{}", &region),
            _ => host.to_owned(),
        }),
        Host::Region(by_region, (begin, elsewhere)) => match region {
            Some(region) if region.starts_with(begin) => Ok(elsewhere.replace("{}", &region)),
            Some(region) => Ok(by_region.replace("{}", &region)),
            None => Err(missing(row.provider, "region", "such as eu-west-1")),
        },
        Host::Tenant(by_tenant) => match tenant {
            Some(tenant) => {
                let tenant = label("tenant", &tenant.trim_end_matches('.').replace('.', "-"))?;
                Ok(by_tenant.replace("{}", &tenant))
            }
            None => Err(missing(
                row.provider,
                "tenant",
                "the first label of the host in the MX record of the tenant's domain, such as contoso-com",
            )),
        },
        Host::Own => Err(missing(row.provider, "host", "its host name or address")),
    }
}

/// The tenant is a part of the host.
const fn takes_tenant(row: &Preset) -> bool {
    matches!(row.host.value, Host::Tenant(_))
}

/// One label of a host name, in lower case (RFC 1123 section 2.1).
fn label(field: &'static str, text: &str) -> Result<String, Refused> {
    let text = text.to_ascii_lowercase();
    let inner = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
    let is_label = (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if is_label {
        Ok(text)
    } else {
        Err(refused(
            field,
            format!(
                "`{}` is no {field}; write letters, digits and hyphens, as the provider shows it",
                crate::text::shorten(&text)
            ),
        ))
    }
}

fn host_name(text: String) -> Result<String, Refused> {
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Ok(text);
    }
    let name: crate::DomainName = text
        .parse()
        .map_err(|error: crate::DomainNameError| refused("host", error.to_string()))?;
    Ok(name.as_str().to_owned())
}

fn limits(row: &Preset, port: u16) -> RouteLimits {
    let rate = row.rate.map(|fact| fact.value);
    let rate = rate.filter(|(_, _, only)| only.is_none_or(|only| only == port));
    let one = |count, seconds| Rate {
        count,
        per: Period::from_secs(seconds),
    };
    let recipients = row.recipient_rate.map(|fact| fact.value);
    RouteLimits {
        messages: rate
            .map(|(count, seconds, _)| one(count, seconds))
            .into_iter()
            .collect(),
        recipients: recipients
            .map(|(count, seconds)| one(count, seconds))
            .into_iter()
            .collect(),
        connections: row.connections.map(value),
        pods: None,
        recipients_per_transaction: row.recipients.map(value),
        messages_per_connection: row.messages_per_connection.map(value),
        message_size: row.message_size.map(|fact| Octets(fact.value)),
    }
}

fn value<T: Copy>(fact: Fact<T>) -> T {
    fact.value
}

fn refused(field: &'static str, sentence: String) -> Refused {
    Refused { field, sentence }
}

fn missing(provider: Provider, field: &'static str, such: &str) -> Refused {
    refused(field, format!("{provider} needs `{field}`: {such}"))
}

fn unused(provider: Provider, field: &'static str) -> Refused {
    refused(
        field,
        match (provider, field) {
            (Provider::SendGrid, "region") => {
                "the SMTP host of SendGrid's regions is not known to Postroad; leave `region` out, and give the host that \
                 SendGrid shows you as `host`"
                    .to_owned()
            }
            _ => format!("{provider} has no use for `{field}`; leave it out"),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(provider: Provider, given: Given<'_>) -> Result<(String, u16, bool), &'static str> {
        match resolve(provider, given) {
            Ok(found) => Ok((found.to.host, found.to.port, found.implicit_tls)),
            Err(refused) => Err(refused.field),
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn hosts_follow_region_tenant_and_what_is_said_outright() {
        let none = Given::default();
        let region = |text| Given {
            region: Some(text),
            ..none
        };
        let tenant = |text| Given {
            tenant: Some(text),
            ..none
        };
        let own = |host, port| Given {
            host: Some(host),
            port,
            ..none
        };
        let ok = |host: &str, port, implicit| Ok((host.to_owned(), port, implicit));
        for (provider, given, want) in [
            (
                Provider::GoogleWorkspaceRelay,
                none,
                ok("smtp-relay.gmail.com", 587, false),
            ),
            (
                Provider::GoogleWorkspaceRelay,
                Given {
                    port: Some(465),
                    ..none
                },
                ok("smtp-relay.gmail.com", 465, true),
            ),
            (
                Provider::ElasticEmail,
                Given {
                    port: Some(465),
                    ..none
                },
                ok("smtp.elasticemail.com", 465, true),
            ),
            (Provider::Gmail, none, ok("smtp.gmail.com", 587, false)),
            (Provider::Microsoft365, none, ok("smtp.office365.com", 587, false)),
            (Provider::Microsoft365Connector, none, Err("tenant")),
            (
                Provider::Microsoft365Connector,
                tenant("Contoso.com"),
                ok("contoso-com.mail.protection.outlook.com", 25, false),
            ),
            (
                Provider::Microsoft365Hve,
                none,
                ok("smtp.hve.mx.microsoft", 587, false),
            ),
            (Provider::ExchangeServer, none, Err("host")),
            (
                Provider::ExchangeServer,
                own("ex.corp.example", Some(25)),
                ok("ex.corp.example", 25, false),
            ),
            (Provider::AmazonSes, none, Err("region")),
            // Any region: providers open new ones.
            (
                Provider::AmazonSes,
                region("xx-new-9"),
                ok("email-smtp.xx-new-9.amazonaws.com", 587, false),
            ),
            (
                Provider::AmazonSes,
                region("eusc-de-east-1"),
                ok("email-smtp.eusc-de-east-1.amazonaws.eu", 587, false),
            ),
            (Provider::AmazonSes, region("eu west"), Err("region")),
            (Provider::SendGrid, none, ok("smtp.sendgrid.net", 587, false)),
            (Provider::SendGrid, region("eu"), Err("region")),
            (
                Provider::SendGrid,
                own("smtp.example", Some(465)),
                ok("smtp.example", 465, true),
            ),
            (Provider::SendGrid, tenant("x"), Err("tenant")),
            (Provider::Mailgun, none, ok("smtp.mailgun.org", 587, false)),
            (
                Provider::Mailgun,
                region("us"),
                ok("smtp.mailgun.org", 587, false),
            ),
            (
                Provider::Mailgun,
                region("eu"),
                ok("smtp.eu.mailgun.org", 587, false),
            ),
            (Provider::Mandrill, none, ok("smtp.mandrillapp.com", 587, false)),
            (Provider::Smtp2go, none, ok("mail.smtp2go.com", 2525, false)),
            (
                Provider::Smtp2go,
                region("eu2"),
                ok("mail-eu2.smtp2go.com", 2525, false),
            ),
            (
                Provider::Smtp2go,
                Given {
                    port: Some(443),
                    ..none
                },
                ok("mail.smtp2go.com", 443, true),
            ),
            (
                Provider::ElasticEmail,
                none,
                ok("smtp.elasticemail.com", 2525, false),
            ),
            (
                Provider::Postfix,
                own("192.0.2.7", None),
                ok("192.0.2.7", 587, false),
            ),
            (Provider::Exim, own("a..b", None), Err("host")),
            (
                Provider::Gmail,
                Given {
                    domain: Some("example.com"),
                    ..none
                },
                Err("domain"),
            ),
            (
                Provider::Gmail,
                Given {
                    port: Some(0),
                    ..none
                },
                Err("port"),
            ),
        ] {
            assert_eq!(at(provider, given), want, "{provider} {given:?}");
        }
    }

    #[test]
    fn limits_are_those_of_the_table_and_fit_the_fields_they_go_to() {
        let found = |provider, given| resolve(provider, given).unwrap();
        let microsoft = found(Provider::Microsoft365, Given::default()).limits;
        assert_eq!(
            (microsoft.connections, microsoft.messages[0].count),
            (Some(3), 30)
        );
        let host = Given {
            host: Some("ex.example"),
            ..Given::default()
        };
        assert_eq!(found(Provider::ExchangeServer, host).limits.messages.len(), 1);
        let relay = Given {
            port: Some(25),
            ..host
        };
        assert!(found(Provider::ExchangeServer, relay).limits.messages.is_empty());
        for provider in Provider::ALL {
            let given = match preset(provider).host.value {
                Host::Region(..) => Given {
                    region: Some("r"),
                    ..Given::default()
                },
                Host::Tenant(_) => Given {
                    tenant: Some("t"),
                    ..Given::default()
                },
                Host::Own => host,
                Host::One(_) | Host::MaybeRegion(..) => Given::default(),
            };
            let resolved = found(provider, given);
            let mut problems = crate::check::Findings::default();
            crate::limits::check_route(&resolved.limits, "route", &mut problems);
            assert!(problems.is_empty(), "{provider}");
            assert_ne!(
                resolved.tls,
                TlsMode::Opportunistic,
                "{provider}: TLS is enforced"
            );
        }
    }

    #[test]
    fn the_name_in_ehlo_is_said_where_a_provider_goes_by_it() {
        let domain = Given {
            domain: Some("example.com"),
            ..Given::default()
        };
        let relay = resolve(Provider::GoogleWorkspaceRelay, domain).unwrap();
        assert_eq!(relay.hello_name.as_deref(), Some("example.com"));
        assert_eq!(resolve(Provider::Mailgun, domain).unwrap().hello_name, None);
    }
}
