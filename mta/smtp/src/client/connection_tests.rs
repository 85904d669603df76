//! The client against a scripted peer.

use proptest::prelude::*;

use super::super::message::Recipient;
use super::*;
use crate::command::{BodyType, By, ByMode, Notify};

/// Plays a script: what the peer says each time we wait. Gives all that we sent, and the events of interest.
struct Play {
    connection: Connection,
    start_tls: bool,
    message: Option<Message>,
    body: Vec<u8>,
}

impl Play {
    fn smtp(message: Message, body: &[u8]) -> Self {
        Self {
            connection: Connection::new(Config::smtp("me.example")),
            start_tls: false,
            message: Some(message),
            body: body.to_vec(),
        }
    }

    fn lmtp(message: Message, body: &[u8]) -> Self {
        Self {
            connection: Connection::new(Config::lmtp("me.example")),
            ..Self::smtp(message, body)
        }
    }

    fn run(mut self, script: &[&str]) -> (String, Vec<Event>) {
        let mut script = script.iter();
        let (mut sent, mut events) = (Vec::new(), Vec::new());
        loop {
            let event = self.connection.poll();
            sent.extend(self.connection.take_output());
            match event {
                Event::NeedInput => match script.next() {
                    Some(said) => self.connection.feed(said.as_bytes()),
                    None => self.connection.closed(),
                },
                Event::StartTls => self.connection.tls_started(),
                Event::Ready if std::mem::take(&mut self.start_tls) => assert!(self.connection.start_tls()),
                Event::Ready => match self.message.take() {
                    Some(message) => self.connection.send(message).unwrap(),
                    None => self.connection.quit(),
                },
                Event::NeedBody => {
                    let (first, second) = self.body.split_at(self.body.len() / 2);
                    self.connection.body(first);
                    self.connection.body(second);
                    self.connection.body_end();
                }
                Event::Closed => break,
                event => events.push(event),
            }
        }
        (String::from_utf8(sent).unwrap(), events)
    }
}

fn message(to: &[&str], body: &[u8]) -> Message {
    let mut message = Message::new("a@b.example", body.len() as u64);
    message.recipients = to.iter().map(|to| Recipient::new(*to)).collect();
    message
}

fn codes(events: &[Event]) -> Vec<(Stage, u16)> {
    match events {
        [Event::Sent(outcomes)] => outcomes
            .iter()
            .map(|outcome| (outcome.stage, outcome.reply.code()))
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn failure(events: &[Event]) -> &Failure {
    match events {
        [.., Event::Failed(failure)] => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn our_address_is_read_where_the_peer_prints_one() {
    let printed = |greeting: &str, hello: &str| {
        let mut connection = Connection::new(Config::smtp("me.example"));
        connection.feed(greeting.as_bytes());
        while connection.poll() != Event::NeedInput {}
        connection.feed(hello.as_bytes());
        while connection.poll() != Event::Ready {}
        connection.our_address().map(|address| address.to_string())
    };
    let plain = "250-mx.example\r\n250 SIZE 5\r\n";
    for (greeting, hello, want) in [
        ("220 mx.example ESMTP\r\n", plain, None),
        (
            "220 mx.example ESMTP\r\n",
            "250-mx.example at your service, [192.0.2.1]\r\n250 SIZE 5\r\n",
            Some("192.0.2.1"),
        ),
        (
            "220 mx.example ESMTP\r\n",
            "250 mx.example Hello me.example [IPv6:2001:db8::1]. pleased\r\n",
            Some("2001:db8::1"),
        ),
        ("220 mx.example hello 192.0.2.2\r\n", plain, Some("192.0.2.2")),
        (
            "220 mx.example hello 192.0.2.2\r\n",
            "250 mx.example hello [192.0.2.3]\r\n",
            Some("192.0.2.3"),
        ),
        ("220 mx.example 192.0.2.2 greets 192.0.2.3\r\n", plain, None),
        // The name of the host is no word of the greeting.
        ("220 [192.0.2.9] ESMTP\r\n", "250 [192.0.2.9]\r\n", None),
        ("220 mx.example 8.12.11/8.12.11 1.2.3\r\n", plain, None),
    ] {
        assert_eq!(
            printed(greeting, hello).as_deref(),
            want,
            "{greeting:?} {hello:?}"
        );
    }
}

#[test]
fn one_command_at_a_time_without_pipelining() {
    let script = [
        "220 x\r\n",
        "502 what\r\n",
        "250 x\r\n",
        "250 ok\r\n",
        "250 ok\r\n",
        "550 5.1.1 no\r\n",
        "354 go\r\n",
        "250 2.0.0 as 1\r\n",
        "221 bye\r\n",
    ];
    let body = b".x\r\ny";
    let (sent, events) = Play::smtp(message(&["c@d", "e@f"], body), body).run(&script);
    assert_eq!(
        sent,
        "EHLO me.example\r\nHELO me.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\n\
         DATA\r\n..x\r\ny\r\n.\r\nQUIT\r\n"
    );
    assert_eq!(codes(&events), [(Stage::End, 250), (Stage::Rcpt, 550)]);
}

#[test]
fn pipelining_sends_the_envelope_in_one_flight() {
    let script = [
        "220 x\r\n",
        "250-x\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250 DSN\r\n",
        "250 ok\r\n450 later\r\n250 ok\r\n354 go\r\n",
        "451 4.3.0 later\r\n",
        "221 bye\r\n",
    ];
    let mut message = message(&["c@d", "e@f"], b"x\r\n");
    message.envid = Some("a b".into());
    message.ret = Some(crate::command::Ret::Headers);
    message.body = BodyType::EightBit;
    message.recipients[0].orcpt = Some("rfc822;c d".into());
    message.recipients[0].notify = Some(Notify::default());
    let (sent, events) = Play::smtp(message, b"x\r\n").run(&script);
    assert!(
        sent.contains(
            "MAIL FROM:<a@b.example> SIZE=3 BODY=8BITMIME RET=HDRS ENVID=a+20b\r\n\
             RCPT TO:<c@d> NOTIFY=NEVER ORCPT=rfc822;c+20d\r\nRCPT TO:<e@f>\r\nDATA\r\nx\r\n.\r\n"
        ),
        "{sent}"
    );
    assert_eq!(codes(&events), [(Stage::Rcpt, 450), (Stage::End, 451)]);
}

#[test]
fn a_small_message_goes_with_its_envelope_where_chunking_is_offered() {
    let script = [
        "220 x\r\n",
        "250-x\r\n250-PIPELINING\r\n250 CHUNKING\r\n",
        "250 ok\r\n250 ok\r\n250 2.0.0 stored\r\n",
        "221 bye\r\n",
    ];
    let (sent, events) = Play::smtp(message(&["c@d"], b".x\r\n"), b".x\r\n").run(&script);
    assert!(
        sent.contains("RCPT TO:<c@d>\r\nBDAT 4 LAST\r\n.x\r\nQUIT\r\n"),
        "{sent}"
    );
    assert_eq!(codes(&events), [(Stage::End, 250)]);
}

#[test]
fn a_large_message_waits_for_its_envelope() {
    let body = b"0123456\r\n".repeat(20_000);
    let script = [
        "220 x\r\n",
        "250-x\r\n250-PIPELINING\r\n250 CHUNKING\r\n",
        "250 ok\r\n550 no\r\n",
        "221 bye\r\n",
    ];
    let (sent, events) = Play::smtp(message(&["c@d"], &body), &body).run(&script);
    assert!(!sent.contains("BDAT"), "nobody takes it");
    assert_eq!(codes(&events), [(Stage::Rcpt, 550)]);
}

#[test]
fn an_envelope_refused_in_flight_is_refused_for_all() {
    for (offer, tail) in [
        ("DATA", "503 no\r\n"),
        ("DATA", "354 go\r\n554 none\r\n"),
        ("CHUNKING", "503 no\r\n"),
    ] {
        let hello = format!("250-x\r\n250-PIPELINING\r\n250 {offer}\r\n");
        let replies = format!("451 4.7.1 no\r\n503 x\r\n503 x\r\n{tail}");
        let script = ["220 x\r\n", hello.as_str(), replies.as_str(), "221 bye\r\n"];
        let (sent, events) = Play::smtp(message(&["c@d", "e@f"], b"x\r\n"), b"x\r\n").run(&script);
        assert_eq!(
            codes(&events),
            [(Stage::Mail, 451), (Stage::Mail, 451)],
            "{offer} {tail}"
        );
        assert_eq!(
            sent.contains("\r\nx\r\n"),
            offer == "CHUNKING",
            "a body only where it went along: {sent}"
        );
    }
}

#[test]
fn what_was_left_open_is_reset_before_the_next_message() {
    let mut connection = Connection::new(Config::smtp("me"));
    let step = |connection: &mut Connection, said: &str| {
        connection.feed(said.as_bytes());
        let event = connection.poll();
        (String::from_utf8(connection.take_output()).unwrap(), event)
    };
    step(&mut connection, "220 x\r\n");
    step(&mut connection, "250-x\r\n250 PIPELINING\r\n");
    connection.send(message(&["c@d"], b"")).unwrap();
    let (sent, event) = step(&mut connection, "250 ok\r\n550 no\r\n554 none\r\n");
    assert_eq!(sent, "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d>\r\nDATA\r\n");
    assert!(matches!(event, Event::Sent(_)));
    assert_eq!(connection.poll(), Event::Ready);
    connection.send(message(&["c@d"], b"")).unwrap();
    let (sent, _) = step(&mut connection, "");
    assert!(sent.starts_with("RSET\r\nMAIL FROM"), "{sent}");
    assert_eq!(connection.transactions(), 2);
}

#[test]
fn lmtp_answers_for_each_recipient() {
    for offer in ["PIPELINING", "CHUNKING"] {
        let hello = format!("250-x\r\n250-PIPELINING\r\n250 {offer}\r\n");
        let mut script = vec![
            "220 x\r\n",
            hello.as_str(),
            "250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n",
        ];
        script.extend((offer == "PIPELINING").then_some("354 go\r\n"));
        script.extend(["250 stored\r\n452 4.2.2 full\r\n", "221 bye\r\n"]);
        let (sent, events) = Play::lmtp(message(&["c@d", "e@f", "g@h"], b"x\r\n"), b"x\r\n").run(&script);
        assert!(sent.starts_with("LHLO me.example\r\n"));
        assert_eq!(
            codes(&events),
            [(Stage::End, 250), (Stage::Rcpt, 550), (Stage::End, 452)]
        );
    }
}

#[test]
fn lmtp_outcomes_survive_a_connection_that_breaks() {
    let script = [
        "220 x\r\n",
        "250-x\r\n250 PIPELINING\r\n",
        "250 ok\r\n250 ok\r\n250 ok\r\n",
        "354 go\r\n",
        "250 stored\r\n452",
    ];
    let (_, events) = Play::lmtp(message(&["c@d", "e@f"], b"x\r\n"), b"x\r\n").run(&script);
    let failure = failure(&events);
    assert_eq!(failure.error, Error::Closed { amid: true });
    assert!(
        failure.uncertain
            && failure.outcomes[0].as_ref().unwrap().is_delivered()
            && failure.outcomes[1].is_none()
    );
}

#[test]
fn tls_forgets_what_was_offered_in_clear() {
    let script = [
        "220 x\r\n",
        "250-x\r\n250-PIPELINING\r\n250 STARTTLS\r\n",
        "220 go\r\n",
        "250 x\r\n",
        "250 ok\r\n",
        "250 ok\r\n",
        "354 x\r\n",
        "250 x\r\n",
        "221 x\r\n",
    ];
    let play = Play {
        start_tls: true,
        ..Play::smtp(message(&["c@d"], b""), b"")
    };
    let (sent, events) = play.run(&script);
    assert!(
        sent.starts_with("EHLO me.example\r\nSTARTTLS\r\nEHLO me.example\r\nMAIL FROM:<a@b.example>\r\nRCPT"),
        "{sent}"
    );
    assert_eq!(codes(&events), [(Stage::End, 250)]);
}

#[test]
fn octets_behind_the_reply_to_starttls_are_an_attack() {
    for injected in [
        "220 go\r\n250-x\r\n250 PIPELINING\r\n",
        "220 go\r\n2",
        "220 go\r\n\r\n",
    ] {
        let play = Play {
            start_tls: true,
            ..Play::smtp(message(&["c@d"], b""), b"")
        };
        let (sent, events) = play.run(&["220 x\r\n", "250-x\r\n250 STARTTLS\r\n", injected]);
        assert_eq!(failure(&events).error, Error::Injection);
        assert!(sent.ends_with("STARTTLS\r\n"));
    }
}

#[test]
fn octets_fed_while_the_handshake_is_due_are_an_attack() {
    let mut connection = Connection::new(Config::smtp("me"));
    for said in ["220 x\r\n", "250-x\r\n250 STARTTLS\r\n"] {
        connection.feed(said.as_bytes());
        connection.poll();
    }
    assert!(connection.start_tls());
    connection.feed(b"220 go\r\n");
    assert_eq!(connection.poll(), Event::StartTls);
    connection.feed(b"250 x\r\n");
    connection.tls_started();
    assert!(matches!(
        connection.poll(),
        Event::Failed(Failure {
            error: Error::Injection,
            ..
        })
    ));
}

#[test]
fn refused_tls_is_told_and_the_connection_goes_on() {
    let play = Play {
        start_tls: true,
        ..Play::smtp(message(&["c@d"], b""), b"")
    };
    let script = [
        "220 x\r\n",
        "250-x\r\n250 STARTTLS\r\n",
        "454 4.7.0 not now\r\n",
        "250 ok\r\n",
        "550 no\r\n",
        "221 x\r\n",
    ];
    let (_, events) = play.run(&script);
    assert!(
        matches!(&events[..], [Event::TlsRefused(reply), Event::Sent(_)] if reply.code() == 454),
        "{events:?}"
    );
}

#[test]
fn what_ends_a_connection() {
    type Case<'a> = (&'a [&'a str], Stage, fn(&Error) -> bool);
    let cases: &[Case] = &[
        (&["554 no\r\n"], Stage::Greeting, |error| {
            matches!(error, Error::Refused(_))
        }),
        (&["250 hm\r\n"], Stage::Greeting, |error| {
            matches!(error, Error::OutOfPlace(_))
        }),
        (&["220 x\r\n", "450 no\r\n"], Stage::Hello, |error| {
            matches!(error, Error::Refused(_))
        }),
        (&["220 x\r\n250 early\r\n250 x\r\n"], Stage::Idle, |error| {
            *error == Error::Unasked
        }),
        (&["220 x\n"], Stage::Greeting, |error| {
            matches!(error, Error::Reply(_))
        }),
        (&[], Stage::Greeting, |error| {
            *error == Error::Closed { amid: false }
        }),
        (&["22"], Stage::Greeting, |error| {
            *error == Error::Closed { amid: true }
        }),
        (
            &["220 x\r\n", "250 x\r\n", "421 4.3.2 bye\r\n"],
            Stage::Mail,
            |error| matches!(error, Error::Refused(_)),
        ),
        (&["220 x\r\n", "250 x\r\n", "354 hm\r\n"], Stage::Mail, |error| {
            matches!(error, Error::OutOfPlace(_))
        }),
        (
            &["220 x\r\n", "250 x\r\n", "250 ok\r\n", "250 ok\r\n", "250 hm\r\n"],
            Stage::Data,
            |error| matches!(error, Error::OutOfPlace(_)),
        ),
        (
            &["220 x\r\n", "250 x\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n"],
            Stage::End,
            |error| *error == Error::Closed { amid: false },
        ),
    ];
    for (script, stage, is) in cases {
        let (_, events) = Play::smtp(message(&["c@d"], b"x\r\n"), b"x\r\n").run(script);
        let failure = failure(&events);
        assert!(is(&failure.error), "{script:?}: {:?}", failure.error);
        assert_eq!(failure.stage, *stage, "{script:?}");
        assert_eq!(failure.uncertain, *stage == Stage::End, "{script:?}");
    }
}

#[test]
fn replies_before_the_command_are_noticed() {
    let mut connection = Connection::new(Config::smtp("me"));
    for said in ["220 x\r\n", "250 x\r\n", ""] {
        connection.feed(said.as_bytes());
        connection.poll();
    }
    connection.feed(b"250 ok\r\n");
    assert_eq!(connection.send(message(&["c@d"], b"")), Err(Unsuited::NotReady));
    assert!(matches!(
        connection.poll(),
        Event::Failed(Failure {
            error: Error::Unasked,
            ..
        })
    ));
}

#[test]
fn messages_that_the_peer_cannot_take_are_never_begun() {
    let ready = |offer: &str| {
        let mut connection = Connection::new(Config::smtp("me"));
        for said in ["220 x\r\n", &format!("250-x\r\n250 {offer}\r\n")] {
            connection.feed(said.as_bytes());
            connection.poll();
        }
        connection.take_output();
        connection
    };
    let mut eight = message(&["c@d"], b"");
    eight.body = BodyType::EightBit;
    let mut utf8 = message(&["c@d"], b"");
    utf8.smtputf8 = true;
    for (offer, message, error) in [
        ("X", message(&[], b""), Unsuited::NoRecipient),
        ("X", message(&["ü@d"], b""), Unsuited::Smtputf8),
        ("X", utf8, Unsuited::Smtputf8),
        ("X", eight, Unsuited::EightBit),
        ("SIZE 3", message(&["c@d"], b"four"), Unsuited::TooLarge(3)),
        ("X", message(&["c@d>\r\nRCPT TO:<e@f"], b""), Unsuited::Address),
        ("X", message(&["c@d> X=<y@z"], b""), Unsuited::Address),
    ] {
        let mut connection = ready(offer);
        assert_eq!(connection.send(message), Err(error));
        assert!(connection.take_output().is_empty() && connection.poll() == Event::Ready);
    }
    let mut connection = ready("SMTPUTF8");
    connection.send(message(&["ü@d"], b"")).unwrap();
    assert!(connection.take_output().ends_with(b" SMTPUTF8\r\n"));
}

#[test]
fn a_body_that_smtp_cannot_carry_is_never_ended() {
    for (body, size, error) in [
        (&b"a\rb\r\n"[..], 5, Error::Body(crate::server::Fault::BareCr)),
        (b"a\nb\r\n", 5, Error::Body(crate::server::Fault::BareLf)),
        (b"a\0", 2, Error::Body(crate::server::Fault::Nul)),
        (b"a\r", 2, Error::Body(crate::server::Fault::BareCr)),
        (b"abc", 2, Error::Length),
        (b"abc", 4, Error::Length),
    ] {
        for offer in ["X", "CHUNKING"] {
            let mut message = message(&["c@d"], b"");
            message.size = size;
            let hello = format!("250-x\r\n250 {offer}\r\n");
            let script = [
                "220 x\r\n",
                hello.as_str(),
                "250 ok\r\n",
                "250 ok\r\n",
                "354 go\r\n",
            ];
            let (sent, events) = Play::smtp(message, body).run(&script);
            assert_eq!(failure(&events).error, error, "{body:?} {offer}");
            assert!(!sent.contains("\r\n.\r\n"), "{sent:?}");
        }
    }
}

#[test]
fn a_chunk_is_whole_only_once_its_end_is_said() {
    let mut connection = Connection::new(Config::smtp("me"));
    for said in ["220 x\r\n", "250-x\r\n250-PIPELINING\r\n250 CHUNKING\r\n"] {
        connection.feed(said.as_bytes());
        connection.poll();
    }
    connection.take_output();
    connection.send(message(&["c@d"], b"abc\r\n")).unwrap();
    connection.body(b"abc");
    connection.body(b"\r\n");
    connection.body(b"");
    assert!(
        connection.take_output().ends_with(b"BDAT 5 LAST\r\nabc\r"),
        "the peer has no message yet"
    );
    assert_eq!(connection.poll(), Event::NeedBody);
    connection.body_end();
    assert_eq!(connection.take_output(), b"\n");
}

#[test]
fn a_peer_that_floods_us_is_cut_off() {
    let mut connection = Connection::new(Config::smtp("me"));
    connection.feed(&b"220-x\r\n".repeat(100_000));
    assert!(matches!(connection.poll(), Event::Failed(_)));
    assert_eq!(connection.poll(), Event::Closed);
}

/// Lets a peer say this, in these pieces; gives what we sent and what happened.
fn observe(lmtp: bool, pieces: &[&str]) -> (String, Vec<Event>) {
    let body = b"Subject: x\r\n\r\n.\r\n";
    let message = message(&["c@d", "e@f"], body);
    let play = if lmtp {
        Play::lmtp(message, body)
    } else {
        Play::smtp(message, body)
    };
    play.run(pieces)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_peer_makes_it_panic_or_say_that_what_was_refused_is_delivered(
        replies in proptest::collection::vec(proptest::sample::select(vec![
            "220 x\r\n", "250 x\r\n", "250-x\r\n250-PIPELINING\r\n250 CHUNKING\r\n", "250-x\r\n250 PIPELINING\r\n", "354 go\r\n",
            "250-x\r\n250 STARTTLS\r\n", "421 x\r\n", "450 x\r\n", "550 5.1.1 x\r\n", "999 x\r\n", "2", "\r", "\n", "250-x\r\n",
        ]), 0..14),
        lmtp in any::<bool>(),
    ) {
        let positive = replies.iter().filter(|reply| reply.contains("250 ")).count();
        let (_, events) = observe(lmtp, &replies);
        for event in events {
            if let Event::Sent(outcomes) = event {
                let delivered = outcomes.iter().filter(|outcome| outcome.is_delivered()).count();
                // Greeting aside: EHLO, MAIL, each RCPT and each message need a reply of their own.
                prop_assert!(delivered == 0 || positive >= 4, "{replies:?}");
            }
        }
    }

    #[test]
    fn pieces_of_a_reply_do_not_matter(at in 0_usize..60) {
        let hello = "250-mx.example.org greets\r\n250-PIPELINING\r\n250 8BITMIME\r\n";
        let at = at.min(hello.len());
        let tail = ["250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n", "250 stored\r\n", "221 bye\r\n"];
        let whole = observe(false, &[&["220 x\r\n", hello], tail.as_slice()].concat());
        let split = observe(false, &[&["220 x\r\n", &hello[..at], &hello[at..]], tail.as_slice()].concat());
        prop_assert_eq!(whole, split);
    }
}

/// What is sent to a peer that offers this, with TLS or without; or why it is not sent at all.
fn offered(message: Message, lmtp: bool, tls: bool, offer: &str) -> Result<String, Unsuited> {
    let config = if lmtp {
        Config::lmtp("me.example")
    } else {
        Config::smtp("me.example")
    };
    let mut connection = Connection::new(config);
    if tls {
        connection.tls_from_start();
    }
    connection.feed(b"220 mx\r\n");
    assert_eq!(connection.poll(), Event::NeedInput);
    connection.feed(format!("250-mx\r\n250 {offer}\r\n").as_bytes());
    assert_eq!(connection.poll(), Event::Ready);
    connection.take_output();
    connection.send(message)?;
    Ok(String::from_utf8_lossy(&connection.take_output()).into_owned())
}

#[test]
fn requiretls_goes_where_it_is_offered_inside_tls_and_nowhere_else() {
    let mut wanted = message(&["b@c.example"], b"x");
    wanted.require_tls = true;
    for (tls, offer, want) in [
        (
            true,
            "REQUIRETLS",
            Ok("MAIL FROM:<a@b.example> REQUIRETLS\r\n".to_owned()),
        ),
        (true, "DSN", Err(Unsuited::RequireTls)),
        (false, "REQUIRETLS", Err(Unsuited::RequireTls)),
    ] {
        assert_eq!(offered(wanted.clone(), false, tls, offer), want, "{tls} {offer}");
    }
    wanted.require_tls = false;
    assert_eq!(
        offered(wanted, false, true, "REQUIRETLS").unwrap(),
        "MAIL FROM:<a@b.example>\r\n"
    );
}

#[test]
fn a_time_is_passed_on_and_a_return_is_promised_or_not_sent() {
    let mut wanted = message(&["b@c.example"], b"x");
    let line = |by: &str| Ok(format!("MAIL FROM:<a@b.example>{by}\r\n"));
    for (seconds, mode, lmtp, offer, want) in [
        (5, ByMode::Return, false, "DELIVERBY", line(" BY=5;R")),
        (5, ByMode::Return, false, "DELIVERBY 5", line(" BY=5;R")),
        (4, ByMode::Return, false, "DELIVERBY 5", Err(Unsuited::TooLate)),
        (0, ByMode::Return, false, "DELIVERBY", Err(Unsuited::TooLate)),
        (5, ByMode::Return, false, "DSN", Err(Unsuited::DeliverBy)),
        (5, ByMode::Return, true, "DSN", line("")),
        (-1, ByMode::Return, true, "DSN", Err(Unsuited::TooLate)),
        (-1, ByMode::Notify, false, "DELIVERBY 5", line(" BY=-1;N")),
        (5, ByMode::Notify, false, "DSN", line("")),
    ] {
        wanted.by = Some(By {
            seconds,
            mode,
            trace: false,
        });
        assert_eq!(
            offered(wanted.clone(), lmtp, true, offer),
            want,
            "{seconds} {mode:?} {lmtp} {offer}"
        );
    }
}
