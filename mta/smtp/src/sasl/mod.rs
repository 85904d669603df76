//! SASL, the server's side: PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677).
//!
//! The mechanisms know no users: they ask for a password to be checked, or for a SCRAM verifier to go on with.

mod binding;
mod exchange;
mod scram;

pub use binding::{ChannelBindings, Refusal};
pub use exchange::{Exchange, Mechanism, Step};
pub use scram::{ScramVerifier, VerifierError};
