//! Keys to sign with: made here, or read from PEM. The secret stays inside the cryptography library, which wipes it; what
//! passes through here on its way in or out is wiped as well, and `Debug` shows none of it.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use zeroize::Zeroizing;

use super::{Algorithm, HeaderHash, base64, pem};

/// Something that signs: a [`PrivateKey`], or a key that is kept elsewhere.
pub trait SigningKey: Send + Sync {
    /// What it signs with.
    fn algorithm(&self) -> Algorithm;
    /// Signs a hash: PKCS #1 version 1.5 with SHA-256 (RFC 6376 section 3.3.1), or Ed25519 over the hash (RFC 8463).
    fn sign(&self, hash: &HeaderHash) -> Result<Vec<u8>, KeyFailed>;
}

/// A key could not sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key could not sign")]
pub struct KeyFailed;

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// No PEM block of a private key.
    #[error("there is no private key in PEM form (PKCS #8 or PKCS #1)")]
    Pem,
    /// An encrypted key.
    #[error("the private key is encrypted; store it without a passphrase")]
    Encrypted,
    /// Not a key that can sign here.
    #[error("the private key is neither Ed25519 nor RSA of 2048 to 8192 bits")]
    Kind,
    /// The library could not make or write a key.
    #[error("the cryptography library failed")]
    Library,
}

/// A private key. RSA keys have at least 2048 bits (RFC 8301 section 3.2: signers should).
pub struct PrivateKey(Pair);

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.algorithm())
    }
}

impl PrivateKey {
    /// Makes a key: for RSA one of 2048 bits, which takes a good part of a second.
    pub fn generate(algorithm: Algorithm) -> Result<Self, BadKey> {
        let pair = match algorithm {
            Algorithm::RsaSha256 => {
                RsaKeyPair::generate(KeySize::Rsa2048).map(|pair| Pair::Rsa(Box::new(pair)))
            }
            Algorithm::Ed25519Sha256 => Ed25519KeyPair::generate().map(|pair| Pair::Ed25519(Box::new(pair))),
        };
        pair.map(Self).map_err(|_| BadKey::Library)
    }

    /// Reads PKCS #8 (`PRIVATE KEY`, RSA or Ed25519) or PKCS #1 (`RSA PRIVATE KEY`).
    pub fn from_pem(text: &str) -> Result<Self, BadKey> {
        let block = pem::read(text).ok_or(BadKey::Pem)?;
        match block.label {
            "PRIVATE KEY" => Self::from_pkcs8(&block.der),
            "RSA PRIVATE KEY" => {
                let pair = RsaKeyPair::from_der(&block.der).map_err(|_| BadKey::Kind)?;
                Ok(Self(Pair::Rsa(Box::new(pair))))
            }
            "ENCRYPTED PRIVATE KEY" => Err(BadKey::Encrypted),
            _ => Err(BadKey::Kind),
        }
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, BadKey> {
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8(der) {
            return Ok(Self(Pair::Ed25519(Box::new(pair))));
        }
        let pair = RsaKeyPair::from_pkcs8(der).map_err(|_| BadKey::Kind)?;
        Ok(Self(Pair::Rsa(Box::new(pair))))
    }

    /// An Ed25519 key from its 32 octets (RFC 8032 section 5.1.5), as some tools store it.
    pub fn from_ed25519_seed(seed: &[u8; 32]) -> Result<Self, BadKey> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| BadKey::Kind)?;
        Ok(Self(Pair::Ed25519(Box::new(pair))))
    }

    /// The key as PKCS #8 in PEM form. The text is wiped when it is let go.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, BadKey> {
        let der: Result<Pkcs8V1Der<'_>, _> = match &self.0 {
            Pair::Rsa(pair) => pair.as_der(),
            Pair::Ed25519(pair) => pair.as_der(),
        };
        let der = der.map_err(|_| BadKey::Library)?;
        Ok(pem::write("PRIVATE KEY", der.as_ref()))
    }

    /// The text of the TXT record to publish at `SELECTOR._domainkey.DOMAIN` (RFC 6376 section 3.6.1). DNS wants it in
    /// pieces: [`super::strings`].
    pub fn record(&self) -> Result<String, BadKey> {
        let public = match &self.0 {
            Pair::Rsa(pair) => {
                let der: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| BadKey::Library)?;
                base64::encode(der.as_ref())
            }
            Pair::Ed25519(pair) => base64::encode(pair.public_key().as_ref()),
        };
        Ok(format!("v=DKIM1; k={}; p={public}", self.algorithm().key_type()))
    }
}

impl SigningKey for PrivateKey {
    fn algorithm(&self) -> Algorithm {
        match self.0 {
            Pair::Rsa(_) => Algorithm::RsaSha256,
            Pair::Ed25519(_) => Algorithm::Ed25519Sha256,
        }
    }

    fn sign(&self, hash: &HeaderHash) -> Result<Vec<u8>, KeyFailed> {
        match &self.0 {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign_digest(&RSA_PKCS1_SHA256, &hash.0, &mut signature)
                    .map_err(|_| KeyFailed)?;
                Ok(signature)
            }
            Pair::Ed25519(pair) => {
                let signature = pair.try_sign(hash.octets()).map_err(|_| KeyFailed)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dkim::KeyRecord;
    use crate::dkim::algorithm::HeaderHasher;

    fn hash(text: &[u8]) -> HeaderHash {
        let mut hasher = HeaderHasher::new();
        hasher.update(text);
        hasher.finish()
    }

    #[test]
    fn keys_that_are_made_sign_and_their_records_verify() {
        for algorithm in Algorithm::ALL {
            let made = PrivateKey::generate(algorithm).unwrap();
            let read = PrivateKey::from_pem(&made.to_pem().unwrap()).unwrap();
            assert_eq!(made.record(), read.record());
            let record = KeyRecord::parse(made.record().unwrap().as_bytes()).unwrap();
            assert_eq!(record.key.algorithm(), algorithm);
            let signature = read.sign(&hash(b"signed")).unwrap();
            assert!(record.key.verifies(&hash(b"signed"), &signature));
            assert!(!record.key.verifies(&hash(b"another"), &signature));
        }
    }

    #[test]
    fn no_key_is_ever_shown() {
        let key = PrivateKey::from_ed25519_seed(&[7; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKey(ed25519-sha256)");
    }

    #[test]
    fn what_is_no_key_says_why() {
        let block = |label| format!("-----BEGIN {label}-----\nAAEC\n-----END {label}-----\n");
        for (text, want) in [
            (String::new(), BadKey::Pem),
            (block("PRIVATE KEY"), BadKey::Kind),
            (block("RSA PRIVATE KEY"), BadKey::Kind),
            (block("EC PRIVATE KEY"), BadKey::Kind),
            (block("ENCRYPTED PRIVATE KEY"), BadKey::Encrypted),
        ] {
            assert_eq!(PrivateKey::from_pem(&text).err(), Some(want), "{text}");
        }
    }
}
