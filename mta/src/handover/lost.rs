//! Spools whose volume a person declared lost: what waits for one of them here is settled without it, and counted.
//!
//! ```text
//!   peers.lost, POST /v1/lost ─► spool: nothing more to or from it ─► held for it: released ─┐
//!                                                    offered or given to it: taken back ─────┴─► queue, counts, log
//! ```
//!
//! A message that the lost spool may have delivered is delivered all the same: twice is better than never.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join_all;
use postroad_config::admin::LostSpool;
use postroad_spool::{CommitError, HandoverError, Settled, SpoolUuid};

use super::{Inner, locked};

/// What is known of lost spools since the start.
#[derive(Default)]
pub(super) struct Lost {
    /// Said by the verb, and not yet by the configuration, which says the others.
    said: BTreeSet<SpoolUuid>,
    done: BTreeMap<SpoolUuid, Counts>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    released: u64,
    taken_back: u64,
    perhaps_twice: u64,
}

/// Why a spool was not declared lost, or not all of what that means was done.
#[derive(Debug, thiserror::Error)]
pub enum LostError {
    /// Not the text of a UUID.
    #[error("`{0}` is no UUID of a spool")]
    NoSpool(String),
    /// It answers: it is not lost.
    #[error("this is the spool of this pod itself")]
    Ourselves,
    /// The volume.
    #[error("not all of it could be stored; it is tried again: {0}")]
    Spool(#[from] HandoverError),
}

impl Lost {
    /// As the state tells it.
    pub(super) fn done(&self) -> Vec<LostSpool> {
        let one = |(spool, counts): (&SpoolUuid, &Counts)| LostSpool {
            spool: spool.to_string(),
            released: counts.released,
            taken_back: counts.taken_back,
            perhaps_twice: counts.perhaps_twice,
        };
        self.done.iter().map(one).collect()
    }

    /// Counts what was settled. Gives the spools that something was settled for.
    fn count(&mut self, settled: &[Settled]) -> BTreeMap<SpoolUuid, Counts> {
        let mut now: BTreeMap<SpoolUuid, Counts> = BTreeMap::new();
        for (spool, one) in settled.iter().filter_map(|one| Some((one.lost?, one))) {
            for counts in [now.entry(spool).or_default(), self.done.entry(spool).or_default()] {
                counts.released += u64::from(one.released.is_some());
                counts.taken_back += u64::from(one.taken_back.is_some());
                counts.perhaps_twice += u64::from(one.perhaps_twice);
            }
        }
        now
    }
}

/// Tells the spool who is lost: those of the configuration and those that the verb named. One that both named is the
/// configuration's from then on: it is taken back with it, as when the volume turned up after all.
pub(super) fn declare(inner: &Inner) {
    let settings = inner.live.current();
    let mut lost = locked(&inner.lost);
    let mut all = lost.said.clone();
    for text in &settings.set.file.peers.lost {
        match text.parse::<SpoolUuid>() {
            Ok(spool) if spool == inner.spool.uuid() => {
                tracing::error!(%spool, "peers.lost names the spool of this pod, which is here");
            }
            Ok(spool) => {
                lost.said.remove(&spool);
                all.insert(spool);
            }
            Err(_) => tracing::warn!(spool = %text, "peers.lost names no spool"),
        }
    }
    for spool in &all {
        lost.done.entry(*spool).or_default();
    }
    inner.spool.declare_lost(all);
}

/// The verb: one more is lost.
pub(super) async fn said(inner: &Arc<Inner>, text: &str) -> Result<(), LostError> {
    let spool: SpoolUuid = text.parse().map_err(|_| LostError::NoSpool(text.to_owned()))?;
    if spool == inner.spool.uuid() {
        return Err(LostError::Ourselves);
    }
    locked(&inner.lost).said.insert(spool);
    tracing::warn!(%spool, "declared lost");
    declare(inner);
    // To its end, even where nobody waits for the answer any more: what is settled has to be queued.
    let inner = Arc::clone(inner);
    let settling = tokio::spawn(async move { settle(&inner).await });
    Ok(settling
        .await
        .unwrap_or(Err(HandoverError::Commit(CommitError::Closed)))?)
}

/// Settles what waits; what cannot be stored now is tried again.
pub(super) async fn settle_all(inner: &Arc<Inner>) {
    if let Err(error) = settle(inner).await {
        tracing::warn!(%error, "not all that waits for a lost spool could be settled");
    }
}

async fn settle(inner: &Arc<Inner>) -> Result<(), HandoverError> {
    let orphans = inner.spool.orphans();
    for some in orphans.chunks(AT_ONCE) {
        let steps = some.iter().map(|orphan| inner.spool.settle(*orphan));
        let (mut settled, mut failed) = (Vec::new(), None);
        for step in join_all(steps).await {
            match step {
                Ok(one) => settled.push(one),
                Err(error) => failed = Some(error),
            }
        }
        take(inner, &settled);
        failed.map_or(Ok(()), Err)?;
    }
    Ok(())
}

/// These are delivered from here.
fn take(inner: &Inner, settled: &[Settled]) {
    for (spool, counts) in locked(&inner.lost).count(settled) {
        tracing::warn!(
            %spool,
            released = counts.released,
            taken_back = counts.taken_back,
            perhaps_twice = counts.perhaps_twice,
            "messages of a lost spool are delivered from here"
        );
        inner.metrics.perhaps_twice.inc_by(counts.perhaps_twice);
    }
    let released: Vec<_> = settled.iter().filter_map(|one| one.released).collect();
    if !released.is_empty() {
        inner.schedule.accepted(released);
    }
    let back: Vec<_> = settled.iter().filter_map(|one| one.taken_back).collect();
    if !back.is_empty() {
        inner.schedule.give_back(back);
    }
}

const AT_ONCE: usize = 1_024;
