//! Mailboxes and paths of the envelope (RFC 5321 section 4.1.2, RFC 6531 section 3.3).

use std::net::{Ipv4Addr, Ipv6Addr};

/// A mailbox: local-part and domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    text: String,
    local_part: String,
    domain: AddressDomain,
}

/// The domain of a mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AddressDomain {
    /// A name, as A-labels in lower case.
    Name(String),
    /// An address literal without its brackets.
    Literal(String),
}

/// Why a text is no mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not of the form local-part@domain.
    #[error("not an address")]
    Syntax,
    /// RFC 5321 section 4.5.3.1: local-part above 64 octets, domain above 255, path above 256.
    #[error("too long")]
    TooLong,
    /// Not ASCII, without SMTPUTF8.
    #[error("not ASCII, and SMTPUTF8 was not asked for")]
    NotAscii,
}

impl Address {
    /// Reads `local-part@domain`. `utf8`: whether other than ASCII is allowed (RFC 6531).
    pub fn parse(text: &str, utf8: bool) -> Result<Self, AddressError> {
        if !utf8 && !text.is_ascii() {
            return Err(AddressError::NotAscii);
        }
        let at = local_part_end(text).ok_or(AddressError::Syntax)?;
        let (local, domain) = (&text[..at], &text[at + 1..]);
        let local_part = parse_local_part(local).ok_or(AddressError::Syntax)?;
        if local.len() > 64 || domain.len() > 255 || text.len() > 254 {
            return Err(AddressError::TooLong);
        }
        let domain = parse_domain(domain).ok_or(AddressError::Syntax)?;
        Ok(Self {
            text: text.to_owned(),
            local_part,
            domain,
        })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The local-part without quotes.
    pub fn local_part(&self) -> &str {
        &self.local_part
    }

    /// The domain.
    pub fn domain(&self) -> &AddressDomain {
        &self.domain
    }

    /// The domain where it is a name, as A-labels in lower case.
    pub fn domain_name(&self) -> Option<&str> {
        match &self.domain {
            AddressDomain::Name(name) => Some(name),
            AddressDomain::Literal(_) => None,
        }
    }
}

/// Where the `@` behind the local-part is.
fn local_part_end(text: &str) -> Option<usize> {
    if !text.starts_with('"') {
        return text.find('@');
    }
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return text[at + 1..].starts_with('@').then_some(at + 1),
            _ => {}
        }
    }
    None
}

/// Dot-string or quoted-string; gives it without quotes.
fn parse_local_part(text: &str) -> Option<String> {
    let Some(quoted) = text.strip_prefix('"') else {
        return text
            .split('.')
            .all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
            .then(|| text.to_owned());
    };
    let quoted = quoted.strip_suffix('"')?;
    let mut plain = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            // quoted-pairSMTP: backslash and a printable character.
            '\\' => plain.push(chars.next().filter(|c| matches!(c, ' '..='~'))?),
            '"' => return None,
            ' '..='~' => plain.push(c),
            c if !c.is_ascii() && !c.is_control() => plain.push(c),
            _ => return None,
        }
    }
    Some(plain)
}

/// RFC 5322 section 3.2.3, and RFC 6531 section 3.3 for the rest of Unicode.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(c)
        || (!c.is_ascii() && !c.is_control() && !c.is_whitespace())
}

fn parse_domain(text: &str) -> Option<AddressDomain> {
    if let Some(literal) = text.strip_prefix('[') {
        let literal = literal.strip_suffix(']')?;
        return is_literal(literal).then(|| AddressDomain::Literal(literal.to_owned()));
    }
    let ascii = if text.is_ascii() {
        text.to_ascii_lowercase()
    } else {
        idna::domain_to_ascii_strict(text).ok()?
    };
    (ascii.len() <= 255 && ascii.split('.').all(is_label)).then_some(AddressDomain::Name(ascii))
}

/// sub-domain = Let-dig [Ldh-str]
fn is_label(label: &str) -> bool {
    let octets = label.as_bytes();
    (1..=63).contains(&octets.len())
        && octets
            .iter()
            .all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-')
        && octets[0] != b'-'
        && octets[octets.len() - 1] != b'-'
}

/// RFC 5321 section 4.1.3: IPv4, `IPv6:` and an address. Other tags are not registered and not taken.
fn is_literal(text: &str) -> bool {
    match text.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => is_ipv6(&text[5..]),
        _ => text.parse::<Ipv4Addr>().is_ok(),
    }
}

/// RFC 5321 section 4.1.3: `::` stands for two groups of zeros at least, so that six others are the most.
fn is_ipv6(text: &str) -> bool {
    let groups = text.split(':').filter(|group| !group.is_empty());
    let count: usize = groups.map(|group| if group.contains('.') { 2 } else { 1 }).sum();
    text.parse::<Ipv6Addr>().is_ok() && (!text.contains("::") || count <= 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes() {
        for (text, local, domain) in [
            ("a@b.example", "a", "b.example"),
            ("A.b+c@B.Example", "A.b+c", "b.example"),
            ("\"a b\"@c.example", "a b", "c.example"),
            ("\"a\\\"@b\"@c.example", "a\"@b", "c.example"),
            ("x@localhost", "x", "localhost"),
        ] {
            let address = Address::parse(text, false).unwrap();
            assert_eq!(
                (address.local_part(), address.domain_name()),
                (local, Some(domain)),
                "{text}"
            );
        }
        for text in ["x@[192.0.2.1]", "x@[IPv6:2001:db8::1]"] {
            assert!(Address::parse(text, false).unwrap().domain_name().is_none());
        }
    }

    #[test]
    fn what_is_no_mailbox() {
        for text in [
            "",
            "a",
            "@b",
            "a@",
            "a@b@c",
            ".a@b",
            "a.@b",
            "a..b@c",
            "a b@c",
            "a@-b",
            "a@b-",
            "a@b..c",
            "a@[1.2.3]",
            "a@[300.1.1.1]",
            "a@[IPv6:zz]",
            "a@[IPv6:1:2:3:4:5:6:7::]",
            "a@[IPv6:1:2:3:4:5::192.0.2.1]",
            "a@[x:1]",
            "\"a@b",
            "\"a\"b@c",
            "a@b_c",
            "a\r@b",
            "a@b.",
            "(c)a@b",
            "\"\u{7f}\"@b",
        ] {
            assert_eq!(Address::parse(text, false), Err(AddressError::Syntax), "{text}");
        }
    }

    #[test]
    fn lengths_and_other_than_ascii() {
        let local = "a".repeat(65);
        assert_eq!(
            Address::parse(&format!("{local}@b"), false),
            Err(AddressError::TooLong)
        );
        assert!(Address::parse(&format!("{}@b", &local[1..]), false).is_ok());
        assert_eq!(Address::parse("ü@b", false), Err(AddressError::NotAscii));
        assert_eq!(
            Address::parse("ü@bücher.example", true).unwrap().domain_name(),
            Some("xn--bcher-kva.example")
        );
    }
}
