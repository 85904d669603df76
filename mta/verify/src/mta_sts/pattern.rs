//! Which mail servers a policy names (RFC 8461 section 4.1).

use std::fmt;

use crate::dns::is_askable;

/// A host name, or all names of one label more than a domain has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    any_label: bool,
    /// In lower case.
    name: String,
}

impl Pattern {
    /// Reads `mx.example.com` or `*.example.com`, of A-labels. None: it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let (any_label, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let sound = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
        (is_askable(name) && name.bytes().all(sound)).then(|| Self {
            any_label,
            name: name.to_ascii_lowercase(),
        })
    }

    /// Memory that it takes, in octets.
    pub(super) const fn octets(&self) -> usize {
        size_of::<Self>() + self.name.len()
    }

    /// Whether it names this host, given as A-labels without a final dot. The asterisk stands for exactly one label.
    pub fn names(&self, host: &str) -> bool {
        let host = if self.any_label {
            match host.split_once('.') {
                Some((label, rest)) if !label.is_empty() => rest,
                _ => return false,
            }
        } else {
            host
        };
        host.eq_ignore_ascii_case(&self.name)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.any_label { "*." } else { "" }, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asterisk_stands_for_one_label() {
        for (pattern, host, want) in [
            ("mail.example.com", "mail.example.com", true),
            ("Mail.Example.com", "mail.EXAMPLE.com", true),
            ("mail.example.com", "example.com", false),
            ("mail.example.com", "x.mail.example.com", false),
            ("*.example.com", "mail.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "a.mail.example.com", false),
            ("*.example.com", "mailexample.com", false),
            ("*.example.com", "mail.example.com.evil.example", false),
        ] {
            assert_eq!(
                Pattern::parse(pattern).unwrap().names(host),
                want,
                "{pattern} {host}"
            );
        }
    }

    #[test]
    fn nothing_else_is_a_pattern() {
        for text in [
            "",
            "*",
            "*.",
            "a.*.example",
            "m*.example.com",
            ".example.com",
            "a..b",
            "a b",
            "*.*.com",
            "b\u{fc}.de",
        ] {
            assert_eq!(Pattern::parse(text), None, "{text}");
        }
        assert_eq!(
            Pattern::parse("*.Example.COM").unwrap().to_string(),
            "*.example.com"
        );
    }
}
