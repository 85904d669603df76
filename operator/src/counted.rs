//! How many objects of each kind there are, by what their condition Ready says. For the figures; pure.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use postroad_crds::conditions::READY;
use postroad_crds::{MailDomain, RelayPolicy, SmtpListener};

use crate::driver::Guarded;

/// What Ready may say; `Unreadable`: the object cannot be parsed, and nothing is said of it.
pub const SAYS: [&str; 4] = ["True", "False", "Unknown", "Unreadable"];

/// A kind with conditions.
pub trait Stated {
    /// Its conditions.
    fn conditions(&self) -> &[Condition];
}

impl Stated for SmtpListener {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }
}

impl Stated for MailDomain {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }
}

impl Stated for RelayPolicy {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }
}

/// How many say each of [`SAYS`].
pub fn count<K: Stated + Resource<DynamicType = ()>>(
    objects: &[Arc<Guarded<K>>],
) -> [(&'static str, usize); 4] {
    let of = |says: &str| objects.iter().filter(|object| said(object) == says).count();
    SAYS.map(|says| (says, of(says)))
}

fn said<K: Stated>(object: &Guarded<K>) -> &str {
    let Ok(object) = &object.0 else { return SAYS[3] };
    let ready = object
        .conditions()
        .iter()
        .find(|condition| condition.type_ == READY);
    match ready.map(|ready| ready.status.as_str()) {
        Some("True") => SAYS[0],
        Some("False") => SAYS[1],
        _ => SAYS[2],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn policy(spec: &Value, ready: &str) -> Arc<Guarded<RelayPolicy>> {
        let condition = json!({"type": "Ready", "status": ready, "reason": "X", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let object = json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "RelayPolicy", "metadata": {"name": "out"},
            "spec": spec, "status": {"conditions": [condition]},
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn each_object_counts_once_also_one_that_cannot_be_parsed() {
        let good = json!({"listenerRefs": [{"name": "edge"}], "routes": [{"direct": {}}]});
        let objects = [
            policy(&good, "True"),
            policy(&good, "False"),
            policy(&good, "False"),
            policy(&good, "Unknown"),
            policy(&json!({"listenerRefs": 7}), "True"),
        ];
        assert_eq!(
            count(&objects),
            [("True", 1), ("False", 2), ("Unknown", 1), ("Unreadable", 1)]
        );
    }
}
