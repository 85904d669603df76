//! Orders by annotation. Hibernation: the pods go with mail in their queues, the mail stays on unmarked claims, and is delivered
//! when they are back. Pause: nothing is changed while it stands, and everything is made up for afterwards.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kubectl::{Failure, Outcome, condition, is};
use crate::mail::Mail;
use crate::mailroom::{LISTENER, Mailroom};
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let room = Mailroom::new(scene, 2).open()?;
    scene.world.peers.set_far_running(false)?;
    let result = with_far_down(&room);
    scene.world.peers.set_far_running(true)?;
    room.expect_at_far(&result?, LIMIT)
}

fn with_far_down(room: &Mailroom<'_>) -> Outcome<Vec<Mail>> {
    let pods = ["edge-0", "edge-1"];
    let mails = room.send_through(&pods, 2)?;
    room.await_queue(4, LIMIT)?;
    order(room, "postroad.dev/hibernate=true")?;
    room.await_pods(0, LIMIT)?;
    let listener = await_listener(room, "Ready=False/Hibernated", |listener| {
        condition(listener, "Ready").is_some_and(|ready| ready["reason"] == "Hibernated")
            && is(listener, "Reconciling", "False")
    })?;
    if listener["status"]["queue"]["messages"] != 4 {
        return Err(Failure::wrong(format!(
            "it is not said what waits: {:#}",
            listener["status"]
        )));
    }
    for pod in pods {
        let claim = room.namespace().get([format!("pvc/queue-{pod}").as_str()])?;
        if !claim["metadata"]["annotations"]["postroad.dev/drained"].is_null() {
            return Err(Failure::wrong(format!("the claim of {pod} is marked as drained")));
        }
    }
    order(room, "postroad.dev/hibernate-")?;
    room.await_pods(2, LIMIT)?;
    room.await_ready()?;
    room.await_held(&pods, 4, LIMIT)?;
    paused(room)?;
    Ok(mails)
}

/// While it stands another number of pods is asked for, and the budget is deleted: neither is seen to. That the operator works on
/// meanwhile shows a second domain, which waits for the listener.
fn paused(room: &Mailroom<'_>) -> Outcome {
    order(room, "postroad.dev/paused=true")?;
    await_listener(room, "Reconciling=False/Paused", |listener| {
        condition(listener, "Reconciling").is_some_and(|state| state["reason"] == "Paused")
    })?;
    let namespace = room.namespace();
    room.scale(3)?;
    namespace.kubectl(["delete", BUDGET])?;
    let mut second = room.domain.clone();
    second["metadata"]["name"] = json!("second");
    second["spec"]["domain"] = json!(format!(
        "second.{}",
        room.domain["spec"]["domain"].as_str().unwrap_or_default()
    ));
    namespace.apply(&second.to_string())?;
    namespace.wait_for("maildomain/second", "a word that it waits", LIMIT, |domain| {
        is(domain, "Ready", "False") || is(domain, "Ready", "Unknown")
    })?;
    let listener = namespace.get([object().as_str()])?;
    let seen = &listener["status"]["observedGeneration"];
    if *seen == listener["metadata"]["generation"]
        || namespace.exists("pod/edge-2")?
        || namespace.exists(BUDGET)?
    {
        return Err(Failure::wrong(
            "something was changed while the listener was paused",
        ));
    }
    order(room, "postroad.dev/paused-")?;
    room.await_pods(3, LIMIT)?;
    namespace.wait_for(BUDGET, "it is back", LIMIT, Value::is_object)?;
    namespace.kubectl(["delete", "maildomain/second"])?;
    room.await_ready().map(drop)
}

fn order(room: &Mailroom<'_>, annotation: &str) -> Outcome {
    let args = ["annotate", &object(), annotation];
    room.namespace().kubectl(args).map(drop)
}

fn await_listener(room: &Mailroom<'_>, what: &str, test: impl Fn(&Value) -> bool) -> Outcome<Value> {
    room.namespace().wait_for(&object(), what, LIMIT, test)
}

fn object() -> String {
    format!("smtplistener/{LISTENER}")
}

const BUDGET: &str = "poddisruptionbudget/edge";
const LIMIT: Duration = Duration::from_mins(3);
