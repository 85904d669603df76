//! A larger queue volume: refused by a class that does not allow it, then taken up without a restart of the pod; never smaller.
//! The driver that enlarges a volume is played: the local one writes a size down and no more.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kubectl::{Failure, Namespace, Outcome, condition, is, until};
use crate::mail::Mail;
use crate::mail::submit::Security;
use crate::mailroom::{LISTENER, Mailroom};
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let outside = Namespace::new(&scene.world.cluster, "default");
    outside.apply(&class().to_string())?;
    let played = play_with(scene, &outside);
    let removed = outside.kubectl(["delete", CLASS, "--ignore-not-found"]).map(drop);
    played.and(removed)
}

fn play_with(scene: &Scene<'_>, outside: &Namespace) -> Outcome {
    let mut room = Mailroom::new(scene, 1);
    room.listener["spec"]["queue"]["storage"] = json!({"size": "256Mi", "storageClassName": "growing"});
    let room = room.open()?;
    let namespace = room.namespace();
    let (pod, set) = (namespace.get(["pod/edge-0"])?, namespace.get([SET])?);

    resize(namespace, "512Mi")?;
    await_listener(
        namespace,
        "QueueHealthy=False/VolumeNotExpandable and Ready",
        |listener| {
            condition(listener, "QueueHealthy")
                .is_some_and(|healthy| healthy["reason"] == "VolumeNotExpandable")
                && is(listener, "Ready", "True")
        },
    )?;
    let size = namespace.get([SET])?;
    if size["metadata"]["uid"] != set["metadata"]["uid"] {
        return Err(Failure::wrong(
            "the StatefulSet was made anew for a claim that does not grow",
        ));
    }
    // The wish is taken back, and is no larger than what is there.
    resize(namespace, "256Mi")?;
    await_listener(namespace, "QueueHealthy=True", |listener| {
        is(listener, "QueueHealthy", "True")
    })?;

    outside.patch(CLASS, &json!({"allowVolumeExpansion": true}))?;
    resize(namespace, "768Mi")?;
    namespace.wait_for(CLAIM, "a request of 768Mi", LIMIT, |claim| {
        claim["spec"]["resources"]["requests"]["storage"] == "768Mi"
    })?;
    await_listener(namespace, "Reconciling=True while it grows", |listener| {
        is(listener, "Reconciling", "True")
    })?;
    enlarge(namespace)?;
    await_listener(namespace, "Reconciling=False and a size of 768Mi", |listener| {
        is(listener, "Reconciling", "False")
            && is(listener, "Ready", "True")
            && listener["status"]["volumeSize"] == "768Mi"
    })?;
    let after = namespace.get([SET])?;
    let template = &after["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"];
    if after["metadata"]["uid"] == set["metadata"]["uid"] || *template != "768Mi" {
        return Err(Failure::wrong(format!(
            "the StatefulSet still has claims of {template}"
        )));
    }
    same_pod(namespace, &pod, &after)?;
    shrinks_not(&room)?;
    let mail = Mail::plain(&room.mark("grown"), &room.sender(), &room.far_user());
    room.send(&room.server(Security::StartTls)?, &mail)?;
    room.expect_at_far(&[mail], LIMIT)
}

fn resize(namespace: &Namespace, size: &str) -> Outcome {
    let object = format!("smtplistener/{LISTENER}");
    namespace.patch(&object, &json!({"spec": {"queue": {"storage": {"size": size}}}}))
}

fn await_listener(namespace: &Namespace, what: &str, test: impl Fn(&Value) -> bool) -> Outcome {
    let object = format!("smtplistener/{LISTENER}");
    let current = |listener: &Value| {
        listener["status"]["observedGeneration"] == listener["metadata"]["generation"] && test(listener)
    };
    namespace.wait_for(&object, what, LIMIT, current).map(drop)
}

/// As a driver does it when the volume has its new size.
fn enlarge(namespace: &Namespace) -> Outcome {
    let capacity = json!({"status": {"capacity": {"storage": "768Mi"}}}).to_string();
    let args = [
        "patch",
        CLAIM,
        "--subresource=status",
        "--type=merge",
        "--patch",
        &capacity,
    ];
    namespace.kubectl(args).map(drop)
}

/// The pod has not been restarted, and belongs to the new StatefulSet.
fn same_pod(namespace: &Namespace, before: &Value, set: &Value) -> Outcome {
    until(LIMIT, || {
        let pod = namespace.get(["pod/edge-0"])?;
        let owner = &pod["metadata"]["ownerReferences"][0]["uid"];
        Ok(*owner == set["metadata"]["uid"])
    })
    .map_err(|_| Failure::wrong("the pod was not taken over by the new StatefulSet"))?;
    let after = namespace.get(["pod/edge-0"])?;
    let restarts = &after["status"]["containerStatuses"][0]["restartCount"];
    if after["metadata"]["uid"] != before["metadata"]["uid"] || *restarts != 0 {
        return Err(Failure::wrong("the pod was restarted for a larger volume"));
    }
    Ok(())
}

/// A lower size is refused with a sentence.
fn shrinks_not(room: &Mailroom<'_>) -> Outcome {
    let mut smaller = room.listener.clone();
    smaller["spec"]["queue"]["storage"]["size"] = json!("512Mi");
    let said = room.namespace().refusal(&smaller.to_string())?;
    if said.contains("spec.queue.storage.size can only be raised") {
        Ok(())
    } else {
        Err(Failure::wrong(format!(
            "no sentence says why it cannot shrink: {said}"
        )))
    }
}

fn class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "growing"},
        "provisioner": "postroad.invalid/local", "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Delete", "allowVolumeExpansion": false,
    })
}

const CLASS: &str = "storageclass/growing";
const SET: &str = "statefulset/edge";
const CLAIM: &str = "persistentvolumeclaim/queue-edge-0";
const LIMIT: Duration = Duration::from_mins(2);
