//! Leadership by a Lease, compare-and-swap. Every write of the operator asks [`Leadership::holds`] first.
//!
//! Expiry is judged by how long the record has not changed *in our sight*, on our own monotonic clock: no other node's wall
//! clock is trusted. A leader that could not renew in time ends its process, so that a paused process does not write.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::Instant;

/// How long a holder may be silent before another takes over.
pub const DURATION: Duration = Duration::from_secs(15);
/// How often a leader renews, and others look.
pub const INTERVAL: Duration = Duration::from_secs(4);
/// A leader that has not renewed for this long stops. Shorter than [`DURATION`]: it stops before another begins.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// What is known of the Lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// The holder in the record; empty = none.
    pub holder: String,
    /// How long the record has looked the same to us.
    pub unchanged: Duration,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Somebody else leads.
    Wait,
    /// Nobody does: take it.
    Acquire,
    /// We do: say so again.
    Renew,
}

/// Decides. `me`: our own name.
pub fn decide(sight: Option<&Sight>, me: &str) -> Decision {
    match sight {
        None => Decision::Acquire,
        Some(sight) if sight.holder == me => Decision::Renew,
        Some(sight) if sight.holder.is_empty() || sight.unchanged >= DURATION => Decision::Acquire,
        Some(_) => Decision::Wait,
    }
}

/// Whether this process leads, for all writers. Clones share it.
#[derive(Clone, Default)]
pub struct Leadership(Arc<Mutex<Option<Instant>>>);

impl Leadership {
    /// Whether a write is allowed now.
    pub fn holds(&self) -> bool {
        self.last().is_some_and(|renewed| renewed.elapsed() < DEADLINE)
    }

    fn last(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renewed(&self, at: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }
}

/// The Lease that is kept.
#[derive(Clone)]
pub struct Place {
    /// Leases of its namespace.
    api: Api<Lease>,
    /// Its name.
    name: String,
}

impl Place {
    /// A Lease by namespace and name.
    pub fn new(client: Client, namespace: &str, name: String) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name,
        }
    }
}

/// Keeps the Lease. Ends only when a leadership that was held is lost: end the process then.
pub async fn keep(place: Place, me: &str, leadership: Leadership) {
    let mut known: Option<(Option<String>, Instant)> = None;
    loop {
        let started = Instant::now();
        let attempt = tokio::time::timeout(INTERVAL, step(&place, me, &mut known)).await;
        match &attempt {
            // The time before the request counts: the record may be older than the answer.
            Ok(Ok(Turn::Held)) => leadership.renewed(started),
            Ok(Ok(Turn::Theirs | Turn::Raced)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the lease could not be kept"),
            Err(_) => tracing::warn!("the lease could not be kept: no answer"),
        }
        if leadership.last().is_some() && !leadership.holds() {
            return;
        }
        if attempt_lost(&leadership, &attempt) {
            return;
        }
        tokio::time::sleep(
            INTERVAL
                .saturating_sub(started.elapsed())
                .max(Duration::from_millis(200)),
        )
        .await;
    }
}

/// How one turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The Lease is ours and says so.
    Held,
    /// Another holds it.
    Theirs,
    /// Somebody wrote at the same moment, perhaps we ourselves with a reply that was lost: the next turn tells.
    Raced,
}

/// Lets the Lease go, so that another can lead at once. For a process that is asked to stop; what fails is left to time.
pub async fn release(Place { api, name }: Place, me: &str, leadership: &Leadership) {
    if !leadership.holds() {
        return;
    }
    if let Ok(Ok(Some(mut lease))) = tokio::time::timeout(INTERVAL, api.get_opt(&name)).await
        && let Some(spec) = lease
            .spec
            .as_mut()
            .filter(|spec| spec.holder_identity.as_deref() == Some(me))
    {
        spec.holder_identity = None;
        let parameters = PostParams::default();
        drop(tokio::time::timeout(INTERVAL, api.replace(&name, &parameters, &lease)).await);
    }
}

type Attempt = Result<Result<Turn, kube::Error>, tokio::time::error::Elapsed>;

/// Another holds what we held.
fn attempt_lost(leadership: &Leadership, attempt: &Attempt) -> bool {
    leadership.last().is_some() && matches!(attempt, Ok(Ok(Turn::Theirs)))
}

async fn step(
    Place { api, name }: &Place,
    me: &str,
    known: &mut Option<(Option<String>, Instant)>,
) -> Result<Turn, kube::Error> {
    let found = api.get_opt(name).await?;
    let version = found
        .as_ref()
        .and_then(|lease| lease.metadata.resource_version.clone());
    let since = match known {
        Some((seen, since)) if *seen == version => *since,
        _ => Instant::now(),
    };
    *known = Some((version, since));
    let sight = found.as_ref().map(|lease| Sight {
        holder: lease
            .spec
            .as_ref()
            .and_then(|spec| spec.holder_identity.clone())
            .unwrap_or_default(),
        unchanged: since.elapsed(),
    });
    let decision = decide(sight.as_ref(), me);
    if decision == Decision::Wait {
        return Ok(Turn::Theirs);
    }
    let lease = record(found, name, me, decision == Decision::Acquire);
    let fresh = lease.metadata.resource_version.is_none();
    let written = if fresh {
        api.create(&PostParams::default(), &lease).await
    } else {
        api.replace(name, &PostParams::default(), &lease).await
    };
    match written {
        Ok(_) => Ok(Turn::Held),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
            Ok(Turn::Raced)
        }
        Err(error) => Err(error),
    }
}

fn record(found: Option<Lease>, name: &str, me: &str, acquired: bool) -> Lease {
    let mut lease = found.unwrap_or_default();
    lease.metadata.name = Some(name.to_owned());
    let before = lease.spec.take().unwrap_or_default();
    let now = MicroTime(Timestamp::now());
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
        acquire_time: if acquired {
            Some(now.clone())
        } else {
            before.acquire_time
        },
        renew_time: Some(now),
        lease_transitions: Some(before.lease_transitions.unwrap_or(0) + i32::from(acquired)),
        ..before
    });
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_only_from_nobody_or_from_the_silent() {
        let sight = |holder: &str, seconds| Sight {
            holder: holder.into(),
            unchanged: Duration::from_secs(seconds),
        };
        for (sight, wanted) in [
            (None, Decision::Acquire),
            (Some(sight("", 0)), Decision::Acquire),
            (Some(sight("me", 0)), Decision::Renew),
            (Some(sight("me", 100)), Decision::Renew),
            (Some(sight("other", 0)), Decision::Wait),
            (Some(sight("other", 14)), Decision::Wait),
            (Some(sight("other", 15)), Decision::Acquire),
        ] {
            assert_eq!(decide(sight.as_ref(), "me"), wanted, "{sight:?}");
        }
    }

    #[test]
    fn a_leader_stops_before_another_can_begin() {
        assert!(DEADLINE + INTERVAL < DURATION + INTERVAL && DEADLINE < DURATION);
        let leadership = Leadership::default();
        assert!(!leadership.holds(), "nobody leads at the start");
        leadership.renewed(Instant::now());
        assert!(leadership.holds());
        if let Some(long_ago) = Instant::now().checked_sub(DEADLINE) {
            leadership.renewed(long_ago);
            assert!(!leadership.holds());
        }
    }
}
