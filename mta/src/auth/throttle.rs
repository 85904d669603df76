//! Guessing is slow: failed logins are counted per network and per user over all sessions, by the generic cell rate
//! algorithm (one time stamp each). Pure: the caller passes the clock in.
//!
//! ```text
//!   network and user known to each other ─► their own count        nobody else can lock this user out here
//!   else ─► the network's count, and the user's count              many networks that guess at one user are slowed, too
//! ```
//!
//! A name counts whether there is such a user or not: the reply must not tell. Maps are bounded; the oldest entries go.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::net::network;

/// Counts failed logins.
#[derive(Default)]
pub(super) struct Throttle {
    names: RandomState,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    networks: Cells,
    users: Cells,
    pairs: Cells,
    /// When a user last logged in from a network, in milliseconds.
    known: Cells,
}

type Cells = HashMap<u64, u64>;

/// Failures at once, and the milliseconds after which one more is allowed.
#[derive(Clone, Copy)]
struct Pace {
    burst: u64,
    interval: u64,
}

impl Throttle {
    /// Whether this user may try from there at this time (milliseconds since some start).
    pub(super) fn allows(&self, client: IpAddr, user: &str, now: u64) -> bool {
        let key = self.key(client, user);
        let counts = self.counts();
        if counts.known.contains_key(&key.pair) {
            return NETWORK.allows(&counts.pairs, key.pair, now);
        }
        NETWORK.allows(&counts.networks, key.network, now) && USER.allows(&counts.users, key.user, now)
    }

    /// Counts a failure that no user is to blame for. `false`: the network has had too many, and this one counts no more.
    pub(super) fn refuse_network(&self, client: IpAddr, now: u64) -> bool {
        let network = self.hash(network(client));
        let counts = &mut *self.counts();
        let allowed = NETWORK.allows(&counts.networks, network, now);
        if allowed {
            NETWORK.count(&mut counts.networks, network, now);
        }
        allowed
    }

    /// Takes what came of a try.
    pub(super) fn tried(&self, client: IpAddr, user: &str, success: bool, now: u64) {
        let key = self.key(client, user);
        let mut counts = self.counts();
        let counts = &mut *counts;
        if success {
            make_room(&mut counts.known);
            counts.known.insert(key.pair, now);
            counts.pairs.remove(&key.pair);
        } else if counts.known.contains_key(&key.pair) {
            NETWORK.count(&mut counts.pairs, key.pair, now);
        } else {
            NETWORK.count(&mut counts.networks, key.network, now);
            USER.count(&mut counts.users, key.user, now);
        }
    }

    fn key(&self, client: IpAddr, user: &str) -> Key {
        let client = network(client);
        let user = user.to_lowercase();
        Key {
            pair: self.hash((client, &user)),
            network: self.hash(client),
            user: self.hash(&user),
        }
    }

    /// Under a key of this process, so that nobody can aim at another's count.
    fn hash(&self, of: impl Hash) -> u64 {
        self.names.hash_one(of)
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Key {
    pair: u64,
    network: u64,
    user: u64,
}

impl Pace {
    fn allows(self, cells: &Cells, key: u64, now: u64) -> bool {
        cells
            .get(&key)
            .is_none_or(|due| due.saturating_sub((self.burst - 1) * self.interval) <= now)
    }

    fn count(self, cells: &mut Cells, key: u64, now: u64) {
        make_room(cells);
        let due = cells.entry(key).or_insert(now);
        *due = (*due).max(now) + self.interval;
    }
}

/// The half with the oldest times goes.
fn make_room(cells: &mut Cells) {
    if cells.len() >= MOST {
        let mut times: Vec<_> = cells.values().copied().collect();
        let (_, middle, _) = times.select_nth_unstable(MOST / 2);
        let middle = *middle;
        let mut left = MOST / 2;
        cells.retain(|_, time| {
            let stays = *time >= middle && left > 0;
            left -= usize::from(stays);
            stays
        });
    }
}

/// A family behind one address mistypes now and then; a guesser gets 2,900 tries a day.
const NETWORK: Pace = Pace {
    burst: 20,
    interval: 30_000,
};
/// All networks that this user has not logged in from, together.
const USER: Pace = Pace {
    burst: 100,
    interval: 30_000,
};
/// Entries of each map; 16 octets each.
const MOST: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_guesser_is_stopped_in_all_of_its_network_and_may_try_later() {
        let throttle = Throttle::default();
        for _ in 0..20 {
            assert!(throttle.allows(address("2001:db8::1"), "ann", 1));
            throttle.tried(address("2001:db8::1"), "ann", false, 1);
        }
        assert!(!throttle.allows(address("2001:db8::2"), "bo", 1));
        assert!(throttle.allows(address("2001:db8:1::1"), "bo", 1));
        assert!(throttle.allows(address("2001:db8::2"), "bo", 30_002));
        throttle.tried(address("2001:db8::2"), "bo", false, 30_002);
        assert!(!throttle.allows(address("2001:db8::2"), "bo", 30_002));
    }

    #[test]
    fn who_logged_in_from_there_before_is_not_locked_out_by_others() {
        let throttle = Throttle::default();
        let home = address("192.0.2.1");
        throttle.tried(home, "Ann", true, 1);
        for n in 0..200_u8 {
            throttle.tried(IpAddr::from([198, 51, 100, n]), "ann", false, 2);
            throttle.tried(home, "eve", false, 2);
        }
        assert!(throttle.allows(home, "ann", 3), "at home");
        assert!(!throttle.allows(home, "bo", 3), "others behind that address");
        assert!(!throttle.allows(address("203.0.113.1"), "ann", 3), "elsewhere");
        for _ in 0..20 {
            throttle.tried(home, "ann", false, 3);
        }
        assert!(!throttle.allows(home, "ann", 3), "guessing at home");
    }

    #[test]
    fn failures_of_nobody_count_against_the_network_alone() {
        let throttle = Throttle::default();
        let (home, elsewhere) = (address("192.0.2.1"), address("198.51.100.1"));
        for _ in 0..20 {
            assert!(throttle.refuse_network(home, 1));
        }
        assert!(!throttle.refuse_network(home, 1));
        assert!(!throttle.allows(home, "ann", 1), "a password counts beside them");
        assert!(throttle.allows(elsewhere, "ann", 1) && throttle.refuse_network(elsewhere, 1));
        assert!(throttle.refuse_network(home, 30_002));
    }

    #[test]
    fn a_crowd_of_names_does_not_grow_it() {
        let mut cells = Cells::new();
        for n in 0..3 * MOST as u64 {
            NETWORK.count(&mut cells, n, n);
        }
        assert!(cells.len() <= MOST);
        assert!(cells.contains_key(&(3 * MOST as u64 - 1)));
    }
}
