//! How much one client or user may bring (`access.rates`). Pure: the clock is passed in.
//!
//! A window begins with its first message or recipient and holds its number of them; when its time is over, the next one
//! begins a new one. Bounded: of many, those of the sites with most of them go, whose windows began longest ago (`room.rs`).

use std::collections::HashMap;

use postroad_config::{Rate, SendingRates};
use serde::{Deserialize, Serialize};

use super::greylist::Key;
use super::room::thin;

/// What there was too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// Messages.
    Messages,
    /// Recipients.
    Recipients,
}

/// Why it may not be brought now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// Of what.
    pub what: What,
    /// Seconds until the window is over, 1 or more.
    pub wait: u64,
}

/// Who is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Client or user.
    pub of: Key,
    /// The site that the client is in; of a user the user.
    pub site: Key,
}

/// Open windows of all clients and users.
#[derive(Debug, Default)]
pub struct Counts(HashMap<Key, Open>);

/// Those of one.
#[derive(Clone, Debug)]
struct Open {
    site: Key,
    windows: Vec<Window>,
}

impl Open {
    fn began(&self) -> u64 {
        self.windows.iter().map(|window| window.began).max().unwrap_or(0)
    }
}

/// One rate's window; times are milliseconds.
#[derive(Clone, Copy, Debug)]
struct Window {
    rate: Rate,
    began: u64,
    used: u64,
}

impl Window {
    fn length(&self) -> u64 {
        u64::try_from(self.rate.per.get().as_millis()).unwrap_or(u64::MAX)
    }

    fn ends(&self) -> u64 {
        self.began.saturating_add(self.length())
    }
}

impl Counts {
    /// Counts so many messages and recipients of one client or user at this time (milliseconds since 1970), where every rate
    /// has room for them; else counts nothing.
    pub fn take(
        &mut self,
        rates: &SendingRates,
        Counted { of, site }: Counted,
        (messages, recipients): (u32, u32),
        now: u64,
    ) -> Result<(), Excess> {
        if !self.0.contains_key(&of) {
            self.make_room(now);
        }
        let wanted = || rates.messages.iter().chain(&rates.recipients);
        let open = self.0.entry(of).or_insert(Open {
            site,
            windows: Vec::new(),
        });
        let windows = &mut open.windows;
        // Other rates than before: what was counted says nothing of them.
        if !windows.iter().map(|window| &window.rate).eq(wanted()) {
            let begin = |rate: &Rate| Window {
                rate: *rate,
                began: now,
                used: 0,
            };
            *windows = wanted().map(begin).collect();
        }
        let mut excess = None::<Excess>;
        for (at, window) in windows.iter_mut().enumerate() {
            if now >= window.ends() {
                (window.began, window.used) = (now, 0);
            }
            let (what, more) = kind(at, rates, (messages, recipients));
            if more > 0 && window.used + more > u64::from(window.rate.count) {
                let wait = (window.ends() - now).div_ceil(1_000).max(1);
                if excess.is_none_or(|found| found.wait < wait) {
                    excess = Some(Excess { what, wait });
                }
            }
        }
        if let Some(excess) = excess {
            return Err(excess);
        }
        for (at, window) in windows.iter_mut().enumerate() {
            if window.used == 0 {
                window.began = now;
            }
            window.used += kind(at, rates, (messages, recipients)).1;
        }
        Ok(())
    }

    fn make_room(&mut self, now: u64) {
        if self.0.len() < MOST {
            return;
        }
        self.0
            .retain(|_, open| open.windows.iter().any(|window| now < window.ends()));
        if self.0.len() >= MOST {
            thin(&mut self.0, MOST / 2, |open| Some((open.site, open.began())));
        }
    }
}

/// What the window at that place counts, and how much more of it there is.
fn kind(at: usize, rates: &SendingRates, (messages, recipients): (u32, u32)) -> (What, u64) {
    if at < rates.messages.len() {
        (What::Messages, u64::from(messages))
    } else {
        (What::Recipients, u64::from(recipients))
    }
}

/// Clients and users; about 150 octets each.
const MOST: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(text: &str) -> SendingRates {
        serde_saphyr::from_str(text).unwrap()
    }

    const ANN: Counted = one(1);

    /// A client of a site of its own.
    const fn one(number: u128) -> Counted {
        Counted {
            of: Key(number),
            site: Key(number),
        }
    }

    #[test]
    fn a_window_holds_its_number_and_then_a_new_one_begins() {
        let rates = rates("{messages: [{count: 2, per: 1m}], recipients: [{count: 3, per: 10s}]}");
        let mut counts = Counts::default();
        let mut take = |of: Counted, much: (u32, u32), now: u64| counts.take(&rates, of, much, now);
        assert_eq!(take(ANN, (1, 1), 5_000), Ok(()));
        assert_eq!(take(ANN, (0, 1), 5_001), Ok(()));
        assert_eq!(take(ANN, (0, 1), 5_002), Ok(()));
        let much = |what, wait| Err(Excess { what, wait });
        assert_eq!(take(ANN, (0, 1), 14_999), much(What::Recipients, 1));
        assert_eq!(
            take(one(2), (1, 1), 14_999),
            Ok(()),
            "each has a count of its own"
        );
        assert_eq!(
            take(ANN, (1, 1), 15_000),
            Ok(()),
            "the recipients' window is over"
        );
        assert_eq!(take(ANN, (1, 1), 15_001), much(What::Messages, 50));
        assert_eq!(take(ANN, (1, 1), 65_000), Ok(()));
    }

    #[test]
    fn what_is_refused_is_not_counted() {
        let rates = rates("{messages: [{count: 5, per: 1m}], recipients: [{count: 1, per: 1m}]}");
        let mut counts = Counts::default();
        counts.take(&rates, ANN, (1, 1), 0).unwrap();
        for _ in 0..10 {
            assert_eq!(
                counts.take(&rates, ANN, (1, 1), 1).unwrap_err().what,
                What::Recipients
            );
        }
        assert_eq!(counts.take(&rates, ANN, (4, 0), 2), Ok(()));
        assert_eq!(
            counts.take(&rates, ANN, (1, 0), 2).unwrap_err().what,
            What::Messages
        );
    }

    #[test]
    fn no_rates_count_nothing_and_other_rates_begin_anew() {
        let mut counts = Counts::default();
        assert_eq!(counts.take(&rates("{}"), ANN, (1, 1), 0), Ok(()));
        let one = rates("{messages: [{count: 1, per: 1d}]}");
        assert_eq!(counts.take(&one, ANN, (1, 1), 0), Ok(()));
        assert!(counts.take(&one, ANN, (1, 1), 0).is_err());
        assert_eq!(
            counts.take(&rates("{messages: [{count: 2, per: 1d}]}"), ANN, (1, 1), 0),
            Ok(())
        );
    }

    #[test]
    fn a_crowd_does_not_grow_it() {
        let rate = rates("{messages: [{count: 1, per: 1d}]}");
        let mut counts = Counts::default();
        for number in 0..3 * MOST as u64 {
            counts
                .take(&rate, one(u128::from(number)), (1, 1), number)
                .unwrap();
        }
        assert!(counts.0.len() <= MOST);
        let newest = one(3 * MOST as u128 - 1);
        assert!(counts.take(&rate, newest, (1, 1), 3 * MOST as u64).is_err());
    }

    #[test]
    fn a_crowd_of_one_site_sets_nobody_else_free() {
        let rate = rates("{messages: [{count: 1, per: 1d}]}");
        let mut counts = Counts::default();
        for number in 0..100 {
            counts.take(&rate, one(number), (1, 1), 0).unwrap();
        }
        for number in 1_000..1_000 + 3 * MOST as u128 {
            let of = Counted {
                of: Key(number),
                site: Key(7_777),
            };
            counts
                .take(&rate, of, (1, 1), u64::try_from(number).unwrap())
                .unwrap();
        }
        assert!(counts.0.len() <= MOST);
        for number in 0..100 {
            assert!(counts.take(&rate, one(number), (1, 1), 1).is_err(), "{number}");
        }
    }
}
