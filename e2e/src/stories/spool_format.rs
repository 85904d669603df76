//! A fleet is brought to a version that reads one format of the spool more, and back. The newer format is written once every
//! pod reads it, and no more once a person says so; then the older version takes the disks again. What was queued before
//! each turn is delivered after it, once.

use std::time::Duration;

use serde_json::{Value, json};

use super::away::Away;
use super::desk::LIMIT;
use crate::images::{self, Product};
use crate::install;
use crate::kubectl::{Failure, Outcome, until};
use crate::mail::Mail;
use crate::mail::mailbox::{self, Reader};
use crate::mailroom::{LISTENER, Mailroom};
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let next = images::next_product()?;
    let archives = [&next.operator, &next.mta].map(|image| image.archive.as_path());
    scene.world.cluster.load(&archives)?;
    let away = Away::new(scene)?;
    let mut room = Mailroom::new(scene, 2);
    away.reached_by(&mut room);
    away.shut()?;
    let room = room.open()?;
    let result = forward_and_back(scene, &room, &away, &next);
    // Whatever happened, the next story meets the version of the tree.
    let back = install(scene, &scene.world.product);
    result.and(back)
}

fn forward_and_back(scene: &Scene<'_>, room: &Mailroom<'_>, away: &Away<'_>, next: &Product) -> Outcome {
    formats(room, OURS, OURS)?;
    room.await_ready()?;
    let before = mails(room, away, "before")?;
    install(scene, next)?;
    rolled(room, next, OURS + 1)?;
    delivered(scene, room, away, &before)?;

    let between = mails(room, away, "between")?;
    formats(room, OURS + 1, OURS + 1)?;
    let word = format!("{ANNOTATION}={OURS}");
    room.namespace().kubectl(["annotate", &listener(), &word])?;
    // The way back is open when nothing newer is on any disk, with mail in the queue.
    formats(room, OURS, OURS)?;
    room.await_held(&PODS, between.len(), LIMIT)?;
    install(scene, &scene.world.product)?;
    rolled(room, &scene.world.product, OURS)?;
    room.namespace()
        .kubectl(["annotate", &listener(), &format!("{ANNOTATION}-")])?;
    delivered(scene, room, away, &between)?;
    formats(room, OURS, OURS)
}

fn install(scene: &Scene<'_>, product: &Product) -> Outcome {
    install::install(&scene.world.cluster, product, &scene.world.peers.dns)
}

/// The format that is written, and the newest on any disk, by the status.
fn formats(room: &Mailroom<'_>, written: u64, on_disk: u64) -> Outcome {
    let what = format!("format {written}, and {on_disk} on disk");
    room.namespace().wait_for(&listener(), &what, ROLL, |found| {
        found["status"]["spoolFormat"] == written && found["status"]["spoolFormatOnDisk"] == on_disk
    })?;
    Ok(())
}

/// Both pods are of that version and serve, and that format is written. A newer one is not as long as one pod is older.
fn rolled(room: &Mailroom<'_>, product: &Product, format: u64) -> Outcome {
    let image = product.mta.name();
    let all_new = || -> Outcome<bool> {
        let selector = format!("--selector=postroad.dev/listener={LISTENER}");
        let pods = room.namespace().get(["pods", &selector])?;
        let pods = pods["items"].as_array().map_or(&[][..], Vec::as_slice);
        let is_new = |pod: &Value| pod["spec"]["containers"][0]["image"] == json!(image);
        Ok(pods.len() == PODS.len() && pods.iter().all(is_new))
    };
    until(ROLL, || {
        // In this order: pods that are new stay so.
        let said = room.namespace().get([listener().as_str()])?["status"]["spoolFormat"].clone();
        let all_new = all_new()?;
        if said.as_u64() > Some(OURS) && !all_new {
            return Err(Failure::wrong(format!(
                "format {said} is written before every pod reads it"
            )));
        }
        Ok(said == format && all_new)
    })
    .map_err(|error| {
        Failure::wrong(format!(
            "the pods do not come to {image} and format {format}: {error}"
        ))
    })?;
    room.await_ready().map(drop)
}

/// Two mails at each pod for servers that are away.
fn mails(room: &Mailroom<'_>, away: &Away<'_>, name: &str) -> Outcome<Vec<Mail>> {
    let mut mails = Vec::new();
    for pod in PODS {
        let server = room.server_at(pod)?;
        for number in 0..2 {
            let mark = room.mark(&format!("{name}-{pod}-{number}"));
            let mail = Mail::plain(&mark, &room.sender(), &away.user(name));
            room.send(&server, &mail)?;
            mails.push(mail);
        }
    }
    room.await_held(&PODS, mails.len(), LIMIT)?;
    Ok(mails)
}

/// The servers come, take all of it, and go again.
fn delivered(scene: &Scene<'_>, room: &Mailroom<'_>, away: &Away<'_>, mails: &[Mail]) -> Outcome {
    room.await_held(&PODS, mails.len(), LIMIT)?;
    away.open()?;
    let sent: Vec<_> = mails.iter().collect();
    let user = mails.first().map_or("", |mail| mail.to.as_str());
    let peers = &scene.world.peers;
    mailbox::await_all(peers, user, Reader::Imap, &sent, LIMIT)?;
    room.await_held(&PODS, 0, LIMIT)?; // a duplicate would come before the queue is empty
    mailbox::expect_exactly(peers, user, Reader::Imap, &sent, Duration::ZERO)?;
    away.shut()
}

fn listener() -> String {
    format!("smtplistener/{LISTENER}")
}

const PODS: [&str; 2] = ["edge-0", "edge-1"];
const ANNOTATION: &str = "postroad.dev/spool-format";
/// The newest format that the version of the tree reads.
const OURS: u64 = 2;
/// How long it may take to replace all pods, or to rewrite what they have.
const ROLL: Duration = Duration::from_mins(5);
