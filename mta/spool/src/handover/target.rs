//! The taking side of a hand-over: what this spool knows of one transfer.
//!
//! Pure. One [`Target`] per transfer; `None` in [`step`] is a transfer this spool knows nothing of.

use super::{ToSource, ToTarget, TransferId};
use crate::types::EntryId;

/// State of one transfer at the taking side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Durable here as entry `hold`, not deliverable.
    Held {
        /// The entry here.
        hold: EntryId,
    },
    /// Owned here, delivered here; the source has not confirmed that it freed its bytes. Outlives the entry.
    Released {
        /// The entry here.
        hold: EntryId,
    },
}

/// What can happen to the taking side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The source says something. For an offer `hold` is the id the item would get.
    Heard {
        /// What it says.
        message: ToTarget,
        /// The id a new hold would get; used by an offer only.
        hold: EntryId,
        /// This spool takes nothing: it is sealed, too full, or the source is declared drained or lost.
        refuse: bool,
    },
    /// Nothing was heard for a while.
    Ask(TransferId),
    /// The source is declared drained with the seal of this transfer or a later one: it owns nothing any more.
    Drained,
    /// A person says that the volume of the source is lost: what is held for it may be the only copy.
    Lost,
}

/// The state from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing changes: nothing to sync.
    Same,
    /// Sync the item as held, then send.
    Hold(EntryId),
    /// Sync that the held entry is ours, make it deliverable, then send.
    Release(EntryId),
    /// Sync that the held entry is dropped.
    Drop(EntryId),
    /// Sync that the transfer is forgotten; the entry (if not finished yet) stays ours.
    Forget,
}

/// One step: sync `next`, then send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The state from now on.
    pub next: Next,
    /// What to answer after that.
    pub send: Option<ToSource>,
}

const NOTHING: Step = Step {
    next: Next::Same,
    send: None,
};

/// Decides the next step of the taking side.
pub fn step(state: Option<&Target>, input: &Input) -> Step {
    match *input {
        Input::Heard {
            message,
            hold,
            refuse,
        } => heard(state, message, hold, refuse),
        Input::Ask(transfer) => match state {
            Some(Target::Held { .. }) => say(ToSource::Ask {
                transfer,
                released: false,
            }),
            Some(Target::Released { .. }) => say(ToSource::Ask {
                transfer,
                released: true,
            }),
            None => NOTHING,
        },
        Input::Drained => match state {
            Some(Target::Held { hold }) => Step {
                next: Next::Drop(*hold),
                send: None,
            },
            Some(Target::Released { .. }) => Step {
                next: Next::Forget,
                send: None,
            },
            None => NOTHING,
        },
        // What was released before stays known: should the source come back after all, it is told so.
        Input::Lost => match state {
            Some(Target::Held { hold }) => Step {
                next: Next::Release(*hold),
                send: None,
            },
            _ => NOTHING,
        },
    }
}

fn heard(state: Option<&Target>, message: ToTarget, new: EntryId, refuse: bool) -> Step {
    match (message, state) {
        (ToTarget::Offer(transfer), None) if refuse => say(ToSource::Unknown(transfer)),
        (ToTarget::Offer(transfer), None) => Step {
            next: Next::Hold(new),
            send: Some(ToSource::Held { transfer, hold: new }),
        },
        (ToTarget::Query(transfer), None) => say(ToSource::Unknown(transfer)),
        (ToTarget::Offer(transfer) | ToTarget::Query(transfer), Some(Target::Held { hold })) => {
            say(ToSource::Held {
                transfer,
                hold: *hold,
            })
        }
        (ToTarget::Offer(transfer) | ToTarget::Query(transfer), Some(Target::Released { .. })) => {
            say(ToSource::Released(transfer))
        }
        (ToTarget::Release { transfer, hold }, Some(Target::Held { hold: mine })) if hold == *mine => Step {
            next: Next::Release(hold),
            send: Some(ToSource::Released(transfer)),
        },
        (ToTarget::Release { transfer, hold }, Some(Target::Released { hold: mine })) if hold == *mine => {
            say(ToSource::Released(transfer))
        }
        (ToTarget::Freed(_), Some(Target::Released { .. })) => Step {
            next: Next::Forget,
            send: None,
        },
        (ToTarget::Abort(_), Some(Target::Held { hold })) => Step {
            next: Next::Drop(*hold),
            send: None,
        },
        // A release of something else, a freed hold, an aborted release: left over from earlier, no meaning now.
        _ => NOTHING,
    }
}

const fn say(message: ToSource) -> Step {
    Step {
        next: Next::Same,
        send: Some(message),
    }
}
