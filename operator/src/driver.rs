//! The only user of kube's `Controller`. It adds what that lacks: a guard against objects that cannot be parsed, a time limit,
//! a stop for panics, later and later tries for each object, and one place of reporting.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Controller, Error as Ended};
use kube::runtime::events::{Event, EventType};
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::context::Ctx;
use crate::error::{Class, Error};

/// An object that may not be parsable: one bad object must not stop the list.
pub type Guarded<K> = DeserializeGuard<K>;

const LIMIT: Duration = Duration::from_mins(1);
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(5);

/// Failures in a row of each object, by kind, namespace and name.
#[derive(Default)]
pub struct Failures(Mutex<HashMap<String, u32>>);

impl Failures {
    /// Whether an object has failed so often that it does not pass by itself.
    pub fn persist<K: Resource<DynamicType = ()>>(&self, object: &K) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&key(object)).is_some_and(|count| *count >= PERSISTENT)
    }

    /// How many objects have.
    pub fn persisting(&self) -> usize {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().filter(|count| **count >= PERSISTENT).count()
    }

    fn count(&self, key: &str) -> u32 {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = known.entry(key.to_owned()).or_default();
        *count += 1;
        *count
    }

    fn clear(&self, key: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

fn key<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!(
        "{}/{}/{}",
        K::kind(&()),
        object.namespace().unwrap_or_default(),
        object.name_any()
    )
}

/// The wait after this many failures in a row, 1 or more. Who wrote at the same moment as another looks again at once, but not
/// for ever.
pub fn wait(class: Class, failures: u32) -> Duration {
    match class {
        Class::Conflict if failures <= AT_ONCE => Duration::from_millis(100),
        Class::Conflict => backoff(failures - AT_ONCE),
        Class::Transient => backoff(failures),
    }
}

/// Conflicts in a row that are tried again at once.
const AT_ONCE: u32 = 2;
/// Failures in a row after which the status says so.
const PERSISTENT: u32 = 3;

fn backoff(failures: u32) -> Duration {
    FIRST
        .saturating_mul(1 << failures.saturating_sub(1).min(16))
        .min(LONGEST)
}

/// Runs a controller until `shutdown` ends, or its streams do.
pub async fn run<K, F, R>(
    kind: &'static str,
    controller: Controller<Guarded<K>>,
    ctx: Arc<Ctx>,
    shutdown: F,
    reconcile: R,
) where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
    K::DynamicType: Default + Eq + Hash + Clone + Debug + Unpin,
    F: Future<Output = ()> + Send + Sync + 'static,
    R: Fn(Arc<K>, Arc<Ctx>) -> BoxFuture<'static, Result<Action, Error>> + Send + Sync + 'static,
{
    let reconcile = Arc::new(reconcile);
    let one = move |object: Arc<Guarded<K>>, ctx: Arc<Ctx>| {
        let reconcile = reconcile.clone();
        async move {
            let key = key(&*object);
            // Standing by: the leader works. Look again when the Lease may have moved.
            if !ctx.leadership.holds() {
                return Ok(Action::requeue(Duration::from_secs(2)));
            }
            // What is not known yet would look like what is gone.
            if !ctx.filled.load(Ordering::Relaxed) {
                return Ok(Action::requeue(Duration::from_millis(500)));
            }
            let Ok(parsed) = &object.0 else {
                tracing::warn!(kind, object = key, "an object cannot be parsed and is left alone");
                return Ok(Action::await_change());
            };
            let started = Instant::now();
            let result = guarded(reconcile(Arc::new(parsed.clone()), ctx.clone())).await;
            let outcome = result.as_ref().err().map_or("ok", Error::category);
            ctx.metrics
                .reconciled(kind, outcome, started.elapsed().as_secs_f64());
            match &result {
                Ok(_) => ctx.failures.clear(&key),
                Err(error) => report(kind, parsed, error, &ctx).await,
            }
            result
        }
    };
    let policy = move |object: Arc<Guarded<K>>, error: &Error, ctx: Arc<Ctx>| {
        Action::requeue(wait(error.class(), ctx.failures.count(&key(&*object))))
    };
    let known = ctx.clone();
    controller
        .graceful_shutdown_on(shutdown)
        .run(one, policy, ctx)
        .for_each(move |result| {
            if let Err(Ended::ObjectNotFound(gone)) = &result {
                // Deleted between two tries.
                let namespace = gone.namespace.as_deref().unwrap_or_default();
                known
                    .failures
                    .clear(&format!("{}/{namespace}/{}", K::kind(&()), gone.name));
            }
            if let Err(error) = result {
                tracing::debug!(kind, %error, "controller");
            }
            std::future::ready(())
        })
        .await;
}

async fn guarded(work: impl Future<Output = Result<Action, Error>>) -> Result<Action, Error> {
    let caught = AssertUnwindSafe(work).catch_unwind();
    match tokio::time::timeout(LIMIT, caught).await {
        Err(_) => Err(Error::Timeout(LIMIT)),
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            Err(Error::Panic(
                text.or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_default(),
            ))
        }
    }
}

/// One place: log line, Event, and (above) the metric.
async fn report<K: Resource<DynamicType = ()>>(kind: &'static str, object: &K, error: &Error, ctx: &Ctx) {
    let reference = ObjectRef::from_obj(object);
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::warn!(kind, object = %reference, category = error.category(), %error, cause, "reconcile failed");
    if error.class() == Class::Conflict || matches!(error, Error::NotLeader) {
        return;
    }
    event(
        ctx,
        object,
        EventType::Warning,
        error.category(),
        &error.to_string(),
    )
    .await;
}

/// Publishes an Event on an object. A failure to do so is logged and no more.
pub async fn event<K: Resource<DynamicType = ()>>(
    ctx: &Ctx,
    object: &K,
    type_: EventType,
    reason: &str,
    note: &str,
) {
    if !ctx.leadership.holds() {
        return;
    }
    let event = Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note.chars().take(1_000).collect()),
        // Events of one action and reason are counted as one, under the first of their notes: with another note it is another one.
        action: format!("Reconcile.{:016x}", mark(note)),
        secondary: None,
    };
    if let Err(error) = ctx.recorder.publish(&event, &object.object_ref(&())).await {
        tracing::debug!(%error, "an event could not be published");
    }
}

/// The same number for the same note.
fn mark(note: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    note.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_come_later_and_later_up_to_a_bound() {
        let waits: Vec<u64> = [1, 2, 3, 8, 9, 10, 100]
            .iter()
            .map(|failures| backoff(*failures).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 128, 256, 300, 300]);
        let waits: Vec<u128> = (1..5)
            .map(|failures| wait(Class::Conflict, failures).as_millis())
            .collect();
        assert_eq!(waits, [100, 100, 1_000, 2_000], "a conflict that stays");
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_not_the_end() {
        let panicking = async {
            if std::hint::black_box(true) {
                std::panic::panic_any("on purpose");
            }
            Ok(Action::await_change())
        };
        assert!(matches!(guarded(panicking).await, Err(Error::Panic(text)) if text == "on purpose"));
    }

    #[test]
    fn failures_are_counted_for_each_object_and_cleared_by_success() {
        let failures = Failures::default();
        assert_eq!(
            (failures.count("a"), failures.count("a"), failures.count("b")),
            (1, 2, 1)
        );
        assert_eq!(failures.persisting(), 0);
        failures.count("a");
        assert_eq!(failures.persisting(), 1);
        failures.clear("a");
        assert_eq!((failures.count("a"), failures.persisting()), (1, 0));
    }
}
