//! Who is let in on the ports, and how often.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TemporaryError;
use crate::common::{Network, Period, domain, domains, told};

/// Who is let in on the ports, and how often. Strangers are clients of ports of role Transfer that neither `relayFrom` nor
/// `trustedPeers` names. Users are never looked up, put off or refused by it, except by `rates.user`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// Networks whose clients may speak for others by XCLIENT.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub trusted_peers: Vec<Network>,
    /// Mail of strangers of which nothing below is asked: no list, no name, no waiting, no rate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub allow: Vec<AccessRule>,
    /// Mail of strangers that is refused at RCPT (550 5.7.1).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub deny: Vec<AccessRule>,
    /// Lists in the DNS of clients that send unwanted mail (DNSBL, RFC 5782). The pods must see the client's own address for it:
    /// `service.proxyProtocol`, or a Service that keeps it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub dns_blocklists: Vec<DnsBlocklist>,
    /// A client is refused (554 5.7.1) where the scores of the lists that have it come to this. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub dns_blocklist_threshold: Option<i32>,
    /// Whether clients need a name in the DNS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverse_dns: Option<ReverseDns>,
    /// Strangers are asked to come again (451 4.7.1, RFC 6647). What is known belongs to one pod each, so that all pods together
    /// let a sender wait once. Absent = nobody is; `{}` = with the defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub greylisting: Option<Greylisting>,
    /// How much one client or user may bring (450 4.7.28 beyond it), to all pods together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<AccessRates>,
}

/// Mail by where it comes from and goes to. All given terms hold. A domain stands for all below it.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("has(self.networks) || has(self.heloDomains) || has(self.senderDomains) || has(self.recipientDomains) || has(self.senders) || has(self.recipients)").message("access: a rule needs at least one of networks, heloDomains, senderDomains, recipientDomains, senders and recipients"))]
#[serde(rename_all = "camelCase")]
pub struct AccessRule {
    /// Addresses of clients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub networks: Vec<Network>,
    /// Domains of the name that the client gave in EHLO or HELO.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        inner(length(min = 1, max = 253)),
        extend("x-kubernetes-validations" = [domains()])
    )]
    pub helo_domains: Vec<String>,
    /// Domains of the sender (reverse-path), which anybody can write.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        inner(length(min = 1, max = 253)),
        extend("x-kubernetes-validations" = [domains()])
    )]
    pub sender_domains: Vec<String>,
    /// Domains of the recipient.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        inner(length(min = 1, max = 253)),
        extend("x-kubernetes-validations" = [domains()])
    )]
    pub recipient_domains: Vec<String>,
    /// Addresses of senders (reverse-paths), such as `news@example.com`, without regard to case. Anybody can write them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        inner(length(min = 3, max = 318), regex(pattern = r"^[^\s@]+@[^\s@]+$"))
    )]
    pub senders: Vec<String>,
    /// Addresses of recipients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        inner(length(min = 3, max = 318), regex(pattern = r"^[^\s@]+@[^\s@]+$"))
    )]
    pub recipients: Vec<String>,
}

/// Rule and sentence for what a list is called.
fn list_name() -> serde_json::Value {
    told(
        "self.matches('^[!-~]+$')",
        "is no name of a list; write letters, digits and signs of ASCII without blanks, such as spam-list",
    )
}

/// A list in the DNS (RFC 5782).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DnsBlocklist {
    /// Its zone. It has 127.0.0.2 and not 127.0.0.1 on it, or it is not believed.
    #[schemars(length(min = 1, max = 189), extend("x-kubernetes-validations" = [domain()]))]
    pub zone: String,
    /// What clients, the log and the metrics are told in place of the zone, which may hold a key of yours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-validations" = [list_name()]))]
    pub name: Option<String>,
    /// What it counts. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub score: Option<i32>,
    /// Answers that count, as addresses or networks in 127.0.0.0/8. Absent = all. What lies outside, and 127.255.255.0/24 (asked too
    /// often, or by a resolver that the list does not serve), never counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub answers: Vec<Network>,
    /// What happens where it gives no answer.
    #[serde(default)]
    pub temporary_error: TemporaryError,
}

/// Whether clients need a name in the DNS.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ReverseDns {
    /// What is asked for; a client without it is refused (550 5.7.25).
    #[serde(default)]
    pub mode: ReverseDnsMode,
    /// What happens where the DNS gives no answer.
    #[serde(default)]
    pub temporary_error: TemporaryError,
}

/// Which name a client needs.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
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
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Greylisting {
    /// How long the first mail of a client network (/24, or /64 of IPv6) and sender to a recipient waits, `1s` to `1h`.
    /// Default `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Period>,
    /// A first try is forgotten after this time, `1m` to `7d`. Default `1d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_within: Option<Period>,
    /// What has passed is remembered for this time after its last mail, `1d` to `366d`. Default `35d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Period>,
    /// A client network of which this many have passed waits no more. Default 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub allow_clients_after: Option<i32>,
}

/// How much one client or user may bring.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AccessRates {
    /// One stranger: an IPv4 address, or an IPv6 network of 64 bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<SendingRates>,
    /// One user, or one ServiceAccount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<SendingRates>,
}

/// Messages and recipients over time; all of them hold.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SendingRates {
    /// Messages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub messages: Vec<SendingRate>,
    /// Recipients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub recipients: Vec<SendingRate>,
}

/// A number in a length of time, which begins with the first of them.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SendingRate {
    /// How many.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub count: i32,
    /// In this time, at most `100d`.
    pub per: Period,
}
