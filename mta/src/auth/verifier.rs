//! Verifiers as the file of users holds them: what proves a password without being one.
//!
//! ```text
//!   $argon2id$v=19$m=…,t=…,p=…$salt$hash          PLAIN, LOGIN
//!   SCRAM-SHA-256$4096:salt$StoredKey:ServerKey   those and SCRAM-SHA-256 (RFC 5802 section 3, RFC 7677)
//! ```
//!
//! Slow on purpose: callers run [`Verifier::proves`] on a blocking thread.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::rand;
use postroad_smtp::sasl::{Prohibited, ScramVerifier, prepare};
use zeroize::Zeroizing;

/// A verifier that was read.
#[derive(Clone)]
pub enum Verifier {
    /// The text of an argon2id hash in PHC form.
    Argon2id(String),
    /// Keys of SCRAM-SHA-256.
    Scram(Box<ScramVerifier>),
}

/// A verifier cannot be used. The text never holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the verifier is malformed; make a new one with `postroad-mta hash-password`")]
pub struct BadVerifier;

/// No verifier can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotMade {
    /// Of this password.
    #[error("the password cannot be used: {0}")]
    Password(#[from] Prohibited),
    /// Nothing is left of it when it is prepared.
    #[error("the password is empty, or of characters that stand for nothing")]
    Empty,
    /// Of any.
    #[error("the system gives no randomness")]
    Randomness,
}

impl Verifier {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, BadVerifier> {
        if text.starts_with("SCRAM-SHA-256$") {
            return text
                .parse()
                .map(|keys| Self::Scram(Box::new(keys)))
                .map_err(|_| BadVerifier);
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

    /// Whether it was made from this password, which comes prepared. Takes milliseconds of a core.
    pub fn proves(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2id(text) => {
                PasswordHash::new(text).is_ok_and(|hash| argon2().verify_password(password, &hash).is_ok())
            }
            Self::Scram(keys) => std::str::from_utf8(password).is_ok_and(|password| keys.matches(password)),
        }
    }

    /// Makes an argon2id verifier with the costs of RFC 9106 as trimmed by OWASP: 19 MiB, 2 passes, 1 lane.
    pub fn argon2id(password: &str) -> Result<String, NotMade> {
        let password = prepared(password)?;
        let salt: [u8; 16] = random()?;
        let hash = argon2()
            .hash_password_with_salt(password.as_bytes(), &salt)
            .map_err(|_| NotMade::Randomness)?;
        Ok(hash.to_string())
    }

    /// Makes a SCRAM-SHA-256 verifier.
    pub fn scram(password: &str) -> Result<String, NotMade> {
        let made = ScramVerifier::from_password(&prepared(password)?, NEW_ITERATIONS)
            .map_err(|_| NotMade::Randomness)?;
        Ok(made.to_string())
    }
}

/// As logins have it (RFC 4013).
fn prepared(password: &str) -> Result<Zeroizing<String>, NotMade> {
    let password = Zeroizing::new(prepare(password)?.into_owned());
    if password.is_empty() {
        return Err(NotMade::Empty);
    }
    Ok(password)
}

/// The first 32 octets of a SHA-256 value.
pub(super) fn octets(value: &[u8]) -> [u8; 32] {
    let mut octets = [0; 32];
    for (to, from) in octets.iter_mut().zip(value) {
        *to = *from;
    }
    octets
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], NotMade> {
    let mut octets = [0; N];
    rand::fill(&mut octets).map_err(|_| NotMade::Randomness)?;
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
/// RFC 7677 section 4. The same as of users who do not exist, so that neither can be told from the other.
const NEW_ITERATIONS: u32 = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_proves_its_password_and_no_other() {
        for text in [
            Verifier::argon2id("s3cret").unwrap(),
            Verifier::scram("s3cret").unwrap(),
        ] {
            let verifier = Verifier::parse(&text).unwrap();
            assert!(verifier.proves(b"s3cret"), "{text}");
            assert!(!verifier.proves(b"s3cret ") && !verifier.proves(b""));
            assert!(!format!("{verifier:?}").contains('$'));
        }
    }

    #[test]
    fn a_password_is_prepared_before_it_is_hashed() {
        for make in [Verifier::argon2id, Verifier::scram] {
            let verifier = Verifier::parse(&make("cafe\u{301}\u{a0}\u{2168}").unwrap()).unwrap();
            assert!(verifier.proves("caf\u{e9} IX".as_bytes()));
            assert!(matches!(make("bell\u{7}"), Err(NotMade::Password(_))));
            assert!(matches!(make("\u{1f600}"), Err(NotMade::Password(_))));
            assert_eq!(make("\u{ad}"), Err(NotMade::Empty));
        }
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
