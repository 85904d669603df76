//! `docs/reference/delivery-log.md` is what the server writes of a message from its acceptance on.

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postroad_mta::auth::Verifier;
use postroad_verify::dns::Answer;
use tracing::Level;

use crate::client::PATIENCE;
use crate::filtering::bring;
use crate::judging;
use crate::log_page::{Page, are_described};
use crate::milter::{Act, Shifting, packet};
use crate::stage::{MAIL, Play, Stage};
use crate::standards::sources;

/// On one thread, so that all that the sessions write goes to the page of this test.
#[tokio::test]
async fn acceptance_and_refusals_are_lines_with_an_event_and_the_acceptance_has_the_queue_id() {
    let (page, _writing) = Page::begin();
    let stage = Play::default().start().await;
    let mut client = stage.smtp().await;
    client
        .expect(&[
            ("EHLO client.example", 250),
            ("MAIL FROM:<a@else.example>", 250),
            ("RCPT TO:<nobody@example.com>", 550),
            ("RCPT TO:<bob@example.com>", 250),
        ])
        .await;
    assert_eq!(client.data(MAIL).await.code, 250);
    client
        .expect(&[
            ("MAIL FROM:<a@else.example>", 250),
            ("RCPT TO:<bob@example.com>", 250),
        ])
        .await;
    let looped = format!("{}{MAIL}", "Received: by x\r\n".repeat(101));
    assert_eq!(client.data(&looped).await.code, 554);
    let accepted = page.events("accepted");
    assert_eq!(accepted.len(), 1);
    assert_eq!(accepted[0]["queue_id"], stage.newest().to_string());
    let refused = page.events("refused");
    let of: Vec<_> = refused
        .iter()
        .map(|line| (line["command"].as_str().unwrap(), line["code"].as_u64().unwrap()))
        .collect();
    assert_eq!(of, [("RCPT", 550), ("DATA", 554)]);
    are_described(accepted.iter().chain(&refused));
    stage.stop().await;
}

/// On one thread, like the one above; every line of every part of the process.
#[tokio::test]
async fn no_line_has_what_a_message_says_or_what_a_user_logs_in_with() {
    let (page, _writing) = Page::begin_with(Level::DEBUG);
    let users = vec![("bob", Verifier::argon2id("pass-phrase-3").unwrap())];
    let stage = Play {
        users,
        ..Play::default()
    }
    .start()
    .await;
    let told = "From: a@else.example\r\nSubject: secret-1\r\n\r\nsecret-2\r\n";
    let mut client = stage.smtp().await;
    client.expect(&[("EHLO client.example", 250)]).await;
    for (message, code) in [
        (told.to_owned(), 250),
        (format!("{}{told}", "Received: by x\r\n".repeat(101)), 554),
        (format!("{told}bare\nsecret-2\r\n"), 550),
    ] {
        client
            .expect(&[
                ("MAIL FROM:<a@else.example>", 250),
                ("RCPT TO:<bob@example.com>", 250),
            ])
            .await;
        assert_eq!(client.data(&message).await.code, code);
    }
    let mut logins = Vec::new();
    for (password, code) in [("wrong-phrase-4", 535), ("pass-phrase-3", 235)] {
        let response = STANDARD.encode(format!("\0bob\0{password}"));
        let mut user = stage.submissions().await;
        user.expect(&[
            ("EHLO client.example", 250),
            (&format!("AUTH PLAIN {response}"), code),
        ])
        .await;
        logins.push(response);
    }
    stage.stop().await;
    let page = page.text();
    assert!(page.contains("\"accepted\"") && page.contains("\"refused\""));
    let response = logins.iter().map(String::as_str);
    for secret in ["secret-1", "secret-2", "phrase-3", "phrase-4"]
        .into_iter()
        .chain(response)
    {
        let line = page.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "it has {secret}");
    }
}

/// DMARC is about the author, whatever name stands before the address.
#[tokio::test]
async fn a_name_that_looks_like_an_address_of_another_domain_is_told() {
    let (page, _writing) = Page::begin();
    let stage = judging::stage("", |_| (Some(Answer::NxDomain), Vec::new())).await;
    for name in ["\"ann@bank.example\"", "\"Ann of the bank\""] {
        let message = format!("From: {name} <x@evil.example>\r\n\r\nHello\r\n");
        assert_eq!(judging::bring(&stage, &message).await.code, 250);
    }
    let accepted = page.events("accepted");
    let told: Vec<_> = accepted
        .iter()
        .map(|line| (line["author"].as_str().unwrap(), line["shown"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("evil.example", "bank.example"), ("evil.example", "")]);
    are_described(&accepted);
    stage.stop().await;
}

#[tokio::test]
async fn what_filters_say_are_lines_that_the_page_describes() {
    let (page, _writing) = Page::begin();
    let (script, milter) = Shifting::milter().await;
    let more = milter.section("");
    let stage = Play {
        more,
        ..Play::default()
    }
    .start()
    .await;
    let mut verdicts = Vec::new();
    for (said, verdict) in [
        (packet(b'c', &[]), "accept"),
        (packet(b'y', b"550 5.7.1 no\0"), "reject"),
        (packet(b't', &[]), "temp-fail"),
        (packet(b'd', &[]), "discard"),
        ([packet(b'q', b"odd\0"), packet(b'c', &[])].concat(), "quarantine"),
        (packet(b'z', &[]), "failed"),
    ] {
        script.to(b'E', Act::Say(said));
        bring(&stage, MAIL).await;
        verdicts.push(verdict);
    }
    let filtered = page.events("filtered");
    let of: Vec<_> = filtered
        .iter()
        .map(|line| line["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(of, verdicts);
    assert!(filtered.iter().all(|line| line["filter"] == "scripted"));
    assert_eq!(filtered[0]["queue_id"], page.events("accepted")[0]["queue_id"]);
    let discarded = page.events("discarded");
    assert_eq!(discarded.len(), 1);
    let described = include_str!("../../../docs/reference/delivery-log.md");
    are_described(filtered.iter().chain(&discarded));
    for verdict in verdicts {
        assert!(
            described.contains(&format!("`{verdict}`")),
            "{verdict} is not described"
        );
    }
    stage.stop().await;
}

/// Until MAIL gets this code.
async fn until_mail_gets(stage: &Stage, code: u16) {
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            let mut client = stage.smtp().await;
            client.expect(&[("EHLO client.example", 250)]).await;
            if client.say("MAIL FROM:<a@else.example>").await.code == code {
                return;
            }
        }
    });
    waited.await.expect("it is as full as it was made");
}

#[tokio::test]
async fn it_is_said_once_that_there_is_no_room_for_new_mail_and_once_that_there_is_again() {
    let (page, _writing) = Page::begin();
    let stage = Play::default().start().await;
    let spool = stage.daemon.handles().spool.clone();
    for round in 1..=2 {
        spool.set_high_water_percent(0);
        until_mail_gets(&stage, 452).await;
        until_mail_gets(&stage, 452).await;
        assert_eq!(page.events("no-room").len(), round);
        assert_eq!(page.events("room-again").len(), round - 1);
        spool.set_high_water_percent(99);
        until_mail_gets(&stage, 250).await;
        until_mail_gets(&stage, 250).await;
        assert_eq!(page.events("no-room").len(), round);
        assert_eq!(page.events("room-again").len(), round);
    }
    let (full, again) = (page.events("no-room"), page.events("room-again"));
    let line = &full[0];
    assert_eq!(
        (&line["full"], &line["level"]),
        (&"volume".into(), &"WARN".into())
    );
    assert_eq!(line["high_water_percent"], 0);
    assert!(line["mend"].as_str().unwrap().contains("highWaterPercent"));
    assert!(line["used"].as_u64().unwrap() <= line["total"].as_u64().unwrap());
    are_described(full.iter().chain(&again));
    stage.stop().await;
}

/// What the code calls the events of its lines, but for those of attempts, which are made of an outcome.
fn events_of_the_code() -> BTreeSet<String> {
    let mut paths = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut paths);
    let mut events = BTreeSet::new();
    for path in paths {
        let code = std::fs::read_to_string(path).unwrap();
        let named = code.split("event = \"").skip(1);
        events.extend(named.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
    }
    events
}

#[test]
fn each_event_of_the_code_is_on_the_page() {
    let page = include_str!("../../../docs/reference/delivery-log.md");
    let events = events_of_the_code();
    assert!(events.len() > 15, "{events:?}");
    let missing: Vec<_> = events
        .iter()
        .filter(|event| !page.contains(&format!("\n| `{event}` |")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
