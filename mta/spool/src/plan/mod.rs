//! What a job writes, decided from the index. No IO.
//!
//! The index knows only what is synced. A job about an entry or transfer that the batch already writes about has
//! to wait for the next batch if its decision could depend on it: [`Plan::Conflict`].

mod handover;
mod survivors;

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use crate::declared::Orphan;
use crate::errors::CommitError;
use crate::format::frame::FRAME;
use crate::format::message::REPLY_LIMIT;
use crate::format::record::Record;
use crate::handover::TransferId;
use crate::handover::source::Source;
use crate::index::Index;
use crate::shared::{Job, NewMessage, Reply, Shared};
use crate::types::{EntryId, SealState};

/// A record to be written.
#[derive(Debug)]
pub struct Draft {
    pub entry: EntryId,
    pub record: Record,
    pub head: Vec<u8>,
    pub body: Vec<u8>,
    pub crc: u32,
    /// Not answered before its sync in a relaxed spool either: what it stands for is removed elsewhere after that.
    pub prompt: bool,
}

/// Tells the caller; called once, when the records are durable or are known not to be.
pub type Notify = Box<dyn FnOnce(Result<(), CommitError>) + Send>;

/// What to do with a job.
pub enum Plan {
    /// Answered already, nothing to write.
    Nothing,
    /// Write these, then tell. `message`: new mail, which does not get the last reserves.
    Write {
        drafts: Vec<Draft>,
        notify: Option<Notify>,
        message: bool,
    },
    /// Commit the batch first.
    Conflict(Job),
    /// Go on in a segment of the present format.
    Turn(Reply<()>),
    /// Say when all outcomes so far are durable.
    Flush(Reply<()>),
    /// Commit, sync, and say whether anything is left.
    Settle(Reply<()>),
}

/// What a batch writes about.
#[derive(Debug, Default)]
pub struct Touched {
    /// Entries with any record.
    any: HashSet<EntryId>,
    /// Entries with a step of a hand-over.
    stepped: HashSet<EntryId>,
    transfers: HashSet<TransferId>,
    /// Something that nothing may share a batch with.
    exclusive: bool,
}

impl Touched {
    fn is_empty(&self) -> bool {
        self.any.is_empty() && self.transfers.is_empty() && !self.exclusive
    }

    pub fn clear(&mut self) {
        self.any.clear();
        self.stepped.clear();
        self.transfers.clear();
        self.exclusive = false;
    }

    fn conflicts(&self, job: &Job) -> bool {
        self.exclusive
            || match job {
                Job::Message(..) | Job::Flush(_) | Job::Turn(_) | Job::Settle(_) => false,
                Job::Hold(_, transfer, _) | Job::Orphan(Orphan::Held(transfer), _) => {
                    self.transfers.contains(transfer)
                }
                Job::States(id, _) | Job::Finish(id) => self.stepped.contains(id),
                Job::Offer(id, ..) | Job::Orphan(Orphan::Out(id), _) => self.any.contains(id),
                Job::Answered(_, message, _) => self.any.contains(&message.transfer().entry),
                Job::Requested(message, _) => self.transfers.contains(&message.transfer()),
                Job::Drained(..) | Job::Seal(..) | Job::Evacuate(..) => !self.is_empty(),
            }
    }

    fn step(&mut self, id: EntryId) {
        self.any.insert(id);
        self.stepped.insert(id);
    }
}

impl Draft {
    /// A record that is not a message. Reply texts are left out if it would not fit in a segment with them.
    pub fn new(entry: EntryId, record: Record, max: usize) -> Self {
        let mut head = record.encode(REPLY_LIMIT);
        if head.len() + FRAME > max {
            head = record.encode(0);
        }
        let crc = crc32c::crc32c(&head);
        Self {
            entry,
            record,
            head,
            body: Vec::new(),
            crc,
            prompt: false,
        }
    }

    /// See [`Draft::prompt`].
    fn promptly(mut self) -> Self {
        self.prompt = true;
        self
    }
}

fn write(drafts: Vec<Draft>, notify: Notify) -> Plan {
    Plan::Write {
        drafts,
        notify: Some(notify),
        message: false,
    }
}

/// Decides about a job.
pub fn plan(job: Job, shared: &Shared, touched: &mut Touched) -> Plan {
    if touched.conflicts(&job) {
        return Plan::Conflict(job);
    }
    let index = shared.index();
    let max = shared.max_payload();
    match job {
        Job::Message(message, reply) => {
            touched.any.insert(message.id);
            let id = message.id;
            new_message(*message, move |result| drop(reply.send(result.map(|()| id))))
        }
        Job::Hold(message, transfer, reply) => handover::hold(&index, touched, *message, transfer, reply),
        Job::States(id, updates) => {
            touched.any.insert(id);
            let drafts = vec![Draft::new(id, Record::States(updates), max)];
            Plan::Write {
                drafts,
                notify: None,
                message: false,
            }
        }
        Job::Finish(id) => finish(&index, touched, id, max),
        Job::Offer(id, to, reply) => handover::offer(&index, touched, shared.uuid, (id, to), reply, max),
        Job::Answered(from, message, reply) => {
            handover::answered(&index, touched, shared.uuid, (from, message), reply, max)
        }
        Job::Requested(message, reply) => handover::requested(&index, touched, message, reply, max),
        Job::Drained(from, seal, reply) => handover::drained(&index, touched, (from, seal), reply, max),
        Job::Orphan(orphan, reply) => handover::orphan(&index, touched, orphan, reply, max),
        Job::Seal(on, reply) => seal(&index, touched, shared, on, reply),
        Job::Turn(reply) => Plan::Turn(reply),
        Job::Flush(reply) => Plan::Flush(reply),
        Job::Settle(reply) => Plan::Settle(reply),
        Job::Evacuate(epoch, survivors, reply) => {
            touched.exclusive = true;
            // Out of the last segment goes what is not about one entry as well.
            let last = index.tail.is_some_and(|tail| tail.epoch == epoch);
            let globals = last.then(|| globals(shared, index.seal));
            let copies = survivors.into_iter();
            let copies = copies.flat_map(|s| survivors::carry(&index, epoch, s, max));
            // What is copied was confirmed long ago, and its old place is used again next.
            let drafts = globals.into_iter().chain(copies).map(Draft::promptly).collect();
            write(drafts, Box::new(move |result| drop(reply.send(result))))
        }
    }
}

fn new_message(message: NewMessage, tell: impl FnOnce(Result<(), CommitError>) + Send + 'static) -> Plan {
    let NewMessage {
        id,
        record,
        head,
        body,
        crc,
        blob,
        open,
        prompt,
    } = message;
    let notify = move |result: Result<(), CommitError>| {
        // After a failed sync the record may be there or not: then the body stays for the next start to judge.
        if let Some(blob) = blob
            && matches!(result, Ok(()) | Err(CommitError::ReadOnly(_)))
        {
            blob.keep();
        }
        drop(open);
        tell(result);
    };
    let drafts = vec![Draft {
        entry: id,
        record,
        head,
        body,
        crc,
        prompt,
    }];
    Plan::Write {
        drafts,
        notify: Some(Box::new(notify)),
        message: true,
    }
}

fn finish(index: &Index, touched: &mut Touched, id: EntryId, max: usize) -> Plan {
    let owned = index
        .entries
        .get(id)
        .is_some_and(|e| matches!(e.source(), Some(Source::Owned { .. })));
    if !owned {
        tracing::warn!(entry = %id, "an entry in a hand-over was finished: ignored");
        return Plan::Nothing;
    }
    touched.any.insert(id);
    let drafts = vec![Draft::new(
        id,
        Record::Done {
            homes: index.homes(id),
        },
        max,
    )];
    Plan::Write {
        drafts,
        notify: None,
        message: false,
    }
}

/// What is not about one entry.
pub fn globals(shared: &Shared, seal: SealState) -> Draft {
    let next_entry = shared.next_entry.load(Ordering::Relaxed);
    let record = Record::Globals { next_entry, seal };
    Draft::new(EntryId::from_u64(0), record, shared.max_payload())
}

fn seal(index: &Index, touched: &mut Touched, shared: &Shared, on: bool, reply: Reply<SealState>) -> Plan {
    let now = index.seal;
    if now.sealed == on {
        let _ = reply.send(Ok(now));
        return Plan::Nothing;
    }
    let seal = SealState {
        sealed: on,
        number: now.number + u64::from(on),
    };
    touched.exclusive = true;
    write(
        vec![globals(shared, seal)],
        Box::new(move |result| drop(reply.send(result.map(|()| seal)))),
    )
}
