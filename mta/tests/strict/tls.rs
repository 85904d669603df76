//! Where plain text meets TLS.

use std::sync::Arc;

use rustls::ClientConfig;

use crate::sink::{Kind, Sink};
use crate::stage::{PASSWORD, Play, free_port, plain};
use crate::wire::{Wire, client_config};

/// CVE-2011-0411 and its like: what came in clear behind STARTTLS is never run under TLS.
#[test]
fn octets_behind_starttls_are_dropped() {
    let store = Sink::lmtp();
    let mut stage = Play {
        store: Some(store.address),
        ..Play::default()
    }
    .start();
    let injected =
        "EHLO evil\r\nMAIL FROM:<evil@else.example>\r\nRCPT TO:<alice@example.com>\r\nDATA\r\nevil\r\n.\r\n";
    let mut wire = stage.wire();
    wire.send(format!("STARTTLS\r\n{injected}").as_bytes());
    assert_eq!(wire.reply().code, 220);
    wire.handshake(&stage.chain);
    // The injected EHLO was not heard.
    wire.expect(&[
        ("MAIL FROM:<a@else.example>", 503),
        ("EHLO client.example", 250),
        ("QUIT", 221),
    ]);
    stage.is_well();
    assert!(store.wait_for(1).iter().all(|taken| !taken.mail.contains("evil")));
}

#[test]
fn a_login_does_not_survive_the_way_into_tls() {
    let stage = Play::default().start();
    let mut wire = Wire::ready(stage.submission);
    wire.send(
        format!(
            "STARTTLS\r\nEHLO x\r\nAUTH PLAIN {}\r\n",
            plain("alice", PASSWORD)
        )
        .as_bytes(),
    );
    assert_eq!(wire.reply().code, 220);
    wire.handshake(&stage.chain);
    wire.expect(&[
        ("EHLO client.example", 250),
        ("MAIL FROM:<alice@example.com>", 530),
    ]);
}

/// TLS ends in the midst of a chunk or of data, and plain text follows on the same socket: it is not read, and the
/// message never was.
#[test]
fn the_end_of_tls_ends_the_session() {
    let store = Sink::lmtp();
    let mut stage = Play {
        store: Some(store.address),
        ..Play::default()
    }
    .start();
    for begin in [
        "BDAT 200 LAST\r\nSubject: dead letter\r\n",
        "BDAT 5\r\nabc",
        "DATA\r\nSubject: dead letter\r\n",
        "NOO",
    ] {
        let mut wire = stage.wire().secure(&stage.chain);
        wire.expect(&[
            ("MAIL FROM:<evil@else.example>", 250),
            ("RCPT TO:<alice@example.com>", 250),
        ]);
        wire.send(begin.as_bytes());
        wire.end_tls();
        wire.send(format!("{}\r\n.\r\nRSET\r\n", "x".repeat(300)).as_bytes());
        wire.half_close();
    }
    stage.is_well();
    assert!(store.wait_for(1).iter().all(|taken| !taken.mail.contains("evil")));
}

/// A record that is no TLS ends the session as well.
#[test]
fn what_is_no_handshake_ends_the_session() {
    let mut stage = Play::default().start();
    let mut wire = stage.wire();
    wire.expect(&[("STARTTLS", 220)]);
    wire.send(b"EHLO x\r\nMAIL FROM:<evil@else.example>\r\n");
    wire.half_close();
    stage.is_well();
}

/// A session of one service is resumed at no other (Postfix, August 2026: tickets mixed up between services).
#[test]
fn a_ticket_of_one_service_is_nothing_to_another() {
    let implicit = free_port();
    let stage = Play {
        ports: format!("  - {{name: submissions, address: '{implicit}', role: Submission, tls: Implicit}}\n"),
        ..Play::default()
    }
    .start();
    let starttls = |address| {
        let mut wire = Wire::ready(address);
        assert_eq!(wire.say("STARTTLS").code, 220);
        wire
    };
    let services: [(&str, &dyn Fn() -> Wire); 3] = [
        ("25", &|| starttls(stage.transfer)),
        ("587", &|| starttls(stage.submission)),
        ("465", &|| Wire::connect(implicit)),
    ];
    let resumed = |config: &Arc<ClientConfig>, connect: &dyn Fn() -> Wire| {
        let mut wire = connect();
        wire.handshake_with(Arc::clone(config));
        // Tickets of TLS 1.3 come behind the handshake, with the first reply.
        if wire.say("EHLO client.example").code == 220 {
            assert_eq!(wire.reply().code, 250);
        }
        wire.is_resumed()
    };
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (first, at_first) in services {
            for (second, at_second) in services {
                let config = client_config(&stage.chain, &[version]);
                assert!(!resumed(&config, at_first));
                assert_eq!(
                    resumed(&config, at_second),
                    first == second,
                    "{version:?}: of {first} at {second}"
                );
            }
        }
    }
}

/// A promise that the next hop does not make (RFC 8689, RFC 2852): not an octet of the message goes there, and its sender
/// hears why.
#[test]
fn what_was_promised_is_kept_or_comes_back() {
    for (parameter, status) in [("REQUIRETLS", "5.7.10"), ("BY=600;R", "5.4.7")] {
        let store = Sink::lmtp();
        let hop = Sink::start(Kind {
            lmtp: false,
            chunking: false,
        });
        let stage = Play {
            store: Some(store.address),
            relay: Some(hop.address),
            ..Play::default()
        }
        .start();
        let mut wire = stage.submitting();
        wire.expect(&[
            (&format!("MAIL FROM:<alice@example.com> {parameter}"), 250),
            ("RCPT TO:<x@else.example>", 250),
            ("DATA", 354),
        ]);
        wire.send(b"From: alice@example.com\r\nSubject: x\r\n\r\nsecret\r\n.\r\n");
        assert_eq!(wire.reply().code, 250, "{parameter}");
        let notice = store.wait_for(1).remove(0);
        let text = String::from_utf8(notice.body).unwrap();
        assert!(
            text.contains(&format!("\nStatus: {status}\r\n")),
            "{parameter}: {text}"
        );
        assert_eq!(text.contains("secret"), parameter != "REQUIRETLS", "{text}");
        assert!(hop.taken().is_empty(), "{parameter}");
    }
}
