//! The giving side of a hand-over: what an entry of this spool is to its owner-to-be.
//!
//! Pure. One [`Source`] per entry; `None` in [`step`] is an entry this spool does not have (any more).

use super::{ToSource, ToTarget, TransferId};
use crate::types::{EntryId, SpoolUuid};

/// Hand-over state of an entry that came from a client or was released to this spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Deliverable here; `generation` is what the next offer will carry.
    Owned {
        /// Number of offers taken back so far.
        generation: u32,
    },
    /// Offered and not known to be held: not deliverable.
    Offered {
        /// The current offer.
        transfer: TransferId,
        /// To whom; no other target while it stands.
        target: SpoolUuid,
    },
    /// The target holds it and may release it at any moment: not deliverable, never again.
    Given {
        /// The current offer.
        transfer: TransferId,
        /// To whom.
        target: SpoolUuid,
        /// The target's id of what it holds.
        hold: EntryId,
    },
}

/// What can happen to the giving side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Offer the entry to `target`; ignored unless owned.
    Offer {
        /// Own uuid.
        source: SpoolUuid,
        /// Own seal number.
        seal: u64,
        /// The entry.
        entry: EntryId,
        /// To whom.
        target: SpoolUuid,
    },
    /// `from` says something.
    Heard {
        /// The spool that says it (authenticated by the caller).
        from: SpoolUuid,
        /// What it says.
        message: ToSource,
    },
    /// After a start, or when nothing was heard for a while.
    Resume,
    /// A person says that the volume of this spool is lost: it will never answer.
    Lost(SpoolUuid),
}

/// The state from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing changes: nothing to sync.
    Same,
    /// Sync this state, then send.
    Become(Source),
    /// Sync that the entry is freed, then send.
    Free,
}

/// One step: sync `next`, then send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The state from now on.
    pub next: Next,
    /// What to send after that, and to whom.
    pub send: Option<(SpoolUuid, ToTarget)>,
}

const NOTHING: Step = Step {
    next: Next::Same,
    send: None,
};

/// Decides the next step of the giving side.
pub fn step(state: Option<&Source>, input: &Input) -> Step {
    match *input {
        Input::Offer {
            source,
            seal,
            entry,
            target,
        } => match state {
            Some(Source::Owned { generation }) => {
                let transfer = TransferId {
                    source,
                    seal,
                    entry,
                    generation: *generation,
                };
                become_and(
                    Source::Offered { transfer, target },
                    target,
                    ToTarget::Offer(transfer),
                )
            }
            _ => NOTHING,
        },
        Input::Resume => match state {
            Some(Source::Offered { transfer, target }) => only(*target, ToTarget::Query(*transfer)),
            Some(Source::Given {
                transfer,
                target,
                hold,
            }) => only(
                *target,
                ToTarget::Release {
                    transfer: *transfer,
                    hold: *hold,
                },
            ),
            _ => NOTHING,
        },
        Input::Heard { from, message } => heard(state, from, message),
        Input::Lost(spool) => match state {
            Some(Source::Offered { transfer, target } | Source::Given { transfer, target, .. })
                if *target == spool =>
            {
                taken_back(*transfer)
            }
            _ => NOTHING,
        },
    }
}

/// The next offer has another name. At the last generation there is none: keep asking.
const fn taken_back(transfer: TransferId) -> Step {
    match transfer.generation.checked_add(1) {
        Some(generation) => Step {
            next: Next::Become(Source::Owned { generation }),
            send: None,
        },
        None => NOTHING,
    }
}

fn heard(state: Option<&Source>, from: SpoolUuid, message: ToSource) -> Step {
    let asked = message.transfer();
    let current = match state {
        Some(Source::Offered { transfer, target } | Source::Given { transfer, target, .. }) => {
            *transfer == asked && *target == from
        }
        _ => false,
    };
    if !current {
        // A late answer to an older offer changes nothing here; a holder of one is told to let go.
        return match message {
            ToSource::Held { .. } | ToSource::Ask { released: false, .. } => {
                only(from, ToTarget::Abort(asked))
            }
            ToSource::Released(_) | ToSource::Ask { released: true, .. } => {
                only(from, ToTarget::Freed(asked))
            }
            ToSource::Unknown(_) => NOTHING,
        };
    }
    match (state, message) {
        (Some(Source::Offered { transfer, target }), ToSource::Held { hold, .. }) => become_and(
            Source::Given {
                transfer: *transfer,
                target: *target,
                hold,
            },
            *target,
            ToTarget::Release {
                transfer: *transfer,
                hold,
            },
        ),
        (Some(Source::Offered { transfer, .. }), ToSource::Unknown(_)) => taken_back(*transfer),
        (Some(Source::Offered { target, .. }), ToSource::Ask { released: false, .. }) => {
            only(*target, ToTarget::Query(asked))
        }
        (
            // Of an offer that was not given it is true only where this spool was declared lost, and came back.
            Some(Source::Offered { target, .. } | Source::Given { target, .. }),
            ToSource::Released(_) | ToSource::Ask { released: true, .. },
        ) => Step {
            next: Next::Free,
            send: Some((*target, ToTarget::Freed(asked))),
        },
        (
            Some(Source::Given { target, hold, .. }),
            ToSource::Held { .. } | ToSource::Ask { released: false, .. },
        ) => only(
            *target,
            ToTarget::Release {
                transfer: asked,
                hold: *hold,
            },
        ),
        _ => NOTHING,
    }
}

/// The entry keeps its spool from being empty. `Given` does: until the target has synced the release, the
/// bytes here are the only ones that a lost target message can be answered with.
pub const fn blocks_empty(state: &Source) -> bool {
    match state {
        Source::Owned { .. } | Source::Offered { .. } | Source::Given { .. } => true,
    }
}

const fn only(to: SpoolUuid, message: ToTarget) -> Step {
    Step {
        next: Next::Same,
        send: Some((to, message)),
    }
}

const fn become_and(state: Source, to: SpoolUuid, message: ToTarget) -> Step {
    Step {
        next: Next::Become(state),
        send: Some((to, message)),
    }
}
