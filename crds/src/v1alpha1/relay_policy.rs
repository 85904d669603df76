//! RelayPolicy: which mail leaves how.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{HostPort, ListenerRef, Period, ServiceAccountRef, Size, host, own_words};

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
        name = "Quota",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="QuotaAvailable")].status"#
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
    /// Changes of the header of its mail on the way out. What is stored stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<PolicyHeaders>,
    /// Changes of the envelope of its mail on the way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<PolicyEnvelope>,
}

/// Changes of a header on the way out. The body is never touched. Taking out a field that is signed breaks the signature.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PolicyHeaders {
    /// Fields to add, name to value (printable ASCII).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub add: BTreeMap<String, String>,
    /// Names of fields to take out; not those that trace or identify a message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 76)))]
    pub remove: Vec<String>,
}

/// Changes of an envelope on the way out.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PolicyEnvelope {
    /// The sender (MAIL FROM) in place of the message's own, such as `bounces@example.com`; that of notices stays empty. At a
    /// listener of another namespace it is used where its domain is a MailDomain of the policy's own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 254))]
    pub sender: Option<String>,
}

/// Mail that a policy is for.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("!has(self.users) || !has(self.serviceAccounts) || self.users.size() == 0 || self.serviceAccounts.size() == 0").message("match: nobody is a user and a ServiceAccount at once; write a policy for each"))]
#[serde(rename_all = "camelCase")]
pub struct Match {
    /// Domains of the envelope's sender.
    #[x_kube(validation = Rule::new("self.all(d, d.matches('^[^\\\\s@/:*]+$'))").message("senderDomains: each is a domain alone, such as example.com, without @, * and blanks"))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 253)))]
    pub sender_domains: Vec<String>,
    /// Domains of the recipient.
    #[x_kube(validation = Rule::new("self.all(d, d.matches('^[^\\\\s@/:*]+$'))").message("recipientDomains: each is a domain alone, such as example.com, without @, * and blanks"))]
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

/// One way out: exactly one of provider, smartHosts and direct.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("!has(self.credentials) || self.credentials.type == 'None' || !has(self.direct)").message("routes: nobody logs in at the servers of recipients; give credentials to a route with smartHosts or a provider"))]
#[x_kube(validation = Rule::new("!has(self.credentials) || self.credentials.type == 'None' || !has(self.tls) || !has(self.tls.mode) || self.tls.mode in ['Encrypted', 'Verified']").message("routes: credentials leave inside TLS alone; set tls.mode to Verified, or Encrypted where the certificate of the host cannot be checked"))]
#[x_kube(validation = Rule::new("(has(self.provider) ? 1 : 0) + (has(self.smartHosts) ? 1 : 0) + (has(self.direct) ? 1 : 0) == 1").message("routes: give exactly one of provider, smartHosts and direct"))]
#[x_kube(validation = Rule::new("!has(self.tls) || !has(self.tls.authorities) || !has(self.tls.mode) || self.tls.mode == 'Verified' || (has(self.direct) && self.tls.mode == 'Automatic')").message("routes: tls.authorities goes with tls.mode Verified, or Automatic for direct"))]
#[x_kube(validation = Rule::new("!has(self.direct) || !has(self.heloName)").message("routes: heloName is for a provider or smart hosts; direct mail says the name of the listener"))]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// Through a mail provider, by its name: host, port, TLS and limits are known, and its replies are understood. What the
    /// route itself says goes before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// To the recipient domain's own servers, by MX.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct: Option<Direct>,
    /// To these hosts, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    pub smart_hosts: Option<Vec<HostPort>>,
    /// How TLS is used. Default `Opportunistic`; with credentials, and for a provider, `Verified`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<RouteTls>,
    /// What to log in with. It is never said to the hosts of another route, and never outside of TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// How fast it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<RouteLimits>,
    /// Our name in EHLO on this route, for a next hop that goes by it. Default: the name of the listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub helo_name: Option<String>,
}

/// A mail provider. What each one needs: docs/how-to/providers.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(validation = Rule::new("self.name != 'AmazonSES' || has(self.region) || has(self.host)").message("provider: AmazonSES needs region, that of the account, such as eu-west-1"))]
#[x_kube(validation = Rule::new("self.name != 'Microsoft365Connector' || has(self.tenant) || has(self.host)").message("provider: Microsoft365Connector needs tenant, the first label of the host in the MX record of the tenant's domain, such as contoso-com"))]
#[x_kube(validation = Rule::new("!(self.name in ['ExchangeServer', 'Postfix', 'Exim']) || has(self.host)").message("provider: ExchangeServer, Postfix and Exim need host, its host name or address"))]
#[serde(rename_all = "camelCase")]
pub struct Provider {
    /// Whose it is.
    pub name: ProviderName,
    /// Region of the account, such as `eu-west-1`: `AmazonSES` needs it; Mailgun and SMTP2GO take it. Any region, as providers
    /// open new ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub region: Option<String>,
    /// First label of the host in the MX record of the tenant's domain, such as `contoso-com`: `Microsoft365Connector` needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub tenant: Option<String>,
    /// `GoogleWorkspaceRelay`: a domain of the account, which is said in EHLO. `AmazonSES`: the custom MAIL FROM domain. Mailgun:
    /// the sending domain, where it is not the sender's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub domain: Option<String>,
    /// In place of the provider's own host. `ExchangeServer`, Postfix and Exim need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = [host()]))]
    pub host: Option<String>,
    /// In place of the usual port. Where the provider has TLS first on it, that is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
}

/// Whose a route is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderName {
    /// The SMTP relay service of Google Workspace.
    GoogleWorkspaceRelay,
    /// Gmail, as one user.
    Gmail,
    /// Microsoft 365, as one mailbox.
    Microsoft365,
    /// Microsoft 365, by an inbound connector of the tenant.
    Microsoft365Connector,
    /// High Volume Email of Microsoft 365: recipients of the own organisation only, named in `match.recipientDomains`.
    #[serde(rename = "Microsoft365HVE")]
    Microsoft365Hve,
    /// Microsoft Exchange on one's own premises.
    ExchangeServer,
    /// Amazon Simple Email Service.
    #[serde(rename = "AmazonSES")]
    AmazonSes,
    /// Twilio `SendGrid`.
    SendGrid,
    /// Mailgun.
    Mailgun,
    /// Mailchimp Transactional.
    Mandrill,
    /// SMTP2GO.
    #[serde(rename = "SMTP2GO")]
    Smtp2go,
    /// Elastic Email.
    ElasticEmail,
    /// A smart host that runs Postfix.
    Postfix,
    /// A smart host that runs Exim.
    Exim,
}

/// How fast a route is used, by all pods of a listener together: each pod gets its share.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RouteLimits {
    /// Messages over time; all of them hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub messages: Vec<Rate>,
    /// Recipients over time, for a next hop that counts those (Amazon SES, Google); all of them hold. A message with more than a
    /// quarter of the rate leaves in parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub recipients: Vec<Rate>,
    /// Connections open at once to one site (the hosts of one MX set, or of this route). Where there are fewer than pods, a
    /// route to smart hosts belongs to so many pods, and the others hand their mail over to these; of a direct route every pod may
    /// have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub connections: Option<i32>,
    /// Recipients of one transaction. Default 100, or what the next hop says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub recipients_per_transaction: Option<i32>,
    /// Messages of one connection. Default 100, or what the next hop says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub messages_per_connection: Option<i32>,
    /// Largest message, `64Ki` to `1Gi`: larger ones take the next route, or come back. Default: what the next hop says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_size: Option<Size>,
}

/// A number of messages, or of recipients, in a length of time.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Rate {
    /// How many.
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
    /// at all. Default: `Verified` for a provider (`Encrypted` for `ExchangeServer`, Postfix and Exim), otherwise
    /// `Opportunistic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = own_words)]
    pub mode: Option<RouteTlsMode>,
    /// Whether TLS comes first (RFC 8314), in place of STARTTLS. Default: as the provider has it on that port; otherwise
    /// `false`. Not for direct.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub implicit: Option<bool>,
    /// Certificates (PEM) of authorities that vouch for the hosts of this route, and for the address that its tokens come from, in
    /// place of the public ones. Then `mode` is `Verified`, or `Automatic` for direct, where they vouch for the hosts of MTA-STS policies
    /// as well: name the domains that have such certificates in `match.recipientDomains`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 64, max = 65536))]
    pub authorities: Option<String>,
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
    /// `dns.dnssec: Trusted` or `Validated`; else by the MTA-STS policy of the recipient's domain (RFC 8461); else as
    /// `Opportunistic`.
    Automatic,
    /// Required, and TLSA records that DNSSEC proves must vouch for the certificate; without them, or where the listener does
    /// not say `dns.dnssec`, the mail waits.
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
    /// Undelivered mail is returned after this time; overrides the listener's `queue.lifetime`. A change holds for mail that waits
    /// as well.
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
    /// The routes as they are used, and how each stands by the word of its provider.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteStatus>,
    /// Conditions: Ready, Reconciling, Stalled, Accepted, Conflicted, UpstreamReachable, UpstreamSecured, UpstreamAuthenticated,
    /// QuotaAvailable, UpstreamAccepting.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// A route, and how it stands.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RouteStatus {
    /// Its number, counted from 0.
    pub route: i32,
    /// Where it leads.
    pub to: String,
    /// Whose hosts they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// `Usable`; `Resting`: nothing is sent there until then; `Refusing`: some sender's mail is refused there; `Insecure`: its TLS is
    /// not as the route wants it.
    pub state: String,
    /// Why: `Quota`, `Throttle`, `Configuration`, `Unreachable`, `Sender`, `TlsFailed`, or the reason of `UpstreamAuthenticated` where
    /// nobody is let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When a message is tried there again (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The same in words, with those of the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
