//! A mailbox as the policy compares it: local part without its quotes, domain as A-labels.

use postroad_config::DomainName;

/// Local part and domain of a path that the SMTP parser has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Unquoted, in the writer's case.
    pub local: String,
    /// Where it is a name; `None` for an address literal such as `[192.0.2.1]`.
    pub domain: Option<DomainName>,
}

impl Address {
    /// Takes a path apart at its last `@` (RFC 5321 section 4.1.2). `None` where there is no domain.
    pub fn parse(path: &str) -> Option<Self> {
        let (local, domain) = path.rsplit_once('@')?;
        let literal = domain.starts_with('[');
        let domain = domain.parse().ok();
        if local.is_empty() || (domain.is_none() && !literal) {
            return None;
        }
        Some(Self {
            local: unquote(local),
            domain,
        })
    }

    /// The local part as it is compared: ASCII case does not count in the local parts that we serve.
    pub fn key(&self) -> String {
        key(&self.local)
    }

    /// Whether the local part could ask for a relay behind us: `user%host@`, `host!user@`, `"user@host"@`.
    pub fn is_routed(&self) -> bool {
        self.local.contains(['%', '!', '@', ':'])
    }
}

/// A local part as it is compared.
pub fn key(local: &str) -> String {
    local.to_ascii_lowercase()
}

/// RFC 5321 section 4.1.2: a quoted string and its plain form are the same local part.
fn unquote(local: &str) -> String {
    let Some(inner) = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return local.to_owned();
    };
    let mut plain = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        plain.push(if character == '\\' {
            characters.next().unwrap_or('\\')
        } else {
            character
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_case_do_not_make_another_mailbox() {
        let plain = Address::parse("alice@Example.COM").unwrap();
        let quoted = Address::parse("\"a\\lice\"@example.com.").unwrap();
        assert_eq!(plain, quoted);
        assert_eq!(Address::parse("ALICE@example.com").unwrap().key(), plain.key());
        assert_eq!(Address::parse("a@[192.0.2.1]").unwrap().domain, None);
        for bad in ["alice", "@example.com", "a@", "a@b c"] {
            assert!(Address::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn routes_hidden_in_the_local_part_are_seen() {
        for path in ["a%b@x.example", "h!u@x.example", "\"a@b\"@x.example"] {
            assert!(Address::parse(path).unwrap().is_routed(), "{path}");
        }
        assert!(!Address::parse("a+b@x.example").unwrap().is_routed());
    }
}
