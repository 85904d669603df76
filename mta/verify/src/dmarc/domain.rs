//! Domain names as they are compared: A-labels in lower case, no final dot.

use std::fmt;

use crate::dns::is_askable;

/// A domain name that can be compared and asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(String);

impl Domain {
    /// Reads a name; U-labels become A-labels (RFC 9989 section 5.3.1). `None`: this is no name of a domain.
    pub fn parse(text: &str) -> Option<Self> {
        let name = if text.is_ascii() {
            text.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii(text).ok()?
        };
        let sound = |label: &str| {
            label
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
        };
        (is_askable(&name) && name.split('.').all(sound) && name.parse::<std::net::Ipv4Addr>().is_err())
            .then_some(Self(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Number of labels, one or more.
    pub(super) fn labels(&self) -> usize {
        self.0.split('.').count()
    }

    /// The name of its last so many labels; the whole name where it has no more.
    pub(super) fn last(&self, labels: usize) -> Self {
        let cut = self.labels().saturating_sub(labels);
        let name = self.0.splitn(cut + 1, '.').last();
        Self(name.unwrap_or(&self.0).to_owned())
    }

    /// Whether it is the other name, or lies below it.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        self.0
            .strip_suffix(&other.0)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
