//! Everything the spool knows, in memory: entries, transfers, segments. No IO.
//!
//! [`Index::apply`] is the only way records change it, at run time after their sync and at open in their order on
//! disk, so that both lead to the same. A record that is applied again changes nothing: a checkpoint is written while
//! records come in, and those are read again.
//!
//! A segment may be used again when nothing in it counts any more:
//! `live` bytes of messages, `pins` of records about living entries and transfers, and tombs (DONE, FORGOTTEN)
//! whose message or release still exists in another segment.

mod entry;
mod replies;
mod segments;
mod states;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::format::OLDEST;
use crate::format::record::{MessageInfo, Owner, Record};
use crate::handover::TransferId;
use crate::handover::source::Source;
use crate::handover::target::Target;
pub use crate::index::entry::{Entry, Epoch, Kept, Place};
pub use crate::index::replies::Replies;
pub use crate::index::segments::{Free, Segment, Tail, Taken, Tomb};
use crate::table::Table;
use crate::types::{Damage, EntryId, RecipientState, RecipientUpdate, SealState, SpoolUuid};

/// One transfer at the taking side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub state: Target,
    /// Segments with its release; the last one is pinned.
    pub homes: Vec<Epoch>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Index {
    pub entries: Table<Entry>,
    /// Texts of replies.
    pub replies: Replies,
    pub transfers: BTreeMap<TransferId, Transfer>,
    /// Segments in use by epoch.
    pub segments: BTreeMap<Epoch, Segment>,
    /// In order of their epochs.
    pub free: Vec<Free>,
    /// Those that are neither free nor in use for a moment.
    pub taken: Vec<Taken>,
    /// The segment being written.
    pub active: Option<Epoch>,
    /// The last batch that was applied.
    pub tail: Option<Tail>,
    /// How many segments were begun since the start.
    pub rolled: u64,
    pub seal: SealState,
    /// Declared drained: spool and seal. Kept in a file of its own.
    pub drained: HashMap<SpoolUuid, u64>,
    /// Declared lost, since the start.
    pub lost: HashSet<SpoolUuid>,
    /// Lower bound of the ids to come.
    pub next_entry: u64,
    pub blob_bytes: u64,
    /// Recipients of all entries.
    recipients: usize,
    /// Entries whose end is on its way to the disk.
    pub finished: usize,
    /// Entries that are offered or given: few among very many.
    standing: BTreeSet<EntryId>,
    /// Entries by the second of their arrival.
    arrivals: BTreeMap<u64, u32>,
    /// Body files that nobody needs any more.
    pub dead_blobs: Vec<EntryId>,
    /// Places that could not be read, with the use of the segment.
    pub damage: Vec<(Epoch, Damage)>,
}

impl Index {
    /// Takes a record into account. `live`: states were changed already when they were recorded.
    pub fn apply(&mut self, id: EntryId, record: Record, at: Place, live: bool) {
        match record {
            Record::Message(info) => self.message(id, &info, at),
            Record::States(updates) => {
                if !live {
                    self.set_states(id, &updates);
                }
                self.pin(id, at.epoch);
            }
            Record::Done { homes } => {
                self.remove(id);
                self.bury(at.epoch, tomb(id, None, &homes));
            }
            Record::Globals { next_entry, seal } => {
                self.next_entry = self.next_entry.max(next_entry);
                self.seal = seal;
            }
            Record::Step(source) => {
                self.own(id, Owner::Ours(source));
                self.pin(id, at.epoch);
            }
            Record::Released(transfer) => self.released(id, transfer, at.epoch),
            Record::Forgotten { transfer, homes } => {
                self.forget(&transfer);
                self.bury(at.epoch, tomb(id, Some(transfer), &homes));
            }
            Record::Snapshot { states, owner } => self.snapshot(id, &states, owner, at.epoch, live),
        }
    }

    /// Who is responsible for an entry from now on; one that is not there is ignored.
    fn own(&mut self, id: EntryId, owner: Owner) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        entry.set_owner(owner);
        if stands(owner) {
            self.standing.insert(id);
        } else {
            self.standing.remove(&id);
        }
    }

    /// Entries that are offered or given, in order of their ids.
    pub fn standing(&self) -> impl Iterator<Item = &Entry> {
        self.standing.iter().filter_map(|id| self.entries.get(*id))
    }

    /// Replaces states of an entry; an entry or position that is not there is ignored.
    pub fn set_states(&mut self, id: EntryId, updates: &[RecipientUpdate]) {
        if let Some(entry) = self.entries.get_mut(id) {
            for update in updates {
                entry.states.set(update.index, &update.state, &mut self.replies);
            }
        }
    }

    fn message(&mut self, id: EntryId, info: &MessageInfo, at: Place) {
        if let Some(entry) = self.entries.get_mut(id) {
            let old = entry.home;
            if old == at {
                return;
            }
            let segments = &self.segments;
            entry.settle(at, |epoch| segments.contains_key(&epoch));
            let format = entry.format;
            self.weigh(old, format, false);
            self.weigh(at, format, true);
            return;
        }
        let owner = match info.origin {
            None => OURS,
            Some(transfer) => {
                let held = Transfer {
                    state: Target::Held { hold: id },
                    homes: Vec::new(),
                };
                match self.transfers.entry(transfer).or_insert(held).state {
                    Target::Released { hold } if hold == id => OURS,
                    _ => Owner::Held(transfer),
                }
            }
        };
        let entry = Entry::new(info, at, owner, &mut self.replies);
        self.add(id, entry);
    }

    /// Puts an entry in with all that is counted of it, but for its pins.
    pub fn add(&mut self, id: EntryId, entry: Entry) {
        self.weigh(entry.home, entry.format, true);
        if entry.blob {
            self.blob_bytes += entry.body_len();
        }
        self.recipients += entry.states.len();
        *self.arrivals.entry(entry.arrived / 1_000).or_default() += 1;
        if stands(entry.owner()) {
            self.standing.insert(id);
        }
        self.entries.insert(id, entry);
    }

    /// Counts a message record as alive, or no more.
    fn weigh(&mut self, place: Place, format: u8, alive: bool) {
        if let Some(segment) = self.segments.get_mut(&place.epoch) {
            let (len, newer) = (u64::from(place.len), u32::from(u32::from(format) > OLDEST));
            (segment.live, segment.newer) = if alive {
                (segment.live + len, segment.newer + newer)
            } else {
                (
                    segment.live.saturating_sub(len),
                    segment.newer.saturating_sub(newer),
                )
            };
        }
    }

    fn released(&mut self, id: EntryId, transfer: TransferId, epoch: Epoch) {
        let owner = self.entries.get(id).map(Entry::owner);
        if matches!(owner, Some(Owner::Held(_))) {
            self.own(id, OURS);
        }
        self.pin(id, epoch);
        let state = Target::Released { hold: id };
        let fresh = Transfer {
            state,
            homes: Vec::new(),
        };
        let known = self.transfers.entry(transfer).or_insert(fresh);
        known.state = state;
        let old = known.homes.last().copied();
        if old == Some(epoch) {
            return;
        }
        known.homes.retain(|home| *home != epoch);
        known.homes.push(epoch);
        self.unpin(old);
        if let Some(segment) = self.segments.get_mut(&epoch) {
            segment.pins += 1;
        }
    }

    fn snapshot(&mut self, id: EntryId, states: &[RecipientState], owner: Owner, epoch: Epoch, live: bool) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        if !live && states.len() == entry.states.len() {
            entry.states.replace(states, &mut self.replies);
        }
        let before = entry.owner();
        for old in entry.take_noted() {
            self.unpin(Some(old));
        }
        self.own(id, owner);
        self.pin(id, epoch);
        // A copied message record alone said "held"; the entry has long been released.
        if let (Owner::Held(transfer), Owner::Ours(_)) = (before, owner)
            && self.is_held(&transfer, id)
        {
            self.transfers.remove(&transfer);
        }
    }

    /// Removes an entry with all it keeps.
    pub fn remove(&mut self, id: EntryId) {
        let Some(entry) = self.entries.remove(id) else {
            return;
        };
        self.standing.remove(&id);
        self.finished = self.finished.saturating_sub(usize::from(entry.finished));
        self.recipients = self.recipients.saturating_sub(entry.states.len());
        let second = entry.arrived / 1_000;
        if let Some(count) = self.arrivals.get_mut(&second) {
            *count -= 1;
            if *count == 0 {
                self.arrivals.remove(&second);
            }
        }
        self.weigh(entry.home, entry.format, false);
        for epoch in entry.noted() {
            self.unpin(Some(epoch));
        }
        if entry.blob {
            self.blob_bytes = self.blob_bytes.saturating_sub(entry.body_len());
            self.dead_blobs.push(id);
        }
        if let Owner::Held(transfer) = entry.owner()
            && self.is_held(&transfer, id)
        {
            self.forget(&transfer);
        }
    }

    fn is_held(&self, transfer: &TransferId, hold: EntryId) -> bool {
        let known = self.transfers.get(transfer);
        known.is_some_and(|known| known.state == Target::Held { hold })
    }

    /// Removes a transfer with what it keeps.
    pub fn forget(&mut self, transfer: &TransferId) {
        if let Some(known) = self.transfers.remove(transfer) {
            self.unpin(known.homes.last().copied());
        }
    }

    /// After a checkpoint and all records since: what has its message, or its release, in a use of a segment that is no more
    /// has ended.
    pub fn drop_ended(&mut self) {
        let entries = self
            .entries
            .iter()
            .filter(|(_, entry)| !self.exists(entry.home.epoch));
        let entries: Vec<EntryId> = entries.map(|(id, _)| id).collect();
        for id in entries {
            self.remove(id);
        }
        let gone = |known: &Transfer| known.homes.last().is_some_and(|last| !self.exists(*last));
        let releases = self.transfers.iter().filter(|(_, known)| gone(known));
        let releases: Vec<TransferId> = releases.map(|(transfer, _)| *transfer).collect();
        for transfer in releases {
            self.forget(&transfer);
        }
    }

    /// Entries that are not finished, and the arrival of the oldest, to the second, in milliseconds.
    pub fn census(&self) -> (usize, Option<u64>) {
        let count = self.entries.len() - self.finished.min(self.entries.len());
        let oldest = self.arrivals.keys().next().map(|second| second * 1_000);
        (count, oldest.filter(|_| count > 0))
    }

    /// About the octets of memory that all entries take, here and in a queue over it.
    pub fn memory(&self) -> u64 {
        (self.entries.len() * ENTRY + self.recipients * RECIPIENT) as u64
    }

    /// Nothing is here, and no source will ask about anything: a lost one does not.
    pub fn is_empty(&self) -> bool {
        let answered = |(transfer, known): (&TransferId, &Transfer)| {
            matches!(known.state, Target::Released { .. }) && self.lost.contains(&transfer.source)
        };
        self.entries.is_empty() && self.transfers.iter().all(answered)
    }

    /// Segment uses, still on disk, that hold the message of this entry; as records have them.
    pub fn homes(&self, id: EntryId) -> Vec<u64> {
        let Some(entry) = self.entries.get(id) else {
            return Vec::new();
        };
        let all = entry.stale().chain([entry.home.epoch]);
        all.filter(|epoch| self.exists(*epoch)).map(u64::from).collect()
    }

    /// Segment uses, still on disk, that hold the release of this transfer; as records have them.
    pub fn release_homes(&self, transfer: &TransferId) -> Vec<u64> {
        let known = self.transfers.get(transfer);
        let homes = known.into_iter().flat_map(|known| known.homes.iter().copied());
        homes.filter(|epoch| self.exists(*epoch)).map(u64::from).collect()
    }
}

/// Octets of an entry, here and in the queue, without its recipients; on the safe side.
const ENTRY: usize = 256;
/// The same of a recipient.
const RECIPIENT: usize = 64;

const fn stands(owner: Owner) -> bool {
    matches!(owner, Owner::Ours(Source::Offered { .. } | Source::Given { .. }))
}

fn tomb(entry: EntryId, transfer: Option<TransferId>, homes: &[u64]) -> Tomb {
    Tomb {
        entry,
        transfer: transfer.map(Box::new),
        homes: homes
            .iter()
            .filter_map(|home| Epoch::try_from(*home).ok())
            .collect(),
    }
}

const OURS: Owner = Owner::Ours(Source::Owned { generation: 0 });

#[cfg(test)]
mod tests {
    use super::*;

    const SPOOL: SpoolUuid = SpoolUuid([7; 16]);

    /// The numbers of those that stand, each of which is in step with its entry.
    fn standing(index: &Index) -> Vec<u64> {
        let scanned = index.entries.iter().filter(|(_, entry)| stands(entry.owner()));
        let scanned: Vec<EntryId> = scanned.map(|(id, _)| id).collect();
        assert_eq!(index.standing.iter().copied().collect::<Vec<_>>(), scanned);
        assert_eq!(index.standing().count(), scanned.len());
        scanned.into_iter().map(EntryId::as_u64).collect()
    }

    #[test]
    fn what_is_offered_or_given_is_known_without_a_look_at_all() {
        let mut index = Index::default();
        let id = EntryId::from_u64;
        let at = |offset| Place {
            epoch: 1,
            offset,
            len: 10,
        };
        let info = MessageInfo {
            format: 1,
            blob: false,
            prefix_len: 0,
            body_len: 0,
            arrived: 0,
            expires: 0,
            states: vec![],
            origin: None,
        };
        for number in 0..4 {
            let record = Record::Message(info.clone());
            index.apply(id(number), record, at(0), true);
        }
        assert!(standing(&index).is_empty());
        let transfer = TransferId {
            source: SPOOL,
            seal: 1,
            entry: id(0),
            generation: 0,
        };
        let offered = Source::Offered {
            transfer,
            target: SPOOL,
        };
        let given = Source::Given {
            transfer,
            target: SPOOL,
            hold: id(0),
        };
        for (number, source) in [(0, offered), (1, offered), (2, offered), (1, given), (9, given)] {
            index.apply(id(number), Record::Step(source), at(1), true);
        }
        assert_eq!(standing(&index), [0, 1, 2]);
        index.apply(id(0), Record::Step(Source::Owned { generation: 2 }), at(2), true);
        index.apply(id(1), Record::Done { homes: vec![] }, at(3), true);
        assert_eq!(standing(&index), [2]);
        let snapshot = |owner| Record::Snapshot {
            states: vec![],
            owner,
        };
        index.apply(id(3), snapshot(Owner::Ours(given)), at(4), false);
        index.apply(id(2), snapshot(OURS), at(5), false);
        assert_eq!(standing(&index), [3]);
        let kept = index.entries.remove(id(3)).unwrap();
        let mut loaded = Index::default();
        loaded.add(id(3), kept);
        assert_eq!(standing(&loaded), [3], "as a checkpoint has it");
    }
}
