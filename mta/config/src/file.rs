//! The file itself: every section and field, with its default and its meaning.
//!
//! A person writes one file; the operator writes the same file (the *base*) with the domains split over shards
//! (`shard.rs`). Unknown fields are refused: a misspelt setting must not be silently without effect.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::access::{Headers, ProxyProtocol};
use crate::admission::Access;
use crate::authentication::{Authentication, Within};
use crate::credentials::Credentials;
use crate::dkim::Dkim;
use crate::domain::DomainName;
use crate::filter::Filter;
use crate::limits::{Limits, QueueSection, RouteLimits};
use crate::provider::Provider;
use crate::reports::Reports;
use crate::rewriting::Rewriting;
use crate::spool::SpoolSection;
use crate::text::Period;
use crate::tls::TlsSection;
use crate::trust_anchor::TrustAnchor;
use crate::users::LoginSecret;
use crate::verification::Verification;

/// The format that this version writes. It reads this one (and, once there is one, the format before it).
pub const FORMAT: u32 = 1;

/// The whole configuration of one daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigFile {
    /// Format of this file; see [`FORMAT`].
    pub format: u32,
    /// Number of this configuration, growing with each change; the daemon reports the one it runs. 0 when a person
    /// writes the file.
    #[serde(default)]
    pub generation: u64,
    /// Name of this server: banner, EHLO reply, Received fields and the name it gives itself when it sends.
    pub hostname: DomainName,
    /// Where accepted mail is kept.
    pub spool: SpoolSection,
    /// Ports that are served; at most 16.
    #[serde(default)]
    pub ports: Vec<Port>,
    /// Certificate of the ports. Without it STARTTLS is not offered and no port may ask for TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSection>,
    /// Who may submit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<User>,
    /// Who may submit without a password.
    #[serde(default, skip_serializing_if = "unset")]
    pub authentication: Authentication,
    /// What the answers to logins of users who do not exist are made of: the same in every daemon that serves these users.
    /// Absent = the verifier of the first user, so that they change when that one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_secret: Option<LoginSecret>,
    /// Whether logins may be bound to their TLS connection (SCRAM-SHA-256-PLUS, under TLS 1.3, where every user has SCRAM
    /// keys). Off unless asked for: clients that take the strongest mechanism and cannot bind (mutt, neomutt) fail then.
    #[serde(default, skip_serializing_if = "unset")]
    pub channel_binding: bool,
    /// Networks whose clients may relay without AUTH. Empty = nobody; a private range is never implied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relay_from: Vec<IpNet>,
    /// Whether a load balancer says who the client is.
    #[serde(default, skip_serializing_if = "unset")]
    pub proxy_protocol: ProxyProtocol,
    /// Who is let in on the ports, and how often.
    #[serde(default, skip_serializing_if = "unset")]
    pub access: Access,
    /// What is done to the header of accepted mail.
    #[serde(default, skip_serializing_if = "unset")]
    pub headers: Headers,
    /// How strangers' mail is judged.
    #[serde(default, skip_serializing_if = "unset")]
    pub verification: Verification,
    /// Reports to domains about their own mail.
    #[serde(default, skip_serializing_if = "unset")]
    pub reports: Reports,
    /// Filters that are asked about a message before it is stored, in order; at most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
    /// Limits of sessions and messages.
    #[serde(default)]
    pub limits: Limits,
    /// How mail is stored, and how long it is kept.
    #[serde(default)]
    pub queue: QueueSection,
    /// DNS servers to ask; empty = those of the system.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resolvers: Vec<SocketAddr>,
    /// Whether the DNS servers are believed when they say that an answer is proven by DNSSEC, which DANE needs.
    #[serde(default, skip_serializing_if = "unset")]
    pub dnssec: Dnssec,
    /// Keys of the root that DNSSEC is validated from, with `dnssec: Validated`; empty = those of the Internet's that are known
    /// here. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trust_anchors: Vec<TrustAnchor>,
    /// Domains that are received for, or sent as. At most 100,000 over file and shards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<Domain>,
    /// Shards that belong to this set: number → SHA-256 of the file's text, in hex. Empty = no shards.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shards: BTreeMap<u8, String>,
    /// Relay policies in rank order: the first whose `match` holds decides. Mail that none matches leaves directly by MX
    /// with the defaults.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<Policy>,
    /// Health, metrics and admin endpoints.
    #[serde(default)]
    pub admin: AdminSection,
    /// What is known of the other pods of the fleet.
    #[serde(default)]
    pub peers: Peers,
}

/// Whether a section says nothing. Such a section is not written, so that a daemon that does not know it yet reads the
/// file.
pub(crate) fn unset<T: Default + PartialEq>(section: &T) -> bool {
    *section == T::default()
}

/// One port that is served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Port {
    /// Name in logs and metrics, unique in the file.
    pub name: String,
    /// Address and port to listen on, such as `[::]:2525`.
    pub address: SocketAddr,
    /// What the port is for.
    pub role: Role,
    /// How TLS is used on it.
    pub tls: TlsMode,
}

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Mail from other servers for the domains that we receive for (RFC 5321). Never relays, offers no AUTH.
    Transfer,
    /// Mail from authenticated users (RFC 6409).
    Submission,
}

/// Whether the DNS servers are believed when they say that an answer is proven by DNSSEC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dnssec {
    /// They are not: nothing is proven.
    #[default]
    Ignored,
    /// They validate, and nobody changes their answers on the way: their AD bit is believed (RFC 4035 section 3.2.3). They
    /// belong on this machine, or on a network where nobody else can send from their addresses.
    Trusted,
    /// They need not be: answers are validated here, from the trust anchors down (RFC 4035 section 5).
    Validated,
}

/// How a port of ours, or an outgoing connection, uses TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsMode {
    /// Port: none offered. Route: none used.
    Disabled,
    /// Port: STARTTLS is offered. Route: used where the next hop offers it, whatever its certificate (RFC 7435).
    Opportunistic,
    /// Port only: STARTTLS is required before AUTH and MAIL (RFC 3207).
    StartTls,
    /// Port only: TLS from the first octet (RFC 8314).
    Implicit,
    /// Route only: TLS is required, the certificate is not judged.
    Encrypted,
    /// Route only: TLS is required, and the certificate must be valid for the next hop's name.
    Verified,
    /// Route only: as the next hop publishes it. By TLSA records that DNSSEC proves (DANE, RFC 7672), where
    /// `dnssec` is not `Ignored`; else by the MTA-STS policy of the recipient's domain (RFC 8461); else `Opportunistic`.
    Automatic,
    /// Route only: TLS is required, and TLSA records that DNSSEC proves vouch for the certificate; without them the mail waits.
    DaneOnly,
}

impl TlsMode {
    /// What a port may have.
    pub(crate) const OF_PORTS: [Self; 4] = [
        Self::Disabled,
        Self::Opportunistic,
        Self::StartTls,
        Self::Implicit,
    ];
    /// What a route may have.
    pub(crate) const OF_ROUTES: [Self; 6] = [
        Self::Automatic,
        Self::Opportunistic,
        Self::Encrypted,
        Self::Verified,
        Self::DaneOnly,
        Self::Disabled,
    ];

    /// As they are written: `a, b or c`.
    pub(crate) fn alternatives(modes: &[Self]) -> String {
        let names: Vec<String> = modes.iter().map(|mode| format!("{mode:?}")).collect();
        match names.as_slice() {
            [most @ .., last] if !most.is_empty() => format!("{} or {last}", most.join(", ")),
            names => names.concat(),
        }
    }
}

/// One user who may submit.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct User {
    /// Name, as given to AUTH.
    pub name: String,
    /// `$argon2id$…` (PLAIN, LOGIN) or `SCRAM-SHA-256$…` (those and SCRAM-SHA-256).
    pub verifier: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "User({}, …)", self.name)
    }
}

/// A domain that is received for, or sent as.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Domain {
    /// The domain.
    pub name: DomainName,
    /// How its mail is received; absent = it only sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound: Option<Inbound>,
    /// Who may use it in the reverse-path and in From.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub senders: Vec<Sender>,
    /// Keys that mail from it is signed with.
    #[serde(default, skip_serializing_if = "unset")]
    pub dkim: Dkim,
}

/// How the mail of a domain is received.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inbound {
    /// Which recipients exist.
    pub recipients: Recipients,
    /// Where the mail goes.
    pub deliver_to: Deliver,
}

/// Which recipients exist.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Recipients {
    /// How a recipient is looked up.
    pub mode: RecipientMode,
    /// Local parts that exist, compared without regard to ASCII case. Not with `Any`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Local parts that stand for other addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<Alias>,
    /// Address that gets what nobody else gets. `Listed` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catch_all: Option<String>,
}

/// How a recipient is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecipientMode {
    /// Those named in `addresses`, `aliases` and `catchAll`.
    Listed,
    /// Every local part.
    Any,
    /// Those that the host of `deliverTo` takes; it is asked by RCPT. Those in `addresses` and `aliases` exist anyway.
    Callout,
}

/// A local part that stands for other addresses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Alias {
    /// The local part.
    pub name: String,
    /// Full addresses that get the mail instead; 1 to 100.
    pub to: Vec<String>,
}

/// Where the mail of a domain goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Deliver {
    /// A mail store that speaks LMTP (RFC 2033).
    Lmtp(Endpoint),
    /// A host that speaks SMTP.
    Smtp(Endpoint),
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// Host name or IP address, without a port.
    pub host: String,
    /// Port, 1 to 65535.
    pub port: u16,
}

/// Who may send as a domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sender {
    /// Name of a user of `users`, or the identity of a ServiceAccount: `system:serviceaccount:<namespace>:<name>`.
    pub user: String,
    /// Addresses of the domain that this user may use; empty = all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
}

/// Which mail leaves how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// Name in logs, metrics and `Received` traces of the operator (`namespace/name`).
    pub name: String,
    /// Mail that it is for. All given terms hold; empty = all mail.
    #[serde(default, rename = "match")]
    pub matches: Match,
    /// Mail that it may be for at all, whatever `match` says; absent = all mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Within>,
    /// Tried in order: a later one is used where the earlier cannot be reached.
    pub routes: Vec<Route>,
    /// When to try again.
    #[serde(default)]
    pub retry: Retry,
    /// What is changed of its mail on the way out.
    #[serde(default, skip_serializing_if = "unset")]
    pub rewrite: Rewriting,
}

/// Mail that a policy is for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Match {
    /// Domains of the reverse-path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sender_domains: Vec<DomainName>,
    /// Domains of the forward-path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recipient_domains: Vec<DomainName>,
    /// Who has logged in: names of users, or identities of ServiceAccounts (`system:serviceaccount:<namespace>:<name>`). Mail
    /// that came without a login, and notices of this server, are nobody's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<String>,
}

/// One way out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// To whom.
    pub to: RouteTarget,
    /// How TLS is used: `Automatic`, `Opportunistic`, `Encrypted`, `Verified`, `DaneOnly` or `Disabled`.
    pub tls: TlsMode,
    /// What to log in with at `smartHosts`; absent = nobody logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// How fast it is used.
    #[serde(default, skip_serializing_if = "unset")]
    pub limits: RouteLimits,
    /// Whose smart hosts these are: their replies are read by what that provider documents, and its control header fields
    /// pass. Absent = the rules for all servers, and no such field passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// Whether TLS comes first at these smart hosts (RFC 8314), in place of STARTTLS.
    #[serde(default, skip_serializing_if = "unset")]
    pub implicit_tls: bool,
    /// Our name in EHLO on this route; absent = `hostname`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hello_name: Option<DomainName>,
    /// Authorities, PEM, one of which must vouch for the hosts where `tls` is `Verified`, and for the servers and the hosts of MTA-STS policies
    /// where a direct route is `Automatic`; absent = the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<String>,
}

/// To whom a route leads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum RouteTarget {
    /// The recipient domain's own servers, by MX (RFC 5321 section 5.1).
    #[serde(rename_all = "camelCase")]
    Direct {
        /// Private, loopback, link-local and shared networks are refused as next hops, unless named here.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        allowed_networks: Vec<IpNet>,
    },
    /// These hosts, in order.
    SmartHosts(Vec<Endpoint>),
}

/// When to try again after a deferral.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Retry {
    /// Wait after the first attempt; doubled each time.
    pub first: Period,
    /// Longest wait.
    pub max: Period,
    /// Overrides `queue.lifetime`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Period>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first: Period::from_secs(300),
            max: Period::from_secs(4 * 3_600),
            lifetime: None,
        }
    }
}

/// Health, metrics and admin endpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AdminSection {
    /// Plain HTTP: `/livez`, `/readyz`, `/metrics`. Absent = not served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<SocketAddr>,
    /// HTTPS with bearer tokens: the admin API and the hand-over between pods. Absent = not served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<AdminApi>,
}

/// The HTTPS endpoint for the operator and for the other pods.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AdminApi {
    /// Address to listen on.
    pub address: SocketAddr,
    /// Certificate chain in PEM.
    pub certificate: String,
    /// Private key in PEM.
    pub key: String,
    /// PEM certificates that the other pods' endpoints are checked against; may hold an old and a new one.
    pub authorities: String,
    /// Name that the endpoints of the fleet prove, whichever pod is asked.
    pub server_name: DomainName,
    /// Whose tokens are taken, and what each may do.
    pub tokens: TokenAuthority,
    /// File with this pod's own token for its peers; read anew each time, as it is rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_token_file: Option<PathBuf>,
}

impl std::fmt::Debug for AdminApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AdminApi({}, {}, …)", self.address, self.server_name)
    }
}

/// Whose bearer tokens (JWT, RFC 7519) are taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenAuthority {
    /// `iss` of every token.
    pub issuer: String,
    /// JSON Web Key Set (RFC 7517) as JSON text.
    pub key_set: String,
    /// A token that also carries one of these audiences is refused (the API server's own).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused_audiences: Vec<String>,
    /// Which audience and subject give which role. The first that fits decides.
    pub rules: Vec<TokenRule>,
}

/// A role for the bearer of a token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenRule {
    /// `aud` that the token must carry.
    pub audience: String,
    /// `sub` that the token must carry, such as `system:serviceaccount:mail:edge`.
    pub subject: String,
    /// What it may do.
    pub role: TokenRole,
}

/// What the bearer of a token may do at the admin endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenRole {
    /// Everything.
    Operator,
    /// What pods ask each other: hand-over, greylisting, rates, rows of reports.
    Peer,
    /// The queue: list, show, hold, release, retry, bounce, move; suspend and resume.
    Admin,
}

/// What is known of the other pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Peers {
    /// Spools that were seen empty under a seal and whose pod went. For this seal and earlier ones it means: what they
    /// offered and never gave is dropped, what they released is theirs no more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drained: Vec<Drained>,
    /// Pods that leave, each by its host name or by the UUID of its spool. Such a pod seals its spool before it opens a
    /// port, and whenever it reads this: it takes no mail at all, delivers, and hands over.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sealed: Vec<String>,
    /// Pods that a person has fenced off, each by its host name. Such a pod ends its sessions and does nothing, and its spool is
    /// not opened, until it is named no more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fenced: Vec<String>,
    /// Spools, by UUID, whose volume a person has declared lost. What is held for them is released, what stands offered
    /// to them is taken back; some of it may be delivered twice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
    /// Pods that stay, this one among them. Each greylist tuple, each count of `access.rates` and each day's report belongs to
    /// one of them, which the others ask; and they tell each other of routes to providers that rest. Empty = all belongs to this
    /// server.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fleet: Vec<FleetPod>,
}

/// A pod of the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FleetPod {
    /// Its host name, or the UUID of its spool.
    pub name: String,
    /// Where its admin API (`admin.api`) is reached.
    pub admin: Endpoint,
}

/// A spool that was drained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drained {
    /// The spool's UUID in text form.
    pub spool: String,
    /// The seal under which it was empty.
    pub seal: u64,
}
