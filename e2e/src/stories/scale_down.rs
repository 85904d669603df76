//! Three pods hold mail that cannot go out yet. The listener is scaled to one: the leaving pods hand their mail over and
//! go. Back to three, the far side answers again: every mail arrives once.

use std::time::Duration;

use crate::kubectl::Outcome;
use crate::mailroom::Mailroom;
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let room = Mailroom::new(scene, 3).open()?;
    scene.world.peers.set_far_running(false)?;
    let result = with_far_down(&room);
    scene.world.peers.set_far_running(true)?;
    let mails = result?;
    room.expect_at_far(&mails, Duration::from_mins(2))
}

fn with_far_down(room: &Mailroom<'_>) -> Outcome<Vec<crate::mail::Mail>> {
    let pods = ["edge-0", "edge-1", "edge-2"];
    let mut mails = room.send_through(&pods, 4)?;
    room.await_held(&pods, 12, Duration::from_mins(1))?;
    room.scale(1)?;
    room.await_pods(1, Duration::from_mins(3))?;
    room.await_held(&pods[..1], 12, Duration::from_mins(1))?;
    room.scale(3)?;
    room.await_pods(3, Duration::from_mins(2))?;
    room.await_ready()?;
    mails.extend(room.send_through(&["edge-2"], 1)?);
    Ok(mails)
}
