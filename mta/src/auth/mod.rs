//! Who is it? Passwords against verifiers, off the reactor, at a bounded cost; tokens against the keys of their issuer.
//!
//! ```text
//!   session ─► Authenticator::password ─► success cache ─► semaphore ─► blocking thread: argon2 or PBKDF2
//!          ├─► Authenticator::scram        real keys, or false ones that look alike
//!          └─► Authenticator::token        `tokens::Submitters`; a signature costs a tenth of a millisecond
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
use postroad_config::{LoginSecret, User};
use postroad_smtp::sasl::{Mechanism, ScramVerifier};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::settings::Settings;
use crate::tokens::{Reviewer, TokenError};
use cache::Cache;
use throttle::Throttle;
use verifier::octets;

/// Checks users against the settings. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator(Arc<Inner>);

struct Inner {
    /// At most this many slow checks at once; each takes 19 MiB and 20 ms of a core.
    slots: Semaphore,
    successes: Cache,
    throttle: Throttle,
    reviewer: Reviewer,
    started: Instant,
    /// Drawn at start: makes false salts where there is neither a secret nor a user to take them from.
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
            reviewer: Reviewer::default(),
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

    /// Whose token it is. `None`: it does not hold, and too many that do not have come from that network; or whether it was revoked
    /// cannot be found out.
    ///
    /// A token that holds is taken however many others have failed: it cannot be guessed, and a broken program must not lock
    /// its neighbours out. One that does not counts against its network, beside wrong passwords.
    pub async fn token(
        &self,
        settings: &Settings,
        client: IpAddr,
        user: &str,
        token: &str,
        now: i64,
    ) -> Option<Result<String, TokenError>> {
        let mut judged = match settings.submitters() {
            Some(submitters) => submitters.identify(token, user, now),
            None => Err(TokenError::Audience),
        };
        // One that does not hold by itself is no question for others.
        if judged.is_ok() && !self.is_kept(settings, token).await? {
            judged = Err(TokenError::Revoked);
        }
        if judged.is_err() && !self.0.throttle.refuse_network(client, self.now()) {
            return None;
        }
        Some(judged)
    }

    /// Whether a token was not revoked. `None`: that cannot be found out now.
    async fn is_kept(&self, settings: &Settings, token: &str) -> Option<bool> {
        let accounts = settings.set.file.authentication.service_accounts.as_ref();
        let Some(review) = accounts.and_then(|accounts| accounts.review.as_ref()) else {
            return Some(true);
        };
        match self.0.reviewer.holds(review, token).await {
            Ok(holds) => Some(holds),
            Err(error) => {
                tracing::warn!(address = %review.address, %error, "whether a token was revoked cannot be found out");
                None
            }
        }
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
    ///
    /// They are the same at every pod and after a restart, and as long and as slow as those of some real user: who asks
    /// again, or asks another pod, learns nothing. With `loginSecret` no change of a user changes their salts either.
    pub fn scram(&self, settings: &Settings, user: &str) -> ScramVerifier {
        if let Some(keys) = settings.user(user).and_then(keys) {
            return keys;
        }
        let users = &settings.set.file.users;
        let kept = settings.set.file.login_secret.as_ref().map(LoginSecret::octets);
        let first = || users.first().map(|first| first.verifier.as_bytes());
        let secret = kept.or_else(first).unwrap_or(&self.0.secret);
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let secret = octets(hmac::sign(&secret, b"users that do not exist").as_ref());
        let at = octets(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), user.as_bytes()).as_ref());
        let at = usize::from(u16::from_be_bytes([at[0], at[1]])) % users.len().max(1);
        match users.get(at).and_then(keys) {
            Some(model) => model.made_up_like(user, &secret),
            None => ScramVerifier::made_up(user, &secret),
        }
    }

    /// What AUTH offers, best first. SCRAM only where every user has keys for it: clients take the best one offered, and
    /// few try another after it failed. Tokens only where ServiceAccounts may submit, and last: who has one asks by name.
    pub fn mechanisms(settings: &Settings) -> Vec<Mechanism> {
        let users = &settings.set.file.users;
        let scram = !users.is_empty()
            && users
                .iter()
                .all(|user| user.verifier.starts_with("SCRAM-SHA-256$"));
        let mut offered = Vec::new();
        if scram && settings.set.file.channel_binding {
            offered.push(Mechanism::ScramSha256Plus);
        }
        if scram {
            offered.push(Mechanism::ScramSha256);
        }
        let tokens = settings.submitters().is_some();
        offered.push(Mechanism::Plain);
        if !users.is_empty() || !tokens {
            offered.push(Mechanism::Login);
        }
        if tokens {
            offered.extend([Mechanism::OAuthBearer, Mechanism::XOAuth2]);
        }
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

fn keys(user: &User) -> Option<ScramVerifier> {
    match Verifier::parse(&user.verifier) {
        Ok(Verifier::Scram(keys)) => Some(*keys),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;

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
    fn an_unknown_user_gets_the_same_false_keys_each_time_and_everywhere() {
        let scram = Verifier::scram("two").unwrap().replace("$4096:", "$20000:");
        let text = format!("users:\n  - {{name: bo, verifier: '{scram}'}}\n");
        let settings = settings(&text);
        let auth = Authenticator::new(1).unwrap();
        let eve = auth.scram(&settings, "eve");
        assert_ne!(auth.scram(&settings, "bo"), eve);
        assert_eq!(auth.scram(&settings, "eve"), eve, "asked twice, the same");
        let other = Authenticator::new(1).unwrap();
        assert_eq!(other.scram(&settings, "eve"), eve, "another process, the same");
        assert!(
            eve.to_string().starts_with("SCRAM-SHA-256$20000:"),
            "as slow as others"
        );
    }

    #[test]
    fn with_a_secret_a_false_salt_stays_when_a_user_changes_the_password() {
        let scram = |password: &str| Verifier::scram(password).unwrap();
        let (bo, before, after) = (scram("two"), scram("one"), scram("other"));
        let with = |first: &str, more: &str| {
            let users = format!("{{name: ann, verifier: '{first}'}}, {{name: bo, verifier: '{bo}'}}");
            settings(&format!("users: [{users}]\n{more}"))
        };
        let kept = "loginSecret: 0123456789abcdef0123456789abcdef\n";
        let auth = Authenticator::new(1).unwrap();
        let eve = |settings: &Settings| auth.scram(settings, "eve").to_string();
        let (then, now) = (with(&before, kept), with(&after, kept));
        assert_ne!(auth.scram(&then, "ann"), auth.scram(&now, "ann"));
        assert_eq!(eve(&then), eve(&now));
        let other = with(&before, "loginSecret: ffffffffffffffffffffffffffffffff\n");
        assert_ne!(eve(&other), eve(&then), "it is what the salt is made of");
        assert_ne!(
            eve(&with(&before, "")),
            eve(&with(&after, "")),
            "without one it changes"
        );
    }

    /// Slow checks are bounded, and one that has succeeded a short while ago is not slow.
    #[tokio::test]
    async fn a_slow_check_waits_for_its_turn() {
        let argon = Verifier::argon2id("one").unwrap();
        let settings = settings(&format!("users:\n  - {{name: ann, verifier: '{argon}'}}\n"));
        let auth = Authenticator::new(1).unwrap();
        let turn = auth.0.slots.acquire().await.unwrap();
        for user in ["ann", "nobody"] {
            let mut check = Box::pin(auth.password(&settings, user, b"one"));
            assert!(poll!(&mut check).is_pending(), "{user}");
        }
        drop(turn);
        assert!(auth.password(&settings, "ann", b"one").await);
        let _turn = auth.0.slots.acquire().await.unwrap();
        assert!(poll!(Box::pin(auth.password(&settings, "ann", b"one"))).is_ready());
        assert!(poll!(Box::pin(auth.password(&settings, "ann", b"two"))).is_pending());
    }
}
