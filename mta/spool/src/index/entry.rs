//! One entry, in as few octets as it takes: a million of them wait in memory.
//!
//! What nearly every entry has lies side by side; what is rare (a hand-over, a second segment with records, a body
//! beyond 4 GiB) is in a box that most entries do not have.

use crate::format::record::{MessageInfo, Owner};
use crate::handover::source::Source;
use crate::index::states::States;
use crate::index::{OURS, Replies};
use crate::types::{EntryId, Ownership, RecipientState, Summary};

/// A use of a segment, as it is counted in memory; on disk it has 64 bits. So many uses of the smallest segment are 2^47
/// octets of log. 0 is none.
pub type Epoch = u32;

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub epoch: Epoch,
    pub offset: u32,
    pub len: u32,
}

/// One entry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its message record.
    pub home: Place,
    prefix_len: u32,
    /// Octets of the body, or [`BOXED`].
    body_len: u32,
    /// From arrival to expiry in milliseconds, or [`BOXED`].
    lifetime: u32,
    /// The first segment with records about it.
    noted: Epoch,
    pub arrived: u64,
    pub states: States,
    rare: Option<Box<Rare>>,
    /// The body has a file.
    pub blob: bool,
    /// It came by a hand-over: its message record alone says "held".
    pub handed: bool,
    /// The oldest format that can say its envelope.
    pub format: u8,
    /// DONE is on its way to the disk.
    pub finished: bool,
}

/// An entry as a checkpoint has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub home: Place,
    pub blob: bool,
    pub handed: bool,
    pub format: u32,
    pub prefix_len: u64,
    pub body_len: u64,
    pub arrived: u64,
    pub expires: u64,
    pub owner: Owner,
    pub noted: Vec<Epoch>,
    pub stale: Vec<Epoch>,
    pub states: Vec<RecipientState>,
}

#[derive(Clone, Debug, PartialEq)]
struct Rare {
    owner: Owner,
    body_len: u64,
    expires: u64,
    /// Further segments with records about it.
    noted: Vec<Epoch>,
    /// Earlier homes in segments that were not used again yet.
    stale: Vec<Epoch>,
}

impl Kept {
    /// The owner of nearly every entry.
    pub const OURS: Owner = OURS;
}

const PLAIN: Rare = Rare {
    owner: OURS,
    body_len: 0,
    expires: 0,
    noted: Vec::new(),
    stale: Vec::new(),
};

/// The value did not fit.
const BOXED: u32 = u32::MAX;

impl Entry {
    /// The entry that a message record begins.
    pub fn new(info: &MessageInfo, home: Place, owner: Owner, replies: &mut Replies) -> Self {
        let small = |value: u64| u32::try_from(value).unwrap_or(BOXED);
        let lifetime = info.expires.checked_sub(info.arrived).map_or(BOXED, small);
        let mut entry = Self {
            home,
            prefix_len: small(info.prefix_len),
            body_len: small(info.body_len),
            lifetime,
            noted: 0,
            arrived: info.arrived,
            states: States::new(&info.states, replies),
            rare: None,
            blob: info.blob,
            handed: info.origin.is_some(),
            format: u8::try_from(info.format).unwrap_or(u8::MAX),
            finished: false,
        };
        if entry.body_len == BOXED {
            entry.rare().body_len = info.body_len;
        }
        if lifetime == BOXED {
            entry.rare().expires = info.expires;
        }
        entry.set_owner(owner);
        entry
    }

    /// The entry that a checkpoint had.
    pub fn restore(kept: Kept, replies: &mut Replies) -> Self {
        let info = MessageInfo {
            format: kept.format,
            blob: kept.blob,
            prefix_len: kept.prefix_len,
            body_len: kept.body_len,
            arrived: kept.arrived,
            expires: kept.expires,
            states: kept.states,
            origin: None,
        };
        let mut entry = Self::new(&info, kept.home, kept.owner, replies);
        entry.handed = kept.handed;
        for epoch in kept.noted {
            entry.note(epoch);
        }
        if !kept.stale.is_empty() {
            entry.rare().stale = kept.stale;
        }
        entry
    }

    /// Octets in front of the body.
    pub const fn prefix_len(&self) -> u32 {
        self.prefix_len
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_with(|| Box::new(PLAIN))
    }

    /// Gives the box back when nothing is in it.
    fn tidy(&mut self) {
        if self.rare.as_deref() == Some(&PLAIN) {
            self.rare = None;
        }
    }

    /// Octets of the body.
    pub fn body_len(&self) -> u64 {
        match self.body_len {
            BOXED => self.rare.as_ref().map_or(0, |rare| rare.body_len),
            len => u64::from(len),
        }
    }

    /// When to give up.
    pub fn expires(&self) -> u64 {
        match self.lifetime {
            BOXED => self.rare.as_ref().map_or(0, |rare| rare.expires),
            lifetime => self.arrived + u64::from(lifetime),
        }
    }

    /// Who is responsible, with the state of a hand-over.
    pub fn owner(&self) -> Owner {
        self.rare.as_ref().map_or(OURS, |rare| rare.owner)
    }

    pub fn set_owner(&mut self, owner: Owner) {
        if self.owner() != owner {
            self.rare().owner = owner;
            self.tidy();
        }
    }

    /// Segments with records about it.
    pub fn noted(&self) -> impl Iterator<Item = Epoch> {
        let more = self.rare.iter().flat_map(|rare| rare.noted.iter().copied());
        Some(self.noted)
            .into_iter()
            .filter(|first| *first != 0)
            .chain(more)
    }

    /// A record about it is in this segment. True if none was before.
    pub fn note(&mut self, epoch: Epoch) -> bool {
        if self.noted().any(|known| known == epoch) {
            return false;
        }
        if self.noted == 0 {
            self.noted = epoch;
        } else {
            self.rare().noted.push(epoch);
        }
        true
    }

    /// All records about it so far are repeated elsewhere; where they are.
    pub fn take_noted(&mut self) -> Vec<Epoch> {
        let all = self.noted().collect();
        self.noted = 0;
        if let Some(rare) = &mut self.rare {
            rare.noted = Vec::new();
            self.tidy();
        }
        all
    }

    /// Earlier homes.
    pub fn stale(&self) -> impl Iterator<Item = Epoch> {
        self.rare.iter().flat_map(|rare| rare.stale.iter().copied())
    }

    /// Its message is elsewhere now; earlier homes that do not `exist` any more are forgotten.
    pub fn settle(&mut self, home: Place, exists: impl Fn(Epoch) -> bool) {
        let old = std::mem::replace(&mut self.home, home).epoch;
        let mut stale: Vec<Epoch> = self.stale().chain([old]).collect();
        stale.retain(|epoch| *epoch != home.epoch && exists(*epoch));
        stale.sort_unstable();
        stale.dedup();
        if !stale.is_empty() || self.rare.is_some() {
            self.rare().stale = stale;
            self.tidy();
        }
    }

    /// Who is responsible.
    pub fn ownership(&self) -> Ownership {
        match self.owner() {
            Owner::Ours(Source::Owned { .. }) => Ownership::Owned,
            Owner::Ours(Source::Offered { .. }) => Ownership::Offered,
            Owner::Ours(Source::Given { .. }) => Ownership::Given,
            Owner::Held(_) => Ownership::Held,
        }
    }

    /// The hand-over state of the giving side.
    pub fn source(&self) -> Option<Source> {
        match self.owner() {
            Owner::Ours(source) => Some(source),
            Owner::Held(_) => None,
        }
    }

    /// What is told of it.
    pub fn summary(&self, id: EntryId) -> Summary {
        let (pending, next_attempt) = self.states.pending();
        Summary {
            id,
            ownership: self.ownership(),
            arrived: self.arrived,
            expires: self.expires(),
            size: u64::from(self.prefix_len) + self.body_len(),
            recipients: self.states.len(),
            pending,
            next_attempt,
            format: self.format.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::TransferId;
    use crate::types::SpoolUuid;

    const HOME: Place = Place {
        epoch: 3,
        offset: 4096,
        len: 800,
    };

    fn info(body_len: u64, arrived: u64, expires: u64) -> MessageInfo {
        MessageInfo {
            format: 2,
            blob: false,
            prefix_len: 7,
            body_len,
            arrived,
            expires,
            states: vec![RecipientState::default()],
            origin: None,
        }
    }

    fn entry(info: &MessageInfo) -> Entry {
        Entry::new(info, HOME, OURS, &mut Replies::default())
    }

    #[test]
    fn an_entry_with_one_recipient_is_small() {
        assert!(size_of::<Entry>() <= 72, "{}", size_of::<Entry>());
    }

    #[test]
    fn lengths_and_times_are_exact_whatever_they_are() {
        for (len, arrived, expires) in [
            (0, 0, 0),
            (1 << 40, 5, 9),
            (u64::from(u32::MAX), 9, 5),
            (3, 1, u64::MAX),
            (u64::from(u32::MAX) - 1, 7, 7 + u64::from(u32::MAX)),
        ] {
            let mut entry = entry(&info(len, arrived, expires));
            // The box comes and goes.
            assert!(entry.note(4) && entry.note(5) && entry.take_noted().len() == 2);
            let summary = entry.summary(EntryId::from_u64(1));
            assert_eq!(
                (entry.body_len(), summary.size, summary.arrived, summary.expires),
                (len, len + 7, arrived, expires)
            );
        }
    }

    #[test]
    fn what_is_rare_costs_nothing_once_it_is_over() {
        let mut entry = entry(&info(3, 1, 2));
        assert!(entry.note(4) && !entry.note(4) && entry.note(5));
        assert_eq!(entry.noted().collect::<Vec<_>>(), [4, 5]);
        assert_eq!(entry.take_noted(), [4, 5]);
        let transfer = TransferId {
            source: SpoolUuid([1; 16]),
            seal: 1,
            entry: EntryId::from_u64(1),
            generation: 0,
        };
        entry.set_owner(Owner::Held(transfer));
        assert_eq!(entry.ownership(), Ownership::Held);
        entry.set_owner(OURS);
        entry.settle(Place { epoch: 6, ..HOME }, |_| true);
        entry.settle(Place { epoch: 7, ..HOME }, |epoch| epoch != 3);
        assert_eq!(entry.stale().collect::<Vec<_>>(), [6]);
        entry.settle(Place { epoch: 8, ..HOME }, |_| false);
        assert!(entry.rare.is_none());
    }
}
