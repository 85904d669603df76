//! Writing a checkpoint, a piece at a time, while mail comes in. See the module above.

use std::collections::HashSet;
use std::io;
use std::ops::Bound;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use super::blocks::{BlockWriter, Kind};
use super::content::{Entries, Release, encode_tombs, put_release};
use super::{FILE, Head, TEMPORARY};
use crate::completion::Completion;
use crate::errors::CommitError;
use crate::format::codec::Writer;
use crate::handover::TransferId;
use crate::handover::target::Target;
use crate::index::{Epoch, Index};
use crate::shared::{Counters, Job, Shared};
use crate::types::EntryId;

/// Most entries of one block: the index is locked for so many. Few in tests, so that much happens in between.
const MOST: u64 = if cfg!(test) { 3 } else { 1024 };
/// The same for releases and tombs.
const MOST_OTHERS: usize = if cfg!(test) { 2 } else { 512 };
/// Room that is asked for, for each entry.
const ROOM: u64 = 64;

/// Where the last checkpoint ended.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// The last batch in it.
    pub batch: u64,
    /// Segments begun since the start until then.
    pub rolled: u64,
    /// The files of the segments that it has in use. None of them is removed while it is the last one: a start would take
    /// that for a loss.
    pub named: Arc<HashSet<u32>>,
}

/// A checkpoint being written. Dropping it leaves nothing.
#[derive(Debug)]
pub struct Writing<'a> {
    shared: &'a Shared,
    marks: MutexGuard<'a, Marks>,
    began: Marks,
    blocks: BlockWriter,
    stage: Stage,
    /// How many tombs each segment had; what came later is read from the log.
    tombs: Vec<(Epoch, usize)>,
    count: u64,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Entries(Option<EntryId>),
    Releases(Option<TransferId>),
    /// Of the first segment left, so many were written.
    Tombs(usize),
    Whole,
}

impl<'a> Writing<'a> {
    /// Begins. `None`: nothing was committed since the last one. Errors: no room, or the volume fails.
    pub fn begin(shared: &'a Shared) -> io::Result<Option<Self>> {
        let marks = shared.marks();
        let next = shared.counters();
        let (head, began, tombs, entries) = {
            let index = shared.index();
            let Some(head) = Head::of(shared.uuid, &index, next) else {
                return Ok(None);
            };
            let began = Marks {
                batch: head.tail.batch,
                rolled: index.rolled,
                named: Arc::new(head.numbers()),
            };
            (head, began, counts(&index), index.entries.len())
        };
        if began.batch == marks.batch {
            return Ok(None);
        }
        let needed = shared.keep_free + ROOM * (1024 + entries as u64);
        if shared.io.space(&shared.dir)?.available < needed {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = shared.io.create(&shared.dir.join(TEMPORARY))?;
        let mut writing = Self {
            shared,
            marks,
            began,
            blocks: BlockWriter::new(file, head.tail.batch),
            stage: Stage::Entries(None),
            tombs,
            count: 0,
        };
        writing.blocks.put(Kind::Head, &head.encode())?;
        Ok(Some(writing))
    }

    /// Writes a piece. False: that was the last one, now [`Writing::finish`].
    pub fn step(&mut self) -> io::Result<bool> {
        self.stage = match self.stage {
            Stage::Entries(after) => self.entries(after)?,
            Stage::Releases(after) => self.releases(after)?,
            Stage::Tombs(from) => self.some_tombs(from)?,
            Stage::Whole => Stage::Whole,
        };
        Ok(!matches!(self.stage, Stage::Whole))
    }

    fn entries(&mut self, after: Option<EntryId>) -> io::Result<Stage> {
        let (mut last, mut block) = (after, Entries::default());
        let index = self.shared.index();
        for (id, entry) in index.entries.iter_behind(after) {
            if block.is_full() || block.count() == MOST {
                break;
            }
            block.put(id, entry);
            last = Some(id);
        }
        let (count, payload) = (block.count(), block.encode());
        drop(index);
        if count == 0 {
            return Ok(Stage::Releases(None));
        }
        self.count += count;
        self.blocks.put(Kind::Entries, &payload)?;
        Ok(Stage::Entries(last))
    }

    fn releases(&mut self, after: Option<TransferId>) -> io::Result<Stage> {
        let (mut last, mut payload) = (None, Writer::default());
        {
            let index = self.shared.index();
            let first = after.map_or(Bound::Unbounded, Bound::Excluded);
            for (transfer, known) in index.transfers.range((first, Bound::Unbounded)).take(MOST_OTHERS) {
                last = Some(*transfer);
                // What is held is so by the owner of its entry.
                if let Target::Released { hold } = known.state {
                    let release = Release {
                        transfer: *transfer,
                        hold,
                        homes: known.homes.clone(),
                    };
                    put_release(&mut payload, &release);
                }
            }
        }
        if !payload.0.is_empty() {
            self.blocks.put(Kind::Releases, &payload.0)?;
        }
        Ok(last.map_or(Stage::Tombs(0), |last| Stage::Releases(Some(last))))
    }

    fn some_tombs(&mut self, from: usize) -> io::Result<Stage> {
        let Some((epoch, count)) = self.tombs.last().copied() else {
            return Ok(Stage::Whole);
        };
        let to = count.min(from + MOST_OTHERS);
        let needed: Vec<_> = {
            let index = self.shared.index();
            let tombs = index.segments.get(&epoch).map(|segment| segment.tombs.as_slice());
            // Fewer than there were: they were carried elsewhere, and are read from the log.
            let tombs = tombs.and_then(|tombs| tombs.get(from..to)).unwrap_or_default();
            tombs.iter().filter_map(|tomb| index.needed(tomb)).collect()
        };
        if !needed.is_empty() {
            self.blocks.put(Kind::Tombs, &encode_tombs(epoch, &needed))?;
        }
        if to < count {
            return Ok(Stage::Tombs(to));
        }
        self.tombs.pop();
        Ok(Stage::Tombs(0))
    }

    /// Puts it in the place of the last one, once everything that is in it is in the log as well. False: it is not, and
    /// there is no new checkpoint. `closing`: the committer is gone.
    pub fn finish(mut self, closing: bool) -> io::Result<bool> {
        let mut end = Writer::default();
        end.u64(self.count);
        self.blocks.put(Kind::End, &end.0)?;
        self.blocks.sync()?;
        let settled = if closing {
            !self.shared.left_unwritten()
        } else {
            let (reply, done) = Completion::<(), CommitError>::channel();
            self.shared.submit(Job::Settle(reply));
            done.wait().is_ok()
        };
        if !settled || self.shared.read_only().is_some() {
            return Ok(false);
        }
        let (io, dir) = (&self.shared.io, &self.shared.dir);
        io.rename(&dir.join(TEMPORARY), &dir.join(FILE))?;
        io.sync_dir(dir)?;
        *self.marks = self.began.clone();
        Ok(true)
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if self.marks.batch != self.began.batch {
            let _ = self.shared.io.remove(&self.shared.dir.join(TEMPORARY));
        }
    }
}

/// Writes a checkpoint at once. False: there was no need, or not everything could be settled.
pub fn now(shared: &Shared, closing: bool) -> io::Result<bool> {
    let Some(mut writing) = Writing::begin(shared)? else {
        return Ok(false);
    };
    while writing.step()? {}
    writing.finish(closing)
}

fn counts(index: &Index) -> Vec<(Epoch, usize)> {
    let segments = index.segments.iter();
    let counts = segments.map(|(epoch, segment)| (*epoch, segment.tombs.len()));
    counts.filter(|(_, count)| *count > 0).collect()
}

impl Shared {
    fn counters(&self) -> Counters {
        Counters {
            entry: self.next_entry.load(Ordering::Relaxed),
            epoch: self.next_epoch.load(Ordering::Relaxed),
            batch: self.next_batch.load(Ordering::Relaxed),
        }
    }
}
