//! SASL, both sides. The server's: PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677),
//! OAUTHBEARER (RFC 7628) and XOAUTH2.
//!
//! The mechanisms know no users: they ask for a password or a token to be checked, or for a SCRAM verifier to go on with.
//! Names and passwords come prepared (RFC 4013). The client's side is in [`client`].

mod bearer;
mod binding;
pub mod client;
mod exchange;
mod prepare;
mod scram;

pub use binding::ChannelBindings;
pub use exchange::{Exchange, Mechanism, Refusal, Step};
pub use prepare::{Prohibited, prepare};
pub use scram::{ScramVerifier, VerifierError};
