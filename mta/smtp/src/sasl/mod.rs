//! SASL, the server's side: PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 (RFC 5802, RFC 7677).
//!
//! The mechanisms know no users: they ask for a password to be checked, or for a SCRAM verifier to go on with.

mod exchange;
mod scram;

pub use exchange::{Exchange, Mechanism, Step};
pub use scram::{ScramVerifier, VerifierError};
