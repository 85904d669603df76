//! When a checkpoint is to be written: after some segments, or when nothing happens. The clock is passed in.

use std::time::{Duration, Instant};

use crate::shared::Shared;

/// See the module.
#[derive(Debug)]
pub struct Due {
    segments: u64,
    idle: Duration,
    /// The last batch that was seen, and since when there is no later one.
    quiet: (u64, Instant),
    looked: Instant,
    /// Behind one that could not be written.
    not_before: Instant,
}

impl Due {
    pub fn new(shared: &Shared, now: Instant) -> Self {
        Self::after(
            shared.options.checkpoint_segments,
            shared.options.checkpoint_idle_ms,
            now,
        )
    }

    pub(super) const fn after(segments: u64, idle_ms: u64, now: Instant) -> Self {
        Self {
            segments,
            idle: Duration::from_millis(idle_ms),
            quiet: (0, now),
            looked: now,
            not_before: now,
        }
    }

    /// When to look again at the latest.
    pub fn look(&self) -> Instant {
        self.looked + (self.idle / 4).max(Duration::from_millis(10))
    }

    /// None could be written now: it is tried again after a rest, not at the next poke. On a full volume it would read all of
    /// the index in vain each time.
    pub fn failed(&mut self, now: Instant) {
        self.not_before = now + self.idle;
    }

    /// Whether one is due now.
    pub fn is_due(&mut self, shared: &Shared, now: Instant) -> bool {
        let Some(written) = shared.idle_marks() else {
            self.looked = now;
            return false;
        };
        let (batch, rolled) = {
            let index = shared.index();
            (index.tail.map_or(0, |tail| tail.batch), index.rolled)
        };
        self.decide(
            batch,
            batch != written.batch,
            rolled - written.rolled.min(rolled),
            now,
        )
    }

    /// `batch`: the last one; `news`: it is in no checkpoint; `rolled`: segments begun since the last checkpoint.
    fn decide(&mut self, batch: u64, news: bool, rolled: u64, now: Instant) -> bool {
        self.looked = now;
        if batch != self.quiet.0 {
            self.quiet = (batch, now);
        }
        let idle = now.saturating_duration_since(self.quiet.1) >= self.idle;
        self.segments > 0 && news && now >= self.not_before && (rolled >= self.segments || idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_after_segments_or_when_nothing_happens_and_never_without_news() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut due = Due::after(8, 30_000, start);
        assert!(!due.decide(1, true, 7, at(1)));
        assert!(due.decide(2, true, 8, at(2)));
        assert!(!due.decide(2, false, 0, at(100)), "all is in the last one");
        assert!(!due.decide(3, true, 0, at(200)));
        assert!(!due.decide(4, true, 0, at(229)), "it goes on");
        assert!(!due.decide(4, true, 0, at(258)));
        assert!(due.decide(4, true, 0, at(259)));
        let mut never = Due::after(0, 0, start);
        assert!(!never.decide(9, true, 99, at(999)));
    }

    #[test]
    fn one_that_could_not_be_written_is_tried_again_after_a_rest() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut due = Due::after(8, 30_000, start);
        assert!(due.decide(1, true, 8, at(1)));
        due.failed(at(2));
        assert!(!due.decide(2, true, 9, at(3)), "a poke");
        assert!(!due.decide(2, true, 9, at(31)));
        assert!(due.decide(3, true, 9, at(32)));
    }

    #[test]
    fn it_is_looked_at_again_while_nobody_asks() {
        let start = Instant::now();
        let due = Due::after(8, 30_000, start);
        assert!(due.look() > start && due.look() <= start + Duration::from_secs(30));
    }
}
