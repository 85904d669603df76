//! A pod that leaves gives what belongs to all pods to those that stay before it is empty: its volume may go with it
//! (`whenDrained: Delete`), and with that the counts of the day and what greylisting has learnt.
//!
//! ```text
//!   sealed, or none of the fleet ─► it goes to who stays ─┬─ nothing left ───────────────► "empty" may be said
//!                                                         └─ nobody takes it for minutes ─► it may be said all the same
//! ```
//!
//! Mail waits for its next pod for ever, this does not: a drain is not held up by a report.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use postroad_config::{FleetPod, Peers};
use tokio::sync::watch;

/// Whether this pod leaves, and since when others are waited for.
#[derive(Debug)]
pub(crate) struct Departure {
    /// Its names in `peers.fleet`.
    ourselves: [String; 2],
    sealed: Mutex<Option<watch::Receiver<bool>>>,
    since: Mutex<Option<Instant>>,
}

impl Departure {
    pub(crate) fn new(ourselves: [String; 2]) -> Self {
        Self {
            ourselves,
            sealed: Mutex::default(),
            since: Mutex::default(),
        }
    }

    /// The seal of the spool, from now on.
    pub(crate) fn follow(&self, sealed: watch::Receiver<bool>) {
        *locked(&self.sealed) = Some(sealed);
    }

    /// Whether this is the pod of the process.
    pub(crate) fn is_this(&self, pod: &FleetPod) -> bool {
        self.ourselves.contains(&pod.name)
    }

    /// Whether it leaves: by its seal, which may come before the configuration that says so.
    pub(crate) fn leaves(&self, fleet: &[FleetPod]) -> bool {
        let is_sealed = locked(&self.sealed)
            .as_ref()
            .is_some_and(|sealed| *sealed.borrow());
        is_sealed || !fleet.is_empty() && !fleet.iter().any(|pod| self.is_this(pod))
    }

    /// The pods that things are shared among: without this one while it leaves, and without others that do.
    pub(crate) fn staying(&self, peers: &Peers) -> Vec<FleetPod> {
        let leaves = self.leaves(&peers.fleet);
        let stays = |pod: &&FleetPod| {
            if self.is_this(pod) {
                !leaves
            } else {
                !peers.sealed.contains(&pod.name)
            }
        };
        peers.fleet.iter().filter(stays).cloned().collect()
    }

    /// Whether a pod that leaves may be called empty: nothing is `held` here that another one would take, or it was waited for
    /// this long.
    pub(crate) fn is_over(&self, peers: &Peers, held: bool, patience: Duration) -> bool {
        let mut since = locked(&self.since);
        if held && self.leaves(&peers.fleet) && !self.staying(peers).is_empty() {
            since.get_or_insert_with(Instant::now).elapsed() >= patience
        } else {
            *since = None;
            true
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Longest that a drain waits for other pods to take what is theirs.
pub(crate) const LEAVE: Duration = Duration::from_mins(5);
/// Between two looks of a pod that leaves: somebody waits for it.
pub(crate) const SOON: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(fleet: &[&str], sealed: &[&str]) -> Peers {
        let pod =
            |name: &&str| serde_saphyr::from_str(&format!("{{name: {name}, admin: {{host: h, port: 1}}}}"));
        Peers {
            fleet: fleet.iter().map(|name| pod(name).unwrap()).collect(),
            sealed: sealed.iter().map(|name| (*name).to_owned()).collect(),
            ..Peers::default()
        }
    }

    fn staying(departure: &Departure, peers: &Peers) -> Vec<String> {
        let staying = departure.staying(peers);
        staying.into_iter().map(|pod| pod.name).collect()
    }

    #[test]
    fn it_leaves_by_its_seal_or_by_the_fleet_and_shares_with_who_stays() {
        let departure = Departure::new(["edge-1".into(), "uuid-1".into()]);
        let three = peers(&["edge-0", "edge-1", "edge-2"], &["edge-2"]);
        assert!(!departure.leaves(&three.fleet), "its seal is not known");
        assert_eq!(staying(&departure, &three), ["edge-0", "edge-1"]);
        assert!(departure.leaves(&peers(&["edge-0"], &[]).fleet));
        assert!(!departure.leaves(&[]), "a fleet of nobody has nobody who leaves");
        let sealing = watch::Sender::new(false);
        departure.follow(sealing.subscribe());
        assert!(!departure.leaves(&three.fleet));
        sealing.send_replace(true);
        assert!(departure.leaves(&three.fleet) && departure.leaves(&[]));
        assert_eq!(staying(&departure, &three), ["edge-0"]);
    }

    #[test]
    fn it_is_over_with_nothing_held_with_nobody_left_or_in_the_end() {
        let departure = Departure::new(["edge-1".into(), "uuid-1".into()]);
        let left = peers(&["edge-0"], &[]);
        assert!(!departure.is_over(&left, true, LEAVE));
        assert!(!departure.is_over(&left, true, LEAVE));
        assert!(departure.is_over(&left, true, Duration::ZERO));
        assert!(departure.is_over(&left, false, LEAVE));
        let alone = peers(&["edge-0"], &["edge-0"]);
        assert!(departure.is_over(&alone, true, LEAVE), "nobody stays");
        assert!(
            departure.is_over(&peers(&["edge-1"], &[]), true, LEAVE),
            "it stays"
        );
    }
}
