//! Verifiers as the file of users holds them: what proves a password without being one.
//!
//! ```text
//!   $argon2id$v=19$m=…,t=…,p=…$salt$hash          PLAIN, LOGIN
//!   SCRAM-SHA-256$4096:salt$StoredKey:ServerKey   those and SCRAM-SHA-256 (RFC 5802 section 3, RFC 7677)
//! ```
//!
//! Slow on purpose: callers run [`Verifier::proves`] on a blocking thread.

use std::num::NonZeroU32;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

/// A verifier that was read.
#[derive(Clone)]
pub enum Verifier {
    /// The text of an argon2id hash in PHC form.
    Argon2id(String),
    /// Keys of SCRAM-SHA-256.
    Scram(ScramKeys),
}

/// What a SCRAM-SHA-256 server keeps.
#[derive(Clone)]
pub struct ScramKeys {
    /// Iterations of PBKDF2.
    pub iterations: NonZeroU32,
    /// Salt.
    pub salt: Vec<u8>,
    /// SHA-256 of the client's key.
    pub stored_key: [u8; 32],
    /// Proves the server to the client.
    pub server_key: [u8; 32],
}

/// A verifier cannot be used. The text never holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the verifier is malformed; make a new one with `postroad-mta hash-password`")]
pub struct BadVerifier;

impl Verifier {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, BadVerifier> {
        if let Some(rest) = text.strip_prefix("SCRAM-SHA-256$") {
            return ScramKeys::parse(rest).map(Self::Scram).ok_or(BadVerifier);
        }
        let hash = PasswordHash::new(text).map_err(|_| BadVerifier)?;
        let params = Params::try_from(&hash).map_err(|_| BadVerifier)?;
        // A cost out of all measure would let one login take the memory of the process.
        let sane = params.m_cost() <= MOST_MEMORY_KIB && params.t_cost() <= MOST_PASSES;
        if text.starts_with("$argon2id$") && hash.hash.is_some() && sane {
            Ok(Self::Argon2id(text.to_owned()))
        } else {
            Err(BadVerifier)
        }
    }

    /// Whether it was made from this password. Takes milliseconds of a core.
    pub fn proves(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2id(text) => {
                PasswordHash::new(text).is_ok_and(|hash| argon2().verify_password(password, &hash).is_ok())
            }
            Self::Scram(keys) => {
                let made = ScramKeys::derive(password, &keys.salt, keys.iterations);
                made.stored_key.ct_eq(&keys.stored_key).into()
            }
        }
    }

    /// Makes an argon2id verifier with the costs of RFC 9106 as trimmed by OWASP: 19 MiB, 2 passes, 1 lane.
    pub fn argon2id(password: &[u8]) -> Result<String, BadVerifier> {
        let salt: [u8; 16] = random()?;
        let hash = argon2()
            .hash_password_with_salt(password, &salt)
            .map_err(|_| BadVerifier)?;
        Ok(hash.to_string())
    }

    /// Makes a SCRAM-SHA-256 verifier.
    pub fn scram(password: &[u8]) -> Result<String, BadVerifier> {
        let salt: [u8; 16] = random()?;
        Ok(ScramKeys::derive(password, &salt, NEW_ITERATIONS).to_text())
    }
}

impl ScramKeys {
    fn parse(text: &str) -> Option<Self> {
        let (cost, keys) = text.split_once('$')?;
        let (iterations, salt) = cost.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        let iterations: NonZeroU32 = iterations.parse().ok()?;
        let salt = STANDARD.decode(salt).ok()?;
        if salt.is_empty() || salt.len() > 64 || iterations.get() > MOST_ITERATIONS {
            return None;
        }
        Some(Self {
            iterations,
            salt,
            stored_key: STANDARD.decode(stored).ok()?.try_into().ok()?,
            server_key: STANDARD.decode(server).ok()?.try_into().ok()?,
        })
    }

    /// RFC 5802 section 3.
    pub(super) fn derive(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Self {
        let mut salted = [0; 32];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            iterations,
            salt,
            password,
            &mut salted,
        );
        let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
        Self {
            iterations,
            salt: salt.to_vec(),
            stored_key: octets(
                digest::digest(&digest::SHA256, hmac::sign(&key, b"Client Key").as_ref()).as_ref(),
            ),
            server_key: octets(hmac::sign(&key, b"Server Key").as_ref()),
        }
    }

    fn to_text(&self) -> String {
        format!(
            "SCRAM-SHA-256${}:{}${}:{}",
            self.iterations,
            STANDARD.encode(&self.salt),
            STANDARD.encode(self.stored_key),
            STANDARD.encode(self.server_key)
        )
    }
}

/// The first 32 octets of a SHA-256 value.
pub(super) fn octets(value: &[u8]) -> [u8; 32] {
    let mut octets = [0; 32];
    for (to, from) in octets.iter_mut().zip(value) {
        *to = *from;
    }
    octets
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], BadVerifier> {
    let mut octets = [0; N];
    rand::fill(&mut octets).map_err(|_| BadVerifier)?;
    Ok(octets)
}

fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Argon2id(_) => "Argon2id(…)",
            Self::Scram(_) => "Scram(…)",
        })
    }
}

const MOST_MEMORY_KIB: u32 = 256 << 10;
const MOST_PASSES: u32 = 10;
const MOST_ITERATIONS: u32 = 1_000_000;
/// RFC 7677 section 4 asks for 4096 at least; the client pays for it, and the server at PLAIN and LOGIN.
const NEW_ITERATIONS: NonZeroU32 = NonZeroU32::new(100_000).unwrap();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_proves_its_password_and_no_other() {
        for text in [
            Verifier::argon2id(b"s3cret").unwrap(),
            Verifier::scram(b"s3cret").unwrap(),
        ] {
            let verifier = Verifier::parse(&text).unwrap();
            assert!(verifier.proves(b"s3cret"), "{text}");
            assert!(!verifier.proves(b"s3cret ") && !verifier.proves(b""));
            assert!(!format!("{verifier:?}").contains('$'));
        }
    }

    #[test]
    fn scram_keys_are_those_of_the_rfc() {
        // RFC 7677 section 3: user, pencil, 4096; ServerSignature is checked there, the keys follow from it.
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = ScramKeys::derive(b"pencil", &salt, NonZeroU32::new(4096).unwrap());
        let message = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
             r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
             c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let signature = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, &keys.server_key),
            message.as_bytes(),
        );
        assert_eq!(
            STANDARD.encode(signature),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
    }

    #[test]
    fn what_is_malformed_or_too_costly_is_refused() {
        let costly = "$argon2id$v=19$m=99999999,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNo";
        for text in [
            "",
            "$argon2id$",
            "SCRAM-SHA-256$",
            "SCRAM-SHA-256$0:AA==$AA==:AA==",
            "$2y$x",
            costly,
        ] {
            assert!(Verifier::parse(text).is_err(), "{text}");
        }
    }
}
