//! A crowd of clients who send large messages at once, to a pod with little memory for them: `limits.bufferMemory`.
//!
//! ```text
//!   strangers, one by one: DATA and the content but for its end ─► bodies go to files ─► 452 to those who come late
//!   a user meanwhile: 250 ─► the ends: 250 ─► the late ones come again: 250 ─► all of it is in the mailbox, whole
//! ```

use serde_json::{Value, json};

use super::desk::Desk;
use crate::kubectl::{Failure, Outcome, memory};
use crate::mail::Mail;
use crate::mailroom::{PASSWORD, USER, dovecot};
use crate::peers::FAR;

/// Memory that the pod may take.
pub(super) const POD_MEMORY: &str = "128Mi";
const POD_MEMORY_KB: u64 = (128 << 20) / 1000;
/// The least that `bufferMemory` may be.
const BUFFERS: u64 = 8 << 20;
/// More than can begin with so little: strangers fill up four fifths of it, and each takes 32 KiB at least.
const MESSAGES: u64 = 240;
/// Of one message: as much as is kept in memory where there is room.
const OCTETS: u64 = 240 << 10;

impl Desk<'_> {
    /// Nobody is refused for good, those who are told to come later are strangers, and what was accepted is whole.
    pub(super) fn crowd(&self) -> Outcome {
        let limits = json!({"bufferMemory": "8Mi", "connectionsPerClient": 2 * MESSAGES});
        self.listener(&json!({"limits": limits}))?;
        let user = Mail::plain(
            &self.room.mark("in-a-crowd"),
            &self.room.sender(),
            &self.room.far_user(),
        );
        let said = self.come(&user)?;
        let replies: Vec<&str> = said["replies"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let right = said["accepted"] == MESSAGES
            && said["whole"] == MESSAGES
            && said["found"] == MESSAGES
            && replies.contains(&"452")
            && !replies.iter().any(|code| code.starts_with('5'));
        if !right {
            return Err(Failure::wrong(format!(
                "of {MESSAGES} large messages at once: {said}"
            )));
        }
        self.arrived(&user.to, &user)?;
        self.is_within()?;
        self.listener(&json!({"limits": {"bufferMemory": null, "connectionsPerClient": null}}))
    }

    /// The crowd, and the user in it; what was answered, and what is in the mailbox afterwards.
    fn come(&self, user: &Mail) -> Outcome<Value> {
        let peers = &self.scene.world.peers;
        let input = json!({
            "pod": self.pod, "messages": MESSAGES, "octets": OCTETS, "mark": self.room.mark("crowd"),
            "from": format!("someone@{FAR}"),
            "to": format!("crowd-{}@{}", std::process::id(), self.scene.domain),
            "store": dovecot(peers),
            "user": USER, "password": PASSWORD, "userFrom": user.from, "userTo": user.to,
            "userContent": String::from_utf8_lossy(&user.content),
        });
        let said = peers.namespace.exec(
            "client",
            &["python3", "-c", CLIENTS],
            input.to_string().as_bytes(),
        )?;
        serde_json::from_str(&said)
            .map_err(|error| Failure::wrong(format!("the crowd ended oddly ({error}): {said}")))
    }

    /// The metrics say that bodies went to files, and that the limit was kept; so does the kubelet of the whole pod.
    fn is_within(&self) -> Outcome {
        let url = format!("http://{}:8080/metrics", self.pod);
        let command = ["python3", "-c", METRICS, &url];
        let text = self.scene.world.peers.namespace.exec("client", &command, b"")?;
        let spilled = figure(&text, "spilled_bodies_total");
        let [highest, limit] =
            ["highest", "limit"].map(|name| figure(&text, &format!("buffers_{name}_bytes")));
        let right =
            spilled > Some(0) && highest.is_some_and(|most| most <= BUFFERS) && limit == Some(BUFFERS);
        if !right {
            return Err(Failure::wrong(format!(
                "{spilled:?} bodies in files, {highest:?} octets of {limit:?} held"
            )));
        }
        let namespace = &self.scene.namespace.name;
        for (pod, used) in memory(&self.scene.world.cluster, &[namespace.as_str()])? {
            if used >= POD_MEMORY_KB {
                return Err(Failure::wrong(format!("{pod} takes {used} kB")));
            }
        }
        Ok(())
    }
}

/// A figure of the metrics that has no labels.
fn figure(text: &str, name: &str) -> Option<u64> {
    let name = format!("postroad_mta_{name} ");
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix(&name))?.parse().ok()
}

const METRICS: &str =
    "import sys,urllib.request;print(urllib.request.urlopen(sys.argv[1],timeout=30).read().decode())";

/// Every client is a session; who is told 4yz comes again later, as a mail server does.
const CLIENTS: &str = r#"
import imaplib, json, smtplib, socket, ssl, sys, time
want = json.load(sys.stdin)
numbers = range(want["messages"])
replies = set()
def content(number):
    line = f"{number:6} ".ljust(76, "x") + "\r\n"
    head = f"From: <{want['from']}>\r\nTo: <{want['to']}>\r\nSubject: {want['mark']}-{number}\r\n" \
        f"Date: Mon, 02 Nov 2026 08:00:00 +0000\r\nMessage-ID: <{want['mark']}-{number}@e2e.example>\r\n\r\n"
    return (head + line * (want["octets"] // len(line))).encode()
refusals = set()
class Session:
    def __init__(self):
        self.plug = socket.create_connection((want["pod"], 10025), 60)
        self.stream = self.plug.makefile("rb")
    def reply(self):
        while True:
            line = self.stream.readline().decode()
            if line[3:4] != "-":
                replies.add(line[:3])
                if line[:1] in ("4", "5"):
                    refusals.add(line.strip())
                return line[:1]
    def begin(self, number):
        good = self.reply() == "2"
        for text in ["EHLO client.example", f"MAIL FROM:<{want['from']}>", f"RCPT TO:<{want['to']}>", "DATA"]:
            if good:
                self.plug.sendall(text.encode() + b"\r\n")
                good = self.reply() in ("2", "3")
        if good:
            self.plug.sendall(content(number))
        return good
    def end(self):
        self.plug.sendall(b".\r\n")
        return self.reply() == "2"
def begin(some):
    begun, later = {}, []
    for number in some:
        session = Session()
        if session.begin(number):
            begun[number] = session
        else:
            later.append(number)
    return begun, later
def end(begun):
    return [number for number, session in begun.items() if not session.end()]
begun, later = begin(numbers)
late = len(later)
tls = ssl.create_default_context()
tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
user = smtplib.SMTP_SSL(want["pod"], 10465, "client.example", context=tls, timeout=60)
user.login(want["user"], want["password"])
user.sendmail(want["userFrom"], [want["userTo"]], want["userContent"].encode())
later += end(begun)
limit = time.monotonic() + 120
while later and time.monotonic() < limit:
    begun, later = begin(later)
    later += end(begun)
    time.sleep(0.2)
box = imaplib.IMAP4(want["store"], 143)
box.login(want["to"], "postroad")
found, limit = [], time.monotonic() + 120
while len(found) < len(numbers) - len(later) and time.monotonic() < limit:
    box.select("INBOX", readonly=True)
    found = box.search(None, "ALL")[1][0].split()
    time.sleep(0.2)
ends = {content(number): number for number in numbers}
size = {len(text) for text in ends}
whole = set()
for one in found:
    text = box.fetch(one, "(RFC822)")[1][0][1]
    whole |= {ends.get(text[-length:]) for length in size}
print(json.dumps({"late": late, "accepted": len(numbers) - len(later), "found": len(found),
    "whole": len(whole - {None}), "replies": sorted(replies), "refusals": sorted(refusals)}))
"#;
