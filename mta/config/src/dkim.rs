//! The keys that a domain's mail is signed with (DKIM, RFC 6376).

use std::collections::HashSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::check::Findings;
use crate::file::{Domain, unset};
use crate::text::shorten;

/// How the mail of a domain is signed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Dkim {
    /// Each makes one signature; at most [`MOST_KEYS`]. RSA and Ed25519 side by side serve verifiers old and new (RFC 8463
    /// section 3).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<SigningKey>,
    /// Whether mail of others to this domain is sealed with them where it goes on to another server (ARC, RFC 8617).
    #[serde(skip_serializing_if = "unset")]
    pub arc: ArcSeal,
}

/// Which mail is sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ArcSeal {
    /// None.
    #[default]
    Disabled,
    /// What strangers send to this domain and an alias, or delivery by SMTP, takes to another server.
    Forwarded,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct SigningKey {
    /// Where its record is: `SELECTOR._domainkey.DOMAIN`.
    pub selector: String,
    /// The private key.
    pub source: KeySource,
}

/// Where a private key is. PEM: PKCS #8 (RSA or Ed25519), or PKCS #1.
#[derive(Clone, PartialEq)]
pub enum KeySource {
    /// Text in this file.
    Inline(String),
    /// A file, read at start and again when it changes.
    File(PathBuf),
}

impl std::fmt::Debug for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("Inline(…)"),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

/// The key as it is written: one source or the other.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Fields {
    selector: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_file: Option<PathBuf>,
}

impl TryFrom<Fields> for SigningKey {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        let source = match (fields.key, fields.key_file) {
            (Some(text), None) => KeySource::Inline(text),
            (None, Some(path)) => KeySource::File(path),
            _ => return Err("needs its private key once; write key or keyFile"),
        };
        Ok(Self {
            selector: fields.selector,
            source,
        })
    }
}

impl From<SigningKey> for Fields {
    fn from(key: SigningKey) -> Self {
        let (text, path) = match key.source {
            KeySource::Inline(text) => (Some(text), None),
            KeySource::File(path) => (None, Some(path)),
        };
        Self {
            selector: key.selector,
            key: text,
            key_file: path,
        }
    }
}

/// Judges a selector (RFC 6376 section 3.1): labels of letters, digits, hyphens and underscores, at most 63 octets each.
pub fn is_selector(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_')
    };
    text.len() <= 128 && text.split('.').all(is_label)
}

pub(crate) fn check(domain: &Domain, found: &mut Findings) {
    let at = |field: &str| format!("domains[{}].dkim.keys{field}", domain.name);
    let keys = &domain.dkim.keys;
    found.require(
        keys.len() <= MOST_KEYS,
        || at(""),
        || format!("{} keys are too many; give at most {MOST_KEYS}", keys.len()),
    );
    found.require(
        keys.is_empty() || domain.name.as_str().contains('.'),
        || at(""),
        || format!("mail of {} cannot be signed: the name has one label", domain.name),
    );
    let mut selectors = HashSet::new();
    for (number, key) in keys.iter().enumerate() {
        let at = || at(&format!("[{number}].selector"));
        let shown = shorten(&key.selector);
        let name = key.selector.len() + "._domainkey.".len() + domain.name.as_str().len();
        found.require(is_selector(&key.selector), at, || {
            format!("`{shown}` is not a selector: write letters, digits and hyphens, such as `mail2026`")
        });
        found.require(name <= 253, at, || {
            format!("`{shown}` with the domain is longer than a name of the DNS; write a shorter one")
        });
        found.require(selectors.insert(key.selector.to_ascii_lowercase()), at, || {
            format!("`{shown}` is used twice; give each key a selector of its own")
        });
    }
}

/// Keys of one domain: what is signed with now, and what is changed to.
const MOST_KEYS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SigningKey, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_key_has_one_source_and_is_shown_nowhere() {
        for text in ["{selector: a, key: secret}", "{selector: a, keyFile: /k.pem}"] {
            let key = read(text).unwrap();
            assert_eq!(read(&crate::render(&key).unwrap()).unwrap(), key);
            assert!(!format!("{key:?}").contains("secret"));
        }
        for text in ["{selector: a}", "{selector: a, key: secret, keyFile: /k.pem}"] {
            let error = read(text).unwrap_err();
            assert!(
                error.contains("once") && !error.lines().next().unwrap().contains("secret"),
                "{error}"
            );
        }
    }

    #[test]
    fn selectors_are_names() {
        for (text, good) in [
            ("mail2026", true),
            ("s1.eu", true),
            ("a_b-c", true),
            ("", false),
            ("a..b", false),
            ("-a", false),
            ("a b", false),
            ("a@b", false),
            ("ü", false),
        ] {
            assert_eq!(is_selector(text), good, "{text}");
        }
        assert!(!is_selector(&"a".repeat(64)) && !is_selector(&"a.".repeat(70)));
    }
}
