//! A room with one pod at which fields are changed: the change is set, the pod says that it runs it, a client looks.

use std::time::Duration;

use serde_json::{Value, json};

use crate::kubectl::{Failure, Outcome, until};
use crate::mail::Mail;
use crate::mail::dialogue::{Replies, dialogue};
use crate::mail::mailbox::{self, Reader};
use crate::mailroom::{LISTENER, Mailroom};
use crate::story::Scene;

/// The room, and where its client and its pod are.
pub(super) struct Desk<'a> {
    pub(super) room: &'a Mailroom<'a>,
    pub(super) scene: &'a Scene<'a>,
    /// Address of the client pod.
    pub(super) client: String,
    /// Address of the listener's pod.
    pub(super) pod: String,
    /// The pod as it was at the beginning.
    before: Value,
}

impl<'a> Desk<'a> {
    /// At a room that is open.
    pub(super) fn new(room: &'a Mailroom<'a>, scene: &'a Scene<'a>) -> Outcome<Self> {
        let address = |pod: &Value| pod["status"]["podIP"].as_str().unwrap_or_default().to_owned();
        let before = room.namespace().get(["pod/edge-0"])?;
        Ok(Self {
            client: address(&scene.world.peers.namespace.get(["pod/client"])?),
            pod: address(&before),
            before,
            room,
            scene,
        })
    }

    /// Sets fields of the listener and waits until the pod says that it runs them.
    pub(super) fn set(&self, object: &str, spec: &Value) -> Outcome {
        let namespace = self.room.namespace();
        let listener = format!("smtplistener/{LISTENER}");
        let last = namespace.get([listener.as_str()])?["status"]["configGeneration"].clone();
        namespace.patch(object, &json!({"spec": spec}))?;
        namespace.wait_for(&listener, "the change in the pod", LIMIT, |found| {
            found["status"]["configGeneration"] != last
        })?;
        self.room.await_ready().map(drop)
    }

    /// The same for fields of the listener.
    pub(super) fn listener(&self, spec: &Value) -> Outcome {
        self.set(&format!("smtplistener/{LISTENER}"), spec)
    }

    /// A dialogue with the pod's port for transfer.
    pub(super) fn talk(&self, first: &str, texts: &[&str]) -> Outcome<Replies> {
        dialogue(
            &self.scene.world.peers.namespace,
            &self.pod,
            TRANSFER,
            first,
            texts,
        )
    }

    /// The mail as it lies in a mailbox.
    pub(super) fn arrived(&self, user: &str, mail: &Mail) -> Outcome<Vec<u8>> {
        let mark = format!("Subject: {}\r\n", mail.mark);
        let mut copy = None;
        until(LIMIT, || {
            let found = mailbox::read(&self.scene.world.peers, user, Reader::Imap).unwrap_or_default();
            copy = found
                .into_iter()
                .find(|message| String::from_utf8_lossy(message).contains(&mark));
            Ok(copy.is_some())
        })
        .map_err(|_| Failure::wrong(format!("{} did not arrive at {user}", mail.mark)))?;
        Ok(copy.unwrap_or_default())
    }

    /// It is the same process still: no change needed a restart.
    pub(super) fn same_process(&self) -> Outcome {
        let after = self.room.namespace().get(["pod/edge-0"])?;
        let restarts = &after["status"]["containerStatuses"][0]["restartCount"];
        if after["metadata"]["uid"] != self.before["metadata"]["uid"] || *restarts != 0 {
            return Err(Failure::wrong("the pod was restarted for a change of a field"));
        }
        Ok(())
    }
}

/// The content with its dots stuffed and the end behind it, but for the last CRLF (RFC 5321 section 4.5.2).
pub(super) fn as_data(mail: &Mail) -> String {
    let text = String::from_utf8_lossy(&mail.content);
    let stuffed = text.split_inclusive("\r\n").map(|line| {
        if line.starts_with('.') {
            format!(".{line}")
        } else {
            line.to_owned()
        }
    });
    stuffed.collect::<String>() + "."
}

/// The header part of a message.
pub(super) fn header_of(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message).into_owned();
    text.split("\r\n\r\n").next().unwrap_or_default().to_owned()
}

/// How long a change, and a mail, may take.
pub(super) const LIMIT: Duration = Duration::from_mins(2);
/// The container's port for 25.
pub(super) const TRANSFER: u16 = 10_025;
/// A client that is only known from hearsay (RFC 5737).
pub(super) const ELSEWHERE: &str = "198.51.100.7";
