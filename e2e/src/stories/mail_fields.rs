//! What a mail is promised, how long it may live and how it leaves, set with `kubectl`: FUTURERELEASE, DELIVERBY, REQUIRETLS
//! and LIMITS as the pod offers them, lifetimes of the queue, edits of other servers' mail, the PROXY protocol where it is
//! optional, recipients per transaction and connections of a route.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

use super::away::Away;
use super::desk::{Desk, ELSEWHERE, LIMIT, as_data, header_of};
use super::orders::Clerk;
use crate::kubectl::{Failure, Outcome, until};
use crate::mail::Mail;
use crate::mail::dialogue::{Replies, dialogue_in_tls};
use crate::mail::mailbox::{self, Reader};
use crate::mail::submit::Security;
use crate::mailroom::{LISTENER, Mailroom, PASSWORD, USER};
use crate::peers::FAR;
use crate::story::Scene;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let away = Away::new(scene)?;
    let mut room = Mailroom::new(scene, 1);
    // The lifetimes are those of the queue, not of the policy.
    room.policy["spec"]["retry"] = json!({"first": "5s", "max": "10s"});
    // With SCRAM keys a login takes no time.
    room.hash = &["--scram"];
    away.reached_by(&mut room);
    away.shut()?;
    let room = room.open()?;
    let desk = Desk::new(&room, scene)?;
    let lives = Lives::begin(&desk, &away)?;
    let mails = [desk.future_release()?];
    desk.deliver_by(&away)?;
    desk.transfer_edits()?;
    desk.proxy_optional()?;
    desk.split_recipients()?;
    desk.one_connection()?;
    lives.end()?;
    room.expect_at_far(&mails, LIMIT)?;
    desk.same_process()
}

impl Desk<'_> {
    /// A dialogue of the logged-in user within TLS; the reply to `texts[n]` is number n + 3.
    fn as_user(&self, texts: &[&str]) -> Outcome<Replies> {
        let mut server = self.room.server(Security::Implicit)?;
        server.host.clone_from(&self.pod);
        let word = base64::engine::general_purpose::STANDARD.encode(format!("\0{USER}\0{PASSWORD}"));
        let login = format!("AUTH PLAIN {word}");
        let mut all = vec!["EHLO client.example", &login];
        all.extend(texts);
        let replies = dialogue_in_tls(&self.scene.world.peers.namespace, &server, SUBMISSIONS, &all)?;
        replies.expect(2, "235")?;
        Ok(replies)
    }

    fn mail(&self, name: &str, to: &str) -> Mail {
        Mail::plain(&self.room.mark(name), &self.room.sender(), to)
    }

    /// All four are offered; mail that is to be held for a while is not on its way before (RFC 4865).
    fn future_release(&self) -> Outcome<Mail> {
        let mail = self.mail("held", &self.room.far_user());
        let from = format!("MAIL FROM:<{}> HOLDFOR={HELD}", mail.from);
        let (to, content) = (rcpt(&mail.to), as_data(&mail));
        let start = Instant::now();
        let replies = self.as_user(&[&from, &to, "DATA", &content])?;
        for word in ["FUTURERELEASE", "DELIVERBY", "REQUIRETLS", "LIMITS"] {
            if !replies.to(1).contains(word) {
                return Err(Failure::wrong(format!(
                    "{word} is not offered: {}",
                    replies.to(1)
                )));
            }
        }
        replies.expect(6, "250")?;
        self.arrived(&mail.to, &mail)?;
        if start.elapsed() < Duration::from_secs(HELD) {
            return Err(Failure::wrong(format!(
                "mail to be held for {HELD} s was there after {:?}",
                start.elapsed()
            )));
        }
        Ok(mail)
    }

    /// Mail that must be there within a second, to servers that are away, comes back (RFC 2852).
    fn deliver_by(&self, away: &Away<'_>) -> Outcome {
        let mail = self.mail("by", &away.user("by"));
        let from = format!("MAIL FROM:<{}> BY=1;R", mail.from);
        let (to, content) = (rcpt(&mail.to), as_data(&mail));
        self.as_user(&[&from, &to, "DATA", &content])?.expect(6, "250")?;
        self.is_returned(&mail, "Status: 5.4.7")
    }

    /// A notice with that text about that mail is in its sender's mailbox.
    fn is_returned(&self, mail: &Mail, text: &str) -> Outcome {
        let peers = &self.scene.world.peers;
        let about = format!("Final-Recipient: rfc822; {}", mail.to);
        until(LIMIT, || {
            let found = mailbox::read(peers, &mail.from, Reader::Imap).unwrap_or_default();
            Ok(found.iter().any(|notice| {
                let notice = String::from_utf8_lossy(notice);
                notice.contains(&about) && notice.contains(text)
            }))
        })
        .map_err(|_| {
            Failure::wrong(format!(
                "{} got no notice with `{text}` about {}",
                mail.from, mail.to
            ))
        })
    }

    /// Another server's mail to a user of ours; gives its header as it lies in the mailbox.
    fn header_by_outsider(&self, name: &str, first: &str) -> Outcome<String> {
        let (sender, user) = (format!("someone@{FAR}"), self.room.sender());
        let mail = Mail::plain(&self.room.mark(name), &sender, &user);
        let (from, to, content) = (format!("MAIL FROM:<{sender}>"), rcpt(&user), as_data(&mail));
        let texts = ["EHLO client.example", &from, &to, "DATA", &content, "QUIT"];
        self.talk(first, &texts)?.expect(5, "250")?;
        Ok(header_of(&self.arrived(&user, &mail)?))
    }

    /// `headers.transfer` edits what other servers send, and nothing else does.
    fn transfer_edits(&self) -> Outcome {
        let edits = json!({"hideClientAddress": true, "add": {"X-Came-By": "the front door"}, "remove": ["X-Folded"]});
        let edited = |header: &str| {
            (
                header.contains("X-Came-By: the front door"),
                header.contains("X-Folded"),
                header.contains(&format!("[{}]", self.client)),
            )
        };
        let before = self.header_by_outsider("unedited", "")?;
        self.listener(&json!({"headers": {"transfer": edits}}))?;
        let after = self.header_by_outsider("edited", "")?;
        self.listener(&json!({"headers": null}))?;
        if edited(&before) == (false, true, true) && edited(&after) == (true, false, false) {
            return Ok(());
        }
        Err(Failure::wrong(format!(
            "`headers.transfer` was not followed: {before}\nand then: {after}"
        )))
    }

    /// Where the PROXY protocol is optional, a trusted source begins with a header, whose word is taken, and any other client
    /// is taken for itself.
    fn proxy_optional(&self) -> Outcome {
        let header = format!("PROXY TCP4 {ELSEWHERE} 192.0.2.1 40000 25\r\n");
        let trusting = |source: &str| {
            let trusted = json!({"mode": "Optional", "trustedSources": [format!("{source}/32")]});
            self.listener(&json!({"service": {"proxyProtocol": trusted}}))
        };
        trusting(&self.client)?;
        let with = self.header_by_outsider("proxied", &header)?;
        trusting(ELSEWHERE)?;
        let without = self.header_by_outsider("itself", "")?;
        self.listener(&json!({"service": {"proxyProtocol": null}}))?;
        let itself = format!("[{}]", self.client);
        if with.contains(ELSEWHERE) && !with.contains(&itself) && without.contains(&itself) {
            return Ok(());
        }
        Err(Failure::wrong(format!(
            "from a trusted source: {with}\nfrom another: {without}"
        )))
    }

    /// Five recipients at two a transaction leave in three, each with an id of the far side's.
    fn split_recipients(&self) -> Outcome {
        let mut route = self.room.policy["spec"]["routes"][0].clone();
        route["limits"] = json!({"recipientsPerTransaction": 2});
        self.set("relaypolicy/far", &json!({"routes": [route]}))?;
        let users: Vec<String> = (0..5)
            .map(|n| format!("split-{n}-{}@{FAR}", std::process::id()))
            .collect();
        let mail = self.mail("split", &users[0]);
        let (from, content) = (format!("MAIL FROM:<{}>", mail.from), as_data(&mail));
        let recipients: Vec<String> = users.iter().map(|user| rcpt(user)).collect();
        let mut texts = vec![from.as_str()];
        texts.extend(recipients.iter().map(String::as_str));
        texts.extend(["DATA", &content]);
        self.as_user(&texts)?.expect(texts.len() + 2, "250")?;
        for user in &users {
            self.arrived(user, &mail)?;
        }
        let mut ids = BTreeSet::new();
        until(LIMIT, || {
            let log = self.room.namespace().kubectl(["logs", "pod/edge-0"])?;
            let lines = log
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let ours = lines.filter(|line| {
                let to = line["recipient"].as_str().unwrap_or_default();
                line["event"] == "delivered" && users.iter().any(|user| user == to)
            });
            let found: Vec<Value> = ours.map(|line| line["remote_id"].clone()).collect();
            ids = found.iter().map(Value::to_string).collect();
            Ok(found.len() == users.len())
        })
        .map_err(|_| Failure::wrong("the delivery log does not tell of five deliveries"))?;
        if ids.len() != 3 {
            return Err(Failure::wrong(format!("five recipients left in {ids:?}")));
        }
        let routes = json!({"routes": self.room.policy["spec"]["routes"]});
        self.set("relaypolicy/far", &routes)
    }

    /// Six mails to a slow next hop: by `connections: 1` one after the other, without it side by side.
    fn one_connection(&self) -> Outcome {
        let (one, many) = (
            self.most_at_once(&json!({"connections": 1}))?,
            self.most_at_once(&json!({}))?,
        );
        if one == 1 && many > 1 {
            return Ok(());
        }
        Err(Failure::wrong(format!(
            "at once there were {one} connections with `connections: 1`, {many} without"
        )))
    }

    /// The most connections that a next hop in the client pod sees at once.
    fn most_at_once(&self, limits: &Value) -> Outcome<u64> {
        let domain = format!("slow.{}", self.scene.domain);
        let policy = json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "RelayPolicy", "metadata": {"name": "slow"},
            "spec": {
                "listenerRefs": [{"name": LISTENER}],
                "match": {"recipientDomains": [domain]},
                "routes": [{"smartHosts": [{"host": self.client, "port": SLOW}], "limits": limits,
                            "tls": {"mode": "Opportunistic"}}],
                "retry": {"first": "5s", "max": "10s"},
            },
        });
        let namespace = self.room.namespace();
        let listener = format!("smtplistener/{LISTENER}");
        let last = namespace.get([listener.as_str()])?["status"]["configGeneration"].clone();
        namespace.apply(&policy.to_string())?;
        namespace.wait_for(&listener, "the policy in the pod", LIMIT, |found| {
            found["status"]["configGeneration"] != last
        })?;
        self.room.await_ready()?;
        let mail = self.mail("slow", &format!("anyone@{domain}"));
        let (from, to, content) = (
            format!("MAIL FROM:<{}>", mail.from),
            rcpt(&mail.to),
            as_data(&mail),
        );
        let texts: Vec<&str> = [from.as_str(), &to, "DATA", &content].repeat(SLOW_MAILS);
        let client = &self.scene.world.peers.namespace;
        thread::scope(|scope| {
            let arguments = [SLOW.to_string(), SLOW_MAILS.to_string()];
            let sink = scope.spawn(move || {
                client.exec(
                    "client",
                    &["python3", "-c", SLOW_HOP, &arguments[0], &arguments[1]],
                    b"",
                )
            });
            let sent = self
                .as_user(&texts)
                .and_then(|replies| replies.expect(texts.len() + 2, "250"));
            let early = |_| Err(Failure::wrong("the next hop's thread ended early"));
            let said = sink.join().unwrap_or_else(early);
            sent?;
            let said = said?;
            let most = said.trim().parse();
            most.map_err(|_| Failure::wrong(format!("the slow next hop said: {said}")))
        })
    }
}

/// Two mails for servers that are away: a user's, and one with the null reverse-path.
struct Lives<'a> {
    desk: &'a Desk<'a>,
    away: &'a Away<'a>,
    users: Mail,
    nobodys: Mail,
}

impl<'a> Lives<'a> {
    /// Both wait, the one without a sender for a minute at most.
    fn begin(desk: &'a Desk<'a>, away: &'a Away<'a>) -> Outcome<Self> {
        desk.listener(&json!({
            "queue": {"lifetime": "1h", "nullSenderLifetime": "1m"},
            "relayFrom": [format!("{}/32", desk.client)],
        }))?;
        let users = desk.mail("lives", &away.user("lives"));
        desk.room.send(&desk.room.server_at("edge-0")?, &users)?;
        let nobodys = Mail::plain(&desk.room.mark("nobodys"), "", &away.user("nobodys"));
        let (to, content) = (rcpt(&nobodys.to), as_data(&nobodys));
        let texts = ["EHLO client.example", "MAIL FROM:<>", &to, "DATA", &content];
        desk.talk("", &texts)?.expect(5, "250")?;
        Ok(Self {
            desk,
            away,
            users,
            nobodys,
        })
    }

    /// The one without a sender goes, the other waits on. Under a `queue.lifetime` of a minute mail is back with its
    /// sender after it, that from before as well; under one of an hour it arrives when its servers are there.
    fn end(self) -> Outcome {
        let clerk = Clerk::new(self.desk.scene, &self.desk.pod)?;
        let waiting = |to: &str| -> Outcome<bool> {
            let entries = clerk.entries()?;
            Ok(entries.to_string().contains(to))
        };
        until(LIMIT, || Ok(!waiting(&self.nobodys.to)?)).map_err(|_| {
            Failure::wrong("mail with the null reverse-path outlives `queue.nullSenderLifetime`")
        })?;
        if !waiting(&self.users.to)? {
            return Err(Failure::wrong(
                "mail with a sender went with `queue.nullSenderLifetime`",
            ));
        }
        self.desk
            .listener(&json!({"queue": {"lifetime": "1m", "nullSenderLifetime": null}, "relayFrom": null}))?;
        let brief = self.desk.mail("brief", &self.away.user("brief"));
        let server = self.desk.room.server_at("edge-0")?;
        self.desk.room.send(&server, &brief)?;
        self.desk.is_returned(&brief, "Action: failed")?;
        self.desk.is_returned(&self.users, "Action: failed")?;
        self.desk.listener(&json!({"queue": {"lifetime": "1h"}}))?;
        let patient = self.desk.mail("patient", &self.away.user("patient"));
        self.desk.room.send(&server, &patient)?;
        self.away.open()?;
        self.desk.arrived(&patient.to, &patient).map(drop)
    }
}

fn rcpt(user: &str) -> String {
    format!("RCPT TO:<{user}>")
}

/// Takes that many mails, each of which takes it a second, and says how many connections it had at once.
const SLOW_HOP: &str = r#"
import socket, sys, threading, time
port, mails = int(sys.argv[1]), int(sys.argv[2])
lock, enough = threading.Lock(), threading.Event()
now = most = taken = 0
def serve(plug):
    global now, most, taken
    with lock:
        now += 1
        most = max(most, now)
    stream = plug.makefile("rwb", 0)
    try:
        stream.write(b"220 slow.example\r\n")
        for line in stream:
            verb = line[:4].upper()
            if verb == b"DATA":
                stream.write(b"354 go on\r\n")
                while stream.readline() not in (b".\r\n", b""):
                    pass
                time.sleep(1)
                with lock:
                    taken += 1
            stream.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
            if taken >= mails:
                enough.set()
            if verb == b"QUIT":
                break
    except OSError:
        pass
    finally:
        plug.close()
        with lock:
            now -= 1
listener = socket.create_server(("", port))
def listen():
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
threading.Thread(target=listen, daemon=True).start()
if not enough.wait(120):
    sys.exit(f"only {taken} of {mails} mails came")
print(most)
"#;

/// The container's port for 465.
const SUBMISSIONS: u16 = 10_465;
/// How long a mail is to be held, in seconds.
const HELD: u64 = 6;
/// Where the slow next hop listens.
const SLOW: u16 = 2_525;
const SLOW_MAILS: usize = 6;
