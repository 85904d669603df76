//! Opening: rebuilds the index from the segments, throws away what was never acknowledged.
//!
//! From a checkpoint and what was written since, or from all segments ([`crate::checkpoint`] says when). Segments are used
//! one after the other, so they are read one after the other, in the order of their first records.
//! What is decided here:
//! a gap in the last batch of the log is a torn write, never acknowledged: what follows the gap is erased;
//! a gap anywhere else is damage: skipped, counted, told; no file content keeps the spool from opening, except a
//! format version this program does not know.

mod files;
mod identity;
mod since;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::{self, Checkpoint};
use crate::errors::OpenError;
use crate::format::{BLOCK, BLOCK_U32};
use crate::handover::verdicts;
use crate::index::{Epoch, Index, Place, Segment, Tail};
use crate::io::{File, Io};
use crate::recovery::files::SegmentFile;
use crate::recovery::identity::{new_uuid, read_uuid, write_uuid};
use crate::recovery::since::since;
use crate::scan::{Found, Scan, scan_from};
use crate::shared::{Counters, blobs_dir, segments_dir};
use crate::types::{Damage, EntryId, FromCheckpoint, Ownership, Recovery, SpoolUuid};
use crate::window::Window;

/// So many entries that vanished are told one by one.
const MOST_TOLD: usize = 1000;
/// Written at once when the end of a segment is erased.
const ZEROS: u32 = 256 << 10;

/// What a spool directory held.
pub struct Recovered {
    pub uuid: SpoolUuid,
    pub index: Index,
    pub next: Counters,
    pub report: Recovery,
    /// Entries without their body.
    pub lost: Vec<EntryId>,
    /// The checkpoint that was used.
    pub checkpoint: Option<UsedCheckpoint>,
}

/// What has to be known of a checkpoint that was used.
#[derive(Clone, Debug)]
pub struct UsedCheckpoint {
    /// Its last batch.
    pub batch: u64,
    /// The files of the segments that it has in use.
    pub named: Arc<HashSet<u32>>,
}

/// What a checkpoint says that does not fit the log.
#[derive(Debug)]
struct Expected {
    batch: u64,
    entries: Vec<EntryId>,
}

struct Reading<'a> {
    io: &'a dyn Io,
    dir: &'a Path,
    uuid: Option<SpoolUuid>,
    index: Index,
    next: Counters,
    report: Recovery,
    /// The first batch that the checkpoint does not have.
    since: u64,
    used: Option<UsedCheckpoint>,
    /// Uses of segments that the checkpoint has, and the disk has not.
    gone: Vec<Epoch>,
    expected: Option<Expected>,
}

/// How to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust<'a> {
    /// With the checkpoint, if there is one that can be used. Nothing is appended to these segments: they are known to be broken.
    Checkpoint { broken: &'a [u32] },
    /// By reading everything; what is in the log alone counts.
    Log,
}

/// A segment to be read.
#[derive(Clone, Copy, Debug)]
struct Part {
    epoch: Epoch,
    /// Where to begin.
    from: usize,
    /// The batch of its first record.
    first: u64,
}

/// Reads a spool directory. Repairs what a crash left: torn writes, orphans, temporary files.
pub fn recover(io: &dyn Io, dir: &Path, trust: Trust<'_>) -> Result<Recovered, OpenError> {
    let mut reading = Reading {
        io,
        dir,
        uuid: read_uuid(io, dir)?,
        index: Index::default(),
        next: Counters {
            entry: 1,
            epoch: 1,
            batch: 1,
        },
        report: Recovery::default(),
        since: 0,
        used: None,
        gone: Vec::new(),
        expected: None,
    };
    let files = reading.files()?;
    let uuid = reading.uuid.map_or_else(new_uuid, Ok)?;
    write_uuid(io, dir, uuid)?;
    let since = match trust {
        Trust::Checkpoint { .. } => reading.checkpoint(&files, uuid)?,
        Trust::Log => {
            checkpoint::remove(io, dir)?;
            None
        }
    };
    let parts = match since {
        Some(parts) => parts,
        None => reading.parts(files)?,
    };
    reading.report.read = parts.len();
    reading.replay(&parts)?;
    if let Trust::Checkpoint { broken } = trust {
        reading.leave(broken);
    }
    let lost = reading.blobs()?;
    reading.drained()?;
    reading.report.entries = reading.index.entries.len();
    let Reading {
        index,
        next,
        report,
        used,
        ..
    } = reading;
    Ok(Recovered {
        uuid,
        index,
        next,
        report,
        lost,
        checkpoint: used,
    })
}

impl Reading<'_> {
    /// What was said of other spools. A damaged file is told; the operator says it all again.
    fn drained(&mut self) -> io::Result<()> {
        if let Ok(file) = self.io.open(&self.dir.join(verdicts::FILE)) {
            let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(0)];
            let read = file.read_at(&mut bytes, 0)?;
            if let Some(drained) = verdicts::decode(&String::from_utf8_lossy(&bytes[..read])) {
                self.index.drained = drained;
            } else {
                tracing::error!(file = verdicts::FILE, "the drained records cannot be read");
                self.report.damaged += 1;
            }
        }
        Ok(())
    }

    /// The segment files of which something can be had.
    fn files(&mut self) -> Result<Vec<SegmentFile>, OpenError> {
        let dir = segments_dir(self.dir);
        // What is not there now must not come back with a power cut: its epoch may be given to another segment from here on.
        self.io.sync_dir(&dir)?;
        let mut files: Vec<SegmentFile> = Vec::new();
        for (name, _) in self.io.list(&dir)? {
            let path = dir.join(&name);
            match name.strip_suffix(".seg").and_then(|number| number.parse().ok()) {
                Some(number) => {
                    let file = SegmentFile::look(self.io, &path, number)?;
                    self.header(&file, &path)?;
                    // If there is nothing to be had from it, a new segment may take its name.
                    if file.epoch == 0 {
                        continue;
                    }
                    match files.iter_mut().find(|other| other.epoch == file.epoch) {
                        // One of them was removed once and came back with a power cut: the one with records counts.
                        Some(other) if other.first.is_none() => *other = file,
                        Some(_) => {}
                        None => files.push(file),
                    }
                }
                None if Path::new(&name).extension().is_some_and(|e| e == "tmp") => self.io.remove(&path)?,
                None => tracing::warn!(name, "a file that is no segment is left alone"),
            }
        }
        Ok(files)
    }

    fn header(&mut self, file: &SegmentFile, path: &Path) -> Result<(), OpenError> {
        self.report.segments += 1;
        self.next.epoch = self.next.epoch.max(u64::from(file.epoch) + 1);
        let Some(header) = &file.header else {
            self.report.damaged += 1;
            self.report.headless.push(file.number);
            return Ok(());
        };
        if *self.uuid.get_or_insert(header.uuid) != header.uuid {
            let path = path.display();
            return Err(OpenError::Foreign(format!(
                "{path} belongs to the spool {}",
                header.uuid
            )));
        }
        self.next.batch = self.next.batch.max(header.next_batch);
        self.next.entry = self.next.entry.max(header.next_entry);
        Ok(())
    }

    /// Takes the checkpoint, if it can be used: what is left to be read then.
    fn checkpoint(&mut self, files: &[SegmentFile], uuid: SpoolUuid) -> Result<Option<Vec<Part>>, OpenError> {
        let parts = match checkpoint::open(self.io, self.dir, Some(uuid)) {
            Ok(checkpoint) => self.fill(checkpoint, files)?,
            Err(why) => Err(why),
        };
        match parts {
            Ok(parts) => {
                self.report.checkpoint = FromCheckpoint::Used;
                Ok(Some(parts))
            }
            Err(why) => {
                self.report.checkpoint = why;
                self.index = Index::default();
                if why == FromCheckpoint::Stale {
                    self.expected = self.expected(uuid);
                }
                if why != FromCheckpoint::Missing {
                    tracing::warn!(reason = ?why, "the checkpoint of the index cannot be used: everything is read");
                    checkpoint::remove(self.io, self.dir)?;
                }
                Ok(None)
            }
        }
    }

    /// What the checkpoint has, to be compared with what the log has.
    fn expected(&self, uuid: SpoolUuid) -> Option<Expected> {
        let checkpoint = checkpoint::open(self.io, self.dir, Some(uuid)).ok()?;
        let batch = checkpoint.head.tail.batch;
        checkpoint.ids().map(|entries| Expected { batch, entries })
    }

    fn fill(
        &mut self,
        checkpoint: Checkpoint,
        files: &[SegmentFile],
    ) -> Result<Result<Vec<Part>, FromCheckpoint>, OpenError> {
        let Some(since) = since(&checkpoint.head, files)? else {
            return Ok(Err(FromCheckpoint::Stale));
        };
        let segments = &mut self.index.segments;
        for file in since.closed {
            let size = file.size;
            segments.insert(file.epoch, Segment::fresh(file.free(), size));
        }
        self.gone = since.gone;
        let mut parts = Vec::new();
        for (file, part) in since.open {
            let used = u32::try_from(part.from).unwrap_or(u32::MAX);
            segments.insert(part.epoch, Segment::fresh(file.free(), used));
            parts.push(part);
        }
        let head = checkpoint.head.clone();
        if checkpoint.fill(&mut self.index).is_none() {
            return Ok(Err(FromCheckpoint::Damaged));
        }
        for file in since.free.into_iter().filter(|file| file.header.is_some()) {
            self.index.add_free(file.free());
        }
        self.index.active = Some(head.tail.epoch).filter(|epoch| self.index.exists(*epoch));
        for (epoch, place) in head.damage.iter().copied() {
            if self.index.exists(epoch) {
                self.damaged(epoch, place);
            }
        }
        self.since = head.tail.batch + 1;
        self.used = Some(UsedCheckpoint {
            batch: head.tail.batch,
            named: Arc::new(head.numbers()),
        });
        self.next.entry = self.next.entry.max(head.next.entry);
        self.next.epoch = self.next.epoch.max(head.next.epoch);
        self.next.batch = self.next.batch.max(head.next.batch);
        Ok(Ok(parts))
    }

    /// Tells the segments in use from the free ones; the former in the order of their use.
    fn parts(&mut self, files: Vec<SegmentFile>) -> Result<Vec<Part>, OpenError> {
        let mut parts = Vec::new();
        for file in files {
            let epoch = file.epoch;
            let first = match file.first {
                Some(first) => Some(first),
                // The first record is damaged, or there is none at all.
                None => read(&file.file, epoch, BLOCK, 0)?
                    .records
                    .first()
                    .map(|found| found.batch),
            };
            if let Some(first) = first {
                self.index
                    .segments
                    .insert(epoch, Segment::fresh(file.free(), BLOCK_U32));
                parts.push(Part {
                    epoch,
                    from: BLOCK,
                    first,
                });
            } else if file.header.is_some() {
                self.index.add_free(file.free());
            }
        }
        parts.sort_by_key(|part| part.first);
        Ok(parts)
    }

    /// Applies all records in the order they were written.
    fn replay(&mut self, parts: &[Part]) -> Result<(), OpenError> {
        for (n, part) in parts.iter().enumerate() {
            let Some(segment) = self.index.segments.get(&part.epoch) else {
                continue;
            };
            let mut scanned = read(&segment.file, part.epoch, part.from, self.since)?;
            for found in &scanned.records {
                self.next.batch = self.next.batch.max(found.batch.saturating_add(1));
                self.next.entry = self.next.entry.max(found.entry.as_u64().saturating_add(1));
            }
            if n + 1 == parts.len() {
                self.cut_torn_batch(part, &mut scanned)?;
            }
            self.apply(part.epoch, scanned);
        }
        self.vanished();
        self.index.drop_ended();
        let active = self.index.active;
        if self.index.damage.iter().any(|(epoch, _)| Some(*epoch) == active) {
            // Nothing more is written where the device has failed once.
            self.index.active = None;
        }
        self.next.entry = self.next.entry.max(self.index.next_entry);
        self.index.dead_blobs.clear();
        Ok(())
    }

    /// Nothing more is written to these segments.
    fn leave(&mut self, broken: &[u32]) {
        let segments = &self.index.segments;
        self.index.active = self.index.active.filter(|active| {
            segments
                .get(active)
                .is_some_and(|segment| !broken.contains(&segment.number))
        });
    }

    /// Finds what was acknowledged and is not there: messages whose segment is gone, and those that only the checkpoint has where the
    /// log ends before it. Some of them may have been delivered since; nothing is left that says so.
    fn vanished(&mut self) {
        let entries = self.index.entries.iter();
        let gone = entries.filter(|(_, entry)| self.gone.contains(&entry.home.epoch));
        let mut vanished: Vec<EntryId> = gone.map(|(id, _)| id).collect();
        let end = self.index.tail.map_or(0, |tail| tail.batch);
        if let Some(expected) = self.expected.take_if(|expected| end < expected.batch) {
            let ids = expected.entries.into_iter();
            vanished.extend(ids.filter(|id| self.index.entries.get(*id).is_none()));
        }
        for id in vanished.iter().take(MOST_TOLD) {
            tracing::error!(entry = %id, "an entry that was acknowledged is in no segment any more");
        }
        self.report.vanished = vanished;
    }

    fn apply(&mut self, epoch: Epoch, scanned: Scan) {
        let Some(last) = scanned.records.last() else {
            return;
        };
        let used = u32::try_from(scanned.end).unwrap_or(u32::MAX);
        self.index.tail = Some(Tail {
            batch: last.batch,
            epoch,
            last: last.offset,
            used,
        });
        self.index.active = Some(epoch);
        let segment = self.index.segments.get_mut(&epoch);
        let number = segment.map_or(0, |segment| {
            segment.used = used;
            segment.number
        });
        for found in scanned.records {
            self.gap(epoch, number, &found);
            let place = Place {
                epoch,
                offset: found.offset,
                len: found.len,
            };
            self.index.apply(found.entry, found.record, place, false);
        }
    }

    fn gap(&mut self, epoch: Epoch, segment: u32, found: &Found) {
        let Some(from) = found.gap else { return };
        let place = Damage {
            segment,
            from,
            to: found.offset,
        };
        self.damaged(epoch, place);
    }

    fn damaged(&mut self, epoch: Epoch, place: Damage) {
        self.report.damaged += 1;
        self.report.damage.push(place);
        self.index.damage.push((epoch, place));
    }

    /// The last batch of the log, if it is not whole, was never acknowledged: it goes, and its segment is free if it held
    /// nothing else.
    fn cut_torn_batch(&mut self, part: &Part, scanned: &mut Scan) -> io::Result<()> {
        let Some(last) = scanned.records.last() else {
            return Ok(());
        };
        let start = scanned.records.partition_point(|found| found.batch < last.batch);
        let whole = (0..)
            .zip(&scanned.records[start..])
            .take_while(|(n, found)| *n == found.ordinal);
        let keep = start + whole.count();
        if keep == scanned.records.len() && !scanned.torn {
            return Ok(());
        }
        self.report.torn_tail = true;
        scanned.records.truncate(keep);
        let end = scanned.records.last().map(|found| found.offset + found.len);
        let end = end.unwrap_or_else(|| u32::try_from(part.from).unwrap_or(u32::MAX));
        scanned.end = end.next_multiple_of(BLOCK_U32) as usize;
        self.erase(part.epoch, end)?;
        if scanned.end == BLOCK
            && let Some(segment) = self.index.segments.remove(&part.epoch)
        {
            self.index.add_free(segment.into_free(part.epoch));
        }
        Ok(())
    }

    /// Overwrites the rest of a segment, so that no part of a torn batch is ever read later.
    fn erase(&self, epoch: Epoch, from: u32) -> io::Result<()> {
        let Some(segment) = self.index.segments.get(&epoch) else {
            return Ok(());
        };
        let zeros = vec![0; ZEROS.min(segment.size.saturating_sub(from)) as usize];
        for at in (from..segment.size).step_by(ZEROS as usize) {
            let count = zeros.len().min((segment.size - at) as usize);
            segment.file.write_at(&zeros[..count], u64::from(at))?;
        }
        segment.file.sync()
    }

    /// An entry without its body stays, as its envelope says who is to be told; but one that is held for another spool goes,
    /// which still has it whole. Bodies without an entry are orphans. Gives the entries without a body.
    fn blobs(&mut self) -> Result<Vec<EntryId>, OpenError> {
        let dir = blobs_dir(self.dir);
        let mut files: HashMap<EntryId, u64> = HashMap::new();
        for (name, len) in self.io.list(&dir)? {
            let id = name
                .strip_suffix(".blob")
                .and_then(|id| id.parse::<EntryId>().ok());
            match id {
                Some(id) if self.index.entries.get(id).is_some_and(|e| e.blob) => {
                    files.insert(id, len);
                }
                Some(_) => {
                    self.io.remove(&dir.join(&name))?;
                    self.report.orphans += 1;
                }
                None => tracing::warn!(name, "a file that is no body is left alone"),
            }
        }
        let entries = self.index.entries.iter();
        let lost = entries.filter(|(id, e)| e.blob && files.get(id).is_none_or(|len| *len < e.body_len()));
        let lost: Vec<(EntryId, Ownership)> = lost.map(|(id, entry)| (id, entry.ownership())).collect();
        for (id, ownership) in &lost {
            tracing::error!(entry = %id, "the body file of an entry is missing or short");
            if *ownership == Ownership::Held {
                self.index.remove(*id);
            }
            self.report.lost += 1;
        }
        self.index.dead_blobs.clear();
        Ok(lost.into_iter().map(|(id, _)| id).collect())
    }
}

/// The records of a segment from there on, of this batch and later ones.
fn read(file: &Arc<dyn File>, epoch: Epoch, from: usize, batch: u64) -> io::Result<Scan> {
    let mut bytes = Window::new(Arc::clone(file))?;
    let scanned = scan_from(&mut bytes, u64::from(epoch), from, batch);
    bytes.finish().map(|()| scanned)
}

/// The directories of a spool.
pub fn make_dirs(io: &dyn Io, dir: &Path) -> io::Result<PathBuf> {
    let fresh = io.list(dir).is_err();
    for path in [dir.to_path_buf(), segments_dir(dir), blobs_dir(dir)] {
        io.create_dir(&path)?;
    }
    io.sync_dir(dir)?;
    // Its own name lies in the directory above.
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty());
    if let Some(above) = above.filter(|_| fresh) {
        io.sync_dir(above)?;
    }
    Ok(dir.join("lock"))
}
