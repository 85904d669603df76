//! Retry schedule of one recipient: when to try again, when to give up (RFC 5321 section 4.5.4.1).
//!
//! Pure: no clock, no random source; the caller passes them in. Times are milliseconds since 1970.
//!
//! ```text
//!   deferral ─► next ─┬─► Next::At       first, 2·first, 4·first … longest, each ± 10 %
//!                     └─► Next::GiveUp   the sender gets a notice
//! ```

use std::time::Duration;

use postroad_config::Retry;

/// When a recipient is tried, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    first: Duration,
    longest: Duration,
    expires: u64,
}

/// What to do with a deferred recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try again at this time.
    At(u64),
    /// The time is over: a notice with action `failed` (RFC 3464 section 2.3.3).
    GiveUp,
}

/// What decides how long one message is tried.
#[derive(Clone, Copy, Debug)]
pub struct Age {
    /// When it was accepted.
    pub arrived: u64,
    /// When it expires by the configuration at that time.
    pub expires: u64,
    /// Whether its reverse-path is null: no policy keeps notices longer than `queue.nullSenderLifetime`.
    pub null_sender: bool,
}

impl Schedule {
    /// The schedule of a policy for one message. A policy's own lifetime replaces that of the queue.
    pub fn new(retry: &Retry, age: Age) -> Self {
        let by_policy = retry
            .lifetime
            .map(|lifetime| age.arrived.saturating_add(millis(lifetime.get())));
        let expires = by_policy.unwrap_or(age.expires);
        let expires = if age.null_sender {
            expires.min(age.expires)
        } else {
            expires
        };
        let first = retry.first.get().max(SHORTEST);
        Self {
            first,
            longest: retry.max.get().max(first),
            expires,
        }
    }

    /// Decides the next try.
    ///
    /// `attempts`: made so far, 1 or more. `now`: end of the last attempt. `draw`: random, spreads the delay by ± 10 %.
    /// A try that would fall behind the end of the lifetime is made at its end, once.
    pub fn next(&self, attempts: u32, now: u64, draw: u64) -> Next {
        if now >= self.expires {
            return Next::GiveUp;
        }
        let doublings = attempts.saturating_sub(1).min(MAX_DOUBLINGS);
        let base = millis(self.first.saturating_mul(1 << doublings).min(self.longest));
        let spread = base / 5 + 1;
        let delay = base - base / 10 + draw % spread;
        Next::At(now.saturating_add(delay).min(self.expires))
    }

    /// The longest wait that [`Schedule::next`] gives. One that is longer was written by a clock that was set since then.
    pub fn longest_wait(&self) -> u64 {
        let base = millis(self.longest);
        base.saturating_add(base / 10)
    }

    /// Whether the lifetime is over.
    pub fn is_over(&self, now: u64) -> bool {
        now >= self.expires
    }

    /// When the lifetime is over.
    pub fn expires(&self) -> u64 {
        self.expires
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A schedule of zero would spin.
const SHORTEST: Duration = Duration::from_millis(100);

const MAX_DOUBLINGS: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use postroad_config::Period;

    const DAY: u64 = 86_400_000;

    fn schedule(lifetime: Option<u64>, null_sender: bool) -> Schedule {
        let retry = Retry {
            lifetime: lifetime.map(Period::from_secs),
            ..Retry::default()
        };
        Schedule::new(
            &retry,
            Age {
                arrived: 1_000,
                expires: 1_000 + 5 * DAY,
                null_sender,
            },
        )
    }

    #[test]
    fn waits_double_up_to_the_longest_within_ten_percent() {
        for (attempts, minutes) in [(1, 5), (2, 10), (3, 20), (6, 160), (7, 240), (40, 240)] {
            let exact = minutes * 60_000;
            for (draw, want) in [(0, exact - exact / 10), (exact / 5, exact + exact / 10)] {
                assert_eq!(
                    schedule(None, false).next(attempts, 5_000, draw),
                    Next::At(5_000 + want),
                    "{attempts}"
                );
                assert!(want <= schedule(None, false).longest_wait());
            }
        }
    }

    #[test]
    fn the_last_try_is_at_the_end_of_the_lifetime_and_nothing_after_it() {
        let end = 1_000 + 5 * DAY;
        assert_eq!(schedule(None, false).next(9, end - 1, 0), Next::At(end));
        assert_eq!(schedule(None, false).next(9, end, 0), Next::GiveUp);
    }

    #[test]
    fn a_policy_has_its_own_lifetime_and_notices_never_a_longer_one() {
        assert_eq!(schedule(Some(60), false).expires(), 61_000);
        assert_eq!(schedule(None, true).expires(), 1_000 + 5 * DAY);
        assert_eq!(schedule(Some(9 * 86_400), true).expires(), 1_000 + 5 * DAY);
        assert_eq!(schedule(Some(9 * 86_400), false).expires(), 1_000 + 9 * DAY);
        assert_eq!(schedule(Some(60), true).expires(), 61_000);
    }

    #[test]
    fn a_schedule_of_zero_does_not_spin() {
        let zero = Retry {
            first: Period::from_secs(0),
            max: Period::from_secs(0),
            lifetime: None,
        };
        let schedule = Schedule::new(
            &zero,
            Age {
                arrived: 0,
                expires: DAY,
                null_sender: false,
            },
        );
        assert!(matches!(schedule.next(1, 0, 0), Next::At(at) if at >= 90));
    }
}
