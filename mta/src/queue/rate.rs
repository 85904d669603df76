//! Rates: how many messages, or recipients, may leave in a length of time. Pure: the caller passes the clock in.
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
//!
//! Recipients leave in lumps, those of one job at once. A lump has at most a quarter of the rate and one more
//! ([`Limiter::most_recipients`]); it leaves when all of what left before has been paid for, at a pace of three quarters of the
//! rate. So a lump at the end of a stretch fits in as well.

use postroad_config::Rate;

/// What leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Messages, one for each transaction.
    pub messages: u64,
    /// Recipients.
    pub recipients: u64,
}

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
    fn of_messages(rate: Rate) -> Self {
        let burst = u64::from(rate.count) / 10;
        let cell = Self::paced(rate, burst);
        Self {
            ahead: cell.interval.saturating_mul(burst),
            ..cell
        }
    }

    fn of_recipients(rate: Rate) -> Self {
        Self::paced(rate, u64::from(rate.count) / 4)
    }

    /// At an even pace that leaves room for a burst.
    fn paced(rate: Rate, burst: u64) -> Self {
        let count = u64::from(rate.count.max(1));
        let per = u64::try_from(rate.per.get().as_micros()).unwrap_or(u64::MAX);
        // `burst` messages at once and one each interval are `count` in a stretch of `per`.
        let interval = per.div_ceil(count - burst).max(1);
        Self {
            interval,
            ahead: 0,
            due: 0,
        }
    }

    fn next_at(&self) -> u64 {
        self.due.saturating_sub(self.ahead)
    }

    fn take(&mut self, now: u64, count: u64) {
        self.due = self
            .due
            .max(now)
            .saturating_add(self.interval.saturating_mul(count));
    }
}

/// All rates of one route; every one holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limiter {
    messages: Vec<(Rate, Cell)>,
    recipients: Vec<(Rate, Cell)>,
}

impl Limiter {
    /// A limiter that nothing has used.
    pub fn new(messages: &[Rate], recipients: &[Rate]) -> Self {
        let with = |rates: &[Rate], cell: fn(Rate) -> Cell| {
            let rates = rates.iter().map(|rate| (*rate, cell(*rate)));
            rates.collect()
        };
        Self {
            messages: with(messages, Cell::of_messages),
            recipients: with(recipients, Cell::of_recipients),
        }
    }

    /// Whether it is for these rates.
    pub fn is_for(&self, messages: &[Rate], recipients: &[Rate]) -> bool {
        let of = |cells: &[(Rate, Cell)], rates: &[Rate]| cells.iter().map(|(rate, _)| rate).eq(rates);
        of(&self.messages, messages) && of(&self.recipients, recipients)
    }

    /// Recipients that may leave at once.
    pub fn most_recipients(rates: &[Rate]) -> Option<usize> {
        let most = rates.iter().map(|rate| rate.count / 4 + 1).min()?;
        usize::try_from(most).ok()
    }

    /// When the next message may leave, in milliseconds since 1970; a time that is over means now.
    pub fn next_at(&self) -> u64 {
        let latest = self.cells().map(Cell::next_at).max();
        latest.unwrap_or(0).div_ceil(1_000)
    }

    /// This leaves now (milliseconds since 1970).
    pub fn take(&mut self, now: u64, load: Load) {
        let now = now.saturating_mul(1_000);
        for (cells, count) in [
            (&mut self.messages, load.messages),
            (&mut self.recipients, load.recipients),
        ] {
            for (_, cell) in cells {
                cell.take(now, count);
            }
        }
    }

    /// It would start afresh anyway.
    pub fn is_idle(&self, now: u64) -> bool {
        self.cells().all(|cell| cell.due <= now.saturating_mul(1_000))
    }

    fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.messages.iter().chain(&self.recipients).map(|(_, cell)| cell)
    }
}

#[cfg(test)]
mod tests {
    use postroad_config::Period;
    use proptest::prelude::*;

    use super::*;

    const ONE: Load = Load {
        messages: 1,
        recipients: 1,
    };

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
                limiter.take(now, ONE);
                left.push(now);
            } else {
                now = limiter.next_at();
            }
        }
        left
    }

    #[test]
    fn one_in_three_seconds_is_one_in_three_seconds() {
        let left = departures(&mut Limiter::new(&[rate(1, 3)], &[]), 1_000, 13_001);
        assert_eq!(left, [1_000, 4_000, 7_000, 10_000, 13_000]);
    }

    #[test]
    fn the_strictest_of_several_rates_decides() {
        let mut limiter = Limiter::new(&[rate(100, 1), rate(2, 60)], &[]);
        let left = departures(&mut limiter, 0, 120_000);
        assert_eq!(left.len(), 4, "{left:?}");
    }

    #[test]
    fn a_message_of_several_transactions_takes_as_many() {
        let mut limiter = Limiter::new(&[rate(1, 10)], &[]);
        let load = Load { messages: 3, ..ONE };
        limiter.take(0, load);
        assert_eq!(limiter.next_at(), 30_000);
        assert!(!limiter.is_idle(29_999) && limiter.is_idle(30_000));
    }

    #[test]
    fn no_rate_is_no_limit() {
        assert_eq!(Limiter::new(&[], &[]).next_at(), 0);
    }

    #[test]
    fn a_rate_of_recipients_counts_those_whatever_the_messages() {
        let mut limiter = Limiter::new(&[], &[rate(8, 6)]);
        assert_eq!(Limiter::most_recipients(&[rate(8, 6), rate(100, 6)]), Some(3));
        assert_eq!(Limiter::most_recipients(&[rate(2, 6)]), Some(1));
        let load = Load {
            messages: 1,
            recipients: 3,
        };
        limiter.take(0, load);
        assert_eq!(limiter.next_at(), 3_000);
        assert!(limiter.is_for(&[], &[rate(8, 6)]) && !limiter.is_for(&[rate(8, 6)], &[]));
    }

    proptest! {
        #[test]
        fn no_stretch_has_more_recipients_in_whatever_lumps(
            count in 1_u32..400, seconds in 1_u64..20, lumps in prop::collection::vec(1_u64..100, 1..200),
        ) {
            let (per, rates) = (seconds * 1_000, [rate(count, seconds)]);
            let most = Limiter::most_recipients(&rates).unwrap() as u64;
            let mut limiter = Limiter::new(&[], &rates);
            let (mut now, mut left) = (0, vec![]);
            for lump in lumps {
                now = now.max(limiter.next_at());
                let recipients = lump.min(most);
                limiter.take(now, Load { messages: 1, recipients });
                left.push((now, recipients));
            }
            for (at, (first, _)) in left.iter().enumerate() {
                let inside = left[at..].iter().take_while(|(time, _)| *time < first + per);
                let inside: u64 = inside.map(|(_, lump)| lump).sum();
                prop_assert!(inside <= u64::from(count), "{inside} of {count} in {per} ms");
            }
        }

        #[test]
        fn no_stretch_of_the_given_length_has_more(count in 1_u32..400, seconds in 1_u64..20, start in 0_u64..1 << 40) {
            let per = seconds * 1_000;
            let left = departures(&mut Limiter::new(&[rate(count, seconds)], &[]), start, start + 3 * per);
            for (at, first) in left.iter().enumerate() {
                let inside = left[at..].iter().take_while(|time| **time < first + per).count();
                prop_assert!(inside <= count as usize, "{inside} of {count} in {per} ms");
            }
            // And the rate is used: at least four fifths of it.
            prop_assert!(left.len() * 5 >= count as usize * 3 * 4, "{} of {}", left.len(), count * 3);
        }
    }
}
