//! Who is it? Passwords against verifiers, off the reactor, at a bounded cost.
//!
//! ```text
//!   session ─► Authenticator::password ─► success cache ─► semaphore ─► blocking thread: argon2 or PBKDF2
//!          └─► Authenticator::scram        real keys, or false ones that look alike
//! ```
//!
//! An unknown user costs the same time and gets the same dialogue as a known one with a wrong password.

mod cache;
mod throttle;
mod verifier;

pub use verifier::{BadVerifier, NotMade, Verifier};

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::hmac;
use postroad_smtp::sasl::{Mechanism, ScramVerifier};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::settings::Settings;
use cache::Cache;
use throttle::Throttle;

/// Checks users against the settings. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator(Arc<Inner>);

struct Inner {
    /// At most this many slow checks at once; each takes 19 MiB and 20 ms of a core.
    slots: Semaphore,
    successes: Cache,
    throttle: Throttle,
    started: Instant,
    /// Drawn at start: makes false salts that stay the same per user.
    secret: [u8; 32],
    /// For users that do not exist.
    nobody: [Verifier; 2],
}

impl Authenticator {
    /// With `slots` slow checks at once.
    pub fn new(slots: usize) -> Result<Self, NotMade> {
        let password = format!("{:032x}", u128::from_be_bytes(verifier::random()?));
        let nobody = [Verifier::argon2id(&password)?, Verifier::scram(&password)?];
        // What was just made is read back; a fault there would be one of the library.
        let nobody = nobody.map(|text| Verifier::parse(&text).map_err(|_| NotMade::Randomness));
        let [argon2id, scram] = nobody;
        let nobody = [argon2id?, scram?];
        Ok(Self(Arc::new(Inner {
            slots: Semaphore::new(slots.max(1)),
            successes: Cache::new(hmac::Key::new(hmac::HMAC_SHA256, &verifier::random::<32>()?)),
            throttle: Throttle::default(),
            started: Instant::now(),
            secret: verifier::random()?,
            nobody,
        })))
    }

    /// Whether this user may try to log in from there now; too many tries have failed otherwise.
    pub fn allows(&self, client: IpAddr, user: &str) -> bool {
        self.0.throttle.allows(client, user, self.now())
    }

    /// Takes what came of a try.
    pub fn tried(&self, client: IpAddr, user: &str, success: bool) {
        self.0.throttle.tried(client, user, success, self.now());
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether this user has this password; both come prepared (RFC 4013).
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
    pub fn scram(&self, settings: &Settings, user: &str) -> ScramVerifier {
        match settings.user(user).map(|user| Verifier::parse(&user.verifier)) {
            Some(Ok(Verifier::Scram(keys))) => *keys,
            _ => ScramVerifier::made_up(user, &self.0.secret),
        }
    }

    /// What AUTH offers, best first. SCRAM only where every user has keys for it: clients take the best one offered, and
    /// few try another after it failed.
    pub fn mechanisms(settings: &Settings) -> Vec<Mechanism> {
        let users = &settings.set.file.users;
        let scram = !users.is_empty()
            && users
                .iter()
                .all(|user| user.verifier.starts_with("SCRAM-SHA-256$"));
        let mut offered = if scram {
            vec![Mechanism::ScramSha256Plus, Mechanism::ScramSha256]
        } else {
            Vec::new()
        };
        offered.extend([Mechanism::Plain, Mechanism::Login]);
        offered
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::settings;

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_is_taken() {
        let argon = Verifier::argon2id("one").unwrap();
        let scram = Verifier::scram("two").unwrap();
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
    fn an_unknown_user_gets_the_same_false_keys_each_time() {
        let scram = Verifier::scram("two").unwrap();
        let settings = settings(&format!("users:\n  - {{name: bo, verifier: '{scram}'}}\n"));
        let auth = Authenticator::new(1).unwrap();
        assert_ne!(auth.scram(&settings, "bo"), auth.scram(&settings, "eve"));
        assert_eq!(
            auth.scram(&settings, "eve"),
            auth.scram(&settings, "eve"),
            "asked twice, the same"
        );
    }
}
