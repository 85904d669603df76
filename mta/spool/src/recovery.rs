//! Opening: reads every segment, rebuilds the index, throws away what was never acknowledged.
//!
//! Reads the whole log; there is no checkpoint yet. What it decides:
//! a gap in the last batch of the log is a torn write, never acknowledged: what follows the gap is erased;
//! a gap anywhere else is damage: skipped, counted, told; no file content keeps the spool from opening, except a
//! format version this program does not know.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::errors::OpenError;
use crate::format::header::{Header, HeaderError};
use crate::format::{BLOCK, BLOCK_U32};
use crate::index::{Free, Index, Place, Segment};
use crate::io::{Io, write_whole};
use crate::scan::{Found, newest_epoch, scan};
use crate::shared::{Counters, blobs_dir, segments_dir};
use crate::types::{Damage, EntryId, Recovery, SpoolUuid};
use crate::window::{Bytes as _, Window};

/// Written at once when the end of a segment is erased.
const ZEROS: u32 = 256 << 10;
const UUID_FILE: &str = "uuid";
const UUID_HEAD: &str = "postroad-spool 1\n";

/// What a spool directory held.
pub struct Recovered {
    pub uuid: SpoolUuid,
    pub index: Index,
    pub next: Counters,
    pub report: Recovery,
}

struct Reading<'a> {
    io: &'a dyn Io,
    dir: &'a Path,
    uuid: Option<SpoolUuid>,
    index: Index,
    records: Vec<(u64, Found)>,
    /// Segments whose last batch is not whole.
    torn: HashSet<u64>,
    next: Counters,
    report: Recovery,
}

/// Reads a spool directory. Repairs what a crash left: torn writes, orphans, temporary files.
pub fn recover(io: &dyn Io, dir: &Path) -> Result<Recovered, OpenError> {
    let mut reading = Reading {
        io,
        dir,
        uuid: read_uuid(io, dir)?,
        index: Index::default(),
        records: Vec::new(),
        torn: HashSet::new(),
        next: Counters {
            entry: 1,
            epoch: 1,
            batch: 1,
        },
        report: Recovery::default(),
    };
    let segments = segments_dir(dir);
    for (name, _) in io.list(&segments)? {
        let path = segments.join(&name);
        match name.strip_suffix(".seg").and_then(|number| number.parse().ok()) {
            Some(number) => reading.segment(&path, number)?,
            None if Path::new(&name).extension().is_some_and(|e| e == "tmp") => io.remove(&path)?,
            None => tracing::warn!(name, "a file that is no segment is left alone"),
        }
    }
    let uuid = if let Some(uuid) = reading.uuid {
        uuid
    } else {
        new_uuid()?
    };
    write_uuid(io, dir, uuid)?;
    reading.replay()?;
    reading.blobs()?;
    reading.report.entries = reading.index.entries.len();
    let Reading {
        index, next, report, ..
    } = reading;
    Ok(Recovered {
        uuid,
        index,
        next,
        report,
    })
}

impl Reading<'_> {
    fn segment(&mut self, path: &Path, number: u32) -> Result<(), OpenError> {
        let file = self.io.open(path)?;
        let mut bytes = Window::new(Arc::clone(&file))?;
        self.report.segments += 1;
        let mut sound = true;
        let (epoch, format) = match Header::decode(bytes.piece(0, BLOCK)) {
            Ok(header) => {
                if *self.uuid.get_or_insert(header.uuid) != header.uuid {
                    let path = path.display();
                    return Err(OpenError::Foreign(format!(
                        "{path} belongs to the spool {}",
                        header.uuid
                    )));
                }
                self.next.batch = self.next.batch.max(header.next_batch);
                self.next.entry = self.next.entry.max(header.next_entry);
                (header.epoch, header.format)
            }
            Err(HeaderError::Version(found)) => {
                return Err(OpenError::Format { found });
            }
            Err(HeaderError::Damaged) => {
                self.report.damaged += 1;
                sound = false;
                // Of no format that is written: nothing is appended, and the header is written anew before the next use.
                (newest_epoch(&mut bytes).unwrap_or(0), 0)
            }
        };
        self.next.epoch = self.next.epoch.max(epoch + 1);
        let scanned = scan(&mut bytes, epoch);
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX) / BLOCK_U32 * BLOCK_U32;
        bytes.finish()?;
        if self.index.segments.contains_key(&epoch) || (scanned.records.is_empty() && !sound) {
            // Nothing to be had from it; a new segment may take its name.
            return Ok(());
        }
        if scanned.records.is_empty() {
            self.index.free.push(Free {
                number,
                format,
                size,
                file,
                epoch,
            });
            return Ok(());
        }
        let used = u32::try_from(scanned.end).unwrap_or(u32::MAX);
        let segment = Segment {
            number,
            format,
            size,
            file,
            used,
            live: 0,
            pins: 0,
            tombs: Vec::new(),
        };
        self.index.segments.insert(epoch, segment);
        if scanned.torn {
            self.torn.insert(epoch);
        }
        self.records
            .extend(scanned.records.into_iter().map(|found| (epoch, found)));
        Ok(())
    }

    /// Applies all records in the order they were written.
    fn replay(&mut self) -> Result<(), OpenError> {
        let mut records = std::mem::take(&mut self.records);
        records.sort_by_key(|(_, found)| (found.batch, found.ordinal));
        for (_, found) in &records {
            self.next.batch = self.next.batch.max(found.batch + 1);
            self.next.entry = self.next.entry.max(found.entry.as_u64().saturating_add(1));
        }
        if let Some((epoch, last)) = records.last() {
            let (epoch, batch) = (*epoch, last.batch);
            self.index.active = Some(epoch);
            let start = records.partition_point(|(_, found)| found.batch < batch);
            let whole = (0..)
                .zip(&records[start..])
                .take_while(|(n, (_, found))| *n == found.ordinal);
            let keep = start + whole.count();
            if keep < records.len() || self.torn.contains(&epoch) {
                self.report.torn_tail = true;
                records.truncate(keep);
                let kept = records.iter().filter(|(of, _)| *of == epoch);
                let end = kept.map(|(_, found)| found.offset + found.len).max();
                self.erase(epoch, end.unwrap_or(BLOCK_U32))?;
            }
        }
        for (epoch, found) in &records {
            let Some(from) = found.gap else { continue };
            self.report.damaged += 1;
            let segment = self.index.segments.get(epoch).map_or(0, |of| of.number);
            self.report.damage.push(Damage {
                segment,
                from,
                to: found.offset,
            });
            if self.index.active == Some(*epoch) {
                // Nothing more is written where the device has failed once.
                self.index.active = None;
            }
        }
        for (epoch, found) in records {
            let place = Place {
                epoch,
                offset: found.offset,
                len: found.len,
            };
            self.index.apply(found.entry, found.record, place, false);
        }
        self.next.entry = self.next.entry.max(self.index.next_entry);
        self.index.dead_blobs.clear();
        Ok(())
    }

    /// Overwrites the rest of the last segment, so that no part of a torn batch is ever read later.
    fn erase(&mut self, epoch: u64, from: u32) -> io::Result<()> {
        let Some(segment) = self.index.segments.get_mut(&epoch) else {
            return Ok(());
        };
        let zeros = vec![0; ZEROS.min(segment.size.saturating_sub(from)) as usize];
        for at in (from..segment.size).step_by(ZEROS as usize) {
            let count = zeros.len().min((segment.size - at) as usize);
            segment.file.write_at(&zeros[..count], u64::from(at))?;
        }
        segment.file.sync()?;
        segment.used = from.next_multiple_of(BLOCK_U32);
        Ok(())
    }

    /// Entries without their body are lost; bodies without an entry are orphans.
    fn blobs(&mut self) -> Result<(), OpenError> {
        let dir = blobs_dir(self.dir);
        let mut files: HashMap<EntryId, u64> = HashMap::new();
        for (name, len) in self.io.list(&dir)? {
            let id = name
                .strip_suffix(".blob")
                .and_then(|id| id.parse::<EntryId>().ok());
            match id {
                Some(id) if self.index.entries.get(&id).is_some_and(|e| e.blob) => {
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
        let lost = entries.filter(|(id, e)| e.blob && files.get(id).is_none_or(|len| *len < e.body_len));
        let lost: Vec<EntryId> = lost.map(|(id, _)| *id).collect();
        for id in lost {
            tracing::error!(entry = %id, "the body file of an entry is missing or short");
            self.index.remove(id);
            self.report.lost += 1;
        }
        self.index.dead_blobs.clear();
        Ok(())
    }
}

fn read_uuid(io: &dyn Io, dir: &Path) -> Result<Option<SpoolUuid>, OpenError> {
    let Ok(file) = io.open(&dir.join(UUID_FILE)) else {
        return Ok(None);
    };
    let mut bytes = vec![0; 256];
    let read = file.read_at(&mut bytes, 0)?;
    let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
    if let Some(uuid) = text.strip_prefix(UUID_HEAD) {
        return Ok(uuid.trim().parse().ok());
    }
    let other = text
        .strip_prefix("postroad-spool ")
        .and_then(|rest| rest.split('\n').next()?.parse().ok());
    match other {
        Some(found) => Err(OpenError::Format { found }),
        None => Ok(None),
    }
}

fn write_uuid(io: &dyn Io, dir: &Path, uuid: SpoolUuid) -> Result<(), OpenError> {
    if read_uuid(io, dir)? == Some(uuid) {
        return Ok(());
    }
    Ok(write_whole(
        io,
        dir,
        UUID_FILE,
        format!("{UUID_HEAD}{uuid}\n").as_bytes(),
    )?)
}

fn new_uuid() -> io::Result<SpoolUuid> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("no random numbers"))?;
    // Version 4, variant 1 (RFC 9562 section 5.4).
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(SpoolUuid(bytes))
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
