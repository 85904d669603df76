//! A scale-down is under way when the operator dies, again and again. What it began is finished by its successor.

use std::time::Duration;

use crate::install;
use crate::kubectl::{Namespace, Outcome, until};
use crate::mail::Mail;
use crate::mailroom::{LISTENER, Mailroom};
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let room = Mailroom::new(scene, 3).open()?;
    scene.world.peers.set_far_running(false)?;
    let result = with_far_down(scene, &room);
    scene.world.peers.set_far_running(true)?;
    room.expect_at_far(&result?, Duration::from_mins(2))
}

fn with_far_down(scene: &Scene<'_>, room: &Mailroom<'_>) -> Outcome<Vec<Mail>> {
    let pods = ["edge-0", "edge-1", "edge-2"];
    let mails = room.send_through(&pods, 3)?;
    room.await_held(&pods, 9, Duration::from_mins(1))?;
    let operator = Namespace::new(&scene.world.cluster, install::NAMESPACE);
    room.scale(1)?;
    for _ in 0..KILLS {
        kill(&operator)?;
        // The next kill comes when the successor is ready, or when the work is done.
        let listener = format!("smtplistener/{LISTENER}");
        until(Duration::from_mins(1), || {
            let ready = operator.get(["deployments"])?["items"][0]["status"]["readyReplicas"] == 1;
            Ok(ready || room.namespace().get([listener.as_str()])?["status"]["replicas"] == 1)
        })?;
    }
    room.await_pods(1, Duration::from_mins(4))?;
    room.await_held(&pods[..1], 9, Duration::from_mins(1))?;
    Ok(mails)
}

fn kill(operator: &Namespace) -> Outcome {
    operator
        .kubectl(["delete", "pods", "--all", "--force", "--grace-period=0"])
        .map(drop)
}

const KILLS: usize = 3;
