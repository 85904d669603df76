//! How long nobody tries to log in after a refusal, so that a wrong password does not lock an account. Pure: the clock is passed
//! in.
//!
//! ```text
//!   refused ─► 1 min ─► 2 ─► 4 … 30 min        throttled, or no answer ─► 15 s ─► 30 s … 5 min
//! ```

use std::time::Duration;

use super::fault::NoLogin;

/// What a refusal left behind.
#[derive(Clone, Debug)]
pub struct Hold {
    /// The refusal.
    pub why: NoLogin,
    /// When the first of the refusals was that came in a row. Milliseconds on the clock of the caller.
    pub since: u64,
    /// When the last of them was.
    refused: u64,
    /// Milliseconds on the clock of the caller.
    until: u64,
    failures: u32,
}

impl Hold {
    /// After another refusal. `draw`: random; up to a quarter is added, so that pods do not come back together.
    pub fn after(before: Option<&Self>, why: NoLogin, now: u64, draw: u64) -> Self {
        let failures = before.map_or(0, |before| before.failures).saturating_add(1);
        let (first, longest) = if why.fault.is_passing() {
            (Duration::from_secs(15), Duration::from_mins(5))
        } else {
            (Duration::from_mins(1), Duration::from_mins(30))
        };
        let wait = first
            .saturating_mul(1 << failures.saturating_sub(1).min(16))
            .min(longest);
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Self {
            why,
            since: before.map_or(now, |before| before.since),
            refused: now,
            until: now.saturating_add(wait).saturating_add(draw % (wait / 4).max(1)),
            failures,
        }
    }

    /// When somebody may try again.
    pub const fn until(&self) -> u64 {
        self.until
    }

    /// A person wants to know, and asked at that time: it holds no more, unless it is newer than the question. The next refusal is one
    /// in a row all the same, so that asking over and over does not lock an account.
    pub fn end_for(&mut self, asked: u64) {
        if self.refused <= asked {
            self.until = self.until.min(asked);
        }
    }

    /// Whether it still holds.
    pub fn holds(&self, now: u64) -> bool {
        now < self.until
    }
}

#[cfg(test)]
mod tests {
    use postroad_config::admin::LoginFault;

    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_are_shorter_for_what_passes() {
        let waits = |fault| {
            let mut hold = None;
            let mut waits = vec![];
            for _ in 0..8 {
                let next = Hold::after(hold.as_ref(), NoLogin::new(fault, "x"), 1_000, 0);
                assert!(next.holds(next.until - 1) && !next.holds(next.until));
                assert_eq!(next.since, 1_000);
                waits.push((next.until - 1_000) / 1_000);
                hold = Some(next);
            }
            waits
        };
        assert_eq!(
            waits(LoginFault::CredentialsRefused),
            [60, 120, 240, 480, 960, 1_800, 1_800, 1_800]
        );
        assert_eq!(
            waits(LoginFault::LoginsThrottled),
            [15, 30, 60, 120, 240, 300, 300, 300]
        );
    }

    #[test]
    fn a_person_ends_what_was_refused_before_the_question_and_the_next_wait_is_the_longer_one() {
        let no = || NoLogin::new(LoginFault::CredentialsRefused, "x");
        let mut hold = Hold::after(None, no(), 1_000, 0);
        hold.end_for(999);
        assert!(hold.holds(2_000), "it is newer than the question");
        hold.end_for(2_000);
        assert!(!hold.holds(2_000));
        let next = Hold::after(Some(&hold), no(), 3_000, 0);
        assert_eq!((next.since, next.until), (1_000, 3_000 + 120_000));
    }

    #[test]
    fn pods_do_not_come_back_together() {
        let until = |draw| Hold::after(None, NoLogin::new(LoginFault::Other, "x"), 0, draw).until;
        assert_eq!(until(0), 60_000);
        assert!((60_000..75_000).contains(&until(u64::MAX)));
        assert_ne!(until(1), until(2));
    }
}
