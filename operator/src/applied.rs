//! What was applied last, so that an object that nobody has touched since is not sent again; and who is not fought without end.
//!
//! ```text
//!   somebody changes an object of ours ─► it is put right at once
//!   each time anew, thirty times       ─► the next time after 2 s, then 4, 8 … and five minutes in the end, until it stays right
//! ```
//!
//! Two controllers that each want their own would write several times a second for ever.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// By kind, namespace and name.
#[derive(Default)]
pub struct Applied(Mutex<HashMap<String, Child>>);

struct Child {
    fingerprint: String,
    version: String,
    /// Times that it was put right, one soon after the other.
    contests: u32,
    /// The last of them.
    last: Instant,
}

impl Applied {
    /// Remembers an object. `was_another`: it is the same that was applied before, and somebody had changed it. True: from now on that is put
    /// right later and later.
    pub fn remember(&self, key: &str, fingerprint: &str, version: &str, was_another: bool) -> bool {
        let now = Instant::now();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.get(key).filter(|child| child.fingerprint == fingerprint);
        let recent = known.filter(|child| now.duration_since(child.last) < remembered(child.contests));
        let (before, last) = recent.map_or((0, now), |child| (child.contests, child.last));
        let is_contested = was_another && known.is_some();
        let (contests, last) = if is_contested {
            (before.saturating_add(1), now)
        } else {
            (before, last)
        };
        let child = Child {
            fingerprint: fingerprint.to_owned(),
            version: version.to_owned(),
            contests,
            last,
        };
        all.insert(key.to_owned(), child);
        is_contested && contests == AT_ONCE + 1
    }

    /// Whether this is what was applied, and nobody has touched it since.
    pub fn is_known(&self, key: &str, fingerprint: &str, version: &str) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(key)
            .is_some_and(|child| child.fingerprint == fingerprint && child.version == version)
    }

    /// Whether an object that somebody changes back each time is left as it is for now.
    pub fn rests(&self, key: &str, fingerprint: &str) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let child = all.get(key).filter(|child| child.fingerprint == fingerprint);
        child.is_some_and(|child| child.last.elapsed() < pause(child.contests))
    }

    /// The listener is gone: forgets its children, and those of others whose names begin alike. These are applied once more, no harm.
    pub fn forget(&self, namespace: &str, listener: &str) {
        let own = format!("/{namespace}/{listener}");
        let others = format!("{own}-");
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|key, _| !key.ends_with(&own) && !key.contains(&others));
    }
}

/// Times that an object is put right at once. A person who tries things out does not come to it.
const AT_ONCE: u32 = 30;
const LONGEST: Duration = Duration::from_mins(5);

fn pause(contests: u32) -> Duration {
    match contests.saturating_sub(AT_ONCE) {
        0 => Duration::ZERO,
        more => Duration::from_secs(1 << more.min(9)).min(LONGEST),
    }
}

/// How long what happened counts.
fn remembered(contests: u32) -> Duration {
    (2 * pause(contests)).max(Duration::from_mins(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_listener_that_is_gone_nothing_is_kept() {
        let applied = Applied::default();
        for key in [
            "StatefulSet/mail/edge",
            "Secret/mail/edge-config",
            "Service/mail/edgy",
            "Secret/shop/edge-config",
        ] {
            applied.remember(key, "f", "1", false);
        }
        applied.forget("mail", "edge");
        let kept = applied.0.lock().unwrap();
        let mut kept: Vec<_> = kept.keys().map(String::as_str).collect();
        kept.sort_unstable();
        assert_eq!(kept, ["Secret/shop/edge-config", "Service/mail/edgy"]);
    }

    #[test]
    fn what_was_applied_is_known_by_its_version() {
        let applied = Applied::default();
        applied.remember("k", "f", "1", false);
        assert!(applied.is_known("k", "f", "1"));
        assert!(!applied.is_known("k", "f", "2") && !applied.is_known("k", "g", "1"));
        assert!(!applied.is_known("other", "f", "1"));
    }

    #[tokio::test(start_paused = true)]
    async fn who_changes_an_object_back_each_time_is_met_later_and_later() {
        let applied = Applied::default();
        applied.remember("k", "f", "0", false);
        for time in 1..=AT_ONCE {
            assert!(!applied.remember("k", "f", "1", true), "{time}");
            assert!(!applied.rests("k", "f"), "{time}");
        }
        assert!(applied.remember("k", "f", "1", true), "it is told once");
        for seconds in [2, 4, 8, 16] {
            tokio::time::advance(Duration::from_secs(seconds - 1)).await;
            assert!(applied.rests("k", "f"), "{seconds}");
            tokio::time::advance(Duration::from_secs(1)).await;
            assert!(!applied.rests("k", "f"), "{seconds}");
            assert!(!applied.remember("k", "f", "1", true));
        }
        assert!(
            !applied.rests("k", "another wish"),
            "a change of ours is not held up"
        );
        // It stays right, and that is over.
        tokio::time::advance(Duration::from_mins(2)).await;
        assert!(!applied.remember("k", "f", "1", true));
        assert!(!applied.rests("k", "f"));
        assert_eq!((pause(AT_ONCE), pause(u32::MAX)), (Duration::ZERO, LONGEST));
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_changed_is_no_contest() {
        let applied = Applied::default();
        for _ in 0..100 {
            assert!(!applied.remember("k", "f", "1", false));
        }
        assert!(!applied.rests("k", "f"));
        // Nor is what was never applied in this form before.
        for number in 0..100 {
            assert!(!applied.remember("k", &number.to_string(), "1", true));
        }
        assert!(!applied.rests("k", "99"));
    }
}
