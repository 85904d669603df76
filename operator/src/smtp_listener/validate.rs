//! A listener's spec, parsed once: after this nobody reads the raw one. Pure.

mod access;
mod filter;
mod pod;
mod reports;
mod verification;

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Secret;
use postroad_config::{
    Access, Dnssec, DomainName, Durability, Endpoint, Filter, HeaderEdits, Headers, Limits, Octets, Period,
    Port, ProxyMode, ProxyProtocol, QueueSection, Reports, Role, Sections, TextError, TlsMode, TlsVersion,
    TrustAnchor, User, Verification, endpoint_mistake,
};
use postroad_crds::SmtpListenerSpec;
use postroad_crds::common::{HostPort, Network};
use postroad_crds::smtp_listener::{self as crd, PortRole, PortTls};

use super::names::container_port;
use super::rollout;

/// Why a spec cannot be used: field, and a sentence with the value and the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {sentence}")]
pub struct Invalid {
    /// Path of the field.
    pub field: String,
    /// What is wrong, and what to write.
    pub sentence: String,
}

impl Invalid {
    /// A field and what is wrong with it.
    pub fn new(field: &str, sentence: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            sentence: sentence.into(),
        }
    }
}

/// The parsed spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Valid {
    /// Public name.
    pub hostname: DomainName,
    /// Ports as the pods serve them.
    pub ports: Vec<Port>,
    /// The oldest version of TLS that clients may use.
    pub minimum_version: TlsVersion,
    /// Limits.
    pub limits: Limits,
    /// Times and durability of the queue.
    pub queue: QueueSection,
    /// Percent of the volume that may be used.
    pub high_water_percent: u8,
    /// Clients that may relay without a password.
    pub relay_from: Vec<IpNet>,
    /// Whether a load balancer says who the client is.
    pub proxy_protocol: ProxyProtocol,
    /// Who is let in, and how often.
    pub access: Access,
    /// Whether ServiceAccounts may submit.
    pub service_accounts: bool,
    /// Whether the API server is asked if their tokens were revoked.
    pub check_revocation: bool,
    /// Whether logins may be bound to their TLS connection.
    pub channel_binding: bool,
    /// What is done to headers.
    pub headers: Headers,
    /// How strangers' mail is judged.
    pub verification: Verification,
    /// Reports to other domains.
    pub reports: Reports,
    /// Who else is asked about a message.
    pub filters: Vec<Filter>,
    /// DNS servers of the pods.
    pub resolvers: Vec<SocketAddr>,
    /// Whether they are believed when they say that an answer is proven.
    pub dnssec: Dnssec,
    /// Keys that the pods validate from.
    pub trust_anchors: Vec<TrustAnchor>,
    /// What mail leaves from.
    pub egress: Vec<IpNet>,
}

impl Valid {
    /// Whether clients may come inside TLS.
    pub fn takes_tls(&self) -> bool {
        self.ports.iter().any(|port| port.tls != TlsMode::Disabled)
    }
}

/// Parses a spec. Errors: the first field that is wrong in a way that the schema cannot show.
pub fn validate(spec: &SmtpListenerSpec) -> Result<Valid, Invalid> {
    let hostname = spec
        .hostname
        .parse()
        .map_err(|error: postroad_config::DomainNameError| {
            Invalid::new("spec.hostname", error.to_string())
        })?;
    let authentication = spec.authentication.as_ref();
    let resolvers = spec.dns.iter().flat_map(|dns| &dns.resolvers);
    let egress = spec.egress.iter().flat_map(|egress| &egress.addresses);
    spec.pod.as_ref().map_or(Ok(()), pod::check)?;
    parsed::<Octets>("spec.queue.storage.size", &spec.queue.storage.size.0)?;
    spec.rollout.as_ref().map_or(Ok(()), rollout_settings)?;
    spec.service.as_ref().map_or(Ok(()), families)?;
    let annotations = spec.service.as_ref().map(|service| &service.annotations);
    annotations.map_or(Ok(()), |given| pod::keys("spec.service.annotations", given))?;
    let valid = Valid {
        hostname,
        ports: spec.ports.iter().map(port).collect(),
        minimum_version: minimum_version(spec),
        limits: limits(spec)?,
        queue: queue(&spec.queue)?,
        high_water_percent: high_water_percent(spec.queue.high_water_percent),
        relay_from: networks("spec.relayFrom", &spec.relay_from)?,
        proxy_protocol: proxy_protocol(spec)?,
        service_accounts: authentication.is_some_and(|given| given.service_accounts.is_some()),
        check_revocation: authentication
            .and_then(|given| given.service_accounts.as_ref())
            .and_then(|accounts| accounts.check_revocation)
            .unwrap_or(false),
        channel_binding: authentication
            .and_then(|given| given.channel_binding)
            .unwrap_or(false),
        access: access::of(spec.access.as_ref())?,
        headers: headers(spec),
        verification: verification::of(spec.verification.as_ref())?,
        reports: reports::of(spec.reports.as_ref()),
        filters: filter::of(&spec.filters)?,
        resolvers: resolvers.map(|text| server(text)).collect::<Result<_, _>>()?,
        dnssec: dnssec(spec),
        trust_anchors: trust_anchors(spec)?,
        egress: egress
            .map(|text| network("spec.egress.addresses", text))
            .collect::<Result<_, _>>()?,
    };
    sections(&valid)?;
    Ok(valid)
}

fn trust_anchors(spec: &SmtpListenerSpec) -> Result<Vec<TrustAnchor>, Invalid> {
    let given = spec.dns.iter().flat_map(|dns| &dns.trust_anchors);
    let read = |text: &String| {
        text.parse().map_err(|error: postroad_config::TrustAnchorError| {
            Invalid::new("spec.dns.trustAnchors", error.to_string())
        })
    };
    given.map(read).collect()
}

/// Whether the DNS servers of a listener are believed.
pub fn dnssec(spec: &SmtpListenerSpec) -> Dnssec {
    match spec.dns.as_ref().and_then(|dns| dns.dnssec) {
        Some(crd::Dnssec::Trusted) => Dnssec::Trusted,
        Some(crd::Dnssec::Validated) => Dnssec::Validated,
        Some(crd::Dnssec::Ignored) | None => Dnssec::Ignored,
    }
}

fn rollout_settings(given: &crd::Rollout) -> Result<(), Invalid> {
    let field = "spec.rollout.deadline";
    let Some(text) = &given.deadline else {
        return Ok(());
    };
    if parsed::<Period>(field, &text.0)?.get() < rollout::SHORTEST {
        let sentence = format!("`{}` is too short for a pod to start; write 30s or more", text.0);
        return Err(Invalid::new(field, sentence));
    }
    Ok(())
}

/// The rules of the pods' own configuration, with the paths that the fields have here.
fn sections(valid: &Valid) -> Result<(), Invalid> {
    let sections = Sections {
        relay_from: &valid.relay_from,
        proxy_protocol: &valid.proxy_protocol,
        access: &valid.access,
        headers: &valid.headers,
        verification: &valid.verification,
        reports: &valid.reports,
        filters: &valid.filters,
        limits: &valid.limits,
        queue: &valid.queue,
    };
    let Err(problems) = sections.check() else {
        return Ok(());
    };
    match problems.0.into_iter().next() {
        None => Ok(()),
        Some(problem) => {
            let inside = if problem.field.starts_with("proxyProtocol") {
                "spec.service"
            } else {
                "spec"
            };
            Err(Invalid::new(
                &format!("{inside}.{}", problem.field),
                problem.sentence,
            ))
        }
    }
}

fn port(port: &postroad_crds::smtp_listener::ListenerPort) -> Port {
    let number = u16::try_from(container_port(port.port)).unwrap_or(u16::MAX);
    Port {
        name: port.name.clone(),
        address: SocketAddr::from(([0_u16; 8], number)),
        role: match port.role {
            PortRole::Transfer => Role::Transfer,
            PortRole::Submission => Role::Submission,
        },
        tls: match port.tls {
            PortTls::Disabled => TlsMode::Disabled,
            PortTls::Opportunistic => TlsMode::Opportunistic,
            PortTls::StartTls => TlsMode::StartTls,
            PortTls::Implicit => TlsMode::Implicit,
        },
    }
}

/// Two families are two stacks.
fn families(service: &crd::ListenerService) -> Result<(), Invalid> {
    let single = matches!(
        service.ip_family_policy,
        None | Some(crd::IpFamilyPolicy::SingleStack)
    );
    if single && service.ip_families.len() > 1 {
        let sentence = "two ipFamilies need PreferDualStack or RequireDualStack".to_owned();
        return Err(Invalid::new("spec.service.ipFamilyPolicy", sentence));
    }
    Ok(())
}

fn minimum_version(spec: &SmtpListenerSpec) -> TlsVersion {
    match spec.tls.as_ref().and_then(|tls| tls.minimum_version) {
        None | Some(crd::TlsVersion::Tls12) => TlsVersion::Tls12,
        Some(crd::TlsVersion::Tls13) => TlsVersion::Tls13,
    }
}

fn proxy_protocol(spec: &SmtpListenerSpec) -> Result<ProxyProtocol, Invalid> {
    let given = spec
        .service
        .as_ref()
        .and_then(|service| service.proxy_protocol.as_ref());
    let Some(given) = given else {
        return Ok(ProxyProtocol::default());
    };
    Ok(ProxyProtocol {
        mode: match given.mode {
            crd::ProxyMode::Disabled => ProxyMode::Disabled,
            crd::ProxyMode::Optional => ProxyMode::Optional,
            crd::ProxyMode::Required => ProxyMode::Required,
        },
        trusted_sources: networks(
            "spec.service.proxyProtocol.trustedSources",
            &given.trusted_sources,
        )?,
    })
}

fn headers(spec: &SmtpListenerSpec) -> Headers {
    let edits = |given: Option<&crd::HeaderEdits>| {
        given.map_or_else(HeaderEdits::default, |given| HeaderEdits {
            hide_client_address: given.hide_client_address,
            add: given.add.clone(),
            remove: given.remove.clone(),
        })
    };
    let given = spec.headers.as_ref();
    Headers {
        submission: edits(given.and_then(|headers| headers.submission.as_ref())),
        transfer: edits(given.and_then(|headers| headers.transfer.as_ref())),
    }
}

fn queue(given: &crd::Queue) -> Result<QueueSection, Invalid> {
    let usual = QueueSection::default();
    Ok(QueueSection {
        lifetime: or_usual("spec.queue.lifetime", given.lifetime.as_ref(), usual.lifetime)?,
        null_sender_lifetime: or_usual(
            "spec.queue.nullSenderLifetime",
            given.null_sender_lifetime.as_ref(),
            usual.null_sender_lifetime,
        )?,
        delay_notice: or_usual(
            "spec.queue.delayNotice",
            given.delay_notice.as_ref(),
            usual.delay_notice,
        )?,
        durability: match given.durability {
            crd::Durability::Durable => Durability::Durable,
            crd::Durability::Relaxed => Durability::Relaxed,
        },
    })
}

/// The schema bounds it.
fn high_water_percent(given: Option<i32>) -> u8 {
    given.and_then(|percent| u8::try_from(percent).ok()).unwrap_or(90)
}

/// Parses a duration or a size. Errors: the field, with the value and the mend.
pub fn parsed<T: FromStr<Err = TextError>>(field: &str, text: &str) -> Result<T, Invalid> {
    text.parse()
        .map_err(|error: TextError| Invalid::new(field, error.to_string()))
}

/// A host and a port as the file has them. Errors: what is no host, with the place below `field`.
pub fn endpoint(field: &str, given: &HostPort) -> Result<Endpoint, Invalid> {
    let endpoint = Endpoint {
        host: given.host.clone(),
        port: u16::try_from(given.port).unwrap_or(0),
    };
    match endpoint_mistake(&endpoint) {
        Some(wrong) => Err(Invalid::new(&format!("{field}.{}", wrong.field), wrong.sentence)),
        None => Ok(endpoint),
    }
}

/// The same of a field that may be absent.
fn or_usual<T: FromStr<Err = TextError>>(
    field: &str,
    given: Option<&impl AsRef<str>>,
    usual: T,
) -> Result<T, Invalid> {
    given.map_or(Ok(usual), |text| parsed(field, text.as_ref()))
}

fn limits(spec: &SmtpListenerSpec) -> Result<Limits, Invalid> {
    let mut limits = Limits::default();
    let Some(wanted) = &spec.limits else {
        return Ok(limits);
    };
    limits.message_size = or_usual(
        "spec.limits.messageSize",
        wanted.message_size.as_ref(),
        limits.message_size,
    )?;
    limits.minimum_data_rate = or_usual(
        "spec.limits.minimumDataRate",
        wanted.minimum_data_rate.as_ref(),
        limits.minimum_data_rate,
    )?;
    limits.transaction_time = or_usual(
        "spec.limits.transactionTime",
        wanted.transaction_time.as_ref(),
        limits.transaction_time,
    )?;
    limits.greeting_delay = or_usual(
        "spec.limits.greetingDelay",
        wanted.greeting_delay.as_ref(),
        limits.greeting_delay,
    )?;
    limits.buffer_memory = wanted
        .buffer_memory
        .as_ref()
        .map(|size| parsed("spec.limits.bufferMemory", size.as_ref()))
        .transpose()?;
    let set = |field: &mut u32, value: Option<i32>| {
        if let Some(value) = value.and_then(|value| u32::try_from(value).ok()) {
            *field = value;
        }
    };
    set(&mut limits.recipients_per_message, wanted.recipients_per_message);
    set(&mut limits.connections, wanted.connections);
    set(&mut limits.connections_per_client, wanted.connections_per_client);
    set(
        &mut limits.messages_per_connection,
        wanted.messages_per_connection,
    );
    Ok(limits)
}

fn server(text: &str) -> Result<SocketAddr, Invalid> {
    let address = text
        .parse()
        .ok()
        .or_else(|| text.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, 53)));
    address.ok_or_else(|| {
        Invalid::new(
            "spec.dns.resolvers",
            format!("`{text}` is no server; write an IP address, or IP:port"),
        )
    })
}

fn networks(field: &str, given: &[Network]) -> Result<Vec<IpNet>, Invalid> {
    given.iter().map(|text| network(field, &text.0)).collect()
}

fn network(field: &str, text: &str) -> Result<IpNet, Invalid> {
    let network = text
        .parse()
        .ok()
        .or_else(|| text.parse().ok().map(|ip: IpAddr| IpNet::from(ip)));
    network.ok_or_else(|| {
        Invalid::new(
            field,
            format!("`{text}` is no address; write an IP address or a network such as 192.0.2.0/24"),
        )
    })
}

/// Reads the key `users` of a Secret: one line a user, `name:verifier`; empty lines and `#` lines are skipped. No error
/// shows a verifier.
pub fn users(secret: &Secret, name: &str) -> Result<Vec<User>, Invalid> {
    let field = "spec.authentication.users.secretRef";
    let data = secret.data.as_ref().and_then(|data| data.get("users"));
    let data = data.ok_or_else(|| {
        Invalid::new(
            field,
            format!("Secret {name} has no key `users`; add it, one line `name:verifier` for each user"),
        )
    })?;
    let text = std::str::from_utf8(&data.0)
        .map_err(|_| Invalid::new(field, format!("key `users` of Secret {name} is not UTF-8 text")))?;
    let mut users: Vec<User> = Vec::new();
    let mut names = HashSet::new();
    for (number, line) in text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
    {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = |what: &str| {
            Invalid::new(
                field,
                format!("line {number} of key `users` of Secret {name}: {what}"),
            )
        };
        let (user, verifier) = line.split_once(':').ok_or_else(|| at("write `name:verifier`"))?;
        let known = verifier.starts_with("$argon2id$") || verifier.starts_with("SCRAM-SHA-256$");
        postroad_config::check_user_name(user).map_err(|what| at(&format!("the name {what}")))?;
        if !known {
            return Err(at(
                "the verifier is neither `$argon2id$…` nor `SCRAM-SHA-256$…`; make one with `postroad-mta hash-password`",
            ));
        }
        if !names.insert(user) {
            return Err(at("this name is given twice"));
        }
        users.push(User {
            name: user.to_owned(),
            verifier: verifier.to_owned(),
        });
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;

    fn spec(change: &serde_json::Value) -> SmtpListenerSpec {
        let mut value = json!({
            "hostname": "mail.example.com", "ports": [{"name": "smtp", "port": 25, "role": "Transfer", "tls": "Disabled"}],
            "queue": {"storage": {"size": "1Gi"}},
        });
        for (key, field) in change.as_object().unwrap() {
            value[key] = field.clone();
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_small_spec_has_the_documented_defaults() {
        let valid = validate(&spec(&json!({}))).unwrap();
        assert_eq!(valid.limits, Limits::default());
        assert_eq!(valid.queue, QueueSection::default());
        assert!(!valid.channel_binding);
        let users = json!({"users": {"secretRef": {"name": "users"}}, "channelBinding": true});
        let bound = validate(&spec(&json!({"authentication": users}))).unwrap();
        assert!(bound.channel_binding && !bound.service_accounts);
        let tokens = validate(&spec(&json!({"authentication": {"serviceAccounts": {}}}))).unwrap();
        assert!(tokens.service_accounts && !tokens.channel_binding && !tokens.check_revocation);
        let checked = json!({"authentication": {"serviceAccounts": {"checkRevocation": true}}});
        assert!(validate(&spec(&checked)).unwrap().check_revocation);
        assert_eq!(valid.minimum_version, TlsVersion::Tls12);
        let newest = json!({"tls": {"selfSigned": {}, "minimumVersion": "Tls13"}});
        assert_eq!(
            validate(&spec(&newest)).unwrap().minimum_version,
            TlsVersion::Tls13
        );
        assert_eq!(valid.ports[0].address.to_string(), "[::]:10025");
    }

    #[test]
    fn limits_that_are_given_reach_the_file_and_others_are_not_written() {
        let limits = |spec: serde_json::Value| {
            let valid = validate(&self::spec(&json!({"limits": spec}))).unwrap();
            postroad_config::render(&valid.limits).unwrap()
        };
        assert!(limits(json!({"bufferMemory": "64Mi"})).contains("bufferMemory: 64Mi"));
        assert!(!limits(json!({"connections": 5})).contains("bufferMemory"));
    }

    #[test]
    fn who_proves_answers_and_from_which_keys() {
        let key = ". IN DNSKEY 257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=";
        for (dns, dnssec, anchors) in [
            (json!({}), Dnssec::Ignored, 0),
            (json!({"dnssec": "Trusted"}), Dnssec::Trusted, 0),
            (json!({"dnssec": "Validated"}), Dnssec::Validated, 0),
            (
                json!({"dnssec": "Validated", "trustAnchors": [key]}),
                Dnssec::Validated,
                1,
            ),
        ] {
            let valid = validate(&spec(&json!({"dns": dns}))).unwrap();
            assert_eq!(
                (valid.dnssec, valid.trust_anchors.len()),
                (dnssec, anchors),
                "{dns}"
            );
        }
    }

    #[test]
    fn each_mistake_names_field_value_and_mend() {
        for (change, field, value) in [
            (
                json!({"dns": {"dnssec": "Validated", "trustAnchors": [". IN DS 20326 8 2 E06D44B8"]}}),
                "spec.dns.trustAnchors",
                "20326",
            ),
            (
                json!({"dns": {"resolvers": ["ns.example"]}}),
                "spec.dns.resolvers",
                "ns.example",
            ),
            (
                json!({"egress": {"addresses": ["192.0.2.0/40"]}}),
                "spec.egress.addresses",
                "192.0.2.0/40",
            ),
            (
                json!({"relayFrom": ["0.0.0.0/0"]}),
                "spec.relayFrom[0]",
                "0.0.0.0/0",
            ),
            (
                json!({"service": {"proxyProtocol": {"mode": "Required", "trustedSources": ["::/0"]}}}),
                "spec.service.proxyProtocol.trustedSources[0]",
                "::/0",
            ),
            (
                json!({"headers": {"submission": {"remove": ["Received"]}}}),
                "spec.headers.submission.remove",
                "Received",
            ),
            (
                json!({"queue": {"storage": {"size": "1Gi"}, "delayNotice": "5s"}}),
                "spec.queue.delayNotice",
                "5s",
            ),
            (
                json!({"limits": {"messageSize": "1Ki"}}),
                "spec.limits.messageSize",
                "1Ki",
            ),
            (
                json!({"limits": {"bufferMemory": "1Mi"}}),
                "spec.limits.bufferMemory",
                "1Mi",
            ),
            (
                json!({"limits": {"bufferMemory": "64MB"}}),
                "spec.limits.bufferMemory",
                "64MB",
            ),
            (
                json!({"queue": {"storage": {"size": "1Gi"}, "lifetime": "999999999d"}}),
                "spec.queue.lifetime",
                "999999999d",
            ),
            (
                json!({"queue": {"storage": {"size": "999999999999Ti"}}}),
                "spec.queue.storage.size",
                "999999999999Ti",
            ),
            (
                json!({"rollout": {"deadline": "29s"}}),
                "spec.rollout.deadline",
                "29s",
            ),
            (json!({"hostname": "10.0.0.1"}), "spec.hostname", "10.0.0.1"),
            (
                json!({"access": {"dnsBlocklists": [{"zone": "a.example"}], "dnsBlocklistThreshold": 2}}),
                "spec.access.dnsBlocklistThreshold",
                "2 is out of reach",
            ),
            (
                json!({"access": {"greylisting": {"delay": "2h"}}}),
                "spec.access.greylisting.delay",
                "2h",
            ),
            (
                json!({"access": {"deny": [{"networks": []}]}}),
                "spec.access.deny[0]",
                "has no term",
            ),
            (
                json!({"reports": {"dmarc": {"mode": "Daily"}}, "verification": {"dmarc": {"mode": "Disabled"}}}),
                "spec.reports.dmarc.mode",
                "not asked for",
            ),
            (
                json!({"reports": {"from": "a b@example.com"}}),
                "spec.reports.from",
                "no address",
            ),
        ] {
            let error = validate(&spec(&change)).unwrap_err();
            assert_eq!(error.field, field);
            assert!(error.sentence.contains(value), "{error}");
        }
    }

    fn secret(text: &str) -> Secret {
        let data = BTreeMap::from([("users".to_owned(), ByteString(text.as_bytes().to_vec()))]);
        Secret {
            data: Some(data),
            ..Secret::default()
        }
    }

    #[test]
    fn users_are_read_line_by_line_and_no_error_shows_a_verifier() {
        let good = users(
            &secret("# staff\nalice:$argon2id$x\n\nbob:SCRAM-SHA-256$y\n"),
            "mail-users",
        )
        .unwrap();
        assert_eq!(
            good.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(),
            ["alice", "bob"]
        );
        for bad in [
            "alice",
            "alice:canary",
            ":$argon2id$canary",
            "a:$argon2id$canary\na:$argon2id$canary",
            "cafe\u{301}:$argon2id$canary",
            "al\u{7}ice:$argon2id$canary",
        ] {
            let error = users(&secret(bad), "mail-users").unwrap_err().to_string();
            assert!(error.contains("line ") && !error.contains("canary"), "{error}");
        }
        assert!(
            users(&Secret::default(), "mail-users")
                .unwrap_err()
                .sentence
                .contains("key `users`")
        );
    }
}
