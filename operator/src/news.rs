//! Whom a change of a listener wakes. Its spec is news for all that name it. Its status, which changes with its queue, is news only
//! for those that wait for it, that lost to another, or that are not in its configuration any more: of thousands of domains few.

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

    /// Objects of a store that look again. `line`: what a configuration that holds the object says of it.
    pub fn of<K>(
        &self,
        listener: &Guarded<SmtpListener>,
        store: &Store<Guarded<K>>,
        line: impl Fn(&K) -> String,
        references: impl Fn(&K) -> &[ListenerRef],
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
        let is_held = |object: &K| {
            let parsed = listener.0.as_ref().ok();
            parsed.and_then(|listener| self.ctx.rendered.holds(listener, &line(object))) != Some(false)
        };
        let known = store.state();
        let woken = known.iter().filter(|object| {
            object
                .0
                .as_ref()
                .is_ok_and(|parsed| names(parsed) && (everybody || waits(parsed) || !is_held(parsed)))
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

/// Whether an object is on its way, or waits for another to go.
fn waits<K: Stated>(object: &K) -> bool {
    status_of(object.conditions(), RECONCILING) != Some(false)
        || status_of(object.conditions(), STALLED) == Some(true)
}

#[cfg(test)]
mod tests {
    use postroad_crds::RelayPolicy;
    use serde_json::json;

    use super::*;

    #[test]
    fn who_is_on_its_way_or_lost_waits_and_who_is_served_does_not() {
        for (reconciling, stalled, want) in [
            ("True", "False", true),
            ("False", "True", true),
            ("False", "False", false),
        ] {
            let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "X", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let object: RelayPolicy = serde_json::from_value(json!({
                "apiVersion": "postroad.dev/v1alpha1", "kind": "RelayPolicy", "metadata": {"name": "out"},
                "spec": {"listenerRefs": [{"name": "edge"}], "routes": [{"direct": {}}]},
                "status": {"conditions": [condition("Reconciling", reconciling), condition("Stalled", stalled)]},
            }))
            .unwrap();
            assert_eq!(waits(&object), want, "{reconciling} {stalled}");
        }
        let fresh: RelayPolicy = serde_json::from_value(json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "RelayPolicy", "metadata": {"name": "out"},
            "spec": {"listenerRefs": [{"name": "edge"}], "routes": [{"direct": {}}]},
        }))
        .unwrap();
        assert!(waits(&fresh), "nothing is said of it yet");
    }
}
