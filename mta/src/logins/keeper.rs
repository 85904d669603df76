//! Tokens in memory: one for each set of credentials, shared by all connections, got ahead of need by one flight.
//!
//! ```text
//!   got ─────────── used ─────────── about 80 % ─► still used, and a new one is got beside it ─── ends ─► nobody uses it
//!                                       └─ in vain: tried again later and later, the old one is used to its end
//! ```
//!
//! Ends are reckoned by a clock that nobody sets, from the moment when the token was asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postroad_config::Credentials;
use postroad_config::admin::TokenState;

use super::Id;
use super::answer::Token;
use super::fault::NoLogin;
use super::hold::Hold;
use super::mint::{self, Way};
use crate::queue::clock;

/// Tokens. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Keeper {
    way: Way,
    slots: Arc<Mutex<HashMap<Id, Arc<Slot>>>>,
}

/// The token of one set of credentials.
#[derive(Debug, Default)]
struct Slot {
    kept: Mutex<Kept>,
    /// Held by whoever asks the authority; inside: how far its clock is before ours.
    flight: tokio::sync::Mutex<i64>,
}

#[derive(Debug, Default)]
struct Kept {
    token: Option<Timed>,
    failed: Option<Hold>,
    used: u64,
    is_renewed: bool,
}

/// A token with its times, in milliseconds.
#[derive(Clone, Debug)]
struct Timed {
    token: Token,
    renews: u64,
    ends: u64,
}

impl Timed {
    /// `asked`: when it was asked for. It is renewed when 75 to 85 % of its life is over, and not used in the last tenth of a
    /// short life or the last half minute of a long one: it has to hold until the server has judged it.
    fn new(token: Token, asked: u64, draw: u64) -> Self {
        let life = u64::try_from(token.lives.as_millis()).unwrap_or(u64::MAX);
        let spread = life / 10;
        let margin = spread.min(LAST);
        Self {
            renews: asked
                .saturating_add(life / 4 * 3)
                .saturating_add(draw % spread.max(1)),
            ends: asked.saturating_add(life - margin),
            token,
        }
    }
}

impl Keeper {
    pub(super) fn new(way: Way) -> Self {
        Self {
            way,
            slots: Arc::default(),
        }
    }

    /// A token that holds. Errors: there is none, and why.
    pub(super) async fn token(&self, id: Id, credentials: &Credentials) -> Result<String, NoLogin> {
        let slot = self.slot(id);
        match slot.ready() {
            Ready::Good(text) => return Ok(text),
            Ready::Due(text) => {
                let (slot, way, credentials) = (slot.clone(), self.way.clone(), credentials.clone());
                tokio::spawn(async move {
                    let _ = slot.get(&way, &credentials).await;
                    slot.kept().is_renewed = false;
                });
                return Ok(text);
            }
            Ready::Failed(why) => return Err(why),
            Ready::None => {}
        }
        // Beside the attempt: one that is cut short must not take the token from the others that wait for it.
        let (way, credentials) = (self.way.clone(), credentials.clone());
        let flight = tokio::spawn(async move { slot.get(&way, &credentials).await });
        flight.await.unwrap_or_else(|_| {
            Err(super::answer::unavailable(
                "the authority",
                "asking was cut short",
            ))
        })
    }

    /// This token is used no more.
    pub(super) fn forget(&self, id: Id, text: &str) {
        let slot = self.slot(id);
        let mut kept = slot.kept();
        if kept.token.as_ref().is_some_and(|timed| timed.token.text == text) {
            kept.token = None;
        }
    }

    pub(super) fn state(&self, id: Id) -> TokenState {
        let slot = self.slot(id);
        let kept = slot.kept();
        let now = clock::now();
        let token = kept.token.as_ref().filter(|timed| now < timed.ends);
        TokenState {
            expires: token.and_then(|timed| i64::try_from(timed.ends / 1_000).ok()),
            last_error: kept.failed.as_ref().map(|failed| failed.why.reason.clone()),
        }
    }

    /// Why there is no token, where there is none and nobody tries to get one for now. It makes no slot.
    pub(super) fn hold(&self, id: Id) -> Option<Hold> {
        let slot = self
            .slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)?
            .clone();
        let now = clock::now();
        let kept = slot.kept();
        let has_token = kept.token.as_ref().is_some_and(|timed| now < timed.ends);
        kept.failed.clone().filter(|_| !has_token)
    }

    /// The pauses of a site that began before that are over.
    pub(super) fn probe(&self, site: &str, asked: u64) {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, slot) in slots.iter() {
            if let Some(failed) = slot.kept().failed.as_mut().filter(|_| id.is_of(site)) {
                failed.end_for(asked);
            }
        }
    }

    /// Nobody has asked for a token.
    pub(super) fn is_idle(&self) -> bool {
        self.slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    fn slot(&self, id: Id) -> Arc<Slot> {
        let now = clock::now();
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MOST_SLOTS && !slots.contains_key(&id) {
            // Those of a configuration that is gone.
            slots.retain(|_, slot| now < slot.kept().used.saturating_add(UNUSED));
        }
        let slot = slots.entry(id).or_default().clone();
        slot.kept().used = now;
        slot
    }
}

/// What a slot has.
enum Ready {
    Good(String),
    /// It holds, and the caller gets a new one.
    Due(String),
    /// There is none, and it is too early to try again.
    Failed(NoLogin),
    None,
}

impl Slot {
    fn ready(&self) -> Ready {
        let now = clock::now();
        let mut kept = self.kept();
        let waits = kept.failed.as_ref().filter(|failed| failed.holds(now));
        let (waits, why) = (waits.is_some(), waits.map(|failed| failed.why.clone()));
        match kept.token.clone().filter(|timed| now < timed.ends) {
            Some(timed) if now < timed.renews || waits || kept.is_renewed => Ready::Good(timed.token.text),
            Some(timed) => {
                kept.is_renewed = true;
                Ready::Due(timed.token.text)
            }
            None => why.map_or(Ready::None, Ready::Failed),
        }
    }

    /// Asks the authority, unless another did so meanwhile.
    async fn get(&self, way: &Way, credentials: &Credentials) -> Result<String, NoLogin> {
        let mut skew = self.flight.lock().await;
        let asked = clock::now();
        {
            let kept = self.kept();
            if let Some(timed) = kept.token.as_ref().filter(|timed| asked < timed.renews) {
                return Ok(timed.token.text.clone());
            }
            if let Some(failed) = kept.failed.as_ref().filter(|failed| failed.holds(asked)) {
                return Err(failed.why.clone());
            }
        }
        let minted = mint::mint(way, credentials, &mut skew).await;
        let mut kept = self.kept();
        match minted {
            Ok(token) => {
                let text = token.text.clone();
                kept.token = Some(Timed::new(token, asked, clock::draw()));
                kept.failed = None;
                Ok(text)
            }
            Err(why) => {
                tracing::warn!(
                    event = "token_refused",
                    fault = why.fault.name(),
                    reason = why.reason,
                    "no token"
                );
                let failed = Hold::after(kept.failed.as_ref(), why.clone(), clock::now(), clock::draw());
                kept.failed = Some(failed);
                Err(why)
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds.
const LAST: u64 = 30_000;
const MOST_SLOTS: usize = 256;
const UNUSED: u64 = 3_600_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn timed(seconds: u64, draw: u64) -> (u64, u64) {
        let token = Token {
            text: "t".into(),
            lives: Duration::from_secs(seconds),
        };
        let timed = Timed::new(token, 1_000_000, draw);
        (timed.renews - 1_000_000, timed.ends - 1_000_000)
    }

    #[test]
    fn a_token_is_renewed_at_about_four_fifths_of_its_life() {
        assert_eq!(timed(3_600, 0), (2_700_000, 3_570_000));
        let (renews, ends) = timed(3_600, u64::MAX);
        assert!((2_700_000..3_060_000).contains(&renews), "{renews}");
        assert_eq!(ends, 3_570_000);
        assert_eq!(timed(60, 0), (45_000, 54_000));
        assert_eq!(timed(0, 5), (0, 0), "it is not used at all");
    }
}
