//! Why a signature counts for nothing, and the verdict that follows (RFC 8601 section 2.7.1).

use super::key::KeyError;
use super::outcome::Verdict;
use super::tags::TagError;
use crate::dns::Question;

/// Why a signature did not pass. Each text is one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The field is no list of tags.
    #[error("the signature cannot be read: {0}")]
    Tags(#[from] TagError),
    /// A required tag is missing.
    #[error("the signature has no {0}=")]
    Missing(&'static str),
    /// A tag has a value that it cannot have.
    #[error("{0}= of the signature has no proper value")]
    Malformed(&'static str),
    /// Another version.
    #[error("the signature has another version than 1")]
    Version,
    /// `rsa-sha1` (RFC 8301 section 3.1).
    #[error("rsa-sha1 proves nothing any more; sign with rsa-sha256")]
    Historic,
    /// An algorithm that is not known here.
    #[error("signature algorithm `{0}` is not known")]
    Algorithm(String),
    /// Another way to keys than DNS.
    #[error("the signature names no way to its key that is known (q=)")]
    Query,
    /// From is not signed.
    #[error("From is not among the signed fields (h=)")]
    FromNotSigned,
    /// `i=` is not under `d=`.
    #[error("i= is not in the domain of d=")]
    Identity,
    /// `x=` is past.
    #[error("the signature expired at {0} (x=)")]
    Expired(u64),
    /// `t=` is still to come.
    #[error("the signature is of {0}, which is still to come (t=)")]
    Future(u64),
    /// `l=` leaves something of the body out.
    #[error("only {signed} of {octets} octets of the body are signed (l=); the rest may be anybody's")]
    PartlySigned {
        /// Octets that are signed.
        signed: u64,
        /// Octets that there are.
        octets: u64,
    },
    /// `l=` is more than there is.
    #[error("l= says {signed} octets, but the body has {octets}")]
    Shortened {
        /// Octets that were signed.
        signed: u64,
        /// Octets that there are.
        octets: u64,
    },
    /// The body is another.
    #[error("the body is not the one that was signed")]
    BodyChanged,
    /// The fields are others, or the key is.
    #[error("the signature does not fit the signed fields and the key")]
    Wrong,
    /// No such key.
    #[error("there is no key record at {0}")]
    NoKey(String),
    /// The key is not to be used.
    #[error("the key record {0}")]
    Key(#[from] KeyError),
    /// Nobody knows whether there is a key.
    #[error("no answer from DNS for {0}")]
    NoAnswer(Question),
    /// The name of the key is too long for DNS.
    #[error("selector and domain of the signature are too long for a name")]
    Name,
    /// The signature is not looked at, since it is too large.
    #[error("the signature has more than {0} octets")]
    TooLarge(usize),
    /// The header is too large to look at.
    #[error("the header has more than {0} octets")]
    LargeHeader(usize),
    /// Signatures that are not looked at, since there are too many.
    #[error("{0} more signatures were not looked at")]
    TooMany(usize),
    /// The hash of the body was not asked for in time. Not for a caller that uses one [`super::Wanted`] for both.
    #[error("the body was not hashed")]
    NoBody,
}

impl Problem {
    /// The verdict (RFC 8601 section 2.7.1): `neutral` for what cannot be read or is not known, `permerror` for what was
    /// never usable, `policy` for what is not accepted here, `fail` for what does not verify.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Tags(_) | Self::Malformed(_) | Self::Algorithm(_) | Self::Query => Verdict::Neutral,
            Self::Missing(_)
            | Self::Version
            | Self::Historic
            | Self::FromNotSigned
            | Self::Identity
            | Self::NoKey(_)
            | Self::Key(_)
            | Self::Name => Verdict::PermError,
            Self::Future(_)
            | Self::PartlySigned { .. }
            | Self::TooLarge(_)
            | Self::LargeHeader(_)
            | Self::TooMany(_) => Verdict::Policy,
            Self::Expired(_) | Self::Shortened { .. } | Self::BodyChanged | Self::Wrong => Verdict::Fail,
            Self::NoAnswer(_) | Self::NoBody => Verdict::TempError,
        }
    }
}
