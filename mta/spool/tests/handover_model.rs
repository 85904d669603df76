//! Exhaustive search over a model of the hand-over that drives the real state machines.
//!
//! One entry, one source, two targets. The network keeps every message ever sent and may deliver any of them at
//! any time, any number of times, in any order, or never: that covers loss, repetition, reordering, and a crash of
//! either side between a sync and the sending. A crash before a sync is a step that does not happen. Either side
//! may restart at any time (`Resume`, `Ask`). Bounded: generations, seals and holds per target.
//!
//! Invariant: never two owners, never none, and nothing lost when the source is lowered once it says empty.

#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use postroad_spool::handover::{ToSource, ToTarget, TransferId, source, target};
use postroad_spool::{EntryId, SealState, SpoolUuid};

const SOURCE: SpoolUuid = SpoolUuid([1; 16]);
const TARGETS: [SpoolUuid; 2] = [SpoolUuid([2; 16]), SpoolUuid([3; 16])];
const ENTRY: EntryId = EntryId::from_u64(7);

/// How far the search goes and which rules hold.
#[derive(Clone, Copy)]
struct Bounds {
    generations: u32,
    seals: u64,
    holds: u64,
    given_blocks_empty: bool,
    /// Offers are made before the spool is sealed as well.
    unsealed: Option<Belonging>,
}

/// To which seal such offers belong; and the source was sealed and drained once, and came back: the others may hear of that
/// late.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Belonging {
    ToNext,
    /// That breaks the rule.
    ToLast,
}

impl Bounds {
    /// The seal that the source was drained with before the search begins.
    fn drained_before(self) -> u64 {
        u64::from(self.unsealed.is_some())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Letter {
    To(usize, ToTarget),
    From(usize, ToSource),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Entry {
    Here(source::Source),
    DeliveredHere,
    Freed,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Taker {
    transfers: BTreeMap<TransferId, target::Target>,
    /// Released and not delivered yet.
    deliverable: BTreeSet<EntryId>,
    delivered: u8,
    next_hold: u64,
    drained: u64,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct World {
    entry: Entry,
    sealed: bool,
    seal: u64,
    lowered: bool,
    takers: [Taker; 2],
    /// Bit i: the i-th letter of the table was sent at some time.
    sent: u128,
}

/// All letters seen in the search, numbered.
#[derive(Default)]
struct Letters {
    numbers: HashMap<Letter, u32>,
    list: Vec<Letter>,
}

impl Letters {
    fn bit(&mut self, letter: Letter) -> u128 {
        let next = u32::try_from(self.list.len()).unwrap();
        let number = *self.numbers.entry(letter).or_insert(next);
        if number == next {
            self.list.push(letter);
            assert!(next < 128, "more letters than the bit set holds");
        }
        1 << number
    }
}

impl World {
    fn start(bounds: Bounds) -> Self {
        Self {
            entry: Entry::Here(source::Source::Owned { generation: 0 }),
            sealed: false,
            seal: bounds.drained_before(),
            lowered: false,
            takers: [
                Taker {
                    next_hold: 1,
                    ..Taker::default()
                },
                Taker {
                    next_hold: 1,
                    ..Taker::default()
                },
            ],
            sent: 0,
        }
    }

    fn source_state(&self) -> Option<&source::Source> {
        match &self.entry {
            Entry::Here(state) => Some(state),
            _ => None,
        }
    }

    fn is_empty(&self, bounds: Bounds) -> bool {
        match self.source_state() {
            None => true,
            Some(source::Source::Given { .. }) if !bounds.given_blocks_empty => true,
            Some(state) => !source::blocks_empty(state),
        }
    }

    /// Those that deliver, will deliver, or have delivered the entry.
    fn owners(&self) -> usize {
        let here = matches!(
            self.entry,
            Entry::DeliveredHere | Entry::Here(source::Source::Owned { .. })
        );
        let there: usize = self
            .takers
            .iter()
            .map(|t| t.deliverable.len() + usize::from(t.delivered))
            .sum();
        usize::from(here && !(self.lowered && self.entry != Entry::DeliveredHere)) + there
    }

    fn fault(&self) -> Option<&'static str> {
        let owners = self.owners();
        if owners > 1 {
            return Some("two owners");
        }
        if owners == 1 {
            return None;
        }
        if self.lowered {
            return Some("lost");
        }
        match self.source_state() {
            Some(source::Source::Offered { .. }) => None,
            Some(source::Source::Given {
                transfer,
                target,
                hold,
            }) => {
                let taker = &self.takers[TARGETS.iter().position(|t| t == target).unwrap()];
                let held = target::Target::Held { hold: *hold };
                if taker.transfers.get(transfer) == Some(&held) {
                    None
                } else {
                    Some("given but not held")
                }
            }
            _ => Some("no owner"),
        }
    }

    fn done(&self) -> bool {
        let delivered = self
            .takers
            .iter()
            .map(|t| usize::from(t.delivered))
            .sum::<usize>()
            + usize::from(self.entry == Entry::DeliveredHere);
        delivered == 1 && self.takers.iter().all(|t| t.transfers.is_empty())
    }

    fn source_step(&self, input: &source::Input, letters: &mut Letters) -> Self {
        let mut world = self.clone();
        let step = source::step(self.source_state(), input);
        match step.next {
            source::Next::Same => {}
            source::Next::Become(state) => world.entry = Entry::Here(state),
            source::Next::Free => world.entry = Entry::Freed,
        }
        if let Some((to, message)) = step.send {
            let to = TARGETS.iter().position(|t| *t == to).unwrap();
            world.sent |= letters.bit(Letter::To(to, message));
        }
        world
    }

    fn target_step(
        &self,
        at: usize,
        transfer: TransferId,
        input: &target::Input,
        letters: &mut Letters,
    ) -> Self {
        let mut world = self.clone();
        let taker = &mut world.takers[at];
        let step = target::step(taker.transfers.get(&transfer), input);
        match step.next {
            target::Next::Same => {}
            target::Next::Hold(hold) => {
                taker.transfers.insert(transfer, target::Target::Held { hold });
                taker.next_hold += 1;
            }
            target::Next::Release(hold) => {
                taker
                    .transfers
                    .insert(transfer, target::Target::Released { hold });
                taker.deliverable.insert(hold);
            }
            target::Next::Drop(_) | target::Next::Forget => {
                taker.transfers.remove(&transfer);
            }
        }
        if let Some(message) = step.send {
            world.sent |= letters.bit(Letter::From(at, message));
        }
        world
    }

    fn receive(&self, letter: Letter, bounds: Bounds, letters: &mut Letters) -> Option<Self> {
        match letter {
            Letter::From(from, message) => {
                let input = source::Input::Heard {
                    from: TARGETS[from],
                    message,
                };
                (!self.lowered).then(|| self.source_step(&input, letters))
            }
            Letter::To(to, message) => {
                let taker = &self.takers[to];
                let transfer = message.transfer();
                let full = taker.next_hold > bounds.holds;
                let refuse = full || transfer.seal <= taker.drained;
                let hold = EntryId::from_u64(taker.next_hold);
                let input = target::Input::Heard {
                    message,
                    hold,
                    refuse,
                };
                Some(self.target_step(to, transfer, &input, letters))
            }
        }
    }

    fn successors(&self, bounds: Bounds, letters: &mut Letters) -> Vec<Self> {
        let mut next = Vec::new();
        for number in 0..letters.list.len() {
            if self.sent >> number & 1 == 1 {
                next.extend(self.receive(letters.list[number], bounds, letters));
            }
        }
        if !self.lowered {
            self.source_events(bounds, letters, &mut next);
        }
        for at in 0..2 {
            for transfer in self.takers[at].transfers.keys() {
                next.push(self.target_step(at, *transfer, &target::Input::Ask(*transfer), letters));
            }
            for hold in &self.takers[at].deliverable {
                let mut world = self.clone();
                world.takers[at].deliverable.remove(hold);
                world.takers[at].delivered += 1;
                next.push(world);
            }
            let drained = if self.lowered {
                self.seal
            } else {
                bounds.drained_before()
            };
            if self.takers[at].drained < drained {
                let mut world = self.clone();
                world.takers[at].drained = drained;
                let of_it = |transfer: &&TransferId| transfer.seal <= drained;
                for transfer in self.takers[at].transfers.keys().filter(of_it) {
                    world = world.target_step(at, *transfer, &target::Input::Drained, letters);
                }
                next.push(world);
            }
        }
        next
    }

    fn source_events(&self, bounds: Bounds, letters: &mut Letters, next: &mut Vec<Self>) {
        next.push(self.source_step(&source::Input::Resume, letters));
        if let Some(source::Source::Owned { generation }) = self.source_state() {
            next.push(Self {
                entry: Entry::DeliveredHere,
                ..self.clone()
            });
            let offers = self.sealed || bounds.unsealed.is_some();
            if offers && *generation < bounds.generations {
                let state = SealState {
                    sealed: self.sealed || bounds.unsealed == Some(Belonging::ToLast),
                    number: self.seal,
                };
                for target in TARGETS {
                    let input = source::Input::Offer {
                        source: SOURCE,
                        seal: state.of_offers(),
                        entry: ENTRY,
                        target,
                    };
                    next.push(self.source_step(&input, letters));
                }
            }
        }
        if self.sealed {
            if self.seal < bounds.seals {
                next.push(Self {
                    sealed: false,
                    ..self.clone()
                });
            }
            if self.is_empty(bounds) {
                next.push(Self {
                    lowered: true,
                    ..self.clone()
                });
            }
        } else if self.seal < bounds.seals {
            next.push(Self {
                sealed: true,
                seal: self.seal + 1,
                ..self.clone()
            });
        }
    }
}

struct Found {
    states: usize,
    fault: Option<&'static str>,
    /// States from which no delivered and fully confirmed end can be reached.
    stuck: usize,
}

fn search(bounds: Bounds) -> Found {
    let mut letters = Letters::default();
    let mut numbers: HashMap<World, u32> = HashMap::from([(World::start(bounds), 0)]);
    let mut queue = VecDeque::from([(0, World::start(bounds))]);
    let mut before: Vec<Vec<u32>> = vec![Vec::new()];
    let mut ends = Vec::new();
    while let Some((number, world)) = queue.pop_front() {
        if let Some(fault) = world.fault() {
            return Found {
                states: numbers.len(),
                fault: Some(fault),
                stuck: 0,
            };
        }
        if world.done() {
            ends.push(number);
        }
        for next in world.successors(bounds, &mut letters) {
            let fresh = u32::try_from(numbers.len()).unwrap();
            let known = *numbers.entry(next.clone()).or_insert(fresh);
            if known == fresh {
                before.push(Vec::new());
                queue.push_back((known, next));
            }
            if known != number {
                before[known as usize].push(number);
            }
        }
    }
    let mut reaches = vec![false; before.len()];
    while let Some(end) = ends.pop() {
        if !std::mem::replace(&mut reaches[end as usize], true) {
            ends.extend(&before[end as usize]);
        }
    }
    let stuck = reaches.iter().filter(|r| !**r).count();
    Found {
        states: numbers.len(),
        fault: None,
        stuck,
    }
}

/// A seeded sample of what [`search`] visits: so many walks through the model, each of up to [`STEPS`] random steps.
fn sample(bounds: Bounds, walks: u32) -> Option<&'static str> {
    let mut letters = Letters::default();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..walks {
        let mut world = World::start(bounds);
        for _ in 0..STEPS {
            let mut next = world.successors(bounds, &mut letters);
            if next.is_empty() {
                break;
            }
            // xorshift64
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let chosen = usize::try_from(random >> 33).unwrap() % next.len();
            world = next.swap_remove(chosen);
            if let Some(fault) = world.fault() {
                return Some(fault);
            }
        }
    }
    None
}

const STEPS: usize = 40;

const RULES: Bounds = Bounds {
    generations: 2,
    seals: 1,
    holds: 2,
    given_blocks_empty: true,
    unsealed: None,
};

#[test]
fn every_entry_has_exactly_one_owner_with_two_seals() {
    let found = search(Bounds {
        seals: 2,
        generations: 1,
        ..RULES
    });
    println!("{} states", found.states);
    assert_eq!(found.fault, None);
    assert_eq!(found.stuck, 0, "states that cannot end any more");
}

#[test]
fn every_entry_has_exactly_one_owner_over_two_generations() {
    let found = search(RULES);
    println!("{} states", found.states);
    assert_eq!(found.fault, None);
    assert_eq!(found.stuck, 0, "states that cannot end any more");
}

#[test]
fn without_the_rule_that_given_blocks_empty_an_entry_is_lost() {
    let found = search(Bounds {
        given_blocks_empty: false,
        ..RULES
    });
    assert_eq!(found.fault, Some("lost"));
}

#[test]
fn every_entry_has_exactly_one_owner_over_three_generations() {
    let found = search(Bounds {
        generations: 3,
        holds: 1,
        ..RULES
    });
    println!("{} states", found.states);
    assert_eq!(found.fault, None);
}

#[test]
fn every_entry_has_exactly_one_owner_where_a_spool_gives_before_it_is_sealed() {
    // The whole search takes most of a minute.
    let is_wide = std::env::var_os("POSTROAD_EXHAUSTIVE").is_some();
    let bounds = Bounds {
        generations: 1,
        seals: 2,
        holds: if is_wide { 2 } else { 1 },
        unsealed: Some(Belonging::ToNext),
        ..RULES
    };
    let found = search(bounds);
    println!("{} states", found.states);
    assert_eq!(found.fault, None);
    assert_eq!(found.stuck, 0, "states that cannot end any more");
    let wide = Bounds {
        generations: 2,
        seals: 3,
        holds: 2,
        ..bounds
    };
    assert_eq!(sample(wide, 5_000), None);
}

#[test]
fn an_offer_that_belongs_to_a_seal_of_the_past_is_lost_when_others_hear_of_that_seal() {
    let found = search(Bounds {
        generations: 1,
        seals: 2,
        unsealed: Some(Belonging::ToLast),
        ..RULES
    });
    assert_eq!(found.fault, Some("given but not held"));
}

#[test]
fn a_sample_finds_the_loss_as_well() {
    let lax = Bounds {
        given_blocks_empty: false,
        ..RULES
    };
    assert_eq!(sample(lax, 20_000), Some("lost"));
}

#[test]
fn every_entry_has_exactly_one_owner_over_three_generations_with_repeated_holds() {
    let bounds = Bounds {
        generations: 3,
        ..RULES
    };
    if std::env::var_os("POSTROAD_EXHAUSTIVE").is_none() {
        // The whole search takes a minute.
        assert_eq!(sample(bounds, 20_000), None);
        return;
    }
    let found = search(bounds);
    println!("{} states", found.states);
    assert_eq!(found.fault, None);
    assert_eq!(found.stuck, 0, "states that cannot end any more");
}
