//! The spool as its user sees it.
//!
//! Everything here is safe to call from any thread; what blocks on the disk says so.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::blob::is_full;
use crate::checkpoint;
use crate::committer::{Committer, RESERVE};
use crate::completion::Completion;
use crate::errors::{CommitError, HandoverError, OpenError, ReadError, RecordError};
use crate::format::{BLOCK_U32, is_known};
use crate::handover::{ToSource, ToTarget, TransferId, source, target};
use crate::incoming::Incoming;
use crate::index::Entry;
use crate::io::{Disk, Io};
use crate::keeper::{self, Keeper};
use crate::message::{self, Message};
use crate::recovery::{Trust, make_dirs, recover};
use crate::shared::{Job, Shared};
use crate::types::{
    Durability, EntryId, Envelope, Options, Ownership, RecipientState, RecipientUpdate, Recovery, SealState,
    SpoolUuid, Summary, Usage,
};

/// An open spool. Clones are the same spool; it closes when the last clone and the last [`Incoming`] are gone, and
/// then writes what was recorded.
#[derive(Clone, Debug)]
pub struct Spool {
    shared: Arc<Shared>,
    _threads: Arc<Threads>,
}

#[derive(Debug)]
struct Threads {
    shared: Arc<Shared>,
    committer: Mutex<Option<JoinHandle<()>>>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.close_queue();
        join(&mut self.committer);
        self.shared.close_keeper();
        join(&mut self.keeper);
    }
}

fn join(thread: &mut Mutex<Option<JoinHandle<()>>>) {
    let thread = thread.get_mut().unwrap_or_else(PoisonError::into_inner);
    if thread
        .take()
        .map(JoinHandle::join)
        .is_some_and(|ended| ended.is_err())
    {
        tracing::error!("a thread of the spool panicked");
    }
}

/// Everything of an entry but its body: what a hand-over carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The envelope.
    pub envelope: Envelope,
    /// One state for each recipient of the envelope, in the same order.
    pub recipients: Vec<RecipientState>,
    /// Header fields added in front of the body, as they go on the wire.
    pub prefix: Vec<u8>,
}

/// A standing offer of this spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The offer; its entry is `transfer.entry`.
    pub transfer: TransferId,
    /// To whom.
    pub target: SpoolUuid,
    /// The target is known to hold it.
    pub given: bool,
    /// What to send now (again): a query or a release.
    pub send: ToTarget,
}

/// A transfer at the taking side that the source has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The offer.
    pub transfer: TransferId,
    /// The entry here; after a release it may be finished already.
    pub entry: EntryId,
    /// It was released: ours.
    pub released: bool,
    /// What to ask the source when nothing was heard for a minute.
    pub ask: ToSource,
}

/// What a message of a target led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Answered {
    /// What to send, now that the step is durable.
    pub send: Option<ToTarget>,
    /// The entry is owned again: deliver it.
    pub taken_back: Option<EntryId>,
    /// The entry is gone from here.
    pub freed: Option<EntryId>,
}

/// What a message of a source led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Requested {
    /// What to answer, now that the step is durable.
    pub send: Option<ToSource>,
    /// The entry became ours by this message: deliver it.
    pub released: Option<EntryId>,
}

impl Spool {
    /// Opens the spool in `dir`, making it if the directory is empty or missing. Blocks while it reads the log.
    pub fn open(dir: &Path, options: &Options) -> Result<(Self, Recovery), OpenError> {
        Self::open_on(Arc::new(Disk), dir, options)
    }

    /// [`Spool::open`] on another file system.
    pub fn open_on(io: Arc<dyn Io>, dir: &Path, options: &Options) -> Result<(Self, Recovery), OpenError> {
        Self::open_but(io, dir, options, &[])
    }

    /// The same, and nothing is appended to these segments.
    pub(crate) fn open_but(
        io: Arc<dyn Io>,
        dir: &Path,
        options: &Options,
        broken: &[u32],
    ) -> Result<(Self, Recovery), OpenError> {
        let lock = make_dirs(io.as_ref(), dir)?;
        let lock = io
            .lock(&lock)?
            .ok_or_else(|| OpenError::Locked(dir.display().to_string()))?;
        if !is_known(options.write_format) {
            return Err(OpenError::Options(
                "the format to write is none that this program knows",
            ));
        }
        let volume = io.space(dir)?;
        let segment_size = segment_size(options, volume.total)?;
        let recovered = recover(io.as_ref(), dir, Trust::Checkpoint { broken })?;
        let keep_free = (volume.total / 50).clamp(64 * 1024, 256 << 20);
        let shared = Arc::new(Shared::new(
            (io, dir.to_path_buf(), lock),
            recovered.uuid,
            (segment_size, keep_free),
            options.clone(),
            recovered.index,
            recovered.next,
        ));
        shared.known_damaged(recovered.lost);
        if let Some(used) = recovered.checkpoint {
            let mut marks = shared.marks();
            (marks.batch, marks.named) = (used.batch, used.named);
        }
        first_segment(&shared)?;
        let (committer, keeper) = (
            Committer::new(Arc::clone(&shared)),
            Keeper::new(Arc::clone(&shared)),
        );
        let start = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.to_owned()).spawn(work)
        };
        let threads = Threads {
            shared: Arc::clone(&shared),
            committer: Mutex::new(Some(start("spool-commit", Box::new(move || committer.run()))?)),
            keeper: Mutex::new(Some(start("spool-keep", Box::new(move || keeper.run()))?)),
        };
        shared.poke();
        let spool = Self {
            shared,
            _threads: Arc::new(threads),
        };
        spool.finish_drained();
        spool.turn_if_other();
        Ok((spool, recovered.report))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.shared.dir
    }

    /// The identity of this spool.
    pub fn uuid(&self) -> SpoolUuid {
        self.shared.uuid
    }

    /// Begins a message. The spool does not report itself empty while one is open.
    pub fn begin(&self) -> Incoming {
        Incoming::new(self.clone(), Arc::clone(&self.shared))
    }

    /// Records new states of recipients: seen by [`Spool::read`] at once, durable within
    /// [`Options::lazy_ms`] or with the next commit.
    ///
    /// Losing one in a crash makes an attempt happen twice, nothing else.
    pub fn record(&self, entry: EntryId, updates: &[RecipientUpdate]) -> Result<(), RecordError> {
        self.writable()?;
        self.set_states(entry, updates)
    }

    /// Puts states back as they were, because what was recorded instead could not be made durable. As [`Spool::record`], but
    /// for a spool that is read-only: there it is seen, and on disk they have never been others.
    pub fn take_back(&self, entry: EntryId, before: &[RecipientUpdate]) -> Result<(), RecordError> {
        self.set_states(entry, before)
    }

    fn set_states(&self, entry: EntryId, updates: &[RecipientUpdate]) -> Result<(), RecordError> {
        let mut index = self.shared.index();
        let known = owned(index.entries.get_mut(entry))?;
        let count = known.states.len();
        if let Some(wrong) = updates
            .iter()
            .find(|u| usize::try_from(u.index).is_ok_and(|i| i >= count))
        {
            return Err(RecordError::NoSuchRecipient(wrong.index));
        }
        index.set_states(entry, updates);
        self.shared.submit(Job::States(entry, updates.to_vec()));
        Ok(())
    }

    /// Ends an entry: all its recipients are final. Not to be seen any more at once; lazily durable like
    /// [`Spool::record`], and the bytes are freed after that.
    pub fn finish(&self, entry: EntryId) -> Result<(), RecordError> {
        self.writable()?;
        let mut index = self.shared.index();
        owned(index.entries.get_mut(entry))?.finished = true;
        index.finished += 1;
        self.shared.submit(Job::Finish(entry));
        Ok(())
    }

    fn writable(&self) -> Result<(), RecordError> {
        self.shared
            .read_only()
            .map_or(Ok(()), |reason| Err(RecordError::ReadOnly(reason.to_owned())))
    }

    /// Makes everything recorded so far durable.
    pub fn flush(&self) -> Completion<()> {
        self.ask(Job::Flush)
    }

    /// Writes a checkpoint of the index now, so that opening again is quick; it is done from time to time and at the end
    /// anyway. Blocks on the disk. False: there was no need. Errors: there is no room, or the volume failed; the spool
    /// goes on all the same.
    pub fn checkpoint(&self) -> std::io::Result<bool> {
        checkpoint::now(&self.shared, false)
    }

    /// Reads an entry. Blocks on the disk: call it off the reactor.
    pub fn read(&self, entry: EntryId) -> Result<Message, ReadError> {
        message::read(&self.shared, entry)
    }

    /// Says that the body of an entry turned out to be damaged while it was read: it counts from now on.
    pub fn found_damaged(&self, entry: EntryId) {
        self.shared.found_damaged(entry, "its body cannot be read");
    }

    /// What is known of one entry without reading the disk.
    pub fn summary(&self, entry: EntryId) -> Option<Summary> {
        let index = self.shared.index();
        index
            .entries
            .get(entry)
            .filter(|known| !known.finished)
            .map(|known| known.summary(entry))
    }

    /// The states of an entry's recipients, without reading the disk.
    pub fn states(&self, entry: EntryId) -> Option<Vec<RecipientState>> {
        let index = self.shared.index();
        let known = index.entries.get(entry).filter(|known| !known.finished);
        known.map(|known| known.states.to_vec())
    }

    /// How many entries there are, and the arrival of the oldest, to the second, in milliseconds since 1970. Cheap however
    /// many there are.
    pub fn census(&self) -> (usize, Option<u64>) {
        self.shared.index().census()
    }

    /// All entries, in order of their ids.
    pub fn entries(&self) -> Vec<Summary> {
        let index = self.shared.index();
        let known = index.entries.iter().filter(|(_, known)| !known.finished);
        known.map(|(id, known)| known.summary(id)).collect()
    }

    /// Ids of the entries behind `after`, or of all, in their order; `most` of them at most.
    pub fn ids_behind(&self, after: Option<EntryId>, most: usize) -> Vec<EntryId> {
        self.behind(after, most, |id, _| id)
    }

    /// What is known of the entries behind `after`, or of all, in order of their ids; `most` of them at most. For a look at
    /// all of very many, in steps that hold nobody up.
    pub fn entries_behind(&self, after: Option<EntryId>, most: usize) -> Vec<Summary> {
        self.behind(after, most, |id, known| known.summary(id))
    }

    fn behind<T>(&self, after: Option<EntryId>, most: usize, tell: impl Fn(EntryId, &Entry) -> T) -> Vec<T> {
        let index = self.shared.index();
        let behind = index.entries.iter_behind(after);
        let known = behind.filter(|(_, known)| !known.finished).take(most);
        known.map(|(id, known)| tell(id, known)).collect()
    }

    /// Changes when a new message counts as stored, from the next batch on.
    pub fn set_durability(&self, durability: Durability) {
        self.shared.set_relaxed(durability == Durability::Relaxed);
    }

    /// Percent of the volume that may be used before [`Usage::above_high_water`] is set.
    pub fn set_high_water_percent(&self, percent: u8) {
        self.shared.set_high_water_percent(percent);
    }

    /// The same.
    pub fn high_water_percent(&self) -> u8 {
        self.shared.high_water_percent()
    }

    /// Octets of memory that entries may take before [`Usage::above_high_water`] is set; without it there is no bound.
    pub fn set_most_memory(&self, octets: u64) {
        self.shared.set_most_memory(octets);
    }

    /// When a new message counts as stored.
    pub fn durability(&self) -> Durability {
        if self.shared.is_relaxed() {
            Durability::Relaxed
        } else {
            Durability::Durable
        }
    }

    /// Why a new message would not be taken; `None` when all is well. For each transaction: the file system is asked at
    /// most ten times a second, and the commit itself finds out what happened in between.
    pub fn unable(&self) -> Option<CommitError> {
        if let Some(reason) = self.shared.read_only() {
            return Some(CommitError::ReadOnly(reason.to_owned()));
        }
        let full = self.shared.lately_full(|| self.usage().above_high_water);
        full.then_some(CommitError::Full)
    }

    /// Whether a message of so many octets, as its sender says, would find room. A small one is not worth the look.
    pub fn has_room(&self, octets: u64) -> bool {
        octets < LOOKED_AT || self.usage().available_bytes >= octets
    }

    /// A write or sync has failed: nothing is recorded any more, whatever becomes of a message. Cheap.
    pub fn is_read_only(&self) -> bool {
        self.shared.read_only().is_some()
    }

    /// A write or sync has not ended for so long that the volume may hang: nothing is durable until it does. Cheap.
    pub fn is_stalled(&self) -> bool {
        let most = Duration::from_millis(self.shared.options.stall_ms);
        self.shared.at_work().is_some_and(|taken| taken >= most)
    }

    /// Space and health. Asks the file system.
    pub fn usage(&self) -> Usage {
        let volume = self.shared.io.space(&self.shared.dir);
        // Moved or deleted under us: the files that are open would be found by no later start.
        if let Err(error) = &volume
            && error.kind() == std::io::ErrorKind::NotFound
        {
            self.shared.fail("the spool's directory", error);
        }
        let volume = volume.ok();
        let (total, free_on_volume) = volume.map_or((0, 0), |v| (v.total, v.available));
        let index = self.shared.index();
        let in_use: u64 = index.segments.values().map(|s| u64::from(s.size)).sum();
        let free = index.free.iter().map(|free| free.size);
        let free = free.chain(index.taken.iter().map(|taken| taken.size));
        let free: u64 = free.map(u64::from).sum();
        let reserve = RESERVE as u64 * u64::from(self.shared.segment_size);
        let unused = free_on_volume.saturating_add(free);
        let used = total.saturating_sub(unused);
        let (memory, most_memory) = (index.memory(), self.shared.most_memory());
        Usage {
            entries: index.entries.len(),
            segments: index.segments.len() + index.free.len() + index.taken.len(),
            free_segments: index.free.len(),
            segment_bytes: in_use + free,
            live_bytes: index.live_bytes(),
            blob_bytes: index.blob_bytes,
            volume_bytes: total,
            used_bytes: used,
            available_bytes: unused.saturating_sub(self.shared.keep_free + reserve),
            above_high_water: used >= total / 100 * u64::from(self.shared.high_water_percent())
                || memory >= most_memory,
            memory_bytes: memory,
            most_memory,
            damaged: self.shared.damaged(),
            read_only: self.shared.read_only().map(str::to_owned),
        }
    }

    /// Seals the spool: counts the seal number up (nothing changes if it is sealed). Ready when durable.
    pub fn seal(&self) -> Completion<SealState> {
        self.ask(|reply| Job::Seal(true, reply))
    }

    /// Unseals the spool. Ready when durable.
    pub fn unseal(&self) -> Completion<SealState> {
        self.shared.unlatch();
        self.ask(|reply| Job::Seal(false, reply))
    }

    /// Whether the spool is sealed.
    pub fn seal_state(&self) -> SealState {
        self.shared.index().seal
    }

    /// No entry owned, offered, held, given and not yet freed, or released to this spool and not yet confirmed as
    /// freed; and no message being received.
    ///
    /// On a sealed spool `true` is a promise: from then on no message is taken until it is unsealed.
    pub fn is_empty(&self) -> bool {
        self.shared.read_only().is_none() && self.shared.is_empty()
    }

    /// Source, step 1: offers an entry of this spool, sealed or not, to `to`. The entry's outcomes must have been
    /// recorded before. Ready when OFFERED is durable: then send the message with the item ([`Spool::read`]).
    pub fn offer(&self, entry: EntryId, to: SpoolUuid) -> Completion<ToTarget, HandoverError> {
        self.ask(|reply| Job::Offer(entry, to, reply))
    }

    /// Source: the target `from` (authenticated) said `message`. Ready when the step is durable (steps GIVEN,
    /// FREED, take-back); then send the answer.
    pub fn answered(&self, from: SpoolUuid, message: ToSource) -> Completion<Answered, HandoverError> {
        self.ask(|reply| Job::Answered(from, message, reply))
    }

    /// Source: all standing offers, with what to send now; after a start and when nothing was heard for a while. Cheap
    /// however many entries there are besides.
    pub fn standing(&self) -> Vec<Standing> {
        let index = self.shared.index();
        let offers = index.standing().filter_map(|entry| {
            let (target, send) = source::step(entry.source().as_ref(), &source::Input::Resume).send?;
            let given = entry.ownership() == Ownership::Given;
            Some(Standing {
                transfer: send.transfer(),
                target,
                given,
                send,
            })
        });
        offers.collect()
    }

    /// Target: a source said `message`. Ready when the step is durable. A new offer needs its item and goes to
    /// [`Incoming::hold`]: here it answers nothing.
    pub fn requested(&self, message: ToTarget) -> Completion<Requested, HandoverError> {
        self.ask(|reply| Job::Requested(message, reply))
    }

    /// Target: all transfers the sources have not ended. A lost source ends none: what it released is not waited for.
    pub fn holds(&self) -> Vec<Hold> {
        let index = self.shared.index();
        let holds = index.transfers.iter().filter_map(|(transfer, known)| {
            let released = matches!(known.state, target::Target::Released { .. });
            if released && index.lost.contains(&transfer.source) {
                return None;
            }
            let ask = target::step(Some(&known.state), &target::Input::Ask(*transfer)).send?;
            let (entry, released) = match known.state {
                target::Target::Held { hold } => (hold, false),
                target::Target::Released { hold } => (hold, true),
            };
            Some(Hold {
                transfer: *transfer,
                entry,
                released,
                ask,
            })
        });
        holds.collect()
    }

    pub(crate) fn ask<T, E: From<CommitError>>(
        &self,
        job: impl FnOnce(crate::shared::Reply<T, E>) -> Job,
    ) -> Completion<T, E> {
        let (reply, completion) = Completion::channel();
        self.shared.submit(job(reply));
        completion
    }
}

/// There is a segment to write to. Where the last one is damaged and the volume full there is none: what is in the spool is
/// delivered all the same, and new mail waits for room.
fn first_segment(shared: &Shared) -> Result<(), OpenError> {
    let (nothing, fresh) = {
        let index = shared.index();
        let nothing = index.free.is_empty() && index.active.is_none();
        (nothing, index.segments.is_empty())
    };
    if !nothing {
        return Ok(());
    }
    match keeper::create(shared) {
        Ok(free) => shared.index().add_free(free),
        Err(error) if !is_full(&error) => return Err(OpenError::Io(error)),
        Err(_) if fresh => return Err(OpenError::Full),
        Err(error) => tracing::warn!(%error, "no segment to write to: nothing is taken until there is room"),
    }
    Ok(())
}

fn owned(entry: Option<&mut Entry>) -> Result<&mut Entry, RecordError> {
    let entry = entry.filter(|e| !e.finished).ok_or(RecordError::NoSuchEntry)?;
    if entry.ownership() == Ownership::Owned {
        Ok(entry)
    } else {
        Err(RecordError::NotOwned)
    }
}

fn segment_size(options: &Options, volume: u64) -> Result<u32, OpenError> {
    match options.segment_size {
        Some(size) if size < 8 * BLOCK_U32 || size % BLOCK_U32 != 0 || size > 1 << 30 => Err(
            OpenError::Options("a segment has a multiple of 4096 bytes, from 32 KiB to 1 GiB"),
        ),
        Some(size) => Ok(size),
        None => {
            let size = (volume / 64).clamp(1 << 20, 64 << 20);
            Ok(u32::try_from(size).unwrap_or(1 << 20) / BLOCK_U32 * BLOCK_U32)
        }
    }
}

/// Smallest message whose declared size is compared with what is free.
const LOOKED_AT: u64 = 1 << 20;
