//! Sealing (RFC 8617 section 5.1): one set more on a message that is passed on.
//!
//! May assume: the caller has verified the chain, and the header is the one that leaves.

use std::fmt;
use std::sync::Arc;

use super::chain::{self, Fields, MESSAGE_SIGNATURE, MOST_SETS, RESULTS, SEAL};
use super::verify::{Outcome, Problem, Verdict, absorb, unfolded};
use crate::dkim::algorithm::HeaderHasher;
use crate::dkim::signature::{absorb_unsigned, names_to_sign, selection};
use crate::dkim::write::{self, Fold, Written};
use crate::dkim::{
    BadSigner, BodyHashes, Canonicalization, Field, Header, HeaderHash, KeyFailed, SigningKey, Wanted,
    base64, domain,
};

/// Why there is no sealer.
pub type BadSealer = BadSigner;

/// Why no set is added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsealable {
    /// The chain failed before and says so: it ends there (section 5.1.2).
    #[error("the chain has ended: an older seal says that it failed")]
    Ended,
    /// The chain is as long as it may be.
    #[error("the chain has {MOST_SETS} sets already")]
    Full,
    /// A set in front of it would take its first line for its own last one.
    #[error("the message begins with white space, as if it went on with a field")]
    BeginsFolded,
    /// More fields of the names that are signed than one line lists.
    #[error("the message has too many fields to sign")]
    TooManyFields,
    /// What was found has a word that no line of a header takes.
    #[error("the results have a word that is longer than a line may be")]
    LongResults,
    /// The hash of the body was not asked for in time.
    #[error("the body was not hashed")]
    NoBody,
    /// The key failed.
    #[error(transparent)]
    Key(#[from] KeyFailed),
}

/// Seals for one domain.
#[derive(Clone)]
pub struct Sealer {
    domain: String,
    selector: String,
    key: Arc<dyn SigningKey>,
    names: Vec<String>,
    /// Names that are signed once more than they are there.
    oversigned: &'static [&'static str],
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("domain", &self.domain)
            .field("selector", &self.selector)
            .field("algorithm", &self.key.algorithm())
            .finish_non_exhaustive()
    }
}

impl Sealer {
    /// A sealer with a key that is published under a selector.
    pub fn new(domain: &str, selector: &str, key: Arc<dyn SigningKey>) -> Result<Self, BadSealer> {
        Ok(Self {
            domain: domain::domain(domain).ok_or_else(|| BadSealer::Domain(domain.to_owned()))?,
            selector: domain::selector(selector).ok_or_else(|| BadSealer::Selector(selector.to_owned()))?,
            key,
            names: NAMES.iter().map(|name| (*name).to_owned()).collect(),
            oversigned: OVERSIGNED,
        })
    }

    /// Signs these fields in place of the usual ones. Fields of the chain itself are left out (section 4.1.2).
    #[must_use]
    pub fn signing<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        let names = names.into_iter().filter(|name| !is_of_chain(name));
        self.names = names.map(str::to_ascii_lowercase).collect();
        self.oversigned = &[];
        self
    }

    /// What it needs of the body.
    pub fn want(&self, wanted: &mut Wanted) {
        wanted.add(Canonicalization::Relaxed, None);
    }

    /// Seals. Gives the three fields, each with its CRLF, to stand above the header.
    ///
    /// `chain`: what the chain came to when the message arrived. `results`: what this system found, from its authserv-id on,
    /// as in `Authentication-Results` (RFC 8601 section 2.2), folded or not. `now`: seconds since 1970.
    pub fn seal(
        &self,
        header: &Header<'_>,
        body: &BodyHashes,
        chain: &Outcome,
        results: &str,
        now: u64,
    ) -> Result<String, Unsealable> {
        if header.begins_folded() {
            return Err(Unsealable::BeginsFolded);
        }
        if matches!(chain.problem, Some(Problem::FailedBefore(_))) {
            return Err(Unsealable::Ended);
        }
        let older = chain::sets(header).unwrap_or_default();
        let instance = next_instance(header, &older)?;
        let body = body
            .find(Canonicalization::Relaxed, None)
            .ok_or(Unsealable::NoBody)?;
        let names = self.names(header)?;
        let set = SetText {
            sealer: self,
            instance: instance.to_string(),
            now: now.to_string(),
        };
        let results = results_field(instance, results)?;
        let message = set.message_signature(header, &names, &base64::encode(&body.sha256))?;
        // A chain that failed is not vouched for: the seal covers its own set alone (section 5.1.2).
        let covered = match chain.verdict {
            Verdict::Fail => &[],
            Verdict::None | Verdict::Pass => older.as_slice(),
        };
        let seal = set.seal(covered, &results, &message, chain.verdict)?;
        Ok(format!("{seal}{message}{results}"))
    }

    /// Names for `h=`: each as often as it is there, and once more where a reader goes by the field, so that nobody can add one.
    /// Error: they do not fit. A part of them would leave the rest to whoever changes it.
    fn names(&self, header: &Header<'_>) -> Result<Vec<String>, Unsealable> {
        let names = self.names.iter().map(|name| {
            let more = usize::from(self.oversigned.contains(&name.as_str()));
            (name.as_str(), more)
        });
        let octets = |name: &str| name.len() + 1;
        names_to_sign(header, names, MOST_NAME_OCTETS, octets).ok_or(Unsealable::TooManyFields)
    }
}

/// What was found, each statement on lines of its own; nothing else of the caller's white space is kept.
fn results_field(instance: u8, results: &str) -> Result<String, Unsealable> {
    let results = unfolded(results.as_bytes()).replace("; ", ";\r\n ");
    let mut field = String::new();
    for line in format!("{RESULTS}: i={instance}; {results}").split("\r\n") {
        fold(line, &mut field)?;
    }
    Ok(field)
}

/// Writes a line as lines of at most [`MOST_LINE`] octets, each after a space of it.
fn fold(line: &str, out: &mut String) -> Result<(), Unsealable> {
    let mut rest = line;
    while rest.len() > MOST_LINE {
        let start = rest.as_bytes().get(..=MOST_LINE).unwrap_or_default();
        // The first octet may be the space of the fold before.
        let at = start
            .iter()
            .rposition(|octet| *octet == b' ')
            .filter(|at| *at > 0);
        let (first, more) = rest.split_at(at.ok_or(Unsealable::LongResults)?);
        out.push_str(first);
        out.push_str("\r\n");
        rest = more;
    }
    out.push_str(rest);
    out.push_str("\r\n");
    Ok(())
}

/// Number of the set to add: one more than the highest, even if the chain is broken.
fn next_instance(header: &Header<'_>, older: &[Fields<'_>]) -> Result<u8, Unsealable> {
    let highest = if older.is_empty() {
        chain::highest(header)
    } else {
        u8::try_from(older.len()).unwrap_or(u8::MAX)
    };
    if highest >= MOST_SETS {
        return Err(Unsealable::Full);
    }
    Ok(highest + 1)
}

/// What the fields of a set have in common. Tags are in the order of their names, one space behind each semicolon, and values
/// are not folded: so that whoever writes it anew writes the same.
struct SetText<'s> {
    sealer: &'s Sealer,
    instance: String,
    now: String,
}

impl SetText<'_> {
    fn message_signature(
        &self,
        header: &Header<'_>,
        names: &[String],
        body_hash: &str,
    ) -> Result<String, KeyFailed> {
        let text = |signature: &str| {
            self.field(
                MESSAGE_SIGNATURE,
                signature,
                &[
                    ("bh", body_hash),
                    ("c", "relaxed/relaxed"),
                    ("h", &names.join(":")),
                ],
            )
        };
        let mut hasher = HeaderHasher::new();
        for position in selection(header, names, None) {
            if let Some(field) = header.fields().get(position) {
                absorb(&mut hasher, field);
            }
        }
        let hash = with_own(hasher, &text(""));
        let signature = self.sealer.key.sign(&hash)?;
        Ok(text(&base64::encode(&signature)))
    }

    fn seal(
        &self,
        older: &[Fields<'_>],
        results: &str,
        message: &str,
        state: Verdict,
    ) -> Result<String, KeyFailed> {
        let state = state.to_string();
        let text = |signature: &str| self.field(SEAL, signature, &[("cv", &state)]);
        let mut hasher = HeaderHasher::new();
        for fields in older {
            absorb(&mut hasher, fields.results);
            absorb(&mut hasher, fields.message);
            absorb(&mut hasher, fields.seal);
        }
        for own in [results, message] {
            if let Some(field) = Field::parse(own.as_bytes()) {
                absorb(&mut hasher, &field);
            }
        }
        let hash = with_own(hasher, &text(""));
        let signature = self.sealer.key.sign(&hash)?;
        Ok(text(&base64::encode(&signature)))
    }

    fn field(&self, name: &str, signature: &str, more: &[(&str, &str)]) -> String {
        let algorithm = self.sealer.key.algorithm().to_string();
        let mut tags = vec![
            ("a", algorithm.as_str()),
            ("b", signature),
            ("d", &self.sealer.domain),
            ("i", &self.instance),
            ("s", &self.sealer.selector),
            ("t", &self.now),
        ];
        tags.extend_from_slice(more);
        tags.sort_unstable();
        let tags: Vec<Written<'_>> = tags
            .into_iter()
            .map(|(name, value)| Written {
                name,
                value,
                fold: Fold::Never,
            })
            .collect();
        write::field(name, &tags)
    }
}

/// The hash of what was taken and of a field of ours without its `b=`.
fn with_own(mut hasher: HeaderHasher, unsigned: &str) -> HeaderHash {
    let mut text = Vec::new();
    absorb_unsigned(unsigned, &mut text);
    hasher.update(&text);
    hasher.finish()
}

fn is_of_chain(name: &str) -> bool {
    [SEAL, MESSAGE_SIGNATURE, RESULTS]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

/// Octets of a line, without its end (RFC 5322 section 2.1.1).
const MOST_LINE: usize = 998;
/// Octets of `h=`: a line has at most 998 (RFC 5322 section 2.1.1).
const MOST_NAME_OCTETS: usize = 800;

/// Signed where they are there; `Authentication-Results` and trace fields are not (RFC 8617 section 4.1.2).
const NAMES: &[&str] = &[
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "list-id",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "list-post",
    "dkim-signature",
];

/// Signed once more than they are there: what a reader sees, and what decides how the body is read.
const OVERSIGNED: &[&str] = &[
    "from",
    "reply-to",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_the_results_is_longer_than_mail_may_have() {
        let words = |count| vec!["word=value"; count].join(" ");
        for results in [
            "mx.example; none".to_owned(),
            format!("mx.example; dkim=pass {}; spf=none", words(500)),
            format!(
                "mx.example; dkim=fail reason=\"{}\"; {}",
                "x".repeat(900),
                words(200)
            ),
        ] {
            let field = results_field(7, &results).unwrap();
            let lines: Vec<&str> = field.strip_suffix("\r\n").unwrap().split("\r\n").collect();
            assert!(lines.iter().all(|line| line.len() <= MOST_LINE), "{field}");
            assert!(lines.iter().skip(1).all(|line| line.starts_with(' ')), "{field}");
            let field = Field::parse(field.as_bytes()).unwrap();
            assert_eq!(unfolded(field.value()), format!("i=7; {results}"));
        }
        for octets in [998, 5_000] {
            let results = format!("mx.example; dkim=fail reason={}", "x".repeat(octets));
            assert_eq!(results_field(1, &results), Err(Unsealable::LongResults));
        }
    }
}
