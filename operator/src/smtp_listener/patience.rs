//! How soon a listener is looked at again that is not as it should be, and stays so.
//!
//! ```text
//!   what is said of it changes ─► soon, as before ─► nothing new for a minute ─► later and later, a quarter of a minute at most
//! ```
//!
//! Whoever mends it wakes it: the listener, its objects, pods and Secrets are watched. By looks alone is found what a pod says of itself,
//! and that comes soon after something else has changed. A hundred listeners whose image is not there must not be a hundred looks a second.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use postroad_crds::SmtpListenerStatus;
use tokio::time::Instant;

/// What was said last, and since when, by the uid of the listener.
#[derive(Default)]
pub struct Patience(Mutex<HashMap<String, (u64, Instant)>>);

impl Patience {
    /// For how long nothing else was said.
    pub fn lasting(&self, uid: &str, status: &SmtpListenerStatus) -> Duration {
        let (said, now) = (said(status), Instant::now());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = known.entry(uid.to_owned()).or_insert((said, now));
        if kept.0 != said {
            *kept = (said, now);
        }
        now.duration_since(kept.1)
    }

    /// The listener is gone.
    pub fn forget(&self, uid: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(uid);
    }
}

/// The pause of a listener that nothing new was said of for so long. `usual`: where something was said just now.
pub fn pause(usual: Duration, lasting: Duration) -> Duration {
    if lasting < FRESH {
        return usual;
    }
    usual.max((lasting / SHARE).min(LONGEST))
}

/// For so long it is looked at as soon as ever.
const FRESH: Duration = Duration::from_mins(1);
/// The pause is this share of the time for which nothing was new.
const SHARE: u32 = 30;
const LONGEST: Duration = Duration::from_secs(15);

/// What a status says, without its times and figures that move by themselves.
fn said(status: &SmtpListenerStatus) -> u64 {
    let mut hasher = DefaultHasher::new();
    let counts = (status.replicas, status.ready_replicas);
    (status.observed_generation, status.config_generation, counts).hash(&mut hasher);
    for condition in &status.conditions {
        (&condition.type_, &condition.status).hash(&mut hasher);
        (&condition.reason, &condition.message).hash(&mut hasher);
    }
    for pod in &status.draining {
        (&pod.pod, pod.remaining).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(message: &str, since: &str, remaining: i64) -> SmtpListenerStatus {
        serde_json::from_value(json!({
            "replicas": 1, "readyReplicas": 0, "selector": "",
            "conditions": [{"type": "Ready", "status": "False", "reason": "X", "message": message, "lastTransitionTime": since}],
            "draining": [{"pod": "edge-1", "remaining": remaining}],
        }))
        .unwrap()
    }

    #[test]
    fn the_pause_grows_with_the_time_for_which_nothing_was_new() {
        for (usual, lasting, want) in [
            (1, 0, 1),
            (1, 59, 1),
            (1, 60, 2),
            (1, 300, 10),
            (1, 100_000, 15),
            (5, 60, 5),
            (5, 600, 15),
            (30, 100_000, 30),
        ] {
            let of = Duration::from_secs;
            assert_eq!(pause(of(usual), of(lasting)), of(want), "{usual} {lasting}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_is_new_begins_it_anew() {
        let patience = Patience::default();
        let (day, next) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let mut lasting = Vec::new();
        for (message, since, remaining) in [
            ("a", day, 9),
            ("a", day, 9),
            // Times alone are nothing new.
            ("a", next, 9),
            ("b", next, 9),
            ("b", next, 9),
            ("b", next, 8),
        ] {
            tokio::time::advance(Duration::from_mins(1)).await;
            let status = status(message, since, remaining);
            lasting.push(patience.lasting("one", &status).as_secs());
        }
        assert_eq!(lasting, [0, 60, 120, 0, 60, 0]);
        assert_eq!(patience.lasting("another", &status("b", next, 8)), Duration::ZERO);
        tokio::time::advance(Duration::from_mins(1)).await;
        patience.forget("one");
        assert_eq!(patience.lasting("one", &status("b", next, 8)), Duration::ZERO);
    }
}
