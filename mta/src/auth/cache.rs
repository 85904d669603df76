//! Logins that succeeded a short while ago, so that a client which logs in per message does not cost 20 ms each time.
//!
//! Keeps no password: only an HMAC of user, verifier and password under a key of this process. A changed verifier
//! makes another HMAC, so a changed password ends the old one at once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;

pub(super) struct Cache {
    key: hmac::Key,
    kept: Mutex<HashMap<Proof, Instant>>,
}

pub(super) type Proof = [u8; 32];

impl Cache {
    pub(super) fn new(key: hmac::Key) -> Self {
        Self {
            key,
            kept: Mutex::default(),
        }
    }

    pub(super) fn proof(&self, user: &str, verifier: &str, password: &[u8]) -> Proof {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [user.as_bytes(), verifier.as_bytes(), password] {
            // The length goes first: parts must not run into each other.
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        super::verifier::octets(context.sign().as_ref())
    }

    pub(super) fn holds(&self, proof: &Proof) -> bool {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(proof).is_some_and(|since| since.elapsed() < KEEP)
    }

    pub(super) fn keep(&self, proof: Proof) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST {
            kept.retain(|_, since| since.elapsed() < KEEP);
        }
        if kept.len() < MOST {
            kept.insert(proof, Instant::now());
        }
    }
}

const KEEP: Duration = Duration::from_mins(5);
const MOST: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_stands_for_one_user_verifier_and_password() {
        let cache = Cache::new(hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]));
        let proof = cache.proof("ann", "v1", b"pw");
        cache.keep(proof);
        assert!(cache.holds(&proof));
        for other in [
            cache.proof("ann", "v2", b"pw"),
            cache.proof("annv", "1", b"pw"),
            cache.proof("ann", "v1", b"p"),
        ] {
            assert!(!cache.holds(&other));
        }
    }
}
