//! Policies whose mail is on hold: their provider refuses how they are set up or lets nobody log in, or a quota is used up.
//!
//! ```text
//!   attempt ─┬─ on hold ─► begin(policy)        held(policy, arrived) ─► the lifetime of a message is longer by so much
//!            └─ anything else ─► end(policy)
//! ```
//!
//! Nobody is to lose mail for a password that ran out over the holidays, so the time of a hold counts to no lifetime
//! (`queue/retry.rs`). The times are kept in a file beside the spool; losing it makes mail expire by its age again. They are of
//! this pod alone: mail that another pod hands over has waited for the same reason there, and is tried here before it expires.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::kept;
use crate::outcome::Outcome;

/// The holds of all policies. Cheap to clone; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Holds(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    spans: Mutex<Spans>,
    /// Where they are kept, and whose turn it is to write there.
    file: Mutex<Option<PathBuf>>,
}

type Spans = BTreeMap<String, Vec<Span>>;

/// One hold, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Span {
    from: u64,
    /// Not yet over where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<u64>,
}

impl Span {
    /// How much of it lies between two times.
    fn within(self, from: u64, to: u64) -> u64 {
        let end = self.to.unwrap_or(u64::MAX).min(to);
        end.saturating_sub(self.from.max(from))
    }
}

impl Holds {
    /// Reads what was kept in the spool's folder, and keeps it there from now on.
    pub fn keep_within(&self, spool: &Path) {
        let path = spool.join(FILE);
        match kept::load::<Spans>(&path) {
            Ok(kept) => self.spans().extend(kept),
            Err(error) => {
                tracing::error!(%error, "the times of holds cannot be read: mail that was on hold expires by its age");
            }
        }
        *self.0.file.lock().unwrap_or_else(PoisonError::into_inner) = Some(path);
    }

    /// An attempt to deliver mail of the policy ended so.
    pub fn learn<'a>(&self, policy: &str, outcomes: impl IntoIterator<Item = &'a Outcome>, now: u64) {
        let mut outcomes = outcomes.into_iter().peekable();
        if outcomes.peek().is_none() {
            return;
        }
        if outcomes.any(Outcome::is_on_hold) {
            self.begin(policy, now);
        } else {
            self.end(policy, now);
        }
    }

    /// How long mail of the policy that arrived then has been on hold, in milliseconds.
    pub fn held(&self, policy: &str, arrived: u64, now: u64) -> u64 {
        let spans = self.spans();
        let spans = spans.get(policy).into_iter().flatten();
        spans.map(|span| span.within(arrived, now)).sum()
    }

    /// Whether mail of the policy is on hold.
    pub fn holds(&self, policy: &str) -> bool {
        let spans = self.spans();
        let last = spans.get(policy).and_then(|spans| spans.last());
        last.is_some_and(|span| span.to.is_none())
    }

    /// Policies whose mail is on hold, and since when.
    pub fn view(&self) -> Vec<(String, u64)> {
        let spans = self.spans();
        let open = |spans: &Vec<Span>| {
            spans
                .last()
                .filter(|span| span.to.is_none())
                .map(|span| span.from)
        };
        spans
            .iter()
            .filter_map(|(policy, spans)| Some((policy.clone(), open(spans)?)))
            .collect()
    }

    fn begin(&self, policy: &str, now: u64) {
        let mut all = self.spans();
        let spans = all.entry(policy.to_owned()).or_default();
        if spans.last().is_some_and(|span| span.to.is_none()) {
            return;
        }
        spans.retain(|span| span.to.is_none_or(|to| to.saturating_add(REMEMBERED) > now));
        if spans.len() >= MOST_SPANS {
            spans.remove(0);
        }
        spans.push(Span { from: now, to: None });
        drop(all);
        tracing::warn!(
            event = "policy-on-hold",
            route = policy,
            "mail of this policy waits until somebody mends it, or its quota is free again; this time counts to no lifetime"
        );
        self.save();
    }

    fn end(&self, policy: &str, now: u64) {
        let mut all = self.spans();
        let last = all.get_mut(policy).and_then(|spans| spans.last_mut());
        let Some(span) = last.filter(|span| span.to.is_none()) else {
            return;
        };
        span.to = Some(now.max(span.from));
        drop(all);
        tracing::info!(
            event = "policy-resumes",
            route = policy,
            "mail of this policy is on hold no more"
        );
        self.save();
    }

    fn spans(&self) -> MutexGuard<'_, Spans> {
        self.0.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Off the reactor. Whoever writes last has seen all.
    fn save(&self) {
        let holds = self.clone();
        kept::off_the_reactor(move || {
            let file = holds.0.file.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(path) = file.as_ref() else { return };
            let spans = holds.spans().clone();
            if let Err(error) = kept::store(path, &spans) {
                tracing::error!(%error, "the times of holds cannot be kept: after a restart mail expires by its age");
            }
        });
    }
}

const FILE: &str = "holds.json";
/// Longer than nearly any lifetime, in milliseconds.
const REMEMBERED: u64 = 100 * 86_400_000;
/// Of one policy.
const MOST_SPANS: usize = 256;

#[cfg(test)]
mod tests {
    use postroad_config::provider::Kind;

    use super::*;
    use crate::outcome::{Status, Verdict};

    fn refused() -> Outcome {
        Outcome::resting(Kind::Configuration, "no")
    }

    fn greylisted() -> Outcome {
        Outcome::ours(Verdict::Deferred, Status::new(4, 7, 1), "later")
    }

    #[test]
    fn the_time_of_a_hold_is_that_between_the_first_refusal_and_the_first_other_word() {
        let holds = Holds::default();
        let learn = |outcome: &Outcome, now| holds.learn("p", [outcome], now);
        learn(&greylisted(), 5);
        assert_eq!(holds.held("p", 0, 1_000), 0);
        for now in [10, 20, 30] {
            learn(&refused(), now);
        }
        assert_eq!(holds.view(), [("p".to_owned(), 10)]);
        holds.learn("p", [], 35);
        learn(&greylisted(), 40);
        learn(&refused(), 100);
        for (arrived, now, held) in [(0, 25, 15), (0, 90, 30), (15, 90, 25), (50, 90, 0), (0, 130, 60)] {
            assert_eq!(holds.held("p", arrived, now), held, "{arrived} {now}");
        }
        assert_eq!(holds.held("other", 0, 1_000), 0);
        holds.learn("p", [&Outcome::resting(Kind::Throttle, "slow")], 150);
        assert!(holds.view().is_empty(), "a moment is no hold");
    }

    #[test]
    fn holds_outlive_a_restart_and_old_ones_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let holds = Holds::default();
        holds.keep_within(folder.path());
        holds.learn("p", [&refused()], 10);
        let again = Holds::default();
        again.keep_within(folder.path());
        assert_eq!(again.held("p", 0, 50), 40);
        again.learn("p", [&greylisted()], 60);
        let last = Holds::default();
        last.keep_within(folder.path());
        assert_eq!((last.held("p", 0, 500), last.view().len()), (50, 0));
        last.learn("p", [&refused()], 70 + REMEMBERED);
        assert_eq!(last.held("p", 0, 80 + REMEMBERED), 10);
        for span in 0..2 * MOST_SPANS as u64 {
            last.learn("q", [&refused()], 10 * span);
            last.learn("q", [&greylisted()], 10 * span + 1);
        }
        assert_eq!(last.held("q", 0, u64::MAX), MOST_SPANS as u64);
    }
}
