//! AUTH (RFC 4954) as nobody should say it.

use crate::stage::{PASSWORD, Play, plain};
use crate::wire::Wire;

fn secured(stage: &crate::stage::Stage) -> Wire {
    Wire::ready(stage.submission).secure(&stage.chain)
}

#[test]
fn logins_out_of_place_are_refused() {
    let stage = Play::default().start();
    let good = format!("AUTH PLAIN {}", plain("alice", PASSWORD));
    // Not on the port for other servers, not before TLS, not before EHLO.
    stage.wire().expect(&[(&good, 502)]);
    Wire::ready(stage.submission).expect(&[(&good, 538), ("MAIL FROM:<alice@example.com>", 530)]);
    let mut wire = Wire::ready(stage.submission);
    assert_eq!(wire.say("STARTTLS").code, 220);
    wire.handshake(&stage.chain);
    wire.expect(&[
        (&good, 503),
        ("HELO client.example", 250),
        (&good, 503),
        ("EHLO client.example", 250),
        (&good, 235),
    ]);
    // Not twice, not in a transaction, and not forgotten by RSET or EHLO.
    wire.expect(&[
        (&good, 503),
        ("MAIL FROM:<alice@example.com>", 250),
        (&good, 503),
        ("RSET", 250),
    ]);
    wire.expect(&[
        ("EHLO other.example", 250),
        ("MAIL FROM:<alice@example.com>", 250),
        ("STARTTLS", 503),
    ]);
}

#[test]
fn odd_responses_fail_and_the_session_goes_on() {
    let stage = Play::default().start();
    for dialogue in [
        &[("AUTH LOGIN", 334), ("*", 501)][..],
        &[("AUTH PLAIN", 334), ("*", 501)],
        &[("AUTH PLAIN =", 501)],
        &[("AUTH LOGIN =", 334), ("*", 501)],
        &[("AUTH PLAIN !not!base64!", 501)],
        &[("AUTH PLAIN", 334), ("not base64", 501)],
        &[("AUTH PLAIN AA==AA==", 501)],
        &[("AUTH SCRAM-SHA-256 biwsbj1hbGljZQ==", 501)],
        &[("AUTH SCRAM-SHA-256-PLUS cD10bHM=", 504)],
        &[("AUTH PLAIN a b", 501)],
        &[("auth plain", 334), ("", 0)],
    ] {
        let mut wire = secured(&stage);
        for (line, code) in dialogue {
            if *code == 0 {
                // An empty line is an empty response.
                wire.send(b"\r\n");
                assert_eq!(wire.reply().code, 501);
            } else {
                wire.expect(&[(line, *code)]);
            }
        }
        wire.expect(&[
            ("NOOP", 250),
            (&format!("AUTH PLAIN {}", plain("alice", PASSWORD)), 235),
        ]);
    }
}

#[test]
fn a_response_of_100_kb_costs_nobody_anything() {
    let mut stage = Play::default().start();
    let long = "QUFB".repeat(25_000);
    for (start, challenged) in [
        (format!("AUTH PLAIN {long}"), false),
        ("AUTH PLAIN".to_owned(), true),
    ] {
        let mut wire = secured(&stage);
        let mut reply = wire.say(&start);
        if challenged {
            assert_eq!(reply.code, 334);
            reply = wire.say(&long);
        }
        assert_eq!(reply.code, 500, "{reply:?}");
        wire.expect(&[
            ("NOOP", 250),
            (&format!("AUTH PLAIN {}", plain("alice", PASSWORD)), 235),
        ]);
    }
    stage.is_well();
}

#[test]
fn guessing_costs_a_connection_and_tells_nothing() {
    let stage = Play::default().start();
    let mut answers = Vec::new();
    for user in ["alice", "nobody"] {
        let mut wire = secured(&stage);
        let guess = format!("AUTH PLAIN {}", plain(user, "wrong"));
        answers.push([wire.say(&guess), wire.say(&guess), wire.say(&guess)]);
        assert_eq!(wire.next(), None, "the session ends");
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0].each_ref().map(|reply| reply.code), [535, 535, 421]);
}

/// Who has logged in as one user sends as that user only.
#[test]
fn a_user_sends_as_nobody_else() {
    let stage = Play::default().start();
    for other in [
        "bob@example.com",
        "alice@else.example",
        "\"alice@example.com\"@else.example",
        "ALICE@EXAMPLE.ORG",
    ] {
        let mut wire = stage.submitting();
        let reply = wire.say(&format!("MAIL FROM:<{other}>"));
        assert_eq!(reply.class(), 5, "{other}: {reply:?}");
    }
    for from in [
        "Bob <bob@example.com>",
        "alice@example.com, bob@example.com",
        "=?utf-8?q?bob=40example.com?= <bob@example.com>",
    ] {
        let mut wire = stage.submitting();
        wire.expect(&[
            ("MAIL FROM:<alice@example.com>", 250),
            ("RCPT TO:<c@else.example>", 250),
            ("DATA", 354),
        ]);
        wire.send(format!("From: {from}\r\nSubject: x\r\n\r\nx\r\n").as_bytes());
        let reply = wire.say(".");
        assert_eq!(reply.class(), 5, "{from}: {reply:?}");
    }
}
