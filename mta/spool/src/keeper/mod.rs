//! The keeper: a thread that has free segments ready and gives space back.
//!
//! Recycles segments in which nothing counts (a new epoch in the header, synced, makes all their records invalid),
//! zero-fills new ones, copies the survivors out of sparse ones, removes body files that nobody needs, writes
//! checkpoints of the index.

mod due;
mod evacuate;
mod pace;
mod segments;

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::checkpoint::{self, Writing};
use crate::committer::RESERVE;
use crate::completion::Completion;
use crate::errors::CommitError;
use crate::index::{Epoch, Free};
use crate::keeper::due::Due;
pub use crate::keeper::segments::{create, write_header};
use crate::shared::{Job, Shared, segment_name};

/// Free segments kept ready.
const SPARE: usize = RESERVE + 2;

/// More free segments than this are removed.
const MOST_FREE: usize = 8;
/// Segments emptied without a gain before packing is given up.
const VAIN: usize = 4;
/// Segments emptied in one round.
const ROUND: usize = 8;

/// See the module.
pub struct Keeper {
    pub(crate) shared: Arc<Shared>,
    /// Segments that could not be emptied: something in them cannot be read.
    pub(crate) stuck: HashSet<Epoch>,
    /// The format for which that was found.
    pub(crate) turned_to: u32,
    due: Due,
}

impl Keeper {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            turned_to: shared.write_format(),
            due: Due::new(&shared, Instant::now()),
            shared,
            stuck: HashSet::new(),
        }
    }

    /// Works until it is closed.
    pub fn run(mut self) {
        while let Some(request) = self.shared.await_orders(self.due.look()) {
            self.attend(request);
            self.checkpoint();
        }
        self.remove_dead_blobs();
        if self.shared.options.checkpoint_segments > 0 && self.shared.read_only().is_none() {
            tell(checkpoint::now(&self.shared, true));
        }
    }

    fn attend(&mut self, request: u64) {
        if self.shared.read_only().is_none() {
            let shared = Arc::clone(&self.shared);
            let _only = shared.keeping();
            self.round();
        }
        self.shared.answer(request);
    }

    /// Writes a checkpoint when one is due. What the committer asks for meanwhile does not wait for its end.
    fn checkpoint(&mut self) {
        // Asked in any case: that it was looked at is what the keeper waits by.
        let due = self.due.is_due(&self.shared, Instant::now());
        if !due || self.shared.read_only().is_some() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let written = Writing::begin(&shared).and_then(|writing| {
            let Some(mut writing) = writing else {
                return Ok(false);
            };
            while writing.step()? {
                if let Some(request) = self.shared.pressing() {
                    self.attend(request);
                }
            }
            writing.finish(false)
        });
        if !matches!(written, Ok(true)) {
            self.due.failed(Instant::now());
        }
        tell(written);
    }

    fn round(&mut self) {
        self.remove_dead_blobs();
        self.recycle_all();
        self.provide();
        self.turn();
        for _ in 0..ROUND {
            if !self.too_many() || !self.empty_sparse(25) {
                break;
            }
        }
        self.remove_surplus();
    }

    /// Body files that nobody needs any more. Where a sync is outstanding they wait for it, but for want of space.
    fn remove_dead_blobs(&self) {
        let dead = std::mem::take(&mut self.shared.index().dead_blobs);
        if dead.is_empty() {
            return;
        }
        let waits = self.shared.is_ahead() && self.shared.pressing().is_none();
        if waits || !self.is_settled() {
            self.shared.index().dead_blobs.extend(dead);
        } else {
            self.shared.remove_blobs(dead);
        }
    }

    /// Sees to it that the volume has what the index has said by now.
    fn is_settled(&self) -> bool {
        if self.shared.is_ahead() {
            let (reply, settled) = Completion::<(), CommitError>::channel();
            self.shared.submit(Job::Settle(reply));
            // Full: something else waits for room; what was written is synced.
            if !matches!(settled.wait(), Ok(()) | Err(CommitError::Full)) {
                return false;
            }
        }
        self.shared.read_only().is_none()
    }

    /// Free segments for what comes: new ones, or on a full volume by packing what lives more densely. Gives up
    /// when that gains nothing.
    fn provide(&mut self) {
        let (mut best, mut vain) = (self.free(), 0);
        while best < SPARE && vain < VAIN {
            let created = create(&self.shared);
            self.shared.set_short(created.is_err());
            match created {
                Ok(free) => self.shared.index().add_free(free),
                Err(error) => {
                    tracing::debug!(%error, "no new segment");
                    // Not for want of room: waiting for some would be in vain.
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::NotFound
                    ) {
                        self.shared.fail("a new segment", &error);
                        return;
                    }
                    if !self.empty_sparse(75) {
                        return;
                    }
                }
            }
            let now = self.free();
            vain = if now > best { 0 } else { vain + 1 };
            best = best.max(now);
        }
    }

    fn free(&self) -> usize {
        self.shared.index().free.len()
    }

    /// More than four segments for each that live messages would fill, and four.
    fn too_many(&self) -> bool {
        let index = self.shared.index();
        let least = index.live_bytes() / u64::from(self.shared.segment_size);
        index.segments.len() as u64 > 4 + 4 * least
    }

    fn recycle_all(&self) {
        // What the index says of the last moments may not be on disk then.
        while self.shared.read_only().is_none() {
            let Some(epoch) = self.shared.index().recyclable() else {
                return;
            };
            // Late outcomes, and mail that took the place of what was here, are on the disk first.
            if !self.is_settled() {
                return;
            }
            if let Err(error) = self.recycle(epoch) {
                return self.shared.fail("recycling of a segment", &error);
            }
        }
    }

    fn recycle(&self, epoch: Epoch) -> io::Result<()> {
        let (number, size, file) = {
            let index = self.shared.index();
            let Some(segment) = index.segments.get(&epoch) else {
                return Ok(());
            };
            (segment.number, segment.size, Arc::clone(&segment.file))
        };
        let format = self.shared.write_format();
        let fresh = write_header(&self.shared, file.as_ref(), format)?;
        let mut index = self.shared.index();
        index.segments.remove(&epoch);
        index.add_free(Free {
            number,
            format,
            size,
            file,
            epoch: fresh,
        });
        Ok(())
    }

    /// Removes the files of segments that are too many, but for those that the checkpoint still has in use.
    fn remove_surplus(&self) {
        let Some(marks) = self.shared.idle_marks() else {
            return;
        };
        loop {
            let surplus = {
                let mut index = self.shared.index();
                let mut free = index.free.iter();
                let unnamed = free.rposition(|free| !marks.named.contains(&free.number));
                unnamed
                    .filter(|_| index.free.len() > MOST_FREE)
                    .map(|at| index.free.remove(at))
            };
            let Some(free) = surplus else { return };
            let path = self.shared.segments_dir().join(segment_name(free.number));
            if let Err(error) = self.shared.io.remove(&path) {
                tracing::warn!(%error, "a free segment could not be removed");
            }
        }
    }

    /// Copies the survivors of the sparsest segment forward and recycles it. False: nothing was gained.
    fn empty_sparse(&mut self, percent: u64) -> bool {
        let sparse = {
            let index = self.shared.index();
            // One that cannot be read through does not keep the others from being emptied.
            let mut but = index.unsayable(self.shared.write_format());
            but.extend(&self.stuck);
            index.sparse(percent, &but)
        };
        let Some(epoch) = sparse else {
            return false;
        };
        if self.evacuate(epoch).is_err() {
            return false;
        }
        self.recycle_all();
        let gone = !self.shared.index().segments.contains_key(&epoch);
        if !gone {
            self.stuck.insert(epoch);
        }
        gone
    }

    /// In [`Shared::keeping`]: copies the survivors of a segment forward and recycles it, if all of them could be copied.
    pub fn empty(&mut self, epoch: Epoch) -> Result<(), CommitError> {
        self.evacuate(epoch)?;
        self.recycle_all();
        Ok(())
    }
}

fn tell(written: io::Result<bool>) {
    match written {
        Ok(written) => tracing::debug!(written, "checkpoint of the index"),
        Err(error) => {
            tracing::warn!(%error, "no checkpoint of the index could be written; the next start reads more");
        }
    }
}

#[cfg(test)]
mod tests;
