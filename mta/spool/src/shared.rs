//! What the threads of a spool share, and the queue between its users and the committer.
//!
//! ```text
//! users ── Job ──► queue ──► committer: one write and one sync for all that wait ──► index, answers
//!                              │ no segment left                ▲
//!                              └─► keeper: recycles, zero-fills, copies survivors (as jobs)
//! ```

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::blob::{BlobFile, is_full};
use crate::checkpoint::Marks;
use crate::declared::{Drained, Orphan, Settled};
use crate::errors::{CommitError, HandoverError};
use crate::format::record::Record;
use crate::handover::verdicts;
use crate::handover::{ToSource, ToTarget, TransferId};
use crate::index::{Epoch, Index, Tomb};
use crate::io::{Io, Lock, write_whole};
use crate::spool::{Answered, Requested};
use crate::types::{Durability, EntryId, Options, RecipientUpdate, SealState, SpoolUuid};

/// Where the answer to a caller goes.
pub type Reply<T, E = CommitError> = oneshot::Sender<Result<T, E>>;

/// A message ready to be written.
#[derive(Debug)]
pub struct NewMessage {
    pub id: EntryId,
    pub record: Record,
    /// Payload up to the body.
    pub head: Vec<u8>,
    /// The inline body.
    pub body: Vec<u8>,
    /// Checksum of both.
    pub crc: u32,
    pub blob: Option<BlobFile>,
    pub open: OpenGuard,
    /// See [`crate::plan::Draft::prompt`].
    pub prompt: bool,
}

/// Something that has to be carried out of a segment.
#[derive(Debug)]
pub enum Survivor {
    /// A message with its payload.
    Message(EntryId, Vec<u8>),
    /// An entry whose message is elsewhere.
    State(EntryId),
    /// A released transfer.
    Release(TransferId),
    Tomb(Tomb),
}

/// A job for the committer.
#[derive(Debug)]
pub enum Job {
    Message(Box<NewMessage>, Reply<EntryId>),
    Hold(Box<NewMessage>, TransferId, Reply<ToSource, HandoverError>),
    States(EntryId, Vec<RecipientUpdate>),
    Finish(EntryId),
    Offer(EntryId, SpoolUuid, Reply<ToTarget, HandoverError>),
    Answered(SpoolUuid, ToSource, Reply<Answered, HandoverError>),
    Requested(ToTarget, Reply<Requested, HandoverError>),
    Drained(SpoolUuid, u64, Reply<Drained>),
    Orphan(Orphan, Reply<Settled, HandoverError>),
    Seal(bool, Reply<SealState>),
    Flush(Reply<()>),
    /// Go on in the format that is written now.
    Turn(Reply<()>),
    /// Everything given so far is written and synced, also what may be late; an error if it cannot be.
    Settle(Reply<()>),
    Evacuate(Epoch, Vec<Survivor>, Reply<()>),
}

impl Job {
    /// Written lazily: nobody waits for it.
    pub const fn is_outcome(&self) -> bool {
        matches!(self, Self::States(..) | Self::Finish(_))
    }
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    urgent: bool,
    lazy_since: Option<Instant>,
    news: bool,
    closing: bool,
}

#[derive(Debug, Default)]
struct Orders {
    poked: bool,
    requests: u64,
    answered: u64,
    closing: bool,
}

#[derive(Debug, Default)]
struct Gate {
    open: usize,
    /// "Empty" was said of a sealed spool.
    latched: bool,
}

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
    /// [`Options::write_format`] now.
    write_format: AtomicU32,
    read_only: OnceLock<String>,
    /// Messages stored or held since the start.
    mail: AtomicU64,
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
            write_format: AtomicU32::new(write_format),
            read_only: OnceLock::new(),
            at_work: Mutex::default(),
            marks: Mutex::default(),
            keeping: Mutex::default(),
            mail: AtomicU64::new(0),
            unwritten: AtomicBool::new(false),
            fullness: Mutex::default(),
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

    /// How many were.
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
        self.marks.try_lock().ok().map(|marks| *marks)
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

    /// Hands a job to the committer; after closing it is dropped, and its caller told so.
    pub fn submit(&self, job: Job) {
        let mut queue = lock(&self.queue);
        if queue.closing {
            return;
        }
        if job.is_outcome() {
            queue.lazy_since.get_or_insert_with(Instant::now);
        } else {
            queue.urgent = true;
        }
        let wake = queue.urgent || queue.jobs.is_empty();
        queue.jobs.push_back(job);
        drop(queue);
        if wake {
            self.queue_wake.notify_one();
        }
    }

    /// Waits for jobs, until `latest` at most; all that are there. `None`: closing and nothing left.
    pub fn take(&self, latest: Option<Instant>) -> Option<VecDeque<Job>> {
        let mut queue = lock(&self.queue);
        loop {
            let lazy = Duration::from_millis(self.options.lazy_ms);
            let waited = queue.lazy_since.map(|since| since.elapsed());
            if queue.urgent || queue.news || queue.closing || waited.is_some_and(|w| w >= lazy) {
                if queue.closing && queue.jobs.is_empty() {
                    return None;
                }
                queue.urgent = false;
                queue.news = false;
                queue.lazy_since = None;
                return Some(std::mem::take(&mut queue.jobs));
            }
            let until = latest.map(|latest| latest.saturating_duration_since(Instant::now()));
            if until == Some(Duration::ZERO) {
                return Some(VecDeque::new());
            }
            let left = waited.map(|waited| lazy.saturating_sub(waited));
            queue = match left.into_iter().chain(until).min() {
                None => self
                    .queue_wake
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    self.queue_wake
                        .wait_timeout(queue, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
    }

    pub fn close_queue(&self) {
        lock(&self.queue).closing = true;
        self.queue_wake.notify_all();
    }

    /// Tells the keeper that something may be to do.
    pub fn poke(&self) {
        lock(&self.orders).poked = true;
        self.orders_wake.notify_one();
    }

    /// Asks the keeper for space; [`Shared::answered`] says when it has tried.
    pub fn request_space(&self) -> u64 {
        let mut orders = lock(&self.orders);
        orders.requests += 1;
        orders.poked = true;
        self.orders_wake.notify_one();
        orders.requests
    }

    /// The keeper has tried for this request.
    pub fn answered(&self, request: u64) -> bool {
        let orders = lock(&self.orders);
        orders.answered >= request || orders.closing
    }

    /// Keeper: waits for something to do, until `latest` at most. `None`: closing.
    pub fn await_orders(&self, latest: Instant) -> Option<u64> {
        let mut orders = lock(&self.orders);
        while !orders.poked && !orders.closing {
            let left = latest.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            orders = self
                .orders_wake
                .wait_timeout(orders, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        orders.poked = false;
        (!orders.closing).then_some(orders.requests)
    }

    /// Keeper: leaves the device to others for a while; not while somebody waits for space.
    pub fn pause_keeper(&self, pause: Duration) {
        let orders = lock(&self.orders);
        let idle = |orders: &mut Orders| orders.requests == orders.answered && !orders.closing;
        drop(self.orders_wake.wait_timeout_while(orders, pause, idle));
    }

    /// Keeper: something is wanted that cannot wait until the present work is done.
    pub fn pressing(&self) -> Option<u64> {
        let orders = lock(&self.orders);
        (orders.requests > orders.answered && !orders.closing).then_some(orders.requests)
    }

    /// Keeper: all requests up to this one were tried.
    pub fn answer(&self, request: u64) {
        {
            let mut orders = lock(&self.orders);
            orders.answered = orders.answered.max(request);
        }
        lock(&self.queue).news = true;
        self.queue_wake.notify_one();
    }

    pub fn close_keeper(&self) {
        lock(&self.orders).closing = true;
        self.orders_wake.notify_all();
    }

    /// Counts a message being received; `None` if "empty" was said of the sealed spool.
    pub fn open_message(self: &Arc<Self>) -> Option<OpenGuard> {
        let mut gate = lock(&self.gate);
        if gate.latched {
            return None;
        }
        gate.open += 1;
        Some(OpenGuard(Arc::clone(self)))
    }

    /// Nothing here and nothing coming in. Of a sealed spool this is a promise.
    pub fn is_empty(&self) -> bool {
        // In this order: a guard may be dropped while the index is locked.
        let index = self.index();
        let mut gate = lock(&self.gate);
        let empty = gate.open == 0 && index.is_empty();
        gate.latched |= empty && index.seal.sealed;
        empty
    }

    /// Takes messages again.
    pub fn unlatch(&self) {
        lock(&self.gate).latched = false;
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

/// A message being received, or committed and not yet in the index.
#[derive(Debug)]
pub struct OpenGuard(Arc<Shared>);

impl Drop for OpenGuard {
    fn drop(&mut self) {
        lock(&self.0.gate).open -= 1;
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
