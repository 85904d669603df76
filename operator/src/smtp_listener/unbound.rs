//! Claims that have no volume yet: of which StorageClass they wait for one. Pure.
//!
//! Whether there is such a class is not ours to read: classes belong to the cluster, and the operator may work in one namespace
//! alone. What is there is bound within seconds; what stays is told with the name to look for.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;

use super::names::Names;

/// A sentence for each claim of a pod that stays, lowest pod first. `replicas`: pods that stay.
pub fn sentences(names: &Names, claims: &[PersistentVolumeClaim], replicas: i32) -> Vec<String> {
    let mut waiting: Vec<_> = claims
        .iter()
        .filter(|claim| claim.metadata.deletion_timestamp.is_none())
        .filter(|claim| claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Pending"))
        .filter_map(|claim| Some((names.ordinal(&claim.name_any())?, claim)))
        .filter(|(ordinal, _)| *ordinal < replicas)
        .collect();
    waiting.sort_by_key(|(ordinal, _)| *ordinal);
    waiting
        .into_iter()
        .map(|(ordinal, claim)| {
            let class = claim
                .spec
                .as_ref()
                .and_then(|spec| spec.storage_class_name.as_deref());
            format!(
                "{} waits for its volume: claim {} is not bound, {}",
                names.pod(ordinal),
                claim.name_any(),
                of(class)
            )
        })
        .collect()
}

/// What the claim waits for, and what to do where it is missing.
fn of(class: Option<&str>) -> String {
    match class {
        Some("") => "and by queue.storage.storageClassName nothing makes one: create a PersistentVolume without a class".into(),
        Some(class) => format!(
            "a volume of StorageClass {class} is asked for; where `kubectl get storageclass {class}` finds none, create it, it is picked up then"
        ),
        None => "and names no StorageClass; where the cluster has no default, create one, it is picked up then".into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn claim(ordinal: i32, class: &Value, phase: &str) -> PersistentVolumeClaim {
        serde_json::from_value(json!({
            "metadata": {"name": format!("queue-edge-{ordinal}")},
            "spec": {"storageClassName": class}, "status": {"phase": phase},
        }))
        .unwrap()
    }

    #[test]
    fn who_waits_for_a_volume_is_told_with_its_class() {
        let names = Names {
            namespace: "mail".into(),
            listener: "edge".into(),
        };
        let claims = [
            claim(3, &json!("fast"), "Pending"),
            claim(2, &Value::Null, "Pending"),
            claim(1, &json!("fast"), "Pending"),
            claim(0, &json!("fast"), "Bound"),
        ];
        let told = sentences(&names, &claims, 3);
        assert_eq!(told.len(), 2, "one is bound, one is of a pod that goes");
        assert!(told[0].starts_with(
            "edge-1 waits for its volume: claim queue-edge-1 is not bound, a volume of StorageClass fast"
        ));
        assert!(told[1].contains("edge-2") && told[1].contains("no default"));
        let none = sentences(&names, &[claim(0, &json!(""), "Pending")], 1);
        assert!(none[0].contains("PersistentVolume without a class"));
    }
}
