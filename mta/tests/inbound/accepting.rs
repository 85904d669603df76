//! What got 250 is in the spool, whole.

use postroad_spool::BodyKind;

use crate::stage::{MAIL, Play};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_250_is_in_the_spool_with_its_envelope() {
    let stage = Play::default().start().await;
    let mut client = stage.smtp().await;
    client
        .expect(&[
            ("EHLO client.example", 250),
            (
                "MAIL FROM:<carol@else.example> BODY=8BITMIME RET=HDRS ENVID=q+2B1",
                250,
            ),
            (
                "RCPT TO:<Alice@Example.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+2Bb@x.example",
                250,
            ),
        ])
        .await;
    let reply = client.data(&format!("{MAIL}..dot\r\n")).await;
    assert_eq!(reply.code, 250);
    let (message, body) = stage.only().await;
    assert!(
        reply.has("2.0.0") && reply.has(&format!("queued as {}", message.id)),
        "{reply:?}"
    );
    assert_eq!(body, format!("{MAIL}.dot\r\n"));

    let envelope = &message.item.envelope;
    assert_eq!(envelope.reverse_path, "carol@else.example");
    assert_eq!(envelope.recipients.len(), 1);
    assert_eq!(envelope.recipients[0].forward_path, "Alice@Example.com");
    assert_eq!(
        envelope.recipients[0].orcpt.as_deref(),
        Some("rfc822;a+2Bb@x.example")
    );
    assert_eq!(envelope.envid.as_deref(), Some("q+2B1"));
    assert_eq!(envelope.client, "127.0.0.1");
    assert_eq!(envelope.expires - envelope.arrived, 5 * 86_400_000);

    let prefix = String::from_utf8(message.item.prefix).unwrap();
    assert!(
        prefix.starts_with("Received: from client.example ([127.0.0.1])\r\n"),
        "{prefix}"
    );
    assert!(
        prefix.contains(&format!("with ESMTP id {}", message.id))
            && prefix.contains("for <Alice@Example.com>")
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_is_replaced_and_the_given_address_goes_on() {
    let stage = Play::default().start().await;
    let mut client = stage.smtp().await;
    client
        .expect(&[
            ("EHLO client.example", 250),
            ("MAIL FROM:<>", 250),
            ("RCPT TO:<sales@example.com>", 250),
            ("RCPT TO:<alice@example.com>", 250),
        ])
        .await;
    assert_eq!(client.data(MAIL).await.code, 250);
    let (message, _) = stage.only().await;
    let recipients = &message.item.envelope.recipients;
    let paths: Vec<_> = recipients.iter().map(|to| to.forward_path.as_str()).collect();
    assert_eq!(
        paths,
        ["alice@example.com", "carol@else.example"],
        "each mailbox once"
    );
    assert_eq!(recipients[1].original.as_deref(), Some("sales@example.com"));
    assert_eq!(recipients[1].orcpt.as_deref(), Some("rfc822;sales@example.com"));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_message_comes_through_unchanged_by_data_and_by_bdat() {
    let stage = Play {
        limits: "{messageSize: 4Mi}",
        ..Play::default()
    }
    .start()
    .await;
    let line = format!("{}\r\n", "x".repeat(98));
    let message = format!("{MAIL}{}", line.repeat(15_000));
    let mut client = stage.smtp().await;
    let envelope = [
        ("MAIL FROM:<a@else.example>", 250),
        ("RCPT TO:<bob@example.com>", 250),
    ];
    client.expect(&[("EHLO client.example", 250)]).await;
    client.expect(&envelope).await;
    assert_eq!(client.data(&message).await.code, 250);
    let (_, body) = stage.only().await;
    assert!(body == message, "by DATA");

    client.expect(&envelope).await;
    let (first, last) = message.as_bytes().split_at(1_000_000);
    client.send(format!("BDAT {}\r\n", first.len()).as_bytes()).await;
    client.send(first).await;
    assert_eq!(client.reply().await.code, 250);
    client
        .send(format!("BDAT {} LAST\r\n", last.len()).as_bytes())
        .await;
    client.send(last).await;
    assert_eq!(client.reply().await.code, 250);
    assert_eq!(stage.entries().len(), 2);
    let sizes: Vec<_> = stage
        .daemon
        .handles()
        .spool
        .entries()
        .iter()
        .map(|entry| entry.size / 1_000)
        .collect();
    assert_eq!(sizes[0], sizes[1], "by BDAT");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_breaks_off_in_mid_message_leaves_nothing() {
    let stage = Play::default().start().await;
    let mut client = stage.smtp().await;
    client
        .expect(&[
            ("EHLO client.example", 250),
            ("MAIL FROM:<>", 250),
            ("RCPT TO:<bob@example.com>", 250),
            ("DATA", 354),
        ])
        .await;
    client.send(b"Subject: half\r\n\r\nhalf a line").await;
    drop(client);
    stage
        .until("the session has ended", |stage| {
            stage.daemon.handles().metrics.sessions.get() == 0
        })
        .await;
    assert!(stage.entries().is_empty());
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_bits_are_called_so_from_here_on_whatever_was_declared() {
    for (parameter, text, want) in [
        ("", "caf\u{e9}", BodyKind::EightBitMime),
        (" BODY=7BIT", "caf\u{e9}", BodyKind::EightBitMime),
        (" BODY=8BITMIME", "cafe", BodyKind::EightBitMime),
        ("", "cafe", BodyKind::SevenBit),
    ] {
        let stage = Play::default().start().await;
        let mut client = stage.smtp().await;
        client
            .expect(&[
                ("EHLO client.example", 250),
                (&format!("MAIL FROM:<carol@else.example>{parameter}"), 250),
                ("RCPT TO:<alice@example.com>", 250),
            ])
            .await;
        assert_eq!(client.data(&format!("{MAIL}{text}\r\n")).await.code, 250);
        let (message, _) = stage.only().await;
        assert_eq!(message.item.envelope.body, want, "{parameter} {text}");
        stage.stop().await;
    }
}
