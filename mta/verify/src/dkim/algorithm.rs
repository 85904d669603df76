//! What a header is hashed and signed with.

use std::fmt;

use aws_lc_rs::digest::{Context, Digest, SHA256};

/// Signature algorithms in use. Both hash with SHA-256; `rsa-sha1` is historic (RFC 8301 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// `rsa-sha256` (RFC 6376 section 3.3.1): PKCS #1 version 1.5.
    RsaSha256,
    /// `ed25519-sha256` (RFC 8463).
    Ed25519Sha256,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::RsaSha256, Self::Ed25519Sha256];

    /// Name in `k=` of a key record.
    pub const fn key_type(self) -> &'static str {
        match self {
            Self::RsaSha256 => "rsa",
            Self::Ed25519Sha256 => "ed25519",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-sha256", self.key_type())
    }
}

/// SHA-256 of the canonical header fields: what is signed. Ed25519 signs the hash as its message (RFC 8463 section 3).
#[derive(Clone, Copy)]
pub struct HeaderHash(pub(super) Digest);

impl HeaderHash {
    /// The 32 octets.
    pub fn octets(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl fmt::Debug for HeaderHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeaderHash(")?;
        self.octets()
            .iter()
            .try_for_each(|octet| write!(f, "{octet:02x}"))?;
        f.write_str(")")
    }
}

/// A header hash in the making.
#[derive(Clone)]
pub(crate) struct HeaderHasher(Context);

impl HeaderHasher {
    pub(crate) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub(crate) fn update(&mut self, octets: &[u8]) {
        self.0.update(octets);
    }

    pub(crate) fn finish(self) -> HeaderHash {
        HeaderHash(self.0.finish())
    }
}
