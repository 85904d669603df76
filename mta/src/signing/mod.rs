//! DKIM signatures over mail of our domains (RFC 6376).
//!
//! ```text
//!   settings ─► keys: domain ─► Signer                     the private keys, read once in each configuration
//!                        │
//!   octets ─► message: header held, body hashed ─► pool ─► DKIM-Signature fields on top of the prefix
//! ```
//!
//! Signed is what users submit, what clients of `relayFrom` send, and our own notices: where the From field has one author,
//! and his domain has keys. `d=` is that domain, so that the signature is aligned (RFC 9989 section 4.4). Mail of strangers
//! is never signed: where it goes on to another server it is sealed (ARC, RFC 8617), in the same way, with a key of the domain
//! that it was sent to.

mod keys;
mod message;
mod pool;
mod seal;

pub use keys::{BadDomainKey, BadDomainKeys, Keys, Signers};
pub use message::{Facts, NoSignature, Ready, Signing};
pub use pool::Pool;
pub(crate) use pool::now;
pub use seal::{Chain, sealer_for};
