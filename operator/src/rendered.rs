//! What the configuration of each listener holds, and what of it all of its pods have confirmed: so that a look at one of
//! thousands of domains need not look at all of them, and a change of one is no news for the others. In memory; after a start the
//! first look at a listener fills it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use kube::{Resource, ResourceExt};
use postroad_crds::SmtpListener;
use postroad_crds::conditions::{CONFIG_APPLIED, RECONCILING, STALLED, status_of};

use crate::counted::Stated;

/// Objects as [`crate::attached::lines`] names them: kind, uid, generation, keys.
type Lines = Arc<HashSet<String>>;

/// By the uid of the listener.
#[derive(Default)]
pub struct Rendered(Mutex<HashMap<String, Entry>>);

#[derive(Default)]
struct Entry {
    written: Lines,
    confirmed: Lines,
}

impl Rendered {
    /// A configuration with these objects was written.
    pub fn written(&self, listener: &SmtpListener, fingerprint: &str, lines: Vec<String>) {
        let lines: Lines = Arc::new(lines.into_iter().collect());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = known.entry(uid(listener)).or_insert_with(|| Entry {
            // Before this start it was confirmed already.
            confirmed: if was_confirmed(listener, fingerprint) {
                lines.clone()
            } else {
                Lines::default()
            },
            ..Entry::default()
        });
        entry.written = lines;
    }

    /// Whether an object, as it is now, is in the configuration that was written last. `false` where none is known.
    pub fn has_written(&self, listener: &SmtpListener, line: &str) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(&uid(listener))
            .is_some_and(|entry| entry.written.contains(line))
    }

    /// What was written last is what every pod runs.
    pub fn confirmed(&self, listener: &SmtpListener) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = known.get_mut(&uid(listener)) {
            entry.confirmed = entry.written.clone();
        }
    }

    /// Whether an object, as it is now, is in the configuration and every pod runs one that has it. `None`: not known.
    pub fn holds(&self, listener: &SmtpListener, line: &str) -> Option<bool> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = known.get(&uid(listener))?;
        Some(entry.written.contains(line) && entry.confirmed.contains(line))
    }

    /// The listener is gone.
    pub fn forget(&self, listener: &SmtpListener) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&uid(listener));
    }
}

/// Whether the status of an object says that it is served as it is now. It stands until the first look at its listener after a start:
/// to look at thousands of objects for each of thousands would take minutes, and what is not so any more is told at that look.
pub fn was_served<K: Stated + Resource<DynamicType = ()>>(object: &K) -> bool {
    let generation = object.meta().generation;
    let is = |kind| status_of(object.conditions(), kind);
    let is_of_now = object
        .conditions()
        .iter()
        .any(|known| known.type_ == RECONCILING && known.observed_generation == generation);
    is_of_now && is(RECONCILING) == Some(false) && is(STALLED) == Some(false)
}

fn uid(listener: &SmtpListener) -> String {
    listener.uid().unwrap_or_default()
}

/// By the listener's own status.
fn was_confirmed(listener: &SmtpListener, fingerprint: &str) -> bool {
    listener.status.as_ref().is_some_and(|status| {
        status.rendered.as_deref() == Some(fingerprint)
            && (listener.spec.replicas == 0 || status_of(&status.conditions, CONFIG_APPLIED) == Some(true))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn listener(status: &Value) -> SmtpListener {
        serde_json::from_value(json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "SmtpListener",
            "metadata": {"name": "edge", "namespace": "mail", "uid": "one"},
            "spec": {
                "hostname": "mail.example.com", "queue": {"storage": {"size": "1Gi"}},
                "ports": [{"name": "smtp", "port": 25, "role": "Transfer", "tls": "Disabled"}],
            },
            "status": status,
        }))
        .unwrap()
    }

    fn lines(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn an_object_is_confirmed_with_the_pods_and_stays_so_while_another_changes() {
        let (rendered, edge) = (Rendered::default(), listener(&Value::Null));
        assert_eq!(rendered.holds(&edge, "a/1"), None, "nothing is known yet");
        rendered.written(&edge, "f1", lines(&["a/1"]));
        assert_eq!(rendered.holds(&edge, "a/1"), Some(false), "no pod has it yet");
        rendered.confirmed(&edge);
        assert_eq!(rendered.holds(&edge, "a/1"), Some(true));
        rendered.written(&edge, "f2", lines(&["a/1", "b/1"]));
        assert_eq!(rendered.holds(&edge, "a/1"), Some(true), "b is no news for a");
        assert_eq!(rendered.holds(&edge, "b/1"), Some(false));
        rendered.written(&edge, "f3", lines(&["a/2", "b/1"]));
        assert_eq!(rendered.holds(&edge, "a/1"), Some(false), "it was taken out");
        rendered.confirmed(&edge);
        assert_eq!(rendered.holds(&edge, "a/2"), Some(true));
        rendered.forget(&edge);
        assert_eq!(rendered.holds(&edge, "a/2"), None);
    }

    #[test]
    fn after_a_start_the_status_says_what_was_confirmed() {
        let status = |rendered: &str, applied: &str| {
            json!({"rendered": rendered, "conditions": [
                {"type": "ConfigApplied", "status": applied, "reason": "X", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            ]})
        };
        for (status, want) in [
            (status("f1", "True"), true),
            (status("f1", "False"), false),
            (status("f0", "True"), false),
            (Value::Null, false),
        ] {
            let (rendered, edge) = (Rendered::default(), listener(&status));
            rendered.written(&edge, "f1", lines(&["a/1"]));
            assert_eq!(rendered.holds(&edge, "a/1"), Some(want), "{status}");
        }
    }

    #[test]
    fn what_was_served_as_it_is_now_is_taken_for_served_at_a_start() {
        let policy = |conditions: &[(&str, &str, i64)]| -> postroad_crds::RelayPolicy {
            let one = |(kind, status, generation): &(&str, &str, i64)| json!({"type": kind, "status": status, "reason": "X", "message": "", "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let conditions: Vec<_> = conditions.iter().map(one).collect();
            serde_json::from_value(json!({
                "apiVersion": "postroad.dev/v1alpha1", "kind": "RelayPolicy", "metadata": {"name": "out", "generation": 2},
                "spec": {"listenerRefs": [{"name": "edge"}], "routes": [{"direct": {}}]},
                "status": {"conditions": conditions},
            }))
            .unwrap()
        };
        for (reconciling, stalled, generation, want) in [
            ("False", "False", 2, true),
            ("False", "False", 1, false),
            ("True", "False", 2, false),
            ("False", "True", 2, false),
        ] {
            let object = policy(&[
                ("Reconciling", reconciling, generation),
                ("Stalled", stalled, generation),
            ]);
            assert_eq!(was_served(&object), want, "{reconciling} {stalled} {generation}");
        }
        assert!(!was_served(&policy(&[])), "nothing was said of it");
    }
}
