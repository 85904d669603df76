//! How many attempts run to one site at once, and when a site that cannot be reached is probed again.
//!
//! Pure: the caller passes the clock in. After Postfix's queue manager: feedback of 1/N with reverse hysteresis, and a
//! site is dead after one failed cohort, that is when all attempts that ran side by side failed and none went well.
//!
//! ```text
//!   success ─► window + 1 after N of them    (up to 20, or what the route says)
//!   trouble ─► window − 1 at once, and − 1 after each N more    (down to 1)
//!   cohort failed ─► closed until …, then one probe at a time; its success opens the site again
//! ```
//!
//! Trouble with the site is not trouble with a message: a dead host costs one probe per interval however many messages
//! wait for it.

use std::time::Duration;

/// The window of one site.
#[derive(Clone, Debug)]
pub struct Window {
    width: u32,
    /// Widest it gets.
    cap: u32,
    running: u32,
    /// Successes on the way to the next step up, in thousandths of a step.
    gain: i32,
    /// What trouble may still use up before the next step down, in thousandths of a step.
    slack: i32,
    /// Failures that are missing until the cohort has failed; none while all is well.
    cohort: Option<u32>,
    /// Cohorts and probes that failed in a row.
    failures: u32,
    closed_until: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            width: START,
            cap: CAP,
            running: 0,
            gain: 0,
            slack: 0,
            cohort: None,
            failures: 0,
            closed_until: 0,
        }
    }
}

/// What an attempt said about its site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// A server answered and took its part in a transaction, whatever it said about recipients.
    Good,
    /// A server asked to slow down (421, 4.7.x).
    Busy,
    /// No server could be reached, or none got as far as a transaction.
    Dead,
    /// Nothing more is taken there until then, in seconds since 1970.
    Resting(u32),
}

impl Feedback {
    /// Whether what waits for the site waits for it to open again.
    pub fn closes(self) -> bool {
        matches!(self, Self::Dead | Self::Resting(_))
    }
}

impl Window {
    /// The most attempts at once, by the configuration; without it 20.
    pub fn set_cap(&mut self, cap: Option<u32>) {
        self.cap = cap.unwrap_or(CAP).max(1);
    }

    /// Whether another attempt may start now.
    pub fn is_open(&self, now: u64) -> bool {
        now >= self.closed_until && self.running < self.allowed()
    }

    /// Opens a closed site for a probe now.
    pub fn open(&mut self) {
        self.closed_until = 0;
    }

    /// When a closed site is probed; 0 when it is not closed.
    pub fn opens_at(&self) -> u64 {
        self.closed_until
    }

    /// Attempts that run now.
    pub fn running(&self) -> u32 {
        self.running
    }

    /// Attempts that may run at once.
    pub fn allowed(&self) -> u32 {
        // After a failed cohort one probe at a time, until one succeeds.
        if self.failures > 0 {
            1
        } else {
            self.width.min(self.cap)
        }
    }

    /// An attempt starts.
    pub fn start(&mut self) {
        self.running += 1;
    }

    /// An attempt ended without saying anything about the site.
    pub fn end(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// An attempt ended. `first` and `longest` are those of the retry schedule, `draw` is random.
    pub fn end_with(&mut self, feedback: Feedback, now: u64, first: Duration, longest: Duration, draw: u64) {
        self.end();
        let failed = match feedback {
            Feedback::Good => {
                self.succeed();
                false
            }
            Feedback::Busy => {
                let slowest = self.width == 1 || self.failures > 0;
                self.narrow();
                // Who asks for less than one at a time is left alone for an interval.
                slowest && self.is_cohort_over()
            }
            Feedback::Dead => {
                self.narrow();
                self.is_cohort_over()
            }
            Feedback::Resting(until) => {
                self.narrow();
                self.rest(u64::from(until).saturating_mul(1_000), now);
                false
            }
        };
        // Attempts that were under way when the site died do not lengthen the wait.
        if failed && now >= self.closed_until {
            self.failures = self.failures.saturating_add(1);
            self.closed_until = now.saturating_add(wait(self.failures, first, longest, draw));
        }
    }

    /// After a long rest one message goes first, and the others if it is taken.
    fn rest(&mut self, until: u64, now: u64) {
        if until.saturating_sub(now) > SHORT_REST {
            self.failures = self.failures.max(1);
        }
        self.closed_until = self.closed_until.max(until);
    }

    fn succeed(&mut self) {
        self.cohort = None;
        if self.failures > 0 {
            // It was dead: what was learnt before is of no use.
            *self = Self {
                running: self.running,
                cap: self.cap,
                ..Self::default()
            };
            return;
        }
        self.closed_until = 0;
        // A window that is not used is no reason to widen it.
        if self.width >= (self.running + 1).saturating_add(START).min(self.cap) {
            return;
        }
        let step = self.step();
        self.gain += step;
        if self.gain + step / 2 >= UNIT {
            (self.gain, self.slack) = (self.gain - UNIT, 0);
            self.width += 1;
        }
    }

    fn narrow(&mut self) {
        let step = self.step();
        self.slack -= step;
        if self.slack - step / 2 < 0 {
            self.slack += UNIT;
            self.gain = 0;
            self.width = (self.width.min(self.cap) - 1).max(1);
        }
    }

    /// 1/N.
    fn step(&self) -> i32 {
        UNIT / i32::try_from(self.width).unwrap_or(UNIT)
    }

    /// One more of the cohort failed: whether that was the last. A probe is a cohort of its own.
    fn is_cohort_over(&mut self) -> bool {
        let missing = match self.cohort {
            _ if self.failures > 0 => 0,
            None => self.running,
            Some(missing) => missing.saturating_sub(1),
        };
        self.cohort = Some(missing);
        missing == 0
    }
}

fn wait(failures: u32, first: Duration, longest: Duration, draw: u64) -> u64 {
    let doubled = first
        .saturating_mul(1 << (failures - 1).min(16))
        .min(longest.max(first));
    let base = u64::try_from(doubled.as_millis()).unwrap_or(u64::MAX);
    base - base / 10 + draw % (base / 5 + 1)
}

/// Thousandths of a step.
const UNIT: i32 = 1_000;
/// After it a site goes on as before, in milliseconds.
const SHORT_REST: u64 = 60_000;
const START: u32 = 5;
const CAP: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(10);
    const LONGEST: Duration = Duration::from_secs(35);

    fn after(window: &mut Window, feedback: Feedback, now: u64) {
        window.start();
        window.end_with(feedback, now, FIRST, LONGEST, 1_000);
    }

    /// Starts as many as may run, and ends them all alike.
    fn round(window: &mut Window, feedback: Feedback) {
        let count = window.allowed() - window.running();
        (0..count).for_each(|_| window.start());
        for _ in 0..count {
            window.end_with(feedback, 0, FIRST, LONGEST, 1_000);
        }
    }

    #[test]
    fn it_starts_at_five_and_grows_to_its_cap_one_step_per_round() {
        for (cap, want) in [(None, CAP), (Some(3), 3), (Some(40), 40)] {
            let mut window = Window::default();
            window.set_cap(cap);
            assert_eq!(window.allowed(), START.min(want));
            for _ in 0..200 {
                let before = window.allowed();
                // Kept full, so that each success finds the others running.
                (before..=before).for_each(|_| window.start());
                round(&mut window, Feedback::Good);
                window.end();
                assert!(window.allowed() <= before + 2, "{before}");
            }
            assert_eq!(window.allowed(), want);
        }
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        let mut window = Window::default();
        for _ in 0..1_000 {
            after(&mut window, Feedback::Good, 0);
        }
        assert!(window.allowed() <= START + 1);
    }

    #[test]
    fn the_first_trouble_narrows_at_once_and_the_next_only_after_as_many_as_the_window_is_wide() {
        let mut window = Window::default();
        after(&mut window, Feedback::Busy, 0);
        assert_eq!(window.allowed(), 4);
        for _ in 0..2 {
            after(&mut window, Feedback::Busy, 0);
            assert_eq!(window.allowed(), 4);
        }
        after(&mut window, Feedback::Busy, 0);
        assert_eq!(window.allowed(), 3);
    }

    #[test]
    fn a_busy_site_gets_less_and_then_a_pause() {
        let mut window = Window::default();
        let mut busy = 0;
        while window.opens_at() == 0 {
            after(&mut window, Feedback::Busy, 0);
            busy += 1;
            assert!(busy < 100, "it never pauses");
        }
        assert_eq!(window.allowed(), 1);
        assert!(busy > 5, "one word is no reason for a pause");
        let now = window.opens_at();
        after(&mut window, Feedback::Good, now);
        assert!(window.is_open(0) && window.allowed() == START);
    }

    #[test]
    fn a_site_is_dead_when_all_that_ran_side_by_side_failed() {
        let mut window = Window::default();
        (0..5).for_each(|_| window.start());
        for _ in 0..4 {
            window.end_with(Feedback::Dead, 0, FIRST, LONGEST, 0);
            assert_eq!(window.opens_at(), 0);
        }
        window.end_with(Feedback::Dead, 0, FIRST, LONGEST, 0);
        assert!(window.opens_at() > 0);
        let mut window = Window::default();
        (0..5).for_each(|_| window.start());
        for feedback in [Feedback::Dead, Feedback::Dead, Feedback::Good, Feedback::Dead] {
            window.end_with(feedback, 0, FIRST, LONGEST, 0);
        }
        assert_eq!(window.opens_at(), 0, "one of them went well");
    }

    #[test]
    fn a_dead_site_is_probed_once_per_growing_interval() {
        let mut window = Window::default();
        let mut now = 0;
        for seconds in [10, 20, 35, 35] {
            after(&mut window, Feedback::Dead, now);
            let wait = window.opens_at() - now;
            assert!(
                (seconds * 900..=seconds * 1_100).contains(&wait),
                "{seconds} {wait}"
            );
            assert!(!window.is_open(now));
            now = window.opens_at();
            assert!(window.is_open(now));
        }
        window.start();
        assert!(!window.is_open(now), "one probe at a time");
        window.end_with(Feedback::Good, now, FIRST, LONGEST, 0);
        assert!(window.is_open(now) && window.allowed() > 1);
    }

    #[test]
    fn attempts_under_way_do_not_lengthen_the_wait() {
        let mut window = Window::default();
        window.start();
        window.start();
        window.end_with(Feedback::Dead, 0, FIRST, LONGEST, 1_000);
        window.end_with(Feedback::Dead, 0, FIRST, LONGEST, 1_000);
        window.start();
        let opens = window.opens_at();
        window.end_with(Feedback::Dead, 1, FIRST, LONGEST, 1_000);
        assert_eq!(window.opens_at(), opens);
    }
}
