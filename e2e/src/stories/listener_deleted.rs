//! A listener is deleted with mail in its queue, in the foreground and in the background: it stays until the mail is delivered and
//! says what waits, then all of it is gone but the claims. A third time the mail is given up: the claims keep it, and a listener of the
//! same name delivers it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kubectl::{Failure, Outcome, condition, until};
use crate::mail::Mail;
use crate::mailroom::{LISTENER, Mailroom};
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let room = Mailroom::new(scene, 2).open()?;
    let first = deleted(scene, &room, "foreground")?;
    await_delivered(scene, &room, &first)?;
    room.apply_objects()?;
    room.await_ready()?;
    let second = deleted(scene, &room, "background")?;
    await_delivered(scene, &room, &second)?;
    room.apply_objects()?;
    room.await_ready()?;
    let third = deleted(scene, &room, "background")?;
    let given_up = given_up(&room);
    scene.world.peers.set_far_running(true)?;
    given_up?;
    room.apply_objects()?;
    room.await_ready()?;
    let all: Vec<Mail> = [first, second, third].concat();
    room.expect_at_far(&all, LIMIT)
}

/// Mail waits in both pods when the listener is deleted. The status tells it; the far side stays down.
fn deleted(scene: &Scene<'_>, room: &Mailroom<'_>, cascade: &str) -> Outcome<Vec<Mail>> {
    scene.world.peers.set_far_running(false)?;
    let deleted = deleted_with_far_down(room, cascade);
    if deleted.is_err() {
        scene.world.peers.set_far_running(true)?;
    }
    deleted
}

fn deleted_with_far_down(room: &Mailroom<'_>, cascade: &str) -> Outcome<Vec<Mail>> {
    let pods = ["edge-0", "edge-1"];
    let mails = room.send_through(&pods, 1)?;
    room.await_held(&pods, 2, LIMIT)?;
    let cascade = format!("--cascade={cascade}");
    room.namespace()
        .kubectl(["delete", &object(), &cascade, "--wait=false"])?;
    let told = |listener: &Value| {
        let message = condition(listener, "Ready").map(|ready| ready["message"].clone());
        let message = message
            .and_then(|text| text.as_str().map(str::to_owned))
            .unwrap_or_default();
        listener["metadata"]["deletionTimestamp"].is_string()
            && message.contains("2 messages")
            && message.contains("deletionPolicy")
    };
    room.namespace()
        .wait_for(&object(), "what waits, and how to give it up", LIMIT, told)?;
    room.await_held(&pods, 2, LIMIT)?;
    Ok(mails)
}

/// The far side answers: the mail leaves, and the listener with all that was its own but the claims.
fn await_delivered(scene: &Scene<'_>, room: &Mailroom<'_>, mails: &[Mail]) -> Outcome {
    scene.world.peers.set_far_running(true)?;
    await_gone(room)?;
    let claims = claims(room)?;
    let marked = |claim: &Value| claim["metadata"]["annotations"]["postroad.dev/drained"].is_string();
    if claims.len() == 2 && claims.iter().all(marked) {
        return Ok(());
    }
    Err(Failure::wrong(format!(
        "after {} mails the two claims should be there, marked as drained: {claims:#?}",
        mails.len()
    )))
}

/// The override: the pods go with their mail, and the claims stay without a mark.
fn given_up(room: &Mailroom<'_>) -> Outcome {
    room.namespace()
        .patch(&object(), &json!({"spec": {"deletionPolicy": "Discard"}}))?;
    await_gone(room)?;
    let claims = claims(room)?;
    let marked = |claim: &Value| claim["metadata"]["annotations"]["postroad.dev/drained"].is_string();
    if claims.len() == 2 && !claims.iter().any(marked) {
        return Ok(());
    }
    Err(Failure::wrong(format!(
        "the two claims should be there, unmarked: {claims:#?}"
    )))
}

fn await_gone(room: &Mailroom<'_>) -> Outcome {
    let label = format!("--selector=postroad.dev/listener={LISTENER}");
    let mut left = String::new();
    until(LIMIT, || {
        let kinds = "smtplisteners,statefulsets,pods,services,serviceaccounts,secrets,poddisruptionbudgets";
        left = room
            .namespace()
            .kubectl(["get", kinds, &label, "--output=name"])?;
        Ok(left.trim().is_empty() && !room.namespace().exists(&object())?)
    })
    .map_err(|_| Failure::wrong(format!("the deleted listener is not gone: {left}")))
}

fn claims(room: &Mailroom<'_>) -> Outcome<Vec<Value>> {
    let label = format!("--selector=postroad.dev/listener={LISTENER}");
    let claims = room.namespace().get(["persistentvolumeclaims", &label])?;
    Ok(claims["items"].as_array().cloned().unwrap_or_default())
}

fn object() -> String {
    format!("smtplistener/{LISTENER}")
}

const LIMIT: Duration = Duration::from_mins(4);
