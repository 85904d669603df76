//! Everything the spool knows, in memory: entries, transfers, segments. No IO.
//!
//! [`Index::apply`] is the only way records change it, at run time after their sync and at open in their order on
//! disk, so that both lead to the same.
//!
//! A segment may be used again when nothing in it counts any more:
//! `live` bytes of messages, `pins` of records about living entries and transfers, and tombs (DONE, FORGOTTEN)
//! whose message or release still exists in another segment.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::compact::{Replies, Responsible, States};
use crate::format::record::{MessageInfo, Owner, Record};
use crate::handover::TransferId;
use crate::handover::source::Source;
use crate::handover::target::Target;
use crate::io::File;
use crate::types::{EntryId, Ownership, RecipientState, RecipientUpdate, SealState, SpoolUuid, Summary};

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub epoch: u64,
    pub offset: u32,
    pub len: u32,
}

/// One entry.
#[derive(Debug)]
pub struct Entry {
    pub home: Place,
    /// Earlier homes in segments that were not used again yet; rarely any.
    #[expect(
        clippy::box_collection,
        reason = "it is rarely there, and 16 octets of each entry less"
    )]
    pub stale: Option<Box<Vec<u64>>>,
    /// Segments with records about it.
    pub aux: SmallVec<[u64; 1]>,
    pub blob: bool,
    /// The oldest format that can say its envelope.
    pub format: u8,
    pub prefix_len: u64,
    pub body_len: u64,
    pub arrived: u64,
    pub expires: u64,
    pub states: States,
    pub owner: Responsible,
    /// It came by a hand-over: its message record alone says "held".
    pub handed: bool,
    /// DONE is on its way to the disk.
    pub finished: bool,
}

/// One transfer at the taking side.
#[derive(Debug)]
pub struct Transfer {
    pub state: Target,
    /// Segments with its release; the last one is pinned.
    pub homes: Vec<u64>,
}

/// Something that is over but may still be found on disk.
#[derive(Clone, Debug)]
pub struct Tomb {
    pub entry: EntryId,
    pub transfer: Option<TransferId>,
    pub homes: Vec<u64>,
}

/// A segment in use.
#[derive(Debug)]
pub struct Segment {
    pub number: u32,
    /// Format of its records.
    pub format: u32,
    pub size: u32,
    pub file: Arc<dyn File>,
    /// Bytes written, header included.
    pub used: u32,
    pub live: u64,
    pub pins: u64,
    pub tombs: Vec<Tomb>,
}

/// A segment to be used next; its header with the new epoch is durable.
#[derive(Debug)]
pub struct Free {
    pub number: u32,
    /// Format that its header says.
    pub format: u32,
    pub size: u32,
    pub file: Arc<dyn File>,
    pub epoch: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Index {
    pub entries: HashMap<EntryId, Box<Entry>>,
    /// Texts of replies.
    pub replies: Replies,
    pub transfers: HashMap<TransferId, Transfer>,
    /// Segments in use by epoch.
    pub segments: BTreeMap<u64, Segment>,
    pub free: Vec<Free>,
    /// The segment being written.
    pub active: Option<u64>,
    pub seal: SealState,
    /// Declared drained: spool and seal.
    pub drained: HashMap<SpoolUuid, u64>,
    /// Lower bound of the ids to come.
    pub next_entry: u64,
    pub blob_bytes: u64,
    /// Entries whose end is on its way to the disk.
    pub finished: usize,
    /// Entries by the second of their arrival.
    arrivals: BTreeMap<u64, u32>,
    /// Body files that nobody needs any more.
    pub dead_blobs: Vec<EntryId>,
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
                self.bury(
                    at.epoch,
                    Tomb {
                        entry: id,
                        transfer: None,
                        homes,
                    },
                );
            }
            Record::Globals { next_entry, seal } => {
                self.next_entry = self.next_entry.max(next_entry);
                self.seal = seal;
            }
            Record::Step(source) => {
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.owner = Owner::Ours(source).into();
                }
                self.pin(id, at.epoch);
            }
            Record::Released(transfer) => self.released(id, transfer, at.epoch),
            Record::Forgotten { transfer, homes } => {
                self.forget(&transfer);
                self.bury(
                    at.epoch,
                    Tomb {
                        entry: id,
                        transfer: Some(transfer),
                        homes,
                    },
                );
            }
            Record::Snapshot { states, owner } => self.snapshot(id, &states, owner, at.epoch, live),
        }
    }

    /// Replaces states of an entry; an entry or position that is not there is ignored.
    pub fn set_states(&mut self, id: EntryId, updates: &[RecipientUpdate]) {
        if let Some(entry) = self.entries.get_mut(&id) {
            for update in updates {
                entry.states.set(update.index, &update.state, &mut self.replies);
            }
        }
    }

    fn message(&mut self, id: EntryId, info: &MessageInfo, at: Place) {
        if let Some(segment) = self.segments.get_mut(&at.epoch) {
            segment.live += u64::from(at.len);
        }
        if let Some(entry) = self.entries.get_mut(&id) {
            let old = std::mem::replace(&mut entry.home, at);
            let stale = entry.stale.get_or_insert_default();
            stale.push(old.epoch);
            stale.retain(|epoch| self.segments.contains_key(epoch));
            if let Some(segment) = self.segments.get_mut(&old.epoch) {
                segment.live = segment.live.saturating_sub(u64::from(old.len));
            }
            return;
        }
        let owner = match info.origin {
            None => Owner::Ours(Source::Owned { generation: 0 }),
            Some(transfer) => {
                let held = Transfer {
                    state: Target::Held { hold: id },
                    homes: Vec::new(),
                };
                match self.transfers.entry(transfer).or_insert(held).state {
                    Target::Released { hold } if hold == id => Owner::Ours(Source::Owned { generation: 0 }),
                    _ => Owner::Held(transfer),
                }
            }
        };
        if info.blob {
            self.blob_bytes += info.body_len;
        }
        let entry = Entry {
            home: at,
            stale: None,
            aux: SmallVec::new(),
            blob: info.blob,
            format: u8::try_from(info.format).unwrap_or(u8::MAX),
            prefix_len: info.prefix_len,
            body_len: info.body_len,
            arrived: info.arrived,
            expires: info.expires,
            states: States::new(&info.states, &mut self.replies),
            owner: owner.into(),
            handed: info.origin.is_some(),
            finished: false,
        };
        *self.arrivals.entry(entry.arrived / 1_000).or_default() += 1;
        self.entries.insert(id, Box::new(entry));
    }

    fn released(&mut self, id: EntryId, transfer: TransferId, epoch: u64) {
        if let Some(entry) = self.entries.get_mut(&id)
            && matches!(entry.owner.owner(), Owner::Held(_))
        {
            entry.owner = Owner::Ours(Source::Owned { generation: 0 }).into();
        }
        self.pin(id, epoch);
        let fresh = Transfer {
            state: Target::Held { hold: id },
            homes: Vec::new(),
        };
        let known = self.transfers.entry(transfer).or_insert(fresh);
        known.state = Target::Released { hold: id };
        let old = known.homes.last().copied();
        known.homes.push(epoch);
        self.unpin(old);
        if let Some(segment) = self.segments.get_mut(&epoch) {
            segment.pins += 1;
        }
    }

    fn snapshot(&mut self, id: EntryId, states: &[RecipientState], owner: Owner, epoch: u64, live: bool) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        if !live && states.len() == entry.states.len() {
            entry.states = States::new(states, &mut self.replies);
        }
        let before = std::mem::replace(&mut entry.owner, owner.into()).owner();
        for old in std::mem::take(&mut entry.aux) {
            self.unpin(Some(old));
        }
        self.pin(id, epoch);
        // A copied message record alone said "held"; the entry has long been released.
        if let (Owner::Held(transfer), Owner::Ours(_)) = (before, owner)
            && self
                .transfers
                .get(&transfer)
                .is_some_and(|t| t.state == Target::Held { hold: id })
        {
            self.transfers.remove(&transfer);
        }
    }

    /// Removes an entry with all it keeps.
    pub fn remove(&mut self, id: EntryId) {
        let Some(entry) = self.entries.remove(&id) else {
            return;
        };
        self.finished = self.finished.saturating_sub(usize::from(entry.finished));
        if let Some(count) = self.arrivals.get_mut(&(entry.arrived / 1_000)) {
            *count -= 1;
            if *count == 0 {
                self.arrivals.remove(&(entry.arrived / 1_000));
            }
        }
        if let Some(segment) = self.segments.get_mut(&entry.home.epoch) {
            segment.live = segment.live.saturating_sub(u64::from(entry.home.len));
        }
        for epoch in entry.aux {
            self.unpin(Some(epoch));
        }
        if entry.blob {
            self.blob_bytes = self.blob_bytes.saturating_sub(entry.body_len);
            self.dead_blobs.push(id);
        }
        if let Owner::Held(transfer) = entry.owner.owner()
            && self
                .transfers
                .get(&transfer)
                .is_some_and(|t| t.state == Target::Held { hold: id })
        {
            self.forget(&transfer);
        }
    }

    fn forget(&mut self, transfer: &TransferId) {
        if let Some(known) = self.transfers.remove(transfer) {
            self.unpin(known.homes.last().copied());
        }
    }

    fn pin(&mut self, id: EntryId, epoch: u64) {
        if let Some(entry) = self.entries.get_mut(&id)
            && !entry.aux.contains(&epoch)
        {
            entry.aux.push(epoch);
            if let Some(segment) = self.segments.get_mut(&epoch) {
                segment.pins += 1;
            }
        }
    }

    fn unpin(&mut self, epoch: Option<u64>) {
        if let Some(segment) = epoch.and_then(|e| self.segments.get_mut(&e)) {
            segment.pins = segment.pins.saturating_sub(1);
        }
    }

    fn bury(&mut self, epoch: u64, tomb: Tomb) {
        if let Some(segment) = self.segments.get_mut(&epoch) {
            segment.tombs.push(tomb);
        }
    }

    /// Entries that are not finished, and the arrival of the oldest, to the second, in milliseconds.
    pub fn census(&self) -> (usize, Option<u64>) {
        let count = self.entries.len() - self.finished.min(self.entries.len());
        let oldest = self.arrivals.keys().next().map(|second| second * 1_000);
        (count, oldest.filter(|_| count > 0))
    }

    /// Segment uses, still on disk, that hold the message of this entry.
    pub fn homes(&self, id: EntryId) -> Vec<u64> {
        let Some(entry) = self.entries.get(&id) else {
            return Vec::new();
        };
        let stale = entry.stale.iter().flat_map(|stale| stale.iter());
        let all = stale.chain([&entry.home.epoch]);
        all.copied()
            .filter(|epoch| self.segments.contains_key(epoch))
            .collect()
    }

    /// Segment uses, still on disk, that hold the release of this transfer.
    pub fn release_homes(&self, transfer: &TransferId) -> Vec<u64> {
        let homes = self
            .transfers
            .get(transfer)
            .map(|t| t.homes.as_slice())
            .unwrap_or_default();
        homes
            .iter()
            .copied()
            .filter(|epoch| self.segments.contains_key(epoch))
            .collect()
    }

    /// Tombs of a segment that have to be kept elsewhere before it is used again.
    pub fn needed_tombs(&self, epoch: u64) -> Vec<Tomb> {
        let tombs = self
            .segments
            .get(&epoch)
            .map(|s| s.tombs.as_slice())
            .unwrap_or_default();
        let kept = |tomb: &Tomb| {
            let homes = tomb.homes.iter().copied();
            let homes = homes.filter(|home| *home != epoch && self.segments.contains_key(home));
            Tomb {
                homes: homes.collect(),
                ..tomb.clone()
            }
        };
        tombs
            .iter()
            .map(kept)
            .filter(|tomb| !tomb.homes.is_empty())
            .collect()
    }

    /// A segment in which nothing counts any more.
    pub fn recyclable(&self) -> Option<u64> {
        let idle = self.segments.iter().filter(|(epoch, segment)| {
            Some(**epoch) != self.active && segment.live == 0 && segment.pins == 0
        });
        idle.map(|(epoch, _)| *epoch)
            .find(|epoch| self.needed_tombs(*epoch).is_empty())
    }

    /// The closed segment that gives most space when its survivors are copied, if at most `percent` of it lives.
    pub fn sparse(&self, percent: u64) -> Option<u64> {
        let closed = self
            .segments
            .iter()
            .filter(|(epoch, _)| Some(**epoch) != self.active);
        let share = |s: &Segment| (s.live + s.pins * 64) * 100 / u64::from(s.size).max(1);
        let (epoch, segment) = closed.min_by_key(|(_, segment)| share(segment))?;
        (share(segment) < percent).then_some(*epoch)
    }

    /// All bytes of messages that live in segments.
    pub fn live_bytes(&self) -> u64 {
        self.segments.values().map(|s| s.live).sum()
    }
}

impl Entry {
    /// Who is responsible.
    pub fn ownership(&self) -> Ownership {
        match self.owner.owner() {
            Owner::Ours(Source::Owned { .. }) => Ownership::Owned,
            Owner::Ours(Source::Offered { .. }) => Ownership::Offered,
            Owner::Ours(Source::Given { .. }) => Ownership::Given,
            Owner::Held(_) => Ownership::Held,
        }
    }

    /// The hand-over state of the giving side.
    pub fn source(&self) -> Option<Source> {
        match self.owner.owner() {
            Owner::Ours(source) => Some(source),
            Owner::Held(_) => None,
        }
    }

    /// What is told of it.
    pub fn summary(&self, id: EntryId) -> Summary {
        let (pending, next_attempt) = self.states.pending();
        Summary {
            id,
            ownership: self.ownership(),
            arrived: self.arrived,
            expires: self.expires,
            size: self.prefix_len + self.body_len,
            recipients: self.states.len(),
            pending,
            next_attempt,
            format: self.format.into(),
        }
    }
}
