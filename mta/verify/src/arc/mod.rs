//! Authenticated Received Chain, RFC 8617: what those who forwarded a message say of it, each sealing what came before.
//!
//! ```text
//!   ARC-Seal i=2               ┐ set 2, the newest: its message signature must verify
//!   ARC-Message-Signature i=2  │
//!   ARC-Authentication-Results │ i=2
//!   ARC-Seal i=1               ┐ set 1: its seal must verify, its message signature may not any more
//!   …                          ┘
//! ```
//!
//! * `chain`: the sets and their order. * [`Verifier`]: the state of a chain. * [`Sealer`]: one set more.
//!
//! A chain that passes says that its sealers said so. Whether they are believed is for the caller's list of sealers.

mod chain;
mod seal;
mod verify;

pub use chain::MOST_SETS;
pub use seal::{BadSealer, Sealer, Unsealable};
pub use verify::{Outcome, Problem, Set, Verdict, Verifier};
