//! The judges are judged first: Postfix and Dovecot alone give back every mail as it was sent, to each program that
//! sends and each that reads. What a later story finds changed was then changed by us.

use std::time::Duration;

use crate::kubectl::Outcome;
use crate::mail::Mail;
use crate::mail::mailbox::{Reader, expect_exactly};
use crate::mail::submit::{Place, Program, Security, Server, submit};
use crate::peers::FAR;
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let peers = &scene.world.peers;
    let server = Server {
        host: peers.postfix.clone(),
        port: 25,
        security: Security::Plain,
        name: format!("mx.{FAR}"),
        authority: String::new(),
        login: None,
    };
    let run = std::process::id();
    let user = format!("alone-{run}@{FAR}");
    let from = format!("someone@{}", scene.domain);
    let mails = [
        (
            Program::Swaks,
            Mail::plain(&format!("alone-{run}-1"), &from, &user),
        ),
        (
            Program::Msmtp,
            Mail::with_attachment(&format!("alone-{run}-2"), &from, &user),
        ),
        (
            Program::Smtplib,
            Mail::large(&format!("alone-{run}-3"), &from, &user, 20_000_000),
        ),
    ];
    let client = Place::Pod(&peers.namespace);
    for (program, mail) in &mails {
        submit(client, *program, &server, mail)?;
    }
    let sent: Vec<_> = mails.iter().map(|(_, mail)| mail).collect();
    for reader in [Reader::Imap, Reader::Pop3] {
        expect_exactly(peers, &user, reader, &sent, Duration::from_mins(1))?;
    }
    let from = format!("κάποιος@{}", scene.domain);
    let international = Mail::international(&format!("alone-{run}-4"), &from, &format!("δοκιμή@{FAR}"));
    submit(client, Program::Smtplib, &server, &international)?;
    expect_exactly(
        peers,
        &format!("dokimi@{FAR}"),
        Reader::Imap,
        &[&international],
        Duration::from_mins(1),
    )
}
