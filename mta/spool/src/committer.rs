//! The committer: one thread that writes all that waits with one write and one sync, then answers all of it.
//!
//! With [`crate::Durability::Relaxed`] the sync of new mail and outcomes comes within a second, after the answer.
//!
//! Never waits for the keeper: what finds no segment is parked until the keeper has tried once, whatever it is, and is
//! answered "full" after that. Only what the keeper itself waits for is answered at once. New mail leaves [`RESERVE`]
//! free segments alone, so that outcomes and copies, which make room, always have some.

mod parked;
mod room;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::parked::{Parked, Waiting};
use self::room::leaves;
use crate::blob::is_full;
use crate::errors::CommitError;
use crate::format::frame::Frame;
use crate::format::record::Record;
use crate::format::{BLOCK, FIRST};
use crate::index::{Epoch, Place, Tail};
use crate::io::File;
use crate::plan::{Draft, Notify, Plan, Touched, plan};
use crate::shared::{Job, Reply, Shared};
use crate::types::EntryId;

/// Free segments that new mail does not get.
pub const RESERVE: usize = 2;

/// Free segments that a message does not get in whose place another one ends, such as a notice: on a full volume it is what
/// makes room, and the outcomes of others still find theirs.
const LEFT_BY_NOTICES: usize = 1;

/// How long a relaxed spool may be ahead of its volume.
const LATE_SYNC: Duration = Duration::from_secs(1);

/// Largest batch.
const BATCH_BYTES: usize = 4 << 20;
const BATCH_RECORDS: usize = 1024;

#[derive(Debug)]
struct Active {
    epoch: Epoch,
    format: u32,
    file: Arc<dyn File>,
    used: usize,
    size: usize,
}

struct Written {
    entry: EntryId,
    record: Record,
    offset: usize,
    len: usize,
}

/// See the module.
pub struct Committer {
    shared: Arc<Shared>,
    active: Option<Active>,
    buffer: Vec<u8>,
    records: Vec<Written>,
    notifies: Vec<Notify>,
    touched: Touched,
    batch: u64,
    /// The format of new segments; looked at before each batch, so that it holds for all that is decided for one.
    format: u32,
    waiting: Waiting,
    /// Since when something written is not synced (relaxed only).
    unsynced: Option<Instant>,
    /// Something in the batch is not answered before its sync.
    prompt: bool,
    /// Batches that could not be written. Who had a part in one is told so, however well the next one goes.
    failures: u64,
}

impl Committer {
    pub fn new(shared: Arc<Shared>) -> Self {
        let active = {
            let index = shared.index();
            index.active.and_then(|epoch| {
                let segment = index.segments.get(&epoch)?;
                let (used, size) = (segment.used as usize, segment.size as usize);
                Some(Active {
                    epoch,
                    format: segment.format,
                    file: Arc::clone(&segment.file),
                    used,
                    size,
                })
            })
        };
        let batch = shared.batch();
        let format = shared.write_format();
        Self {
            shared,
            active,
            buffer: Vec::new(),
            records: Vec::new(),
            notifies: Vec::new(),
            touched: Touched::default(),
            batch,
            format,
            waiting: Waiting::default(),
            unsynced: None,
            prompt: false,
            failures: 0,
        }
    }

    /// Works until the queue is closed and drained.
    pub fn run(mut self) {
        while let Some(jobs) = self.shared.take(self.unsynced.map(|since| since + LATE_SYNC)) {
            self.shared.set_at_work(true);
            self.format = self.shared.write_format();
            self.unpark();
            for job in jobs {
                self.job(job);
            }
            self.commit();
            if self.unsynced.is_some_and(|since| since.elapsed() >= LATE_SYNC) {
                self.settle();
            }
            self.shared.set_at_work(false);
        }
        self.unpark_at_the_end();
        if self.settle_all().is_err() {
            self.shared.leave_unwritten();
        }
    }

    fn job(&mut self, job: Job) {
        let Some(mut job) = self.declared(job) else { return };
        if job.is_outcome() && self.waiting.outcomes {
            self.waiting.parked.push_back(Parked::Job(job));
            return;
        }
        loop {
            if self.waits_for_room(&job) {
                self.waiting.steps = true;
                self.waiting.parked.push_back(Parked::Job(job));
                return self.ask_for_space();
            }
            match plan(job, &self.shared, &mut self.touched) {
                Plan::Nothing => return,
                Plan::Write {
                    drafts,
                    notify,
                    message,
                } => {
                    // A batch that ends in between takes the marks with it, but what this job wrote is in the next one.
                    let marks = std::mem::take(&mut self.touched);
                    self.write(drafts, notify, message);
                    self.touched = marks;
                    return;
                }
                Plan::Turn(reply) => return self.turn(reply),
                Plan::Flush(reply) => return self.flush(reply),
                Plan::Settle(reply) => {
                    let _ = reply.send(self.settle_all());
                    return;
                }
                Plan::Conflict(again) => {
                    self.commit();
                    job = again;
                }
            }
        }
    }

    /// What the job says of another spool is durable before anything follows from it.
    fn declared(&self, job: Job) -> Option<Job> {
        let Job::Drained(spool, seal, reply) = job else {
            return Some(job);
        };
        match self.shared.keep_drained(spool, seal) {
            Ok(()) => Some(Job::Drained(spool, seal, reply)),
            Err(error) => {
                let _ = reply.send(Err(error));
                None
            }
        }
    }

    /// Goes on in a segment of the present format, whose first record is then durable; waits for the keeper's try.
    fn turn(&mut self, reply: Reply<()>) {
        self.commit();
        if let Some(error) = self.refusal() {
            let _ = reply.send(Err(error));
            return;
        }
        let there = self.active.as_ref().is_some_and(|a| a.format == self.format);
        if there || self.roll(0) {
            self.notifies
                .push(Box::new(move |result| drop(reply.send(result))));
            self.shared.poke();
        } else if self.waiting.tried {
            let _ = reply.send(Err(CommitError::Full));
        } else {
            self.waiting.parked.push_back(Parked::Job(Job::Turn(reply)));
            self.ask_for_space();
        }
    }

    /// Answered with the batch. Behind outcomes that found no room it waits for the keeper's try as they do.
    fn flush(&mut self, reply: Reply<()>) {
        if !self.waiting.outcomes {
            self.notifies
                .push(Box::new(move |result| drop(reply.send(result))));
        } else if self.waiting.tried {
            let _ = reply.send(Err(CommitError::Full));
        } else {
            self.waiting.parked.push_back(Parked::Job(Job::Flush(reply)));
            self.ask_for_space();
        }
    }

    fn write(&mut self, drafts: Vec<Draft>, notify: Option<Notify>, message: bool) {
        if let Some(error) = self.refusal() {
            if let Some(notify) = notify {
                notify(Err(error));
            }
            return;
        }
        let needs = drafts.iter().map(|draft| draft.record.format()).max();
        let needs = needs.unwrap_or(FIRST);
        if needs > self.format {
            if let Some(notify) = notify {
                notify(Err(CommitError::Format));
            }
            return;
        }
        let failures = self.failures;
        let mut rest = drafts.into_iter();
        while let Some(draft) = rest.next() {
            let space = Frame::space(draft.head.len() + draft.body.len());
            // What came first may have been in a batch that failed: then the rest is not all of it.
            let leaves = leaves(message, draft.prompt);
            let room = self.make_room(space, leaves, needs);
            if room && self.failures == failures && self.shared.read_only().is_none() {
                self.put(draft);
            } else {
                return self.no_room(std::iter::once(draft).chain(rest).collect(), notify, message);
            }
        }
        if message {
            self.shared.count_mail();
        }
        self.notifies.extend(notify);
    }

    fn put(&mut self, draft: Draft) {
        let Some(active) = &self.active else { return };
        let len = draft.head.len() + draft.body.len();
        let frame = Frame {
            kind: draft.record.kind(),
            len: u32::try_from(len).unwrap_or(u32::MAX),
            crc: draft.crc,
            ordinal: u32::try_from(self.records.len()).unwrap_or(u32::MAX),
            entry: draft.entry,
            epoch: u64::from(active.epoch),
            batch: self.batch,
        };
        self.prompt |= draft.prompt || !may_be_late(&draft.record);
        let offset = self.buffer.len();
        self.buffer.extend_from_slice(&frame.encode());
        self.buffer.extend_from_slice(&draft.head);
        self.buffer.extend_from_slice(&draft.body);
        self.buffer.resize(offset + Frame::space(len), 0);
        let len = self.buffer.len() - offset;
        self.records.push(Written {
            entry: draft.entry,
            record: draft.record,
            offset,
            len,
        });
    }

    fn commit(&mut self) {
        self.touched.clear();
        if let Some(error) = self.refusal() {
            // A write or sync has failed: a later one that goes well proves nothing.
            self.refuse(&error);
            self.prompt = false;
            self.records.clear();
            self.buffer.clear();
            return;
        }
        if self.records.is_empty() {
            for notify in std::mem::take(&mut self.notifies) {
                notify(Ok(()));
            }
            return;
        }
        let Some(active) = &mut self.active else { return };
        self.buffer.resize(self.buffer.len().next_multiple_of(BLOCK), 0);
        let at = active.used;
        let prompt = std::mem::take(&mut self.prompt);
        let late = !prompt && self.shared.is_relaxed();
        let outcome = active
            .file
            .write_at(&self.buffer, at as u64)
            .and_then(|()| if late { Ok(()) } else { active.file.sync() });
        // One after the other of very many is no sign of trouble.
        self.shared.set_at_work(true);
        let batch = std::mem::replace(&mut self.batch, self.shared.batch());
        match outcome {
            Ok(()) => {
                self.unsynced = late.then(|| self.unsynced.unwrap_or_else(Instant::now));
                // Before the index is.
                self.shared.set_ahead(late);
                active.used += self.buffer.len();
                self.shared.count_octets(self.buffer.len());
                let (epoch, used) = (active.epoch, active.used);
                self.committed(batch, (epoch, at), used);
            }
            Err(error) => self.failed(&error),
        }
        self.buffer.clear();
        self.records.clear();
    }

    /// Writes and syncs everything.
    fn settle_all(&mut self) -> Result<(), CommitError> {
        self.commit();
        self.settle();
        match self.refusal() {
            Some(error) => Err(error),
            None if self.waiting.parked.is_empty() => Ok(()),
            None => Err(CommitError::Full),
        }
    }

    /// What everybody is told once a write or sync has failed.
    fn refusal(&self) -> Option<CommitError> {
        let reason = self.shared.read_only()?;
        Some(CommitError::ReadOnly(reason.to_owned()))
    }

    fn refuse(&mut self, error: &CommitError) {
        for notify in self.notifies.drain(..) {
            notify(Err(error.clone()));
        }
    }

    /// Syncs what was answered before its sync.
    fn settle(&mut self) {
        let Some(active) = self.active.as_ref().filter(|_| self.unsynced.is_some()) else {
            return;
        };
        self.unsynced = None;
        match active.file.sync() {
            Ok(()) => {
                self.shared.set_ahead(false);
                // What the keeper has left alone until now.
                if !self.shared.index().dead_blobs.is_empty() {
                    self.shared.poke();
                }
            }
            Err(error) => self.shared.fail("sync of a segment", &error),
        }
    }

    fn committed(&mut self, batch: u64, (epoch, at): (Epoch, usize), used: usize) {
        let (mut ends, mut last) = (false, 0);
        let mut index = self.shared.index();
        for written in self.records.drain(..) {
            ends |= matches!(
                written.record,
                Record::Done { .. }
                    | Record::Forgotten { .. }
                    | Record::Snapshot { .. }
                    | Record::Globals { .. }
            );
            let place = Place {
                epoch,
                offset: u32::try_from(at + written.offset).unwrap_or(u32::MAX),
                len: u32::try_from(written.len).unwrap_or(u32::MAX),
            };
            last = place.offset;
            index.apply(written.entry, written.record, place, true);
        }
        let used = u32::try_from(used).unwrap_or(u32::MAX);
        if let Some(segment) = index.segments.get_mut(&epoch) {
            segment.used = used;
        }
        index.tail = Some(Tail {
            batch,
            epoch,
            last,
            used,
        });
        let work = ends && (!index.dead_blobs.is_empty() || index.segments.len() > 1);
        drop(index);
        if work {
            self.shared.poke();
        }
        for notify in self.notifies.drain(..) {
            notify(Ok(()));
        }
    }

    /// A full volume refuses; anything else ends all belief in the device.
    fn failed(&mut self, error: &std::io::Error) {
        self.failures += 1;
        let answer = if is_full(error) {
            let records = std::mem::take(&mut self.records);
            self.park_outcomes(records.into_iter().map(|written| (written.entry, written.record)));
            CommitError::Full
        } else {
            self.shared.fail("write or sync of a segment", error);
            CommitError::ReadOnly(self.shared.read_only().unwrap_or_default().to_owned())
        };
        self.refuse(&answer);
    }
}

/// What a relaxed spool answers before it is synced: new mail and outcomes, see [`Draft::prompt`] for those that are not.
/// Seals and the steps of a hand-over never are.
const fn may_be_late(record: &Record) -> bool {
    match record {
        Record::Message(info) => info.origin.is_none(),
        Record::States(_) | Record::Done { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
