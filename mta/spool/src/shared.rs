//! What the threads of a spool share, and the queue between its users and the committer.
//!
//! ```text
//! users ── Job ──► queue ──► committer: one write and one sync for all that wait ──► index, answers
//!                              │ no segment left                ▲
//!                              └─► keeper: recycles, zero-fills, copies survivors (as jobs)
//! ```

mod damaged;
mod gate;
mod jobs;
mod orders;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use self::damaged::Damaged;
use self::gate::Gate;
pub use self::gate::OpenGuard;
use self::jobs::Queue;
pub use self::jobs::{Job, NewMessage, Reply, Survivor};
use self::orders::Orders;
use crate::blob::is_full;
use crate::checkpoint::Marks;
use crate::errors::CommitError;
use crate::handover::verdicts;
use crate::index::Index;
use crate::io::{Io, Lock, write_whole};
use crate::types::{Durability, EntryId, Options, SpoolUuid};

/// See the module.
#[derive(Debug)]
pub struct Shared {
    pub io: Arc<dyn Io>,
    pub dir: PathBuf,
    pub uuid: SpoolUuid,
    pub options: Options,
    pub segment_size: u32,
    pub keep_free: u64,
    pub next_entry: AtomicU64,
    pub next_epoch: AtomicU64,
    pub next_batch: AtomicU64,
    index: Mutex<Index>,
    gate: Mutex<Gate>,
    queue: Mutex<Queue>,
    queue_wake: Condvar,
    orders: Mutex<Orders>,
    orders_wake: Condvar,
    /// [`Durability::Relaxed`] now.
    relaxed: AtomicBool,
    /// The index may have taken in what is not synced yet (relaxed only).
    ahead: AtomicBool,
    /// [`Options::high_water_percent`] now.
    high_water_percent: AtomicU8,
    /// Memory that entries may take.
    most_memory: AtomicU64,
    /// [`Options::write_format`] now.
    write_format: AtomicU32,
    read_only: OnceLock<String>,
    /// Messages stored or held since the start.
    mail: AtomicU64,
    /// Octets committed to segments since the start.
    octets: AtomicU64,
    /// The volume had no room for one segment more when the keeper last tried.
    short: AtomicBool,
    /// Since when the committer has been at its present batch.
    at_work: Mutex<Option<Instant>>,
    /// Where the last checkpoint ended; who writes one holds it.
    marks: Mutex<Marks>,
    /// Held by a keeper that changes segments: a repair has one of its own.
    keeping: Mutex<()>,
    /// The committer ended with something that it could not write.
    unwritten: AtomicBool,
    /// Whether the volume was above the high-water mark when that was last looked at.
    fullness: Mutex<Option<(Instant, bool)>>,
    /// What was found of damage since the start.
    damaged: Mutex<Damaged>,
    _lock: Box<dyn Lock>,
}

/// Where to start counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    pub entry: u64,
    pub epoch: u64,
    pub batch: u64,
}

/// What was seen of the volume holds so long.
const FRESH: Duration = Duration::from_millis(100);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub fn new(
        place: (Arc<dyn Io>, PathBuf, Box<dyn Lock>),
        uuid: SpoolUuid,
        sizes: (u32, u64),
        options: Options,
        index: Index,
        next: Counters,
    ) -> Self {
        let write_format = options.write_format;
        let high_water_percent = options.high_water_percent;
        let relaxed = options.durability == Durability::Relaxed;
        let latched = index.seal.sealed && index.is_empty();
        Self {
            io: place.0,
            dir: place.1,
            _lock: place.2,
            uuid,
            options,
            segment_size: sizes.0,
            keep_free: sizes.1,
            next_entry: AtomicU64::new(next.entry),
            next_epoch: AtomicU64::new(next.epoch),
            next_batch: AtomicU64::new(next.batch),
            index: Mutex::new(index),
            gate: Mutex::new(Gate { open: 0, latched }),
            queue: Mutex::default(),
            queue_wake: Condvar::new(),
            orders: Mutex::default(),
            orders_wake: Condvar::new(),
            relaxed: AtomicBool::new(relaxed),
            ahead: AtomicBool::new(false),
            high_water_percent: AtomicU8::new(high_water_percent),
            most_memory: AtomicU64::new(u64::MAX),
            write_format: AtomicU32::new(write_format),
            read_only: OnceLock::new(),
            at_work: Mutex::default(),
            marks: Mutex::default(),
            keeping: Mutex::default(),
            mail: AtomicU64::new(0),
            octets: AtomicU64::new(0),
            short: AtomicBool::new(false),
            unwritten: AtomicBool::new(false),
            fullness: Mutex::default(),
            damaged: Mutex::default(),
        }
    }

    /// The committer begins a batch, or waits for the next one.
    pub fn set_at_work(&self, at_work: bool) {
        *lock(&self.at_work) = at_work.then(Instant::now);
    }

    /// How long the committer has been at its present batch.
    pub fn at_work(&self) -> Option<Duration> {
        lock(&self.at_work).map(|since| since.elapsed())
    }

    /// A message is written.
    pub fn count_mail(&self) {
        self.mail.fetch_add(1, Ordering::Relaxed);
    }

    /// Octets were committed to a segment.
    pub fn count_octets(&self, octets: usize) {
        self.octets.fetch_add(octets as u64, Ordering::Relaxed);
    }

    /// How many octets were.
    pub fn octets(&self) -> u64 {
        self.octets.load(Ordering::Relaxed)
    }

    /// Whether it had none.
    pub fn set_short(&self, short: bool) {
        self.short.store(short, Ordering::Relaxed);
    }

    /// The free segments are those that new mail leaves alone, and the volume has no room for others.
    pub fn is_down_to(&self, reserve: usize) -> bool {
        self.short.load(Ordering::Relaxed) && self.index().free.len() < reserve
    }

    /// How many messages were.
    pub fn mail(&self) -> u64 {
        self.mail.load(Ordering::Relaxed)
    }

    /// One keeper at a time makes, uses again and removes segments.
    pub fn keeping(&self) -> MutexGuard<'_, ()> {
        lock(&self.keeping)
    }

    pub fn marks(&self) -> MutexGuard<'_, Marks> {
        lock(&self.marks)
    }

    /// The same; `None` while one is written.
    pub fn idle_marks(&self) -> Option<Marks> {
        self.marks.try_lock().ok().map(|marks| marks.clone())
    }

    /// Says that not everything that is in the index is in the log.
    pub fn leave_unwritten(&self) {
        self.unwritten.store(true, Ordering::Relaxed);
    }

    pub fn left_unwritten(&self) -> bool {
        self.unwritten.load(Ordering::Relaxed)
    }

    pub fn index(&self) -> MutexGuard<'_, Index> {
        lock(&self.index)
    }

    /// Largest payload of a record.
    pub fn max_payload(&self) -> usize {
        max_payload(self.segment_size)
    }

    pub fn segments_dir(&self) -> PathBuf {
        segments_dir(&self.dir)
    }

    pub fn blob_path(&self, id: EntryId) -> PathBuf {
        blobs_dir(&self.dir).join(format!("{id}.blob"))
    }

    /// Whether new mail is answered before its sync.
    pub fn is_relaxed(&self) -> bool {
        self.relaxed.load(Ordering::Relaxed)
    }

    pub fn set_relaxed(&self, relaxed: bool) {
        self.relaxed.store(relaxed, Ordering::Relaxed);
    }

    /// Percent of the volume that may be used.
    pub fn high_water_percent(&self) -> u8 {
        self.high_water_percent.load(Ordering::Relaxed)
    }

    pub fn set_high_water_percent(&self, percent: u8) {
        self.high_water_percent.store(percent, Ordering::Relaxed);
    }

    /// Octets of memory that entries may take.
    pub fn most_memory(&self) -> u64 {
        self.most_memory.load(Ordering::Relaxed)
    }

    pub fn set_most_memory(&self, octets: u64) {
        self.most_memory.store(octets, Ordering::Relaxed);
    }

    /// Whether a power cut now would leave less than the index says: until it is synced, nothing is removed or used again
    /// because of that.
    pub fn is_ahead(&self) -> bool {
        self.ahead.load(Ordering::SeqCst)
    }

    pub fn set_ahead(&self, ahead: bool) {
        self.ahead.store(ahead, Ordering::SeqCst);
    }

    /// The format of segments that are begun.
    pub fn write_format(&self) -> u32 {
        self.write_format.load(Ordering::Relaxed)
    }

    pub fn set_write_format(&self, format: u32) {
        self.write_format.store(format, Ordering::Relaxed);
    }

    /// Why nothing is written any more.
    pub fn read_only(&self) -> Option<&str> {
        self.read_only.get().map(String::as_str)
    }

    /// What `look` said, at most [`FRESH`] ago. One caller looks; the others go on with what was seen before.
    pub fn lately_full(&self, look: impl FnOnce() -> bool) -> bool {
        {
            let mut fullness = lock(&self.fullness);
            match *fullness {
                Some((at, full)) if at.elapsed() < FRESH => return full,
                Some((_, full)) => *fullness = Some((Instant::now(), full)),
                None => {}
            }
        }
        let full = look();
        *lock(&self.fullness) = Some((Instant::now(), full));
        full
    }

    /// Makes a drained record durable, before anything is answered because of it. Blocks on the disk.
    pub fn keep_drained(&self, spool: SpoolUuid, seal: u64) -> Result<(), CommitError> {
        let mut drained = self.index().drained.clone();
        let known = drained.entry(spool).or_default();
        if *known >= seal {
            return Ok(());
        }
        *known = seal;
        let text = verdicts::encode(&drained);
        if let Err(error) = write_whole(self.io.as_ref(), &self.dir, verdicts::FILE, text.as_bytes()) {
            if is_full(&error) {
                return Err(CommitError::Full);
            }
            self.fail("write or sync of the drained records", &error);
            return Err(CommitError::ReadOnly(error.to_string()));
        }
        self.index().drained = drained;
        Ok(())
    }

    /// Turns the spool read-only: a write or sync failed, nothing may be believed about it.
    pub fn fail(&self, what: &str, error: &std::io::Error) {
        let reason = format!("{what}: {error}");
        if self.read_only.set(reason.clone()).is_ok() {
            tracing::error!(spool = %self.uuid, reason, "the spool is read-only from now on");
        }
    }

    /// Removes body files; what fails is an orphan at the next start.
    pub fn remove_blobs(&self, dead: Vec<EntryId>) {
        for id in dead {
            if let Err(error) = self.io.remove(&self.blob_path(id)) {
                tracing::warn!(entry = %id, %error, "a body file could not be removed");
            }
        }
    }

    /// The number of the next batch.
    pub fn batch(&self) -> u64 {
        self.next_batch.fetch_add(1, Ordering::Relaxed)
    }
}

/// Largest payload of a record in a segment of this size: it shares the first batch with one small record.
pub const fn max_payload(segment_size: u32) -> usize {
    segment_size as usize - 2 * crate::format::BLOCK
}

pub fn segments_dir(dir: &Path) -> PathBuf {
    dir.join("segments")
}

pub fn blobs_dir(dir: &Path) -> PathBuf {
    dir.join("blobs")
}

pub fn segment_name(number: u32) -> String {
    format!("{number:08}.seg")
}
