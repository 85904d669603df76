//! What the outside declares about other spools, and what follows for a hand-over with them: drained (seen empty, its pod
//! went) and lost (a person's word).

use crate::completion::Completion;
use crate::errors::HandoverError;
use crate::format::record::Owner;
use crate::handover::TransferId;
use crate::handover::source::Source;
use crate::handover::target::Target;
use crate::shared::Job;
use crate::spool::Spool;
use crate::types::{EntryId, SpoolUuid};

/// What a drained record ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Drained {
    /// Holds dropped.
    pub aborted: usize,
    /// Released transfers forgotten.
    pub freed: usize,
}

/// Something that only a lost spool could have settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orphan {
    /// Held here for it.
    Held(TransferId),
    /// Offered or given to it.
    Out(EntryId),
}

/// What became of an orphan. Nothing, where it was settled meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Settled {
    /// The held entry is ours: deliver it.
    pub released: Option<EntryId>,
    /// The entry is owned again: deliver it.
    pub taken_back: Option<EntryId>,
    /// The lost spool may have delivered it too.
    pub perhaps_twice: bool,
    /// The lost spool.
    pub lost: Option<SpoolUuid>,
}

impl Spool {
    /// Target: `source` was declared drained with this seal: holds of that seal and earlier are dropped, released
    /// transfers forgotten, later offers of them refused, for good. Ready when all of that is durable.
    pub fn drained(&self, source: SpoolUuid, seal: u64) -> Completion<Drained> {
        self.ask(|reply| Job::Drained(source, seal, reply))
    }

    /// Which spools are declared lost now, in place of those before: nothing is offered to them, no offer of theirs is
    /// taken, and what they released is not waited for. Kept until the spool is closed. What stands with them is settled
    /// one by one, see [`Spool::orphans`].
    pub fn declare_lost(&self, spools: impl IntoIterator<Item = SpoolUuid>) {
        let own = self.uuid();
        self.shared().index().lost = spools.into_iter().filter(|spool| *spool != own).collect();
    }

    /// All that waits for a lost spool.
    pub fn orphans(&self) -> Vec<Orphan> {
        let index = self.shared().index();
        if index.lost.is_empty() {
            return Vec::new();
        }
        let held = index.transfers.iter().filter_map(|(transfer, known)| {
            let held = matches!(known.state, Target::Held { .. });
            (held && index.lost.contains(&transfer.source)).then_some(Orphan::Held(*transfer))
        });
        let out = index
            .entries
            .iter()
            .filter_map(|(id, entry)| match entry.owner() {
                Owner::Ours(Source::Offered { target, .. } | Source::Given { target, .. })
                    if index.lost.contains(&target) =>
                {
                    Some(Orphan::Out(id))
                }
                _ => None,
            });
        held.chain(out).collect()
    }

    /// Releases what is held for a lost spool, takes back what stands with one. Ready when it is durable.
    pub fn settle(&self, orphan: Orphan) -> Completion<Settled, HandoverError> {
        self.ask(|reply| Job::Orphan(orphan, reply))
    }

    /// A drained record that was kept when the process ended, and not carried out to its end.
    pub(crate) fn finish_drained(&self) {
        let unfinished: Vec<(SpoolUuid, u64)> = {
            let index = self.shared().index();
            let waits = |(spool, seal): &(&SpoolUuid, &u64)| {
                let mut transfers = index.transfers.keys();
                transfers.any(|known| known.source == **spool && known.seal <= **seal)
            };
            let drained = index.drained.iter().filter(waits);
            drained.map(|(spool, seal)| (*spool, *seal)).collect()
        };
        for (spool, seal) in unfinished {
            // Nobody waits for the answer.
            drop(self.drained(spool, seal));
        }
    }
}
