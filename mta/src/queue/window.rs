//! How many attempts run to one site at once, and when a site that cannot be reached is probed again.
//!
//! Pure: the caller passes the clock in.
//!
//! ```text
//!   success ─► window + 1/window     (up to 20)
//!   trouble ─► window − 1/window     (down to 1)
//!   cannot connect ─► closed until …, then one probe; its success opens the site again
//! ```
//!
//! Trouble with the site is not trouble with a message: a dead host costs one probe per interval however many messages
//! wait for it.

use std::time::Duration;

/// The window of one site.
#[derive(Clone, Debug)]
pub struct Window {
    /// In thousandths of an attempt.
    width: u32,
    running: u32,
    failures: u32,
    closed_until: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            width: START * UNIT,
            running: 0,
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
}

impl Window {
    /// Whether another attempt may start now.
    pub fn is_open(&self, now: u64) -> bool {
        now >= self.closed_until && self.running < self.allowed()
    }

    /// When a closed site is probed; 0 when it is not closed.
    pub fn opens_at(&self) -> u64 {
        self.closed_until
    }

    /// Attempts that run now.
    pub fn running(&self) -> u32 {
        self.running
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
        match feedback {
            Feedback::Good => {
                self.failures = 0;
                self.closed_until = 0;
                self.width = (self.width + UNIT * UNIT / self.width).min(CAP * UNIT);
            }
            Feedback::Busy => self.width = self.narrower(),
            Feedback::Dead => {
                self.width = self.narrower();
                // Attempts that were under way when the site died do not lengthen the wait.
                if now >= self.closed_until {
                    self.failures = self.failures.saturating_add(1);
                    self.closed_until = now.saturating_add(wait(self.failures, first, longest, draw));
                }
            }
        }
    }

    fn narrower(&self) -> u32 {
        self.width.saturating_sub(UNIT * UNIT / self.width).max(UNIT)
    }

    fn allowed(&self) -> u32 {
        // After a failure one probe at a time, until one succeeds.
        if self.failures > 0 { 1 } else { self.width / UNIT }
    }
}

fn wait(failures: u32, first: Duration, longest: Duration, draw: u64) -> u64 {
    let doubled = first
        .saturating_mul(1 << (failures - 1).min(16))
        .min(longest.max(first));
    let base = u64::try_from(doubled.as_millis()).unwrap_or(u64::MAX);
    base - base / 10 + draw % (base / 5 + 1)
}

const UNIT: u32 = 1_000;
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

    #[test]
    fn it_starts_at_five_and_grows_to_twenty() {
        let mut window = Window::default();
        for _ in 0..5 {
            assert!(window.is_open(0));
            window.start();
        }
        assert!(!window.is_open(0));
        let mut window = Window::default();
        for _ in 0..1_000 {
            after(&mut window, Feedback::Good, 0);
        }
        assert_eq!(window.allowed(), 20);
    }

    #[test]
    fn a_busy_site_gets_less_and_never_nothing() {
        let mut window = Window::default();
        for _ in 0..1_000 {
            after(&mut window, Feedback::Busy, 0);
        }
        assert_eq!(window.allowed(), 1);
        assert!(window.is_open(0));
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
        let opens = window.opens_at();
        window.end_with(Feedback::Dead, 1, FIRST, LONGEST, 1_000);
        assert_eq!(window.opens_at(), opens);
    }
}
