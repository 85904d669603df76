//! The keeper: a thread that has free segments ready and gives space back.
//!
//! Recycles segments in which nothing counts (a new epoch in the header, synced, makes all their records invalid),
//! zero-fills new ones, copies the survivors out of sparse ones, removes body files that nobody needs.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::committer::RESERVE;
use crate::completion::Completion;
use crate::errors::CommitError;
use crate::format::BLOCK;
use crate::format::frame::Frame;
use crate::format::header::Header;
use crate::index::{Epoch, Free};
use crate::io::File;
use crate::shared::{Job, Shared, Survivor, segment_name};
use crate::types::EntryId;

/// Free segments kept ready.
const SPARE: usize = RESERVE + 2;

/// A new segment is filled in steps of so many octets, each synced: a commit waits for one step at most.
const FILL_STEP: usize = 256 * BLOCK;
/// Behind a step the device is left to the commits for so many times as long as the step took, while there are segments.
const FILL_YIELD: u32 = 3;
/// At most so long.
const LONGEST_YIELD: Duration = Duration::from_millis(20);
/// More free segments than this are removed.
const MOST_FREE: usize = 8;
/// Copies handed to the committer at once.
const COPY_BYTES: usize = 1 << 20;
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
}

impl Keeper {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            turned_to: shared.write_format(),
            shared,
            stuck: HashSet::new(),
        }
    }

    /// Works until it is closed.
    pub fn run(mut self) {
        while let Some(request) = self.shared.await_orders() {
            if self.shared.read_only().is_none() {
                self.round();
            }
            self.shared.answer(request);
        }
        self.shared.remove_dead_blobs();
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

    /// Copies the survivors of a segment forward and recycles it, if all of them could be copied.
    pub fn empty(&mut self, epoch: Epoch) -> Result<(), CommitError> {
        self.evacuate(epoch)?;
        self.recycle_all();
        Ok(())
    }

    fn evacuate(&self, epoch: Epoch) -> Result<(), CommitError> {
        let (file, messages, mut survivors) = {
            let index = self.shared.index();
            let Some(segment) = index.segments.get(&epoch) else {
                return Ok(());
            };
            let mut messages: Vec<(EntryId, u32, u32)> = Vec::new();
            let mut survivors = Vec::new();
            for (id, entry) in index.entries.iter() {
                if entry.home.epoch == epoch {
                    messages.push((id, entry.home.offset, entry.home.len));
                } else if entry.noted().any(|noted| noted == epoch) {
                    survivors.push(Survivor::State(id));
                }
            }
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

    fn copy(&self, epoch: Epoch, survivors: Vec<Survivor>) -> Result<(), CommitError> {
        let (reply, done) = Completion::<(), CommitError>::channel();
        self.shared.submit(Job::Evacuate(epoch, survivors, reply));
        done.wait()
    }
}

fn read_payload(file: &dyn File, offset: u32, len: u32, epoch: Epoch) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    file.read_at(&mut bytes, u64::from(offset)).ok()?;
    let (frame, payload) = Frame::read(&bytes)?;
    (frame.epoch == u64::from(epoch)).then(|| payload.to_vec())
}

/// Begins a new use of the segment, of this format, durably. Gives its epoch.
pub fn write_header(shared: &Shared, file: &dyn File, format: u32) -> io::Result<Epoch> {
    let header = Header {
        format,
        uuid: shared.uuid,
        epoch: shared.next_epoch.fetch_add(1, Ordering::Relaxed),
        next_batch: shared.next_batch.load(Ordering::Relaxed),
        next_entry: shared.next_entry.load(Ordering::Relaxed),
    };
    file.write_at(&header.encode(), 0)?;
    file.sync()?;
    Epoch::try_from(header.epoch).map_err(io::Error::other)
}

/// Makes a new segment: written with zeros, so that later syncs need no change of metadata.
pub fn create(shared: &Shared) -> io::Result<Free> {
    let size = shared.segment_size;
    let space = shared.io.space(&shared.dir)?;
    if space.available < u64::from(size) + shared.keep_free {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let dir = shared.segments_dir();
    let number = {
        let index = shared.index();
        let used = index
            .segments
            .values()
            .map(|s| s.number)
            .chain(index.free.iter().map(|f| f.number));
        let used: HashSet<u32> = used.collect();
        (1..u32::MAX).find(|n| !used.contains(n)).unwrap_or(u32::MAX)
    };
    let temporary = dir.join("new.tmp");
    let format = shared.write_format();
    let filled = fill(shared, &temporary, format).and_then(|(file, epoch)| {
        shared.io.rename(&temporary, &dir.join(segment_name(number)))?;
        shared.io.sync_dir(&dir)?;
        Ok(Free {
            number,
            format,
            size,
            file,
            epoch,
        })
    });
    if filled.is_err() {
        let _ = shared.io.remove(&temporary);
    }
    filled
}

fn fill(shared: &Shared, path: &Path, format: u32) -> io::Result<(Arc<dyn File>, Epoch)> {
    let file = shared.io.create(path)?;
    let size = shared.segment_size as usize;
    let zeros = vec![0; FILL_STEP.min(size)];
    let mut at = 0;
    while at < size {
        let n = zeros.len().min(size - at);
        file.write_at(&zeros[..n], at as u64)?;
        // A sync of the whole segment at the end would hold up the commits of that moment.
        let began = Instant::now();
        file.sync()?;
        at += n;
        if shared.index().free.len() > RESERVE {
            shared.pause_keeper((began.elapsed() * FILL_YIELD).min(LONGEST_YIELD));
        }
    }
    let epoch = write_header(shared, file.as_ref(), format)?;
    Ok((file, epoch))
}
