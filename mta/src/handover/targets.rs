//! Whom the giving side may give to: pods that answer, and the best of them.

use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::join_all;
use postroad_config::admin::State;
use postroad_spool::{SpoolUuid, Standing};

use super::client::{Ourselves, Peer, PeerError};
use super::{Inner, locked};

/// Another pod that answers.
pub(super) struct Target {
    pub address: SocketAddr,
    pub spool: SpoolUuid,
    pub state: State,
    pub peer: Peer,
}

/// Asks every target, and those that something stands with, what they say of themselves. Gives those that answered,
/// and why the others did not.
pub(super) async fn probe(inner: &Arc<Inner>, standing: &[Standing]) -> (Vec<Target>, Vec<String>) {
    let mut reasons = Vec::new();
    let mut addresses = Vec::new();
    for text in locked(&inner.targets).iter() {
        match text.parse::<SocketAddr>() {
            Ok(address) => addresses.push(address),
            Err(_) => reasons.push(format!("the target `{text}` is not an IP address and port")),
        }
    }
    {
        let seen = locked(&inner.seen);
        addresses.extend(standing.iter().filter_map(|standing| seen.get(&standing.target)));
    }
    // After a start nobody has told where they are.
    if let Some((_, pods)) = &inner.moving
        && !standing.is_empty()
        && !inner.spool.seal_state().sealed
    {
        addresses.extend(pods.others().await);
    }
    addresses.sort_unstable();
    addresses.dedup();
    let mut targets = Vec::new();
    for probed in join_all(addresses.into_iter().map(|address| look(inner, address))).await {
        match probed {
            Ok(target) => {
                inner.see(target.spool, target.address);
                targets.push(target);
            }
            Err(error) => reasons.push(error.to_string()),
        }
    }
    (targets, reasons)
}

pub(super) async fn look(inner: &Arc<Inner>, address: SocketAddr) -> Result<Target, PeerError> {
    let ourselves = Ourselves {
        spool: inner.spool.uuid(),
        address: *locked(&inner.address),
    };
    let mut peer = Peer::connect(&inner.live, address, ourselves, inner.timing.patience).await?;
    let state = peer.state().await?;
    let spool = state
        .spool
        .parse()
        .map_err(|_| PeerError::Ourselves(format!("{address} names no spool")))?;
    Ok(Target {
        address,
        spool,
        state,
        peer,
    })
}

/// The target to give to: one that can keep all that waits, if there is one, and of those the one with most space. Why
/// each other one is none is added to `reasons`.
pub(super) fn best(
    targets: Vec<Target>,
    ourselves: SpoolUuid,
    needed: u32,
    reasons: &mut Vec<String>,
) -> Option<Target> {
    let rank = |state: &State| (state.spool_format.writes.min(needed), state.queue.free_bytes);
    let mut best: Option<Target> = None;
    let mut sealed = Vec::new();
    for target in targets {
        if let Some(reason) = unfit(&target.state, target.spool == ourselves) {
            let reason = format!("{}: {reason}", target.address);
            if target.state.seal.is_some() {
                sealed.push(reason);
            } else {
                reasons.push(reason);
            }
            continue;
        }
        let more = best
            .as_ref()
            .is_none_or(|best| rank(&target.state) > rank(&best.state));
        if more {
            best = Some(target);
        }
    }
    // Of siblings that leave as well nobody expects more: what else is wrong comes first.
    reasons.append(&mut sealed);
    if best.is_none() && reasons.is_empty() {
        reasons.push("none was named".into());
    }
    best
}

/// Why a pod is no target.
pub(super) fn unfit(state: &State, itself: bool) -> Option<String> {
    if itself {
        Some("this is the giving pod itself".into())
    } else if state.seal.is_some() {
        Some("it is sealed".into())
    } else if !state.queue.below_high_water {
        Some("it is above its high-water mark".into())
    } else if !state.accepting {
        Some(format!("it does not accept: {}", state.not_accepting))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use postroad_config::admin::{QueueState, SealState};

    use super::*;

    fn state() -> State {
        State {
            queue: QueueState {
                below_high_water: true,
                ..Default::default()
            },
            accepting: true,
            ..State::default()
        }
    }

    #[test]
    fn a_pod_that_is_sealed_full_or_not_accepting_is_no_target() {
        assert_eq!(unfit(&state(), false), None);
        assert!(unfit(&state(), true).is_some());
        let seal = SealState::default();
        assert!(
            unfit(
                &State {
                    seal: Some(seal),
                    ..state()
                },
                false
            )
            .is_some()
        );
        assert!(
            unfit(
                &State {
                    accepting: false,
                    ..state()
                },
                false
            )
            .is_some()
        );
        let full = QueueState {
            below_high_water: false,
            ..Default::default()
        };
        assert!(
            unfit(
                &State {
                    queue: full,
                    ..state()
                },
                false
            )
            .is_some()
        );
    }
}
