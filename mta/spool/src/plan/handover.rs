//! What the steps of a hand-over write: the decisions are those of [`crate::handover`].

use super::{Draft, Plan, Touched, new_message, write};
use crate::declared::{Drained, Orphan, Settled};
use crate::errors::HandoverError;
use crate::format::record::Record;
use crate::handover::source::{self, Source};
use crate::handover::target::{self, Target};
use crate::handover::{ToSource, ToTarget, TransferId};
use crate::index::{Entry, Index};
use crate::shared::{NewMessage, Reply};
use crate::spool::{Answered, Requested};
use crate::types::{EntryId, SpoolUuid};

/// Source: offers an entry.
pub fn offer(
    index: &Index,
    touched: &mut Touched,
    uuid: SpoolUuid,
    (id, to): (EntryId, SpoolUuid),
    reply: Reply<ToTarget, HandoverError>,
    max: usize,
) -> Plan {
    let seal = index.seal;
    let Some(entry) = index.entries.get(id).filter(|e| !e.finished) else {
        return refuse(reply, HandoverError::NoSuchEntry);
    };
    if index.lost.contains(&to) {
        return refuse(reply, HandoverError::Lost);
    }
    let input = source::Input::Offer {
        source: uuid,
        seal: seal.of_offers(),
        entry: id,
        target: to,
    };
    let step = source::step(entry.source().as_ref(), &input);
    let (source::Next::Become(next), Some((_, message))) = (step.next, step.send) else {
        return refuse(reply, HandoverError::NotOwned);
    };
    touched.step(id);
    write(
        vec![Draft::new(id, Record::Step(next), max)],
        Box::new(move |result| drop(reply.send(result.map(|()| message).map_err(Into::into)))),
    )
}

/// Target: the item of an offer.
pub fn hold(
    index: &Index,
    touched: &mut Touched,
    message: NewMessage,
    transfer: TransferId,
    reply: Reply<ToSource, HandoverError>,
) -> Plan {
    let known = index.transfers.get(&transfer).map(|t| &t.state);
    let drained = index
        .drained
        .get(&transfer.source)
        .is_some_and(|seal| transfer.seal <= *seal);
    let lost = index.lost.contains(&transfer.source);
    let refused = index.seal.sealed || drained || lost;
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
            } else if lost {
                HandoverError::Lost
            } else {
                HandoverError::Sealed
            },
        );
    }
    let _ = reply.send(Ok(answer));
    Plan::Nothing
}

/// Source: a target said something.
pub fn answered(
    index: &Index,
    touched: &mut Touched,
    uuid: SpoolUuid,
    (from, message): (SpoolUuid, ToSource),
    reply: Reply<Answered, HandoverError>,
    max: usize,
) -> Plan {
    let id = message.transfer().entry;
    let known = index
        .entries
        .get(id)
        .filter(|e| message.transfer().source == uuid && !e.finished);
    let step = source::step(
        known.and_then(Entry::source).as_ref(),
        &source::Input::Heard { from, message },
    );
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

/// Target: a source said something.
pub fn requested(
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

/// Target: a source is drained.
pub fn drained(
    index: &Index,
    touched: &mut Touched,
    (from, seal): (SpoolUuid, u64),
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

/// Either side: the other one is lost.
pub fn orphan(
    index: &Index,
    touched: &mut Touched,
    orphan: Orphan,
    reply: Reply<Settled, HandoverError>,
    max: usize,
) -> Plan {
    let mut answer = Settled::default();
    let (id, record) = match orphan {
        Orphan::Held(transfer) => {
            let known = index.transfers.get(&transfer).map(|t| &t.state);
            let lost = index.lost.contains(&transfer.source);
            let step = target::step(known.filter(|_| lost), &target::Input::Lost);
            let target::Next::Release(hold) = step.next else {
                let _ = reply.send(Ok(answer));
                return Plan::Nothing;
            };
            touched.transfers.insert(transfer);
            answer.released = Some(hold);
            answer.lost = Some(transfer.source);
            answer.perhaps_twice = true;
            (hold, Record::Released(transfer))
        }
        Orphan::Out(id) => {
            let known = index.entries.get(id).filter(|entry| !entry.finished);
            let source = known.and_then(Entry::source);
            let to = match source {
                Some(Source::Offered { target, .. } | Source::Given { target, .. }) => Some(target),
                _ => None,
            };
            let lost = to.filter(|to| index.lost.contains(to));
            let step = lost.map(|lost| source::step(source.as_ref(), &source::Input::Lost(lost)));
            let Some(source::Next::Become(next)) = step.map(|step| step.next) else {
                let _ = reply.send(Ok(answer));
                return Plan::Nothing;
            };
            answer.taken_back = Some(id);
            answer.lost = lost;
            // Only what was given may have been released and delivered there.
            answer.perhaps_twice = matches!(source, Some(Source::Given { .. }));
            (id, Record::Step(next))
        }
    };
    touched.step(id);
    write(
        vec![Draft::new(id, record, max)],
        Box::new(move |result| drop(reply.send(result.map(|()| answer).map_err(Into::into)))),
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

fn refuse<T>(reply: Reply<T, HandoverError>, error: HandoverError) -> Plan {
    let _ = reply.send(Err(error));
    Plan::Nothing
}
