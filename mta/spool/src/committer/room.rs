//! Room for a record: in the batch, in the segment, in a new segment.

use std::sync::Arc;

use super::{Active, BATCH_BYTES, BATCH_RECORDS, Committer, LEFT_BY_NOTICES, RESERVE};
use crate::format::{BLOCK, BLOCK_U32};
use crate::index::{Free, Segment};
use crate::keeper;
use crate::plan::globals;

impl Committer {
    /// The record fits in the batch behind what is there, perhaps after a commit and in a new segment. A segment of
    /// another format than the present one is gone on with only where there is no other, and if it can say the record.
    /// `leaves`: so many free segments are not for it; 0 is an outcome or a copy.
    pub(super) fn make_room(&mut self, space: usize, leaves: usize, needs: u32) -> bool {
        // Else mail would fill up what an outcome or a copy has begun of the reserve.
        if leaves > 0 && self.shared.is_down_to(leaves) {
            return false;
        }
        let fits = |active: Option<&Active>, buffered: usize| {
            active.is_some_and(|a| a.used + (buffered + space).next_multiple_of(BLOCK) <= a.size)
        };
        let is = |active: Option<&Active>, format: u32| active.is_some_and(|a| a.format == format);
        let full = self.records.len() >= BATCH_RECORDS || self.buffer.len() + space > BATCH_BYTES;
        let present = is(self.active.as_ref(), self.format);
        if full || !present || !fits(self.active.as_ref(), self.buffer.len()) {
            self.commit();
        }
        if present && fits(self.active.as_ref(), self.buffer.len()) {
            return true;
        }
        let said = self.active.as_ref().is_some_and(|a| a.format >= needs);
        (self.roll(leaves) || (leaves == 0 && said && self.shared.read_only().is_none()))
            && fits(self.active.as_ref(), self.buffer.len())
    }

    /// Goes on in a free segment. Its first record repeats what is not about one entry, so no older segment is
    /// needed for that.
    pub(super) fn roll(&mut self, leaves: usize) -> bool {
        self.settle();
        if self.shared.read_only().is_some() {
            return false;
        }
        let Some(free) = self.next_segment(leaves) else {
            return false;
        };
        let active = Active {
            format: free.format,
            epoch: free.epoch,
            file: Arc::clone(&free.file),
            used: BLOCK,
            size: free.size as usize,
        };
        let mut index = self.shared.index();
        index.placed(free.number);
        index.active = Some(free.epoch);
        index.rolled += 1;
        index.segments.insert(free.epoch, Segment::fresh(free, BLOCK_U32));
        let globals = globals(&self.shared, index.seal);
        drop(index);
        self.active = Some(active);
        self.put(globals);
        self.shared.poke();
        true
    }

    /// Takes a free segment with a header of the present format and an epoch behind all that are in use: segments are used in
    /// that order. Where there is none, one that was prepared before the format changed, in which nothing was written yet,
    /// gets such a header; nobody waits for the index meanwhile.
    fn next_segment(&self, leaves: usize) -> Option<Free> {
        let (mut free, ready) = {
            let mut index = self.shared.index();
            if index.free.len() <= leaves {
                return None;
            }
            let newest = index.segments.last_key_value().map(|(epoch, _)| *epoch);
            let ready = |free: &Free| free.format == self.format && Some(free.epoch) > newest;
            let ready = index.free.iter().position(ready);
            (index.take_free(ready.unwrap_or(0), self.format), ready.is_some())
        };
        if !ready {
            match keeper::write_header(&self.shared, free.file.as_ref(), self.format) {
                Ok(epoch) => (free.epoch, free.format) = (epoch, self.format),
                Err(error) => {
                    self.shared.fail("the header of a segment", &error);
                    return None;
                }
            }
        }
        Some(free)
    }
}

/// Free segments that a record leaves alone. `message`: it is one; `prompt`: another one ends in its place.
pub(super) const fn leaves(message: bool, prompt: bool) -> usize {
    match (message, prompt) {
        (false, _) => 0,
        (true, true) => LEFT_BY_NOTICES,
        (true, false) => RESERVE,
    }
}
