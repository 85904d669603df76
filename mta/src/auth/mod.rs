//! Who is it? Passwords against verifiers, off the reactor, at a bounded cost.
//!
//! ```text
//!   session ─► Authenticator::password ─► success cache ─► semaphore ─► blocking thread: argon2 or PBKDF2
//!          └─► Authenticator::scram_keys   real keys, or false ones that look alike
//! ```
//!
//! An unknown user costs the same time and gets the same dialogue as a known one with a wrong password.

mod cache;
mod verifier;

pub use verifier::{BadVerifier, ScramKeys, Verifier};

use std::sync::Arc;

use aws_lc_rs::hmac;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::settings::Settings;
use cache::Cache;

/// Checks users against the settings. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator(Arc<Inner>);

struct Inner {
    /// At most this many slow checks at once; each takes 19 MiB and 20 ms of a core.
    slots: Semaphore,
    successes: Cache,
    /// Drawn at start: makes false salts that stay the same per user.
    key: hmac::Key,
    /// For users that do not exist.
    nobody: [Verifier; 2],
}

impl Authenticator {
    /// With `slots` slow checks at once.
    pub fn new(slots: usize) -> Result<Self, BadVerifier> {
        let key: [u8; 32] = verifier::random()?;
        let password: [u8; 32] = verifier::random()?;
        let nobody = [Verifier::argon2id(&password)?, Verifier::scram(&password)?];
        let nobody = [Verifier::parse(&nobody[0])?, Verifier::parse(&nobody[1])?];
        Ok(Self(Arc::new(Inner {
            slots: Semaphore::new(slots.max(1)),
            successes: Cache::new(hmac::Key::new(hmac::HMAC_SHA256, &verifier::random::<32>()?)),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            nobody,
        })))
    }

    /// Whether this user has this password.
    pub async fn password(&self, settings: &Settings, user: &str, password: &[u8]) -> bool {
        let known = settings.user(user);
        let text = known.map_or("", |user| user.verifier.as_str());
        let proof = self.0.successes.proof(user, text, password);
        if known.is_some() && self.0.successes.holds(&proof) {
            return true;
        }
        let parsed = known.and_then(|user| Verifier::parse(&user.verifier).ok());
        let real = parsed.is_some();
        let verifier = parsed.unwrap_or_else(|| self.nobody(settings).clone());
        let password = Zeroizing::new(password.to_vec());
        let Ok(_slot) = self.0.slots.acquire().await else {
            return false;
        };
        let proved = tokio::task::spawn_blocking(move || verifier.proves(&password))
            .await
            .unwrap_or(false);
        if real && proved {
            self.0.successes.keep(proof);
        }
        real && proved
    }

    /// Keys for SCRAM-SHA-256. For a user without any, false ones that no password fits (RFC 5802 section 9).
    pub fn scram_keys(&self, settings: &Settings, user: &str) -> ScramKeys {
        if let Some(Ok(Verifier::Scram(keys))) =
            settings.user(user).map(|user| Verifier::parse(&user.verifier))
        {
            return keys;
        }
        let like = self.first_scram(settings);
        let draw = |what: &str| {
            let mut context = hmac::Context::with_key(&self.0.key);
            context.update(what.as_bytes());
            context.update(user.as_bytes());
            verifier::octets(context.sign().as_ref())
        };
        let mut salt = draw("salt").to_vec();
        salt.truncate(like.salt.len());
        ScramKeys {
            iterations: like.iterations,
            salt,
            stored_key: draw("stored"),
            server_key: draw("server"),
        }
    }

    /// Whether any user can use SCRAM-SHA-256 at all.
    pub fn offers_scram(settings: &Settings) -> bool {
        settings
            .set
            .file
            .users
            .iter()
            .any(|user| user.verifier.starts_with("SCRAM-SHA-256$"))
    }

    /// A verifier of the kind that most users have by the look of the first.
    fn nobody(&self, settings: &Settings) -> &Verifier {
        let scram = settings
            .set
            .file
            .users
            .first()
            .is_some_and(|user| user.verifier.starts_with("SCRAM"));
        &self.0.nobody[usize::from(scram)]
    }

    fn first_scram(&self, settings: &Settings) -> ScramKeys {
        let parsed = settings
            .set
            .file
            .users
            .iter()
            .map(|user| Verifier::parse(&user.verifier));
        let keys = |verifier: &Verifier| match verifier {
            Verifier::Scram(keys) => Some(keys.clone()),
            Verifier::Argon2id(_) => None,
        };
        parsed
            .flatten()
            .find_map(|verifier| keys(&verifier))
            .or_else(|| keys(&self.0.nobody[1]))
            .unwrap_or_else(|| ScramKeys::derive(b"", b"", std::num::NonZeroU32::MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::settings;

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_is_taken() {
        let argon = Verifier::argon2id(b"one").unwrap();
        let scram = Verifier::scram(b"two").unwrap();
        let settings = settings(&format!(
            "users:\n  - {{name: ann, verifier: '{argon}'}}\n  - {{name: bo, verifier: '{scram}'}}\n"
        ));
        let auth = Authenticator::new(2).unwrap();
        for (user, password, want) in [
            ("ann", "one", true),
            ("ann", "one", true),
            ("ann", "two", false),
            ("bo", "two", true),
            ("bo", "one", false),
            ("nobody", "one", false),
            ("", "", false),
        ] {
            assert_eq!(
                auth.password(&settings, user, password.as_bytes()).await,
                want,
                "{user}"
            );
        }
    }

    #[test]
    fn an_unknown_user_looks_like_a_known_one() {
        let scram = Verifier::scram(b"two").unwrap();
        let settings = settings(&format!("users:\n  - {{name: bo, verifier: '{scram}'}}\n"));
        let auth = Authenticator::new(1).unwrap();
        let known = auth.scram_keys(&settings, "bo");
        let unknown = auth.scram_keys(&settings, "eve");
        assert_eq!(
            (known.iterations, known.salt.len()),
            (unknown.iterations, unknown.salt.len())
        );
        assert_eq!(
            unknown.salt,
            auth.scram_keys(&settings, "eve").salt,
            "asked twice, the same"
        );
        assert_ne!(unknown.salt, auth.scram_keys(&settings, "mal").salt);
    }
}
