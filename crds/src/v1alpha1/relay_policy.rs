//! RelayPolicy: which mail leaves how.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{HostPort, ListenerRef, Period, ServiceAccountRef};

pub use self::credentials::{ClientProof, CredentialType, Credentials};
pub use self::upstream::{CredentialsUsed, Upstream};

mod credentials;
mod upstream;

/// What is wanted of a policy.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "postroad.dev",
    version = "v1alpha1",
    kind = "RelayPolicy",
    plural = "relaypolicies",
    shortname = "relayp",
    category = "postroad",
    namespaced,
    status = "RelayPolicyStatus",
    derive = "PartialEq",
    doc = "Which mail leaves a listener how: directly by MX, or through smart hosts.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(name = "Priority", type_ = "integer", json_path = ".spec.priority"),
    printcolumn(
        name = "Reachable",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="UpstreamReachable")].status"#
    ),
    printcolumn(
        name = "Authenticated",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="UpstreamAuthenticated")].status"#
    ),
    printcolumn(
        name = "Login",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="UpstreamAuthenticated")].reason"#,
        priority = 1
    ),
    printcolumn(
        name = "Since",
        type_ = "date",
        json_path = r#".status.conditions[?(@.type=="Ready")].lastTransitionTime"#
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct RelayPolicySpec {
    /// Listeners that use it. At a listener of another namespace it is only for mail of ServiceAccounts and MailDomains of its
    /// own namespace, whatever `match` says.
    #[x_kube(validation = Rule::new("self.all(a, self.exists_one(b, a.name == b.name && (has(a.__namespace__) ? a.__namespace__ : '') == (has(b.__namespace__) ? b.__namespace__ : '')))").message("listenerRefs: each listener once"))]
    #[schemars(length(min = 1, max = 8))]
    pub listener_refs: Vec<ListenerRef>,
    /// The policy of the highest priority that matches decides; then the one with more terms in `match`; then the older.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub priority: i32,
    /// Mail that it is for. All given terms hold; none given = all mail.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matches: Option<Match>,
    /// Tried in order: a later one is used where the earlier cannot be reached.
    #[schemars(length(min = 1, max = 4))]
    pub routes: Vec<Route>,
    /// When to try again after a deferral.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
}

/// Mail that a policy is for.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("!has(self.users) || !has(self.serviceAccounts) || self.users.size() == 0 || self.serviceAccounts.size() == 0").message("match: nobody is a user and a ServiceAccount at once; write a policy for each"))]
#[serde(rename_all = "camelCase")]
pub struct Match {
    /// Domains of the envelope's sender.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 253)))]
    pub sender_domains: Vec<String>,
    /// Domains of the recipient.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 253)))]
    pub recipient_domains: Vec<String>,
    /// ServiceAccounts that submitted the mail; one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub service_accounts: Vec<ServiceAccountRef>,
    /// Users who submitted the mail; one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 255)))]
    pub users: Vec<String>,
}

/// One way out: exactly one of direct and smartHosts.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("has(self.direct) != has(self.smartHosts)").message("routes: give exactly one of direct and smartHosts"))]
#[x_kube(validation = Rule::new("!has(self.credentials) || self.credentials.type == 'None' || !has(self.direct)").message("routes: nobody logs in at the servers of recipients; give credentials to a route with smartHosts"))]
#[x_kube(validation = Rule::new("!has(self.credentials) || self.credentials.type == 'None' || !has(self.tls) || !has(self.tls.mode) || self.tls.mode in ['Encrypted', 'Verified']").message("routes: credentials leave inside TLS alone; set tls.mode to Verified, or Encrypted where the certificate of the host cannot be checked"))]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// To the recipient domain's own servers, by MX.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct: Option<Direct>,
    /// To these hosts, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    pub smart_hosts: Option<Vec<HostPort>>,
    /// How TLS is used. Default `Opportunistic`; with credentials `Verified`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<RouteTls>,
    /// What to log in with. It is never said to the hosts of another route, and never outside of TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// How fast it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<RouteLimits>,
}

/// How fast a route is used, by all pods of a listener together: each pod gets its share.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RouteLimits {
    /// Messages over time; all of them hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub messages: Vec<Rate>,
    /// Connections open at once to one site (the hosts of one MX set, or of this route). Every pod may have at least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub connections: Option<i32>,
    /// Recipients of one transaction. Default 100, or what the next hop says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub recipients_per_transaction: Option<i32>,
}

/// A number of messages in a length of time.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Rate {
    /// Messages.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub count: i32,
    /// In this time, at most `100d`.
    pub per: Period,
}

/// Delivery by MX.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("!has(self.allowedNetworks) || self.allowedNetworks.all(n, isCIDR(n))").message("direct.allowedNetworks: each is a network (CIDR)"))]
#[serde(rename_all = "camelCase")]
pub struct Direct {
    /// Private, loopback, link-local and shared networks (CIDR) are refused as next hops unless they are named here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 2, max = 64)))]
    pub allowed_networks: Vec<String>,
}

/// How TLS is used on a route.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RouteTls {
    /// The mode. `Automatic`: as DANE or MTA-STS of the recipient's side ask for, else as `Opportunistic`. `DaneOnly`: by DANE or not
    /// at all.
    #[serde(default)]
    pub mode: RouteTlsMode,
}

/// How TLS is used on a route.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteTlsMode {
    /// Not used.
    Disabled,
    /// Used where it is offered, whatever the certificate.
    #[default]
    Opportunistic,
    /// Required, whatever the certificate.
    Encrypted,
    /// Required, and the certificate must be valid for the next hop's name.
    Verified,
    /// As the next hop publishes it: by TLSA records that DNSSEC proves (DANE, RFC 7672), where the listener says
    /// `dns.dnssec: Trusted`; else by the MTA-STS policy of the recipient's domain (RFC 8461); else as `Opportunistic`.
    Automatic,
    /// Required, and TLSA records that DNSSEC proves must vouch for the certificate; without them, or without `dns.dnssec:
    /// Trusted`, the mail waits.
    DaneOnly,
}

/// When to try again after a deferral.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Wait after the first attempt; doubled each time. Default `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Period>,
    /// Longest wait. Default `4h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Period>,
    /// Undelivered mail is returned after this time; overrides the listener's `queue.lifetime`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Period>,
}

/// How a policy stands.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RelayPolicyStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Secrets that the routes log in with, and which version of each is in use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<CredentialsUsed>,
    /// What a pod found when it last tried the smart hosts of the routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<Upstream>,
    /// Conditions: Ready, Reconciling, Stalled, Accepted, Conflicted, UpstreamReachable, UpstreamSecured, UpstreamAuthenticated.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default)]
    pub conditions: Vec<Condition>,
}
