//! Bearer tokens (JWT, RFC 7519) against a key set: who sends this request, and what may they do?
//!
//! ```text
//!   settings.admin.api.tokens ─► Authenticator::new (key set parsed once per configuration)
//!   token text, clock ─► Authenticator::authenticate ─► Bearer { subject, role } | TokenError
//! ```
//!
//! Pure: no IO; the clock is passed in. The algorithm comes from the key, never from the token (RFC 8725 section
//! 3.1): `none`, HMAC over a public key, and one key used with another algorithm cannot pass. Errors name the rule
//! that failed and never hold a part of the token.

mod keys;

use jsonwebtoken::{Validation, decode, decode_header};
use postroad_config::{TokenAuthority, TokenRole};
use serde::Deserialize;

pub use keys::KeySetError;
use keys::{Key, KeySet};

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
    /// A rule has its audience, none its subject.
    #[error("the token's subject has no role here")]
    Subject,
}

/// Judges tokens by one [`TokenAuthority`].
#[derive(Debug)]
pub struct Authenticator {
    authority: TokenAuthority,
    keys: KeySet,
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

impl Authenticator {
    /// Reads the key set. Errors: it is no key set, or holds no key that we can use.
    pub fn new(authority: &TokenAuthority) -> Result<Self, KeySetError> {
        Ok(Self {
            authority: authority.clone(),
            keys: KeySet::parse(&authority.key_set)?,
        })
    }

    /// Judges a token. `now`: seconds since 1970.
    pub fn authenticate(&self, token: &str, now: i64) -> Result<Bearer, TokenError> {
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
        self.judge(claims, now)
    }

    fn judge(&self, claims: Claims, now: i64) -> Result<Bearer, TokenError> {
        if claims.iss != self.authority.issuer {
            return Err(TokenError::Issuer);
        }
        if claims.exp.saturating_add(LEEWAY) <= now {
            return Err(TokenError::Expired);
        }
        let earliest = now.saturating_add(LEEWAY);
        if claims.nbf.is_some_and(|nbf| nbf > earliest) || claims.iat.is_some_and(|iat| iat > earliest) {
            return Err(TokenError::NotYet);
        }
        if self
            .authority
            .refused_audiences
            .iter()
            .any(|refused| claims.aud.contains(refused))
        {
            return Err(TokenError::RefusedAudience);
        }
        let mut fits = self
            .authority
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
