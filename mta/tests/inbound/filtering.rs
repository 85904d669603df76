//! A milter is asked about a message that is complete, before it is stored and before its 250; what it wants is done.

use postroad_verify::dkim::Algorithm;

use crate::client::Reply;
use crate::milter::{Act, Milter, Shifting, but, changing, options, packet, section};
use crate::signing::{KeyRing, logged_in, newest, play};
use crate::stage::{DOMAINS, MAIL, Play, Stage};

pub const ENVELOPE: &[(&str, u16)] = &[
    ("EHLO client.example", 250),
    ("MAIL FROM:<carol@else.example>", 250),
    ("RCPT TO:<alice@example.com>", 250),
    ("RCPT TO:<sales@example.com>", 250),
];

pub async fn stage(more: String) -> Stage {
    Play {
        more,
        ..Play::default()
    }
    .start()
    .await
}

/// Brings one message in a session of its own.
pub async fn bring(stage: &Stage, message: &str) -> Reply {
    let mut client = stage.smtp().await;
    client.expect(ENVELOPE).await;
    client.data(message).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verdict_at_every_stage_is_the_reply_to_the_message() {
    let (script, milter) = Shifting::milter().await;
    let stage = stage(milter.section("")).await;
    let mut client = stage.smtp().await;
    let mut stored = 0;
    client.expect(&ENVELOPE[..1]).await;
    for stage_of in *b"CHMRTLNBE" {
        for (said, code, text) in [
            (packet(b'a', &[]), 250, "queued as"),
            (packet(b'r', &[]), 550, "5.7.1 Refused by a filter"),
            (packet(b't', &[]), 451, "4.7.1 Refused by a filter for now"),
            (packet(b'd', &[]), 250, "2.0.0 accepted"),
            (
                packet(b'y', b"554 5.7.26 not 100%% good\0"),
                554,
                "5.7.26 not 100% good",
            ),
            (packet(b'y', b"421 4.3.2 later\0"), 451, "4.3.2 later"),
            ([packet(b'p', &[]), packet(b'c', &[])].concat(), 250, "queued as"),
        ] {
            let at = format!("{} {said:?}", char::from(stage_of));
            script.to(stage_of, Act::Say(said));
            let asked = milter.letters().matches('O').count();
            client.expect(&ENVELOPE[1..]).await;
            let reply = client.data(MAIL).await;
            assert!(reply.code == code && reply.has(text), "{at}: {reply:?}");
            stored += usize::from(text == "queued as");
            assert_eq!(stage.entries().len(), stored, "{at}");
            // Nothing of the transaction stays, and the next message is asked about as well.
            assert_eq!(client.say("RCPT TO:<alice@example.com>").await.code, 503, "{at}");
            assert_eq!(milter.letters().matches('O').count(), asked + 1, "{at}");
        }
        // Refusals are errors of the session; too many of them would end it.
        client = stage.smtp().await;
        client.expect(&ENVELOPE[..1]).await;
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_hears_who_sends_to_whom_and_every_octet_of_the_message() {
    let milter = Milter::serve(changing(&[])).await;
    let stage = stage(milter.section("")).await;
    assert_eq!(bring(&stage, MAIL).await.code, 250);
    assert_eq!(milter.letters(), "OCHMRRTLLNBEQ");
    let heard = milter.heard();
    let data = |number: usize| heard[number].1.as_slice();
    assert!(data(1).starts_with(b"[127.0.0.1]\x004") && data(1).ends_with(b"127.0.0.1\0"));
    assert_eq!(data(2), b"client.example\0");
    assert_eq!(data(3), b"<carol@else.example>\0");
    // As it was asked for, not what stands behind the alias.
    assert_eq!(data(5), b"<sales@example.com>\0");
    assert_eq!(data(7), b"From\0Carol <carol@else.example>\0");
    assert_eq!(data(10), b"Hello\r\n");
    let (message, body) = stage.only().await;
    let prefix = String::from_utf8(message.item.prefix).unwrap();
    assert!((prefix + &body).ends_with(MAIL), "it is stored as it came");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_wants_changed_is_changed() {
    let milter = Milter::serve(changing(&[
        packet(b'h', b"X-Last\0yes\0"),
        packet(b'i', b"\0\0\0\x01X-First\0a\n b\0"),
        packet(b'm', b"\0\0\0\x01Subject\0another\0"),
        packet(b'm', b"\0\0\0\x01X-Gone\0\0"),
        packet(b'e', b"<bounce@else.example>\0"),
        packet(b'+', b"<dave@else.example>\0"),
        packet(b'-', b"<sales@example.com>\0"),
        packet(b'b', b"A new "),
        packet(b'b', b"body\r\n"),
    ]))
    .await;
    let stage = stage(milter.section("")).await;
    let mail = format!("X-Gone: 1\r\nX-Gone: 2\r\n{MAIL}");
    assert_eq!(bring(&stage, &mail).await.code, 250);
    let (message, body) = stage.only().await;
    let prefix = String::from_utf8(message.item.prefix).unwrap();
    let (trace, header) = prefix.split_once("X-First:").unwrap();
    assert!(
        trace.ends_with("+0000\r\n"),
        "our own fields stay on top: {trace}"
    );
    assert_eq!(
        header,
        " a\r\n b\r\nX-Gone: 2\r\nFrom: Carol <carol@else.example>\r\nSubject: another\r\nX-Last: yes\r\n\r\n"
    );
    assert_eq!(body, "A new body\r\n");
    let envelope = message.item.envelope;
    assert_eq!(envelope.reverse_path, "bounce@else.example");
    let to: Vec<_> = envelope
        .recipients
        .iter()
        .map(|to| to.forward_path.as_str())
        .collect();
    assert_eq!(to, ["alice@example.com", "dave@else.example"]);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarantined_message_is_stored_and_held() {
    let milter = Milter::serve(changing(&[packet(b'q', b"odd\0")])).await;
    let stage = stage(milter.section("")).await;
    assert_eq!(bring(&stage, MAIL).await.code, 250);
    let (message, _) = stage.only().await;
    assert!(
        message
            .item
            .recipients
            .iter()
            .all(|recipient| recipient.next_attempt == u64::MAX),
        "{:?}",
        message.item.recipients
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_recipients_left_goes_nowhere() {
    let changes = [
        packet(b'-', b"<alice@example.com>\0"),
        packet(b'-', b"<sales@example.com>\0"),
    ];
    let milter = Milter::serve(changing(&changes)).await;
    let stage = stage(milter.section("")).await;
    let reply = bring(&stage, MAIL).await;
    assert!(reply.code == 250 && stage.entries().is_empty(), "{reply:?}");
    stage.stop().await;
}

/// RFC 8601 section 5: what stands in our name is ours.
#[tokio::test(flavor = "multi_thread")]
async fn authentication_results_in_our_name_stay_ours() {
    let milter = Milter::serve(changing(&[
        packet(
            b'i',
            b"\0\0\0\0Authentication-Results\0mail.example.com; dkim=pass\0",
        ),
        packet(b'h', b"Authentication-Results\0filter.example; x=pass\0"),
    ]))
    .await;
    let stage = stage(milter.section("")).await;
    assert_eq!(bring(&stage, MAIL).await.code, 250);
    let message = newest(&stage).await;
    assert!(
        !message.contains("dkim=pass") && message.contains("filter.example; x=pass"),
        "{message}"
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_is_signed_as_it_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyRing::new(folder.path(), &[("e1", Algorithm::Ed25519Sha256)]);
    let domains = format!("{DOMAINS}{}", keys.section(folder.path()));
    let want = [("example.com".to_owned(), "e1".to_owned())];
    let header = packet(b'm', b"\0\0\0\x01Subject\0another\0");
    let body = packet(b'b', b"another body\r\n");
    for changes in [
        vec![],
        vec![header.clone()],
        vec![body.clone()],
        vec![header, body],
    ] {
        let milter = Milter::serve(changing(&changes)).await;
        let stage = play(&milter.section(""), domains.clone()).start().await;
        let mut client = logged_in(&stage).await;
        for lines in [1, 40_000] {
            client
                .expect(&[
                    ("MAIL FROM:<alice@example.com>", 250),
                    ("RCPT TO:<dave@else.example>", 250),
                ])
                .await;
            let text = "Hello,  world \r\n".repeat(lines);
            let mail = format!("From: alice@example.com\r\nSubject: x\r\n\r\n{text}");
            assert_eq!(client.data(&mail).await.code, 250);
            let message = newest(&stage).await;
            assert_eq!(keys.passed(&message), want, "{} changes", changes.len());
            let subject = if message.contains("Subject: another\r\n") {
                "another"
            } else {
                "x"
            };
            assert!(message.contains(&format!("Subject: {subject}\r\n")), "{message}");
        }
        stage.stop().await;
    }
}

/// In memory as it comes, in a file from some point on, and another one that is large as well.
#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_are_shown_and_exchanged_whole() {
    let new: Vec<Vec<u8>> = (0..40)
        .map(|_| packet(b'b', &b"new line\r\n".repeat(6_000)))
        .collect();
    let milter = Milter::serve(changing(&new)).await;
    let stage = stage(milter.section("")).await;
    for lines in [10, 20_000, 200_000] {
        let text = "0123456789\r\n".repeat(lines);
        let before = milter.heard().len();
        assert_eq!(
            bring(&stage, &format!("Subject: x\r\n\r\n{text}")).await.code,
            250
        );
        let shown: Vec<u8> = milter.heard()[before..]
            .iter()
            .filter(|(command, _)| *command == b'B')
            .flat_map(|(_, data)| data.clone())
            .collect();
        assert!(
            shown == text.as_bytes(),
            "{lines} lines were shown as {} octets",
            shown.len()
        );
        let message = newest(&stage).await;
        let (_, body) = message.split_once("\r\n\r\n").unwrap();
        assert!(
            body == "new line\r\n".repeat(240_000),
            "{} octets are stored",
            body.len()
        );
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_headers_come_through_octet_by_octet() {
    let milter = Milter::serve(changing(&[packet(b'h', b"X-Seen\0yes\0")])).await;
    let stage = stage(milter.section("")).await;
    for (header, rest) in [
        ("", "\r\nbody\r\n"),
        ("From: a@else.example\r\n", ""),
        ("From: a@else.example\r\n", "no field\r\nX: y\r\n\r\n"),
        ("", " folded\r\nFrom: a@else.example\r\n\r\nx\r\n"),
        ("Odd : name\r\n\tfold\r\n", "\r\nx\r\n"),
    ] {
        assert_eq!(
            bring(&stage, &format!("{header}{rest}")).await.code,
            250,
            "{header}{rest}"
        );
        let message = newest(&stage).await;
        let want = format!("{header}X-Seen: yes\r\n{rest}");
        // What begins in the middle of a field is all body: an empty line keeps it apart from ours.
        let apart = want.replacen("yes\r\n folded", "yes\r\n\r\n folded", 1);
        assert!(
            message.ends_with(&want) || message.ends_with(&apart),
            "{want:?} is not the end of {message:?}"
        );
        assert!(!message.contains("yes\r\n folded"), "{message:?}");
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_sees_the_mail_that_it_is_for_and_what_others_made_of_it() {
    let (first, second) = (
        Milter::serve(changing(&[packet(b'h', b"X-First\x001\0")])).await,
        Milter::serve(changing(&[])).await,
    );
    let one = |name: &str, milter: &Milter, mail: &str| {
        let port = milter.address.port();
        format!("{{name: {name}, service: {{milter: {{host: 127.0.0.1, port: {port}}}}}, mail: {mail}}}")
    };
    let more = format!(
        "filters: [{}, {}]\n",
        one("a", &first, "FromStrangers"),
        one("b", &second, "All")
    );
    let stage = play(&more, DOMAINS.to_owned()).start().await;
    let mut user = logged_in(&stage).await;
    user.expect(&[
        ("MAIL FROM:<alice@example.com>", 250),
        ("RCPT TO:<dave@else.example>", 250),
    ])
    .await;
    assert_eq!(user.data("From: alice@example.com\r\n\r\nx\r\n").await.code, 250);
    assert_eq!((first.letters().as_str(), second.letters().len() > 5), ("", true));
    let before = second.heard().len();
    assert_eq!(bring(&stage, MAIL).await.code, 250);
    assert!(first.letters().ends_with("EQ"));
    let fields: Vec<_> = second.heard().split_off(before);
    assert!(fields.contains(&(b'L', b"X-First\x001\0".to_vec())), "{fields:?}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_milter_may_live_behind_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("milter.sock");
    let heard = Milter::serve_at(&path, but(b'E', Act::Say(packet(b'r', &[]))));
    let stage = stage(section(&format!("{{milterSocket: {}}}", path.display()), "")).await;
    assert_eq!(bring(&stage, MAIL).await.code, 550);
    assert!(heard.lock().unwrap().iter().any(|(command, _)| *command == b'E'));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_said_is_counted() {
    let milter = Milter::serve(but(b'O', Act::Say(options()))).await;
    let stage = stage(milter.section("")).await;
    assert_eq!(bring(&stage, MAIL).await.code, 250);
    let figures = stage.daemon.handles().metrics.text().unwrap();
    for figure in [
        "postroad_mta_filtered_total{kind=\"Milter\",verdict=\"Accept\"} 1",
        "postroad_mta_filter_seconds_count 1",
    ] {
        assert!(figures.contains(figure), "{figure} is not in {figures}");
    }
    stage.stop().await;
}
