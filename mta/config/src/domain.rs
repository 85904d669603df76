//! A domain name in the one form in which names are compared: lower-case A-labels without a trailing dot
//! (RFC 5890 section 2.3.2.1).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::text::shorten;

/// A host or mail domain of at least one label, at most 253 octets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(String);

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a domain name: write labels of letters, digits and hyphens (at most 63 octets each) with dots between"
)]
pub struct DomainNameError(String);

impl DomainName {
    /// The name as A-labels in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DomainName {
    type Err = DomainNameError;

    fn from_str(text: &str) -> Result<Self, DomainNameError> {
        let refuse = || DomainNameError(shorten(text));
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() || name.len() > 1_024 {
            return Err(refuse());
        }
        let ascii = idna::domain_to_ascii_strict(name).map_err(|_| refuse())?;
        let well_formed = ascii.len() <= 253 && ascii.split('.').all(is_label);
        // An all-digit last label is an address, not a name (RFC 3696 section 2).
        let numeric = ascii
            .rsplit('.')
            .next()
            .is_some_and(|top| top.bytes().all(|b| b.is_ascii_digit()));
        if well_formed && !numeric {
            Ok(Self(ascii))
        } else {
            Err(refuse())
        }
    }
}

/// RFC 1123 section 2.1: letters, digits and inner hyphens.
fn is_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= 63
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
        && bytes[0] != b'-'
        && bytes[bytes.len() - 1] != b'-'
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for DomainName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Serialize for DomainName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DomainName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_lower_case_a_labels() {
        for (text, want) in [
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(text.parse::<DomainName>().unwrap().as_str(), want);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = format!("{}.example", "a".repeat(64));
        for text in [
            "",
            ".",
            "a..b",
            "-a.example",
            "a-.example",
            "a b.example",
            "10.0.0.1",
            "a_b.example",
            &long,
            "[::1]",
        ] {
            assert!(text.parse::<DomainName>().is_err(), "{text}");
        }
    }
}
