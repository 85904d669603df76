//! What the index keeps for each entry, in as few octets as it takes: a million entries wait in memory.
//!
//! Reply texts are shared (a dead host says the same to everybody), what is rare is boxed, one recipient needs no
//! allocation.

use std::collections::HashSet;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::format::record::Owner;
use crate::handover::source::Source;
use crate::types::{RecipientState, Status};

/// A recipient's state.
#[derive(Clone, Debug)]
struct Compact {
    next_attempt: u64,
    reply: Option<Arc<str>>,
    attempts: u32,
    status: Status,
    delay_notified: bool,
    by_notified: bool,
}

/// The states of an entry's recipients, in the envelope's order.
#[derive(Clone, Debug, Default)]
pub struct States(SmallVec<[Compact; 1]>);

/// Reply texts, each once.
#[derive(Debug, Default)]
pub struct Replies(HashSet<Arc<str>>);

impl Replies {
    fn shared(&mut self, text: &str) -> Option<Arc<str>> {
        if text.is_empty() {
            return None;
        }
        if let Some(known) = self.0.get(text) {
            return Some(Arc::clone(known));
        }
        if self.0.len() >= MOST_TEXTS {
            // Those that nobody has any more, and if that is not enough, all: sharing is a saving, not a need.
            self.0.retain(|text| Arc::strong_count(text) > 1);
            if self.0.len() >= MOST_TEXTS / 2 {
                self.0.clear();
            }
        }
        let text: Arc<str> = text.into();
        self.0.insert(Arc::clone(&text));
        Some(text)
    }
}

impl States {
    /// The same in fewer octets.
    pub fn new(states: &[RecipientState], replies: &mut Replies) -> Self {
        Self(states.iter().map(|state| Compact::new(state, replies)).collect())
    }

    /// How many recipients there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Replaces a state; a position that is not there is ignored.
    pub fn set(&mut self, index: u32, state: &RecipientState, replies: &mut Replies) {
        let slot = usize::try_from(index).ok().and_then(|at| self.0.get_mut(at));
        if let Some(slot) = slot {
            *slot = Compact::new(state, replies);
        }
    }

    /// The states as they are told.
    pub fn to_vec(&self) -> Vec<RecipientState> {
        self.0.iter().map(Compact::whole).collect()
    }

    /// How many are pending, and when the earliest of them is to be tried.
    pub fn pending(&self) -> (usize, u64) {
        let pending = || self.0.iter().filter(|state| state.status == Status::Pending);
        let next = pending().map(|state| state.next_attempt).min();
        (pending().count(), next.unwrap_or(0))
    }

    /// Nothing was tried yet.
    pub fn are_untouched(&self) -> bool {
        self.0
            .iter()
            .all(|state| state.whole() == RecipientState::default())
    }
}

impl Compact {
    fn new(state: &RecipientState, replies: &mut Replies) -> Self {
        Self {
            next_attempt: state.next_attempt,
            reply: replies.shared(&state.reply),
            attempts: state.attempts,
            status: state.status,
            delay_notified: state.delay_notified,
            by_notified: state.by_notified,
        }
    }

    fn whole(&self) -> RecipientState {
        RecipientState {
            status: self.status,
            attempts: self.attempts,
            next_attempt: self.next_attempt,
            delay_notified: self.delay_notified,
            by_notified: self.by_notified,
            reply: self.reply.as_deref().unwrap_or_default().to_owned(),
        }
    }
}

/// Who is responsible for an entry: nearly always this spool, with no offer standing.
#[derive(Clone, Debug)]
pub enum Responsible {
    /// This spool; the generation of the next offer.
    Us(u32),
    /// A hand-over is under way.
    Moving(Box<Owner>),
}

impl From<Owner> for Responsible {
    fn from(owner: Owner) -> Self {
        match owner {
            Owner::Ours(Source::Owned { generation }) => Self::Us(generation),
            other => Self::Moving(Box::new(other)),
        }
    }
}

impl Responsible {
    /// The whole value.
    pub fn owner(&self) -> Owner {
        match self {
            Self::Us(generation) => Owner::Ours(Source::Owned {
                generation: *generation,
            }),
            Self::Moving(owner) => **owner,
        }
    }
}

/// Distinct texts that are shared at once.
const MOST_TEXTS: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn state(reply: &str) -> RecipientState {
        RecipientState {
            attempts: 3,
            next_attempt: 7,
            delay_notified: true,
            by_notified: true,
            reply: reply.to_owned(),
            ..RecipientState::default()
        }
    }

    #[test]
    fn states_come_back_as_they_were() {
        let mut replies = Replies::default();
        let all = [state("451 later"), state(""), RecipientState::default()];
        let mut states = States::new(&all, &mut replies);
        assert_eq!(states.to_vec(), all);
        assert_eq!(states.pending(), (3, 0));
        states.set(2, &state("x"), &mut replies);
        states.set(9, &state("y"), &mut replies);
        assert_eq!((states.len(), states.pending()), (3, (3, 7)));
        assert!(!states.are_untouched());
    }

    #[test]
    fn one_text_is_kept_once_however_many_have_it() {
        let mut replies = Replies::default();
        let one = replies.shared("no route").unwrap();
        assert!(Arc::ptr_eq(&one, &replies.shared("no route").unwrap()));
        for number in 0..20_000 {
            replies.shared(&number.to_string());
        }
        assert!(replies.0.len() <= MOST_TEXTS);
    }

    #[test]
    fn an_entry_with_one_recipient_is_small() {
        assert!(
            size_of::<crate::index::Entry>() <= 160,
            "{}",
            size_of::<crate::index::Entry>()
        );
    }
}
