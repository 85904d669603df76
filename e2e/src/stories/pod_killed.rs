//! A pod dies while a client is in the middle of a mail. What had its 250 before is delivered, the half mail never is,
//! and the client can send it again as soon as the pod is back.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::kubectl::{Failure, Outcome};
use crate::mail::Mail;
use crate::mailroom::Mailroom;
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let room = Mailroom::new(scene, 1).open()?;
    scene.world.peers.set_far_running(false)?;
    let result = room
        .send_through(&["edge-0"], 3)
        .and_then(|mails| half_a_mail(scene, &room).map(|()| mails));
    scene.world.peers.set_far_running(true)?;
    let mut mails = result?;
    room.await_ready()?;
    mails.extend(room.send_through(&["edge-0"], 1)?);
    room.expect_at_far(&mails, Duration::from_mins(2))?;
    let found = crate::mail::mailbox::read(
        &scene.world.peers,
        &half(scene, &room).to,
        crate::mail::mailbox::Reader::Imap,
    )?;
    if found.is_empty() {
        Ok(())
    } else {
        Err(Failure::wrong("the mail whose end never came was delivered"))
    }
}

/// A mail for a mailbox of the listener's own domain, as port 25 takes it.
fn half(scene: &Scene<'_>, room: &Mailroom<'_>) -> Mail {
    let to = format!("half-{}@{}", std::process::id(), scene.domain);
    Mail::plain(&room.mark("half"), &room.far_user(), &to)
}

/// Sends all of a mail but its end, then kills the pod.
fn half_a_mail(scene: &Scene<'_>, room: &Mailroom<'_>) -> Outcome {
    let mail = half(scene, room);
    let forward = room.namespace().forward("pod/edge-0", 10_025)?;
    let mut stream = TcpStream::connect(("127.0.0.1", forward.local))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut replies = BufReader::new(stream.try_clone()?);
    expect(&mut replies, "220")?;
    let Mail { from, to, .. } = &mail;
    for (command, code) in [
        ("EHLO client.example".to_owned(), "250"),
        (format!("MAIL FROM:<{from}>"), "250"),
        (format!("RCPT TO:<{to}>"), "250"),
        ("DATA".to_owned(), "354"),
    ] {
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        expect(&mut replies, code)?;
    }
    stream.write_all(&stuffed(&mail.content))?;
    room.namespace()
        .kubectl(["delete", "pod/edge-0", "--force", "--grace-period=0"])?;
    let mut rest = String::new();
    match replies.read_line(&mut rest) {
        Ok(_) if rest.starts_with('2') => Err(Failure::wrong(format!("half a mail was accepted: {rest}"))),
        _ => Ok(()),
    }
}

/// A dot in front of every line that begins with one (RFC 5321 section 4.5.2): none of them ends the mail.
fn stuffed(content: &[u8]) -> Vec<u8> {
    let lines = content.split_inclusive(|octet| *octet == b'\n');
    lines
        .flat_map(|line| {
            [
                if line.starts_with(b".") {
                    b".".as_slice()
                } else {
                    b""
                },
                line,
            ]
            .concat()
        })
        .collect()
}

/// Reads one reply, of however many lines, and wants that code.
fn expect(replies: &mut impl BufRead, code: &str) -> Outcome {
    loop {
        let mut line = String::new();
        replies.read_line(&mut line)?;
        if !line.starts_with(code) {
            return Err(Failure::wrong(format!("{code} was expected, not {line:?}")));
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(());
        }
    }
}
