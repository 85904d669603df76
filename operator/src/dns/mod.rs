//! What DNS says about a domain, and whether that is what its mail needs.
//!
//! ```text
//! resolver ── which servers are authoritative? ──► servers
//! servers  ── each asked directly, no recursion ──► observations, one for each server
//! policy_host ── the MTA-STS policy, which is on the web ──► what it serves
//! judge    ── observations + what is wanted (pure) ──► True | False | Unknown, with what to publish
//! ```
//!
//! Asking and judging are apart: [`exchange`] and [`resolver`] do IO and decide nothing, [`judge`] decides and has no
//! socket. A failure (SERVFAIL, time-out, a server that is not authoritative) is an observation of its own kind and
//! is never read as "there is no record".

pub mod exchange;
pub mod judge;
pub mod policy_host;
pub mod resolver;
pub mod spf;

/// Type of MX records, for those who ask.
pub const MX: hickory_resolver::proto::rr::RecordType = hickory_resolver::proto::rr::RecordType::MX;
/// Type of TLSA records, for those who ask.
pub const TLSA: hickory_resolver::proto::rr::RecordType = hickory_resolver::proto::rr::RecordType::TLSA;
/// Type of TXT records.
pub const TXT: hickory_resolver::proto::rr::RecordType = hickory_resolver::proto::rr::RecordType::TXT;

pub use policy_host::PolicyHosts;
pub use resolver::Resolver;

#[cfg(test)]
mod loopback;
#[cfg(test)]
mod tests;
