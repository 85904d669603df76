//! The key set (JWKS, RFC 7517): each key with the one algorithm that it is for.
//!
//! Keys of unknown kind, for encryption, or symmetric are passed over (RFC 7517 section 5); a set without one usable
//! key is an error, as it would refuse everybody without saying why.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

/// Why a key set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// Not JSON of that shape.
    #[error("is not a JSON Web Key Set (RFC 7517): {0}")]
    Unreadable(serde_json::Error),
    /// No key of RS256, ES256, ES384 or `EdDSA`.
    #[error("holds no key for RS256, ES256, ES384 or EdDSA")]
    NoKey,
}

/// A public key and its algorithm.
pub(super) struct Key {
    id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) public: DecodingKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({:?}, {:?})", self.id, self.algorithm)
    }
}

/// The usable keys of a set.
#[derive(Debug)]
pub(super) struct KeySet(Vec<Key>);

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    pub(super) fn parse(text: &str) -> Result<Self, KeySetError> {
        let document: Document = serde_json::from_str(text).map_err(KeySetError::Unreadable)?;
        let keys: Vec<Key> = document
            .keys
            .into_iter()
            .take(MOST_KEYS)
            .filter_map(read)
            .collect();
        if keys.is_empty() {
            Err(KeySetError::NoKey)
        } else {
            Ok(Self(keys))
        }
    }

    /// The key of that id. A token without `kid` is taken only where there is no choice.
    pub(super) fn find(&self, id: Option<&str>) -> Option<&Key> {
        match id {
            Some(id) => self.0.iter().find(|key| key.id.as_deref() == Some(id)),
            None if self.0.len() == 1 => self.0.first(),
            None => None,
        }
    }
}

fn read(value: serde_json::Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    if jwk
        .common
        .public_key_use
        .as_ref()
        .is_some_and(|given| *given != PublicKeyUse::Signature)
    {
        return None;
    }
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => (Algorithm::ES256, KeyAlgorithm::ES256),
            EllipticCurve::P384 => (Algorithm::ES384, KeyAlgorithm::ES384),
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return None,
    };
    if jwk.common.key_algorithm.is_some_and(|given| given != named) {
        return None;
    }
    let public = DecodingKey::from_jwk(&jwk).ok()?;
    Some(Key {
        id: jwk.common.key_id,
        algorithm,
        public,
    })
}

const MOST_KEYS: usize = 64;
