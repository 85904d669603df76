//! Types of the admin API, HTTPS on port 8443 (`admin.api.address`), JSON bodies. Bearer tokens; see `TokenRole`.
//!
//! ```text
//!   GET  /v1/state      Operator, Peer   → State
//!   GET  /v1/certificates
//!                       Operator         → Vec<PortShown>        a handshake with each port that uses TLS
//!   GET  /v1/network    Operator         → NetworkState          what was seen of clients, of our own address, of port 25
//!   POST /v1/relay-test Operator         RelayTest → Vec<RelayTested>  tries to relay through ports; never sends data
//!   POST /v1/upstream-test
//!                       Operator         UpstreamTest → Vec<UpstreamTested>  connects to smart hosts and logs in; sends no mail
//!   POST /v1/seal       Operator         SealRequest → State     idempotent; also renews the list of targets
//!   POST /v1/unseal     Operator         → State                 idempotent; 409 while entries are given and not yet freed
//!   POST /v1/lost        Operator         LostRequest → State     a volume is lost for good; 400 for the pod's own
//!   GET  /v1/queue      Operator, Admin  ListQuery → Page       messages, oldest id first, a page at a time
//!   GET  /v1/queue/ID   Operator, Admin  → Entry
//!   GET  /v1/sites      Operator, Admin  SitesQuery → SitesPage where mail goes, and how it stands there; by name, a page at a time
//!   POST /v1/queue/hold, release, retry, bounce
//!                       Operator, Admin  Selection → Carried    once it is durable; 409 while the spool is sealed
//!   POST /v1/queue/move Operator, Admin  Selection with `to` → Carried
//!   POST /v1/handover/… Peer             the hand-over between pods, see the daemon's `handover` module
//! ```
//!
//! An error is a status of 4xx or 5xx with [`Refusal`] as its body.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::DomainName;

pub use crate::upstream::{LoginFault, TokenState, UpstreamTest, UpstreamTested};

/// What a pod says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Drawn at every start of the process, so that a restart is seen.
    pub boot_id: String,
    /// Version of the daemon.
    pub version: String,
    /// UUID of the spool, drawn when it was made.
    pub spool: String,
    /// Formats of the spool.
    #[serde(default)]
    pub spool_format: SpoolFormatState,
    /// The configuration that is run.
    pub config: ConfigState,
    /// The certificate that the ports show; absent where TLS is not configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateState>,
    /// What is queued.
    pub queue: QueueState,
    /// The seal, where the spool is sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<SealState>,
    /// Whether new sessions are served.
    pub accepting: bool,
    /// Why not, in words; empty while `accepting`.
    #[serde(default)]
    pub not_accepting: String,
    /// What was done since the start because the volumes of other pods were declared lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<LostSpool>,
    /// Routes that something is the matter with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteState>,
}

/// A route of a policy that rests, or where a sender is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteState {
    /// Name of the policy, `#`, and the number of the route, counted from 0.
    pub route: String,
    /// `Quota`: the account may send no more; `Throttle`: it was too fast; `Configuration`: the account or the route is not
    /// set up right; `Unreachable`: it cannot be reached, and there is another; `Sender`: the route goes on, but the mail of some
    /// sender is refused; [`TLS_FAILED`]: mail found that the TLS of its host is not as the route wants it; the name of a
    /// [`LoginFault`]: nobody is let in.
    pub reason: String,
    /// Since when, milliseconds since 1970.
    pub since: u64,
    /// When a message is tried there again, milliseconds since 1970; 0 where it goes on.
    pub until: u64,
    /// What the next hop said.
    pub reply: String,
}

/// Reason of a [`RouteState`]: mail found that the TLS of a host is not as the route wants it.
pub const TLS_FAILED: &str = "TlsFailed";

/// What became of messages that only a lost spool could have settled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LostSpool {
    /// UUID of the lost spool.
    pub spool: String,
    /// Messages that were held for it and are delivered from here now.
    pub released: u64,
    /// Messages that stood offered or given to it and are delivered from here now.
    pub taken_back: u64,
    /// Those of both that it may have delivered as well.
    pub perhaps_twice: u64,
}

/// A volume that a person declares lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LostRequest {
    /// UUID of the spool on it.
    pub spool: String,
}

/// Formats of the spool, see `docs/reference/spool-format.md`. A pod that does not say them knows the first only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpoolFormatState {
    /// The newest format that this daemon reads, and could write. It reads the one before, too.
    pub reads: u32,
    /// The format that it writes now, and the newest that it takes in a hand-over.
    pub writes: u32,
    /// The newest format of any part of what is on disk: an older daemon than that refuses the spool.
    pub on_disk: u32,
}

impl Default for SpoolFormatState {
    fn default() -> Self {
        Self {
            reads: 1,
            writes: 1,
            on_disk: 1,
        }
    }
}

/// The configuration that a pod runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigState {
    /// `generation` of the set that is run.
    pub generation: u64,
    /// Hash of the set that is run, see `ConfigSet::hash`.
    pub hash: String,
    /// Highest format that this daemon reads.
    pub reads_format: u32,
    /// Why the newest files are not used, where that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A certificate that is served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateState {
    /// Serial number in lower-case hex.
    pub serial: String,
    /// End of validity, seconds since 1970.
    pub not_after: i64,
    /// DNS names that it is for.
    pub names: Vec<String>,
}

/// What a port shows to its clients, seen in a handshake with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortShown {
    /// Name of the port.
    pub port: String,
    /// The certificate that it shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateState>,
    /// Why there was no handshake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a pod has seen of the network since its start; bounded, the newest of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkState {
    /// Clients whose messages were accepted in the last hour, by address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<ClientSeen>,
    /// Our own address as next hops print it in their greetings and replies to EHLO, in the last day; by name of the host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<EgressSeen>,
    /// Connections to port 25.
    pub port25: Port25State,
}

/// A client of the last hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientSeen {
    /// Its address, as the session has it.
    pub address: IpAddr,
    /// Messages that were accepted from it.
    pub messages: u64,
}

/// Our own address, as a next hop prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EgressSeen {
    /// Who says so.
    pub host: String,
    /// The address.
    pub address: IpAddr,
}

/// What came of connections to port 25 of other hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Port25State {
    /// The last that was made, seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected: Option<i64>,
    /// The first that timed out since then, seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent_since: Option<i64>,
    /// Sites where they timed out since then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
}

/// Tries to relay through ports, as strangers do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RelayTest {
    /// The ports, at most 32.
    pub targets: Vec<RelayTarget>,
    /// Names that the listener goes by: its host name, and domains that take listed recipients alone. At most 8.
    #[serde(default)]
    pub names: Vec<DomainName>,
}

/// A port to try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RelayTarget {
    /// Where it is.
    pub address: SocketAddr,
    /// TLS comes first.
    #[serde(default)]
    pub implicit_tls: bool,
}

/// What came of it at one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayTested {
    /// The port.
    pub address: SocketAddr,
    /// Tricks that were refused for good (5yz).
    pub refused: u32,
    /// Tricks that were put off (4yz): they say nothing.
    pub put_off: u32,
    /// Tricks that were taken, as MAIL and RCPT.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taken: Vec<String>,
    /// Why not all were tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Asks whether a token still holds, of the endpoint that `authentication.serviceAccounts.review` names (`POST /v1/token-review`).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReviewRequest {
    /// The token.
    pub token: String,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reviewed {
    /// It holds, for the audience of that endpoint's name.
    pub authenticated: bool,
}

/// What is queued.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueState {
    /// Entries that this spool answers for, in whatever state.
    pub messages: u64,
    /// Arrival of the oldest, seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<i64>,
    /// Octets free on the volume.
    pub free_bytes: u64,
    /// Whether the share of the volume in use is below the high-water mark, and what waits within its memory.
    pub below_high_water: bool,
    /// Places and entries that were found damaged at this start of the process and since then.
    pub damaged: u64,
    /// The last error of the volume, while the spool is read-only because of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A seal and what it still holds back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealState {
    /// Number of the seal, counted up for each new one.
    pub number: u64,
    /// Nothing is owned, offered, held, given and not yet freed, or released to this spool and not yet confirmed; and what
    /// was counted for reports, and what greylisting knows, is with pods that stay, where any takes it within five minutes.
    pub empty: bool,
    /// Entries still to go.
    pub remaining: u64,
    /// Why nothing moves, where that is so: no target, or the last error of the hand-over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<String>,
}

/// Seals the spool: nothing new is accepted, what is there is handed to the targets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealRequest {
    /// Where to: `host:port` of the admin endpoints of pods that stay. Empty = deliver on schedule, hand nothing over. Pods
    /// that are sealed themselves may be among them: they take nothing, and are asked about what stands between them and
    /// this pod.
    pub targets: Vec<String>,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// One sentence.
    pub error: String,
}

/// Which messages are listed. All given terms hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListQuery {
    /// The reverse-path, or its domain as `@example.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// A forward-path, or its domain as `@example.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// Only messages that wait for this site, as the list of sites says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Only held ones, or only those that are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<bool>,
    /// Only messages that are older, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than: Option<u64>,
    /// Behind this id: `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Most messages of a page, 1 to 1000; 100 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A page of messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    /// The messages.
    pub entries: Vec<Entry>,
    /// Where the next page begins; absent on the last one. A page may have fewer messages than asked for, even none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A message in the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Queue id.
    pub id: String,
    /// `owned`, or where it stands in a hand-over: `offered`, `given`, `held`.
    pub owner: String,
    /// Reverse-path; empty for a notice.
    pub sender: String,
    /// Who submitted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Arrival, milliseconds since 1970.
    pub arrived: u64,
    /// The id that it had at the pod that it came from, and the identity of that pod's spool, as `id@spool`; absent where it was
    /// accepted here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// When the first of its recipients is given up, milliseconds since 1970.
    pub expires: u64,
    /// Octets.
    pub size: u64,
    /// The volume does not give it back whole: without an envelope, sender and addresses are empty.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub damaged: bool,
    /// The policy that a person moved it to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_to: Option<String>,
    /// It leaves inside TLS alone, or comes back (REQUIRETLS).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_tls: bool,
    /// Until when its sender wants it delivered, milliseconds since 1970 (DELIVERBY).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver_by: Option<u64>,
    /// It comes back then; otherwise its sender is told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub or_return: bool,
    /// Recipients.
    pub recipients: Vec<EntryRecipient>,
}

/// How far a recipient is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EntryRecipient {
    /// Forward-path.
    pub address: String,
    /// `pending`, `held`, `delivered`, `failed` or `expired`; `notice due`: it is over, as `reply` says, and the sender is still
    /// to be told.
    pub state: String,
    /// Attempts so far.
    pub attempts: u32,
    /// Next attempt, milliseconds since 1970; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<u64>,
    /// What keeps it from being tried although its time has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<Gate>,
    /// The last reply, or reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reply: String,
}

/// A site that is closed, or suspended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// Its name.
    pub site: String,
    /// A person has suspended it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspended: bool,
    /// Closed until then, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opens_at: Option<u64>,
}

/// Where mail goes: servers that share a window, a rate and connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Site {
    /// Its name.
    pub name: String,
    /// Messages that wait for it.
    pub waiting: u64,
    /// Attempts that run.
    pub running: u32,
    /// Attempts that may run at once.
    pub window: u32,
    /// Closed until then, milliseconds since 1970; absent when it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opens_at: Option<u64>,
    /// Why the last attempt that failed as a whole did so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_trouble: Option<String>,
    /// A person wants nothing to be tried there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspended: bool,
    /// Routes of its policy that something is the matter with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteState>,
}

/// Which sites are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SitesQuery {
    /// Behind this name: `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Most sites of a page, 1 to 1000; 100 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A page of sites.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SitesPage {
    /// The sites, in order of their names.
    pub sites: Vec<Site>,
    /// Where the next page begins; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Which site an order is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SiteOrder {
    /// Its name, as the list of sites says it.
    pub site: String,
}

/// What came of an order about a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SuspendedSites {
    /// All sites that are suspended now.
    pub suspended: Vec<String>,
    /// Messages that wait for the site of a `suspend`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u64>,
    /// Where nothing waits for it: sites with a similar name that mail waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub near: Vec<String>,
}

/// Which messages an order is for: ids, or all that the terms of a list fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Selection {
    /// Queue ids, at most 1000.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// Terms; `after` and `limit` are not used. At most 10,000 messages at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<ListQuery>,
    /// Bounce only: whether the sender is told. `false` throws mail away, and has to be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<bool>,
    /// Move only: the name of the policy that routes the messages from now on, or `-` for their usual routes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What an order was carried out for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Carried {
    /// Queue ids. The others are gone, or not (only) here.
    pub ids: Vec<String>,
    /// There are more that fit; give the order again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// Retry only: so many are on hold, and stay there until they are released.
    #[serde(default, skip_serializing_if = "is_none_held")]
    pub held: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_none_held(held: &u64) -> bool {
    *held == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a pod of a version says it that knows one format of the spool only.
    #[test]
    fn a_pod_that_names_no_formats_of_its_spool_knows_the_first() {
        let said = r#"{"bootId": "b", "version": "0.1.0", "spool": "s", "accepting": true,
            "config": {"generation": 1, "hash": "h", "readsFormat": 1},
            "queue": {"messages": 0, "freeBytes": 1, "belowHighWater": true, "damaged": 0}}"#;
        let state: State = serde_json::from_str(said).unwrap();
        let formats = state.spool_format;
        assert_eq!((formats.reads, formats.writes, formats.on_disk), (1, 1, 1));
    }
}
