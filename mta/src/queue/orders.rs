//! What a person orders about entries: hold, release, try now, return, throw away.
//!
//! ```text
//!   order ─► attempts of the entries end ─► applied to those that the queue still has ─► durable ─► answered
//! ```
//!
//! Carried out by the scheduler, in turn with withdrawals of a hand-over: an entry that was withdrawn is not the queue's
//! any more, and an order about it does nothing.

use std::sync::Arc;

use postroad_spool::{EntryId, Ownership, RecipientState, RecipientUpdate, Spool, Status as State};
use tokio::sync::oneshot;

use super::hot::Hot;
use super::index::Index;
use super::{Command, Queue, clock};
use crate::outcome::{Outcome, Status, Verdict};

/// When a held recipient is tried: never. It does not expire either; somebody holds it.
pub const HELD: u64 = u64::MAX;

/// An order about entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Not tried until it is released. Durable, and handed over with the entry.
    Hold,
    /// Tried now, and again by its schedule; a dead site is probed at once.
    Retry,
    /// Given up now; the sender is told, as after its lifetime.
    Return,
    /// Given up now; nobody is told.
    Discard,
}

/// An order that waits for attempts to end.
pub(super) struct Waiting {
    pub(super) order: Order,
    pub(super) entries: Vec<EntryId>,
    pub(super) done: Vec<EntryId>,
    pub(super) answer: oneshot::Sender<Vec<EntryId>>,
}

impl Queue {
    /// Carries out an order. Returns the entries that it was carried out for, once that is durable; the others are gone,
    /// are being handed over, or are not here.
    pub async fn order(&self, order: Order, entries: Vec<EntryId>) -> Vec<EntryId> {
        let (answer, done) = oneshot::channel();
        self.send(Command::Order(Waiting {
            order,
            entries,
            done: Vec::new(),
            answer,
        }));
        done.await.unwrap_or_default()
    }
}

impl Waiting {
    /// Applies the order to the entries whose attempts have ended. True: to all of them.
    pub(super) fn proceed(&mut self, index: &mut Index, hot: &Hot, spool: &Spool) -> bool {
        for entry in std::mem::take(&mut self.entries) {
            if !index.contains(entry) {
                continue;
            }
            if !index.remove(entry) {
                self.entries.push(entry);
                continue;
            }
            hot.forget(entry);
            if apply(self.order, entry, index, spool) {
                self.done.push(entry);
            }
        }
        if self.entries.is_empty() && self.order == Order::Retry {
            index.open_sites();
        }
        self.entries.is_empty()
    }

    /// Answers when what was recorded is durable.
    pub(super) fn answer(self, spool: Spool) {
        tokio::spawn(async move {
            let durable = spool.flush().await.is_ok();
            let _ = self.answer.send(if durable { self.done } else { Vec::new() });
        });
    }
}

fn apply(order: Order, entry: EntryId, index: &mut Index, spool: &Spool) -> bool {
    let owned = spool
        .summary(entry)
        .is_some_and(|summary| summary.ownership == Ownership::Owned);
    let Some(states) = spool.states(entry).filter(|_| owned) else {
        return false;
    };
    let now = clock::now();
    match order {
        Order::Hold => {
            index.add(entry, HELD);
            change(spool, entry, &states, |state| state.next_attempt = HELD)
        }
        Order::Retry => {
            index.add(entry, now);
            change(spool, entry, &states, |state| state.next_attempt = now)
        }
        Order::Return => {
            index.add(entry, HELD);
            let all = 0..u32::try_from(states.len()).unwrap_or(u32::MAX);
            index.settle_instead(entry, all.collect(), &Arc::new(by_hand()));
            true
        }
        Order::Discard => {
            let recorded = change(spool, entry, &states, |state| {
                state.status = State::Failed;
                "discarded by hand".clone_into(&mut state.reply);
            });
            recorded && spool.finish(entry).is_ok()
        }
    }
}

fn change(
    spool: &Spool,
    entry: EntryId,
    states: &[RecipientState],
    with: impl Fn(&mut RecipientState),
) -> bool {
    let pending = (0..)
        .zip(states)
        .filter(|(_, state)| state.status == State::Pending);
    let updates: Vec<RecipientUpdate> = pending
        .map(|(index, state)| {
            let mut state = state.clone();
            with(&mut state);
            RecipientUpdate { index, state }
        })
        .collect();
    spool.record(entry, &updates).is_ok()
}

/// RFC 3463: X.3.0, the system; the text says that a person did it.
fn by_hand() -> Outcome {
    Outcome::ours(
        Verdict::Failed,
        Status::new(5, 3, 0),
        "the operator of the mail system has returned this message",
    )
}
