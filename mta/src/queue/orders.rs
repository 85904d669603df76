//! What a person orders about entries: hold, release, try now, return, throw away, move to another policy.
//!
//! ```text
//!   order ─► attempts of the entries end ─► recorded, the entries rest ─► durable ─► in force ─► answered
//!                                                                     └─► not:     as before ─► answered with the error
//! ```
//!
//! Carried out by the scheduler, in turn with withdrawals of a hand-over: an entry that was withdrawn is not the queue's
//! any more, and an order about it does nothing.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use postroad_spool::{
    CommitError, EntryId, Item, Ownership, RecipientState, RecipientUpdate, RecordError, Spool,
    Status as State,
};
use tokio::sync::oneshot;

use super::hot::Hot;
use super::index::Index;
use super::owed::{due_at, is_owed, owe};
use super::{Command, Queue, clock, sort};
use crate::outcome::{Outcome, Status, Verdict};

/// When a held recipient is tried: never. It does not expire either; somebody holds it.
pub const HELD: u64 = u64::MAX;

/// An order about entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Not tried until it is released. Durable, and handed over with the entry.
    Hold,
    /// On hold no more: tried now, and again by its schedule; its sites are probed at once where they are dead.
    Release,
    /// Tried now, and its sites probed, as when it is released; one that is held stays so.
    Retry,
    /// Its route is another one: tried now by that, unless it is held.
    Reroute,
    /// Given up now; the sender is told, as after its lifetime.
    Return,
    /// Given up now; nobody is told.
    Discard,
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// It cannot be made durable.
    #[error("nothing was changed: {0}")]
    NotDurable(#[from] CommitError),
    /// A move cannot be written.
    #[error("nothing was changed: the journal of moved messages cannot be written: {0}")]
    Journal(#[from] io::Error),
    /// The move could not be taken back when the rest of it could not be made durable.
    #[error("the messages go by that route from now on, but are tried no sooner: {0}; {1}")]
    Half(CommitError, io::Error),
    /// The queue has ended meanwhile.
    #[error("the server is ending; whether this was carried out is seen after its next start")]
    Stopped,
}

/// An order that waits for attempts to end, and then for the disk.
pub(super) struct Waiting {
    pub(super) order: Order,
    pub(super) entries: Vec<EntryId>,
    noted: Vec<Noted>,
    answer: oneshot::Sender<Result<Vec<EntryId>, OrderError>>,
}

/// An entry that the order is recorded for.
struct Noted {
    entry: EntryId,
    /// Of those whose state is another now.
    before: Vec<RecipientUpdate>,
}

impl Queue {
    /// Carries out an order. Returns the entries that it was carried out for, once that is durable; the others are gone,
    /// are being handed over, or are not here. After an error it is in force for none.
    pub async fn order(&self, order: Order, entries: Vec<EntryId>) -> Result<Vec<EntryId>, OrderError> {
        let (answer, done) = oneshot::channel();
        self.send(Command::Order(Waiting {
            order,
            entries,
            noted: Vec::new(),
            answer,
        }));
        done.await.unwrap_or(Err(OrderError::Stopped))
    }

    /// Moves entries to a policy of the configuration, or with `None` back to their usual routes. Returns those that it was
    /// carried out for, once that is durable. A caller that goes away does not cut it off.
    pub async fn move_to(
        &self,
        entries: Vec<EntryId>,
        policy: Option<String>,
    ) -> Result<Vec<EntryId>, OrderError> {
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
            let before = queue.moves(&entries);
            let moved = BTreeMap::from([(policy.map(Into::into), entries.clone())]);
            queue.set_moves(moved).await?;
            let ordered = queue.order(Order::Reroute, entries).await;
            let Err(OrderError::NotDurable(error)) = ordered else {
                return ordered;
            };
            Err(match queue.set_moves(before).await {
                Ok(()) => OrderError::NotDurable(error),
                Err(journal) => OrderError::Half(error, journal),
            })
        };
        tokio::spawn(work).await.map_err(io::Error::from)?
    }

    /// Whether all that it waits for is an order: nothing of it is tried until it is released.
    pub fn is_held(&self, entry: EntryId) -> bool {
        is_held(entry, &self.0.spool)
    }

    /// Where entries are moved to.
    fn moves(&self, entries: &[EntryId]) -> Moves {
        entries.iter().fold(Moves::new(), |mut moves, entry| {
            moves.entry(self.moved_to(*entry)).or_default().push(*entry);
            moves
        })
    }

    async fn set_moves(&self, by_policy: Moves) -> io::Result<()> {
        let moved = self.0.moved.clone();
        let set = move || {
            let mut by_policy = by_policy.iter();
            by_policy.try_for_each(|(policy, entries)| moved.set(entries, policy.as_deref()))
        };
        tokio::task::spawn_blocking(set).await?
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

    /// When the first of its recipients is given up.
    pub fn expires(&self, entry: EntryId, item: &Item) -> u64 {
        let settings = self.0.live.current();
        let by = self.moved_to(entry);
        let holds = self.0.lanes.holds();
        sort::expires(&settings.set.file, holds, item, by.as_deref(), clock::now())
    }
}

/// Entries by the policy that they are moved to, if they are.
type Moves = BTreeMap<Option<Arc<str>>, Vec<EntryId>>;

impl Waiting {
    /// Records the order for the entries whose attempts have ended; they rest until it is concluded. True: for all of them.
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
            if let Some(before) = note(self.order, entry, spool) {
                index.add(entry, HELD);
                self.noted.push(Noted { entry, before });
            } else {
                resume(entry, index, spool);
            }
        }
        self.entries.is_empty()
    }

    /// Has it concluded when it is known whether what was recorded is durable.
    pub(super) fn settle(self, spool: Spool, queue: Queue) {
        tokio::spawn(async move {
            let durable = spool.flush().await;
            queue.send(Command::Concluded(self, durable));
        });
    }

    /// Puts it in force, or everything back, and answers.
    pub(super) fn conclude(self, durable: Result<(), CommitError>, index: &mut Index, spool: &Spool) {
        let answer = match durable {
            Ok(()) => {
                let noted = self.noted.iter().map(|noted| noted.entry);
                let done = noted.filter(|entry| enforce(self.order, *entry, index, spool));
                Ok(done.collect())
            }
            Err(error) => {
                for Noted { entry, before } in &self.noted {
                    if let Err(error) = spool.take_back(*entry, before) {
                        tracing::warn!(queue_id = %entry, %error, "an order is not taken back: the entry is gone");
                    }
                    wake(*entry, index, spool);
                }
                Err(error.into())
            }
        };
        // Who asked may have gone.
        let _ = self.answer.send(answer);
    }
}

/// Records what the order says of an entry. Gives the states that were others before; `None`: it is not ours, or nothing
/// can be recorded.
fn note(order: Order, entry: EntryId, spool: &Spool) -> Option<Vec<RecipientUpdate>> {
    let states = spool.states(entry).filter(|_| is_owned(spool, entry))?;
    let now = clock::now();
    let change = |state: &mut RecipientState| match order {
        Order::Discard => {
            state.status = State::Failed;
            "discarded by hand".clone_into(&mut state.reply);
        }
        // Its verdict is known: an order does not take that back.
        _ if is_owed(state) => {}
        Order::Hold => state.next_attempt = HELD,
        Order::Release => state.next_attempt = now,
        Order::Retry | Order::Reroute => {
            if state.next_attempt != HELD {
                state.next_attempt = now;
            }
        }
        // The notice may come later, and a restart does not undo it.
        Order::Return => {
            state.reply = by_hand().kept();
            owe(state);
        }
    };
    let pending = (0..).zip(states).filter_map(|(index, state)| {
        let pending = state.status == State::Pending;
        pending.then_some(RecipientUpdate { index, state })
    });
    let before: Vec<RecipientUpdate> = pending.collect();
    let mut after = before.clone();
    for update in &mut after {
        change(&mut update.state);
    }
    spool.record(entry, &after).ok()?;
    Some(before)
}

/// What is recorded and durable holds from now on, also where the entry is being handed over meanwhile. False: it is gone.
fn enforce(order: Order, entry: EntryId, index: &mut Index, spool: &Spool) -> bool {
    match order {
        Order::Hold | Order::Reroute => {
            wake(entry, index, spool);
            true
        }
        Order::Retry if is_held(entry, spool) => {
            wake(entry, index, spool);
            true
        }
        Order::Release | Order::Retry => {
            if rest_ends(entry, index) {
                index.retry(entry, clock::now());
            }
            true
        }
        Order::Return => {
            if let Some(states) = spool.states(entry).filter(|_| rest_ends(entry, index)) {
                let all = 0..u32::try_from(states.len()).unwrap_or(u32::MAX);
                index.settle_instead(entry, all.collect(), &Arc::new(by_hand()));
            }
            true
        }
        Order::Discard => {
            rest_ends(entry, index);
            // One that cannot be ended now has no recipient left, and is ended by the next start.
            let ended = spool.finish(entry);
            !matches!(ended, Err(RecordError::NoSuchEntry | RecordError::NotOwned))
        }
    }
}

/// The entry rests no more: it goes on as the spool says.
fn wake(entry: EntryId, index: &mut Index, spool: &Spool) {
    if rest_ends(entry, index) {
        resume(entry, index, spool);
    }
}

/// False: it does not rest; it was withdrawn meanwhile, or a later order has woken it.
fn rest_ends(entry: EntryId, index: &mut Index) -> bool {
    index.is_held(entry) && index.remove(entry)
}

fn resume(entry: EntryId, index: &mut Index, spool: &Spool) {
    let states = spool.states(entry).filter(|_| is_owned(spool, entry));
    let states = states.unwrap_or_default().into_iter();
    let pending = states.filter(|state| state.status == State::Pending);
    if let Some(next) = pending.map(|state| due_at(state.next_attempt)).min() {
        index.add(entry, next.max(clock::now()));
    }
}

fn is_held(entry: EntryId, spool: &Spool) -> bool {
    let states = spool.states(entry).unwrap_or_default();
    let mut pending = states
        .iter()
        .filter(|state| state.status == State::Pending)
        .peekable();
    pending.peek().is_some() && pending.all(|state| state.next_attempt == HELD)
}

fn is_owned(spool: &Spool, entry: EntryId) -> bool {
    spool
        .summary(entry)
        .is_some_and(|summary| summary.ownership == Ownership::Owned)
}

/// RFC 3463: X.3.0, the system; the text says that a person did it.
fn by_hand() -> Outcome {
    Outcome::ours(
        Verdict::Failed,
        Status::new(5, 3, 0),
        "the operator of the mail system has returned this message",
    )
}

#[cfg(test)]
#[path = "orders_tests.rs"]
mod tests;
