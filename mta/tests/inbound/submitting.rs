//! What an authenticated user may send, and what is mended on the way.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postroad_mta::auth::Verifier;

use crate::client::Client;
use crate::stage::{MAIL, Play, Stage};

async fn stage() -> Stage {
    Play {
        users: vec![("alice", Verifier::argon2id("pw").unwrap())],
        ..Play::default()
    }
    .start()
    .await
}

async fn alice(stage: &Stage) -> Client {
    let mut client = stage.submissions().await;
    client
        .expect(&[
            ("EHLO client.example", 250),
            ("MAIL FROM:<alice@example.com>", 530),
            (&format!("AUTH PLAIN {}", STANDARD.encode("\0alice\0pw")), 235),
        ])
        .await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_sends_to_anyone_as_an_own_address() {
    let stage = stage().await;
    let mut client = alice(&stage).await;
    client
        .expect(&[
            ("MAIL FROM:<alice@example.com>", 250),
            ("RCPT TO:<carol@else.example>", 250),
        ])
        .await;
    let reply = client
        .data("From: Alice <alice@example.com>\r\nTo: carol@else.example\r\n\r\nHi\r\n")
        .await;
    assert_eq!(reply.code, 250, "{reply:?}");
    let (message, body) = stage.only().await;
    assert!(body.starts_with("From: Alice"), "the body is as it came");
    assert_eq!(message.item.envelope.identity.as_deref(), Some("alice"));
    let prefix = String::from_utf8(message.item.prefix).unwrap();
    assert!(prefix.contains("with ESMTPSA id"), "{prefix}");
    assert!(
        prefix.contains(&format!("\r\nMessage-ID: <{}@mail.example.com>\r\n", message.id)),
        "{prefix}"
    );
    assert!(prefix.contains("\r\nDate: "), "{prefix}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_cannot_send_as_another() {
    let stage = stage().await;
    let mut client = alice(&stage).await;
    client
        .expect(&[
            ("MAIL FROM:<bob@example.com>", 550),
            ("MAIL FROM:<alice@else.example>", 550),
        ])
        .await;
    client
        .expect(&[
            ("MAIL FROM:<alice@example.com>", 250),
            ("RCPT TO:<carol@else.example>", 250),
        ])
        .await;
    assert_eq!(client.data(MAIL).await.code, 550, "From is judged too");
    client
        .expect(&[("MAIL FROM:<>", 250), ("RCPT TO:<carol@else.example>", 250)])
        .await;
    assert_eq!(client.data("From: ceo@bank.example\r\n\r\nx\r\n").await.code, 550);
    client
        .expect(&[("MAIL FROM:<>", 250), ("RCPT TO:<carol@else.example>", 250)])
        .await;
    assert_eq!(
        client.data("From: alice@example.com\r\n\r\nread\r\n").await.code,
        250,
        "a disposition notice"
    );
    client
        .expect(&[
            ("MAIL FROM:<alice@example.com>", 250),
            ("RCPT TO:<nobody@example.com>", 550),
        ])
        .await;
    stage.stop().await;
}

/// RFC 5322 section 3.6.2: several authors, and one of them sent it.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_several_authors_says_who_sent_it() {
    let two = "From: Alice <alice@example.com>, Also Alice <ALICE@example.com>\r\n";
    for (header, fields) in [
        (two.to_owned(), 1),
        (format!("{two}Sender: alice@example.com\r\n"), 0),
        ("From: Alice <alice@example.com>\r\n".to_owned(), 0),
    ] {
        let stage = stage().await;
        let mut client = alice(&stage).await;
        client
            .expect(&[
                ("MAIL FROM:<alice@example.com>", 250),
                ("RCPT TO:<carol@else.example>", 250),
            ])
            .await;
        assert_eq!(client.data(&format!("{header}\r\nx\r\n")).await.code, 250);
        let (message, _) = stage.only().await;
        let prefix = String::from_utf8(message.item.prefix).unwrap();
        assert_eq!(
            prefix.matches("Sender: <alice@example.com>\r\n").count(),
            fields,
            "{header:?}: {prefix}"
        );
        stage.stop().await;
    }
}
