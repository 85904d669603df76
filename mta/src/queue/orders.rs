//! What a person orders about entries: hold, release, try now, return, throw away, move to another policy.
//!
//! ```text
//!   order ─► attempts of the entries end ─► applied to those that the queue still has ─► durable ─► answered
//! ```
//!
//! Carried out by the scheduler, in turn with withdrawals of a hand-over: an entry that was withdrawn is not the queue's
//! any more, and an order about it does nothing.

use std::io;
use std::sync::Arc;

use postroad_spool::{EntryId, Item, Ownership, RecipientState, RecipientUpdate, Spool, Status as State};
use tokio::sync::oneshot;

use super::hot::Hot;
use super::index::Index;
use super::owed::{is_owed, owe};
use super::{Command, Queue, clock, sort};
use crate::outcome::{Outcome, Status, Verdict};

/// When a held recipient is tried: never. It does not expire either; somebody holds it.
pub const HELD: u64 = u64::MAX;

/// An order about entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Not tried until it is released. Durable, and handed over with the entry.
    Hold,
    /// Tried now, and again by its schedule; its sites are probed at once where they are dead.
    Retry,
    /// Its route is another one: tried now by that, unless it is held.
    Reroute,
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

    /// Moves entries to a policy of the configuration, or with `None` back to their usual routes. Returns those that it was
    /// carried out for, once that is durable. A caller that goes away does not cut it off.
    ///
    /// Errors: the move cannot be written; nothing has changed then.
    pub async fn move_to(&self, entries: Vec<EntryId>, policy: Option<String>) -> io::Result<Vec<EntryId>> {
        let queue = self.clone();
        let work = async move {
            let spool = &queue.0.spool;
            let entries: Vec<EntryId> = entries
                .into_iter()
                .filter(|entry| is_owned(spool, *entry))
                .collect();
            if entries.is_empty() {
                return Ok(entries);
            }
            let (moved, all) = (queue.0.moved.clone(), entries.clone());
            tokio::task::spawn_blocking(move || moved.set(&all, policy.as_deref())).await??;
            Ok(queue.order(Order::Reroute, entries).await)
        };
        tokio::spawn(work).await?
    }

    /// The policy that a person moved an entry to.
    pub fn moved_to(&self, entry: EntryId) -> Option<Arc<str>> {
        self.0.moved.of(entry)
    }

    /// The names of the policies that messages can be moved to.
    pub fn policies(&self) -> Vec<String> {
        let settings = self.0.live.current();
        let policies = settings.set.file.policies.iter();
        policies.map(|policy| policy.name.clone()).collect()
    }

    /// The sites that an entry waits for.
    pub fn sites_of(&self, entry: EntryId, item: &Item) -> Vec<String> {
        let settings = self.0.live.current();
        let by = self.moved_to(entry);
        sort::sites(&settings.set.file, &self.0.sites, item, by.as_deref())
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
    let Some(states) = spool.states(entry).filter(|_| is_owned(spool, entry)) else {
        return false;
    };
    let now = clock::now();
    match order {
        Order::Hold => {
            index.add(entry, if states.iter().any(is_owed) { now } else { HELD });
            change(spool, entry, &states, |state| set(state, HELD))
        }
        Order::Retry => {
            index.retry(entry, now);
            change(spool, entry, &states, |state| set(state, now))
        }
        Order::Reroute => {
            let waits = |state: &RecipientState| state.status == State::Pending && state.next_attempt != HELD;
            index.add(entry, if states.iter().any(waits) { now } else { HELD });
            change(spool, entry, &states, |state| {
                if state.next_attempt != HELD {
                    set(state, now);
                }
            })
        }
        Order::Return => {
            // Recorded before it is answered: the notice may come later, and a restart does not undo it.
            let outcome = by_hand();
            let recorded = change(spool, entry, &states, |state| {
                if !is_owed(state) {
                    state.reply = outcome.kept();
                    owe(state);
                }
            });
            if recorded {
                let all = 0..u32::try_from(states.len()).unwrap_or(u32::MAX);
                index.settle_instead(entry, all.collect(), &Arc::new(outcome));
            } else {
                index.add(entry, now);
            }
            recorded
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

fn is_owned(spool: &Spool, entry: EntryId) -> bool {
    spool
        .summary(entry)
        .is_some_and(|summary| summary.ownership == Ownership::Owned)
}

/// Sets when the recipient is tried, unless its verdict is known: an order does not take that back.
fn set(state: &mut RecipientState, next_attempt: u64) {
    if !is_owed(state) {
        state.next_attempt = next_attempt;
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
