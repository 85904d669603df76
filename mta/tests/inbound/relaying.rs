//! No open relay: every trick of the trade against the transfer port.

use crate::stage::{MAIL, Play};

#[tokio::test(flavor = "multi_thread")]
async fn no_trick_makes_a_relay() {
    let stage = Play::default().start().await;
    let mut client = stage.smtp().await;
    client.expect(&[("EHLO client.example", 250)]).await;
    for (from, to) in [
        ("", "x@else.example"),
        ("alice@example.com", "x@else.example"),
        ("postmaster@mail.example.com", "x@else.example"),
        ("", "x%else.example@example.com"),
        ("", "else.example!x@example.com"),
        ("", "\"x@else.example\"@example.com"),
        ("", "@example.com:x@else.example"),
        ("", "x@else.example@example.com"),
        ("", "x@[127.0.0.1]"),
        ("", "x%else.example"),
        ("", "x@localhost"),
        ("", "x@mail.example.com"),
    ] {
        client.expect(&[(&format!("MAIL FROM:<{from}>"), 250)]).await;
        let reply = client.say(&format!("RCPT TO:<{to}>")).await;
        assert!((500..600).contains(&reply.code), "{from} to {to}: {reply:?}");
        client.expect(&[("RSET", 250)]).await;
    }
    client.expect(&[("MAIL FROM:<>", 250)]).await;
    let reply = client.say("RCPT TO:<x@else.example>").await;
    assert!(reply.code == 550 && reply.has("5.7.1"), "{reply:?}");
    client
        .expect(&[
            ("RCPT TO:<Postmaster>", 250),
            ("RCPT TO:<postmaster@example.com>", 250),
        ])
        .await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_for_the_postmaster_is_taken_where_nothing_else_is() {
    let stage = Play {
        domains: String::new(),
        ..Play::default()
    }
    .start()
    .await;
    let mut client = stage.smtp().await;
    client
        .expect(&[
            ("EHLO client.example", 250),
            ("MAIL FROM:<a@else.example>", 250),
            ("RCPT TO:<bob@example.com>", 550),
            ("RCPT TO:<Postmaster>", 250),
        ])
        .await;
    assert_eq!(client.data(MAIL).await.code, 250);
    let (message, _) = stage.only().await;
    let recipients = &message.item.envelope.recipients;
    assert_eq!(recipients.len(), 1);
    assert_eq!(recipients[0].forward_path, "postmaster@example.com");
    stage.stop().await;
}
