//! Limits of sessions, messages and memory, and peers that may speak for other clients: set with `kubectl`, followed without
//! a restart.

use std::thread;

use serde_json::json;

use super::crowd::POD_MEMORY;
use super::desk::{Desk, ELSEWHERE, LIMIT, as_data, header_of};
use crate::kubectl::{Failure, Namespace, Outcome, until};
use crate::mail::Mail;
use crate::mailroom::Mailroom;
use crate::peers::FAR;
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let mut room = Mailroom::new(scene, 1);
    // With SCRAM keys, as the memory that Argon2 takes for a login is kept for a while, and this pod has little.
    room.hash = &["--scram"];
    room.listener["spec"]["pod"] = json!({"resources": {"limits": {"memory": POD_MEMORY}}});
    let room = room.open()?;
    let desk = Desk::new(&room, scene)?;
    desk.stranger()?;
    desk.listener(&json!({"limits": {"minimumDataRate": "1Ki"}}))?;
    // The rate holds over any minute and the time is one, so these take a minute; the rest goes on meanwhile.
    let (client, pod, to) = (&scene.world.peers.namespace, desk.pod.as_str(), &room.sender());
    thread::scope(|scope| {
        let slow = scope.spawn(move || told(client, pod, to, "x", "too slowly"));
        desk.begun("x")?;
        desk.listener(&json!({"limits": {"minimumDataRate": null, "transactionTime": "1m"}}))?;
        let idle = scope.spawn(move || told(client, pod, to, "NOOP", "takes too long"));
        let rest = desk
            .trusted_peer()
            .and_then(|()| desk.crowd())
            .and_then(|()| desk.sizes());
        let ended = |thread: thread::ScopedJoinHandle<'_, Outcome>| {
            let early = |_| Err(Failure::wrong("a client's thread ended early"));
            thread.join().unwrap_or_else(early)
        };
        rest.and(ended(slow)).and(ended(idle))
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
        // After the crowd the pod may be short of memory for a moment, and says so instead of a greeting.
        until(LIMIT, || Ok(!self.talk("", &["QUIT"])?.to(0).starts_with("421")))
            .map_err(|_| Failure::wrong("the pod turns everybody away long after the crowd"))?;
        let replies = self.talk("", &texts)?;
        if !replies.to(1).contains("SIZE 65536") {
            return Err(Failure::wrong(format!("EHLO offers another size: {replies:?}")));
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

    /// Waits until that client has begun: settings stay the same within a transaction.
    fn begun(&self, what: &str) -> Outcome {
        let mark = mark(what);
        let client = &self.scene.world.peers.namespace;
        until(LIMIT, || {
            Ok(client.exec("client", &["test", "-e", &mark], b"").is_ok())
        })
        .map_err(|_| Failure::wrong(format!("the client that says `{what}` did not begin")))
    }

    /// The third session of one address is turned away, and one of the others may go on. Of all sessions, the last tenth is
    /// for users.
    fn connections(&self) -> Outcome {
        for (limits, [strangers, users], expected) in [
            (
                json!({"connectionsPerClient": 2}),
                ["3", "0"],
                "220 220 421 250".to_owned(),
            ),
            (
                json!({"connectionsPerClient": null, "connections": 10}),
                ["10", "2"],
                "220 ".repeat(9) + "421 220 421 250",
            ),
        ] {
            self.listener(&json!({"limits": limits}))?;
            let command = ["python3", "-c", CROWD, &self.pod, strangers, users];
            let mut said = String::new();
            // The operator's own tests may have a session for a moment: fewer are let in then, and never more.
            until(LIMIT, || {
                let client = &self.scene.world.peers.namespace;
                client.exec("client", &command, b"")?.trim().clone_into(&mut said);
                let greeted = |codes: &str| codes.split(' ').filter(|code| *code == "220").count();
                if greeted(&said) > greeted(&expected) {
                    return Err(Failure::wrong("too many were let in"));
                }
                Ok(said == expected)
            })
            .map_err(|error| {
                Failure::wrong(format!(
                    "{strangers} strangers and {users} users at once, with {limits}: {said} and not {expected}: {error}"
                ))
            })?;
        }
        Ok(())
    }
}

/// A client that says this twice a second, once it may send its message (`x`) or has named its recipient, is told so after a
/// minute.
fn told(client: &Namespace, pod: &str, to: &str, what: &str, sentence: &str) -> Outcome {
    let (from, mark) = (format!("someone@{FAR}"), mark(what));
    let command = ["python3", "-c", LINGERS, pod, &from, to, what, &mark];
    let said = client.exec("client", &command, b"")?;
    if said.starts_with("421 4.4.2") && said.contains(sentence) {
        return Ok(());
    }
    Err(Failure::wrong(format!(
        "a client that says `{what}` for a minute was told: {said}"
    )))
}

/// Where such a client leaves word that it has begun.
fn mark(what: &str) -> String {
    format!("/tmp/lingers-{what}-{}", std::process::id())
}

/// Octets of a message, or commands, until the session is ended.
const LINGERS: &str = r#"
import select, socket, sys, time
pod, sender, recipient, what, mark = sys.argv[1:]
data = what == "x"
plug = socket.create_connection((pod, 10025), 30)
stream = plug.makefile("rb")
def reply():
    while True:
        line = stream.readline()
        if line[3:4] != b"-":
            return line.decode()
reply()
for text in ["EHLO client.example", f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>"] + ["DATA"] * data:
    plug.sendall(text.encode() + b"\r\n")
    reply()
open(mark, "w").close()
end, said = time.monotonic() + 150, "nothing"
while time.monotonic() < end and said[:3] in ("not", "250"):
    if select.select([plug], [], [], 0.5)[0]:
        said = (plug.recv(4096).decode().splitlines() or ["closed"])[-1]
    else:
        plug.sendall(b"x" if data else b"NOOP\r\n")
print(said)
"#;

/// Sessions at once; then a command in the first.
const CROWD: &str = r#"
import socket, sys
ports = [10025] * int(sys.argv[2]) + [10587] * int(sys.argv[3])
plugs = [socket.create_connection((sys.argv[1], port), 30) for port in ports]
codes = [plug.recv(4096)[:3].decode() for plug in plugs]
plugs[0].sendall(b"NOOP\r\n")
codes.append(plugs[0].recv(4096)[:3].decode())
print(*codes)
"#;
