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
mod segments;
mod states;

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::format::record::{MessageInfo, Owner, Record};
use crate::handover::TransferId;
use crate::handover::source::Source;
use crate::handover::target::Target;
pub use crate::index::entry::{Entry, Epoch, Kept, Place};
pub use crate::index::segments::{Free, Segment, Tail, Tomb};
pub use crate::index::states::Replies;
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
    /// Formats of those whose header is just being written anew.
    pub turning: Vec<u32>,
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
    /// Entries whose end is on its way to the disk.
    pub finished: usize,
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
                if let Some(entry) = self.entries.get_mut(id) {
                    entry.set_owner(Owner::Ours(source));
                }
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
            self.weigh(old, false);
            self.weigh(at, true);
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
        self.weigh(entry.home, true);
        if entry.blob {
            self.blob_bytes += entry.body_len();
        }
        *self.arrivals.entry(entry.arrived / 1_000).or_default() += 1;
        self.entries.insert(id, entry);
    }

    /// Counts a message record as alive, or no more.
    fn weigh(&mut self, place: Place, alive: bool) {
        if let Some(segment) = self.segments.get_mut(&place.epoch) {
            let len = u64::from(place.len);
            segment.live = if alive {
                segment.live + len
            } else {
                segment.live.saturating_sub(len)
            };
        }
    }

    fn released(&mut self, id: EntryId, transfer: TransferId, epoch: Epoch) {
        if let Some(entry) = self.entries.get_mut(id)
            && matches!(entry.owner(), Owner::Held(_))
        {
            entry.set_owner(OURS);
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
        entry.set_owner(owner);
        for old in entry.take_noted() {
            self.unpin(Some(old));
        }
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
        self.finished = self.finished.saturating_sub(usize::from(entry.finished));
        let second = entry.arrived / 1_000;
        if let Some(count) = self.arrivals.get_mut(&second) {
            *count -= 1;
            if *count == 0 {
                self.arrivals.remove(&second);
            }
        }
        self.weigh(entry.home, false);
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
