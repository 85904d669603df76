//! A mail address in the one form in which lists compare it: the local part without its case, the domain as A-labels.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::domain::DomainName;
use crate::text::shorten;

/// One address, such as `ann@example.com`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mailbox {
    /// In lower case, as far as it is ASCII.
    local: String,
    domain: DomainName,
}

/// Why an address was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a mail address: write a name, @ and a domain, such as ann@example.com, without quotes and brackets"
)]
pub struct MailboxError(String);

impl Mailbox {
    /// Whether it is that one. ASCII case does not count in the local part, which is without its quotes.
    pub fn is(&self, local: &str, domain: &DomainName) -> bool {
        self.domain == *domain && self.local.eq_ignore_ascii_case(local)
    }
}

impl FromStr for Mailbox {
    type Err = MailboxError;

    /// RFC 5321 section 4.1.2, RFC 6531 section 3.3: a local part that needs no quotes.
    fn from_str(text: &str) -> Result<Self, MailboxError> {
        let refuse = || MailboxError(shorten(text));
        let (local, domain) = text.rsplit_once('@').ok_or_else(refuse)?;
        // Nobody is called `*`; who writes it means all of a domain, which is another field.
        if !(1..=64).contains(&local.len()) || !local.chars().all(is_of_atom) || local == "*" {
            return Err(refuse());
        }
        Ok(Self {
            local: local.to_ascii_lowercase(),
            domain: domain.parse().map_err(|_| refuse())?,
        })
    }
}

fn is_of_atom(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c)
    } else {
        !c.is_control() && !c.is_whitespace()
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

impl Serialize for Mailbox {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mailbox {
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
    fn an_address_is_compared_without_its_case() {
        let domain = |name: &str| name.parse::<DomainName>().unwrap();
        let ann: Mailbox = "Ann+List@B\u{fc}cher.example".parse().unwrap();
        assert_eq!(ann.to_string(), "ann+list@xn--bcher-kva.example");
        assert_eq!(ann.to_string().parse(), Ok(ann.clone()));
        assert!(ann.is("ANN+list", &domain("xn--bcher-kva.example")));
        assert!(!ann.is("ann", &domain("xn--bcher-kva.example")));
        assert!(!ann.is("ann+list", &domain("sub.xn--bcher-kva.example")));
        assert!("\u{3b4}\u{3bf}\u{3ba}@a.example".parse::<Mailbox>().is_ok());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("{}@a.example", "x".repeat(65));
        for text in [
            "",
            "a.example",
            "@a.example",
            "a@",
            "a@b@c.example",
            "a b@c.example",
            "\"a\"@c.example",
            "<a@c.example>",
            "a@[192.0.2.1]",
            "a\u{a0}b@c.example",
            "*@c.example",
            &long,
        ] {
            assert!(text.parse::<Mailbox>().is_err(), "{text}");
        }
    }
}
