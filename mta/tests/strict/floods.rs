//! Endless everything: memory stays bounded, and other sessions do not notice.
//!
//! Sizes are a sample; with `POSTROAD_EXHAUSTIVE=1` they are whole.

use std::time::Duration;

use crate::sink::Sink;
use crate::stage::{Play, Stage};
use crate::wire::Wire;

/// Octets that the daemon may take beyond what it has at rest, whatever one client does.
const BOUND: u64 = 48 << 20;

/// The whole number, or a part of it in a sample.
fn scaled(whole: usize, sample: usize) -> usize {
    if std::env::var("POSTROAD_EXHAUSTIVE").is_ok_and(|value| value == "1") {
        whole
    } else {
        sample
    }
}

fn stage() -> (Stage, Sink) {
    let store = Sink::lmtp();
    let mut stage = Play {
        limits:
            "{messageSize: 200Mi, recipientsPerMessage: 1000, connections: 5000, connectionsPerClient: 5000}"
                .into(),
        store: Some(store.address),
        listed: "",
        ..Play::default()
    }
    .start();
    stage.is_well();
    (stage, store)
}

/// Plays the flood while others send; memory is judged at its peak.
fn judge(flood: impl FnOnce(&Stage)) {
    let (mut stage, store) = stage();
    let before = stage.resident();
    std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            for number in 0..20 {
                let mut wire = stage.wire();
                let message = format!("Subject: other {number}\r\n\r\nx\r\n");
                assert_eq!(wire.deliver("bob@example.com", &message).code, 250);
            }
        });
        flood(&stage);
        others.join().unwrap();
    });
    let grown = stage.most_resident().saturating_sub(before);
    assert!(grown < BOUND, "{} MiB more", grown >> 20);
    stage.is_well();
    store.wait_for(22);
}

/// Writes this many pieces while a second thread reads what comes back; ends early where the server hangs up.
fn pour(wire: &mut Wire, piece: &[u8], times: usize) -> Vec<u16> {
    let mut reader = wire.second_end();
    let reading = std::thread::spawn(move || {
        let mut last = Vec::new();
        while let Some(reply) = reader.next() {
            last.push(reply.code);
            if last.len() > 100 {
                last.remove(0);
            }
        }
        last
    });
    let block = piece.repeat((64 << 10) / piece.len() + 1);
    let mut left = times * piece.len();
    while left > 0 {
        let count = left.min(block.len());
        if !wire.send(&block[..count]) {
            break;
        }
        left -= count;
    }
    wire.half_close();
    reading.join().unwrap()
}

const OPEN: [(&str, u16); 2] = [
    ("MAIL FROM:<flood@else.example>", 250),
    ("RCPT TO:<alice@example.com>", 250),
];

#[test]
fn millions_of_tiny_chunks() {
    judge(|stage| {
        let mut wire = stage.wire();
        wire.expect(&OPEN);
        pour(&mut wire, b"BDAT 1\r\nx", scaled(10_000_000, 200_000));
        let mut wire = stage.wire();
        wire.expect(&OPEN);
        pour(&mut wire, b"BDAT 0\r\n", scaled(10_000_000, 200_000));
    });
}

#[test]
fn a_million_recipients() {
    judge(|stage| {
        let mut wire = stage.wire();
        wire.expect(&[("MAIL FROM:<flood@else.example>", 250)]);
        let codes = pour(
            &mut wire,
            b"RCPT TO:<somebody@example.com>\r\n",
            scaled(1_000_000, 100_000),
        );
        assert!(
            codes.iter().all(|code| matches!(code, 250 | 421 | 452)),
            "{codes:?}"
        );
    });
}

#[test]
fn a_million_commands_that_lead_nowhere() {
    judge(|stage| {
        for verb in [
            "NOOP\r\n",
            "RSET\r\n",
            "VRFY x\r\n",
            "EHLO x\r\n",
            "FOO\r\n",
            "MAIL FROM:<>\r\nRSET\r\n",
        ] {
            let codes = pour(&mut stage.wire(), verb.as_bytes(), scaled(1_000_000, 50_000));
            assert!(!codes.is_empty());
        }
    });
}

#[test]
fn a_line_without_end() {
    judge(|stage| {
        let pieces = scaled(1 << 30, 64 << 20) / 1_000;
        pour(&mut stage.wire(), &[b'x'; 1_000], pieces);
        let mut wire = stage.wire();
        wire.expect(&OPEN);
        wire.expect(&[("DATA", 354)]);
        pour(&mut wire, &[b'x'; 1_000], pieces);
        let mut login = Wire::ready(stage.submission).secure(&stage.chain);
        assert_eq!(login.say("AUTH PLAIN").code, 334);
        for _ in 0..scaled(100_000, 5_000) {
            if !login.send(&[b'A'; 1_000]) {
                break;
            }
        }
    });
}

#[test]
fn a_header_without_end() {
    judge(|stage| {
        for (field, times) in [
            (&b"X-Field: x\r\n"[..], scaled(1_000_000, 100_000)),
            (b" folded and folded again\r\n", scaled(4_000_000, 400_000)),
        ] {
            let mut wire = stage.wire();
            wire.expect(&OPEN);
            wire.expect(&[("DATA", 354)]);
            wire.send(b"Subject: x\r\n");
            pour(&mut wire, field, times);
        }
    });
}

#[test]
fn replies_that_nobody_reads() {
    judge(|stage| {
        let mut wire = stage.wire();
        wire.patience(Duration::from_secs(2));
        // Our side never reads: the server must stop reading, not store its replies.
        let block = "RSET\r\nMAIL FROM:<>\r\nHELP\r\n".repeat(4_000);
        for _ in 0..scaled(1_000, 100) {
            if !wire.send(block.as_bytes()) {
                break;
            }
        }
    });
}

/// 500 clients that send one octet in a while hold nobody up.
#[test]
fn five_hundred_slow_clients() {
    let (mut stage, store) = stage();
    let mut slow: Vec<Wire> = (0..500).map(|_| Wire::connect(stage.transfer)).collect();
    let dialogue = b"EHLO slow\r\nMAIL FROM:<slow@else.example>\r\n";
    for turn in 0..scaled(60, 6) {
        for wire in &mut slow {
            wire.send(&dialogue[turn % dialogue.len()..][..1]);
        }
        let mut wire = stage.wire();
        for number in 0..10 {
            let message = format!("Subject: {turn} {number}\r\n\r\nx\r\n");
            assert_eq!(wire.deliver("bob@example.com", &message).code, 250);
        }
        if scaled(1, 0) == 1 {
            std::thread::sleep(Duration::from_secs(10));
        }
    }
    store.wait_for(10 * scaled(60, 6));
    drop(slow);
    stage.is_well();
}
