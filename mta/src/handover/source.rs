//! The giving side: while the spool is sealed it moves what it owns to targets; what stands from before is settled
//! first, with the same target. While it is not, what is of routes of other pods goes (`moving.rs`).
//!
//! ```text
//!   round: probe targets ─► settle what stands ─► best target: batch ─► withdraw ─► offer ─► exchange ─► … ─► round
//!                                                   (unsealed, accepting, below high water, most free space)
//! ```
//!
//! One task: the steps of an entry never overtake each other here.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use postroad_spool::handover::{ToSource, ToTarget};
use postroad_spool::{CommitError, EntryId, HandoverError, SpoolUuid, Standing, Summary};
use tokio::task::JoinError;

use super::client::{Peer, PeerError};
use super::lane::Lane;
use super::targets::{Target, best, probe};
use super::waiting::Waiting;
use super::{Ended, Inner, Step, moving};

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum RoundError {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Step(#[from] HandoverError),
    #[error(transparent)]
    Ended(#[from] Ended),
    #[error("the queue could not be looked through: {0}")]
    Look(#[from] JoinError),
}

/// What a round came to.
pub(super) enum Round {
    /// Nothing to do until woken.
    Idle,
    /// Go on at once.
    Moved,
    /// Look again soon.
    Waiting,
}

/// Runs until it is dropped, or a test ended this pod.
pub(super) async fn run(inner: &Arc<Inner>) {
    let mut unreadable = HashSet::new();
    loop {
        let pause = match round(inner, &mut unreadable).await {
            Ok(Round::Moved) => continue,
            Ok(Round::Idle) => inner.timing.ask_every,
            Ok(Round::Waiting) => inner.timing.pause,
            Err(RoundError::Ended(_)) => return,
            Err(error) => {
                inner.say(Some(error.to_string()));
                inner.timing.pause
            }
        };
        let _ = tokio::time::timeout(pause, woken(inner)).await;
    }
}

/// Somebody wants something.
async fn woken(inner: &Inner) {
    match &inner.moving {
        Some((moving, _)) => tokio::select! {
            () = inner.wake.notified() => {}
            () = moving.news() => {}
        },
        None => inner.wake.notified().await,
    }
}

async fn round(inner: &Arc<Inner>, unreadable: &mut HashSet<EntryId>) -> Result<Round, RoundError> {
    let sealed = inner.spool.seal_state().sealed;
    if !sealed || inner.is_turning() {
        take_back(inner, |_| true).await?;
    }
    let standing = inner.spool.standing();
    if !sealed && standing.is_empty() {
        return moving::round(inner, unreadable).await;
    }
    let (mut targets, mut silent) = probe(inner, &standing).await;
    silent.extend(settle(inner, &standing, &mut targets).await?);
    if !sealed || inner.is_turning() {
        inner.say((!silent.is_empty() && !inner.spool.standing().is_empty()).then(|| listed(silent)));
        // What stands with a pod that is away holds up no other.
        let moved = !sealed && matches!(moving::round(inner, unreadable).await?, Round::Moved);
        return Ok(if moved { Round::Moved } else { Round::Waiting });
    }
    unreadable.retain(|entry| inner.spool.summary(*entry).is_some());
    let waiting = Waiting::read(&inner.spool, unreadable).await?;
    if waiting.is_empty() {
        greet(inner, targets).await;
        let waits = !inner.spool.standing().is_empty();
        if unreadable.is_empty() {
            inner.say((waits && !silent.is_empty()).then(|| listed(silent)));
        } else {
            inner.say(Some(unreadable_ones(unreadable)));
        }
        return Ok(if waits { Round::Waiting } else { Round::Idle });
    }
    let Some(best) = best(targets, inner.spool.uuid(), waiting.needed(), &mut silent) else {
        let reasons = listed(silent);
        inner.say(Some(format!(
            "no target: the entries stay and are delivered on schedule ({reasons})"
        )));
        return Ok(Round::Waiting);
    };
    let writes = best.state.spool_format.writes;
    let (owned, kept) = waiting.sayable(writes);
    if kept > 0 {
        silent.push(format!(
            "{}: it writes spool format {writes}, which {kept} entries with REQUIRETLS or DELIVERBY cannot be said in",
            best.address
        ));
    }
    if owned.is_empty() {
        inner.say(Some(listed(silent)));
        return Ok(Round::Waiting);
    }
    let mut lane = Lane::new(inner.clone(), best.peer, best.spool);
    give(inner, &mut lane, &owned, unreadable).await?;
    if lane.freed > 0 {
        inner.say(None);
        return Ok(Round::Moved);
    }
    silent.push(format!("{}: it took none of what was offered", best.address));
    inner.say(Some(listed(silent)));
    Ok(Round::Waiting)
}

/// Names some, as a person has to decide about them.
fn unreadable_ones(entries: &HashSet<EntryId>) -> String {
    let mut names: Vec<String> = entries.iter().map(EntryId::to_string).collect();
    names.sort_unstable();
    names.truncate(MOST_REASONS);
    format!("{} entries cannot be read ({})", entries.len(), names.join(", "))
}

fn listed(mut reasons: Vec<String>) -> String {
    reasons.truncate(MOST_REASONS);
    reasons.join("; ")
}

/// Ends such offers that the target is not known to hold, with the next generation. Should it hold one all the same, it
/// asks, and drops it.
pub(super) async fn take_back(
    inner: &Arc<Inner>,
    such: impl Fn(&Standing) -> bool,
) -> Result<(), RoundError> {
    let offers: Vec<Standing> = inner
        .spool
        .standing()
        .into_iter()
        .filter(|standing| !standing.given && such(standing))
        .collect();
    let answers = offers.iter().map(|standing| {
        inner
            .spool
            .answered(standing.target, ToSource::Unknown(standing.transfer))
    });
    let mut back = Vec::new();
    for answered in join_all(answers).await {
        back.extend(answered?.taken_back);
    }
    if !back.is_empty() {
        inner.schedule.give_back(back);
    }
    Ok(())
}

/// Goes on with what stands, each with its own target. Gives why some could not.
async fn settle(
    inner: &Arc<Inner>,
    standing: &[Standing],
    targets: &mut [Target],
) -> Result<Vec<String>, RoundError> {
    let mut left: HashSet<SpoolUuid> = standing.iter().map(|standing| standing.target).collect();
    for target in targets.iter_mut().filter(|target| left.remove(&target.spool)) {
        let due = standing
            .iter()
            .filter(|standing| standing.target == target.spool)
            .map(|standing| standing.send);
        let mut lane = Lane::over(inner.clone(), &mut target.peer, target.spool);
        lane.due(due);
        lane.drain().await?;
    }
    let waits =
        |spool: &SpoolUuid| format!("entries stand offered to the spool {spool}, which does not answer");
    Ok(left.iter().map(waits).collect())
}

/// Tells targets that we are still here, so that they ask about what they wait for.
async fn greet(inner: &Arc<Inner>, targets: Vec<Target>) {
    for mut target in targets
        .into_iter()
        .filter(|target| target.spool != inner.spool.uuid())
    {
        let mut lane = Lane::over(inner.clone(), &mut target.peer, target.spool);
        let greeted = async {
            lane.exchange(&[], &mut HashSet::new()).await?;
            lane.drain().await
        };
        if let Err(error) = greeted.await {
            tracing::debug!(target = %target.address, %error, "the greeting failed");
        }
    }
}

/// Gives batches to one target, for a while.
async fn give(
    inner: &Arc<Inner>,
    lane: &mut Lane<Peer>,
    owned: &[Summary],
    unreadable: &mut HashSet<EntryId>,
) -> Result<(), RoundError> {
    let until = Instant::now() + PROBE_AFTER;
    for batch in batches(owned) {
        if inner.is_turning() || !lane.accepting || Instant::now() >= until {
            break;
        }
        let ids = batch.iter().map(|entry| entry.id).collect();
        let withdrawn = inner.schedule.withdraw(ids).await;
        let offers = offer(inner, withdrawn, lane.spool).await?;
        inner.pass(Step::Offered)?;
        lane.exchange(&offers, unreadable).await?;
    }
    lane.drain().await
}

/// Offers what is ours to offer; the rest goes back to the queue.
pub(super) async fn offer(
    inner: &Arc<Inner>,
    entries: Vec<EntryId>,
    to: SpoolUuid,
) -> Result<Vec<ToTarget>, RoundError> {
    let steps: Vec<_> = entries
        .iter()
        .map(|entry| inner.spool.offer(*entry, to))
        .collect();
    let mut offers = Vec::new();
    let mut back = Vec::new();
    let mut failed = None;
    for (entry, step) in entries.into_iter().zip(join_all(steps).await) {
        match step {
            Ok(message) => offers.push(message),
            Err(HandoverError::NoSuchEntry) => {}
            Err(HandoverError::Commit(error)) => {
                failed = Some(error);
                back.push(entry);
            }
            Err(_) => back.push(entry),
        }
    }
    if !back.is_empty() {
        inner.schedule.give_back(back);
    }
    failed.map_or(Ok(offers), |error| Err(error.into()))
}

/// Batches of at most 64 entries and 4 MiB; a larger entry goes alone.
pub(super) fn batches(owned: &[Summary]) -> impl Iterator<Item = &[Summary]> {
    let mut rest = owned;
    std::iter::from_fn(move || {
        let mut octets = 0_u64;
        let fitting = rest.iter().take(MOST_ENTRIES).take_while(|entry| {
            octets = octets.saturating_add(entry.size);
            octets <= MOST_OCTETS
        });
        let count = fitting.count().max(1).min(rest.len());
        let (batch, after) = rest.split_at(count);
        rest = after;
        (!batch.is_empty()).then_some(batch)
    })
}

const MOST_ENTRIES: usize = 64;
const MOST_OCTETS: u64 = 4 << 20;
const MOST_REASONS: usize = 5;
const PROBE_AFTER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use postroad_spool::Ownership;

    use super::*;

    fn entry(number: u64, size: u64) -> Summary {
        Summary {
            id: EntryId::from_u64(number),
            ownership: Ownership::Owned,
            arrived: number,
            expires: 0,
            size,
            recipients: 1,
            pending: 1,
            next_attempt: 0,
            format: 1,
        }
    }

    #[test]
    fn batches_are_bounded_in_number_and_size_and_a_large_entry_goes_alone() {
        let small: Vec<_> = (0..130).map(|number| entry(number, 1_000)).collect();
        assert_eq!(batches(&small).map(<[_]>::len).collect::<Vec<_>>(), [64, 64, 2]);
        let mixed = [
            entry(0, 3 << 20),
            entry(1, 1 << 20),
            entry(2, 9 << 20),
            entry(3, 1),
            entry(4, 1),
        ];
        assert_eq!(batches(&mixed).map(<[_]>::len).collect::<Vec<_>>(), [2, 1, 2]);
        assert_eq!(batches(&[]).count(), 0);
    }
}
