//! How many pods there are, which of them leave, and when one may go. Pure.
//!
//! ```text
//!   wanted below live ─► the leaving pods are sealed ─► empty ─► claim marked ─► replicas lowered by one
//!   wanted above live ─► marks of the claims taken off ─► replicas raised ─► pods unsealed
//! ```
//!
//! The mark on the claim is the gate: a pod goes only when its claim is marked, and a claim is marked only after its pod,
//! sealed, said that it is empty. A claim that is not marked keeps (or brings back) its pod: its mail must move.

use std::time::Duration;

/// One pod of the fleet, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its ordinal.
    pub ordinal: i32,
    /// The pod's conditions say that it serves.
    pub ready: bool,
    /// It has not served for [`DOWN_AFTER`].
    pub down: bool,
    /// What it said of itself; absent where it could not be asked.
    pub said: Option<Said>,
}

/// What a pod said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// UUID of its spool.
    pub spool: String,
    /// Number of its seal, where it is sealed.
    pub seal: Option<u64>,
    /// Sealed and without any mail.
    pub empty: bool,
    /// Messages that it has.
    pub remaining: u64,
    /// Takes mail from leaving pods: below its high-water mark and writable.
    pub has_room: bool,
}

/// One claim of the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// Its ordinal.
    pub ordinal: i32,
    /// It has or had a volume: it may hold mail.
    pub bound: bool,
    /// It was drained, and its pod may go.
    pub drained: Option<String>,
    /// The spool on it, once its pod has said so.
    pub spool: Option<String>,
    /// A person declared it lost; the spool that was on it.
    pub lost: Option<String>,
    /// Words of a declaration that was refused, with commas: its pod answered.
    pub refused: Option<String>,
}

/// A pod that does not serve for so long is no pod that just restarts.
pub const DOWN_AFTER: Duration = Duration::from_mins(5);

/// What is known of a fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// `spec.replicas` of the listener.
    pub wanted: i32,
    /// `spec.replicas` of the StatefulSet; absent where there is none yet.
    pub live: Option<i32>,
    /// Pods.
    pub pods: Vec<Pod>,
    /// Claims.
    pub claims: Vec<Claim>,
    /// A person had the pods let go: no seal, no mark, no pod.
    pub hibernates: bool,
}

/// What to do about the number of pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Ordinals to be sealed (again; that is idempotent and renews the targets).
    pub seal: Vec<i32>,
    /// Ordinals to be unsealed.
    pub unseal: Vec<i32>,
    /// Ordinals that take what the sealed ones hand over.
    pub targets: Vec<i32>,
    /// Leaving ones that are sealed already. They take nothing, but one of them may have taken from another before, and after
    /// a restart of both neither knows where the other is.
    pub siblings: Vec<i32>,
    /// Claims to be marked: ordinal and mark.
    pub mark: Vec<(i32, String)>,
    /// Claims whose mark is to be taken off, before anything else.
    pub unmark: Vec<i32>,
    /// Replicas of the StatefulSet from now on.
    pub replicas: i32,
}

impl Plan {
    /// Whether a pod may go with this plan: the caller looks at it once more before it writes.
    pub fn lowers(&self, fleet: &Fleet) -> bool {
        fleet.live.is_some_and(|live| self.replicas < live)
    }
}

impl Fleet {
    fn pod(&self, ordinal: i32) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.ordinal == ordinal)
    }

    fn claim(&self, ordinal: i32) -> Option<&Claim> {
        self.claims.iter().find(|claim| claim.ordinal == ordinal)
    }

    /// One more than the highest ordinal whose claim may hold mail.
    pub fn floor(&self) -> i32 {
        self.holding().map(|ordinal| ordinal + 1).max().unwrap_or(0)
    }

    /// Ordinals whose claims may hold mail.
    pub fn holding(&self) -> impl Iterator<Item = i32> {
        let may = |claim: &&Claim| claim.bound && claim.drained.is_none() && claim.lost.is_none();
        self.claims.iter().filter(may).map(|claim| claim.ordinal)
    }

    /// Pods that leave: at or above what is wanted.
    pub fn leaving(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(|pod| pod.ordinal >= self.wanted)
    }

    /// Ordinals whose pods leave, whether they are there or come back once more for their mail; and those that a
    /// StatefulSet has to make below one that comes back. They start sealed.
    pub fn sealed(&self) -> Vec<i32> {
        let held = self.claims.iter().filter(|claim| claim.bound);
        let pods = self.pods.iter().map(|pod| pod.ordinal);
        let mut ordinals: Vec<i32> = held
            .map(|claim| claim.ordinal)
            .chain(pods)
            .chain(self.wanted..self.live.unwrap_or(0).max(self.floor()))
            .filter(|ordinal| *ordinal >= self.wanted)
            .collect();
        ordinals.sort_unstable();
        ordinals.dedup();
        ordinals
    }

    /// Decides. Source: the book's page on scaling.
    #[must_use]
    pub fn plan(&self) -> Plan {
        if self.hibernates {
            return Plan::default();
        }
        let mut plan = Plan {
            replicas: self.wanted.max(self.floor()),
            ..Plan::default()
        };
        let live = self.live.unwrap_or(0);
        if plan.replicas < live {
            // By one, and the highest first: that is what a StatefulSet takes away.
            plan.replicas = live - 1;
        }
        let stays = |pod: &&Pod| pod.ordinal < self.wanted;
        let sealed = |pod: &&Pod| pod.said.as_ref().is_some_and(|said| said.seal.is_some());
        plan.unseal = self
            .pods
            .iter()
            .filter(stays)
            .filter(sealed)
            .map(|pod| pod.ordinal)
            .collect();
        let takes = |pod: &&Pod| {
            pod.ready
                && pod
                    .said
                    .as_ref()
                    .is_some_and(|said| said.seal.is_none() && said.has_room)
        };
        plan.targets = self
            .pods
            .iter()
            .filter(stays)
            .filter(takes)
            .map(|pod| pod.ordinal)
            .collect();
        plan.unmark = self
            .claims
            .iter()
            .filter(|claim| claim.ordinal < self.wanted && claim.drained.is_some())
            .map(|c| c.ordinal)
            .collect();
        plan.siblings = self.leaving().filter(sealed).map(|pod| pod.ordinal).collect();
        for pod in self.leaving().filter(|pod| pod.said.is_some()) {
            plan.seal.push(pod.ordinal);
        }
        plan.mark = self.leaving().filter_map(|pod| self.mark_of(pod)).collect();
        plan
    }

    /// The mark of a leaving pod's claim, once it is due and not there.
    fn mark_of(&self, pod: &Pod) -> Option<(i32, String)> {
        let said = pod.said.as_ref().filter(|said| said.empty)?;
        let mark = format!("{}/{}", said.spool, said.seal?);
        let there = self.claim(pod.ordinal).and_then(|claim| claim.drained.as_ref()) == Some(&mark);
        (!there).then_some((pod.ordinal, mark))
    }

    /// Whether the pod of this ordinal may go, judged by a fresh look at it: its claim is marked with the seal under which
    /// it is empty now, or lost while nobody answers, or there is no claim that could hold mail.
    pub fn may_go(&self, ordinal: i32) -> bool {
        let Some(claim) = self.claim(ordinal).filter(|claim| claim.bound) else {
            // One that says that it has mail has a volume, whatever is known of its claim.
            let has_none = |pod: &Pod| pod.said.as_ref().is_none_or(|said| said.empty);
            return self.pod(ordinal).is_none_or(|pod| !pod.ready && has_none(pod));
        };
        // One that serves and cannot be asked is not silent: it is us who do not reach it.
        let silent = self
            .pod(ordinal)
            .is_none_or(|pod| pod.said.is_none() && !pod.ready);
        if claim.lost.is_some() && silent {
            return true;
        }
        let Some(mark) = &claim.drained else { return false };
        match self.pod(ordinal) {
            None => true,
            Some(pod) => pod.said.as_ref().is_some_and(|said| {
                said.empty
                    && said
                        .seal
                        .is_some_and(|seal| *mark == format!("{}/{seal}", said.spool))
            }),
        }
    }
}

impl Fleet {
    /// Whether a pod may go that could not be asked in the fresh look. `able`: it is the pod that does not answer, and not we
    /// who cannot ask.
    pub fn may_go_unasked(&self, ordinal: i32, able: bool) -> bool {
        let claim = self.claim(ordinal).filter(|claim| claim.bound);
        claim.is_none_or(|claim| able && claim.lost.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serving(ordinal: i32) -> Pod {
        let said = Said {
            spool: format!("s{ordinal}"),
            has_room: true,
            ..Said::default()
        };
        Pod {
            ordinal,
            ready: true,
            down: false,
            said: Some(said),
        }
    }

    fn sealed(ordinal: i32, empty: bool) -> Pod {
        let said = Said {
            spool: format!("s{ordinal}"),
            seal: Some(7),
            empty,
            remaining: u64::from(!empty),
            has_room: true,
        };
        Pod {
            ordinal,
            ready: false,
            down: false,
            said: Some(said),
        }
    }

    fn claim(ordinal: i32, mark: Option<&str>) -> Claim {
        Claim {
            ordinal,
            bound: true,
            drained: mark.map(str::to_owned),
            ..Claim::default()
        }
    }

    fn fleet(wanted: i32, live: i32, pods: Vec<Pod>, claims: Vec<Claim>) -> Fleet {
        Fleet {
            wanted,
            live: Some(live),
            pods,
            claims,
            hibernates: false,
        }
    }

    #[test]
    fn a_hibernating_fleet_lets_its_pods_go_unsealed_and_unmarked_and_wakes_as_it_was() {
        let claims = vec![claim(0, None), claim(1, None), claim(2, None)];
        let mut sleeps = fleet(
            2,
            3,
            vec![serving(0), serving(1), sealed(2, true)],
            claims.clone(),
        );
        sleeps.hibernates = true;
        assert_eq!(sleeps.plan(), Plan::default(), "no pod, no seal, no mark");
        let wakes = fleet(2, 0, vec![], claims);
        assert_eq!(
            wakes.plan().replicas,
            3,
            "the one that was leaving is drained yet"
        );
        assert_eq!(wakes.holding().collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn a_steady_fleet_is_left_alone() {
        let fleet = fleet(
            2,
            2,
            vec![serving(0), serving(1)],
            vec![claim(0, None), claim(1, None)],
        );
        let plan = fleet.plan();
        assert_eq!(
            (plan.replicas, &plan.seal, &plan.unseal, &plan.mark),
            (2, &vec![], &vec![], &vec![])
        );
    }

    #[test]
    fn the_first_fleet_has_what_is_wanted() {
        let fleet = Fleet {
            wanted: 3,
            ..Fleet::default()
        };
        assert_eq!(fleet.plan().replicas, 3);
    }

    #[test]
    fn leaving_pods_are_sealed_at_once_and_none_goes_before_it_is_empty() {
        let claims = vec![claim(0, None), claim(1, None), claim(2, None)];
        let fleet = fleet(1, 3, vec![serving(0), serving(1), serving(2)], claims);
        let plan = fleet.plan();
        assert_eq!((plan.replicas, plan.seal, plan.targets), (3, vec![1, 2], vec![0]));
        assert!(plan.mark.is_empty() && plan.siblings.is_empty());
    }

    #[test]
    fn an_empty_pod_is_marked_and_then_goes_one_at_a_time() {
        let pods = || vec![serving(0), sealed(1, true), sealed(2, true)];
        let first = fleet(1, 3, pods(), vec![claim(0, None), claim(1, None), claim(2, None)]);
        assert_eq!(
            first.plan().mark,
            [(1, "s1/7".to_owned()), (2, "s2/7".to_owned())]
        );
        assert_eq!(first.plan().replicas, 3, "not before it is marked");
        assert_eq!(
            (first.plan().targets, first.plan().siblings),
            (vec![0], vec![1, 2])
        );
        let second = fleet(
            1,
            3,
            pods(),
            vec![claim(0, None), claim(1, Some("s1/7")), claim(2, Some("s2/7"))],
        );
        assert_eq!((second.plan().replicas, second.may_go(2)), (2, true));
        let full = fleet(
            1,
            3,
            vec![serving(0), sealed(1, false), sealed(2, true)],
            vec![claim(0, None), claim(1, None), claim(2, Some("s2/7"))],
        );
        assert_eq!(full.plan().replicas, 2);
        let third = fleet(
            1,
            2,
            vec![serving(0), sealed(1, false)],
            vec![claim(0, None), claim(1, None), claim(2, Some("s2/7"))],
        );
        assert_eq!(third.plan().replicas, 2, "its mail still moves");
    }

    #[test]
    fn raising_in_mid_drain_turns_it_round() {
        let pods = vec![serving(0), sealed(1, false), sealed(2, true)];
        let fleet = fleet(
            3,
            3,
            pods,
            vec![claim(0, None), claim(1, None), claim(2, Some("s2/7"))],
        );
        let plan = fleet.plan();
        assert_eq!(
            (plan.replicas, plan.unseal, plan.unmark, plan.seal),
            (3, vec![1, 2], vec![2], vec![])
        );
    }

    #[test]
    fn a_pod_that_cannot_be_asked_stays() {
        let silent = Pod {
            ordinal: 2,
            ..Pod::default()
        };
        let fleet = fleet(
            1,
            3,
            vec![serving(0), serving(1), silent],
            vec![claim(0, None), claim(1, None), claim(2, None)],
        );
        assert_eq!((fleet.plan().replicas, fleet.may_go(2)), (3, false));
    }

    #[test]
    fn a_claim_without_its_pod_brings_the_pod_back() {
        let fleet = fleet(
            1,
            1,
            vec![serving(0)],
            vec![claim(0, None), claim(1, Some("s1/7")), claim(2, None)],
        );
        assert_eq!(fleet.plan().replicas, 3);
    }

    #[test]
    fn a_pod_that_never_had_a_volume_goes_without_ado() {
        let pending = Claim {
            ordinal: 1,
            bound: false,
            ..Claim::default()
        };
        let fleet = fleet(
            1,
            2,
            vec![
                serving(0),
                Pod {
                    ordinal: 1,
                    ..Pod::default()
                },
            ],
            vec![claim(0, None), pending],
        );
        assert_eq!((fleet.plan().replicas, fleet.may_go(1)), (1, true));
    }

    #[test]
    fn a_pod_with_mail_stays_whatever_is_known_of_its_claim() {
        for (pod, goes) in [
            (sealed(1, false), false),
            (sealed(1, true), true),
            (serving(1), false),
        ] {
            let fleet = fleet(1, 2, vec![serving(0), pod], vec![claim(0, None)]);
            assert_eq!(fleet.may_go(1), goes, "{fleet:?}");
        }
    }

    #[test]
    fn a_mark_of_an_older_seal_is_renewed_and_lets_nobody_go() {
        let fleet = fleet(0, 1, vec![sealed(0, true)], vec![claim(0, Some("s0/3"))]);
        assert_eq!(fleet.plan().mark, [(0, "s0/7".to_owned())]);
        assert!(!fleet.may_go(0));
    }

    #[test]
    fn a_lost_claim_brings_no_pod_back_and_its_silent_pod_goes() {
        let lost = |ordinal| Claim {
            lost: Some(format!("s{ordinal}")),
            ..claim(ordinal, None)
        };
        let orphan = fleet(1, 1, vec![serving(0)], vec![claim(0, None), lost(2)]);
        assert_eq!(orphan.plan().replicas, 1);
        let silent = Pod {
            ordinal: 1,
            ..Pod::default()
        };
        let stuck = fleet(1, 2, vec![serving(0), silent], vec![claim(0, None), lost(1)]);
        assert_eq!((stuck.plan().replicas, stuck.may_go(1)), (1, true));
        let back = fleet(
            1,
            2,
            vec![serving(0), sealed(1, false)],
            vec![claim(0, None), lost(1)],
        );
        assert!(!back.may_go(1), "it answers: it is not lost");
        let unreached = Pod {
            said: None,
            ..serving(1)
        };
        let blind = fleet(1, 2, vec![serving(0), unreached], vec![claim(0, None), lost(1)]);
        assert!(!blind.may_go(1), "it serves: it is not lost");
    }

    #[test]
    fn a_pod_that_we_cannot_ask_goes_only_where_it_never_had_a_volume() {
        let pending = Claim {
            ordinal: 2,
            ..Claim::default()
        };
        let lost = Claim {
            lost: Some("s1".into()),
            ..claim(1, None)
        };
        let fleet = fleet(0, 3, vec![], vec![claim(0, Some("s0/7")), lost, pending]);
        let goes = |able| [0, 1, 2].map(|ordinal| fleet.may_go_unasked(ordinal, able));
        assert_eq!(goes(true), [false, true, true]);
        assert_eq!(goes(false), [false, false, true]);
    }

    #[test]
    fn whoever_leaves_or_comes_back_to_be_drained_starts_sealed_and_nobody_who_stays() {
        let pending = Claim {
            ordinal: 6,
            ..Claim::default()
        };
        let claims = vec![claim(0, None), claim(1, Some("s1/7")), claim(5, None), pending];
        let fleet = fleet(1, 3, vec![serving(0), serving(1)], claims);
        assert_eq!(
            fleet.sealed(),
            [1, 2, 3, 4, 5],
            "the pods below a returning one too"
        );
        let steady = Fleet {
            wanted: 3,
            claims: vec![claim(0, None), claim(1, None)],
            ..fleet
        };
        assert!(steady.sealed().is_empty());
    }

    /// Every small fleet: whatever is known or not, a pod goes only when its claim is marked and it is empty under that
    /// seal, or when it never had a volume; and nobody who stays is sealed.
    #[test]
    fn no_fleet_of_up_to_three_pods_loses_a_queue() {
        let pods_of = |ordinal| {
            [
                None,
                Some(serving(ordinal)),
                Some(sealed(ordinal, false)),
                Some(sealed(ordinal, true)),
                Some(Pod {
                    ordinal,
                    ..Pod::default()
                }),
            ]
        };
        let claims_of = |ordinal: i32| {
            let mark = format!("s{ordinal}/7");
            [
                None,
                Some(claim(ordinal, None)),
                Some(claim(ordinal, Some(&mark))),
                Some(claim(ordinal, Some("old/1"))),
            ]
        };
        let mut seen = 0;
        for code in 0..(5 * 4_usize).pow(3) {
            let (mut rest, mut pods, mut claims) = (code, Vec::new(), Vec::new());
            for ordinal in 0..3 {
                pods.extend(pods_of(ordinal)[rest % 5].clone());
                claims.extend(claims_of(ordinal)[rest / 5 % 4].clone());
                rest /= 20;
            }
            for wanted in 0..=3 {
                for live in 0..=3 {
                    let fleet = fleet(wanted, live, pods.clone(), claims.clone());
                    let plan = fleet.plan();
                    seen += 1;
                    assert!(
                        plan.replicas >= live - 1 && plan.replicas >= wanted.min(live - 1),
                        "{fleet:?}"
                    );
                    assert!(plan.seal.iter().all(|ordinal| *ordinal >= wanted), "{fleet:?}");
                    assert!(plan.targets.iter().all(|ordinal| *ordinal < wanted), "{fleet:?}");
                    assert!(
                        plan.siblings.iter().all(|ordinal| *ordinal >= wanted),
                        "{fleet:?}"
                    );
                    if plan.lowers(&fleet) && fleet.may_go(live - 1) {
                        let claim = fleet.claim(live - 1);
                        let safe = claim.is_none_or(|claim| !claim.bound || claim.drained.is_some());
                        assert!(safe, "{fleet:?}");
                    }
                }
            }
        }
        assert_eq!(seen, 8_000 * 16);
    }
}
