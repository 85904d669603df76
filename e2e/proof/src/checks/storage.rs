//! Checks 16 and 21: a StorageClass that is not there yet, and what of a fleet can never be changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::confirmed::{condition, is, plain_listener};
use crate::case::{Case, Verdict};
use crate::daemon::Daemon;
use crate::operation::{Operation, Reference};
use crate::request::Verb;
use crate::rig::{Rig, World};
use crate::server::Said;

/// All cases. `created`: how a creation goes undisturbed.
pub fn cases(created: &Arc<Reference>) -> Vec<Case> {
    let reference = created.clone();
    vec![
        Case::new(
            "check_16_a_missing_storage_class_is_named_and_picked_up",
            "a class that comes later",
            class_comes_later,
        ),
        Case::new(
            "check_21_what_cannot_change_is_refused_or_migrated",
            "each such field of a StatefulSet, a claim, a Service and a Secret",
            move |world| cannot_change(world, reference),
        ),
    ]
}

/// What makes volumes is stood in for: the claim is bound by hand, as soon as there is a class.
async fn class_comes_later(world: Arc<World>) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    // Classes are the cluster's, and other cases are beside this one.
    let class = format!("fast-{}", rig.place);
    let mut listener = plain_listener();
    listener["spec"]["replicas"] = json!(1);
    listener["spec"]["queue"]["storage"]["storageClassName"] = json!(class);
    rig.apply("smtplisteners", &listener).await?;
    rig.until("Ready=False names the class and the claim", async |rig| {
        let [status, _, message] = condition(rig, "smtplisteners", "edge", "Ready").await?;
        Ok(status == "False"
            && message.contains(&format!("StorageClass {class} "))
            && message.contains("queue-edge-0"))
    })
    .await?;
    rig.quiet(1).await?;
    let starts = rig.operator.starts();
    let provisioner = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": class},
        "provisioner": "proof.example/none",
    });
    let classes = "/apis/storage.k8s.io/v1/storageclasses";
    rig.api.create(classes, &provisioner).await?;
    let bound = json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}});
    let claim = rig.path("persistentvolumeclaims", "queue-edge-0");
    rig.api.merge(&format!("{claim}/status"), &bound).await?;
    let _daemon = Daemon::start(&rig, 0).await?;
    rig.until("it is ready", async |rig| {
        is(rig, "smtplisteners", "edge", "Ready", "True").await
    })
    .await?;
    rig.quiet(0).await?;
    rig.api.delete(&format!("{classes}/{class}")).await?;
    if rig.operator.starts() != starts {
        return Err("it took a restart".into());
    }
    Ok(Verdict::Held)
}

/// A change, and the word of the refusal; none = it is taken, and what is there is kept.
type Row = (&'static str, Value, Option<&'static str>);

/// What a person may want to change of what Kubernetes never changes.
fn rows() -> Vec<Row> {
    let storage = |value: Value| json!({"spec": {"queue": {"storage": value}}});
    let name = "spec.queue.storage";
    vec![
        (
            "a class where there was none",
            storage(json!({"storageClassName": "fast"})),
            Some("storageClassName"),
        ),
        (
            "a smaller volume",
            storage(json!({"size": "512Mi"})),
            Some("size"),
        ),
        ("no size", storage(json!({"size": null})), Some("size")),
        (
            "no storage",
            json!({"spec": {"queue": {"storage": null}}}),
            Some(name),
        ),
        ("no queue", json!({"spec": {"queue": null}}), Some("spec.queue")),
        ("the name", json!({"metadata": {"name": "other"}}), Some("name")),
        (
            "the namespace",
            json!({"metadata": {"namespace": "other"}}),
            Some("namespace"),
        ),
        // Selector, serviceName and the names of ports follow from the name alone; these are what else goes into a fleet.
        (
            "labels of the pods",
            json!({"spec": {"pod": {"labels": {"example.com/team": "mail"}}}}),
            None,
        ),
        (
            "the selector's label on the pods",
            json!({"spec": {"pod": {"labels": {"postroad.dev/listener": "other"}}}}),
            Some("pod.labels"),
        ),
        ("whenDrained", storage(json!({"whenDrained": "Delete"})), None),
        (
            "the type of the Service",
            json!({"spec": {"service": {"type": "NodePort"}}}),
            None,
        ),
        (
            "ports",
            json!({"spec": {"ports": [{"name": "smtp", "port": 2525, "role": "Transfer", "tls": "Opportunistic"}]}}),
            None,
        ),
        ("a larger volume", storage(json!({"size": "2Gi"})), None),
    ]
}

/// By uid: StatefulSet and claims hold mail, Secrets what pods run by, Services what clients know. Pods of another template are
/// replaced, one by one: that is a rollout.
async fn kept(rig: &Rig) -> Said<BTreeMap<String, Value>> {
    let all = rig.raw().await?;
    let is_meant = |name: &str| {
        [
            "statefulsets/",
            "persistentvolumeclaims/",
            "services/",
            "secrets/edge-c",
        ]
        .iter()
        .any(|kind| name.starts_with(kind))
    };
    Ok(all
        .into_iter()
        .filter(|(name, _)| is_meant(name))
        .map(|(name, object)| (name, object["metadata"]["uid"].clone()))
        .collect())
}

async fn cannot_change(world: Arc<World>, reference: Arc<Reference>) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    Operation::Create.prepare(&rig).await?;
    Operation::Create.act(&rig).await?;
    rig.reaches(&reference.objects).await?;
    let before = kept(&rig).await?;
    rig.proxy.begin(Vec::new(), None);
    let path = rig.path("smtplisteners", "edge");
    let mut wrong = Vec::new();
    for (what, change, refusal) in rows() {
        let said = rig.api.merge(&path, &change).await.map(drop);
        let said = said.map_err(|said| said.replace(&path, ""));
        match (&said, refusal) {
            (Err(said), Some(part)) if said.contains(part) => {}
            (Ok(()), None) => rig.quiet(0).await?,
            _ => wrong.push(format!("{what}: {said:?}")),
        }
    }
    if !wrong.is_empty() {
        return Err(wrong.join("; "));
    }
    let after = kept(&rig).await?;
    // The StatefulSet alone is made anew, for larger volumes, around pods and claims that stay: a migration that is said.
    let others: Vec<_> = before
        .iter()
        .filter(|(name, uid)| after.get(*name) != Some(*uid))
        .map(|(name, _)| name.as_str())
        .collect();
    let deleted: Vec<_> = rig
        .proxy
        .seen()
        .into_iter()
        .filter(|seen| seen.call.verb == Verb::Delete && seen.call.kind != "pods")
        .map(|seen| format!("{} {}", seen.call.kind, String::from_utf8_lossy(&seen.body)))
        .collect();
    let is_orphaned = |delete: &String| delete.starts_with("statefulsets ") && delete.contains("Orphan");
    if others != ["statefulsets/edge"] || deleted.len() != 1 || !deleted.iter().all(is_orphaned) {
        return Err(format!("made anew: {others:?}; deleted: {deleted:?}"));
    }
    Ok(Verdict::Held)
}
