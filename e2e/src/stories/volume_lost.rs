//! A disk dies in the middle of a hand-over: the pod that stays holds mail and must not deliver it, as the other may have.
//! Claim and volume are gone. A person says so with `postroad.dev/volume-lost`: the mail is released, the status, a condition
//! and an Event say what came of it, and it arrives once.
//!
//! ```text
//!   disk of edge-0 waits ─► scale to 1 ─► edge-1 has offered ─► disk of edge-1 breaks ─► disk of edge-0 goes on: held
//! ```

use std::time::Duration;

use serde_json::{Value, json};

use super::away::Away;
use super::desk::LIMIT;
use super::orders::Clerk;
use crate::cluster::{Cluster, Disk};
use crate::kubectl::{Failure, Outcome, condition, until};
use crate::mail::Mail;
use crate::mail::mailbox::{self, Reader};
use crate::mailroom::{LISTENER, Mailroom};
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let away = Away::new(scene)?;
    let mut room = Mailroom::new(scene, 2);
    room.listener["spec"]["queue"] = json!({"storage": {"size": "128Mi", "storageClassName": "bounded"}});
    away.reached_by(&mut room);
    away.shut()?;
    let room = room.open()?;
    let mails = mails(&room, &away)?;
    let spool = spool_of(&room, LEAVES)?;
    let staying = Clerk::new(scene, &room.server_at(STAYS)?.host)?;
    dies_in_between(scene, &room, &staying)?;
    is_gone(&room)?;
    stand(&staying, "held")?;
    is_declared(&room, &spool)?;
    stand(&staying, "owned")?;
    away.open()?;
    let mails: Vec<_> = mails.iter().collect();
    let (peers, user) = (&scene.world.peers, away.user("held"));
    mailbox::await_all(peers, &user, Reader::Imap, &mails, LIMIT)?;
    room.await_queue(0, LIMIT)?;
    mailbox::expect_exactly(peers, &user, Reader::Imap, &mails, Duration::ZERO)?;
    is_read(&room)
}

/// Mails that only the leaving pod has, and nobody can take.
fn mails(room: &Mailroom<'_>, away: &Away<'_>) -> Outcome<Vec<Mail>> {
    let server = room.server_at(LEAVES)?;
    let send = |number| {
        let mark = room.mark(&format!("held-{number}"));
        let mail = Mail::plain(&mark, &room.sender(), &away.user("held"));
        room.send(&server, &mail).map(|()| mail)
    };
    (0..MAILS).map(send).collect()
}

/// The target cannot store what it is offered, and the source's disk breaks while it waits for the answer. Then the target
/// stores and answers, and the source can make nothing of it.
fn dies_in_between(scene: &Scene<'_>, room: &Mailroom<'_>, staying: &Clerk<'_>) -> Outcome {
    let leaving = Clerk::new(scene, &room.server_at(LEAVES)?.host)?;
    let broken = volume_of(room, LEAVES)?;
    let frozen = Frozen::new(&scene.world.cluster, volume_of(room, STAYS)?)?;
    room.scale(1)?;
    stand(&leaving, "offered")?;
    scene.world.cluster.disk(Disk::Break, &broken)?;
    drop(frozen);
    stand(staying, "held")
}

/// All mails stand so in the hand-over, as the pod says that has them.
fn stand(clerk: &Clerk<'_>, owner: &str) -> Outcome {
    let mut last = Value::Null;
    until(LIMIT, || {
        last = clerk.entries()?;
        let entries = last.as_array().map_or(&[][..], Vec::as_slice);
        Ok(entries.len() == MAILS && entries.iter().all(|entry| entry["owner"] == owner))
    })
    .map_err(|_| Failure::wrong(format!("{MAILS} mails should stand as {owner}: {last}")))
}

/// The claim and the pod are deleted, as one does with a disk that is broken; the fleet comes to one pod.
fn is_gone(room: &Mailroom<'_>) -> Outcome {
    let namespace = room.namespace();
    let before = namespace.get([claim(LEAVES).as_str()])?["metadata"]["uid"].clone();
    namespace.kubectl(["delete", &claim(LEAVES), "--wait=false"])?;
    namespace.kubectl(["delete", &format!("pod/{LEAVES}"), "--force", "--grace-period=0"])?;
    until(LIMIT, || {
        let claims = namespace.get(["persistentvolumeclaims"])?;
        let mut claims = claims["items"].as_array().into_iter().flatten();
        Ok(claims.all(|claim| claim["metadata"]["uid"] != before))
    })
    .map_err(|_| Failure::wrong("the claim of the broken volume does not go"))?;
    room.await_pods(1, Duration::from_mins(3))
}

/// The person's word, and what is said of it.
fn is_declared(room: &Mailroom<'_>, spool: &str) -> Outcome {
    let namespace = room.namespace();
    let word = format!("{ANNOTATION}={spool}");
    namespace.kubectl(["annotate", &listener(), &word])?;
    // A pod that held something cannot know that it was not delivered by the other.
    let expected = json!([{"spool": spool, "released": MAILS, "takenBack": 0, "perhapsTwice": MAILS}]);
    namespace.wait_for(&listener(), "what came of the loss", LIMIT, |found| {
        found["status"]["lost"] == expected
            && condition(found, "QueueHealthy").is_some_and(|healthy| {
                let message = healthy["message"].as_str().unwrap_or_default();
                healthy["reason"] == "VolumeLost" && message.contains(spool)
            })
    })?;
    let told = format!("the spool {spool} is lost: {MAILS} messages released");
    until(LIMIT, || {
        let events = namespace.get(["events", "--field-selector=reason=VolumeLost"])?;
        let mut events = events["items"].as_array().into_iter().flatten();
        Ok(events.any(|event| event["message"].as_str().is_some_and(|note| note.contains(&told))))
    })
    .map_err(|_| Failure::wrong(format!("no Event says `{told}`")))
}

/// The annotation is taken off: all is well.
fn is_read(room: &Mailroom<'_>) -> Outcome {
    room.namespace()
        .kubectl(["annotate", &listener(), &format!("{ANNOTATION}-")])?;
    room.namespace()
        .wait_condition(&listener(), "QueueHealthy", "True", LIMIT)
        .map(drop)
}

/// The UUID of a pod's spool, as its claim says it.
fn spool_of(room: &Mailroom<'_>, pod: &str) -> Outcome<String> {
    let said = |claim: &Value| claim["metadata"]["annotations"]["postroad.dev/spool"].clone();
    let found = room
        .namespace()
        .wait_for(&claim(pod), "its spool", LIMIT, |claim| said(claim).is_string())?;
    Ok(said(&found).as_str().unwrap_or_default().to_owned())
}

fn volume_of(room: &Mailroom<'_>, pod: &str) -> Outcome<String> {
    let claim = room.namespace().get([claim(pod).as_str()])?;
    Ok(claim["spec"]["volumeName"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

fn claim(pod: &str) -> String {
    format!("persistentvolumeclaim/queue-{pod}")
}

fn listener() -> String {
    format!("smtplistener/{LISTENER}")
}

/// A volume on which writes wait, until this is dropped: whatever happens, the next story meets no frozen disk.
struct Frozen<'a> {
    cluster: &'a Cluster,
    volume: String,
}

impl<'a> Frozen<'a> {
    fn new(cluster: &'a Cluster, volume: String) -> Outcome<Self> {
        cluster.disk(Disk::Freeze, &volume)?;
        Ok(Self { cluster, volume })
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.cluster.disk(Disk::Thaw, &self.volume) {
            eprintln!("    {error}");
        }
    }
}

const STAYS: &str = "edge-0";
const LEAVES: &str = "edge-1";
const ANNOTATION: &str = "postroad.dev/volume-lost";
const MAILS: usize = 3;
