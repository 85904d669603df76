//! Rates: how many messages may leave in a length of time. Pure: the caller passes the clock in.
//!
//! The generic cell rate algorithm: one time stamp for each rate, no counters to reset, no bursts at the edges of windows.
//!
//! ```text
//!   allowed at ─┐   one message every `interval`; a small burst may run ahead of it
//!   ──┬──┬──┬───┴──┬──┬──┬──► t
//! ```
//!
//! Strict: in no stretch of the given length do more messages leave than the rate says, so that a provider that counts in
//! any window of its own sees no excess.

use postroad_config::Rate;

/// One rate. Times are microseconds, so that a million messages a second have an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    interval: u64,
    /// How far a burst may run ahead.
    ahead: u64,
    /// When the next message would be due at an even pace.
    due: u64,
}

impl Cell {
    fn new(rate: Rate) -> Self {
        let count = u64::from(rate.count.max(1));
        let per = u64::try_from(rate.per.get().as_micros()).unwrap_or(u64::MAX);
        let burst = count / 10;
        // `burst` messages at once and one each interval are `count` in a stretch of `per`.
        let interval = per.div_ceil(count - burst).max(1);
        Self {
            interval,
            ahead: interval.saturating_mul(burst),
            due: 0,
        }
    }

    fn next_at(&self) -> u64 {
        self.due.saturating_sub(self.ahead)
    }

    fn take(&mut self, now: u64, messages: u64) {
        self.due = self
            .due
            .max(now)
            .saturating_add(self.interval.saturating_mul(messages));
    }
}

/// All rates of one route; every one holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limiter {
    rates: Vec<Rate>,
    cells: Vec<Cell>,
}

impl Limiter {
    /// A limiter that nothing has used.
    pub fn new(rates: &[Rate]) -> Self {
        Self {
            rates: rates.to_vec(),
            cells: rates.iter().copied().map(Cell::new).collect(),
        }
    }

    /// Whether it is for these rates.
    pub fn is_for(&self, rates: &[Rate]) -> bool {
        self.rates == rates
    }

    /// When the next message may leave, in milliseconds since 1970; a time that is over means now.
    pub fn next_at(&self) -> u64 {
        let latest = self.cells.iter().map(Cell::next_at).max();
        latest.unwrap_or(0).div_ceil(1_000)
    }

    /// Messages leave now (milliseconds since 1970).
    pub fn take(&mut self, now: u64, messages: u64) {
        for cell in &mut self.cells {
            cell.take(now.saturating_mul(1_000), messages);
        }
    }

    /// It would start afresh anyway.
    pub fn is_idle(&self, now: u64) -> bool {
        self.cells
            .iter()
            .all(|cell| cell.due <= now.saturating_mul(1_000))
    }
}

#[cfg(test)]
mod tests {
    use postroad_config::Period;
    use proptest::prelude::*;

    use super::*;

    fn rate(count: u32, seconds: u64) -> Rate {
        Rate {
            count,
            per: Period::from_secs(seconds),
        }
    }

    /// Times at which messages leave when there are always some, from `start` on.
    fn departures(limiter: &mut Limiter, start: u64, end: u64) -> Vec<u64> {
        let (mut now, mut left) = (start, vec![]);
        while now < end && left.len() < 20_000 {
            if limiter.next_at() <= now {
                limiter.take(now, 1);
                left.push(now);
            } else {
                now = limiter.next_at();
            }
        }
        left
    }

    #[test]
    fn one_in_three_seconds_is_one_in_three_seconds() {
        let left = departures(&mut Limiter::new(&[rate(1, 3)]), 1_000, 13_001);
        assert_eq!(left, [1_000, 4_000, 7_000, 10_000, 13_000]);
    }

    #[test]
    fn the_strictest_of_several_rates_decides() {
        let mut limiter = Limiter::new(&[rate(100, 1), rate(2, 60)]);
        let left = departures(&mut limiter, 0, 120_000);
        assert_eq!(left.len(), 4, "{left:?}");
    }

    #[test]
    fn a_message_of_several_transactions_takes_as_many() {
        let mut limiter = Limiter::new(&[rate(1, 10)]);
        limiter.take(0, 3);
        assert_eq!(limiter.next_at(), 30_000);
        assert!(!limiter.is_idle(29_999) && limiter.is_idle(30_000));
    }

    #[test]
    fn no_rate_is_no_limit() {
        assert_eq!(Limiter::new(&[]).next_at(), 0);
    }

    proptest! {
        #[test]
        fn no_stretch_of_the_given_length_has_more(count in 1_u32..400, seconds in 1_u64..20, start in 0_u64..1 << 40) {
            let per = seconds * 1_000;
            let left = departures(&mut Limiter::new(&[rate(count, seconds)]), start, start + 3 * per);
            for (at, first) in left.iter().enumerate() {
                let inside = left[at..].iter().take_while(|time| **time < first + per).count();
                prop_assert!(inside <= count as usize, "{inside} of {count} in {per} ms");
            }
            // And the rate is used: at least four fifths of it.
            prop_assert!(left.len() * 5 >= count as usize * 3 * 4, "{} of {}", left.len(), count * 3);
        }
    }
}
