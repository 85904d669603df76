//! DNS records that a provider needs of a domain that sends through it.
//!
//! Pure data. What can be known is said exactly; names and targets that each account has of its own are described, never
//! made up: the provider shows them.

use super::sources::{AWS, EE, G_DNS, MC, MG, MS_DEF, MS_EXO, S2G, TW};
use super::{Evidence, Provider};

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedRecord {
    /// Its name; what each account has of its own stands in angle brackets.
    pub name: String,
    /// Its type.
    pub kind: &'static str,
    /// What it holds.
    pub value: Known,
    /// Who says so.
    pub by: Evidence,
}

/// How far a value is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It is this.
    Exactly(String),
    /// It is an SPF record with this mechanism in it (RFC 7208 section 5.2), here by the name that it includes.
    Includes(&'static str),
    /// It is the account's own; in words, with where it is shown.
    Described(&'static str),
}

/// The records. `sender`: the domain that sends. `region`, `domain`: as the route says them.
pub fn wanted(
    provider: Provider,
    sender: &str,
    region: Option<&str>,
    domain: Option<&str>,
) -> Vec<WantedRecord> {
    let record = |name: String, kind, value, by| WantedRecord {
        name,
        kind,
        value,
        by,
    };
    let under = |label: &str| format!("{label}.{sender}");
    let includes = |name: &str, include, by| record(name.to_owned(), "TXT", Known::Includes(include), by);
    let described = |label: &str, kind, words, by| record(under(label), kind, Known::Described(words), by);
    match provider {
        Provider::GoogleWorkspaceRelay | Provider::Gmail => vec![
            includes(sender, "_spf.google.com", G_DNS),
            described(
                "google._domainkey",
                "TXT",
                "the key that the Admin console shows under Apps, Google Workspace, Gmail, Authenticate email",
                G_DNS,
            ),
        ],
        Provider::Microsoft365 | Provider::Microsoft365Connector => {
            let target = "the target that the Microsoft Defender portal shows under Email authentication settings, DKIM";
            vec![
                includes(sender, "spf.protection.outlook.com", MS_EXO),
                described("selector1._domainkey", "CNAME", target, MS_DEF),
                described("selector2._domainkey", "CNAME", target, MS_DEF),
            ]
        }
        Provider::AmazonSes => amazon(sender, region, domain),
        Provider::SendGrid => {
            let target = "the target that SendGrid shows under Sender Authentication";
            vec![
                described("<em number>", "CNAME", target, TW),
                described("s1._domainkey", "CNAME", target, TW),
                described("s2._domainkey", "CNAME", target, TW),
            ]
        }
        Provider::Mailgun => {
            let sending = domain.unwrap_or(sender);
            let key = "the key or the targets that Mailgun shows under the DNS records of the domain";
            vec![
                includes(sending, "mailgun.org", MG),
                record(
                    format!("<selector>._domainkey.{sending}"),
                    "TXT or CNAME",
                    Known::Described(key),
                    MG,
                ),
            ]
        }
        Provider::Mandrill => vec![
            record(
                under("mte1._domainkey"),
                "CNAME",
                Known::Exactly("dkim1.mandrillapp.com".to_owned()),
                MC,
            ),
            record(
                under("mte2._domainkey"),
                "CNAME",
                Known::Exactly("dkim2.mandrillapp.com".to_owned()),
                MC,
            ),
            record(
                sender.to_owned(),
                "TXT",
                Known::Described(
                    "the verification text that Mailchimp Transactional shows under Sending domains",
                ),
                MC,
            ),
        ],
        Provider::Smtp2go => vec![
            described(
                "<em number>",
                "CNAME",
                "return.smtp2go.net; SMTP2GO shows the name under Verified Senders",
                S2G,
            ),
            described(
                "<s number>._domainkey",
                "CNAME",
                "dkim.smtp2go.net; SMTP2GO shows the name under Verified Senders",
                S2G,
            ),
        ],
        Provider::ElasticEmail => vec![
            includes(sender, "_spf.elasticemail.com", EE),
            described(
                "api._domainkey",
                "TXT",
                "the key that Elastic Email shows under Domains",
                EE,
            ),
        ],
        // Inside the organisation there is nothing to publish; servers of one's own send under one's own records.
        Provider::Microsoft365Hve | Provider::ExchangeServer | Provider::Postfix | Provider::Exim => vec![],
    }
}

fn amazon(sender: &str, region: Option<&str>, mail_from: Option<&str>) -> Vec<WantedRecord> {
    let record = |name: String, kind, value, by| WantedRecord {
        name,
        kind,
        value,
        by,
    };
    let mut records = vec![record(
        format!("<token>._domainkey.{sender}"),
        "CNAME",
        Known::Described("three of them; Amazon SES shows names and targets under Verified identities, DKIM"),
        AWS,
    )];
    if let Some(mail_from) = mail_from {
        // The European Sovereign Cloud has names of its own, which are not in the texts that were read.
        if region.is_some_and(|region| region.starts_with("eusc-")) {
            let shown = Known::Described("what Amazon SES shows under Custom MAIL FROM domain");
            let shown = |kind| record(mail_from.to_owned(), kind, shown.clone(), AWS);
            records.extend([shown("MX"), shown("TXT")]);
            return records;
        }
        if let Some(region) = region {
            let host = format!("10 feedback-smtp.{region}.amazonses.com");
            records.push(record(mail_from.to_owned(), "MX", Known::Exactly(host), AWS));
        }
        records.push(record(
            mail_from.to_owned(),
            "TXT",
            Known::Includes("amazonses.com"),
            AWS,
        ));
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(provider: Provider, region: Option<&str>, domain: Option<&str>) -> Vec<String> {
        let records = wanted(provider, "d.example", region, domain);
        let line = |record: WantedRecord| {
            let value = match record.value {
                Known::Exactly(value) => value,
                Known::Includes(include) => format!("include:{include}"),
                Known::Described(_) => "?".to_owned(),
            };
            format!("{} {} {value}", record.name, record.kind)
        };
        records.into_iter().map(line).collect()
    }

    #[test]
    fn what_is_known_is_said_and_the_rest_is_described() {
        assert_eq!(
            shown(Provider::AmazonSes, Some("eu-west-1"), Some("bounce.d.example")),
            [
                "<token>._domainkey.d.example CNAME ?",
                "bounce.d.example MX 10 feedback-smtp.eu-west-1.amazonses.com",
                "bounce.d.example TXT include:amazonses.com",
            ]
        );
        assert_eq!(
            shown(
                Provider::AmazonSes,
                Some("eusc-de-east-1"),
                Some("bounce.d.example")
            )[1..],
            ["bounce.d.example MX ?", "bounce.d.example TXT ?"]
        );
        // Without a MAIL FROM domain SPF passes for Amazon's own domain, and an include does nothing.
        assert_eq!(shown(Provider::AmazonSes, Some("eu-west-1"), None).len(), 1);
        assert_eq!(
            shown(Provider::Mandrill, None, None)[..2],
            [
                "mte1._domainkey.d.example CNAME dkim1.mandrillapp.com",
                "mte2._domainkey.d.example CNAME dkim2.mandrillapp.com",
            ]
        );
        assert_eq!(
            shown(Provider::Mailgun, None, Some("mg.d.example"))[0],
            "mg.d.example TXT include:mailgun.org"
        );
    }

    /// What many guides still say, and the providers do not ask for.
    #[test]
    fn no_include_is_wanted_where_the_provider_wants_none() {
        for provider in [
            Provider::SendGrid,
            Provider::Mandrill,
            Provider::Smtp2go,
            Provider::Postfix,
        ] {
            let records = wanted(provider, "d.example", None, None);
            assert!(
                records
                    .iter()
                    .all(|record| !matches!(record.value, Known::Includes(_))),
                "{provider}"
            );
        }
    }
}
