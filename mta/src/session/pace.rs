//! How fast a message comes in, over a sliding minute. Pure: the caller has the clock.
//!
//! ```text
//!   |  10 s  |  10 s  |  10 s  |  10 s  |  10 s  |  10 s  |   six slices and the newest; the oldest falls out
//! ```
//!
//! A client that sends an octet now and then holds a session and a buffer for hours (slow loris); one on a poor line does
//! not go below some hundred octets a second.

use std::time::{Duration, Instant};

/// Octets of the last minute, in slices of ten seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    began: Instant,
    /// Number of the newest slice, counted from the beginning.
    newest: u64,
    slices: [u64; SLICES],
}

impl Pace {
    /// A message begins.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            newest: 0,
            slices: [0; SLICES],
        }
    }

    /// So many octets came.
    pub(super) fn came(&mut self, octets: usize, now: Instant) {
        self.turn(now);
        let slice = place(self.newest);
        if let Some(count) = self.slices.get_mut(slice) {
            *count = count.saturating_add(octets as u64);
        }
    }

    /// Whether the last whole minute brought fewer octets per second than `least`.
    pub(super) fn is_too_slow(&mut self, least: u64, now: Instant) -> bool {
        self.turn(now);
        let whole = now.saturating_duration_since(self.began) >= MINUTE;
        whole && self.slices.iter().sum::<u64>() < least.saturating_mul(MINUTE.as_secs())
    }

    /// When to look again, if nothing comes until then.
    pub(super) fn next_look(&self, now: Instant) -> Instant {
        (self.began + MINUTE).max(now + SLICE)
    }

    fn turn(&mut self, now: Instant) {
        let slice = now.saturating_duration_since(self.began).as_secs() / SLICE.as_secs();
        let passed = slice.saturating_sub(self.newest).min(SLICES as u64);
        for number in 1..=passed {
            let place = place(slice - passed + number);
            if let Some(count) = self.slices.get_mut(place) {
                *count = 0;
            }
        }
        self.newest = self.newest.max(slice);
    }
}

fn place(slice: u64) -> usize {
    usize::try_from(slice % SLICES as u64).unwrap_or(0)
}

/// Six whole ones and the one that runs.
const SLICES: usize = 7;
const SLICE: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn nobody_is_too_slow_in_the_first_minute() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert!(!pace.is_too_slow(1_000, start + at(59)));
        assert!(pace.is_too_slow(1_000, start + at(60)));
    }

    #[test]
    fn the_last_minute_counts_and_nothing_before_it() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.came(10_000_000, start);
        assert!(!pace.is_too_slow(256, start + at(59)));
        assert!(
            pace.is_too_slow(256, start + at(75)),
            "the burst is over a minute old"
        );
        pace.came(256 * 60, start + at(75));
        assert!(!pace.is_too_slow(256, start + at(80)));
        assert!(pace.is_too_slow(256, start + at(500)));
    }

    #[test]
    fn a_steady_client_at_the_rate_is_never_too_slow() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for second in 0..600 {
            pace.came(300, start + at(second));
            assert!(!pace.is_too_slow(256, start + at(second)), "second {second}");
        }
    }

    #[test]
    fn an_octet_now_and_then_is_too_slow() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let found = (0..600).step_by(9).find(|second| {
            pace.came(1, start + at(*second));
            pace.is_too_slow(1, start + at(*second))
        });
        assert_eq!(found, Some(63));
    }
}
