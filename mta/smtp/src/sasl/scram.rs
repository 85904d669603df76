//! SCRAM-SHA-256 (RFC 5802, RFC 7677): the server never learns the password.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

/// What is kept of a password: salted keys. Text form: `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`,
/// base 64 each.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramVerifier(…)")
    }
}

/// Why a text is no verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not of the form SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>, with 4096 to 1000000 iterations"
)]
pub struct VerifierError;

/// RFC 7677 section 4 asks for 4,096 at least; more costs the client, not the server.
const FEWEST: u32 = 4_096;
const MOST: u32 = 1_000_000;

impl ScramVerifier {
    /// Makes one from a password, with a new salt.
    ///
    /// Errors: no randomness, or iterations out of 4096..=1000000.
    pub fn from_password(password: &str, iterations: u32) -> Result<Self, VerifierError> {
        let mut salt = vec![0; 16];
        rand::fill(&mut salt).map_err(|_| VerifierError)?;
        Self::derive(password, salt, iterations)
    }

    fn derive(password: &str, salt: Vec<u8>, iterations: u32) -> Result<Self, VerifierError> {
        let iterations = NonZeroU32::new(iterations)
            .filter(|count| (FEWEST..=MOST).contains(&count.get()))
            .ok_or(VerifierError)?;
        let mut salted = [0; 32];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            iterations,
            &salt,
            password.as_bytes(),
            &mut salted,
        );
        let client_key = mac(&salted, b"Client Key");
        Ok(Self {
            iterations,
            salt,
            stored_key: sha256(&client_key),
            server_key: mac(&salted, b"Server Key"),
        })
    }

    /// For a user who does not exist: the same dialogue as for others, with a salt that stays the same for this name.
    /// `secret`: kept by the caller, so that salts cannot be told from real ones.
    pub fn made_up(name: &str, secret: &[u8]) -> Self {
        let salt = mac(secret, name.as_bytes())[..16].to_vec();
        let iterations = NonZeroU32::MIN.saturating_add(FEWEST - 1);
        Self {
            iterations,
            salt,
            stored_key: mac(secret, b"stored"),
            server_key: mac(secret, b"server"),
        }
    }

    /// The same, with as many iterations and as long a salt as this one has.
    #[must_use]
    pub fn made_up_like(&self, name: &str, secret: &[u8]) -> Self {
        let more = mac(secret, format!("{name}\0").as_bytes());
        let mut salt = [mac(secret, name.as_bytes()), more].concat();
        salt.truncate(self.salt.len());
        Self {
            iterations: self.iterations,
            salt,
            ..Self::made_up(name, secret)
        }
    }

    /// Whether this is the password, for PLAIN and LOGIN. Costs the iterations: call it off the reactor.
    pub fn matches(&self, password: &str) -> bool {
        Self::derive(password, self.salt.clone(), self.iterations.get())
            .is_ok_and(|other| bool::from(other.stored_key.ct_eq(&self.stored_key)))
    }

    /// `r=…,s=…,i=…` (RFC 5802 section 5.1).
    pub(super) fn first_message(&self, nonce: &str) -> String {
        format!(
            "r={nonce},s={},i={}",
            STANDARD.encode(&self.salt),
            self.iterations
        )
    }

    /// Checks the client's proof over the messages so far; gives the server's signature.
    pub(super) fn verify(&self, messages: &str, proof: &[u8]) -> Option<String> {
        let signature = mac(&self.stored_key, messages.as_bytes());
        let proof: [u8; 32] = proof.try_into().ok()?;
        let mut client_key = [0; 32];
        for (at, octet) in client_key.iter_mut().enumerate() {
            *octet = proof[at] ^ signature[at];
        }
        bool::from(sha256(&client_key).ct_eq(&self.stored_key))
            .then(|| STANDARD.encode(mac(&self.server_key, messages.as_bytes())))
    }
}

pub(super) fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    tag.as_ref().try_into().unwrap_or([0; 32])
}

pub(super) fn sha256(message: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, message)
        .as_ref()
        .try_into()
        .unwrap_or([0; 32])
}

impl fmt::Display for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored, server] =
            [self.salt.as_slice(), &self.stored_key, &self.server_key].map(|octets| STANDARD.encode(octets));
        write!(f, "SCRAM-SHA-256${}:{salt}${stored}:{server}", self.iterations)
    }
}

impl FromStr for ScramVerifier {
    type Err = VerifierError;

    fn from_str(text: &str) -> Result<Self, VerifierError> {
        let read = || {
            let (head, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
            let (iterations, salt) = head.split_once(':')?;
            let (stored, server) = keys.split_once(':')?;
            let key = |text: &str| STANDARD.decode(text).ok()?.try_into().ok();
            Some(Self {
                iterations: NonZeroU32::new(iterations.parse().ok()?)?,
                salt: STANDARD
                    .decode(salt)
                    .ok()
                    .filter(|salt| (8..=64).contains(&salt.len()))?,
                stored_key: key(stored)?,
                server_key: key(server)?,
            })
        };
        read()
            .filter(|verifier| (FEWEST..=MOST).contains(&verifier.iterations.get()))
            .ok_or(VerifierError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verifiers_write_and_read_back_and_know_their_password() {
        let verifier = ScramVerifier::from_password("pencil", 4_096).unwrap();
        let again: ScramVerifier = verifier.to_string().parse().unwrap();
        assert_eq!(again, verifier);
        assert!(again.matches("pencil") && !again.matches("Pencil"));
        assert!(ScramVerifier::from_password("pencil", 10).is_err());
        assert!("SCRAM-SHA-256$4096:AAAA$x:y".parse::<ScramVerifier>().is_err());
        assert_eq!(format!("{verifier:?}"), "ScramVerifier(…)");
    }

    #[test]
    fn an_unknown_user_has_a_salt_that_stays() {
        let one = ScramVerifier::made_up("nobody", b"secret").first_message("n");
        assert_eq!(
            one,
            ScramVerifier::made_up("nobody", b"secret").first_message("n")
        );
        assert_ne!(
            one,
            ScramVerifier::made_up("someone", b"secret").first_message("n")
        );
    }

    #[test]
    fn a_made_up_verifier_looks_like_its_model() {
        let keys = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let salt = STANDARD.encode([1; 64]);
        let model: ScramVerifier = format!("SCRAM-SHA-256$10000:{salt}${keys}:{keys}")
            .parse()
            .unwrap();
        let made_up = model.made_up_like("nobody", b"secret");
        assert_eq!(made_up, model.made_up_like("nobody", b"secret"));
        assert_eq!(
            (made_up.salt.len(), made_up.iterations.get()),
            (64, 10_000),
            "told by nothing"
        );
        assert_ne!(made_up.salt, model.made_up_like("nobody", b"other").salt);
        assert_ne!(made_up.salt, model.made_up_like("someone", b"secret").salt);
    }

    /// RFC 7677 section 3, the example exchange.
    #[test]
    fn the_exchange_of_rfc_7677() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = ScramVerifier::derive("pencil", salt, 4_096).unwrap();
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let messages = format!(
            "n=user,r=rOprNGfwEbeRWgbNEkqO,{},c=biws,r={nonce}",
            verifier.first_message(nonce)
        );
        let proof = STANDARD
            .decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
            .unwrap();
        let signature = verifier.verify(&messages, &proof).unwrap();
        assert_eq!(signature, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert!(
            verifier
                .verify(&messages.replace("user", "usex"), &proof)
                .is_none()
        );
    }
}
