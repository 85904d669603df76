//! Entries of a route that belongs to other pods, handed over while this pod serves.
//!
//! ```text
//!   attempt ─► Moving::wants ─► kept ─► round: pods of the route ─► withdraw ─► OFFER… RELEASE… FREED ─► theirs
//!                 │ false: tried here, by turns            │ nobody takes them: stay(route)
//!                 └────────────────────────────────────────┘
//! ```
//!
//! A route with fewer connections than pods belongs to so many pods; the others give their entries to one of these, which saves
//! mail the wait for a turn. The steps, and what makes them durable, are those of a sealed pod. Where they fail, the entry is
//! here still and goes by turns (`access/turns.rs`): the limit holds either way.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures::future::{BoxFuture, join_all};
use postroad_spool::{EntryId, Ownership, Summary};
use tokio::sync::Notify;

use super::lane::Lane;
use super::source::{Round, RoundError, batches, offer};
use super::targets::{Target, look, unfit};
use super::{Inner, Step, locked};
use crate::queue::clock;

/// Which pods a route belongs to, and all of the fleet but this one.
pub trait Pods: Send + Sync {
    /// Where the admin endpoints of the pods are that so many may use this route.
    fn of_route<'a>(&'a self, route: &'a str, most: u32) -> BoxFuture<'a, Vec<SocketAddr>>;
    /// Where those of all other pods are.
    fn others(&self) -> BoxFuture<'_, Vec<SocketAddr>>;
}

/// What is to be handed over, by route. Cheap to clone; clones share it.
#[derive(Clone, Default)]
pub struct Moving(Arc<Shared>);

#[derive(Default)]
struct Shared {
    routes: Mutex<BTreeMap<String, Kept>>,
    news: Notify,
}

#[derive(Default)]
struct Kept {
    most: u32,
    entries: BTreeSet<EntryId>,
    /// Since when some of them wait.
    since: Option<u64>,
    /// Until then its entries stay here.
    stay_until: u64,
}

impl fmt::Debug for Moving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Moving(…)")
    }
}

impl Moving {
    /// An entry of this route is due, which belongs to so many pods and not to this one. True: it will be handed over. All times
    /// are milliseconds since 1970.
    pub fn wants(&self, route: &str, most: u32, entry: EntryId, now: u64) -> bool {
        let mut routes = locked(&self.0.routes);
        let kept = routes.entry(route.to_owned()).or_default();
        if kept.stay_until > now {
            return false;
        }
        if kept
            .since
            .is_some_and(|since| since.saturating_add(PATIENCE) <= now)
        {
            // Nobody comes for them.
            kept.stay(now);
            return false;
        }
        kept.since.get_or_insert(now);
        kept.most = most;
        if kept.entries.len() < MOST_ENTRIES {
            kept.entries.insert(entry);
        }
        drop(routes);
        self.0.news.notify_one();
        true
    }

    /// The entries of this route are tried here for a while.
    fn stay(&self, route: &str, now: u64) {
        if let Some(kept) = locked(&self.0.routes).get_mut(route) {
            kept.stay(now);
        }
    }

    fn take(&self, now: u64) -> Vec<Leaving> {
        let mut routes = locked(&self.0.routes);
        // Routes go with their policies.
        routes.retain(|_, kept| !kept.entries.is_empty() || kept.stay_until > now);
        let leaving = routes.iter_mut().filter(|(_, kept)| !kept.entries.is_empty());
        leaving
            .map(|(route, kept)| {
                kept.since = None;
                Leaving {
                    route: route.clone(),
                    most: kept.most,
                    entries: std::mem::take(&mut kept.entries),
                }
            })
            .collect()
    }

    /// Ready when something is wanted.
    pub(super) async fn news(&self) {
        self.0.news.notified().await;
    }
}

impl Kept {
    fn stay(&mut self, now: u64) {
        self.stay_until = now.saturating_add(STAYS_FOR);
        self.entries.clear();
        self.since = None;
    }
}

/// What goes to the pods of one route.
struct Leaving {
    route: String,
    most: u32,
    entries: BTreeSet<EntryId>,
}

/// Hands over what is wanted. Called while the spool is not sealed.
pub(super) async fn round(
    inner: &Arc<Inner>,
    unreadable: &mut HashSet<EntryId>,
) -> Result<Round, RoundError> {
    let Some((moving, pods)) = &inner.moving else {
        return Ok(Round::Idle);
    };
    let mut any = false;
    for leaving in moving.take(clock::now()) {
        let addresses = pods.of_route(&leaving.route, leaving.most).await;
        let given = give(inner, &leaving, addresses, unreadable).await;
        if !matches!(given, Ok(Given::All | Given::Some)) {
            moving.stay(&leaving.route, clock::now());
        }
        any |= matches!(given?, Given::Some);
    }
    Ok(if any { Round::Moved } else { Round::Idle })
}

/// What came of a route's entries.
enum Given {
    /// There is none of them any more.
    All,
    Some,
    None,
}

async fn give(
    inner: &Arc<Inner>,
    leaving: &Leaving,
    addresses: Vec<SocketAddr>,
    unreadable: &mut HashSet<EntryId>,
) -> Result<Given, RoundError> {
    let entries: Vec<Summary> = leaving
        .entries
        .iter()
        .filter_map(|entry| inner.spool.summary(*entry))
        .filter(|entry| entry.ownership == Ownership::Owned && entry.pending > 0)
        .collect();
    if entries.is_empty() {
        return Ok(Given::All);
    }
    let Some(target) = fewest(inner, &leaving.route, addresses).await else {
        return Ok(Given::None);
    };
    let writes = target.state.spool_format.writes;
    let is_sayable = |entry: &Summary| entry.format <= writes && !unreadable.contains(&entry.id);
    let entries: Vec<Summary> = entries.into_iter().filter(is_sayable).collect();
    let mut lane = Lane::new(inner.clone(), target.peer, target.spool);
    for batch in batches(&entries) {
        // A sealed pod has targets of its own.
        if inner.spool.seal_state().sealed || !lane.accepting {
            break;
        }
        let ids = batch.iter().map(|entry| entry.id).collect();
        let withdrawn = inner.schedule.withdraw(ids).await;
        let offers = offer(inner, withdrawn, lane.spool).await?;
        inner.pass(Step::Offered)?;
        lane.exchange(&offers, unreadable).await?;
    }
    lane.drain().await?;
    tracing::debug!(
        route = leaving.route,
        entries = lane.freed,
        target = %target.address,
        "entries went to a pod that their route belongs to"
    );
    Ok(if lane.freed > 0 { Given::Some } else { Given::None })
}

/// Of the pods that a route belongs to the one with the fewest messages, of those that see the same fleet: with another
/// configuration it may give them back.
async fn fewest(inner: &Arc<Inner>, route: &str, addresses: Vec<SocketAddr>) -> Option<Target> {
    let generation = inner.live.current().set.file.generation;
    let mut fit = Vec::new();
    for looked in join_all(addresses.into_iter().map(|address| look(inner, address))).await {
        let why = match looked {
            Ok(target) => {
                inner.see(target.spool, target.address);
                let itself = target.spool == inner.spool.uuid();
                let why = unfit(&target.state, itself);
                let is_other = target.state.config.generation != generation;
                match why.or_else(|| is_other.then(|| "its configuration is another one".to_owned())) {
                    None => {
                        fit.push(target);
                        continue;
                    }
                    Some(why) => format!("{}: {why}", target.address),
                }
            }
            Err(error) => error.to_string(),
        };
        tracing::debug!(
            route,
            why,
            "a pod that a route belongs to takes none of its entries"
        );
    }
    fit.into_iter().min_by_key(|target| target.state.queue.messages)
}

/// Entries of one route that are handed over in one go.
const MOST_ENTRIES: usize = 1_024;
/// In milliseconds. Longer than a hand-over that goes wrong.
const PATIENCE: u64 = 60_000;
/// In milliseconds: about a turn.
const STAYS_FOR: u64 = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    const fn id(number: u64) -> EntryId {
        EntryId::from_u64(number)
    }

    #[test]
    fn what_is_wanted_is_taken_once_and_what_nobody_takes_stays_for_a_while() {
        let moving = Moving::default();
        assert!(moving.wants("p#0", 1, id(1), 0) && moving.wants("p#0", 1, id(1), 5));
        assert!(moving.wants("p#0", 1, id(2), 5) && moving.wants("p#1", 2, id(3), 5));
        let taken = moving.take(10);
        let of = |number: usize| {
            (
                taken[number].route.as_str(),
                taken[number].most,
                taken[number].entries.len(),
            )
        };
        assert_eq!((taken.len(), of(0), of(1)), (2, ("p#0", 1, 2), ("p#1", 2, 1)));
        assert!(moving.take(10).is_empty());
        moving.wants("p#0", 1, id(1), 20);
        moving.stay("p#0", 20);
        assert!(!moving.wants("p#0", 1, id(1), 19 + STAYS_FOR), "it is tried here");
        assert!(moving.take(30).is_empty());
        assert!(moving.wants("p#0", 1, id(1), 20 + STAYS_FOR));
    }

    #[test]
    fn nothing_waits_for_a_hand_over_that_does_not_come() {
        let moving = Moving::default();
        assert!(moving.wants("p#0", 1, id(1), 0));
        assert!(moving.wants("p#0", 1, id(2), PATIENCE - 1));
        assert!(!moving.wants("p#0", 1, id(1), PATIENCE));
        assert!(moving.take(PATIENCE).is_empty());
        assert!(moving.wants("p#0", 1, id(1), PATIENCE + STAYS_FOR));
    }

    #[test]
    fn routes_that_are_gone_are_forgotten_and_entries_are_bounded() {
        let moving = Moving::default();
        for number in 0..2 * MOST_ENTRIES as u64 {
            assert!(moving.wants("p#0", 1, id(number), 0));
        }
        assert_eq!(moving.take(0)[0].entries.len(), MOST_ENTRIES);
        moving.take(1);
        assert!(locked(&moving.0.routes).is_empty());
    }
}
