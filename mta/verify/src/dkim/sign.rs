//! Signing (RFC 6376 section 5): one `DKIM-Signature` for each key, relaxed/relaxed, with fields that are signed once more
//! than they are there, so that nobody can add another (section 8.15).
//!
//! May assume: the header is the one that leaves, with the `Date`, `Message-ID` and the like that this system adds.

use std::fmt;
use std::sync::Arc;

use super::body::{BodyHashes, Wanted};
use super::header::Header;
use super::private_key::{KeyFailed, SigningKey};
use super::signature::{absorb_unsigned, names_to_sign, selection};
use super::write::{self, Fold, Written};
use super::{Canonicalization, HeaderHash, base64, domain};
use crate::dkim::algorithm::HeaderHasher;

/// Why there is no signer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSigner {
    /// Not a domain.
    #[error("`{0}` is not a domain with at least two labels")]
    Domain(String),
    /// Not a selector.
    #[error("`{0}` is not a selector: labels of letters, digits and hyphens, with dots between")]
    Selector(String),
}

/// Why a message is not signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsignable {
    /// RFC 5322 section 3.6 wants one From; a signature over another number would vouch for a forgery.
    #[error("the message has {0} From fields; it must have one")]
    From(usize),
    /// A signature in front of it would take its first line for its own last one.
    #[error("the message begins with white space, as if it went on with a field")]
    BeginsFolded,
    /// More fields of the names that are signed than a signature should list.
    #[error("the message has more than {MOST_NAMES} fields to sign")]
    TooManyFields,
    /// The hash of the body was not asked for in time.
    #[error("the body was not hashed")]
    NoBody,
    /// The key failed.
    #[error(transparent)]
    Key(#[from] KeyFailed),
}

/// Signs for one domain, with one key or several (RFC 8463 section 3: RSA and Ed25519 side by side).
#[derive(Clone)]
pub struct Signer {
    domain: String,
    keys: Vec<(String, Arc<dyn SigningKey>)>,
    lifetime: Option<u64>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<String> = self
            .keys
            .iter()
            .map(|(selector, key)| format!("{selector} {}", key.algorithm()))
            .collect();
        f.debug_struct("Signer")
            .field("domain", &self.domain)
            .field("keys", &keys)
            .field("lifetime", &self.lifetime)
            .finish()
    }
}

impl Signer {
    /// A signer without keys.
    pub fn new(domain: &str) -> Result<Self, BadSigner> {
        let name = domain::domain(domain).ok_or_else(|| BadSigner::Domain(domain.to_owned()))?;
        Ok(Self {
            domain: name,
            keys: Vec::new(),
            lifetime: None,
        })
    }

    /// One key more, and the selector that it is published under.
    pub fn with_key(mut self, selector: &str, key: Arc<dyn SigningKey>) -> Result<Self, BadSigner> {
        let name = domain::selector(selector).ok_or_else(|| BadSigner::Selector(selector.to_owned()))?;
        self.keys.push((name, key));
        Ok(self)
    }

    /// Signatures expire after so many seconds (`x=`). Without, they do not.
    #[must_use]
    pub fn expiring(mut self, seconds: u64) -> Self {
        self.lifetime = Some(seconds);
        self
    }

    /// `d=`
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// What it needs of the body.
    pub fn want(&self, wanted: &mut Wanted) {
        if !self.keys.is_empty() {
            wanted.add(Canonicalization::Relaxed, None);
        }
    }

    /// Signs. Gives one field for each key, each with its CRLF, to stand above the header. `now`: seconds since 1970.
    pub fn sign(&self, header: &Header<'_>, body: &BodyHashes, now: u64) -> Result<String, Unsignable> {
        if self.keys.is_empty() {
            return Ok(String::new());
        }
        if header.begins_folded() {
            return Err(Unsignable::BeginsFolded);
        }
        let authors = header.positions(b"From").len();
        if authors != 1 {
            return Err(Unsignable::From(authors));
        }
        let names = signed_names(header)?;
        let body = body
            .find(Canonicalization::Relaxed, None)
            .ok_or(Unsignable::NoBody)?;
        let signed = SignedText {
            domain: &self.domain,
            names: &names.join(":"),
            body_hash: &base64::encode(&body.sha256),
            signed_at: now.to_string(),
            expires: self
                .lifetime
                .map(|lifetime| now.saturating_add(lifetime).to_string()),
        };
        let mut fields = String::new();
        for (selector, key) in &self.keys {
            let unsigned = signed.field(selector, key.as_ref(), "");
            let signature = key.sign(&hash(header, &names, &unsigned))?;
            fields.push_str(&signed.field(selector, key.as_ref(), &base64::encode(&signature)));
        }
        Ok(fields)
    }
}

/// What all signatures of a message have in common.
struct SignedText<'a> {
    domain: &'a str,
    names: &'a str,
    body_hash: &'a str,
    signed_at: String,
    expires: Option<String>,
}

impl SignedText<'_> {
    /// `b=` comes last, so that its length moves no fold before it.
    fn field(&self, selector: &str, key: &dyn SigningKey, signature: &str) -> String {
        let algorithm = key.algorithm().to_string();
        let tag = |name, value, fold| Written { name, value, fold };
        let mut tags = vec![
            tag("v", "1", Fold::Never),
            tag("a", &algorithm, Fold::Never),
            tag("c", "relaxed/relaxed", Fold::Never),
            tag("d", self.domain, Fold::Never),
            tag("s", selector, Fold::Never),
            tag("t", &self.signed_at, Fold::Never),
        ];
        if let Some(expires) = &self.expires {
            tags.push(tag("x", expires, Fold::Never));
        }
        tags.push(tag("h", self.names, Fold::Colons));
        tags.push(tag("bh", self.body_hash, Fold::Anywhere));
        tags.push(tag("b", signature, Fold::Anywhere));
        write::field(NAME, &tags)
    }
}

/// The hash to sign: that of the field as it will be without its `b=`.
fn hash(header: &Header<'_>, names: &[String], unsigned: &str) -> HeaderHash {
    let mut hasher = HeaderHasher::new();
    let mut text = Vec::new();
    for position in selection(header, names, None) {
        if let Some(field) = header.fields().get(position) {
            Canonicalization::Relaxed.field(field, &mut text);
            text.extend_from_slice(b"\r\n");
        }
    }
    absorb_unsigned(unsigned, &mut text);
    hasher.update(&text);
    hasher.finish()
}

/// Names for `h=`: each field of a signed name once, and each name that nobody may add once more.
fn signed_names(header: &Header<'_>) -> Result<Vec<String>, Unsignable> {
    let once_more = OVERSIGNED.iter().map(|name| (*name, 1));
    let names = once_more.chain(SIGNED.iter().map(|name| (*name, 0)));
    names_to_sign(header, names, MOST_NAMES, |_| 1).ok_or(Unsignable::TooManyFields)
}

const NAME: &str = "DKIM-Signature";

/// Names that one signature lists.
const MOST_NAMES: usize = 150;

/// Signed once more than they are there: what a reader sees, and what decides how the body is read.
const OVERSIGNED: &[&str] = &[
    "From",
    "Reply-To",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
];

/// Signed where they are there (RFC 6376 section 5.4.1); lists and resenders may add their own.
const SIGNED: &[&str] = &[
    "Sender",
    "Content-Disposition",
    "Content-ID",
    "Content-Description",
    "Resent-Date",
    "Resent-From",
    "Resent-To",
    "Resent-Cc",
    "List-Id",
    "List-Help",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
    "Auto-Submitted",
    "Feedback-ID",
    // RFC 8460 section 5.3.
    "TLS-Report-Domain",
    "TLS-Report-Submitter",
];
