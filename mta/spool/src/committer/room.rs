//! Room for a record: in the batch, in the segment, in a new segment.

use std::sync::Arc;

use super::{Active, BATCH_BYTES, BATCH_RECORDS, Committer, RESERVE};
use crate::format::{BLOCK, BLOCK_U32};
use crate::index::{Free, Segment};
use crate::keeper;
use crate::plan::globals;

impl Committer {
    /// The record fits in the batch behind what is there, perhaps after a commit and in a new segment. A segment of
    /// another format than the present one is gone on with only where there is no other, and if it can say the record.
    pub(super) fn make_room(&mut self, space: usize, message: bool, needs: u32) -> bool {
        // Else mail would fill up what an outcome or a copy has begun of the reserve.
        if message && self.shared.is_down_to(RESERVE) {
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
        (self.roll(message) || (!message && said && self.shared.read_only().is_none()))
            && fits(self.active.as_ref(), self.buffer.len())
    }

    /// Goes on in a free segment. Its first record repeats what is not about one entry, so no older segment is
    /// needed for that.
    pub(super) fn roll(&mut self, message: bool) -> bool {
        self.settle();
        if self.shared.read_only().is_some() {
            return false;
        }
        let Some(free) = self.next_segment(message) else {
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
    fn next_segment(&self, message: bool) -> Option<Free> {
        let (mut free, ready) = {
            let mut index = self.shared.index();
            if index.free.is_empty() || (message && index.free.len() <= RESERVE) {
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
