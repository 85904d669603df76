//! The keeper: a thread that has free segments ready and gives space back.
//!
//! Recycles segments in which nothing counts (a new epoch in the header, synced, makes all their records invalid),
//! zero-fills new ones, copies the survivors out of sparse ones, removes body files that nobody needs, writes
//! checkpoints of the index.

mod due;
mod segments;

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::checkpoint::{self, Writing};
use crate::committer::RESERVE;
use crate::completion::Completion;
use crate::errors::CommitError;
use crate::format::frame::Frame;
use crate::index::{Epoch, Free};
use crate::io::File;
use crate::keeper::due::Due;
pub use crate::keeper::segments::{create, write_header};
use crate::shared::{Job, Shared, Survivor, segment_name};
use crate::types::EntryId;

/// Free segments kept ready.
const SPARE: usize = RESERVE + 2;

/// More free segments than this are removed.
const MOST_FREE: usize = 8;
/// Copies handed to the committer at once.
const COPY_BYTES: usize = 1 << 20;
/// Segments emptied without a gain before packing is given up.
const VAIN: usize = 4;
/// Entries looked at while the index is locked.
const LOOK: usize = 4096;
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
        self.shared.remove_dead_blobs();
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
        if self.shared.read_only().is_some() || !self.due.is_due(&self.shared, Instant::now()) {
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
        tell(written);
    }

    fn round(&mut self) {
        self.shared.remove_dead_blobs();
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

    /// Free segments for what comes: new ones, or on a full volume by packing what lives more densely. Gives up
    /// when that gains nothing.
    fn provide(&mut self) {
        let (mut best, mut vain) = (self.free(), 0);
        while best < SPARE && vain < VAIN {
            match create(&self.shared) {
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
        loop {
            let Some(epoch) = self.shared.index().recyclable() else {
                return;
            };
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

    fn remove_surplus(&self) {
        loop {
            let surplus = {
                let mut index = self.shared.index();
                if index.free.len() > MOST_FREE {
                    index.free.pop()
                } else {
                    None
                }
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
            index.sparse(percent, &index.unsayable(self.shared.write_format()))
        };
        let Some(epoch) = sparse else {
            return false;
        };
        if self.stuck.contains(&epoch) || self.evacuate(epoch).is_err() {
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

    fn evacuate(&self, epoch: Epoch) -> Result<(), CommitError> {
        let (file, messages, mut survivors) = {
            let (messages, mut survivors) = self.survivors(epoch);
            let index = self.shared.index();
            let Some(segment) = index.segments.get(&epoch) else {
                return Ok(());
            };
            let releases = index
                .transfers
                .iter()
                .filter(|(_, t)| t.homes.last() == Some(&epoch));
            survivors.extend(releases.map(|(transfer, _)| Survivor::Release(*transfer)));
            survivors.extend(index.needed_tombs(epoch).into_iter().map(Survivor::Tomb));
            (Arc::clone(&segment.file), messages, survivors)
        };
        let mut bytes = 0;
        for (id, offset, len) in messages {
            let Some(payload) = read_payload(file.as_ref(), offset, len, epoch) else {
                tracing::error!(entry = %id, "a message is damaged on disk and cannot be copied");
                continue;
            };
            bytes += payload.len();
            survivors.push(Survivor::Message(id, payload));
            if bytes >= COPY_BYTES {
                bytes = 0;
                self.copy(epoch, std::mem::take(&mut survivors))?;
            }
        }
        self.copy(epoch, survivors)?;
        // They count in the segment they were copied to.
        if let Some(segment) = self.shared.index().segments.get_mut(&epoch) {
            segment.tombs.clear();
        }
        Ok(())
    }

    /// Messages in a closed segment with their places, and entries with records there. Looks at some at a time: nothing new
    /// comes into a closed segment, and what is gone meanwhile is seen when its copy is planned.
    fn survivors(&self, epoch: Epoch) -> (Vec<(EntryId, u32, u32)>, Vec<Survivor>) {
        let (mut messages, mut states) = (Vec::new(), Vec::new());
        let mut after = None;
        loop {
            let index = self.shared.index();
            let mut looked = 0;
            for (id, entry) in index.entries.iter_behind(after).take(LOOK) {
                looked += 1;
                after = Some(id);
                if entry.home.epoch == epoch {
                    messages.push((id, entry.home.offset, entry.home.len));
                } else if entry.noted().any(|noted| noted == epoch) {
                    states.push(Survivor::State(id));
                }
            }
            if looked < LOOK {
                return (messages, states);
            }
        }
    }

    fn copy(&self, epoch: Epoch, survivors: Vec<Survivor>) -> Result<(), CommitError> {
        let (reply, done) = Completion::<(), CommitError>::channel();
        self.shared.submit(Job::Evacuate(epoch, survivors, reply));
        done.wait()
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

fn read_payload(file: &dyn File, offset: u32, len: u32, epoch: Epoch) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    file.read_at(&mut bytes, u64::from(offset)).ok()?;
    let (frame, payload) = Frame::read(&bytes)?;
    (frame.epoch == u64::from(epoch)).then(|| payload.to_vec())
}
