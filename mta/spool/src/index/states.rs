//! The states of an entry's recipients, in as few octets as it takes.
//!
//! Reply texts are shared (a dead host says the same to everybody), one recipient needs no allocation.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::types::{RecipientState, Status};

/// A recipient's state.
#[derive(Clone, Debug)]
pub struct Compact {
    next_attempt: u64,
    reply: Option<Text>,
    attempts: u32,
    status: Status,
    delay_notified: bool,
    by_notified: bool,
}

/// The states of an entry's recipients, in the envelope's order.
#[derive(Clone, Debug)]
pub enum States {
    One(Compact),
    Many(Box<[Compact]>),
}

/// A reply text that others may have too; a thin pointer, as there is one for each recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Text(Arc<Box<str>>);

/// Reply texts, each once.
#[derive(Debug, Default)]
pub struct Replies(HashSet<Text>);

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// As its text, so that a text is found without making one of these.
impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let text: &str = self.borrow();
        text.hash(state);
    }
}

impl Replies {
    fn shared(&mut self, text: &str) -> Option<Text> {
        if text.is_empty() {
            return None;
        }
        if let Some(known) = self.0.get(text) {
            return Some(known.clone());
        }
        if self.0.len() >= MOST_TEXTS {
            // Those that nobody has any more, and if that is not enough, all: sharing is a saving, not a need.
            self.0.retain(|text| Arc::strong_count(&text.0) > 1);
            if self.0.len() >= MOST_TEXTS / 2 {
                self.0.clear();
            }
        }
        let text = Text(Arc::new(text.into()));
        self.0.insert(text.clone());
        Some(text)
    }
}

impl States {
    /// The same in fewer octets.
    pub fn new(states: &[RecipientState], replies: &mut Replies) -> Self {
        match states {
            [one] => Self::One(Compact::new(one, replies)),
            many => Self::Many(many.iter().map(|state| Compact::new(state, replies)).collect()),
        }
    }

    fn all(&self) -> &[Compact] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    fn all_mut(&mut self) -> &mut [Compact] {
        match self {
            Self::One(one) => std::slice::from_mut(one),
            Self::Many(many) => many,
        }
    }

    /// Each state with its reply text left where it is.
    pub fn each(&self) -> impl Iterator<Item = (RecipientState, &str)> {
        self.all().iter().map(|state| (state.bare(), state.text()))
    }

    /// How many recipients there are.
    pub fn len(&self) -> usize {
        self.all().len()
    }

    /// Replaces a state; a position that is not there is ignored.
    pub fn set(&mut self, index: u32, state: &RecipientState, replies: &mut Replies) {
        let slot = usize::try_from(index)
            .ok()
            .and_then(|at| self.all_mut().get_mut(at));
        if let Some(slot) = slot {
            *slot = Compact::new(state, replies);
        }
    }

    /// Replaces all of them.
    pub fn replace(&mut self, states: &[RecipientState], replies: &mut Replies) {
        *self = Self::new(states, replies);
    }

    /// The states as they are told.
    pub fn to_vec(&self) -> Vec<RecipientState> {
        self.all().iter().map(Compact::whole).collect()
    }

    /// How many are pending, and when the earliest of them is to be tried.
    pub fn pending(&self) -> (usize, u64) {
        let pending = || self.all().iter().filter(|state| state.status == Status::Pending);
        let next = pending().map(|state| state.next_attempt).min();
        (pending().count(), next.unwrap_or(0))
    }

    /// Nothing was tried yet.
    pub fn are_untouched(&self) -> bool {
        let untouched = RecipientState::default();
        self.each()
            .all(|(state, reply)| reply.is_empty() && state == untouched)
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

    fn text(&self) -> &str {
        self.reply.as_ref().map_or("", Borrow::borrow)
    }

    /// All but the reply text.
    const fn bare(&self) -> RecipientState {
        RecipientState {
            status: self.status,
            attempts: self.attempts,
            next_attempt: self.next_attempt,
            delay_notified: self.delay_notified,
            by_notified: self.by_notified,
            reply: String::new(),
        }
    }

    fn whole(&self) -> RecipientState {
        RecipientState {
            reply: self.text().to_owned(),
            ..self.bare()
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
        assert!(Arc::ptr_eq(&one.0, &replies.shared("no route").unwrap().0));
        for number in 0..20_000 {
            replies.shared(&number.to_string());
        }
        assert!(replies.0.len() <= MOST_TEXTS);
    }
}
