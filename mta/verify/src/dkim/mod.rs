//! DKIM (domain keys identified mail): RFC 6376 with RFC 8301 (no SHA-1, no short keys), RFC 8463 (Ed25519) and RFC 8616
//! (internationalised names).
//!
//! ```text
//! header section ─► Header ─┬─► Verifier::new ──questions──► caller's resolver ──answer──► Verifier
//!                           │        │ wants                                                  │ finish
//!                           │        ▼                                                        ▼
//!                           │     Wanted ─► BodyHasher ◄── chunks of the body          one Outcome a signature
//!                           │        ▲          └─► BodyHashes ─► Verifier, Signer
//!                           └─► Signer ──► DKIM-Signature fields
//! ```
//!
//! * [`Header`]: fields with their octets. * `tags`: lists of `tag=value`, strictly.
//! * `canonical` and `body`: what is hashed. * `signature`, `key`: what a signature and a key record say.
//! * [`Verifier`]: verdicts. * [`Signer`]: signatures, with [`PrivateKey`] or whatever else is a [`SigningKey`].

pub(crate) mod algorithm;
pub(crate) mod base64;
mod body;
mod canonical;
pub(crate) mod domain;
mod header;
mod key;
pub(crate) mod lookup;
mod outcome;
mod pem;
mod private_key;
mod problem;
mod publish;
mod sign;
pub(crate) mod signature;
pub(crate) mod tags;
pub(crate) mod verify;
pub(crate) mod write;

pub use algorithm::{Algorithm, HeaderHash};
pub use body::{BodyHash, BodyHasher, BodyHashes, Wanted};
pub use canonical::Canonicalization;
pub use header::{Field, Header};
pub use key::{KeyError, KeyRecord, LEAST_RSA_BITS, MOST_RSA_BITS, PublicKey};
pub use outcome::{Outcome, Verdict, overall};
pub use private_key::{BadKey, KeyFailed, PrivateKey, SigningKey};
pub use problem::Problem;
pub use publish::{MOST_STRING_OCTETS, presentation, strings};
pub use sign::{BadSigner, Signer, Unsignable};
pub use tags::{MOST_TAGS, TagError};
pub use verify::{Limits, Verifier};
