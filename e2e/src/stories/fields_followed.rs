//! Fields of a listener and a policy are set, and what the pods do follows within seconds, without a restart: trusted
//! networks, the PROXY protocol, edits of the header, limits of a session, the rate of a route, the notice of a delay.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::kubectl::{Failure, Outcome, until};
use crate::mail::Mail;
use crate::mail::dialogue::{Replies, dialogue};
use crate::mail::mailbox::{self, Reader};
use crate::mail::submit::Security;
use crate::mailroom::{LISTENER, Mailroom};
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let room = Mailroom::new(scene, 1).open()?;
    let before = room.namespace().get(["pod/edge-0"])?;
    let desk = Desk::new(&room, scene)?;
    desk.relay_from()?;
    desk.proxy_protocol()?;
    desk.session_limit()?;
    desk.header_edits()?;
    desk.route_rate()?;
    desk.delay_notice()?;
    let after = room.namespace().get(["pod/edge-0"])?;
    let restarts = &after["status"]["containerStatuses"][0]["restartCount"];
    if after["metadata"]["uid"] != before["metadata"]["uid"] || *restarts != 0 {
        return Err(Failure::wrong("the pod was restarted for a change of a field"));
    }
    Ok(())
}

/// The room, and where its client and its pod are.
struct Desk<'a> {
    room: &'a Mailroom<'a>,
    scene: &'a Scene<'a>,
    client: String,
    pod: String,
}

impl<'a> Desk<'a> {
    fn new(room: &'a Mailroom<'a>, scene: &'a Scene<'a>) -> Outcome<Self> {
        let address = |pod: &Value| pod["status"]["podIP"].as_str().unwrap_or_default().to_owned();
        Ok(Self {
            client: address(&scene.world.peers.namespace.get(["pod/client"])?),
            pod: address(&room.namespace().get(["pod/edge-0"])?),
            room,
            scene,
        })
    }

    /// Sets fields of the listener and waits until the pod says that it runs them.
    fn set(&self, object: &str, spec: &Value) -> Outcome {
        let namespace = self.room.namespace();
        let listener = format!("smtplistener/{LISTENER}");
        let last = namespace.get([listener.as_str()])?["status"]["configGeneration"].clone();
        namespace.patch(object, &json!({"spec": spec}))?;
        namespace.wait_for(&listener, "the change in the pod", LIMIT, |found| {
            found["status"]["configGeneration"] != last
        })?;
        self.room.await_ready().map(drop)
    }

    fn listener(&self, spec: &Value) -> Outcome {
        self.set(&format!("smtplistener/{LISTENER}"), spec)
    }

    fn talk(&self, first: &str, texts: &[&str]) -> Outcome<Replies> {
        dialogue(
            &self.scene.world.peers.namespace,
            &self.pod,
            TRANSFER,
            first,
            texts,
        )
    }

    /// A client of a trusted network relays without a password; before and afterwards it cannot.
    fn relay_from(&self) -> Outcome {
        let mail = Mail::plain(
            &self.room.mark("relay"),
            &self.room.sender(),
            &self.room.far_user(),
        );
        let from = format!("MAIL FROM:<{}>", mail.from);
        let to = format!("RCPT TO:<{}>", mail.to);
        let content = as_data(&mail);
        self.talk("", &["EHLO client.example", &from, &to])?
            .expect(3, "55")?;
        self.listener(&json!({"relayFrom": [format!("{}/32", self.client)]}))?;
        let replies = self.talk("", &["EHLO client.example", &from, &to, "DATA", &content, "QUIT"])?;
        replies.expect(5, "250")?;
        self.room.expect_at_far(&[mail], LIMIT)?;
        self.listener(&json!({"relayFrom": null}))?;
        self.talk("", &["EHLO client.example", &from, &to])?
            .expect(3, "55")
    }

    /// The load balancer's word about the client is taken, is in the trace, and is required.
    fn proxy_protocol(&self) -> Outcome {
        let trusted = json!({"mode": "Required", "trustedSources": [format!("{}/32", self.client)]});
        self.listener(&json!({"service": {"proxyProtocol": trusted}}))?;
        let (sender, user) = (format!("someone@{}", crate::peers::FAR), self.room.sender());
        let mail = Mail::plain(&self.room.mark("proxy"), &sender, &user);
        let (from, to) = (format!("MAIL FROM:<{sender}>"), format!("RCPT TO:<{user}>"));
        let content = as_data(&mail);
        let texts = ["EHLO client.example", &from, &to, "DATA", &content, "QUIT"];
        let header = format!("PROXY TCP4 {ELSEWHERE} 192.0.2.1 40000 25\r\n");
        self.talk(&header, &texts)?.expect(5, "250")?;
        let found = self.arrived(&user, &mail)?;
        if !header_of(&found).contains(ELSEWHERE) {
            return Err(Failure::wrong(format!(
                "{ELSEWHERE} is not in the trace: {}",
                header_of(&found)
            )));
        }
        // Without the header the session does not come to a reply to EHLO.
        let replies = self.talk("", &["EHLO client.example"])?;
        if replies.to(1).starts_with("250") {
            return Err(Failure::wrong("a connection without a PROXY header was served"));
        }
        self.listener(&json!({"service": {"proxyProtocol": null}}))
    }

    /// After one message the session is ended with 421.
    fn session_limit(&self) -> Outcome {
        self.listener(&json!({"limits": {"messagesPerConnection": 1}}))?;
        let (sender, user) = (format!("someone@{}", crate::peers::FAR), self.room.sender());
        let mail = Mail::plain(&self.room.mark("one"), &sender, &user);
        let (from, to) = (format!("MAIL FROM:<{sender}>"), format!("RCPT TO:<{user}>"));
        let content = as_data(&mail);
        let replies = self.talk("", &["EHLO client.example", &from, &to, "DATA", &content, &from])?;
        replies.expect(5, "250")?;
        replies.expect(6, "421")?;
        self.arrived(&user, &mail)?;
        self.listener(&json!({"limits": {"messagesPerConnection": null}}))
    }

    /// The client's address does not leave, a field is added, another is taken out.
    fn header_edits(&self) -> Outcome {
        let edits =
            json!({"hideClientAddress": true, "add": {"X-Sent-By": "the platform"}, "remove": ["X-Folded"]});
        self.listener(&json!({"headers": {"submission": edits}}))?;
        let mail = Mail::plain(
            &self.room.mark("edits"),
            &self.room.sender(),
            &self.room.far_user(),
        );
        self.room.send(&self.room.server_at("edge-0")?, &mail)?;
        let header = header_of(&self.arrived(&mail.to, &mail)?);
        let holds = !header.contains(&self.client)
            && header.contains("X-Sent-By: the platform")
            && !header.contains("X-Folded")
            && !header.contains("three");
        if !holds {
            return Err(Failure::wrong(format!(
                "the header was not edited as asked: {header}"
            )));
        }
        self.listener(&json!({"headers": null}))
    }

    /// A route of one message in three seconds takes at least twelve for five.
    fn route_rate(&self) -> Outcome {
        let mut route = self.room.policy["spec"]["routes"][0].clone();
        route["limits"] = json!({"messages": [{"count": 1, "per": "3s"}]});
        self.set("relaypolicy/far", &json!({"routes": [route]}))?;
        let start = Instant::now();
        let mails = self.room.send_through(&["edge-0"], 5)?;
        self.room.expect_at_far(&mails, LIMIT)?;
        if start.elapsed() < Duration::from_secs(12) {
            return Err(Failure::wrong(format!(
                "five mails left within {:?} at one in three seconds",
                start.elapsed()
            )));
        }
        self.set(
            "relaypolicy/far",
            &json!({"routes": self.room.policy["spec"]["routes"]}),
        )
    }

    /// A mail that waits for a minute is told of to its sender, and then delivered once.
    fn delay_notice(&self) -> Outcome {
        self.listener(&json!({"queue": {"delayNotice": "1m"}}))?;
        let peers = &self.scene.world.peers;
        peers.set_far_running(false)?;
        let waits = self.with_far_down();
        peers.set_far_running(true)?;
        self.room.expect_at_far(&[waits?], LIMIT)
    }

    fn with_far_down(&self) -> Outcome<Mail> {
        let mail = Mail::plain(
            &self.room.mark("waits"),
            &self.room.sender(),
            &self.room.far_user(),
        );
        self.room.send(&self.room.server(Security::StartTls)?, &mail)?;
        let peers = &self.scene.world.peers;
        until(Duration::from_mins(3), || {
            let found = mailbox::read(peers, &mail.from, Reader::Imap).unwrap_or_default();
            Ok(found.iter().any(|message| {
                let text = String::from_utf8_lossy(message);
                text.contains("Action: delayed") && text.contains(&mail.to)
            }))
        })
        .map_err(|_| Failure::wrong("the sender was not told of the delay within three minutes"))?;
        Ok(mail)
    }

    /// The mail as it lies in a mailbox.
    fn arrived(&self, user: &str, mail: &Mail) -> Outcome<Vec<u8>> {
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
}

/// The content with its dots stuffed and the end behind it, but for the last CRLF (RFC 5321 section 4.5.2).
fn as_data(mail: &Mail) -> String {
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

fn header_of(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message).into_owned();
    text.split("\r\n\r\n").next().unwrap_or_default().to_owned()
}

/// How long a change, and a mail, may take.
const LIMIT: Duration = Duration::from_mins(2);
/// The container's port for 25.
const TRANSFER: u16 = 10_025;
/// A client that is only known from hearsay (RFC 5737).
const ELSEWHERE: &str = "198.51.100.7";
