//! Commands in every wrong order, and what is left of a transaction after each thing that ends it: nothing.

use crate::sink::Sink;
use crate::stage::{Play, Stage};
use crate::wire::Wire;

const OPEN: [(&str, u16); 2] = [
    ("MAIL FROM:<first@else.example>", 250),
    ("RCPT TO:<alice@example.com>", 250),
];

/// RCPT, DATA and BDAT find no transaction; VRFY tells nothing of one. Each on a session that `ended` has brought there.
fn nothing_is_left(what: &str, ended: impl Fn() -> Wire) {
    let probes = [
        ("RCPT TO:<bob@example.com>", 503),
        ("DATA", 503),
        ("BDAT 3\r\nabc", 503),
        ("BDAT 3 LAST\r\nabc", 503),
    ];
    for (probe, code) in probes {
        let mut wire = ended();
        wire.send(format!("{}{}", probe, if probe.starts_with("BDAT") { "" } else { "\r\n" }).as_bytes());
        let reply = wire.reply();
        assert_eq!(reply.code, code, "{what}, then {probe:?}: {reply:?}");
        // Still in step: the next message is judged anew.
        wire.expect(&[
            ("VRFY first@else.example", 252),
            ("MAIL FROM:<second@else.example>", 250),
        ]);
        wire.expect(&[
            ("DATA", 503),
            ("RCPT TO:<nobody@example.com>", 550),
            ("RCPT TO:<bob@example.com>", 250),
        ]);
        wire.expect(&[("RSET", 250), ("QUIT", 221)]);
    }
    let reply = ended().say("VRFY alice@example.com");
    assert!(
        reply.code == 252 && !reply.text.contains("alice"),
        "{what}: {reply:?}"
    );
}

fn opened(stage: &Stage) -> Wire {
    let mut wire = stage.wire();
    wire.expect(&OPEN);
    wire
}

#[test]
fn commands_out_of_order_are_503() {
    let mut stage = Play::default().start();
    let mut wire = Wire::connect(stage.transfer);
    wire.expect(&[
        ("", 220),
        ("MAIL FROM:<a@else.example>", 503),
        ("RCPT TO:<alice@example.com>", 503),
        ("DATA", 503),
    ]);
    wire.expect(&[
        ("EHLO client.example", 250),
        ("RCPT TO:<alice@example.com>", 503),
        ("DATA", 503),
    ]);
    wire.send(b"BDAT 5\r\nQUIT\n");
    assert_eq!(wire.reply().code, 503);
    wire.expect(&[
        ("MAIL FROM:<a@else.example>", 250),
        ("DATA", 503),
        ("MAIL FROM:<b@else.example>", 503),
    ]);
    wire.expect(&[
        ("RCPT TO:<alice@example.com>", 250),
        ("MAIL FROM:<>", 503),
        ("STARTTLS now", 501),
    ]);
    // The refused MAIL changed nothing: the open transaction goes on.
    wire.expect(&[("DATA", 354)]);
    wire.send(b"Subject: x\r\n\r\nx\r\n.\r\n");
    assert_eq!(wire.reply().code, 250);
    stage.is_well();
}

#[test]
fn commands_that_end_a_transaction_leave_nothing() {
    let mut stage = Play::default().start();
    for verb in ["RSET", "EHLO other.example", "HELO other.example"] {
        nothing_is_left(verb, || {
            let mut wire = opened(&stage);
            wire.expect(&[(verb, 250)]);
            wire
        });
    }
    for bad in [
        "MAIL FROM:<a@else.example> BODY=foo",
        "MAIL FROM:<a@else.example> SIZE=99999999999",
        "MAIL FROM:<a b>",
    ] {
        nothing_is_left(bad, || {
            let mut wire = stage.wire();
            assert_eq!(wire.say(bad).class(), 5);
            wire
        });
    }
    nothing_is_left("STARTTLS", || {
        let mut wire = opened(&stage);
        assert_eq!(wire.say("STARTTLS").code, 220);
        wire.handshake(&stage.chain);
        // Even EHLO is forgotten (RFC 3207 section 4.2).
        wire.expect(&[("MAIL FROM:<a@else.example>", 503), ("EHLO client.example", 250)]);
        wire
    });
    stage.is_well();
}

#[test]
fn a_failed_recipient_leaves_the_transaction_open_and_empty() {
    let store = Sink::lmtp();
    let mut stage = Play {
        store: Some(store.address),
        ..Play::default()
    }
    .start();
    let mut wire = stage.wire();
    wire.expect(&[
        ("MAIL FROM:<first@else.example>", 250),
        ("RCPT TO:<nobody@example.com>", 550),
        ("RCPT TO:<a@b", 501),
        ("DATA", 503),
        ("RCPT TO:<alice@example.com>", 250),
        ("DATA", 354),
    ]);
    wire.send(b"Subject: x\r\n\r\nx\r\n");
    wire.expect(&[(".", 250), ("QUIT", 221)]);
    let taken = store.wait_for(1);
    assert_eq!(taken[0].rcpt.len(), 1);
    // A chunk without a recipient ends the transaction.
    nothing_is_left("a chunk without a recipient", || {
        let mut wire = stage.wire();
        wire.expect(&[
            ("MAIL FROM:<first@else.example>", 250),
            ("RCPT TO:<nobody@example.com>", 550),
        ]);
        wire.send(b"BDAT 4\r\nMAIL");
        assert_eq!(wire.reply().code, 503);
        wire
    });
    stage.is_well();
}

#[test]
fn a_refused_message_leaves_nothing() {
    let mut stage = Play {
        limits: "{messageSize: 64Ki, connections: 5000, connectionsPerClient: 5000}".into(),
        ..Play::default()
    }
    .start();
    let large = "x".repeat(998) + "\r\n";
    nothing_is_left("552 at the end of data", || {
        let mut wire = opened(&stage);
        wire.expect(&[("DATA", 354)]);
        wire.send(large.repeat(70).as_bytes());
        wire.expect(&[(".", 552)]);
        wire
    });
    let looped = "Received: by x\r\n".repeat(101) + "\r\nx";
    nothing_is_left("554 at the end of data", || {
        let mut wire = opened(&stage);
        wire.expect(&[("DATA", 354)]);
        wire.send(looped.as_bytes());
        wire.send(b"\r\n");
        wire.expect(&[(".", 554)]);
        wire
    });
    nothing_is_left("a NUL in the data", || {
        let mut wire = opened(&stage);
        wire.expect(&[("DATA", 354)]);
        wire.send(b"a\0b\r\n");
        wire.expect(&[(".", 550)]);
        wire
    });
    nothing_is_left("a refused chunk", || {
        let mut wire = opened(&stage);
        wire.send(format!("BDAT 70000\r\n{}", "x".repeat(70_000)).as_bytes());
        assert_eq!(wire.reply().code, 552);
        wire
    });
    nothing_is_left("a refused last chunk", || {
        let mut wire = opened(&stage);
        wire.send(format!("BDAT 70000 LAST\r\n{}", "x".repeat(70_000)).as_bytes());
        assert_eq!(wire.reply().code, 552);
        wire
    });
    nothing_is_left("a NUL in the last chunk", || {
        let mut wire = opened(&stage);
        wire.send(b"BDAT 3 LAST\r\na\0b");
        assert_eq!(wire.reply().code, 550);
        wire
    });
    stage.is_well();
}

#[test]
fn a_failed_login_leaves_nothing() {
    let stage = Play::default().start();
    for attempt in [
        "AUTH PLAIN !!!",
        "AUTH PLAIN AGFsaWNlAHdyb25n",
        "AUTH FOO",
        "AUTH",
    ] {
        let mut wire = Wire::ready(stage.submission).secure(&stage.chain);
        assert_eq!(wire.say(attempt).class(), 5, "{attempt}");
        wire.expect(&[
            ("RCPT TO:<alice@example.com>", 503),
            ("DATA", 503),
            ("VRFY x", 252),
        ]);
        wire.send(b"BDAT 3 LAST\r\nabc");
        assert_eq!(wire.reply().code, 503, "{attempt}");
        wire.expect(&[
            ("MAIL FROM:<alice@example.com>", 530),
            ("RCPT TO:<a@else.example>", 503),
        ]);
    }
}

/// Octets behind DATA that did not wait for 354 are never run as commands.
#[test]
fn a_body_behind_a_refused_data_is_not_run() {
    let store = Sink::lmtp();
    let mut stage = Play {
        store: Some(store.address),
        ..Play::default()
    }
    .start();
    let smuggled = "MAIL FROM:<evil@else.example>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\nevil\r\n.\r\n";
    for group in [
        format!("DATA\r\n{smuggled}.\r\n"),
        format!("MAIL FROM:<a@else.example>\r\nDATA\r\n{smuggled}.\r\n"),
        format!("MAIL FROM:<a@else.example>\r\nRCPT TO:<nobody@example.com>\r\nDATA\r\n{smuggled}"),
    ] {
        let mut wire = stage.wire();
        wire.send(group.as_bytes());
        let replies = wire.rest();
        assert!(
            replies.iter().all(|reply| reply.code != 354),
            "{group:?}: {replies:?}"
        );
    }
    // The other way round: the body comes late, as a client sends it that took the refusal for 354.
    let mut wire = stage.wire();
    wire.expect(&[
        ("MAIL FROM:<a@else.example>", 250),
        ("RCPT TO:<nobody@example.com>", 550),
        ("DATA", 503),
    ]);
    wire.send(format!("Subject: x\r\n\r\n{smuggled}").as_bytes());
    assert!(wire.rest().iter().all(|reply| reply.class() == 5));
    stage.is_well();
    let taken = store.wait_for(1);
    assert!(
        taken.iter().all(|taken| !taken.mail.contains("evil")),
        "{taken:?}"
    );
}

/// RFC 2920: a group is answered in its order; what comes behind DATA belongs to the body.
#[test]
fn a_group_of_commands_is_answered_in_order() {
    let mut stage = Play::default().start();
    let mut wire = stage.wire();
    wire.send(
        b"RSET\r\nMAIL FROM:<a@else.example>\r\nRCPT TO:<alice@example.com>\r\nRCPT TO:<nobody@example.com>\r\nNOOP\r\nDATA\r\nRSET\r\nQUIT\r\n.\r\nNOOP\r\n",
    );
    let codes: Vec<_> = (0..8).map(|_| wire.reply().code).collect();
    assert_eq!(codes, [250, 250, 250, 550, 250, 354, 250, 250]);
    stage.is_well();
}
