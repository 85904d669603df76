//! Look-alikes of the end of data: every combination of CR, LF, dot and NUL by DATA and BDAT, the classic ones in every split
//! and from a user too, on every way out.
//!
//! ```text
//!   DATA or BDAT ─► the daemon ─┬─► a store, by LMTP ───┐ by DATA, and where the next hop
//!                               └─► a relay, by SMTP ───┘ has CHUNKING by BDAT
//! ```
//!
//! The judge is a strict sink: exactly the one message that the client's last `CR LF . CR LF` ends, or none, and no
//! octet on the wire that SMTP does not allow.

use crate::sink::{Kind, Sink};
use crate::stage::{Play, Stage};
use crate::wire::Wire;

/// What stands in front of the dot, and behind it.
const BEFORE: [&str; 9] = ["", "\n", "\r", "\r\n", "\n\r", "\r\r\n", "\n\n", "\0", "\r\n\0"];
const AFTER: [&str; 9] = ["", "\n", "\r", "\r\n", "\n\r", "\r\r\n", "\n\n", "\0", "\0\r\n"];
/// What would be run if the look-alike ended the data.
const SMUGGLED: &str =
    "MAIL FROM:<evil@else.example>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\nSubject: evil\r\n\r\nevil\r\n";

/// Every look-alike; the real end is not one of them.
fn look_alikes() -> Vec<String> {
    let mut found = Vec::new();
    for before in BEFORE {
        for dots in [".", "..", ".\0", "\0."] {
            for after in AFTER {
                let text = format!("{before}{dots}{after}");
                if !format!("x{text}").contains("\r\n.\r\n") {
                    found.push(text);
                }
            }
        }
    }
    found
}

/// No bare CR, bare LF or NUL.
fn is_text(octets: &str) -> bool {
    !octets.replace("\r\n", "").contains(['\r', '\n', '\0'])
}

struct Rig {
    stage: Stage,
    store: Sink,
    relay: Sink,
}

impl Rig {
    /// `chunking`: whether the next hops have it, which is how messages leave.
    fn start(chunking: bool) -> Self {
        let store = Sink::start(Kind { lmtp: true, chunking });
        let relay = Sink::start(Kind {
            lmtp: false,
            chunking,
        });
        let stage = Play {
            store: Some(store.address),
            relay: Some(relay.address),
            trusted: true,
            ..Play::default()
        }
        .start();
        Self { stage, store, relay }
    }

    /// Nothing but what was accepted came out, each message once, and every octet of it is as it was sent.
    fn judge(self, accepted: &[String]) {
        let Self {
            mut stage,
            store,
            relay,
        } = self;
        stage.is_well();
        store.wait_for(accepted.len() + 1);
        relay.wait_for(accepted.len());
        for sink in [store, relay] {
            let mut got: Vec<String> = sink
                .taken()
                .iter()
                .map(|taken| String::from_utf8(taken.original().to_vec()).unwrap())
                .filter(|text| !text.starts_with("Subject: well"))
                .collect();
            let mut wanted = accepted.to_vec();
            got.sort();
            wanted.sort();
            assert_eq!(got, wanted);
            assert!(sink.taken().iter().all(|taken| !taken.mail.contains("evil")));
            sink.judge_wire();
        }
    }
}

const OPEN: [(&str, u16); 3] = [
    ("MAIL FROM:<sender@else.example>", 250),
    ("RCPT TO:<alice@example.com>", 250),
    ("RCPT TO:<carol@else.example>", 250),
];

/// What the peer that sent one message makes of the replies: accepted, or refused once.
#[track_caller]
fn outcome(wire: &mut Wire, what: &str) -> bool {
    let reply = wire.reply();
    assert!(matches!(reply.code, 250 | 550), "{what:?}: {reply:?}");
    reply.code == 250
}

#[test]
fn nothing_like_the_end_ends_the_data() {
    look_alikes_by_data(false);
    look_alikes_by_data(true);
}

fn look_alikes_by_data(chunking: bool) {
    let rig = Rig::start(chunking);
    let mut accepted = Vec::new();
    let mut wire = rig.stage.wire();
    for (number, alike) in look_alikes().iter().enumerate() {
        // A look-alike at the head of the body, and in its midst.
        for head in ["", "x"] {
            let body = format!("Subject: {number}\r\n\r\n{head}{alike}{SMUGGLED}");
            if body.contains("\r\n.\r\n") {
                continue;
            }
            wire.expect(&OPEN);
            wire.expect(&[("DATA", 354)]);
            wire.send(format!("{body}.\r\n").as_bytes());
            let taken = outcome(&mut wire, &body);
            assert_eq!(taken, is_text(&body), "{body:?}");
            if taken {
                accepted.push(unstuffed(&body));
            }
            if taken {
                wire.expect(&[("RSET", 250)]);
            } else {
                // CR or LF alone ends the session: nothing of what is left would be read.
                if !body.contains('\0') {
                    assert!(wire.rest().is_empty(), "{body:?}");
                }
                wire = rig.stage.wire();
            }
        }
    }
    assert!(
        accepted.len() > 5,
        "{} of the look-alikes are text",
        accepted.len()
    );
    rig.judge(&accepted);
}

/// Dots that the client put in front of a line are taken off.
fn unstuffed(body: &str) -> String {
    let lines: Vec<_> = body
        .split("\r\n")
        .map(|line| line.strip_prefix('.').unwrap_or(line))
        .collect();
    lines.join("\r\n")
}

/// The same look-alikes as chunks: there no dot has a meaning, and text is text.
#[test]
fn nothing_is_an_end_in_a_chunk() {
    look_alikes_by_chunks(false);
    look_alikes_by_chunks(true);
}

fn look_alikes_by_chunks(chunking: bool) {
    let rig = Rig::start(chunking);
    let mut accepted = Vec::new();
    let mut wire = rig.stage.wire();
    for (number, alike) in look_alikes()
        .iter()
        .map(String::as_str)
        .chain(["\r\n.\r\n"])
        .enumerate()
    {
        let body = format!("Subject: {number}\r\n\r\nx{alike}{SMUGGLED}");
        // Cut in the midst of the look-alike.
        let cut = body.find(alike).unwrap() + alike.len() / 2;
        if chunks(&mut wire, &body, cut) {
            accepted.push(body);
        } else {
            wire = rig.stage.wire();
        }
    }
    rig.judge(&accepted);
}

/// Hands a message in as two chunks; whether it was taken, which is so for text and for nothing else.
#[track_caller]
fn chunks(wire: &mut Wire, body: &str, cut: usize) -> bool {
    wire.expect(&OPEN);
    wire.send(format!("BDAT {cut}\r\n{}", &body[..cut]).as_bytes());
    assert_eq!(wire.reply().code, 250);
    wire.send(format!("BDAT {} LAST\r\n{}", body.len() - cut, &body[cut..]).as_bytes());
    let taken = outcome(wire, body);
    assert_eq!(taken, is_text(body), "{body:?}");
    taken
}

/// The classic ones.
const CLASSIC: [&str; 8] = [
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r",
    "\r\n.\r",
    "\r\n\0.\r\n",
    "\r\n..\r\n",
    "\r\n.x\r\n",
];

/// Cut at every octet into two chunks, the real end of data among them.
#[test]
fn chunks_do_not_matter() {
    cut_into_chunks(false);
    cut_into_chunks(true);
}

fn cut_into_chunks(chunking: bool) {
    let rig = Rig::start(chunking);
    let mut accepted = Vec::new();
    let mut wire = rig.stage.wire();
    for alike in CLASSIC.into_iter().chain(["\r\n.\r\n"]) {
        let body = format!("Subject: y\r\n\r\nx{alike}{SMUGGLED}");
        let around = body.find(alike).unwrap();
        for cut in (around - 1..=around + alike.len() + 1).chain([body.len()]) {
            if chunks(&mut wire, &body, cut) {
                accepted.push(body.clone());
            } else {
                wire = rig.stage.wire();
            }
        }
    }
    rig.judge(&accepted);
}

/// The classic ones from a user, inside TLS.
#[test]
fn a_user_smuggles_nothing_either() {
    let rig = Rig::start(false);
    let mut accepted = 0;
    for alike in CLASSIC {
        let head = "From: alice@example.com\r\nDate: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n";
        let body = format!("{head}Subject: z\r\n\r\nx{alike}{SMUGGLED}");
        let mut wire = rig.stage.submitting();
        wire.expect(&[
            ("MAIL FROM:<alice@example.com>", 250),
            ("RCPT TO:<carol@else.example>", 250),
            ("DATA", 354),
        ]);
        wire.send(format!("{body}.\r\n").as_bytes());
        let taken = outcome(&mut wire, &body);
        assert_eq!(taken, is_text(&body), "{body:?}");
        accepted += usize::from(taken);
    }
    assert!(accepted > 0);
    let taken = rig.relay.wait_for(accepted);
    assert_eq!(taken.len(), accepted);
    assert!(
        taken.iter().all(|taken| taken.mail.contains("alice")),
        "{taken:?}"
    );
    rig.relay.judge_wire();
}

/// A line of a dot at every octet around the sizes in which messages are read and written: it gets its second dot on
/// the way out, wherever a piece ends (RFC 5321 section 4.5.2).
#[test]
fn pieces_do_not_matter() {
    dots_around_pieces(false);
    dots_around_pieces(true);
}

fn dots_around_pieces(chunking: bool) {
    let rig = Rig::start(chunking);
    let mut accepted = Vec::new();
    let mut wire = rig.stage.wire();
    for piece in [4, 8, 16, 32, 64, 128].map(|size: usize| size << 10) {
        for before in 0..=5 {
            let mut body = "Subject: z\r\n\r\n".to_owned();
            body.push_str(&FILLER.repeat(piece / FILLER.len() - 1));
            body.push_str(&"y".repeat(piece - before - body.len()));
            body.push_str("\r\n.\r\n");
            body.push_str(SMUGGLED);
            if chunks(&mut wire, &body, piece) {
                accepted.push(body);
            }
        }
    }
    assert_eq!(accepted.len(), 36);
    rig.judge(&accepted);
}

/// A line of 64 octets.
const FILLER: &str = "filler filler filler filler filler filler filler filler filler\r\n";

/// Cut at every octet into two packets.
#[test]
fn packets_do_not_matter() {
    cut_into_packets(false);
    cut_into_packets(true);
}

fn cut_into_packets(chunking: bool) {
    let rig = Rig::start(chunking);
    let mut accepted = Vec::new();
    for alike in CLASSIC {
        let body = format!("Subject: y\r\n\r\nx{alike}{SMUGGLED}");
        let text = format!("{body}.\r\n");
        let around = body.find(alike).unwrap();
        for cut in (around - 1..=around + alike.len() + 1).chain(text.len() - 4..text.len()) {
            let mut wire = rig.stage.wire();
            wire.expect(&OPEN);
            wire.expect(&[("DATA", 354)]);
            wire.send(&text.as_bytes()[..cut]);
            // The server has read the first packet when the second comes: it answers nothing, so give it a moment.
            std::thread::sleep(std::time::Duration::from_millis(3));
            wire.send(&text.as_bytes()[cut..]);
            if outcome(&mut wire, &text) {
                accepted.push(unstuffed(&body));
            }
        }
    }
    rig.judge(&accepted);
}
