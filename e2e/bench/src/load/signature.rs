//! A signature of our own making (RFC 6376) on the messages of the load: what the measured servers verify must not come from
//! one of them.
//!
//! `simple` for header and body, RSA-2048 over SHA-256. It does not cover the field with the number, so that one signature
//! serves all copies; each server verifies each copy all the same.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postroad_e2e::kubectl::{Failure, Outcome};
use rcgen::{KeyPair, PKCS_RSA_SHA256, PublicKeyData, SigningKey};

use super::body::{FIELDS, Template, body};

/// The domain that signs, and the selector of its key.
pub const DOMAIN: &str = "source.example";
/// See [`DOMAIN`].
pub const SELECTOR: &str = "bench";

/// A key, and messages that it signed.
#[derive(Debug)]
pub struct Signed {
    /// The messages.
    pub template: Template,
    /// The text of the key's record.
    pub record: String,
}

/// Messages with a body of about that many octets under a new key.
pub fn signed(size: usize) -> Outcome<Signed> {
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256).map_err(wrong)?;
    let body = body(size);
    let field = field(&key, &body)?;
    let public = STANDARD.encode(key.subject_public_key_info());
    Ok(Signed {
        template: Template::below(&field, &body),
        record: format!("v=DKIM1; k=rsa; p={public}"),
    })
}

/// The field. The body ends with one line end, as the `simple` form wants it (section 3.4.3).
fn field(key: &KeyPair, body: &[u8]) -> Outcome<String> {
    let hash = STANDARD.encode(digest(&SHA256, body));
    let unsigned = format!(
        "DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d={DOMAIN}; s={SELECTOR}; h=From:To:Date:Message-ID; bh={hash}; b="
    );
    // Section 3.7: the signed fields, then this one with an empty `b=` and without its line end.
    let covered = FIELDS.concat() + &unsigned;
    let signature = STANDARD.encode(key.sign(covered.as_bytes()).map_err(wrong)?);
    Ok(format!("{unsigned}{signature}\r\n"))
}

fn wrong(error: impl std::fmt::Display) -> Failure {
    Failure::wrong(error.to_string())
}
