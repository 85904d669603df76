//! Types of the admin API, HTTPS on port 8443 (`admin.api.address`), JSON bodies. Bearer tokens; see `TokenRole`.
//!
//! ```text
//!   GET  /v1/state      Operator, Peer   → State
//!   POST /v1/seal       Operator         SealRequest → State     idempotent; also renews the list of targets
//!   POST /v1/unseal     Operator         → State                 idempotent; 409 while entries are given and not yet freed
//!   POST /v1/handover/… Peer             the hand-over between pods, see the daemon's `handover` module
//! ```
//!
//! An error is a status of 4xx or 5xx with [`Refusal`] as its body.

use serde::{Deserialize, Serialize};

/// What a pod says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Drawn at every start of the process, so that a restart is seen.
    pub boot_id: String,
    /// Version of the daemon.
    pub version: String,
    /// UUID of the spool, drawn when it was made.
    pub spool: String,
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
    /// Whether the share in use is below the high-water mark.
    pub below_high_water: bool,
    /// Entries or octets that were found damaged since the spool was made.
    pub damaged: u64,
    /// The last error of the volume, while the spool is read-only because of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A seal and what it still holds back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealState {
    /// Number of the seal, counted up for each new one.
    pub number: u64,
    /// Nothing is owned, offered, held, given and not yet freed, or released to this spool and not yet confirmed.
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
    /// Where to: `host:port` of the admin endpoints of pods that stay. Empty = deliver on schedule, hand nothing over.
    pub targets: Vec<String>,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// One sentence.
    pub error: String,
}
