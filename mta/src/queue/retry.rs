//! Retry schedule of one recipient: when to try again, when to give up (RFC 5321 section 4.5.4.1).
//!
//! Pure: no clock, no random source; the caller passes them in. Times are milliseconds since 1970.
//!
//! ```text
//!   deferral ─► next ─┬─► Next::At       first, 2·first, 4·first … longest, each ± 10 %
//!                     └─► Next::GiveUp   the sender gets a notice
//! ```
//!
//! A sender may give a time (RFC 2852). Where the message is to come back then, that is the end of its lifetime, at which
//! nothing is tried any more; the last tries are before it. Where the sender is to be told, there is a try at that time.

use std::time::Duration;

use postroad_config::Retry;
use postroad_spool::{ByMode, DeliverBy};

/// When a recipient is tried, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    first: Duration,
    longest: Duration,
    expires: u64,
    by: Option<DeliverBy>,
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
    /// When it expires by the queue's lifetime, as the configuration has it now.
    pub expires: u64,
    /// Whether its reverse-path is null: no policy keeps notices longer than `queue.nullSenderLifetime`.
    pub null_sender: bool,
    /// Until when its sender wants it delivered.
    pub by: Option<DeliverBy>,
    /// How long it was on hold (`deliver/holds.rs`): that counts to no lifetime, but the sender's own time goes on.
    pub held: u64,
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
        let expires = expires.saturating_add(age.held);
        let expires = match age.by {
            Some(by) if by.mode == ByMode::Return => expires.min(by.deadline),
            _ => expires,
        };
        let first = retry.first.get().max(SHORTEST);
        Self {
            first,
            longest: retry.max.get().max(first),
            expires,
            by: age.by,
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
        Next::At(self.at(attempts, now, draw).min(self.expires))
    }

    /// The same for one that is on hold now: the sender's own time alone ends it.
    pub fn next_on_hold(&self, attempts: u32, now: u64, draw: u64) -> Next {
        if self.is_late(now) {
            return Next::GiveUp;
        }
        Next::At(self.at(attempts, now, draw))
    }

    fn at(&self, attempts: u32, now: u64, draw: u64) -> u64 {
        let doublings = attempts.saturating_sub(1).min(MAX_DOUBLINGS);
        let base = millis(self.first.saturating_mul(1 << doublings).min(self.longest));
        let spread = base / 5 + 1;
        let delay = base - base / 10 + draw % spread;
        let at = now.saturating_add(delay);
        match self.by {
            Some(by) if by.mode == ByMode::Return && at >= by.deadline => before(now, by.deadline),
            Some(by) if by.mode == ByMode::Notify && now < by.deadline => at.min(by.deadline),
            _ => at,
        }
    }

    /// The sender wants it back: its time is over, and nothing is tried any more.
    pub fn is_late(&self, now: u64) -> bool {
        self.by
            .is_some_and(|by| by.mode == ByMode::Return && now >= by.deadline)
    }

    /// The time that the sender gives, as long as something is to be done then.
    pub fn deadline(&self, now: u64) -> Option<u64> {
        let by = self.by?;
        (by.mode == ByMode::Return || now < by.deadline).then_some(by.deadline)
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

/// Half-way to the end, again and again, until too little time is left for a try.
const fn before(now: u64, end: u64) -> u64 {
    let left = end.saturating_sub(now);
    if left > 2 * LAST_TRY { now + left / 2 } else { end }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A schedule of zero would spin.
const SHORTEST: Duration = Duration::from_millis(100);

const MAX_DOUBLINGS: u32 = 16;

/// Time that the last try before a return has, in milliseconds.
const LAST_TRY: u64 = 5_000;

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
                by: None,
                held: 0,
            },
        )
    }

    fn by(deadline: u64, mode: ByMode) -> Schedule {
        let age = Age {
            arrived: 0,
            expires: 5 * DAY,
            null_sender: false,
            by: Some(DeliverBy {
                deadline,
                mode,
                trace: false,
            }),
            held: 0,
        };
        Schedule::new(&Retry::default(), age)
    }

    #[test]
    fn a_message_that_is_to_come_back_is_tried_before_its_end_and_not_at_it() {
        let schedule = by(60_000, ByMode::Return);
        let mut now = 0;
        let mut tries = vec![];
        while let Next::At(at) = schedule.next(9, now, 0) {
            tries.push(at);
            now = at;
        }
        assert_eq!(tries, [30_000, 45_000, 52_500, 60_000]);
        assert!(schedule.is_late(60_000) && !schedule.is_late(59_999));
        assert_eq!(schedule.expires(), 60_000);
        // One with more time than a lifetime has the lifetime.
        assert_eq!(by(9 * DAY, ByMode::Return).expires(), 5 * DAY);
    }

    #[test]
    fn a_sender_that_is_to_be_told_is_told_after_a_try_at_that_time() {
        let schedule = by(60_000, ByMode::Notify);
        assert_eq!(schedule.next(1, 0, 0), Next::At(60_000));
        assert_eq!(schedule.next(2, 60_000, 0), Next::At(60_000 + 540_000));
        assert_eq!(schedule.expires(), 5 * DAY);
        assert!(!schedule.is_late(5 * DAY));
        assert_eq!(
            (schedule.deadline(0), schedule.deadline(60_000)),
            (Some(60_000), None)
        );
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
    fn the_time_on_hold_counts_to_no_lifetime_but_to_that_of_the_sender() {
        for (lifetime, null_sender, by, want) in [
            (None, false, None, 1_000 + 8 * DAY),
            (None, true, None, 1_000 + 8 * DAY),
            (Some(60), false, None, 61_000 + 3 * DAY),
            (None, false, Some(6 * DAY), 6 * DAY),
        ] {
            let retry = Retry {
                lifetime: lifetime.map(Period::from_secs),
                ..Retry::default()
            };
            let age = Age {
                arrived: 1_000,
                expires: 1_000 + 5 * DAY,
                null_sender,
                by: by.map(|deadline| DeliverBy {
                    deadline,
                    mode: ByMode::Return,
                    trace: false,
                }),
                held: 3 * DAY,
            };
            assert_eq!(Schedule::new(&retry, age).expires(), want, "{lifetime:?} {by:?}");
        }
        // It was on hold elsewhere, and is over by what is known here: the hold that is found now keeps it all the same.
        let over = schedule(Some(60), false);
        assert_eq!(over.next(1, 61_000, 0), Next::GiveUp);
        assert_eq!(over.next_on_hold(1, 61_000, 0), Next::At(61_000 + 270_000));
        assert_eq!(
            by(60_000, ByMode::Return).next_on_hold(1, 60_000, 0),
            Next::GiveUp
        );
        assert!(
            matches!(by(60_000, ByMode::Return).next_on_hold(1, 50_000, 0), Next::At(at) if at <= 60_000)
        );
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
                by: None,
                held: 0,
            },
        );
        assert!(matches!(schedule.next(1, 0, 0), Next::At(at) if at >= 90));
    }
}
