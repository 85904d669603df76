//! A key of the root that DNSSEC is validated from (RFC 4033 section 2), written as in a zone file:
//! `. IN DNSKEY 257 3 8 AwEAA…`.
//!
//! Of the root alone: a validator that knows a key of another zone must know as well that what its parent says of that zone does
//! not count, and ours does not.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::text::shorten;

/// A DNSKEY record (RFC 4034 section 2) that is believed without another's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustAnchor {
    flags: u16,
    /// Number of its algorithm.
    pub algorithm: u8,
    /// The public key, in the form of its algorithm.
    pub key: Vec<u8>,
}

/// Why a key was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustAnchorError {
    /// It is no such record.
    #[error("`{0}` is no DNSKEY record: write it as in a zone file, such as `. IN DNSKEY 257 3 8 AwEAA…`")]
    Unreadable(String),
    /// Not of the root.
    #[error(
        "`{0}` is of another zone than the root: keys of the root, `. IN DNSKEY …`, are what is validated from"
    )]
    Owner(String),
    /// A digest of one.
    #[error(
        "`{0}` is a DS record, which has only the digest of a key: write the DNSKEY record that it is of"
    )]
    Digest(String),
    /// Not a key of a zone, or one that was taken back.
    #[error("`{0}` cannot be trusted: the flags of a zone's key are 257 or 256")]
    Flags(String),
    /// A key that no signature is judged with.
    #[error("`{0}` has an algorithm that is not judged: 8, 10, 13, 14 and 15 are")]
    Algorithm(String),
}

impl FromStr for TrustAnchor {
    type Err = TrustAnchorError;

    fn from_str(text: &str) -> Result<Self, TrustAnchorError> {
        let unreadable = || TrustAnchorError::Unreadable(shorten(text));
        if text.len() > LONGEST {
            return Err(unreadable());
        }
        let record = text.split_once(';').map_or(text, |(record, _)| record);
        let mut words = record.split_ascii_whitespace();
        let owner = words.next().ok_or_else(unreadable)?;
        let is_class_or_time =
            |word: &&str| word.eq_ignore_ascii_case("IN") || word.bytes().all(|octet| octet.is_ascii_digit());
        let kind = words
            .by_ref()
            .find(|word| !is_class_or_time(word))
            .unwrap_or_default();
        if kind.eq_ignore_ascii_case("DS") {
            return Err(TrustAnchorError::Digest(shorten(text)));
        }
        let mut number = || words.next()?.parse::<u16>().ok();
        let (Some(flags), Some(PROTOCOL), Some(algorithm)) = (number(), number(), number()) else {
            return Err(unreadable());
        };
        let key = STANDARD.decode(words.collect::<String>()).ok();
        let key = key.filter(|key| !key.is_empty()).ok_or_else(unreadable)?;
        if !kind.eq_ignore_ascii_case("DNSKEY") {
            return Err(unreadable());
        }
        if owner != "." {
            return Err(TrustAnchorError::Owner(shorten(text)));
        }
        if flags & ZONE == 0 || flags & REVOKED != 0 {
            return Err(TrustAnchorError::Flags(shorten(text)));
        }
        let algorithm = u8::try_from(algorithm)
            .ok()
            .filter(|number| JUDGED.contains(number));
        Ok(Self {
            flags,
            algorithm: algorithm.ok_or_else(|| TrustAnchorError::Algorithm(shorten(text)))?,
            key,
        })
    }
}

impl fmt::Display for TrustAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            flags,
            algorithm,
            key,
        } = self;
        let key = STANDARD.encode(key);
        write!(f, ". IN DNSKEY {flags} {PROTOCOL} {algorithm} {key}")
    }
}

impl Serialize for TrustAnchor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TrustAnchor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// RFC 4034 section 2.1.2.
const PROTOCOL: u16 = 3;
/// Bits of the flags: a key of a zone (RFC 4034 section 2.1.1), one that was taken back (RFC 5011 section 3).
const ZONE: u16 = 0x0100;
const REVOKED: u16 = 0x0080;
/// RSA with SHA-2, ECDSA, Ed25519. Not with SHA-1 (RFC 8624 section 3.1).
const JUDGED: [u8; 5] = [8, 10, 13, 14, 15];
/// An RSA key of 8192 bits with its owner fits.
const LONGEST: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=";

    #[test]
    fn a_record_is_read_as_zone_files_have_it() {
        let plain = format!(". IN DNSKEY 257 3 15 {KEY}");
        let read: TrustAnchor = plain.parse().unwrap();
        assert_eq!((read.algorithm, read.key.len()), (15, 32));
        let (front, back) = KEY.split_at(20);
        for same in [
            format!(".\t172800\tIN\tDNSKEY\t257 3 15 {KEY} ;{{id = 1 (ksk)}}"),
            format!(". in 60 dnskey 257 3 15 {front} {back}"),
            format!(". DNSKEY 257 3 15 {KEY}"),
        ] {
            assert_eq!(same.parse::<TrustAnchor>().unwrap(), read, "{same}");
        }
        assert_eq!(read.to_string(), plain);
    }

    #[test]
    fn what_is_no_key_of_a_zone_is_refused_with_a_sentence() {
        for (text, mend) in [
            (String::new(), "as in a zone file"),
            (". IN DNSKEY 257 3 15".to_owned(), "as in a zone file"),
            (". IN DNSKEY 257 3 15 !".to_owned(), "as in a zone file"),
            (format!(". IN DNSKEY 257 4 15 {KEY}"), "as in a zone file"),
            (format!(". IN TXT 257 3 15 {KEY}"), "as in a zone file"),
            (
                format!("corp.example. IN DNSKEY 257 3 15 {KEY}"),
                "another zone than the root",
            ),
            (
                ". IN DS 20326 8 2 E06D44B8".to_owned(),
                "the DNSKEY record that it is of",
            ),
            (format!(". IN DNSKEY 0 3 15 {KEY}"), "flags"),
            (format!(". IN DNSKEY 385 3 15 {KEY}"), "flags"),
            (format!(". IN DNSKEY 257 3 5 {KEY}"), "8, 10, 13"),
            (format!(". IN DNSKEY 257 3 300 {KEY}"), "8, 10, 13"),
            (
                format!(". IN DNSKEY 257 3 15 {}", "A".repeat(3_000)),
                "as in a zone file",
            ),
        ] {
            let error = text.parse::<TrustAnchor>().unwrap_err().to_string();
            assert!(error.contains(mend), "{text}: {error}");
        }
    }
}
