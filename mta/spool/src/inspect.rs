//! A spool that nobody runs: what is in it, whether it is whole, and its repair.
//!
//! ```text
//!   Inspector::open ─► lock (nobody writes) ─► the same recovery as a start, on a file system that takes no writes,
//!                      and a second one that reads all of the log, for its damage
//!   repair          ─► copies of the damaged files aside ─► a real start ─► survivors copied out of damaged segments
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::errors::{OpenError, ReadError};
use crate::io::readonly::ReadOnly;
use crate::io::{Disk, Io};
use crate::keeper::Keeper;
use crate::message::{self, Message};
use crate::recovery::{Trust, recover};
use crate::shared::{Shared, segment_name, segments_dir};
use crate::spool::Spool;
use crate::types::{Damage, EntryId, FromCheckpoint, Options, Recovery, SealState, SpoolUuid, Summary};

/// A spool that is looked at. Holds its lock, and changes nothing.
#[derive(Debug)]
pub struct Inspector {
    shared: Shared,
    report: Recovery,
}

impl Inspector {
    /// Opens the spool in `dir`. Errors: there is none, somebody uses it, or its format is not known here.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let io: Arc<dyn Io> = Arc::new(ReadOnly);
        if !segments_dir(dir).is_dir() {
            return Err(OpenError::Io(std::io::Error::new(
                std::io::ErrorKind::NotFound,
                format!("{} holds no spool", dir.display()),
            )));
        }
        let lock = io
            .lock(&dir.join("lock"))?
            .ok_or_else(|| OpenError::Locked(dir.display().to_string()))?;
        let log = recover(io.as_ref(), dir, Trust::Log)?.report;
        let recovered = recover(io.as_ref(), dir, Trust::Checkpoint { broken: &[] })?;
        let shared = Shared::new(
            (io, dir.to_path_buf(), lock),
            recovered.uuid,
            (u32::MAX, 0),
            Options::default(),
            recovered.index,
            recovered.next,
        );
        Ok(Self {
            shared,
            report: Recovery {
                torn_tail: log.torn_tail,
                damaged: log.damaged,
                damage: log.damage,
                ..recovered.report
            },
        })
    }

    /// The identity of the spool.
    pub fn uuid(&self) -> SpoolUuid {
        self.shared.uuid
    }

    /// Whether it is sealed.
    pub fn seal_state(&self) -> SealState {
        self.shared.index().seal
    }

    /// How many segments there are of each format; 0 where the header cannot be read.
    pub fn formats(&self) -> BTreeMap<u32, usize> {
        self.shared.index().formats()
    }

    /// What a start would find, and what reading all of the log found.
    pub fn report(&self) -> &Recovery {
        &self.report
    }

    /// Whether the next start uses the checkpoint of the index. What it has is shown here as well: it knows messages that lie in the
    /// log behind damage.
    pub fn checkpoint(&self) -> FromCheckpoint {
        self.report.checkpoint
    }

    /// All entries, oldest id first.
    pub fn entries(&self) -> Vec<Summary> {
        let index = self.shared.index();
        let entries = index.entries.iter();
        entries.map(|(id, entry)| entry.summary(id)).collect()
    }

    /// Reads an entry.
    pub fn read(&self, entry: EntryId) -> Result<Message, ReadError> {
        message::read(&self.shared, entry)
    }

    /// Reads an entry to its last octet. Errors: it is damaged, or cannot be read.
    pub fn verify(&self, entry: EntryId) -> Result<(), ReadError> {
        let mut message = self.read(entry)?;
        std::io::copy(&mut message.body, &mut std::io::sink())?;
        Ok(())
    }
}

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Copies of the damaged segments, as they were.
    pub copies: Vec<PathBuf>,
    /// Entries that cannot be read any more; they were taken out of the queue.
    pub lost: Vec<EntryId>,
    /// Where nothing could be read: what was written there is lost, and nothing says what it was.
    pub damage: Vec<Damage>,
    /// Entries that the checkpoint had, and that were in no segment.
    pub vanished: Vec<EntryId>,
    /// Entries that are there.
    pub kept: usize,
}

/// Copies damaged segments aside (into `damaged` in the spool's directory), then writes what survived in them anew, and
/// takes out what cannot be read. Writes the newest format that is there already, so that who could open the spool before
/// still can. Nothing is done to a spool that is whole. Errors: as of opening; or a copy cannot be
/// made, and then nothing was changed.
pub fn repair(dir: &Path, options: &Options) -> Result<Repaired, OpenError> {
    let (segments, damage, lost, vanished, blank, format) = {
        let seen = Inspector::open(dir)?;
        let mut segments: Vec<u32> = seen.report.damage.iter().map(|place| place.segment).collect();
        let unreadable = |entry: &Summary| seen.verify(entry.id).is_err();
        let entries = seen.entries().into_iter();
        let lost: Vec<EntryId> = entries.filter(unreadable).map(|entry| entry.id).collect();
        let index = seen.shared.index();
        let homes = lost.iter().filter_map(|id| {
            let home = index.entries.get(*id)?.home.epoch;
            index.segments.get(&home).map(|segment| segment.number)
        });
        segments.extend(homes);
        segments.extend(&seen.report.headless);
        let used = index.numbers();
        let blank = seen
            .report
            .headless
            .iter()
            .filter(|number| !used.contains(number));
        let blank: Vec<u32> = blank.copied().collect();
        segments.sort_unstable();
        segments.dedup();
        let vanished = seen.report.vanished.clone();
        let format = index.newest_format();
        (
            segments,
            seen.report.damage.clone(),
            lost,
            vanished,
            blank,
            format,
        )
    };
    let options = &Options {
        write_format: format,
        ..options.clone()
    };
    let copies = set_aside(dir, &segments)?;
    for number in blank {
        // Nothing can be had from it, and there is a copy.
        std::fs::remove_file(segments_dir(dir).join(segment_name(number)))?;
    }
    let (spool, _) = Spool::open_but(Arc::new(Disk), dir, options, &segments)?;
    for id in &lost {
        if let Err(error) = spool.finish(*id) {
            tracing::warn!(entry = %id, %error, "a lost entry stays known: another spool has a part in it");
        }
    }
    if let Err(error) = spool.flush().wait() {
        return Err(OpenError::Io(std::io::Error::other(error)));
    }
    rewrite(&spool, &segments)?;
    Ok(Repaired {
        copies,
        damage,
        vanished,
        kept: spool.entries().len(),
        lost,
    })
}

fn set_aside(dir: &Path, segments: &[u32]) -> Result<Vec<PathBuf>, OpenError> {
    let aside = dir.join("damaged");
    let mut copies = Vec::new();
    for number in segments {
        std::fs::create_dir_all(&aside)?;
        let name = segment_name(*number);
        let free = (1_u32..).map(|n| aside.join(format!("{name}.{n}")));
        let Some(copy) = free.into_iter().find(|path| !path.exists()) else {
            continue;
        };
        std::fs::copy(segments_dir(dir).join(&name), &copy)?;
        std::fs::File::open(&copy)?.sync_all()?;
        copies.push(copy);
    }
    if !copies.is_empty() {
        std::fs::File::open(&aside)?.sync_all()?;
    }
    Ok(copies)
}

/// Copies what lives out of these segments; they are used anew then.
fn rewrite(spool: &Spool, segments: &[u32]) -> Result<(), OpenError> {
    let shared = spool.shared();
    let mut keeper = Keeper::new(Arc::clone(shared));
    for number in segments {
        let epoch = {
            let index = shared.index();
            let of = index.segments.iter().find(|(_, of)| of.number == *number);
            of.map(|(epoch, _)| *epoch)
                .filter(|epoch| index.active != Some(*epoch))
        };
        let Some(epoch) = epoch else { continue };
        let _only = shared.keeping();
        if keeper.empty(epoch).is_err() {
            return Err(OpenError::Full);
        }
    }
    Ok(())
}
