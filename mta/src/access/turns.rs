//! Whose turn it is at a route that fewer pods may use at once than there are. Pure: the caller passes the clock in.
//!
//! ```text
//!   a pod with mail ─► asks the pod that the route belongs to ─┬─ fewer have a turn than may ─► a turn of 20 s
//!                                                              └─ all are taken ─► in line, and asks again
//! ```
//!
//! A pod whose turn is over asks again like the others: while somebody is in line before it, it waits. A turn counts for ten seconds
//! longer than it is used, so that attempts that were under way and warm connections end before somebody else begins.

use std::collections::{BTreeMap, HashMap};

/// The book of one pod over the routes that belong to it. All times are milliseconds since 1970.
#[derive(Debug, Default)]
pub struct Turns {
    routes: HashMap<String, Route>,
}

#[derive(Debug, Default)]
struct Route {
    /// Until when the turn of each pod counts.
    taken: BTreeMap<String, u64>,
    /// Pods in line, in their order, and when each asked last.
    line: Vec<(String, u64)>,
}

impl Turns {
    /// A pod wants a turn at a route that so many may use at once. `Ok`: it has one for [`TURN`]. Errors: when to ask again, in
    /// milliseconds from now.
    pub fn ask(&mut self, route: &str, pod: &str, most: usize, now: u64) -> Result<(), u64> {
        if self.routes.len() >= MOST_ROUTES && !self.routes.contains_key(route) {
            self.routes.retain(|_, known| known.is_in_use(now));
        }
        let known = self.routes.entry(route.to_owned()).or_default();
        known.ask(pod, most.max(1), now)
    }
}

impl Route {
    fn ask(&mut self, pod: &str, most: usize, now: u64) -> Result<(), u64> {
        self.taken.retain(|_, until| *until > now);
        // Who asks no more has nothing left, or is gone.
        self.line
            .retain(|(other, asked)| other == pod || asked.saturating_add(PATIENCE) > now);
        match self.line.iter_mut().find(|(other, _)| other == pod) {
            Some((_, asked)) => *asked = now,
            None => self.line.push((pod.to_owned(), now)),
        }
        let others = self.taken.keys().filter(|other| *other != pod).count();
        let place = self.line.iter().position(|(other, _)| other == pod).unwrap_or(0);
        if others.saturating_add(place) < most {
            self.line.remove(place);
            self.taken
                .insert(pod.to_owned(), now.saturating_add(TURN + GRACE));
            return Ok(());
        }
        let free = self.taken.values().min().map_or(now, |until| *until);
        Err(free.saturating_sub(now).clamp(SHORTEST_WAIT, LONGEST_WAIT))
    }

    fn is_in_use(&self, now: u64) -> bool {
        self.taken.values().any(|until| *until > now)
            || self
                .line
                .iter()
                .any(|(_, asked)| asked.saturating_add(PATIENCE) > now)
    }
}

/// How long a pod may begin attempts.
pub const TURN: u64 = 20_000;
/// How long what it began may take to end.
const GRACE: u64 = 10_000;
/// A pod in line that has not asked for so long has left it.
const PATIENCE: u64 = 15_000;
const SHORTEST_WAIT: u64 = 1_000;
const LONGEST_WAIT: u64 = 5_000;
const MOST_ROUTES: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_pods_than_may_have_a_turn_and_each_gets_one() {
        for (pods, most) in [(2, 1), (5, 1), (5, 3), (3, 3), (4, 10)] {
            let mut turns = Turns::default();
            let names: Vec<String> = (0..pods).map(|pod| format!("edge-{pod}")).collect();
            // When each asks, until when its turn counts, and how many it had.
            let mut asks = vec![0; pods];
            let mut until = vec![0; pods];
            let mut had = vec![0; pods];
            for now in (0..1_200_000).step_by(500) {
                for pod in 0..pods {
                    if now < asks[pod] {
                        continue;
                    }
                    match turns.ask("p#0", &names[pod], most, now) {
                        Ok(()) => {
                            (asks[pod], until[pod]) = (now + TURN, now + TURN + GRACE);
                            had[pod] += 1;
                        }
                        Err(wait) => {
                            assert!(wait > 0);
                            asks[pod] = now + wait;
                        }
                    }
                    let busy = until.iter().filter(|until| **until > now).count();
                    assert!(busy <= most, "{busy} of {most} at {now}");
                }
            }
            let (fewest, largest) = (had.iter().min().unwrap(), had.iter().max().unwrap());
            assert!(
                *fewest >= 3 && largest - fewest <= largest / 2,
                "{pods} {most}: {had:?}"
            );
        }
    }

    #[test]
    fn a_pod_alone_goes_on_and_one_that_left_the_line_holds_nobody_up() {
        let mut turns = Turns::default();
        let mut ask = |pod: &str, now| turns.ask("p#0", pod, 1, now);
        assert_eq!(ask("a", 0), Ok(()));
        assert_eq!(ask("a", TURN), Ok(()), "nobody else wants it");
        assert!(ask("b", 2 * TURN - 1_000).is_err());
        // It has waited long enough to be the first, and is gone by then.
        assert!(ask("a", 2 * TURN).is_err(), "somebody is in line");
        assert_eq!(ask("a", 2 * TURN + PATIENCE), Ok(()));
    }

    #[test]
    fn the_book_does_not_grow_for_ever() {
        let mut turns = Turns::default();
        for number in 0..10 * MOST_ROUTES as u64 {
            let _ = turns.ask(&format!("p#{number}"), "a", 1, number * 100);
        }
        assert!(turns.routes.len() <= MOST_ROUTES, "{}", turns.routes.len());
    }
}
