//! `MailDomain`: a domain that sends or receives through listeners.
//!
//! ```text
//! gather: listeners, neighbours, DNS ─► status (pure): conditions and records ─► patch
//! ```
//!
//! * [`records`]: verdicts become rows of `status.records`, which outlive a time when nothing is known.
//! * [`status`]: facts to conditions, `Ready` among them.
//! * [`pace`]: when to look again.

pub mod pace;
pub mod reconcile;
pub mod records;
pub mod status;
pub mod validate;

pub use reconcile::reconcile;
