//! `docs/reference/delivery-log.md` is what the server writes of a message from its acceptance on.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postroad_mta::auth::Verifier;
use serde_json::Value;

use crate::filtering::bring;
use crate::milter::{Act, Shifting, packet};
use crate::stage::{MAIL, Play};

/// What was written.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        let mut page = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        page.extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn events(&self, event: &str) -> Vec<Value> {
        let page = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        String::from_utf8(page)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|line| line["event"] == event)
            .collect()
    }
}

/// On one thread, so that all that the sessions write goes to the page of this test.
#[tokio::test]
async fn acceptance_and_refusals_are_lines_with_an_event_and_the_acceptance_has_the_queue_id() {
    let page = Page::default();
    let to = page.clone();
    // Where there is one alone, the thread that first comes by a line decides for all whether it is written.
    let _another = tracing::Dispatch::new(tracing_subscriber::registry());
    let log = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(move || to.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(log);
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
    let described = include_str!("../../../docs/reference/delivery-log.md");
    for line in accepted.iter().chain(&refused) {
        for name in line.as_object().unwrap().keys() {
            assert!(
                described.contains(&format!("`{name}`")),
                "{name} is not described: {line}"
            );
        }
    }
    stage.stop().await;
}

/// On one thread, like the one above; every line of every part of the process.
#[tokio::test]
async fn no_line_has_what_a_message_says_or_what_a_user_logs_in_with() {
    let page = Page::default();
    let to = page.clone();
    let _another = tracing::Dispatch::new(tracing_subscriber::registry());
    let log = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(move || to.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(log);
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
    let page = page.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let page = String::from_utf8(page).unwrap();
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

#[tokio::test]
async fn what_filters_say_are_lines_that_the_page_describes() {
    let page = Page::default();
    let to = page.clone();
    let log = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(move || to.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(log);
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
    for line in filtered.iter().chain(&discarded) {
        for name in line.as_object().unwrap().keys() {
            assert!(
                described.contains(&format!("`{name}`")),
                "{name} is not described: {line}"
            );
        }
    }
    for verdict in verdicts {
        assert!(
            described.contains(&format!("`{verdict}`")),
            "{verdict} is not described"
        );
    }
    stage.stop().await;
}
