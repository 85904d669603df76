//! A filter that follows a script, against the client: every reply at every stage, and filters that are broken.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test")]

use postroad_filter::header::Section;
use postroad_filter::milter::{Client, Event, Packet, Packets, Wait};
use postroad_filter::{Answer, Change, Login, Malformed, Message, Verdict};
use proptest::prelude::*;

const BODY: &[u8] = b"one\r\ntwo\r\n";

fn message() -> Message {
    Message {
        hostname: "mail.example.com".into(),
        port_name: "smtp".into(),
        queue_id: "Q1".into(),
        client: "2001:db8::1".parse().unwrap(),
        client_port: 4_000,
        helo: "client.example".into(),
        tls: None,
        login: Some(Login { user: "ann".into() }),
        reverse_path: "ann@client.example".into(),
        eight_bit: true,
        smtputf8: false,
        recipients: vec!["bob@example.com".into(), "carol@example.com".into()],
        header: Section::parse(b"From: ann@client.example\r\nSubject: a\r\n\tb\r\n"),
        body: BODY.len() as u64,
    }
}

fn packet(command: u8, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(1 + data.len()).unwrap();
    [&length.to_be_bytes()[..], &[command], data].concat()
}

fn options(actions: u32, steps: u32) -> Vec<u8> {
    packet(b'O', &[6, actions, steps].map(u32::to_be_bytes).concat())
}

/// What came of asking.
#[derive(Debug, Default, PartialEq)]
struct Asked {
    /// Commands, without macros.
    commands: Vec<Packet>,
    macros: Vec<Packet>,
    body: Vec<u8>,
    outcome: Option<Result<(Answer, bool), Malformed>>,
}

/// Asks a filter that says `replies(command)` to each command; what it says comes in pieces of that size. No outcome: it waits
/// for something that never comes.
fn ask(message: Message, piece: usize, mut replies: impl FnMut(u8) -> Vec<u8>) -> Asked {
    let mut client = Client::new(message);
    let (mut asked, mut seen) = (Asked::default(), Packets::new());
    let (mut waiting, mut body) = (Vec::new(), BODY.chunks(4));
    for _ in 0..100_000 {
        match client.poll() {
            Ok(Event::Send(octets)) => {
                seen.feed(&octets);
                while let Some(packet) = seen.take().unwrap() {
                    if packet.command == b'D' {
                        asked.macros.push(packet);
                    } else {
                        waiting.extend(replies(packet.command));
                        asked.commands.push(packet);
                    }
                }
                assert!(seen.is_empty(), "half a packet was sent");
            }
            Ok(Event::NeedInput(_)) if waiting.is_empty() => return asked,
            Ok(Event::NeedInput(_)) => {
                let rest = waiting.split_off(piece.min(waiting.len()));
                client.feed(&waiting);
                waiting = rest;
            }
            Ok(Event::NeedBody) => client.give_body(body.next().unwrap_or_default()),
            Ok(Event::Body(octets)) => asked.body.extend(octets),
            Ok(Event::Done { answer, new_body }) => {
                asked.outcome = Some(Ok((answer, new_body)));
                return asked;
            }
            Err(error) => {
                asked.outcome = Some(Err(error));
                return asked;
            }
        }
    }
    panic!("it never ends");
}

fn names(asked: &Asked) -> String {
    asked
        .commands
        .iter()
        .map(|packet| char::from(packet.command))
        .collect()
}

const ALL: u32 = 0x1ff;

/// Continues everything, but says this to that command.
fn but(at: u8, said: &[u8]) -> impl FnMut(u8) -> Vec<u8> {
    let said = said.to_vec();
    move |command| match command {
        command if command == at => said.clone(),
        b'O' => options(ALL, 0x10_0400),
        _ => packet(b'c', &[]),
    }
}

#[test]
fn a_filter_hears_everything_in_order() {
    let asked = ask(message(), 7, but(b'?', b""));
    assert_eq!(names(&asked), "OCHMRRTLLNBBBE");
    let data = |number: usize| asked.commands[number].data.as_slice();
    assert_eq!(data(1), b"[IPv6:2001:db8::1]\x006\x0f\xa02001:db8::1\0");
    assert_eq!(data(2), b"client.example\0");
    assert_eq!(data(3), b"<ann@client.example>\0BODY=8BITMIME\0");
    assert_eq!(data(4), b"<bob@example.com>\0");
    assert_eq!(data(8), b"Subject\0 a\n\tb\0");
    let body: Vec<u8> = asked.commands[10..13]
        .iter()
        .flat_map(|packet| packet.data.clone())
        .collect();
    assert_eq!(body, BODY);
    let mail = asked.macros.iter().find(|packet| packet.data[0] == b'M').unwrap();
    assert_eq!(
        mail.data,
        b"Mi\0Q1\0{auth_type}\0LOGIN\0{auth_authen}\0ann\0{mail_addr}\0ann@client.example\0{mail_host}\0client.example\0{mail_mailer}\0esmtp\0"
    );
    assert_eq!(asked.outcome, Some(Ok((Answer::only(Verdict::Accept), false))));
}

#[test]
fn the_space_behind_the_colon_is_for_filters_that_want_it() {
    let asked = ask(message(), 99, |command| match command {
        b'O' => options(0, 0),
        _ => packet(b'c', &[]),
    });
    assert_eq!(asked.commands[8].data, b"Subject\0a\n\tb\0");
}

#[test]
fn steps_that_a_filter_does_without_are_left_out_and_silent_ones_are_not_waited_for() {
    for (steps, want) in [
        (0x01, "OHMRRTLLNBBBE"),
        (0x02, "OCMRRTLLNBBBE"),
        (0x04, "OCHRRTLLNBBBE"),
        (0x08, "OCHMTLLNBBBE"),
        (0x10, "OCHMRRTLLNE"),
        (0x20, "OCHMRRTNBBBE"),
        (0x40, "OCHMRRTLLBBBE"),
        (0x200, "OCHMRRLLNBBBE"),
        (0x27f, "OE"),
    ] {
        let asked = ask(message(), 99, |command| match command {
            b'O' => options(ALL, steps),
            _ => packet(b'c', &[]),
        });
        assert_eq!(names(&asked), want, "{steps:x}");
        assert!(asked.outcome.unwrap().is_ok());
    }
    let silent = 0x0d_f080;
    let asked = ask(message(), 99, |command| match command {
        b'O' => options(ALL, silent),
        b'E' => packet(b'c', &[]),
        _ => Vec::new(),
    });
    assert_eq!(names(&asked), "OCHMRRTLLNBBBE");
    assert!(asked.outcome.unwrap().is_ok());
}

#[test]
fn a_filter_chooses_its_macros() {
    let mut list = [6, ALL, 0].map(u32::to_be_bytes).concat();
    list.extend(b"\0\0\0\x05{auth_authen} i {unknown}\0");
    let asked = ask(message(), 99, |command| match command {
        b'O' => packet(b'O', &list),
        _ => packet(b'c', &[]),
    });
    let of_the_end = asked.macros.last().unwrap();
    assert_eq!(of_the_end.data, b"E{auth_authen}\0ann\0i\0Q1\0");
}

#[test]
fn an_old_filter_is_not_told_of_data() {
    let asked = ask(message(), 99, |command| match command {
        b'O' => packet(b'O', &[2, 0x3f, 0].map(u32::to_be_bytes).concat()),
        _ => packet(b'c', &[]),
    });
    assert_eq!(names(&asked), "OCHMRRLLNBBBE");
}

/// What a verdict comes to.
fn code(asked: &Asked) -> Option<u16> {
    match &asked.outcome {
        Some(Ok((answer, _))) => Some(match &answer.verdict {
            Verdict::Accept => 250,
            Verdict::Discard => 0,
            Verdict::Refuse(refusal) => refusal.code,
        }),
        _ => None,
    }
}

#[test]
fn every_verdict_at_every_stage_is_taken() {
    for stage in *b"CHMRTLNBE" {
        for (command, data, want) in [
            (b'a', &b""[..], 250),
            (b'r', b"", 550),
            (b't', b"", 451),
            (b'd', b"", 0),
            (b'y', b"554 5.7.26 no\0", 554),
            (b'y', b"450 later\0", 450),
        ] {
            for piece in [1, 3, 99] {
                let asked = ask(message(), piece, but(stage, &packet(command, data)));
                let at = (char::from(stage), char::from(command));
                assert_eq!(code(&asked), Some(want), "{at:?}");
                assert_eq!(asked.commands.last().unwrap().command, stage, "{at:?}");
            }
        }
        let slow = [packet(b'p', &[]), packet(b'p', &[]), packet(b'c', &[])].concat();
        assert_eq!(
            code(&ask(message(), 99, but(stage, &slow))),
            Some(250),
            "progress"
        );
    }
}

#[test]
fn what_a_filter_may_not_say_at_a_stage_is_an_error() {
    for stage in *b"CHMRTLNBE" {
        let mut wrong = vec![
            (options(0, 0), "options twice"),
            (packet(b'z', &[]), "unknown"),
            (packet(b'f', &[]), "unable"),
            (packet(b'c', b"x"), "data"),
            (vec![0, 0, 0, 0], "empty"),
            (vec![0x7f, 0, 0, 0, b'c'], "long"),
        ];
        if stage != b'B' {
            wrong.push((packet(b's', &[]), "skip"));
        }
        if stage != b'E' {
            wrong.push((packet(b'h', b"X\0y\0"), "a change before the end"));
            wrong.push((packet(b'b', b"body"), "a body before the end"));
            wrong.push((packet(b'q', b"odd\0"), "a quarantine before the end"));
            let twice = [packet(b'c', &[]), packet(b'c', &[])].concat();
            wrong.push((twice, "an answer too many"));
        }
        for (said, what) in wrong {
            let asked = ask(message(), 99, but(stage, &said));
            assert!(
                matches!(asked.outcome, Some(Err(_))),
                "{} {what}: {asked:?}",
                char::from(stage)
            );
        }
    }
    for said in [
        packet(b'c', &[]),
        options(0x400, 0),
        options(0, 0x800),
        packet(b'O', b"short"),
    ] {
        let asked = ask(message(), 99, but(b'O', &said));
        assert!(matches!(asked.outcome, Some(Err(_))), "{said:?}");
    }
}

#[test]
fn the_rest_of_a_body_may_be_skipped() {
    let asked = ask(message(), 99, but(b'B', &packet(b's', &[])));
    assert_eq!(names(&asked), "OCHMRRTLLNBE");
    let unagreed = ask(message(), 99, |command| match command {
        b'O' => options(ALL, 0),
        b'B' => packet(b's', &[]),
        _ => packet(b'c', &[]),
    });
    assert!(matches!(unagreed.outcome, Some(Err(_))));
}

/// Each change: what it is agreed on by, its packet.
fn all_changes() -> Vec<(u32, Vec<u8>)> {
    vec![
        (0x01, packet(b'h', b"X-A\0 1\0")),
        (0x01, packet(b'i', b"\0\0\0\0X-B\0 2\0")),
        (0x10, packet(b'm', b"\0\0\0\x01Subject\0 c\0")),
        (0x10, packet(b'm', b"\0\0\0\x01From\0\0")),
        (0x40, packet(b'e', b"<x@y>\0")),
        (0x04, packet(b'+', b"<d@example.com>\0")),
        (0x80, packet(b'2', b"<e@example.com>\0NOTIFY=NEVER\0")),
        (0x08, packet(b'-', b"<bob@example.com>\0")),
        (0x02, packet(b'b', b"new ")),
        (0x02, packet(b'b', b"body")),
        (0x20, packet(b'q', b"odd\0")),
    ]
}

#[test]
fn changes_come_out_with_the_verdict_in_their_order() {
    let mut said: Vec<u8> = all_changes().into_iter().flat_map(|(_, packet)| packet).collect();
    said.extend(packet(b'a', &[]));
    for piece in [1, 2, 1_000] {
        let asked = ask(message(), piece, but(b'E', &said));
        assert_eq!(asked.body, b"new body");
        let Some(Ok((answer, true))) = asked.outcome else {
            panic!("{asked:?}")
        };
        assert_eq!(answer.quarantine.as_deref(), Some("odd"));
        assert_eq!(answer.changes.len(), 8);
        assert_eq!(
            answer.changes[0],
            Change::Add {
                name: "X-A".into(),
                value: b" 1".to_vec()
            }
        );
        assert_eq!(
            answer.changes[7],
            Change::RemoveRecipient("bob@example.com".into())
        );
    }
}

#[test]
fn changes_that_were_not_agreed_on_are_errors() {
    for (needs, change) in all_changes() {
        let said = [change, packet(b'c', &[])].concat();
        let asked = ask(message(), 99, |command| match command {
            b'O' => options(ALL & !needs & if needs == 0x80 { !0x04 } else { !0 }, 0x10_0000),
            b'E' => said.clone(),
            _ => packet(b'c', &[]),
        });
        let may = needs == 0x04;
        // Recipients may be added by either way of saying it.
        assert_eq!(matches!(asked.outcome, Some(Err(_))), !may, "{needs:x} {asked:?}");
    }
}

#[test]
fn a_message_that_is_refused_after_all_is_not_changed() {
    let mut said: Vec<u8> = all_changes().into_iter().flat_map(|(_, packet)| packet).collect();
    said.extend(packet(b'r', &[]));
    let asked = ask(message(), 99, but(b'E', &said));
    assert_eq!(asked.outcome, Some(Ok((Answer::reject(), false))));
}

#[test]
fn changes_are_bounded_in_number_and_octets() {
    let small = packet(b'h', b"X\0y\0").repeat(1_001);
    let large = packet(b'h', &[b"X\0", &vec![b'y'; 100_000][..], b"\0"].concat()).repeat(11);
    for said in [small, large] {
        let asked = ask(
            message(),
            64 << 10,
            but(b'E', &[said, packet(b'c', &[])].concat()),
        );
        assert!(matches!(asked.outcome, Some(Err(_))));
    }
}

/// Everything that a good filter says, in the order in which it says it.
fn whole_answer() -> Vec<(u8, Vec<u8>)> {
    let mut last: Vec<u8> = all_changes().into_iter().flat_map(|(_, packet)| packet).collect();
    last.extend(packet(b'c', &[]));
    b"OCHMRTLNB"
        .iter()
        .map(|stage| {
            (
                *stage,
                if *stage == b'O' {
                    options(ALL, 0x10_0400)
                } else {
                    packet(b'c', &[])
                },
            )
        })
        .chain([(b'E', last)])
        .collect()
}

#[test]
fn an_answer_that_is_cut_anywhere_is_waited_for_and_never_taken() {
    for (stage, said) in whole_answer() {
        for cut in 0..said.len() {
            let asked = ask(message(), 99, but(stage, &said[..cut]));
            assert_eq!(asked.outcome, None, "{} cut at {cut}", char::from(stage));
        }
    }
}

#[test]
fn verdicts_have_their_own_patience() {
    let mut client = Client::new(Message { body: 0, ..message() });
    let mut waits = Vec::new();
    loop {
        match client.poll().unwrap() {
            Event::Send(octets) => {
                let says = if octets[4] == b'O' {
                    options(0, 0x27f)
                } else {
                    vec![]
                };
                client.feed(&says);
            }
            Event::NeedInput(wait) => {
                waits.push(wait);
                break;
            }
            event => panic!("{event:?}"),
        }
    }
    assert_eq!(waits, [Wait::Verdict]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_octets_of_a_filter_do_harm(noise in prop::collection::vec(any::<u8>(), 0..400), at in 0_usize..10, piece in 1_usize..50) {
        let stage = b"OCHMRTLNBE"[at];
        let asked = ask(message(), piece, but(stage, &noise));
        judge(&asked);
    }

    #[test]
    fn a_good_answer_with_wrong_octets_is_an_error_or_a_sound_answer(at in 0_usize..300, octet: u8, piece in 1_usize..50) {
        let (_, mut said) = whole_answer().pop().unwrap();
        let place = at % said.len();
        said[place] = octet;
        judge(&ask(message(), piece, but(b'E', &said)));
    }

    #[test]
    fn packets_of_any_kind_and_data_do_no_harm(
        packets in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..30)), 0..20),
        piece in 1_usize..50,
    ) {
        let said: Vec<u8> = packets.iter().flat_map(|(command, data)| packet(*command, data)).collect();
        judge(&ask(message(), piece, but(b'E', &said)));
    }
}

/// Whatever came, nothing of it can harm a header, an envelope or a reply.
fn judge(asked: &Asked) {
    let Some(Ok((answer, _))) = &asked.outcome else {
        return;
    };
    if let Verdict::Refuse(refusal) = &answer.verdict {
        assert!((400..600).contains(&refusal.code));
        assert!(refusal.text.bytes().all(|octet| matches!(octet, b' '..=b'~')));
    }
    assert!(answer.verdict == Verdict::Accept || answer.changes.is_empty());
    let mut header = message().header;
    let before = header.fields().len();
    let mut added = 0;
    for change in &answer.changes {
        added += usize::from(matches!(
            change,
            Change::Add { .. } | Change::Insert { .. } | Change::Replace { .. }
        ));
        header.apply(change);
    }
    let again = Section::parse(&header.write());
    assert_eq!(again, header, "a value is more than one field");
    assert!(again.fields().len() <= before + added);
}
