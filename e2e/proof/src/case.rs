//! A case: a check by its number, what exactly, and how it is played.

use std::sync::Arc;

use futures::future::LocalBoxFuture;

use crate::rig::World;
use crate::server::Said;

/// How a case ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What the check says holds.
    Held,
    /// It could not be looked at, and why.
    Skipped(String),
}

/// Plays a case. All of them are on one thread; what runs beside it are the proxies.
pub type Play = Box<dyn FnOnce(Arc<World>) -> LocalBoxFuture<'static, Said<Verdict>>>;

/// When a case is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// Before the others, as it takes longest: they are played beside it.
    First,
    /// With the others.
    Any,
    /// With nothing beside it, as its figures are told.
    Alone,
}

/// A case.
pub struct Case {
    /// The check, `check_NN_what_must_hold`.
    pub check: &'static str,
    /// Which of its cases.
    pub what: String,
    /// When.
    pub turn: Turn,
    /// How.
    pub play: Play,
}

impl Case {
    /// A case from an async function.
    pub fn new<F>(
        check: &'static str,
        what: impl Into<String>,
        play: impl FnOnce(Arc<World>) -> F + 'static,
    ) -> Self
    where
        F: Future<Output = Said<Verdict>> + 'static,
    {
        Self {
            check,
            what: what.into(),
            turn: Turn::Any,
            play: Box::new(move |world| Box::pin(play(world))),
        }
    }

    /// The same at another time.
    #[must_use]
    pub fn at(self, turn: Turn) -> Self {
        Self { turn, ..self }
    }
}

/// Cases that may be played together, in their order, and those that are played alone.
pub fn turns(mut cases: Vec<Case>) -> (Vec<Case>, Vec<Case>) {
    cases.sort_by_key(|case| case.turn);
    cases.into_iter().partition(|case| case.turn != Turn::Alone)
}

/// Picks `size` cases by a seed, or more where there are more checks than that: of each check at least one, in the order of the list.
pub fn sample(cases: Vec<Case>, size: usize, seed: u64) -> Vec<Case> {
    let checks: std::collections::BTreeSet<_> = cases.iter().map(|case| case.check).collect();
    let size = size.max(checks.len());
    let mut chosen: Vec<usize> = Vec::new();
    let mut order: Vec<(u64, usize)> = (0..cases.len())
        .map(|index| (mix(seed, index as u64), index))
        .collect();
    order.sort_unstable();
    let mut turn = 0;
    while chosen.len() < size.min(cases.len()) {
        // In each turn each check gives one case more.
        let mut given = std::collections::BTreeMap::<&str, usize>::new();
        for (_, index) in &order {
            let count = given.entry(cases[*index].check).or_default();
            if *count == turn && chosen.len() < size {
                chosen.push(*index);
            }
            *count += 1;
        }
        turn += 1;
    }
    let chosen: std::collections::BTreeSet<usize> = chosen.into_iter().collect();
    cases
        .into_iter()
        .enumerate()
        .filter(|(index, _)| chosen.contains(index))
        .map(|(_, case)| case)
        .collect()
}

/// Splitmix64: a number that looks like none of its neighbours.
fn mix(seed: u64, index: u64) -> u64 {
    let mut mixed = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases() -> Vec<Case> {
        let of = |check, count| {
            (0..count)
                .map(move |index: usize| Case::new(check, index.to_string(), async |_| Ok(Verdict::Held)))
        };
        of("check_01", 30)
            .chain(of("check_02", 1))
            .chain(of("check_26", 9))
            .collect()
    }

    #[test]
    fn the_longest_begin_and_what_is_measured_has_nothing_beside_it() {
        let mut cases = cases();
        cases.push(Case::new("check_41", "many", async |_| Ok(Verdict::Held)).at(Turn::Alone));
        cases.push(Case::new("check_41", "some", async |_| Ok(Verdict::Held)).at(Turn::First));
        let (together, alone) = turns(cases);
        let names = |cases: &[Case]| -> Vec<String> {
            let of = |case: &Case| format!("{} {}", case.check, case.what);
            cases.iter().map(of).collect()
        };
        assert_eq!(names(&alone), ["check_41 many"]);
        let together = names(&together);
        assert_eq!(together[..3], ["check_41 some", "check_01 0", "check_01 1"]);
        assert_eq!(together.len(), 41);
    }

    #[test]
    fn a_sample_has_every_check_is_of_its_size_and_hangs_on_the_seed_alone() {
        let names = |seed| -> Vec<String> {
            sample(cases(), 12, seed)
                .iter()
                .map(|case| format!("{} {}", case.check, case.what))
                .collect()
        };
        let one = names(1);
        assert_eq!(one.len(), 12);
        for check in ["check_01", "check_02", "check_26"] {
            assert!(one.iter().any(|name| name.starts_with(check)), "{one:?}");
        }
        assert_eq!(one, names(1));
        assert_ne!(one, names(2));
        assert_eq!(sample(cases(), 100, 1).len(), 40);
        assert_eq!(sample(cases(), 1, 1).len(), 3, "one of each check");
    }
}
