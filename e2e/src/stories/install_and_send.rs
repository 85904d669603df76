//! Someone installs Postroad, applies three objects, sends mail out and gets mail in; the domain's DNS is judged.

use std::time::Duration;

use crate::kubectl::Outcome;
use crate::mail::Mail;
use crate::mail::mailbox::{Reader, expect_exactly};
use crate::mail::submit::{Place, Program, Security, Server, submit};
use crate::mailroom::Mailroom;
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let room = Mailroom::new(scene, 1).open()?;
    for judged in ["MXValid", "SPFValid"] {
        room.namespace()
            .wait_condition("maildomain/domain", judged, "True", Duration::from_mins(1))?;
    }
    outwards(scene, &room)?;
    inwards(scene, &room)
}

fn outwards(scene: &Scene<'_>, room: &Mailroom<'_>) -> Outcome {
    let client = Place::Pod(&scene.world.peers.namespace);
    let (from, to) = (room.sender(), room.far_user());
    let mails = [
        (
            Program::Swaks,
            Security::StartTls,
            Mail::plain(&room.mark("swaks"), &from, &to),
        ),
        (
            Program::Msmtp,
            Security::Implicit,
            Mail::with_attachment(&room.mark("msmtp"), &from, &to),
        ),
        (
            Program::Smtplib,
            Security::StartTls,
            Mail::plain(&room.mark("smtplib"), &from, &to),
        ),
    ];
    for (program, security, mail) in &mails {
        submit(client, *program, &room.server(*security)?, mail)?;
    }
    room.expect_at_far(&mails.map(|(_, _, mail)| mail), Duration::from_mins(1))
}

fn inwards(scene: &Scene<'_>, room: &Mailroom<'_>) -> Outcome {
    let peers = &scene.world.peers;
    let far = Server {
        host: peers.postfix.clone(),
        port: 25,
        security: Security::Plain,
        login: None,
        ..room.server(Security::Plain)?
    };
    let to = format!("bob-{}@{}", std::process::id(), scene.domain);
    let mail = Mail::with_attachment(&room.mark("in"), &room.far_user(), &to);
    submit(Place::Pod(&peers.namespace), Program::Swaks, &far, &mail)?;
    expect_exactly(peers, &to, Reader::Imap, &[&mail], Duration::from_mins(1))
}
