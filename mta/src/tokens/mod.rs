//! Bearer tokens (JWT, RFC 7519) against a key set: whose is it, and what may they do?
//!
//! ```text
//!   token text, clock ─► Issuer::claims ─┬─► Authenticator  admin API: audience and subject give a role
//!      (key set parsed once              └─► Submitters     SMTP AUTH: one audience, the subject is the identity
//!       per configuration)
//! ```
//!
//! Pure but for [`Reviewer`], which asks whether a token was revoked: no IO; the clock is passed in. The algorithm comes from the key, never from the token (RFC 8725 section
//! 3.1): `none`, HMAC over a public key, and one key used with another algorithm cannot pass. Errors name the rule
//! that failed and never hold a part of the token.

mod keys;
mod review;
mod submitters;

use jsonwebtoken::{Validation, decode, decode_header};
use postroad_config::{TokenAuthority, TokenRole, TokenRule};
use serde::Deserialize;

pub use keys::KeySetError;
use keys::{Key, KeySet};
pub use review::Reviewer;
pub use submitters::{Submitters, looks_like_token};

/// Clocks may differ by this much, seconds.
const LEEWAY: i64 = 30;
/// Longest token that is looked at, octets.
const LONGEST_TOKEN: usize = 16 << 10;

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// `sub` of the token.
    pub subject: String,
    /// What it may do.
    pub role: TokenRole,
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts of base64url with JSON inside, or far too long.
    #[error("the token is not a signed JSON Web Token")]
    Malformed,
    /// `kid` names no key of the set.
    #[error("the token was signed with a key that is not in the key set")]
    UnknownKey,
    /// `alg` is not the algorithm of the key.
    #[error("the token's algorithm is not the one of its key")]
    Algorithm,
    /// A header parameter must be understood that we do not know (RFC 7515 section 4.1.11).
    #[error("the token has a critical header parameter that is not known")]
    Critical,
    /// The signature does not verify.
    #[error("the token's signature does not hold")]
    Signature,
    /// `iss` is another one.
    #[error("the token is of another issuer")]
    Issuer,
    /// `exp` is past.
    #[error("the token has expired")]
    Expired,
    /// `nbf` or `iat` lies in the future.
    #[error("the token is not valid yet")]
    NotYet,
    /// One of its audiences is refused.
    #[error("the token is also meant for an audience that is refused here")]
    RefusedAudience,
    /// No rule has one of its audiences.
    #[error("the token is not meant for this endpoint")]
    Audience,
    /// A rule has its audience, none its subject; or it is the subject of no ServiceAccount.
    #[error("the token's subject has no role here")]
    Subject,
    /// The client calls itself another than the token does.
    #[error("the user name is another ServiceAccount than the token's")]
    User,
    /// Its issuer takes it back.
    #[error("the token was revoked")]
    Revoked,
}

/// One issuer: its name, its keys, and the audiences that no token of it may carry here.
#[derive(Debug)]
struct Issuer {
    name: String,
    keys: KeySet,
    refused: Vec<String>,
}

/// Judges tokens by one [`TokenAuthority`].
#[derive(Debug)]
pub struct Authenticator {
    issuer: Issuer,
    rules: Vec<TokenRule>,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    iss: String,
    #[serde(default)]
    sub: String,
    #[serde(default)]
    aud: Audiences,
    exp: i64,
    nbf: Option<i64>,
    iat: Option<i64>,
}

/// RFC 7519 section 4.1.3: one string, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

impl Default for Audiences {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Audiences {
    fn contains(&self, wanted: &str) -> bool {
        match self {
            Self::One(audience) => audience == wanted,
            Self::Many(audiences) => audiences.iter().any(|audience| audience == wanted),
        }
    }
}

impl Issuer {
    fn new(name: &str, key_set: &str, refused: &[String]) -> Result<Self, KeySetError> {
        Ok(Self {
            name: name.to_owned(),
            keys: KeySet::parse(key_set)?,
            refused: refused.to_vec(),
        })
    }

    /// The claims of a token that is its own, holds now, and is not for an audience that is refused.
    fn claims(&self, token: &str, now: i64) -> Result<Claims, TokenError> {
        if token.len() > LONGEST_TOKEN {
            return Err(TokenError::Malformed);
        }
        let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        let key = self
            .keys
            .find(header.kid.as_deref())
            .ok_or(TokenError::UnknownKey)?;
        if header.alg != key.algorithm {
            return Err(TokenError::Algorithm);
        }
        let claims = verify(token, key)?;
        self.judge(&claims, now)?;
        Ok(claims)
    }

    fn judge(&self, claims: &Claims, now: i64) -> Result<(), TokenError> {
        if claims.iss != self.name {
            return Err(TokenError::Issuer);
        }
        if claims.exp.saturating_add(LEEWAY) <= now {
            return Err(TokenError::Expired);
        }
        let earliest = now.saturating_add(LEEWAY);
        if claims.nbf.is_some_and(|nbf| nbf > earliest) || claims.iat.is_some_and(|iat| iat > earliest) {
            return Err(TokenError::NotYet);
        }
        if self.refused.iter().any(|refused| claims.aud.contains(refused)) {
            return Err(TokenError::RefusedAudience);
        }
        Ok(())
    }
}

impl Authenticator {
    /// Reads the key set. Errors: it is no key set, or holds no key that we can use.
    pub fn new(authority: &TokenAuthority) -> Result<Self, KeySetError> {
        Ok(Self {
            issuer: Issuer::new(
                &authority.issuer,
                &authority.key_set,
                &authority.refused_audiences,
            )?,
            rules: authority.rules.clone(),
        })
    }

    /// Judges a token. `now`: seconds since 1970.
    pub fn authenticate(&self, token: &str, now: i64) -> Result<Bearer, TokenError> {
        let claims = self.issuer.claims(token, now)?;
        let mut fits = self
            .rules
            .iter()
            .filter(|rule| claims.aud.contains(&rule.audience))
            .peekable();
        if fits.peek().is_none() {
            return Err(TokenError::Audience);
        }
        let fitting = fits.find(|rule| !claims.sub.is_empty() && rule.subject == claims.sub);
        let role = fitting.ok_or(TokenError::Subject)?.role;
        Ok(Bearer {
            subject: claims.sub,
            role,
        })
    }
}

/// Signature first; the claims are judged by us, with the caller's clock.
fn verify(token: &str, key: &Key) -> Result<Claims, TokenError> {
    let mut rules = Validation::new(key.algorithm);
    rules.validate_exp = false;
    rules.validate_nbf = false;
    rules.validate_aud = false;
    rules.required_spec_claims.clear();
    decode::<Claims>(token, &key.public, &rules)
        .map(|data| data.claims)
        .map_err(|error| {
            use jsonwebtoken::errors::ErrorKind;
            match error.kind() {
                ErrorKind::InvalidSignature => TokenError::Signature,
                ErrorKind::InvalidAlgorithm => TokenError::Algorithm,
                _ => TokenError::Malformed,
            }
        })
}

#[cfg(test)]
mod tests;
