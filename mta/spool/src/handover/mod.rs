//! Hand-over of entries from a spool to another, so that every entry has exactly one owner at any moment. A sealed spool gives all
//! that it has; one that is not may give some, and its offers belong to the seal that is to come ([`crate::SealState::of_offers`]).
//!
//! Pure: [`source::step`] and [`target::step`] take a state and an input and return the next state and what to
//! send. The spool makes the next state durable before anything is sent; a crash between the two is a lost
//! message, and every message may be lost, doubled, late or out of order.
//!
//! ```text
//!  source                                   target
//!  Owned ── OFFERED synced ── Offer ──►     (nothing) ── HELD synced
//!  Offered ◄──────────────── Held ───       Held
//!  Given   ── GIVEN synced ── Release ──►   Held ── RELEASED synced: deliverable here
//!  Given   ◄──────────────── Released ──    Released
//!  (gone)  ── FREED synced ── Freed ──►     Released ── forgets the transfer
//!
//!  Query / Unknown: an offer that never arrived is taken back with the next generation.
//!  Ask / Abort: a hold whose offer is no longer the current one is dropped.
//! ```
//!
//! Two verdicts come from outside. *Drained* (spool and seal): its pod was seen empty and went; what is held for it is
//! dropped, what it released is ours alone, what stands offered to it never arrived. It is kept in a file (`verdicts`), so that it holds after a restart too.
//! *Lost*, a person's word: nobody will ever hear of that spool. Then what is held for it is released, what stands offered
//! or given to it is taken back, and an entry may be delivered twice: how many is told.
//!
//! `tests/handover_model.rs` searches every order, loss, repetition and crash of these two functions, bounded;
//! `tests/handover_chain_model.rs` the same for three spools in a chain, with a volume that is lost.

pub mod item;
pub mod source;
pub mod target;
pub(crate) mod verdicts;

use crate::types::{EntryId, SpoolUuid};

/// Names one offer of one entry; no two offers ever have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId {
    /// The spool that offers.
    pub source: SpoolUuid,
    /// Its seal number at that time, or the next one where it was not sealed.
    pub seal: u64,
    /// The entry there.
    pub entry: EntryId,
    /// Counts the offers of this entry.
    pub generation: u32,
}

/// What a source says to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ToTarget {
    /// Take this entry; the item comes with it.
    Offer(TransferId),
    /// What do you know of this offer?
    Query(TransferId),
    /// It is yours: make what you hold as `hold` deliverable.
    Release {
        /// The offer.
        transfer: TransferId,
        /// The target's own id of what it holds: a repeated offer makes a new one, so an old release frees nothing.
        hold: EntryId,
    },
    /// The source has freed the entry: the target may forget the transfer.
    Freed(TransferId),
    /// This offer is not the current one: drop what you hold for it.
    Abort(TransferId),
}

/// What a target says to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ToSource {
    /// The item is durable here, not deliverable.
    Held {
        /// The offer.
        transfer: TransferId,
        /// The target's id of it.
        hold: EntryId,
    },
    /// Nothing is known of this offer here, or it was refused.
    Unknown(TransferId),
    /// The item is the target's from now on.
    Released(TransferId),
    /// What about this offer? Asked for what was held, or released and not yet freed, for a while.
    Ask {
        /// The offer.
        transfer: TransferId,
        /// It was released here.
        released: bool,
    },
}

impl ToTarget {
    /// The offer this is about.
    pub const fn transfer(&self) -> TransferId {
        match self {
            Self::Offer(t) | Self::Query(t) | Self::Freed(t) | Self::Abort(t) => *t,
            Self::Release { transfer, .. } => *transfer,
        }
    }
}

impl ToSource {
    /// The offer this is about.
    pub const fn transfer(&self) -> TransferId {
        match self {
            Self::Unknown(t) | Self::Released(t) => *t,
            Self::Held { transfer, .. } | Self::Ask { transfer, .. } => *transfer,
        }
    }
}
