//! Whom a change of a listener wakes. Its spec is news for all that name it. Its status, which changes with its queue, is news only
//! for those that wait for it, that lost to another, that are not in its configuration any more, or of whose routes it has another
//! word: of thousands of domains few.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};
use postroad_crds::SmtpListener;
use postroad_crds::common::ListenerRef;
use postroad_crds::conditions::{RECONCILING, STALLED, status_of};

use crate::context::Ctx;
use crate::counted::Stated;
use crate::driver::Guarded;

/// Listeners as they were seen last.
pub struct News {
    ctx: Arc<Ctx>,
    generations: Mutex<HashMap<String, Option<i64>>>,
}

impl News {
    /// Nothing was seen yet: everything is news.
    pub fn new(ctx: &Arc<Ctx>) -> Self {
        Self {
            ctx: ctx.clone(),
            generations: Mutex::default(),
        }
    }

    /// Objects of a store that look again. `line`: what a configuration that holds the object says of it. `behind`: whether the
    /// listener says something of the object that its status does not have.
    pub fn of<K>(
        &self,
        listener: &Guarded<SmtpListener>,
        store: &Store<Guarded<K>>,
        line: impl Fn(&K) -> String,
        references: impl Fn(&K) -> &[ListenerRef],
        behind: impl Fn(&K, &SmtpListener) -> bool,
    ) -> Vec<ObjectRef<Guarded<K>>>
    where
        K: Resource<DynamicType = ()> + Stated + Clone + 'static,
    {
        let everybody = self.is_news(listener);
        let (namespace, name) = (listener.namespace().unwrap_or_default(), listener.name_any());
        let names = |object: &K| {
            let own = object.meta().namespace.as_deref().unwrap_or_default();
            references(object)
                .iter()
                .any(|reference| reference.names(own, &namespace, &name))
        };
        let held = |object: &K| {
            let parsed = listener.0.as_ref().ok();
            parsed.and_then(|listener| self.ctx.rendered.holds(listener, &line(object)))
        };
        let is_behind = |object: &K| {
            let parsed = listener.0.as_ref();
            parsed.is_ok_and(|listener| behind(object, listener))
        };
        let known = store.state();
        let woken = known.iter().filter(|object| {
            object.0.as_ref().is_ok_and(|parsed| {
                names(parsed) && (everybody || wakes(parsed, held(parsed)) || is_behind(parsed))
            })
        });
        woken.map(|object| ObjectRef::from_obj(&**object)).collect()
    }

    /// Whether the spec is another than before, or the listener goes.
    fn is_news(&self, listener: &Guarded<SmtpListener>) -> bool {
        let (meta, uid) = (listener.meta(), listener.uid().unwrap_or_default());
        let mut seen = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if meta.deletion_timestamp.is_some() {
            seen.remove(&uid);
            return true;
        }
        seen.insert(uid, meta.generation) != Some(meta.generation)
    }
}

/// Whether a change of a listener's status can be news for an object. `held`: whether each pod runs a configuration that has it; `None`
/// = not known.
fn wakes<K: Stated>(object: &K, held: Option<bool>) -> bool {
    let is = |kind| status_of(object.conditions(), kind);
    if is(STALLED) == Some(true) {
        // It may have lost to another that goes.
        return true;
    }
    let is_settled = is(RECONCILING) == Some(false);
    // Who waits hears that it is served, and not of each step until then.
    held.is_none_or(|held| held != is_settled)
}

#[cfg(test)]
mod tests {
    use postroad_crds::RelayPolicy;
    use serde_json::json;

    use super::*;

    fn policy(conditions: &[(&str, &str)]) -> RelayPolicy {
        let one = |(kind, status): &(&str, &str)| json!({"type": kind, "status": status, "reason": "X", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let conditions: Vec<_> = conditions.iter().map(one).collect();
        serde_json::from_value(json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "RelayPolicy", "metadata": {"name": "out"},
            "spec": {"listenerRefs": [{"name": "edge"}], "routes": [{"direct": {}}]},
            "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    #[test]
    fn who_waits_is_woken_when_it_is_served_and_who_is_served_when_it_is_not_any_more() {
        for (reconciling, stalled, held, want) in [
            ("True", "False", Some(false), false),
            ("True", "False", Some(true), true),
            ("True", "False", None, true),
            ("False", "False", Some(true), false),
            ("False", "False", Some(false), true),
            ("False", "False", None, true),
            ("False", "True", Some(true), true),
            ("False", "True", Some(false), true),
        ] {
            let object = policy(&[("Reconciling", reconciling), ("Stalled", stalled)]);
            assert_eq!(wakes(&object, held), want, "{reconciling} {stalled} {held:?}");
        }
        assert!(wakes(&policy(&[]), Some(true)), "nothing is said of it yet");
    }
}
