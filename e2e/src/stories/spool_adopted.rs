//! A pod goes without having handed its mail over: while no operator watched, somebody lowered the StatefulSet by hand. Its
//! volume has mail that nobody would ever deliver. The operator finds the claim without its pod, brings the pod back, lets it
//! hand its mail over, and only then lets it go.

use std::time::Duration;

use crate::install;
use crate::kubectl::{Failure, Namespace, Outcome, until};
use crate::mail::Mail;
use crate::mailroom::{LISTENER, Mailroom};
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let room = Mailroom::new(scene, 2).open()?;
    scene.world.peers.set_far_running(false)?;
    let result = with_far_down(scene, &room);
    scene.world.peers.set_far_running(true)?;
    room.expect_at_far(&result?, Duration::from_mins(2))
}

fn with_far_down(scene: &Scene<'_>, room: &Mailroom<'_>) -> Outcome<Vec<Mail>> {
    let mails = room.send_through(&["edge-1"], 3)?;
    room.await_held(&["edge-1"], 3, Duration::from_mins(1))?;
    let operator = Namespace::new(&scene.world.cluster, install::NAMESPACE);
    set_operators(&operator, 0)?;
    let result = orphan(room);
    set_operators(&operator, 1)?;
    result?;
    room.await_held(&["edge-0"], 3, Duration::from_mins(3))?;
    room.await_pods(1, Duration::from_mins(2))?;
    Ok(mails)
}

/// The second pod goes, its volume stays, and the listener is to have one pod.
fn orphan(room: &Mailroom<'_>) -> Outcome {
    let namespace = room.namespace();
    namespace.kubectl(["scale", &format!("statefulset/{LISTENER}"), "--replicas=1"])?;
    namespace.kubectl(["wait", "pod/edge-1", "--for=delete", "--timeout=120s"])?;
    room.scale(1)?;
    if room.pods()? == 1 {
        return Ok(());
    }
    Err(Failure::wrong(
        "the pod that was to go came back with no operator there",
    ))
}

fn set_operators(operator: &Namespace, count: u64) -> Outcome {
    operator.kubectl(["scale", "deployments", "--all", &format!("--replicas={count}")])?;
    until(Duration::from_mins(2), || {
        Ok(
            operator.get(["pods"])?["items"].as_array().map_or(0, Vec::len) as u64 == count
                && operator.get(["deployments"])?["items"][0]["status"]["readyReplicas"]
                    .as_u64()
                    .unwrap_or(0)
                    == count,
        )
    })
}
