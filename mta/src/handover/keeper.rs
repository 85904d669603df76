//! Keeps the target from waiting for ever: asks sources about what is held, or ours and not confirmed, for a minute;
//! applies the drained records of the configuration.
//!
//! ```text
//!   every quarter minute: holds older than a minute ─► by source ─► POST /v1/handover/ask ─► Release, Freed, Abort ─► spool
//!   every quarter minute: offers to drained spools that nobody answers ─► taken back
//!   settings changed: peers.drained, peers.lost, peers.sealed ─► spool
//! ```
//!
//! A source that cannot be reached is asked again; nothing is ever decided without its word, a drained record,
//! or a person's word that its volume is lost.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use futures::future::join_all;
use postroad_spool::handover::{ToSource, ToTarget, TransferId};
use postroad_spool::{Hold, SpoolUuid};

use super::client::{Ourselves, Peer};
use super::source::{RoundError, take_back};
use super::targets::probe;
use super::{Inner, Step, leaving, locked, lost, origins};
use crate::metrics::Side;

/// Why a source was not asked to the end.
#[derive(Debug, thiserror::Error)]
enum Unasked {
    #[error("no pod with this spool is known")]
    Nowhere,
    #[error(transparent)]
    Round(#[from] RoundError),
}

/// Runs until it is dropped.
pub(super) async fn run(inner: &Arc<Inner>) {
    let mut changed = inner.live.changed();
    let mut since: HashMap<TransferId, Instant> = HashMap::new();
    let mut stood = HashSet::new();
    let mut told = HashMap::new();
    changes(inner).await;
    loop {
        tokio::select! {
            () = tokio::time::sleep(inner.timing.ask_every) => {
                ask_all(inner, &mut since, &mut told).await;
                lost::settle_all(inner).await;
                never_arrived(inner, &mut stood).await;
            }
            Ok(()) = changed.changed() => changes(inner).await,
        }
    }
}

/// Does what the configuration says of other pods, and of this one.
async fn changes(inner: &Arc<Inner>) {
    drained(inner).await;
    lost::declare(inner);
    lost::settle_all(inner).await;
    leaving::follow(inner).await;
}

/// Applies the records of the configuration, all of them again; where the spool knows them that costs nothing.
async fn drained(inner: &Arc<Inner>) {
    let settings = inner.live.current();
    for record in &settings.set.file.peers.drained {
        let Ok(spool) = record.spool.parse::<SpoolUuid>() else {
            tracing::warn!(spool = %record.spool, "peers.drained names no spool");
            continue;
        };
        match inner.spool.drained(spool, record.seal).await {
            Ok(ended) if ended.aborted + ended.freed > 0 => {
                tracing::info!(%spool, seal = record.seal, aborted = ended.aborted, freed = ended.freed, "drained");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%spool, %error, "the drained record could not be applied"),
        }
    }
}

/// What stands offered to a drained spool, and has for two looks (`stood`: at the last one), never arrived there: it was
/// empty when its pod went, and nobody will answer. Two looks, as the spool may be back as a target.
async fn never_arrived(inner: &Arc<Inner>, stood: &mut HashSet<TransferId>) {
    let settings = inner.live.current();
    let drained: HashSet<SpoolUuid> = settings
        .set
        .file
        .peers
        .drained
        .iter()
        .filter_map(|record| record.spool.parse().ok())
        .collect();
    let mut stand = HashSet::new();
    if !drained.is_empty() && inner.spool.seal_state().sealed {
        let standing = inner.spool.standing().into_iter();
        let there = standing.filter(|standing| !standing.given && drained.contains(&standing.target));
        stand.extend(there.map(|standing| standing.transfer));
    }
    let both: HashSet<TransferId> = stand.intersection(stood).copied().collect();
    *stood = stand;
    if both.is_empty() {
        return;
    }
    match take_back(inner, |standing| both.contains(&standing.transfer)).await {
        Ok(()) => {
            tracing::info!(entries = both.len(), "offers to drained spools are taken back");
            inner.wake.notify_one();
        }
        Err(error) => tracing::warn!(%error, "offers to drained spools could not be taken back"),
    }
}

/// `told`: how many messages are known from the log to wait for each source that does not answer.
async fn ask_all(
    inner: &Arc<Inner>,
    since: &mut HashMap<TransferId, Instant>,
    told: &mut HashMap<SpoolUuid, usize>,
) {
    let due = overdue(inner.spool.holds(), since, Instant::now(), inner.timing.ask_after);
    if due.keys().any(|source| !locked(&inner.seen).contains_key(source)) {
        // Where a source listens may be known from our own targets.
        probe(inner, &[]).await;
    }
    told.retain(|source, _| due.contains_key(source));
    for (source, questions) in due {
        let waits = |question: &&ToSource| matches!(question, ToSource::Ask { released: false, .. });
        let waiting = questions.iter().filter(waits).count();
        match ask(inner, source, questions).await {
            Ok(()) => {
                told.remove(&source);
            }
            // Which spool it is a person has to know who declares it lost.
            Err(error) if waiting > 0 && told.insert(source, waiting) != Some(waiting) => {
                tracing::warn!(%source, waiting, %error, "messages wait for the spool of another pod, which does not answer");
            }
            Err(error) => tracing::debug!(%source, %error, "the source could not be asked"),
        }
    }
}

/// What has waited for long enough, by source. `since` remembers when each was first seen.
fn overdue(
    holds: Vec<Hold>,
    since: &mut HashMap<TransferId, Instant>,
    now: Instant,
    after: std::time::Duration,
) -> HashMap<SpoolUuid, Vec<ToSource>> {
    let mut seen = HashMap::with_capacity(holds.len());
    let mut due: HashMap<SpoolUuid, Vec<ToSource>> = HashMap::new();
    for hold in holds {
        let first = since.get(&hold.transfer).copied().unwrap_or(now);
        seen.insert(hold.transfer, first);
        let questions = due.entry(hold.transfer.source).or_default();
        if now.duration_since(first) >= after && questions.len() < MOST_QUESTIONS {
            questions.push(hold.ask);
        }
    }
    due.retain(|_, questions| !questions.is_empty());
    *since = seen;
    due
}

/// Talks until neither side has anything to say.
async fn ask(inner: &Arc<Inner>, source: SpoolUuid, mut questions: Vec<ToSource>) -> Result<(), Unasked> {
    let address = locked(&inner.seen).get(&source).copied();
    let address = address.ok_or(Unasked::Nowhere)?;
    let ourselves = Ourselves {
        spool: inner.spool.uuid(),
        address: *locked(&inner.address),
    };
    let connected = Peer::connect(&inner.live, address, ourselves, inner.timing.patience).await;
    let mut peer = connected.map_err(RoundError::from)?;
    for _ in 0..MOST_TURNS {
        if questions.is_empty() {
            break;
        }
        questions = turn(inner, source, &mut peer, &questions).await?;
    }
    Ok(())
}

/// One question, and what follows from its answer.
async fn turn(
    inner: &Arc<Inner>,
    source: SpoolUuid,
    peer: &mut Peer,
    questions: &[ToSource],
) -> Result<Vec<ToSource>, RoundError> {
    let messages = peer.ask(questions).await?;
    inner.pass(Step::Received)?;
    let questions = apply(inner, source, messages).await?;
    inner.pass(Step::Stored)?;
    Ok(questions)
}

async fn apply(
    inner: &Arc<Inner>,
    source: SpoolUuid,
    messages: Vec<ToTarget>,
) -> Result<Vec<ToSource>, RoundError> {
    let ours = messages
        .into_iter()
        .filter(|message| message.transfer().source == source);
    let (transfers, steps): (Vec<_>, Vec<_>) = ours
        .map(|message| (message.transfer(), inner.spool.requested(message)))
        .unzip();
    let (mut released, mut brought, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    for (transfer, step) in transfers.into_iter().zip(join_all(steps).await) {
        let step = step?;
        released.extend(step.released);
        brought.extend(step.released.map(|entry| (transfer, entry)));
        answers.extend(step.send);
    }
    if !released.is_empty() {
        inner.metrics.hand_over(Side::Target, released.len() as u64);
        origins::tell("", &brought);
        inner.schedule.accepted(released);
    }
    Ok(answers)
}

const MOST_QUESTIONS: usize = 1_024;
const MOST_TURNS: usize = 8;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postroad_spool::EntryId;

    use super::*;

    fn hold(number: u64) -> Hold {
        let transfer = TransferId {
            source: SpoolUuid([1; 16]),
            seal: 1,
            entry: EntryId::from_u64(number),
            generation: 0,
        };
        let ask = ToSource::Ask {
            transfer,
            released: false,
        };
        Hold {
            transfer,
            entry: EntryId::from_u64(number),
            released: false,
            ask,
        }
    }

    #[test]
    fn only_what_has_waited_for_a_minute_is_asked_about() {
        let (mut since, start, minute) = (HashMap::new(), Instant::now(), Duration::from_mins(1));
        assert!(overdue(vec![hold(1)], &mut since, start, minute).is_empty());
        let due = overdue(vec![hold(1), hold(2)], &mut since, start + minute, minute);
        assert_eq!(due.values().map(Vec::len).collect::<Vec<_>>(), [1]);
        // What is settled is forgotten, and counts anew if it comes again.
        assert!(overdue(vec![], &mut since, start + minute, minute).is_empty());
        assert!(since.is_empty());
    }
}
