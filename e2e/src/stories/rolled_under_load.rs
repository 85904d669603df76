//! Fifty messages a second while pods are replaced one by one: nobody is refused for good, nothing is lost, and what a client cannot
//! have known to be accepted is all that may come twice.
//!
//! ```text
//!   ten clients, each message by a connection of its own ─25─► the Service ─► the pods that serve ─LMTP─► one mailbox
//!   a client that is told 4yz, or whose connection does not come about or breaks, comes again, as a mail server does
//! ```

use std::thread;

use serde_json::{Value, json};

use super::image_rolled::{await_rolled_out, install};
use crate::images;
use crate::kubectl::{Failure, Outcome};
use crate::mailroom::{LISTENER, Mailroom, dovecot};
use crate::peers::{self, FAR};
use crate::story::Scene;

/// Messages a second.
const RATE: u64 = 50;

/// Plays the story.
pub fn play(scene: &Scene<'_>) -> Outcome {
    let room = Mailroom::new(scene, 3).open()?;
    let usual = &scene.world.product.mta;
    let next = images::next_mta(&scene.world.product)?;
    scene.world.cluster.load(&[next.archive.as_path()])?;
    let rolled = under_load(scene, &room, || {
        install(scene, &next)?;
        await_rolled_out(&room, &next)
    });
    // Whatever happened, the next story has the usual image.
    install(scene, usual)?;
    rolled?;
    await_rolled_out(&room, usual)
}

/// Replaces the pods by `roll`, under load.
fn under_load(scene: &Scene<'_>, room: &Mailroom<'_>, roll: impl FnOnce() -> Outcome) -> Outcome {
    let peers = &scene.world.peers;
    let client = &peers.namespace;
    let input = json!({
        "host": peers::address(room.namespace(), LISTENER)?, "rate": RATE, "stop": STOP,
        "mark": room.mark("load"), "from": format!("someone@{FAR}"),
        "to": format!("load-{}@{}", std::process::id(), scene.domain), "store": dovecot(peers),
    });
    let input = input.to_string();
    client.exec("client", &["rm", "-f", STOP], b"")?;
    let said = thread::scope(|scope| {
        let load = scope.spawn(|| client.exec("client", &["python3", "-c", CLIENTS], input.as_bytes()));
        let rolled = roll();
        // Without it the clients end by themselves, later.
        let stopped = client.exec("client", &["touch", STOP], b"");
        let said = load
            .join()
            .map_err(|_| Failure::wrong("the clients' thread ended early"))?;
        rolled?;
        stopped?;
        said
    })?;
    let said: Value = serde_json::from_str(&said)
        .map_err(|error| Failure::wrong(format!("the clients ended oddly ({error}): {said}")))?;
    eprintln!("    under load: {said}");
    judge(&said).map_err(|problem| Failure::wrong(format!("{problem}: {said}")))
}

fn judge(said: &Value) -> Result<(), &'static str> {
    let count = |name: &str| said[name].as_u64().unwrap_or(u64::MAX);
    if count("refused") > 0 {
        return Err("a client was refused for good");
    }
    if count("lost") > 0 || count("accepted") != count("offered") {
        return Err("mail was lost");
    }
    if count("twice") > count("unclear") {
        return Err("mail came twice though its client had read 250");
    }
    // A computer that is busy may fall behind; half of it is a load still.
    if count("accepted") < RATE / 2 * count("seconds") {
        return Err("there was hardly a load");
    }
    Ok(())
}

const STOP: &str = "/tmp/rolled-under-load";

/// Ends when the file is there, or after three minutes, and everything that was offered is accepted; says then what is in the mailbox.
const CLIENTS: &str = r#"
import collections, imaplib, json, os, smtplib, sys, threading, time
want = json.load(sys.stdin)
begun = time.monotonic()
lock = threading.Lock()
offered, later = 0, []
accepted, refused, unclear, codes = set(), [], set(), collections.Counter()
def content(number):
    return (f"From: <{want['from']}>\r\nTo: <{want['to']}>\r\nSubject: {want['mark']}-{number}\r\n"
        f"Date: Mon, 02 Nov 2026 08:00:00 +0000\r\nMessage-ID: <{want['mark']}-{number}@e2e.example>\r\n\r\n"
        + "Good morning.\r\n" * 40).encode()
def attempt(number):
    sent = False
    try:
        server = smtplib.SMTP(local_hostname="client.example", timeout=60)
        code = server.connect(want["host"], 25)[0]
        for step in (server.ehlo, lambda: server.mail(want["from"]), lambda: server.rcpt(want["to"])):
            if code // 100 == 2:
                code = step()[0]
        if code // 100 == 2:
            code = server.docmd("DATA")[0]
        if code == 354:
            sent = True
            server.send(content(number) + b".\r\n")
            code = server.getreply()[0]
        server.close()
        return code
    except (OSError, smtplib.SMTPException) as broken:
        if sent:
            unclear.add(number)
        return type(broken).__name__
def pick():
    global offered
    now = time.monotonic()
    if later and later[0][0] <= now:
        return later.pop(0)[1]
    ends = os.path.exists(want["stop"]) or now > begun + 180
    if not ends and begun + offered / want["rate"] <= now:
        offered += 1
        return offered - 1
    return None if ends and len(accepted) + len(refused) == offered or now > begun + 230 else -1
def client():
    while True:
        with lock:
            number = pick()
        if number is None:
            return
        if number < 0:
            time.sleep(0.01)
            continue
        code = attempt(number)
        with lock:
            codes[str(code)] += 1
            if code == 250:
                accepted.add(number)
            elif str(code).startswith("5"):
                refused.append(number)
            else:
                later.append((time.monotonic() + 2, number))
clients = [threading.Thread(target=client) for _ in range(10)]
[one.start() for one in clients]
[one.join() for one in clients]
seconds = int(time.monotonic() - begun)
limit = time.monotonic() + 50
found = collections.Counter()
while len(found) < len(accepted) and time.monotonic() < limit:
    box = imaplib.IMAP4(want["store"], 143)
    box.login(want["to"], "postroad")
    box.select("INBOX", readonly=True)
    parts = box.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1] if int(box.status("INBOX", "(MESSAGES)")[1][0].split()[-1].rstrip(b")")) else []
    found = collections.Counter(part[1].split()[1].decode() for part in parts if isinstance(part, tuple))
    box.logout()
    time.sleep(0.5)
marks = {f"{want['mark']}-{number}" for number in accepted}
print(json.dumps({"offered": offered, "accepted": len(accepted), "refused": len(refused), "seconds": seconds,
    "lost": len(marks - set(found)), "twice": sum(count - 1 for count in found.values()), "unclear": len(unclear),
    "replies": codes}))
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn said(change: &Value) -> Value {
        let mut said = json!({"offered": 2_000, "accepted": 2_000, "refused": 0, "seconds": 40, "lost": 0, "twice": 1, "unclear": 1});
        for (name, value) in change.as_object().into_iter().flatten() {
            said[name] = value.clone();
        }
        said
    }

    #[test]
    fn what_was_refused_lost_or_doubled_is_a_failure() {
        assert_eq!(judge(&said(&json!({}))), Ok(()));
        for (change, problem) in [
            (json!({"refused": 1}), "a client was refused for good"),
            (json!({"lost": 1}), "mail was lost"),
            (json!({"accepted": 1_999}), "mail was lost"),
            (
                json!({"twice": 2}),
                "mail came twice though its client had read 250",
            ),
            (json!({"seconds": 100}), "there was hardly a load"),
        ] {
            assert_eq!(judge(&said(&change)), Err(problem));
        }
        assert!(judge(&Value::Null).is_err(), "who says nothing");
    }
}
