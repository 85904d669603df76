//! The queue's volume is full: the server says "later" before it takes responsibility, says so in its status, and takes
//! mail again when the queue has gone out. Nothing that was accepted is lost.

use std::time::Duration;

use serde_json::json;

use crate::kubectl::{Failure, Outcome};
use crate::mail::Mail;
use crate::mail::submit::Security;
use crate::mailroom::{LISTENER, Mailroom};
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let mut room = Mailroom::new(scene, 1);
    room.listener["spec"]["queue"] = json!({"storage": {"size": "128Mi", "storageClassName": "bounded"}});
    let room = room.open()?;
    scene.world.peers.set_far_running(false)?;
    let result = fill(&room);
    scene.world.peers.set_far_running(true)?;
    let mut mails = result?;
    room.expect_at_far(&mails, Duration::from_mins(3))?;
    room.namespace()
        .wait_condition(&listener(), "QueueHealthy", "True", Duration::from_mins(2))?;
    mails.extend(room.send_through(&["edge-0"], 1)?);
    room.expect_at_far(&mails, Duration::from_mins(2))
}

/// Sends large mails until one is refused, then smaller ones: each refusal must be for now, never for ever.
fn fill(room: &Mailroom<'_>) -> Outcome<Vec<Mail>> {
    let server = room.server(Security::StartTls)?;
    let mut mails = Vec::new();
    for size in [10_000_000, 1_000_000] {
        let before = mails.len();
        loop {
            let mark = room.mark(&format!("full-{}", mails.len()));
            let mail = Mail::large(&mark, &room.sender(), &room.far_user(), size);
            match room.send(&server, &mail) {
                Ok(()) => mails.push(mail),
                Err(Failure::Wrong(said)) if said.contains("452") => break,
                Err(other) => return Err(other),
            }
            if mails.len() - before > MOST {
                return Err(Failure::wrong(format!(
                    "{MOST} mails of {size} octets fit on a volume of 128 MiB"
                )));
            }
        }
    }
    room.namespace()
        .wait_condition(&listener(), "QueueHealthy", "False", Duration::from_mins(2))?;
    Ok(mails)
}

fn listener() -> String {
    format!("smtplistener/{LISTENER}")
}

const MOST: usize = 30;
