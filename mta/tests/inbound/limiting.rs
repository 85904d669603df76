//! Limits of size, recipients and connections.

use crate::client::Client;
use crate::stage::{MAIL, Play};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_above_the_size_is_refused_before_and_after_it_is_sent() {
    let stage = Play {
        limits: "{messageSize: 64Ki}",
        ..Play::default()
    }
    .start()
    .await;
    let mut client = stage.smtp().await;
    assert!(client.say("EHLO client.example").await.has("SIZE 65536"));
    assert_eq!(client.say("MAIL FROM:<> SIZE=65537").await.code, 552);
    client
        .expect(&[
            ("MAIL FROM:<> SIZE=1000", 250),
            ("RCPT TO:<bob@example.com>", 250),
        ])
        .await;
    let reply = client
        .data(&format!(
            "{MAIL}{}",
            format!("{}\r\n", "x".repeat(998)).repeat(70)
        ))
        .await;
    assert_eq!(reply.code, 552, "{reply:?}");
    assert!(stage.entries().is_empty());
    client
        .expect(&[("MAIL FROM:<>", 250), ("RCPT TO:<bob@example.com>", 250)])
        .await;
    assert_eq!(client.data(MAIL).await.code, 250, "the session goes on");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recipients_beyond_the_limit_are_refused_for_now() {
    let stage = Play {
        limits: "{recipientsPerMessage: 100}",
        ..Play::default()
    }
    .start()
    .await;
    let mut client = stage.smtp().await;
    client
        .expect(&[("EHLO client.example", 250), ("MAIL FROM:<>", 250)])
        .await;
    for _ in 0..100 {
        client.expect(&[("RCPT TO:<bob@example.com>", 250)]).await;
    }
    // RFC 5321 section 4.5.3.1.10.
    client.expect(&[("RCPT TO:<alice@example.com>", 452)]).await;
    assert_eq!(client.data(MAIL).await.code, 250);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_get_421() {
    let stage = Play {
        limits: "{connectionsPerClient: 2}",
        ..Play::default()
    }
    .start()
    .await;
    let first = stage.smtp().await;
    let _second = stage.smtp().await;
    let mut third = Client::connect(stage.port("smtp")).await;
    assert_eq!(third.reply().await.code, 421);
    third.hung_up().await;
    drop(first);
    stage
        .until("there is room again", |stage| {
            stage.daemon.handles().metrics.sessions.get() < 2
        })
        .await;
    stage.smtp().await.expect(&[("NOOP", 250)]).await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_went_in_circles_is_refused() {
    let stage = Play::default().start().await;
    let mut client = stage.smtp().await;
    client.expect(&[("EHLO client.example", 250)]).await;
    for (hop, times, code) in [
        ("Received: by x\r\n", 100, 250),
        ("Received: by x\r\n", 101, 554),
        ("Received: from x\r\n\tby mail.example.com\r\n", 10, 250),
        ("Received: from x\r\n\tby Mail.Example.com\r\n", 11, 554),
    ] {
        client
            .expect(&[("MAIL FROM:<>", 250), ("RCPT TO:<bob@example.com>", 250)])
            .await;
        let reply = client.data(&format!("{}{MAIL}", hop.repeat(times))).await;
        assert_eq!(reply.code, code, "{times} times {hop}");
        assert!(code == 250 || reply.has("5.4.6"), "{reply:?}");
    }
    assert_eq!(stage.entries().len(), 2);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_after_its_messages_and_the_client_may_come_back() {
    let stage = Play {
        limits: "{messagesPerConnection: 2}",
        ..Play::default()
    }
    .start()
    .await;
    let mut client = stage.smtp().await;
    client.expect(&[("EHLO client.example", 250)]).await;
    for _ in 0..2 {
        client
            .expect(&[("MAIL FROM:<>", 250), ("RCPT TO:<alice@example.com>", 250)])
            .await;
        assert_eq!(client.data(MAIL).await.code, 250);
    }
    let reply = client.say("MAIL FROM:<>").await;
    assert!(reply.code == 421 && reply.has("4.7.0"), "{reply:?}");
    client.hung_up().await;
    let mut client = stage.smtp().await;
    client
        .expect(&[("EHLO client.example", 250), ("MAIL FROM:<>", 250)])
        .await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_delivered_here_again_and_again_is_refused() {
    let stage = Play::default().start().await;
    let mut client = stage.smtp().await;
    client.expect(&[("EHLO client.example", 250)]).await;
    let here = "Delivered-To: Bob@example.com\r\n";
    let elsewhere = "Delivered-To: bob@else.example\r\n";
    for (fields, to, code) in [
        // A person sends an old message on.
        (here.to_owned(), &["bob"][..], 250),
        (here.repeat(2), &["bob"], 554),
        (format!("{here}{elsewhere}{here}"), &["bob"], 554),
        (elsewhere.repeat(2), &["bob"], 250),
        // For one of them it is new.
        (here.repeat(2), &["bob", "alice"], 250),
    ] {
        client.expect(&[("MAIL FROM:<>", 250)]).await;
        for local in to {
            client
                .expect(&[(&format!("RCPT TO:<{local}@example.com>"), 250)])
                .await;
        }
        let reply = client.data(&format!("{fields}{MAIL}")).await;
        assert_eq!(reply.code, code, "{fields:?} to {to:?}");
        assert!(code == 250 || reply.has("5.4.6"), "{reply:?}");
    }
    stage.stop().await;
}
