//! Limits of sessions and messages, and peers that may speak for other clients: set with `kubectl`, followed without a
//! restart.

use std::thread;

use serde_json::json;

use super::desk::{Desk, ELSEWHERE, as_data, header_of};
use crate::kubectl::{Failure, Namespace, Outcome};
use crate::mail::Mail;
use crate::mailroom::Mailroom;
use crate::peers::FAR;
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let room = Mailroom::new(scene, 1).open()?;
    let desk = Desk::new(&room, scene)?;
    desk.stranger()?;
    desk.listener(&json!({"limits": {"minimumDataRate": "1Ki"}}))?;
    // The rate holds over any minute, so this takes one; the rest goes on meanwhile.
    thread::scope(|scope| {
        let (client, pod, to) = (&scene.world.peers.namespace, desk.pod.as_str(), room.sender());
        let slow = scope.spawn(move || slow(client, pod, &to));
        let rest = desk.trusted_peer().and_then(|()| desk.sizes());
        let slow = slow
            .join()
            .map_err(|_| Failure::wrong("the slow client's thread ended early"))?;
        rest.and(slow)
    })?;
    desk.connections()?;
    desk.same_process()
}

impl Desk<'_> {
    /// XCLIENT is not for everybody.
    fn stranger(&self) -> Outcome {
        let replies = self.talk("", &["EHLO client.example", &format!("XCLIENT ADDR={ELSEWHERE}")])?;
        if replies.to(1).contains("XCLIENT") {
            return Err(Failure::wrong("XCLIENT is offered to a stranger"));
        }
        replies.expect(2, "550 5.7.1")
    }

    /// For the policy and in the trace, the client is the one for whom a trusted peer speaks: it may relay by its address,
    /// which the peer itself may not.
    fn trusted_peer(&self) -> Outcome {
        let peers = json!({"trustedPeers": [format!("{}/32", self.client)]});
        let network = format!("{ELSEWHERE}/32");
        self.listener(&json!({"access": peers, "relayFrom": [network]}))?;
        let mail = Mail::plain(
            &self.room.mark("stands-in"),
            &self.room.sender(),
            &self.room.far_user(),
        );
        let (from, to) = (
            format!("MAIL FROM:<{}>", mail.from),
            format!("RCPT TO:<{}>", mail.to),
        );
        let own = self.talk("", &["EHLO client.example", &from, &to])?;
        if !own.to(1).contains("XCLIENT") {
            return Err(Failure::wrong("XCLIENT is not offered to a trusted peer"));
        }
        own.expect(3, "55")?;
        let stands_in = format!("XCLIENT ADDR={ELSEWHERE} NAME=elsewhere.example");
        let content = as_data(&mail);
        let texts = [
            "EHLO client.example",
            &stands_in,
            "EHLO elsewhere.example",
            &from,
            &to,
            "DATA",
            &content,
        ];
        let replies = self.talk("", &texts)?;
        replies.expect(2, "220")?;
        replies.expect(7, "250")?;
        let header = header_of(&self.arrived(&mail.to, &mail)?);
        if !header.contains(ELSEWHERE) || header.contains(&format!("[{}]", self.client)) {
            return Err(Failure::wrong(format!(
                "the trace should name {ELSEWHERE} and nobody else: {header}"
            )));
        }
        self.listener(&json!({"access": null, "relayFrom": null}))?;
        self.stranger()
    }

    /// Too large by its own word, too large in fact, too many recipients: refused, the last only for now.
    fn sizes(&self) -> Outcome {
        let limits = json!({"messageSize": "64Ki", "recipientsPerMessage": 100});
        self.listener(&json!({"limits": limits}))?;
        let user = self.room.sender();
        let from = format!("MAIL FROM:<someone@{FAR}>");
        let to = format!("RCPT TO:<{user}>");
        let sized = format!("{from} SIZE=70000");
        let large = "x".repeat(76) + "\r\n";
        let content = large.repeat(900) + ".";
        let texts = [
            "EHLO client.example",
            &sized,
            &from,
            &to,
            "DATA",
            &content,
            "NOOP",
        ];
        let replies = self.talk("", &texts)?;
        if !replies.to(1).contains("SIZE 65536") {
            return Err(Failure::wrong(format!(
                "EHLO offers another size: {}",
                replies.to(1)
            )));
        }
        replies.expect(2, "552 5.3.4")?;
        replies.expect(6, "552 5.3.4")?;
        replies.expect(7, "250")?;
        let recipients: Vec<_> = (0..101)
            .map(|number| format!("RCPT TO:<user-{number}@{}>", self.scene.domain))
            .collect();
        let mut texts = vec!["EHLO client.example", from.as_str()];
        texts.extend(recipients.iter().map(String::as_str));
        let replies = self.talk("", &texts)?;
        replies.expect(102, "250")?;
        replies.expect(103, "452 4.5.3")
    }

    /// The third session of one address is turned away, and one of the others may go on.
    fn connections(&self) -> Outcome {
        self.listener(&json!({"limits": {"connectionsPerClient": 2}}))?;
        let command = ["python3", "-c", CROWD, &self.pod];
        let said = self.scene.world.peers.namespace.exec("client", &command, b"")?;
        if said.trim() == "220 220 421 250" {
            return Ok(());
        }
        Err(Failure::wrong(format!(
            "of three sessions at once two are served, and go on: {said}"
        )))
    }
}

/// A client that sends an octet now and then is told so after a minute.
fn slow(client: &Namespace, pod: &str, to: &str) -> Outcome {
    let from = format!("someone@{FAR}");
    let said = client.exec("client", &["python3", "-c", SLOW, pod, &from, to], b"")?;
    if said.starts_with("421") && said.contains("too slowly") {
        return Ok(());
    }
    Err(Failure::wrong(format!("a slow client was told: {said}")))
}

/// Sends a header and then an octet twice a second, until there is a reply.
const SLOW: &str = r#"
import select, socket, sys, time
plug = socket.create_connection((sys.argv[1], 10025), 30)
stream = plug.makefile("rb")
def reply():
    while True:
        line = stream.readline()
        if line[3:4] != b"-":
            return line
reply()
for text in ["EHLO client.example", f"MAIL FROM:<{sys.argv[2]}>", f"RCPT TO:<{sys.argv[3]}>", "DATA"]:
    plug.sendall(text.encode() + b"\r\n")
    reply()
end = time.monotonic() + 150
while time.monotonic() < end and not select.select([plug], [], [], 0.5)[0]:
    plug.sendall(b"x")
print(reply().decode() if time.monotonic() < end else "nothing")
"#;

/// Three sessions at once; then a command in the first.
const CROWD: &str = r#"
import socket, sys
plugs = [socket.create_connection((sys.argv[1], 10025), 30) for _ in range(3)]
codes = [plug.recv(4096)[:3].decode() for plug in plugs]
plugs[0].sendall(b"NOOP\r\n")
codes.append(plugs[0].recv(4096)[:3].decode())
print(*codes)
"#;
