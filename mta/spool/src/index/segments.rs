//! What the index knows of segments: which counts how much, which may be used again.

use std::collections::HashSet;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::handover::TransferId;
use crate::index::{Epoch, Index};
use crate::io::File;
use crate::types::EntryId;

/// Something that is over but may still be found on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tomb {
    pub entry: EntryId,
    pub transfer: Option<Box<TransferId>>,
    /// Other segments in which it may be found.
    pub homes: SmallVec<[Epoch; 2]>,
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
    /// Messages alive here that only a newer format than the oldest can say.
    pub newer: u32,
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
    pub epoch: Epoch,
}

/// A segment that was taken out of the free ones: to be used, or to get a header of another format. That is written while
/// the index is not locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub number: u32,
    /// The newest format that its header may say.
    pub format: u32,
    pub size: u32,
}

/// The end of what is committed: nothing behind it was in the index when this was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The last batch,
    pub batch: u64,
    /// the segment use that holds it,
    pub epoch: Epoch,
    /// its last record there,
    pub last: u32,
    /// and the block boundary behind it.
    pub used: u32,
}

impl Segment {
    /// A segment of which nothing was written or read yet.
    pub fn fresh(free: Free, used: u32) -> Self {
        Self {
            number: free.number,
            format: free.format,
            size: free.size,
            file: free.file,
            used,
            live: 0,
            newer: 0,
            pins: 0,
            tombs: Vec::new(),
        }
    }

    /// It holds nothing after all.
    pub fn into_free(self, epoch: Epoch) -> Free {
        Free {
            number: self.number,
            format: self.format,
            size: self.size,
            file: self.file,
            epoch,
        }
    }
}

impl Index {
    /// A segment that may be used. They are used in order of their epochs: recovery relies on it.
    pub fn add_free(&mut self, free: Free) {
        let at = self.free.partition_point(|other| other.epoch < free.epoch);
        self.free.insert(at, free);
    }

    /// Takes a free segment out, whose header may be written anew with this format. It is known of until [`Index::placed`].
    pub fn take_free(&mut self, at: usize, format: u32) -> Free {
        let free = self.free.remove(at);
        self.taken.push(Taken {
            number: free.number,
            format: free.format.max(format),
            size: free.size,
        });
        free
    }

    /// The segment that was taken is free again, or in use.
    pub fn placed(&mut self, number: u32) {
        self.taken.retain(|taken| taken.number != number);
    }

    /// Numbers of all segments on disk.
    pub fn numbers(&self) -> HashSet<u32> {
        let used = self.segments.values().map(|segment| segment.number);
        let free = self.free.iter().map(|free| free.number);
        let taken = self.taken.iter().map(|taken| taken.number);
        used.chain(free).chain(taken).collect()
    }

    /// This use of a segment is still on disk.
    pub fn exists(&self, epoch: Epoch) -> bool {
        self.segments.contains_key(&epoch)
    }

    pub(super) fn bury(&mut self, epoch: Epoch, mut tomb: Tomb) {
        // In the same segment they come and go together.
        tomb.homes.retain(|home| *home != epoch && self.exists(*home));
        if tomb.homes.is_empty() {
            return;
        }
        if let Some(segment) = self.segments.get_mut(&epoch) {
            segment.tombs.push(tomb);
        }
    }

    /// What is left of a tomb: the homes that exist.
    pub fn needed(&self, tomb: &Tomb) -> Option<Tomb> {
        let homes: SmallVec<_> = tomb
            .homes
            .iter()
            .copied()
            .filter(|home| self.exists(*home))
            .collect();
        (!homes.is_empty()).then(|| Tomb {
            homes,
            ..tomb.clone()
        })
    }

    /// Tombs of a segment that have to be kept elsewhere before it is used again.
    pub fn needed_tombs(&self, epoch: Epoch) -> Vec<Tomb> {
        let tombs = self.segments.get(&epoch).into_iter().flat_map(|s| &s.tombs);
        tombs.filter_map(|tomb| self.needed(tomb)).collect()
    }

    fn needs_tombs(&self, segment: &Segment) -> bool {
        let mut homes = segment.tombs.iter().flat_map(|tomb| &tomb.homes);
        homes.any(|home| self.exists(*home))
    }

    /// A segment in which nothing counts any more. The last one with a batch counts in any case: as long as nothing is on
    /// disk in the one behind it, the seal is known from there alone.
    pub fn recyclable(&self) -> Option<Epoch> {
        let tail = self.tail.map(|tail| tail.epoch);
        let mut idle = self.segments.iter().filter(|(epoch, segment)| {
            let open = Some(**epoch) == self.active || Some(**epoch) == tail;
            !open && segment.live == 0 && segment.pins == 0
        });
        idle.find(|(_, segment)| !self.needs_tombs(segment))
            .map(|(epoch, _)| *epoch)
    }

    /// The closed segment that gives most space when its survivors are copied, if at most `percent` of it lives and it is
    /// none of these.
    pub fn sparse(&self, percent: u64, but: &HashSet<Epoch>) -> Option<Epoch> {
        let closed = self
            .segments
            .iter()
            .filter(|(epoch, _)| Some(**epoch) != self.active && !but.contains(epoch));
        let share = |s: &Segment| (s.live + s.pins * 64) * 100 / u64::from(s.size).max(1);
        let (epoch, segment) = closed.min_by_key(|(_, segment)| share(segment))?;
        (share(segment) < percent).then_some(*epoch)
    }

    /// All bytes of messages that live in segments.
    pub fn live_bytes(&self) -> u64 {
        self.segments.values().map(|s| s.live).sum()
    }

    pub(super) fn pin(&mut self, id: EntryId, epoch: Epoch) {
        if self.entries.get_mut(id).is_some_and(|entry| entry.note(epoch))
            && let Some(segment) = self.segments.get_mut(&epoch)
        {
            segment.pins += 1;
        }
    }

    pub(super) fn unpin(&mut self, epoch: Option<Epoch>) {
        if let Some(segment) = epoch.and_then(|e| self.segments.get_mut(&e)) {
            segment.pins = segment.pins.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::format::BLOCK_U32;
    use crate::io::Io as _;
    use crate::io::memory::Memory;

    fn segment(epoch: Epoch) -> Segment {
        let file = Memory::new(1 << 20).create(Path::new("f")).unwrap();
        let free = Free {
            number: epoch,
            format: 1,
            size: 8 * BLOCK_U32,
            file,
            epoch,
        };
        Segment::fresh(free, 2 * BLOCK_U32)
    }

    fn tail(epoch: Epoch) -> Tail {
        Tail {
            batch: 7,
            epoch,
            last: BLOCK_U32,
            used: 2 * BLOCK_U32,
        }
    }

    #[test]
    fn the_last_segment_with_a_batch_stays_until_there_is_one_behind_it() {
        let mut index = Index::default();
        for epoch in [1, 2] {
            index.segments.insert(epoch, segment(epoch));
        }
        index.active = Some(2);
        index.tail = Some(tail(1));
        assert_eq!(index.recyclable(), None, "the seal is known from there");
        index.tail = Some(tail(2));
        assert_eq!(index.recyclable(), Some(1));
    }

    #[test]
    fn a_tomb_counts_only_while_another_segment_holds_what_is_dead() {
        let mut index = Index::default();
        for epoch in [1, 2, 3] {
            index.segments.insert(epoch, segment(epoch));
        }
        (index.active, index.tail) = (Some(3), Some(tail(3)));
        let dead = |homes: &[Epoch]| Tomb {
            entry: EntryId::from_u64(1),
            transfer: None,
            homes: homes.iter().copied().collect(),
        };
        index.bury(2, dead(&[2]));
        assert!(index.needed_tombs(2).is_empty(), "they go together");
        index.bury(2, dead(&[1, 2, 9]));
        assert_eq!(index.needed_tombs(2), [dead(&[1])]);
        assert_eq!(index.recyclable(), Some(1));
        index.segments.get_mut(&1).unwrap().live = 9;
        assert_eq!(index.recyclable(), None);
        index.segments.remove(&1);
        assert_eq!(index.recyclable(), Some(2));
    }
}
