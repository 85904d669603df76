//! Who is let in on the ports, and how often; with the rules over it.
//!
//! ```text
//!   allow ─► (nothing below is asked)   deny ─► reverseDns, dnsBlocklists ─► greylisting ─► rates.client      strangers
//!                                                                                            rates.user       users, this alone
//! ```

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::access::check_networks;
use crate::check::Findings;
use crate::domain::DomainName;
use crate::file::unset;
use crate::limits::{LONGEST_RATE, Rate, check_rates};
use crate::mailbox::Mailbox;
use crate::text::{Period, shorten};
use crate::verification::TemporaryError;

/// Who is let in on the ports, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Access {
    /// Networks whose clients may speak for others by XCLIENT.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted_peers: Vec<IpNet>,
    /// Mail of strangers that nothing below is asked of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<AccessRule>,
    /// Mail of strangers that is refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<AccessRule>,
    /// Lists in the DNS of clients that send unwanted mail (RFC 5782).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_blocklists: Vec<DnsBlocklist>,
    /// A client is refused where the scores of the lists that name it come to this, 1 to 1,000.
    #[serde(skip_serializing_if = "is_one")]
    pub dns_blocklist_threshold: u32,
    /// Whether clients need a name in the DNS.
    #[serde(skip_serializing_if = "unset")]
    pub reverse_dns: ReverseDns,
    /// Whether strangers are asked to come again (RFC 6647); absent = they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub greylisting: Option<Greylisting>,
    /// How much one client or user may bring.
    #[serde(skip_serializing_if = "unset")]
    pub rates: AccessRates,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            trusted_peers: Vec::new(),
            allow: Vec::new(),
            deny: Vec::new(),
            dns_blocklists: Vec::new(),
            dns_blocklist_threshold: 1,
            reverse_dns: ReverseDns::default(),
            greylisting: None,
            rates: AccessRates::default(),
        }
    }
}

impl Access {
    /// Whether something has to be known by all pods of a fleet together.
    pub fn is_shared(&self) -> bool {
        self.greylisting.is_some() || self.rates != AccessRates::default()
    }
}

/// Mail by where it comes from and goes to. All given terms hold; at least one is given. A domain stands for all below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AccessRule {
    /// Addresses of clients.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<IpNet>,
    /// Domains of the name that the client gave in EHLO or HELO.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub helo_domains: Vec<DomainName>,
    /// Domains of the reverse-path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sender_domains: Vec<DomainName>,
    /// Domains of the forward-path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recipient_domains: Vec<DomainName>,
    /// Reverse-paths.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub senders: Vec<Mailbox>,
    /// Forward-paths.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<Mailbox>,
}

/// A list in the DNS (RFC 5782).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsBlocklist {
    /// Its zone.
    pub zone: DomainName,
    /// What clients, the log and the metrics are told in place of the zone, which may hold a key of its user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it counts, 1 to 1,000.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub score: u32,
    /// Answers that count, in 127.0.0.0/8; empty = all. What lies outside, and 127.255.255.0/24 (errors), never counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<IpNet>,
    /// What happens where it gives no answer, or says that it was asked too often.
    #[serde(default, skip_serializing_if = "unset")]
    pub temporary_error: TemporaryError,
}

impl DnsBlocklist {
    /// What others are told.
    pub fn shown(&self) -> &str {
        self.name.as_deref().unwrap_or(self.zone.as_str())
    }
}

/// Whether clients need a name in the DNS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ReverseDns {
    /// What is asked for.
    #[serde(skip_serializing_if = "unset")]
    pub mode: ReverseDnsMode,
    /// What happens where the DNS gives no answer.
    #[serde(skip_serializing_if = "unset")]
    pub temporary_error: TemporaryError,
}

/// Which name a client needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReverseDnsMode {
    /// None.
    #[default]
    Disabled,
    /// Any (PTR).
    Named,
    /// One that leads back to its address.
    Confirmed,
}

/// How strangers are asked to come again (RFC 6647).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Greylisting {
    /// How long the first mail of a client network and sender to a recipient waits, 1s to 1h.
    pub delay: Period,
    /// A first try is forgotten after this time, 1m to 7d.
    #[serde(skip_serializing_if = "usual_retry_within")]
    pub retry_within: Period,
    /// What has passed is remembered for this time after its last mail, 1d to 366d.
    #[serde(skip_serializing_if = "usual_lifetime")]
    pub lifetime: Period,
    /// A client network of which this many passed waits no more, 1 to 1,000.
    #[serde(skip_serializing_if = "usual_allow_clients_after")]
    pub allow_clients_after: u32,
}

impl Default for Greylisting {
    fn default() -> Self {
        Self {
            delay: Period::from_secs(5 * 60),
            retry_within: Period::from_secs(86_400),
            lifetime: Period::from_secs(35 * 86_400),
            allow_clients_after: 5,
        }
    }
}

/// How much one client or user may bring.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AccessRates {
    /// One stranger: an IPv4 address, or an IPv6 network of 64 bits.
    #[serde(skip_serializing_if = "unset")]
    pub client: SendingRates,
    /// One user.
    #[serde(skip_serializing_if = "unset")]
    pub user: SendingRates,
}

/// Messages and recipients over time; all of them hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SendingRates {
    /// Messages; at most 4 rates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Rate>,
    /// Recipients; at most 4 rates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<Rate>,
}

// Usual values are not written, so that a daemon that does not know the field yet reads the file.

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_one(value: &u32) -> bool {
    *value == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn usual_allow_clients_after(value: &u32) -> bool {
    *value == Greylisting::default().allow_clients_after
}

fn usual_retry_within(value: &Period) -> bool {
    *value == Greylisting::default().retry_within
}

fn usual_lifetime(value: &Period) -> bool {
    *value == Greylisting::default().lifetime
}

/// Rules over `access`.
pub(crate) fn check(access: &Access, found: &mut Findings) {
    check_networks("access.trustedPeers", &access.trusted_peers, found);
    check_rules("access.allow", &access.allow, found);
    check_rules("access.deny", &access.deny, found);
    check_lists(access, found);
    if let Some(greylisting) = &access.greylisting {
        check_greylisting(greylisting, found);
    }
    for (whose, rates) in [("client", &access.rates.client), ("user", &access.rates.user)] {
        let at = |what: &str| format!("access.rates.{whose}.{what}");
        check_rates(&rates.messages, LONGEST_RATE, &at("messages"), found);
        check_rates(&rates.recipients, LONGEST_RATE, &at("recipients"), found);
    }
}

fn check_rules(at: &str, rules: &[AccessRule], found: &mut Findings) {
    found.require(
        rules.len() <= MOST_RULES,
        || at.to_owned(),
        || format!("{} rules are too many; give at most {MOST_RULES}", rules.len()),
    );
    for (index, rule) in rules.iter().enumerate() {
        let terms = [
            rule.networks.len(),
            rule.helo_domains.len(),
            rule.sender_domains.len(),
            rule.recipient_domains.len(),
            rule.senders.len(),
            rule.recipients.len(),
        ];
        found.require(
            terms.iter().any(|count| *count > 0),
            || format!("{at}[{index}]"),
            || "has no term, so that it would hold for all mail; give networks, heloDomains, senderDomains, recipientDomains, senders or recipients".into(),
        );
        found.require(
            terms.iter().all(|count| *count <= MOST_TERMS),
            || format!("{at}[{index}]"),
            || format!("has a term with more than {MOST_TERMS} values; write several rules"),
        );
    }
}

fn check_lists(access: &Access, found: &mut Findings) {
    let lists = &access.dns_blocklists;
    found.require(
        lists.len() <= MOST_LISTS,
        || "access.dnsBlocklists".into(),
        || format!("{} lists are too many; ask at most {MOST_LISTS}", lists.len()),
    );
    let mut zones = HashSet::new();
    for (index, list) in lists.iter().enumerate() {
        let at = |field: &str| format!("access.dnsBlocklists[{index}].{field}");
        found.require(
            zones.insert(&list.zone),
            || at("zone"),
            || format!("{} is given twice; ask each zone once", list.zone),
        );
        found.require(
            list.zone.as_str().len() <= LONGEST_ZONE,
            || at("zone"),
            || format!("leaves no room for an address in a name of the DNS; it may have {LONGEST_ZONE} characters"),
        );
        found.require(
            (1..=1_000).contains(&list.score),
            || at("score"),
            || format!("{} is not between 1 and 1000", list.score),
        );
        if let Some(name) = &list.name {
            found.require(
                (1..=64).contains(&name.len()) && name.bytes().all(|octet| octet.is_ascii_graphic()),
                || at("name"),
                || {
                    format!(
                        "`{}` is no name to show; use 1 to 64 printable ASCII characters without spaces",
                        shorten(name)
                    )
                },
            );
        }
        for (number, answer) in list.answers.iter().enumerate() {
            let counts = matches!(answer.addr(), IpAddr::V4(address) if address.is_loopback())
                && answer.prefix_len() >= 8;
            found.require(
                counts,
                || at(&format!("answers[{number}]")),
                || format!("{answer} is not in 127.0.0.0/8, where all answers of such lists are (RFC 5782 section 2.1)"),
            );
        }
    }
    let threshold = access.dns_blocklist_threshold;
    found.require(
        (1..=1_000).contains(&threshold),
        || "access.dnsBlocklistThreshold".into(),
        || format!("{threshold} is not between 1 and 1000"),
    );
    let most: u64 = lists.iter().map(|list| u64::from(list.score)).sum();
    found.require(
        lists.is_empty() || u64::from(threshold) <= most,
        || "access.dnsBlocklistThreshold".into(),
        || format!("{threshold} is out of reach: all scores together are {most}"),
    );
}

fn check_greylisting(greylisting: &Greylisting, found: &mut Findings) {
    for (name, value, least, most, bounds) in [
        ("delay", greylisting.delay, 1, 3_600, "1s and 1h"),
        (
            "retryWithin",
            greylisting.retry_within,
            60,
            7 * 86_400,
            "1m and 7d",
        ),
        (
            "lifetime",
            greylisting.lifetime,
            86_400,
            366 * 86_400,
            "1d and 366d",
        ),
    ] {
        found.require(
            (least..=most).contains(&value.get().as_secs()),
            || format!("access.greylisting.{name}"),
            || format!("{value} is not between {bounds}"),
        );
    }
    found.require(
        greylisting.delay < greylisting.retry_within,
        || "access.greylisting.retryWithin".into(),
        || {
            format!(
                "{} is over before the delay of {} is; nobody could pass",
                greylisting.retry_within, greylisting.delay
            )
        },
    );
    found.require(
        (1..=1_000).contains(&greylisting.allow_clients_after),
        || "access.greylisting.allowClientsAfter".into(),
        || format!("{} is not between 1 and 1000", greylisting.allow_clients_after),
    );
}

const MOST_RULES: usize = 1_000;
const MOST_TERMS: usize = 1_000;
const MOST_LISTS: usize = 16;
/// Of the 253 octets of a name (RFC 1035 section 2.3.4), an IPv6 address takes 64.
const LONGEST_ZONE: usize = 189;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Sections;
    use crate::file::ConfigFile;
    use crate::{assemble, render};

    fn read(access: &str) -> Result<ConfigFile, String> {
        let text =
            format!("format: 1\nhostname: mx.example.com\nspool: {{directory: /s}}\naccess: {access}\n");
        assemble(&text, &std::collections::BTreeMap::new())
            .map(|set| set.file)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_given_is_not_written() {
        let usual = Access {
            greylisting: Some(Greylisting::default()),
            ..Access::default()
        };
        assert_eq!(render(&usual).unwrap().trim(), "greylisting:\n  delay: 5m");
        assert!(!render(&read("{}").unwrap()).unwrap().contains("access"));
        let list = read("{dnsBlocklists: [{zone: Bl.example}]}").unwrap();
        assert_eq!(list.access.dns_blocklists[0].score, 1);
        assert!(!render(&list).unwrap().contains("score"));
        assert_eq!(list.access.dns_blocklists[0].shown(), "bl.example");
        assert!(read("{greylisting: {}}").unwrap().access.is_shared());
        assert!(!list.access.is_shared());
    }

    #[test]
    fn each_mistake_names_field_value_and_mend() {
        for (access, field, part) in [
            ("{deny: [{}]}", "access.deny[0]", "give networks"),
            (
                "{trustedPeers: [10.0.0.0/7]}",
                "access.trustedPeers[0]",
                "10.0.0.0/7",
            ),
            (
                "{dnsBlocklists: [{zone: a.example}, {zone: A.example}]}",
                "access.dnsBlocklists[1].zone",
                "twice",
            ),
            (
                "{dnsBlocklists: [{zone: a.example, score: 0}]}",
                "access.dnsBlocklists[0].score",
                "0 is not",
            ),
            (
                "{dnsBlocklists: [{zone: a.example, answers: [128.0.0.0/8]}]}",
                "access.dnsBlocklists[0].answers[0]",
                "128.0.0.0/8",
            ),
            (
                "{dnsBlocklists: [{zone: a.example, answers: [127.0.0.0/7]}]}",
                "access.dnsBlocklists[0].answers[0]",
                "/7",
            ),
            (
                "{dnsBlocklists: [{zone: a.example, name: 'a b'}]}",
                "access.dnsBlocklists[0].name",
                "a b",
            ),
            (
                "{dnsBlocklists: [{zone: a.example, score: 2}], dnsBlocklistThreshold: 3}",
                "access.dnsBlocklistThreshold",
                "together are 2",
            ),
            (
                "{dnsBlocklistThreshold: 0}",
                "access.dnsBlocklistThreshold",
                "0 is not",
            ),
            ("{greylisting: {delay: 2h}}", "access.greylisting.delay", "2h"),
            (
                "{greylisting: {delay: 1h, retryWithin: 1h}}",
                "access.greylisting.retryWithin",
                "nobody could pass",
            ),
            (
                "{greylisting: {lifetime: 1h}}",
                "access.greylisting.lifetime",
                "1h",
            ),
            (
                "{greylisting: {allowClientsAfter: 0}}",
                "access.greylisting.allowClientsAfter",
                "0 is not",
            ),
            (
                "{rates: {user: {recipients: [{count: 0, per: 1m}]}}}",
                "access.rates.user.recipients[0].count",
                "0 is not",
            ),
        ] {
            let error = read(access).unwrap_err();
            assert!(
                error.contains(&format!("{field}: ")) && error.contains(part),
                "{access}: {error}"
            );
        }
    }

    #[test]
    fn the_rules_hold_for_a_listener_without_a_file_too() {
        let file = read("{}").unwrap();
        let access = Access {
            deny: vec![AccessRule::default()],
            ..Access::default()
        };
        let sections = Sections {
            relay_from: &file.relay_from,
            proxy_protocol: &file.proxy_protocol,
            access: &access,
            reports: &file.reports,
            filters: &file.filters,
            headers: &file.headers,
            verification: &file.verification,
            limits: &file.limits,
            queue: &file.queue,
        };
        assert_eq!(sections.check().unwrap_err().0[0].field, "access.deny[0]");
    }
}
