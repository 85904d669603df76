//! `MailDomain`: a domain that sends or receives through listeners.
//!
//! ```text
//! gather: listeners, neighbours, DNS ─► status (pure): conditions and records ─► patch
//! ```
//!
//! * [`records`]: verdicts become rows of `status.records`, which outlive a time when nothing is known.
//! * [`status`]: facts to conditions, `Ready` among them.
//! * [`proof`]: a record that says whose the domain is, for listeners of other namespaces.
//! * [`keys`]: reads and makes signing keys. [`signing`]: which of them sign, [`standing`]: what is said of them (pure).
//! * [`tls_records`]: the records of MTA-STS and TLS-RPT.
//! * [`providers`]: what providers want in the DNS of a domain whose mail leaves through them.
//! * [`pace`]: when to look again.

mod events;
pub mod keys;
pub mod pace;
pub mod proof;
pub mod providers;
pub mod reconcile;
pub mod records;
pub mod signing;
pub mod standing;
pub mod status;
mod tls_records;
pub mod validate;

pub use reconcile::reconcile;
