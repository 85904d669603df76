//! Reports that could not be sent, and when each is tried again. Pure: the clock is passed in; seconds are since 1970.
//!
//! ```text
//!   failed ─► a quarter of an hour ─► half an hour ─► one, two, four hours ─► every four hours, until it is too old
//! ```
//!
//! Whoever does not answer is asked less and less: a place that is away for a day is asked about a dozen times, and not a
//! hundred.

use std::collections::HashMap;
use std::time::Duration;

use super::Subject;

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Postponed(HashMap<Subject, Wait>);

#[derive(Clone, Copy, Debug, Default)]
struct Wait {
    until: u64,
    failures: u32,
}

impl Postponed {
    /// Whether it is not to be tried yet.
    pub(super) fn waits(&self, of: &Subject, now: u64) -> bool {
        self.0.get(of).is_some_and(|wait| now < wait.until)
    }

    /// It failed, once more. `first`: the pause after the first time.
    pub(super) fn failed(&mut self, of: &Subject, first: Duration, now: u64) {
        let wait = self.0.entry(of.clone()).or_default();
        let doubled = first.as_secs() << wait.failures.min(MOST_DOUBLINGS);
        wait.failures = wait.failures.saturating_add(1);
        wait.until = now.saturating_add(doubled);
    }

    /// It was sent. Rows of it that come later are a report of their own.
    pub(super) fn sent(&mut self, of: &Subject) {
        self.0.remove(of);
    }

    /// Forgets all but these.
    pub(super) fn keep(&mut self, these: impl Fn(&Subject) -> bool) {
        self.0.retain(|of, _| these(of));
    }
}

/// From a quarter of an hour to four hours.
const MOST_DOUBLINGS: u32 = 4;

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    fn of(domain: &str) -> Subject {
        Subject {
            kind: Kind::Tls,
            domain: domain.to_owned(),
            day: 7,
        }
    }

    const FIRST: Duration = Duration::from_mins(15);

    #[test]
    fn the_pauses_grow_to_four_hours_and_stay_there() {
        let (mut postponed, one) = (Postponed::default(), of("a.example"));
        let mut now = 1_000_000;
        let mut pauses = vec![];
        for _ in 0..8 {
            assert!(!postponed.waits(&one, now));
            postponed.failed(&one, FIRST, now);
            let began = now;
            while postponed.waits(&one, now) {
                now += 60;
            }
            pauses.push((now - began) / 60);
        }
        assert_eq!(pauses, [15, 30, 60, 120, 240, 240, 240, 240]);
        // Three days are few attempts.
        let (mut postponed, mut now, mut attempts) = (Postponed::default(), 0, 0);
        while now < 3 * 86_400 {
            if !postponed.waits(&one, now) {
                postponed.failed(&one, FIRST, now);
                attempts += 1;
            }
            now += 30;
        }
        assert_eq!(attempts, 22);
    }

    #[test]
    fn each_report_waits_for_itself_and_begins_anew_once_it_was_sent() {
        let (mut postponed, one, other) = (Postponed::default(), of("a.example"), of("b.example"));
        for _ in 0..3 {
            postponed.failed(&one, FIRST, 0);
        }
        postponed.failed(&other, FIRST, 0);
        assert!(postponed.waits(&one, 3_599) && !postponed.waits(&one, 3_600));
        assert!(postponed.waits(&other, 899) && !postponed.waits(&other, 900));
        postponed.sent(&one);
        assert!(!postponed.waits(&one, 0));
        postponed.failed(&one, FIRST, 0);
        assert!(!postponed.waits(&one, 900));
        postponed.keep(|of| of.domain == "b.example");
        assert!(!postponed.waits(&one, 0) && postponed.waits(&other, 0));
    }
}
