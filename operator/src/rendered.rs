//! What the configuration of each listener holds, and what of it all of its pods have confirmed: so that a look at one of
//! thousands of domains need not look at all of them, and a change of one is no news for the others. In memory; after a start the
//! first look at a listener fills it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use kube::ResourceExt;
use postroad_crds::SmtpListener;
use postroad_crds::conditions::{CONFIG_APPLIED, status_of};

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
}
