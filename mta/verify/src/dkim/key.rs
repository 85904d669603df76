//! Key records (RFC 6376 section 3.6.1) and the public keys in them (RFC 8301 section 3.2, RFC 8463 section 4).

use std::fmt;

use aws_lc_rs::signature::{
    ED25519, ParsedPublicKey, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RsaParameters,
    RsaSubjectPublicKey,
};

use super::tags::{TagError, Tags, elements, shortened};
use super::{Algorithm, HeaderHash, base64};

/// Bits of an RSA key below which no signature counts (RFC 8301 section 3.2).
pub const LEAST_RSA_BITS: u32 = 1024;
/// Bits of an RSA key above which none is tried: the time of it is for the verifier to spend.
pub const MOST_RSA_BITS: u32 = 8192;

/// Why a key cannot be used. Each text goes on from "the key record".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a list of tags.
    #[error("cannot be read: {0}")]
    Tags(#[from] TagError),
    /// `v=` is something else than DKIM1, or is not first.
    #[error("has another version than DKIM1, or does not begin with it")]
    Version,
    /// `p=` is missing.
    #[error("has no p=")]
    NoKey,
    /// `p=` is empty.
    #[error("says that the key is revoked")]
    Revoked,
    /// Another kind of key than the algorithm of the signature needs.
    #[error("is for keys of type `{0}`, not for the algorithm of the signature")]
    Type(String),
    /// `p=` is no key of its type.
    #[error("holds no proper public key in p=")]
    Malformed,
    /// An RSA key that is too short.
    #[error("holds an RSA key of {0} bits; {LEAST_RSA_BITS} are the least")]
    Short(u32),
    /// An RSA key that is too long.
    #[error("holds an RSA key of {0} bits; {MOST_RSA_BITS} are the most")]
    Long(u32),
    /// `h=` does not name sha256.
    #[error("does not allow sha256 (h=)")]
    Hash,
    /// `s=` names neither email nor everything.
    #[error("is not for mail (s=)")]
    Service,
    /// `t=s`, and `i=` is a sub-domain of `d=`.
    #[error("allows no sub-domain in i= (t=s)")]
    Strict,
}

/// A well-formed key record that is for mail and for SHA-256.
#[derive(Clone, Debug)]
pub struct KeyRecord {
    /// The key.
    pub key: PublicKey,
    /// `t=y`: the domain tests DKIM.
    pub testing: bool,
    /// `t=s`: no sub-domain in `i=`.
    pub strict: bool,
}

impl KeyRecord {
    /// Reads a record. Error: the first mistake, or why the key is not to be used.
    pub fn parse(text: &[u8]) -> Result<Self, KeyError> {
        let tags = Tags::parse(text)?;
        // The version need not be there, but then nothing may stand before it and it is compared as it is.
        if let Some(version) = tags.value("v")
            && (version != "DKIM1" || tags.first() != Some("v"))
        {
            return Err(KeyError::Version);
        }
        let key = tags.value("p").ok_or(KeyError::NoKey)?;
        if key.is_empty() {
            return Err(KeyError::Revoked);
        }
        let names = |tag, wanted: &[&str]| {
            tags.value(tag).is_none_or(|value| {
                elements(value).any(|element| wanted.iter().any(|word| element.eq_ignore_ascii_case(word)))
            })
        };
        if !names("h", &["sha256"]) {
            return Err(KeyError::Hash);
        }
        if !names("s", &["*", "email"]) {
            return Err(KeyError::Service);
        }
        let kind = tags.value("k").unwrap_or("rsa");
        let algorithm = Algorithm::ALL
            .into_iter()
            .find(|algorithm| kind.eq_ignore_ascii_case(algorithm.key_type()))
            .ok_or_else(|| KeyError::Type(shortened(kind)))?;
        let octets = base64::decode(key).ok_or(KeyError::Malformed)?;
        let flag = |wanted| {
            tags.value("t")
                .is_some_and(|value| elements(value).any(|flag| flag == wanted))
        };
        Ok(Self {
            key: PublicKey::parse(algorithm, &octets)?,
            testing: flag("y"),
            strict: flag("s"),
        })
    }
}

/// A public key.
#[derive(Clone)]
pub struct PublicKey {
    algorithm: Algorithm,
    key: ParsedPublicKey,
    bits: u32,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} of {} bits)", self.algorithm, self.bits)
    }
}

/// The same key, in whichever of its two forms an RSA key was written.
impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.key.as_ref() == other.key.as_ref()
    }
}

impl Eq for PublicKey {}

impl PublicKey {
    /// The octets of `p=`: for RSA a `SubjectPublicKeyInfo` or, as in RFC 6376's own text, an `RSAPublicKey`; for Ed25519
    /// the 32 octets of RFC 8463 section 4.2.
    pub fn parse(algorithm: Algorithm, octets: &[u8]) -> Result<Self, KeyError> {
        match algorithm {
            Algorithm::RsaSha256 => Self::rsa(octets),
            Algorithm::Ed25519Sha256 => Self::ed25519(octets),
        }
    }

    fn rsa(octets: &[u8]) -> Result<Self, KeyError> {
        let subject = RsaSubjectPublicKey::from_der(octets).map_err(|_| KeyError::Malformed)?;
        let bits = RsaParameters::public_modulus_len(subject.as_ref()).map_err(|_| KeyError::Malformed)?;
        match bits {
            ..LEAST_RSA_BITS => Err(KeyError::Short(bits)),
            LEAST_RSA_BITS..=MOST_RSA_BITS => {
                let how = &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY;
                let key = ParsedPublicKey::new(how, subject.as_ref()).map_err(|_| KeyError::Malformed)?;
                Ok(Self {
                    algorithm: Algorithm::RsaSha256,
                    key,
                    bits,
                })
            }
            _ => Err(KeyError::Long(bits)),
        }
    }

    fn ed25519(octets: &[u8]) -> Result<Self, KeyError> {
        if octets.len() != 32 {
            return Err(KeyError::Malformed);
        }
        let key = ParsedPublicKey::new(&ED25519, octets).map_err(|_| KeyError::Malformed)?;
        Ok(Self {
            algorithm: Algorithm::Ed25519Sha256,
            key,
            bits: 256,
        })
    }

    /// What it verifies.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its length.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// Whether a signature of this hash was made with the key's other half.
    pub fn verifies(&self, hash: &HeaderHash, signature: &[u8]) -> bool {
        match self.algorithm {
            Algorithm::RsaSha256 => self.key.verify_digest_sig(&hash.0, signature).is_ok(),
            Algorithm::Ed25519Sha256 => self.key.verify_sig(hash.octets(), signature).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The public key of RFC 8032 section 7.1, test 1.
    const ED25519_KEY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    fn parse(text: &str) -> Result<KeyRecord, KeyError> {
        KeyRecord::parse(text.replace("KEY", ED25519_KEY).as_bytes())
    }

    #[test]
    fn records_have_defaults_and_flags() {
        let record = parse("k=ed25519; p=KEY").unwrap();
        assert!(!record.testing && !record.strict);
        assert_eq!(
            (record.key.algorithm(), record.key.bits()),
            (Algorithm::Ed25519Sha256, 256)
        );
        let record =
            parse("v=DKIM1; n=a note; g=*; h = sha1 : SHA256; k=ED25519; s=other:email; t=x : y:s; p=KEY;")
                .unwrap();
        assert!(record.testing && record.strict);
        assert!(parse("v=DKIM1; k=ed25519; s=*; unknown=1; p=KEY").is_ok());
    }

    #[test]
    fn unusable_records_say_why() {
        for (text, want) in [
            ("v=DKIM1; p=", KeyError::Revoked),
            ("v=DKIM1", KeyError::NoKey),
            ("v=DKIM2; k=ed25519; p=KEY", KeyError::Version),
            ("v=dkim1; k=ed25519; p=KEY", KeyError::Version),
            ("k=ed25519; v=DKIM1; p=KEY", KeyError::Version),
            ("v=DKIM1; k=ed25519; h=sha1; p=KEY", KeyError::Hash),
            ("v=DKIM1; k=ed25519; s=tlsrpt; p=KEY", KeyError::Service),
            ("v=DKIM1; k=dsa; p=KEY", KeyError::Type("dsa".to_owned())),
            ("v=DKIM1; p=KEY", KeyError::Malformed),
            ("v=DKIM1; k=ed25519; p=AAAA", KeyError::Malformed),
            ("v=DKIM1; k=ed25519; p=?", KeyError::Malformed),
            (
                "v=DKIM1; k=ed25519; p=KEY; p=KEY",
                KeyError::Tags(TagError::Twice("p".to_owned())),
            ),
            ("v=spf1 -all", KeyError::Version),
            ("a word", KeyError::Tags(TagError::NoTag("a word".to_owned()))),
        ] {
            assert_eq!(parse(text).err(), Some(want), "{text}");
        }
    }
}
