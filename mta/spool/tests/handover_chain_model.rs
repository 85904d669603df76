//! Search over a model of three spools in a chain that drives the real state machines: two gives to one and zero, one gives
//! to zero, each may be sealed, turned round and lowered; a volume may be lost, and is declared so.
//!
//! One entry, at two in the beginning. The network is that of `handover_model.rs`: every letter ever sent may arrive at any
//! time, any number of times, or never. A seeded sample of walks by default, every state with `POSTROAD_EXHAUSTIVE`.
//!
//! Without a loss: never two owners, never none. With one: what a spool that is left has is never given up, except on the
//! word of the lost one, and it always comes to an end.

#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

use std::collections::{BTreeMap, HashMap, VecDeque};

use postroad_spool::handover::source::Source;
use postroad_spool::handover::target::Target;
use postroad_spool::handover::{ToSource, ToTarget, TransferId, source, target};
use postroad_spool::{EntryId, SealState, SpoolUuid};

const SPOOLS: [SpoolUuid; 3] = [SpoolUuid([0; 16]), SpoolUuid([1; 16]), SpoolUuid([2; 16])];

fn number(spool: SpoolUuid) -> usize {
    usize::from(spool.0[0])
}

/// How far it goes, and which rules hold.
#[derive(Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a rule that holds or does not"
)]
struct Bounds {
    generations: u32,
    seals: u64,
    /// Entries that a spool may get.
    holds: u64,
    /// Volumes that may be lost.
    losses: u8,
    /// Two may offer to zero too.
    past_one: bool,
    given_blocks_empty: bool,
    /// A holder releases what it holds for a lost spool.
    lost_releases: bool,
    /// A spool offers before it is sealed as well.
    unsealed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Letter {
    /// To a target, from the source in its transfer.
    To(usize, ToTarget),
    /// From this target, to the source in its transfer.
    From(usize, ToSource),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Local {
    Ours(Source),
    Held,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Node {
    entries: BTreeMap<EntryId, Local>,
    transfers: BTreeMap<TransferId, Target>,
    /// Entries that it got.
    made: u64,
    sealed: bool,
    seal: u64,
    lowered: bool,
    lost: bool,
    /// Seals that others were declared drained with.
    drained: [u64; 3],
    /// Others that were declared lost.
    declared: [bool; 3],
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct World {
    nodes: [Node; 3],
    delivered: u8,
    /// Bit i: the i-th letter of the table was sent at some time.
    sent: [u64; 8],
}

/// All letters seen, numbered.
#[derive(Default)]
struct Letters {
    numbers: HashMap<Letter, usize>,
    list: Vec<Letter>,
}

impl Letters {
    fn number(&mut self, letter: Letter) -> usize {
        let next = self.list.len();
        let number = *self.numbers.entry(letter).or_insert(next);
        if number == next {
            self.list.push(letter);
            assert!(next < 512, "more letters than the bit set holds");
        }
        number
    }
}

/// A state that follows, and whether it came about by the loss of a volume or by a letter of a lost spool.
type Next = (World, bool);

impl World {
    fn start() -> Self {
        let mut world = Self::default();
        let entry = EntryId::from_u64(1);
        let ours = Local::Ours(Source::Owned { generation: 0 });
        world.nodes[2].entries.insert(entry, ours);
        world.nodes[2].made = 1;
        world
    }

    fn send(&mut self, letter: Letter, letters: &mut Letters) {
        let number = letters.number(letter);
        self.sent[number / 64] |= 1 << (number % 64);
    }

    fn is_here(&self, node: usize) -> bool {
        !self.nodes[node].lowered && !self.nodes[node].lost
    }

    fn any_lost(&self) -> bool {
        self.nodes.iter().any(|node| node.lost)
    }

    fn is_empty(&self, at: usize, bounds: Bounds) -> bool {
        let node = &self.nodes[at];
        let blocks =
            |local: &Local| bounds.given_blocks_empty || !matches!(local, Local::Ours(Source::Given { .. }));
        !node.entries.values().any(blocks) && node.transfers.iter().all(|known| node.is_answered(known))
    }

    /// Copies that spools which are left answer for. Bytes that another has taken over, or that were taken back from
    /// their holder, are left over: whoever has the entry by then may be lost with it.
    fn copies(&self) -> usize {
        let here = (0..3).filter(|node| self.is_here(*node));
        here.map(|node| {
            let ours = self.nodes[node].entries.values();
            let ours = ours.filter(|local| self.counts(local)).count();
            let held = self.nodes[node].transfers.iter();
            ours + held.filter(|known| self.is_held_for_its_source(*known)).count()
        })
        .sum()
    }

    fn counts(&self, local: &Local) -> bool {
        match local {
            Local::Ours(Source::Given { transfer, target, .. }) => {
                let target = &self.nodes[number(*target)];
                target.lost || matches!(target.transfers.get(transfer), Some(Target::Held { .. }))
            }
            Local::Ours(_) => true,
            // Counted by its transfer.
            Local::Held => false,
        }
    }

    fn is_held_for_its_source(&self, (transfer, state): (&TransferId, &Target)) -> bool {
        let source = &self.nodes[number(transfer.source)];
        let current = match source.entries.get(&transfer.entry) {
            Some(Local::Ours(Source::Offered { transfer, .. } | Source::Given { transfer, .. })) => {
                Some(transfer)
            }
            _ => None,
        };
        matches!(state, Target::Held { .. }) && (source.lost || current == Some(transfer))
    }

    fn fault(&self) -> Option<&'static str> {
        if self.any_lost() {
            return None;
        }
        let here = || {
            (0..3)
                .filter(|node| self.is_here(*node))
                .flat_map(|node| self.nodes[node].entries.values())
        };
        let owned = |local: &&Local| matches!(local, Local::Ours(Source::Owned { .. }));
        match here().filter(owned).count() + usize::from(self.delivered) {
            0 => {}
            1 => return None,
            _ => return Some("two owners"),
        }
        let will_be = |local: &Local| match local {
            Local::Ours(Source::Offered { .. }) => true,
            Local::Ours(Source::Given {
                transfer,
                target,
                hold,
            }) => {
                let held = Some(&Target::Held { hold: *hold });
                self.nodes[number(*target)].transfers.get(transfer) == held
            }
            _ => false,
        };
        (!here().any(will_be)).then_some("lost")
    }

    fn done(&self) -> bool {
        let settled = (0..3).filter(|node| self.is_here(*node)).all(|at| {
            let node = &self.nodes[at];
            node.entries.is_empty() && node.transfers.iter().all(|known| node.is_answered(known))
        });
        settled && (self.delivered > 0 || self.any_lost())
    }

    fn source_step(&mut self, at: usize, entry: EntryId, input: &source::Input, letters: &mut Letters) {
        let node = &mut self.nodes[at];
        let state = node.entries.get(&entry).and_then(|local| match local {
            Local::Ours(state) => Some(*state),
            Local::Held => None,
        });
        let step = source::step(state.as_ref(), input);
        match step.next {
            source::Next::Same => {}
            source::Next::Become(state) => {
                node.entries.insert(entry, Local::Ours(state));
            }
            source::Next::Free => {
                node.entries.remove(&entry);
            }
        }
        if let Some((to, message)) = step.send {
            self.send(Letter::To(number(to), message), letters);
        }
    }

    fn target_step(&mut self, at: usize, transfer: TransferId, input: &target::Input, letters: &mut Letters) {
        let node = &mut self.nodes[at];
        let step = target::step(node.transfers.get(&transfer), input);
        match step.next {
            target::Next::Same => {}
            target::Next::Hold(hold) => {
                node.transfers.insert(transfer, Target::Held { hold });
                node.entries.insert(hold, Local::Held);
                node.made += 1;
            }
            target::Next::Release(hold) => {
                node.transfers.insert(transfer, Target::Released { hold });
                let ours = Local::Ours(Source::Owned { generation: 0 });
                node.entries.insert(hold, ours);
            }
            target::Next::Drop(hold) => {
                node.transfers.remove(&transfer);
                node.entries.remove(&hold);
            }
            target::Next::Forget => {
                node.transfers.remove(&transfer);
            }
        }
        if let Some(message) = step.send {
            self.send(Letter::From(at, message), letters);
        }
    }

    fn receive(&self, letter: Letter, bounds: Bounds, letters: &mut Letters) -> Option<Next> {
        let mut world = self.clone();
        let (from, to) = match letter {
            Letter::From(from, message) => (from, number(message.transfer().source)),
            Letter::To(to, message) => (number(message.transfer().source), to),
        };
        if !self.is_here(to) {
            return None;
        }
        match letter {
            Letter::From(_, message) => {
                let input = source::Input::Heard {
                    from: SPOOLS[from],
                    message,
                };
                world.source_step(to, message.transfer().entry, &input, letters);
            }
            Letter::To(_, message) => {
                let node = &self.nodes[to];
                let transfer = message.transfer();
                let refuse = node.made >= bounds.holds
                    || node.sealed
                    || transfer.seal <= node.drained[from]
                    || node.declared[from];
                let hold = EntryId::from_u64(node.made + 1);
                let input = target::Input::Heard {
                    message,
                    hold,
                    refuse,
                };
                world.target_step(to, transfer, &input, letters);
            }
        }
        Some((world, self.nodes[from].lost))
    }

    fn successors(&self, bounds: Bounds, letters: &mut Letters) -> Vec<Next> {
        let mut next = Vec::new();
        for number in 0..letters.list.len() {
            if self.sent[number / 64] >> (number % 64) & 1 == 1 {
                next.extend(self.receive(letters.list[number], bounds, letters));
            }
        }
        for at in (0..3).filter(|at| self.is_here(*at)) {
            self.of_entries(at, bounds, letters, &mut next);
            self.of_seal(at, bounds, &mut next);
            self.of_others(at, bounds, letters, &mut next);
            for transfer in self.nodes[at].transfers.keys() {
                let mut world = self.clone();
                world.target_step(at, *transfer, &target::Input::Ask(*transfer), letters);
                next.push((world, false));
            }
            let lost = self.nodes.iter().filter(|node| node.lost).count();
            if lost < usize::from(bounds.losses) {
                let mut world = self.clone();
                world.nodes[at].lost = true;
                next.push((world, true));
            }
        }
        next.retain(|(world, _)| world != self);
        next
    }

    fn of_entries(&self, at: usize, bounds: Bounds, letters: &mut Letters, next: &mut Vec<Next>) {
        for (entry, local) in &self.nodes[at].entries {
            let Local::Ours(state) = local else { continue };
            let mut inputs = vec![source::Input::Resume];
            if let Source::Owned { generation } = state {
                let mut world = self.clone();
                world.nodes[at].entries.remove(entry);
                world.delivered += 1;
                next.push((world, false));
                let reach = if bounds.past_one { 0 } else { at.saturating_sub(1) };
                let state = SealState {
                    sealed: self.nodes[at].sealed,
                    number: self.nodes[at].seal,
                };
                if (state.sealed || bounds.unsealed) && *generation < bounds.generations {
                    let targets = (reach..at).filter(|to| !self.nodes[at].declared[*to]);
                    inputs.extend(targets.map(|to| source::Input::Offer {
                        source: SPOOLS[at],
                        seal: state.of_offers(),
                        entry: *entry,
                        target: SPOOLS[to],
                    }));
                }
            }
            for input in inputs {
                let mut world = self.clone();
                world.source_step(at, *entry, &input, letters);
                next.push((world, false));
            }
        }
    }

    /// Zero stays: it is never sealed.
    fn of_seal(&self, at: usize, bounds: Bounds, next: &mut Vec<Next>) {
        let node = &self.nodes[at];
        let mut become_ = |change: fn(&mut Node)| {
            let mut world = self.clone();
            change(&mut world.nodes[at]);
            next.push((world, false));
        };
        if at > 0 && node.seal < bounds.seals {
            if node.sealed {
                become_(|node| node.sealed = false);
            } else {
                become_(|node| {
                    node.sealed = true;
                    node.seal += 1;
                });
            }
        }
        if node.sealed && self.is_empty(at, bounds) {
            become_(|node| node.lowered = true);
        }
    }

    /// What this spool is told of the others.
    fn of_others(&self, at: usize, bounds: Bounds, letters: &mut Letters, next: &mut Vec<Next>) {
        for other in (0..3).filter(|other| *other != at) {
            let seal = self.nodes[other].seal;
            if self.nodes[other].lowered && self.nodes[at].drained[other] < seal {
                let mut world = self.clone();
                world.nodes[at].drained[other] = seal;
                for transfer in self.nodes[at].transfers.keys() {
                    if number(transfer.source) == other {
                        world.target_step(at, *transfer, &target::Input::Drained, letters);
                    }
                }
                next.push((world, false));
            }
            if self.nodes[other].lowered {
                let mut world = self.clone();
                world.nothing_there(at, other, letters);
                next.push((world, false));
            }
            if self.nodes[other].lost {
                let mut world = self.clone();
                world.declare(at, other, bounds, letters);
                next.push((world, false));
            }
        }
    }

    /// What still stands offered to a drained spool never arrived there.
    fn nothing_there(&mut self, at: usize, other: usize, letters: &mut Letters) {
        let offered = |(entry, local): (&EntryId, &Local)| match local {
            Local::Ours(Source::Offered { transfer, target }) if number(*target) == other => {
                Some((*entry, *transfer))
            }
            _ => None,
        };
        let offered: Vec<_> = self.nodes[at].entries.iter().filter_map(offered).collect();
        for (entry, transfer) in offered {
            let input = source::Input::Heard {
                from: SPOOLS[other],
                message: ToSource::Unknown(transfer),
            };
            self.source_step(at, entry, &input, letters);
        }
    }

    fn declare(&mut self, at: usize, other: usize, bounds: Bounds, letters: &mut Letters) {
        self.nodes[at].declared[other] = true;
        let input = if bounds.lost_releases {
            target::Input::Lost
        } else {
            target::Input::Drained
        };
        let of = |transfer: &&TransferId| number(transfer.source) == other;
        let transfers: Vec<_> = self.nodes[at].transfers.keys().filter(of).copied().collect();
        for transfer in transfers {
            self.target_step(at, transfer, &input, letters);
        }
        let entries: Vec<_> = self.nodes[at].entries.keys().copied().collect();
        for entry in entries {
            self.source_step(at, entry, &source::Input::Lost(SPOOLS[other]), letters);
        }
    }

    /// What a step may not do.
    fn broken(&self, (next, excused): &Next) -> Option<&'static str> {
        let given_up = self.copies() > 0 && next.copies() == 0 && next.delivered == 0;
        next.fault()
            .or_else(|| (given_up && next.any_lost() && !excused).then_some("given up"))
    }
}

impl Node {
    /// Nobody will ask about it.
    fn is_answered(&self, (transfer, state): (&TransferId, &Target)) -> bool {
        matches!(state, Target::Released { .. }) && self.declared[number(transfer.source)]
    }
}

struct Found {
    states: usize,
    fault: Option<&'static str>,
    /// States from which no end can be reached.
    stuck: usize,
}

fn search(bounds: Bounds) -> Found {
    let mut letters = Letters::default();
    let mut numbers: HashMap<World, u32> = HashMap::from([(World::start(), 0)]);
    let mut queue = VecDeque::from([(0, World::start())]);
    let mut before: Vec<Vec<u32>> = vec![Vec::new()];
    let mut worlds = vec![World::start()];
    let mut ends = Vec::new();
    while let Some((number, world)) = queue.pop_front() {
        if world.done() {
            ends.push(number);
        }
        for next in world.successors(bounds, &mut letters) {
            if let Some(fault) = world.broken(&next) {
                println!("{fault}, by:\n{:?}", next.0.nodes);
                tell_way(number, &before, &worlds);
                return Found {
                    states: numbers.len(),
                    fault: Some(fault),
                    stuck: 0,
                };
            }
            let fresh = u32::try_from(numbers.len()).unwrap();
            let known = *numbers.entry(next.0.clone()).or_insert(fresh);
            if known == fresh {
                before.push(Vec::new());
                worlds.push(next.0.clone());
                queue.push_back((known, next.0));
            }
            before[known as usize].push(number);
        }
    }
    let mut reaches = vec![false; before.len()];
    while let Some(end) = ends.pop() {
        if !std::mem::replace(&mut reaches[end as usize], true) {
            ends.extend(&before[end as usize]);
        }
    }
    if let Some(stuck) = reaches.iter().position(|reaches| !*reaches) {
        println!("no end from here:");
        tell_way(u32::try_from(stuck).unwrap(), &before, &worlds);
    }
    Found {
        states: numbers.len(),
        fault: None,
        stuck: reaches.iter().filter(|reaches| !**reaches).count(),
    }
}

/// How a state came about, backwards.
fn tell_way(number: u32, before: &[Vec<u32>], worlds: &[World]) {
    let mut at = Some(number);
    while let Some(number) = at {
        let world = &worlds[number as usize];
        println!("delivered {}: {:?}", world.delivered, world.nodes);
        // The first way to a state is the shortest one.
        at = before[number as usize].first().copied();
    }
}

/// Seeded walks through the model. Gives the first fault, and how many came to an end.
fn sample(bounds: Bounds, walks: u32) -> (Option<&'static str>, u32) {
    let mut letters = Letters::default();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut ended = 0;
    for _ in 0..walks {
        let mut world = World::start();
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
            let step = next.swap_remove(chosen);
            if let Some(fault) = world.broken(&step) {
                return (Some(fault), ended);
            }
            world = step.0;
        }
        ended += u32::from(world.done());
    }
    (None, ended)
}

const STEPS: usize = 60;

const RULES: Bounds = Bounds {
    generations: 2,
    seals: 2,
    holds: 2,
    losses: 0,
    past_one: true,
    given_blocks_empty: true,
    lost_releases: true,
    unsealed: false,
};

/// Walks with wide bounds; the whole of narrower ones where everything is wanted.
fn holds(wide: Bounds, narrow: Bounds) {
    let (fault, ended) = sample(wide, 20_000);
    println!("{ended} walks came to an end");
    assert_eq!(fault, None);
    assert!(ended > 0, "no walk came to an end");
    if std::env::var_os("POSTROAD_EXHAUSTIVE").is_some() {
        let found = search(narrow);
        println!("{} states", found.states);
        assert_eq!(found.fault, None);
        assert_eq!(found.stuck, 0, "states that cannot end any more");
    }
}

#[test]
fn every_entry_of_a_chain_has_exactly_one_owner() {
    let narrow = Bounds {
        generations: 1,
        seals: 1,
        holds: 1,
        past_one: false,
        ..RULES
    };
    holds(RULES, narrow);
}

#[test]
fn a_lost_volume_takes_nothing_with_it_that_another_spool_has() {
    let lossy = Bounds { losses: 1, ..RULES };
    let narrow = Bounds {
        generations: 1,
        seals: 1,
        holds: 1,
        past_one: false,
        ..lossy
    };
    holds(lossy, narrow);
}

#[test]
fn a_chain_that_gives_before_it_is_sealed_has_exactly_one_owner_of_every_entry() {
    let early = Bounds {
        unsealed: true,
        losses: 1,
        ..RULES
    };
    let narrow = Bounds {
        generations: 1,
        seals: 1,
        holds: 1,
        past_one: false,
        ..early
    };
    holds(early, narrow);
}

#[test]
fn the_walks_find_the_loss_where_given_does_not_block_empty() {
    let lax = Bounds {
        given_blocks_empty: false,
        ..RULES
    };
    assert_eq!(sample(lax, 50_000).0, Some("lost"));
}

#[test]
fn the_walks_find_what_is_given_up_where_holders_drop_instead_of_releasing() {
    let lax = Bounds {
        losses: 1,
        lost_releases: false,
        ..RULES
    };
    assert_eq!(sample(lax, 50_000).0, Some("given up"));
}
