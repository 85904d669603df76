//! Greylisting (RFC 6647): a sender that was never seen is asked to come again; programs that do not try again are no mail
//! servers. Pure: the clock is passed in.
//!
//! ```text
//!   tuple (client network, sender, recipient)
//!     unknown ──► first seen, waits `delay` ──► comes again in time, and its message is accepted ──► passed: remembered for
//!        ▲                 │ longer than `retryWithin`                                                 `lifetime` after its
//!        └─────────────────┘                                                                           last mail
//!   client network of which `allowClientsAfter` tuples passed ──► waits no more, for `lifetime` after its last mail
//! ```
//!
//! Only an accepted message makes a tuple pass (RFC 6647 section 5): what ends before it proves nothing. Times are seconds
//! since 1970. Bounded: of many, what has not passed goes first, of the sites with most of it (`room.rs`) the oldest.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aws_lc_rs::digest::{SHA256, digest};
use postroad_config::Greylisting;
use serde::{Deserialize, Serialize};

use super::room::{site, thin};

/// Names a tuple or a client network, the same in every pod and after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Key(pub u128);

/// A tuple and the client network in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tuple {
    /// The whole.
    pub tuple: Key,
    /// The network.
    pub client: Key,
    /// The site that it is in. What was kept over a restart, and what an older version asks about, has none: then it is one to
    /// itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Key>,
}

impl Tuple {
    /// Of a mail; paths are compared without regard to case.
    pub fn new(client: IpAddr, reverse_path: &str, forward_path: &str) -> Self {
        let network = network(client).to_string();
        let (from, to) = (reverse_path.to_lowercase(), forward_path.to_lowercase());
        Self {
            tuple: Key::of(&[network.as_str(), from.as_str(), to.as_str()]),
            client: Key::of(&[network.as_str()]),
            site: Some(site(client)),
        }
    }
}

impl Key {
    /// Of some texts, each with its end.
    pub fn of(parts: &[&str]) -> Self {
        let mut octets = Vec::new();
        for part in parts {
            octets.extend_from_slice(part.as_bytes());
            octets.push(0);
        }
        let mut first = [0; 16];
        first.copy_from_slice(&digest(&SHA256, &octets).as_ref()[..16]);
        Self(u128::from_be_bytes(first))
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        format!("{:032x}", key.0)
    }
}

impl TryFrom<String> for Key {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&text, 16).map(Self)
    }
}

/// A sender's next host may be a neighbour of the one that came first: /24 and /64.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & !0xff)),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

/// One fact to keep: a tuple, or a client network. The newest of a key replaces the older ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A tuple.
    Seen {
        /// Which.
        of: Tuple,
        /// When it came first.
        first: u64,
        /// When its last message was accepted; 0 = none was.
        passed: u64,
    },
    /// A client network.
    Known {
        /// Which.
        client: Key,
        /// Tuples of it that passed.
        passed: u32,
        /// When its last message was accepted.
        last: u64,
    },
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    client: Key,
    site: Key,
    first: u64,
    passed: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Client {
    passed: u32,
    last: u64,
}

/// What is known of tuples and client networks.
#[derive(Debug, Default)]
pub struct Greylist {
    seen: HashMap<Key, Seen>,
    clients: HashMap<Key, Client>,
}

impl Greylist {
    /// How many seconds this mail has to wait, 0 = none; and the fact to keep, where there is a new one.
    pub fn look(&mut self, terms: &Greylisting, of: Tuple, now: u64) -> (u64, Option<Fact>) {
        let lifetime = terms.lifetime.get().as_secs();
        let fresh = |last: u64| now.saturating_sub(last) <= lifetime;
        let known = self.clients.get(&of.client);
        if known.is_some_and(|client| client.passed >= terms.allow_clients_after && fresh(client.last)) {
            return (0, None);
        }
        let delay = terms.delay.get().as_secs().max(1);
        if let Some(seen) = self.seen.get(&of.tuple) {
            let age = now.saturating_sub(seen.first);
            match seen.passed {
                0 if age < delay => return (delay - age, None),
                0 if age <= terms.retry_within.get().as_secs() => return (0, None),
                passed if passed > 0 && fresh(passed) => return (0, None),
                _ => {}
            }
        }
        self.make_room();
        let seen = Seen {
            client: of.client,
            site: of.site.unwrap_or(of.client),
            first: now,
            passed: 0,
        };
        self.seen.insert(of.tuple, seen);
        (delay, Some(fact(of.tuple, &seen)))
    }

    /// A message of a tuple that did not have to wait was accepted. Gives the facts to keep.
    pub fn passed(&mut self, of: Tuple, now: u64) -> Vec<Fact> {
        let mut facts = Vec::new();
        let mut passed_now = false;
        if let Some(seen) = self.seen.get_mut(&of.tuple) {
            passed_now = seen.passed == 0;
            seen.passed = now.max(1);
            facts.push(fact(of.tuple, seen));
        }
        // A network that was never seen to come again has nothing to its credit.
        if passed_now || self.clients.contains_key(&of.client) {
            if self.clients.len() >= MOST {
                halve(&mut self.clients, |client| client.last);
            }
            let client = self.clients.entry(of.client).or_default();
            client.passed = client.passed.saturating_add(u32::from(passed_now));
            client.last = now;
            facts.push(Fact::Known {
                client: of.client,
                passed: client.passed,
                last: client.last,
            });
        }
        facts
    }

    /// Takes a fact over, of an earlier run or of another pod. What both know is put together.
    pub fn adopt(&mut self, fact: Fact) {
        match fact {
            Fact::Seen { of, first, passed } => {
                if !self.seen.contains_key(&of.tuple) {
                    self.make_room();
                }
                let seen = self.seen.entry(of.tuple).or_insert(Seen {
                    client: of.client,
                    site: of.site.unwrap_or(of.client),
                    first,
                    passed,
                });
                seen.first = seen.first.min(first);
                seen.passed = seen.passed.max(passed);
            }
            Fact::Known { client, passed, last } => {
                if self.clients.len() >= MOST && !self.clients.contains_key(&client) {
                    halve(&mut self.clients, |client| client.last);
                }
                let known = self.clients.entry(client).or_default();
                known.passed = known.passed.max(passed);
                known.last = known.last.max(last);
            }
        }
    }

    /// Lets go of what no mail can ask for any more.
    pub fn forget(&mut self, terms: &Greylisting, now: u64) {
        let lifetime = terms.lifetime.get().as_secs();
        let retry = terms.retry_within.get().as_secs();
        let age = |at: u64| now.saturating_sub(at);
        self.seen.retain(|_, seen| match seen.passed {
            0 => age(seen.first) <= retry,
            passed => age(passed) <= lifetime,
        });
        self.clients.retain(|_, client| age(client.last) <= lifetime);
    }

    /// All facts about networks for which this holds.
    pub fn facts(&self, of: impl Fn(Key) -> bool) -> Vec<Fact> {
        let seen = self
            .seen
            .iter()
            .filter(|(_, seen)| of(seen.client))
            .map(|(tuple, seen)| fact(*tuple, seen));
        let clients = self.clients.iter().filter(|(client, _)| of(**client));
        let known = clients.map(|(client, known)| Fact::Known {
            client: *client,
            passed: known.passed,
            last: known.last,
        });
        seen.chain(known).collect()
    }

    /// Lets go of these, which another pod has now.
    pub fn release(&mut self, facts: &[Fact]) {
        for fact in facts {
            match fact {
                Fact::Seen { of, .. } => drop(self.seen.remove(&of.tuple)),
                Fact::Known { client, .. } => drop(self.clients.remove(client)),
            }
        }
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty() && self.clients.is_empty()
    }

    /// Tuples that are known.
    pub fn tuples(&self) -> usize {
        self.seen.len()
    }

    fn make_room(&mut self) {
        if self.seen.len() < MOST {
            return;
        }
        let waiting = self.seen.values().filter(|seen| seen.passed == 0).count();
        if waiting < MOST / 8 {
            thin(&mut self.seen, MOST / 2, |seen| Some((seen.site, seen.passed)));
        } else {
            thin(&mut self.seen, waiting / 2, |seen| {
                (seen.passed == 0).then_some((seen.site, seen.first))
            });
        }
    }
}

/// The half with the oldest times goes.
fn halve<T>(map: &mut HashMap<Key, T>, time: impl Fn(&T) -> u64) {
    let mut times: Vec<u64> = map.values().map(&time).collect();
    let middle = times.len() / 2;
    if let Some(last) = times.len().checked_sub(1) {
        let (_, middle, _) = times.select_nth_unstable(middle.min(last));
        let middle = *middle;
        map.retain(|_, value| time(value) > middle);
    }
}

fn fact(tuple: Key, seen: &Seen) -> Fact {
    Fact::Seen {
        of: Tuple {
            tuple,
            client: seen.client,
            site: Some(seen.site),
        },
        first: seen.first,
        passed: seen.passed,
    }
}

/// Tuples, and client networks; about 100 octets each.
const MOST: usize = 200_000;

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: &str = "{delay: 5m, retryWithin: 1h, lifetime: 2d, allowClientsAfter: 2}";
    const DAY: u64 = 86_400;

    fn terms() -> Greylisting {
        serde_saphyr::from_str(TERMS).unwrap()
    }

    fn of(client: &str, from: &str, to: &str) -> Tuple {
        Tuple::new(client.parse().unwrap(), from, to)
    }

    #[test]
    fn a_neighbour_of_the_same_network_and_another_case_are_the_same_tuple() {
        let one = of("192.0.2.1", "Ann@a.example", "bob@us.example");
        assert_eq!(one, of("192.0.2.200", "ann@A.example", "BOB@us.example"));
        assert_eq!(of("2001:db8::1", "", "b@x"), of("2001:db8::ffff", "", "b@x"));
        for other in [
            of("192.0.3.1", "ann@a.example", "bob@us.example"),
            of("192.0.2.1", "ann@b.example", "bob@us.example"),
            of("192.0.2.1", "ann@a.example", "bo@us.example"),
            of("192.0.2.1", "ann@a.exampleb", "ob@us.example"),
        ] {
            assert_ne!(one.tuple, other.tuple);
        }
    }

    #[test]
    fn a_tuple_waits_once_and_passes_with_an_accepted_message() {
        let (terms, mut list) = (terms(), Greylist::default());
        let one = of("192.0.2.1", "ann@a.example", "bob@us.example");
        let t = 1_000_000;
        assert_eq!(list.look(&terms, one, t).0, 300);
        assert_eq!(list.look(&terms, one, t + 100), (200, None), "too early");
        assert_eq!(list.look(&terms, one, t + 300).0, 0);
        assert_eq!(list.look(&terms, one, t + 3_600).0, 0, "no message came yet");
        assert_eq!(
            list.look(&terms, one, t + 3_601).0,
            300,
            "the first try is forgotten"
        );
        let t = t + 3_601 + 300;
        assert_eq!(list.look(&terms, one, t).0, 0);
        assert_eq!(list.passed(one, t).len(), 2);
        assert_eq!(list.look(&terms, one, t + 2 * DAY).0, 0);
        assert_eq!(list.look(&terms, one, t + 2 * DAY + 1).0, 300, "its life is over");
    }

    #[test]
    fn a_network_that_came_again_for_several_tuples_waits_no_more() {
        let (terms, mut list) = (terms(), Greylist::default());
        let to = |name: &str| of("192.0.2.1", "ann@a.example", name);
        for name in ["bob@us.example", "eve@us.example"] {
            assert_eq!(list.look(&terms, to("new@us.example"), 0).0, 300, "not yet");
            list.look(&terms, to(name), 0);
            list.passed(to(name), 400);
            list.passed(to(name), 401);
        }
        assert_eq!(list.look(&terms, to("another@us.example"), 500), (0, None));
        assert_eq!(
            list.look(&terms, of("192.0.3.1", "ann@a.example", "x@us.example"), 500)
                .0,
            300
        );
        assert_eq!(
            list.look(&terms, to("another@us.example"), 401 + 2 * DAY + 1).0,
            300
        );
    }

    #[test]
    fn a_message_without_a_wait_before_is_no_credit() {
        let mut list = Greylist::default();
        assert!(
            list.passed(of("192.0.2.1", "a@a.example", "b@us.example"), 5)
                .is_empty()
        );
    }

    #[test]
    fn facts_make_the_same_list_again_and_two_lists_become_one() {
        let (terms, mut list) = (terms(), Greylist::default());
        let (one, two) = (
            of("192.0.2.1", "a@a.example", "b@us.example"),
            of("198.51.100.1", "", "b@us.example"),
        );
        list.look(&terms, one, 10);
        list.look(&terms, two, 20);
        list.passed(one, 400);
        let mut again = Greylist::default();
        again.look(&terms, two, 5);
        for fact in list.facts(|_| true) {
            again.adopt(fact);
        }
        assert_eq!(again.look(&terms, one, 401), (0, None));
        assert_eq!(
            again.look(&terms, two, 305),
            (0, None),
            "first seen by the other at 5"
        );
        let gone = again.facts(|client| client == one.client);
        assert_eq!(gone.len(), 2);
        again.release(&gone);
        assert_eq!(
            (again.tuples(), again.facts(|client| client == one.client).len()),
            (1, 0)
        );
    }

    #[test]
    fn what_is_over_goes_and_a_crowd_does_not_push_out_who_passed() {
        let (terms, mut list) = (terms(), Greylist::default());
        let good = of("192.0.2.1", "a@a.example", "b@us.example");
        list.look(&terms, good, 1);
        list.passed(good, 400);
        for number in 0..2 * MOST as u64 {
            let to = Tuple {
                tuple: Key(u128::from(number)),
                client: Key(7),
                site: None,
            };
            list.look(&terms, to, 1_000 + number / 1_000);
        }
        assert!(list.tuples() <= MOST);
        assert_eq!(list.look(&terms, good, 500).0, 0);
        list.forget(&terms, 400 + 2 * DAY);
        assert_eq!(list.tuples(), 1, "what never came again");
        list.forget(&terms, 401 + 2 * DAY);
        assert_eq!(list.tuples(), 0);
    }

    #[test]
    fn a_crowd_of_one_site_makes_nobody_else_wait_anew() {
        let (terms, mut list) = (terms(), Greylist::default());
        let others: Vec<Tuple> = (0..100_u8)
            .map(|number| of(&format!("198.51.{number}.1"), "a@a.example", "b@us.example"))
            .collect();
        for other in &others {
            assert_eq!(list.look(&terms, *other, 1_000).0, 300);
        }
        // One network, and one site whose every mail comes from another network.
        for (number, is_wide) in (0..2 * MOST as u64).map(|number| (number, number % 2 == 0)) {
            let number = u128::from(number);
            let crowd = Tuple {
                tuple: Key(number),
                client: Key(if is_wide { number } else { 7 }),
                site: Some(Key(if is_wide { 8 } else { 7 })),
            };
            list.look(&terms, crowd, 1_001);
        }
        assert!(list.tuples() <= MOST);
        for other in &others {
            assert_eq!(list.look(&terms, *other, 1_300).0, 0);
        }
    }
}
