//! Backscatter (RFC 3834 section 2, RFC 5321 section 6.1): mail from anywhere may bear anybody's address as its sender.
//!
//! We answer only what we accepted, and recipients are judged before that; what remains is bounded here: an address gets so
//! many notices in an hour about mail whose sender has not logged in, and no more. A notice of failure above that is
//! postponed, never lost; one of success or delay is left out.
//!
//! Pure: the caller passes the clock in.

use std::collections::HashMap;

use postroad_config::{Period, Rate};

use crate::queue::rate::{Limiter, Load};

/// Who got how many notices.
#[derive(Debug, Default)]
pub struct Flood {
    senders: HashMap<String, Limiter>,
}

impl Flood {
    /// Whether this address may get a notice now (milliseconds since 1970); it is counted then.
    pub fn may_notify(&mut self, address: &str, now: u64) -> bool {
        if self.senders.len() >= MOST_SENDERS && !self.senders.contains_key(address) {
            // The idle ones say nothing; when all are busy, all begin anew rather than memory grow.
            self.senders.retain(|_, limiter| limiter.next_at() > now);
            if self.senders.len() >= MOST_SENDERS {
                self.senders.clear();
            }
        }
        let key = address.to_ascii_lowercase();
        let limiter = self
            .senders
            .entry(key)
            .or_insert_with(|| Limiter::new(&[NOTICES], &[]));
        let may = limiter.next_at() <= now;
        if may {
            limiter.take(now, ONE);
        }
        may
    }
}

const ONE: Load = Load {
    messages: 1,
    recipients: 1,
};
/// More than a person needs, too few to hurt.
const NOTICES: Rate = Rate {
    count: 300,
    per: Period::from_secs(3_600),
};
const MOST_SENDERS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_so_many_in_an_hour_and_others_are_not_affected() {
        let mut flood = Flood::default();
        let start = 1_700_000_000_000;
        let told = (0..3_600).filter(|second| flood.may_notify("victim@example.com", start + second * 1_000));
        assert!((200..=300).contains(&told.count()));
        assert!(flood.may_notify("other@example.com", start));
        assert!(flood.may_notify("victim@example.com", start + 7_200_000));
    }

    #[test]
    fn it_never_grows_beyond_its_bound() {
        let mut flood = Flood::default();
        for number in 0..2 * MOST_SENDERS {
            assert!(flood.may_notify(&format!("{number}@example.com"), 1_700_000_000_000));
        }
        assert!(flood.senders.len() <= MOST_SENDERS);
    }
}
