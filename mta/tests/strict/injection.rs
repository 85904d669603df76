//! Text of a peer in every place where it ends up: logs, figures, headers, next hops. It stays text.

use crate::sink::{Kind, Sink};
use crate::stage::Play;

/// Local parts that are addresses (RFC 5321 section 4.1.2), and commands to somebody.
const LOCAL_PARTS: [&str; 14] = [
    "\"; rm -rf /\"",
    "\"$(reboot)\"",
    "`reboot`",
    "\"a'; DROP TABLE mail; --\"",
    "-oQ/tmp/x",
    "--",
    "|cat",
    "\"|/bin/sh\"",
    "\"../../../etc/passwd\"",
    "{__proto__}",
    "${jndi}",
    "\"a\\\"} 1\"",
    "{0}$s",
    "\"<b>\"",
];

#[test]
fn commands_in_addresses_stay_addresses() {
    let store = Sink::lmtp();
    let relay = Sink::start(Kind {
        lmtp: false,
        chunking: false,
    });
    let health = crate::stage::free_port();
    let mut stage = Play {
        store: Some(store.address),
        relay: Some(relay.address),
        listed: "",
        more: format!("admin: {{health: '{health}'}}\n"),
        ..Play::default()
    }
    .start();
    for local in LOCAL_PARTS {
        let mut wire = stage.wire();
        wire.expect(&[
            (&format!("MAIL FROM:<{local}@else.example> ENVID=+22+7B+3B"), 250),
            (&format!("RCPT TO:<{local}@example.com>"), 250),
            ("DATA", 354),
        ]);
        wire.send(b"Subject: x\r\n\r\nx\r\n");
        wire.expect(&[(".", 250)]);
    }
    let taken = store.wait_for(LOCAL_PARTS.len());
    for local in LOCAL_PARTS {
        let mail = format!("MAIL FROM:<{local}@else.example>");
        let rcpt = format!("RCPT TO:<{local}@example.com>");
        let arrived = taken
            .iter()
            .any(|taken| taken.mail.starts_with(&mail) && taken.rcpt[0].starts_with(&rcpt));
        assert!(arrived, "{local} did not arrive as it was");
    }
    store.judge_wire();
    stage.is_well();
    for line in stage.log().lines() {
        assert!(
            serde_json::from_str::<serde_json::Value>(line).is_ok(),
            "no JSON: {line}"
        );
    }
    let figures = get(health, "/metrics");
    assert!(figures.contains("postroad_mta_"), "{figures}");
    for local in LOCAL_PARTS {
        assert!(
            !figures.contains(local.trim_matches('"')) || local.len() < 4,
            "{local} is a label"
        );
    }
}

/// Names that a client gives of itself, and parameters, cannot add lines to a header, a log or a reply.
#[test]
fn names_and_parameters_add_no_lines() {
    let store = Sink::lmtp();
    let mut stage = Play {
        store: Some(store.address),
        ..Play::default()
    }
    .start();
    for name in ["x\ty", "x y", "x\u{b}y", "x\u{85}y", "x\u{2028}y", "\u{7f}"] {
        let mut wire = stage.wire();
        assert_eq!(wire.say(&format!("EHLO {name}")).code, 501, "{name:?}");
    }
    for name in [
        "(evil)",
        "x;Received:evil",
        "=?utf-8?q?=0AEvil:_x?=",
        "[1.2.3.4]",
        "ünïcode",
        "%0d%0aEvil:",
    ] {
        let mut wire = stage.wire();
        wire.expect(&[(&format!("EHLO {name}"), 250)]);
        assert_eq!(
            wire.deliver("alice@example.com", "Subject: x\r\n\r\nx\r\n").code,
            250
        );
    }
    for taken in store.wait_for(6) {
        let text = String::from_utf8_lossy(&taken.body).into_owned();
        let header = text.split("\r\n\r\n").next().unwrap();
        for line in header.split("\r\n") {
            let known = ["Received:", "Return-Path:", "Subject:", " ", "\t"]
                .iter()
                .any(|start| line.starts_with(start));
            assert!(known, "{line:?} in {header}");
        }
    }
    store.judge_wire();
    stage.is_well();
}

/// Names of header fields that were somebody's crash.
#[test]
fn odd_header_fields_pass_as_they_are() {
    let store = Sink::lmtp();
    let mut stage = Play {
        store: Some(store.address),
        ..Play::default()
    }
    .start();
    let long = format!("{}: x", "N".repeat(2_000));
    let nested = "Content-Type: message/rfc822\r\n\r\n".repeat(10_000);
    let mut bomb = String::new();
    for level in 0..2_000 {
        bomb = format!("{bomb}Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n");
    }
    let mut sent = Vec::new();
    for text in [
        "__proto__: x",
        "constructor: x",
        ": x",
        "no colon",
        " leading space",
        "T\tab: x",
        "\u{fc}: x",
        &long,
        "A:\u{200b}",
        &nested,
        &bomb,
        "Content-Disposition: attachment; filename*0*=utf-8''%e2%82\r\n ; filename*1=x",
        "Subject: =?utf-8?b?/////w==?=",
    ] {
        let message = format!("{text}\r\nSubject: odd\r\n\r\nbody\r\n");
        let mut wire = stage.wire();
        let reply = wire.deliver("alice@example.com", &message);
        assert_eq!(reply.code, 250, "{text:.60}: {reply:?}");
        sent.push(message);
    }
    let taken = store.wait_for(sent.len());
    for message in sent {
        let arrived = taken.iter().any(|taken| taken.body.ends_with(message.as_bytes()));
        assert!(arrived, "{message:.60} is not what arrived");
    }
    stage.is_well();
}

fn get(address: std::net::SocketAddr, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
