//! The states of an entry's recipients, in as few octets as it takes.
//!
//! Reply texts are shared (a dead host says the same to everybody), one recipient needs no allocation.

use crate::index::replies::{Replies, Text};
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
        self.reply.as_ref().map_or("", Text::as_str)
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
}
