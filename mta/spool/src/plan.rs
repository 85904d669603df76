//! What a job writes, decided from the index. No IO.
//!
//! The index knows only what is synced. A job about an entry or transfer that the batch already writes about has
//! to wait for the next batch if its decision could depend on it: [`Plan::Conflict`].

use std::collections::HashSet;

use crate::format::frame::FRAME;
use crate::format::message::REPLY_LIMIT;
use crate::format::record::{Owner, Record};
use crate::handover::source::{self, Source};
use crate::handover::target::{self, Target};
use crate::handover::{ToTarget, TransferId};
use crate::index::{Entry, Index};
use crate::shared::{Job, NewMessage, Reply, Shared, Survivor};
use crate::spool::{Answered, Drained, Requested};
use crate::types::{CommitError, EntryId, HandoverError, RecipientState, SealState};

/// A record to be written.
#[derive(Debug)]
pub struct Draft {
    pub entry: EntryId,
    pub record: Record,
    pub head: Vec<u8>,
    pub body: Vec<u8>,
    pub crc: u32,
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
                Job::Message(..) | Job::Flush(_) => false,
                Job::Hold(_, transfer, _) => self.transfers.contains(transfer),
                Job::States(id, _) | Job::Finish(id) => self.stepped.contains(id),
                Job::Offer(id, ..) => self.any.contains(id),
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
        }
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
        Job::Hold(message, transfer, reply) => hold(&index, touched, *message, transfer, reply),
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
        Job::Offer(id, to, reply) => {
            let seal = index.seal;
            let Some(entry) = index.entries.get(&id).filter(|e| !e.finished) else {
                return refuse(reply, HandoverError::NoSuchEntry);
            };
            if !seal.sealed {
                return refuse(reply, HandoverError::NotSealed);
            }
            let input = source::Input::Offer {
                source: shared.uuid,
                seal: seal.number,
                entry: id,
                target: to,
            };
            let step = source::step(entry.source(), &input);
            let (source::Next::Become(next), Some((_, message))) = (step.next, step.send) else {
                return refuse(reply, HandoverError::NotOwned);
            };
            touched.step(id);
            write(
                vec![Draft::new(id, Record::Step(next), max)],
                Box::new(move |result| drop(reply.send(result.map(|()| message).map_err(Into::into)))),
            )
        }
        Job::Answered(from, message, reply) => {
            let id = message.transfer().entry;
            let foreign = message.transfer().source != shared.uuid;
            let state = index
                .entries
                .get(&id)
                .filter(|e| !foreign && !e.finished)
                .and_then(Entry::source);
            let step = source::step(state, &source::Input::Heard { from, message });
            answered(&index, touched, id, step, reply, max)
        }
        Job::Requested(message, reply) => requested(&index, touched, message, reply, max),
        Job::Drained(from, seal, reply) => drained(&index, touched, (from, seal), reply, max),
        Job::Seal(on, reply) => {
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
            let next_entry = shared.next_entry.load(std::sync::atomic::Ordering::Relaxed);
            let record = Record::Globals { next_entry, seal };
            write(
                vec![Draft::new(EntryId::from_u64(0), record, max)],
                Box::new(move |result| drop(reply.send(result.map(|()| seal)))),
            )
        }
        Job::Flush(reply) => write(Vec::new(), Box::new(move |result| drop(reply.send(result)))),
        Job::Evacuate(epoch, survivors, reply) => {
            touched.exclusive = true;
            let drafts = survivors
                .into_iter()
                .flat_map(|s| survive(&index, epoch, s, max))
                .collect();
            write(drafts, Box::new(move |result| drop(reply.send(result))))
        }
    }
}

fn refuse<T>(reply: Reply<T, HandoverError>, error: HandoverError) -> Plan {
    let _ = reply.send(Err(error));
    Plan::Nothing
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
    }];
    Plan::Write {
        drafts,
        notify: Some(Box::new(notify)),
        message: true,
    }
}

fn hold(
    index: &Index,
    touched: &mut Touched,
    message: NewMessage,
    transfer: TransferId,
    reply: Reply<crate::handover::ToSource, HandoverError>,
) -> Plan {
    let known = index.transfers.get(&transfer).map(|t| &t.state);
    let drained = index
        .drained
        .get(&transfer.source)
        .is_some_and(|seal| transfer.seal <= *seal);
    let refused = index.seal.sealed || drained;
    let heard = target::Input::Heard {
        message: ToTarget::Offer(transfer),
        hold: message.id,
        refuse: refused,
    };
    let step = target::step(known, &heard);
    let Some(answer) = step.send else {
        return refuse(reply, HandoverError::NoSuchEntry);
    };
    if matches!(step.next, target::Next::Hold(_)) {
        touched.step(message.id);
        touched.transfers.insert(transfer);
        return new_message(message, move |result| {
            drop(reply.send(result.map(|()| answer).map_err(Into::into)));
        });
    }
    if known.is_none() {
        return refuse(
            reply,
            if drained {
                HandoverError::Drained
            } else {
                HandoverError::Sealed
            },
        );
    }
    let _ = reply.send(Ok(answer));
    Plan::Nothing
}

fn finish(index: &Index, touched: &mut Touched, id: EntryId, max: usize) -> Plan {
    let owned = index
        .entries
        .get(&id)
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

fn answered(
    index: &Index,
    touched: &mut Touched,
    id: EntryId,
    step: source::Step,
    reply: Reply<Answered, HandoverError>,
    max: usize,
) -> Plan {
    let mut answer = Answered {
        send: step.send.map(|(_, message)| message),
        ..Answered::default()
    };
    let record = match step.next {
        source::Next::Same => {
            let _ = reply.send(Ok(answer));
            return Plan::Nothing;
        }
        source::Next::Become(next) => {
            answer.taken_back = matches!(next, Source::Owned { .. }).then_some(id);
            Record::Step(next)
        }
        source::Next::Free => {
            answer.freed = Some(id);
            Record::Done {
                homes: index.homes(id),
            }
        }
    };
    touched.step(id);
    write(
        vec![Draft::new(id, record, max)],
        Box::new(move |result| drop(reply.send(result.map(|()| answer).map_err(Into::into)))),
    )
}

fn requested(
    index: &Index,
    touched: &mut Touched,
    message: ToTarget,
    reply: Reply<Requested, HandoverError>,
    max: usize,
) -> Plan {
    let transfer = message.transfer();
    let known = index.transfers.get(&transfer).map(|t| &t.state);
    let input = target::Input::Heard {
        message,
        hold: EntryId::from_u64(0),
        refuse: false,
    };
    let step = target::step(known, &input);
    let (id, record, released) = match step.next {
        target::Next::Same => {
            let _ = reply.send(Ok(Requested {
                send: step.send,
                released: None,
            }));
            return Plan::Nothing;
        }
        target::Next::Hold(_) => {
            let _ = reply.send(Ok(Requested::default()));
            return Plan::Nothing;
        }
        target::Next::Release(hold) => (hold, Record::Released(transfer), Some(hold)),
        target::Next::Drop(hold) => (
            hold,
            Record::Done {
                homes: index.homes(hold),
            },
            None,
        ),
        target::Next::Forget => (held(known), forgotten(index, transfer), None),
    };
    touched.step(id);
    touched.transfers.insert(transfer);
    let answer = Requested {
        send: step.send,
        released,
    };
    write(
        vec![Draft::new(id, record, max)],
        Box::new(move |result| drop(reply.send(result.map(|()| answer).map_err(Into::into)))),
    )
}

fn drained(
    index: &Index,
    touched: &mut Touched,
    (from, seal): (crate::types::SpoolUuid, u64),
    reply: Reply<Drained>,
    max: usize,
) -> Plan {
    let mut answer = Drained::default();
    let mut drafts = Vec::new();
    for (transfer, known) in &index.transfers {
        if transfer.source != from || transfer.seal > seal {
            continue;
        }
        match target::step(Some(&known.state), &target::Input::Drained).next {
            target::Next::Drop(hold) => {
                answer.aborted += 1;
                drafts.push(Draft::new(
                    hold,
                    Record::Done {
                        homes: index.homes(hold),
                    },
                    max,
                ));
            }
            target::Next::Forget => {
                answer.freed += 1;
                drafts.push(Draft::new(
                    held(Some(&known.state)),
                    forgotten(index, *transfer),
                    max,
                ));
            }
            _ => {}
        }
    }
    touched.exclusive = true;
    write(
        drafts,
        Box::new(move |result| drop(reply.send(result.map(|()| answer)))),
    )
}

const fn held(state: Option<&Target>) -> EntryId {
    match state {
        Some(Target::Held { hold } | Target::Released { hold }) => *hold,
        None => EntryId::from_u64(0),
    }
}

fn forgotten(index: &Index, transfer: TransferId) -> Record {
    Record::Forgotten {
        transfer,
        homes: index.release_homes(&transfer),
    }
}

/// The records that carry a survivor out of its segment; none if it has died or moved meanwhile.
fn survive(index: &Index, epoch: u64, survivor: Survivor, max: usize) -> Vec<Draft> {
    match survivor {
        Survivor::Message(id, payload) => {
            let Some(entry) = index.entries.get(&id).filter(|e| e.home.epoch == epoch) else {
                return Vec::new();
            };
            let kind = if entry.blob { 2 } else { 1 };
            let Some(record) = Record::decode(kind, &payload) else {
                return Vec::new();
            };
            let crc = crc32c::crc32c(&payload);
            let copy = Draft {
                entry: id,
                record,
                head: payload,
                body: Vec::new(),
                crc,
            };
            if entry.aux.is_empty() && !entry.handed && untouched(&entry.states) {
                vec![copy]
            } else {
                vec![copy, snapshot(id, entry, max)]
            }
        }
        Survivor::State(id) => index
            .entries
            .get(&id)
            .map(|entry| snapshot(id, entry, max))
            .into_iter()
            .collect(),
        Survivor::Release(transfer) => match index.transfers.get(&transfer).map(|t| t.state) {
            Some(Target::Released { hold }) => vec![Draft::new(hold, Record::Released(transfer), max)],
            _ => Vec::new(),
        },
        Survivor::Tomb(tomb) => {
            let record = match tomb.transfer {
                None => Record::Done { homes: tomb.homes },
                Some(transfer) => Record::Forgotten {
                    transfer,
                    homes: tomb.homes,
                },
            };
            vec![Draft::new(tomb.entry, record, max)]
        }
    }
}

fn untouched(states: &[RecipientState]) -> bool {
    states.iter().all(|state| *state == RecipientState::default())
}

fn snapshot(id: EntryId, entry: &Entry, max: usize) -> Draft {
    let owner: Owner = entry.owner;
    Draft::new(
        id,
        Record::Snapshot {
            states: entry.states.clone(),
            owner,
        },
        max,
    )
}
