//! XCLIENT: trusted peers speak for others, nobody else does.

use crate::stage::{MAIL, Play};

fn play() -> Play {
    Play {
        more: "access: {trustedPeers: [127.0.0.0/8]}\nrelayFrom: [192.0.2.0/24]\n".to_owned(),
        ..Play::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_that_a_trusted_peer_names_is_the_client() {
    let stage = play().start().await;
    let mut client = stage.smtp().await;
    assert!(client.say("EHLO proxy.example").await.offers("XCLIENT"));
    client
        .expect(&[
            ("MAIL FROM:<a@else.example>", 250),
            ("RCPT TO:<x@else.example>", 550),
            ("XCLIENT ADDR=192.0.2.7", 503),
            ("RSET", 250),
            (
                "XCLIENT ADDR=192.0.2.7 PORT=4711 NAME=[UNAVAILABLE] HELO=real.example PROTO=SMTP",
                220,
            ),
            ("MAIL FROM:<a@else.example>", 503),
            ("EHLO proxy.example", 250),
            ("MAIL FROM:<a@else.example>", 250),
            ("RCPT TO:<x@else.example>", 250),
        ])
        .await;
    assert_eq!(client.data(MAIL).await.code, 250);
    let (message, _) = stage.only().await;
    assert_eq!(message.item.envelope.client, "192.0.2.7");
    let prefix = String::from_utf8(message.item.prefix).unwrap();
    assert!(
        prefix.starts_with("Received: from real.example ([192.0.2.7])\r\n") && prefix.contains("with SMTP "),
        "{prefix}"
    );
    client
        .expect(&[
            ("XCLIENT ADDR=[UNAVAILABLE]", 220),
            ("EHLO proxy.example", 250),
            ("MAIL FROM:<a@else.example>", 250),
            ("RCPT TO:<x@else.example>", 550),
        ])
        .await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_a_trusted_peer_vouches_for_has_the_rights_of_that_user() {
    let stage = play().start().await;
    let mut client = stage.submissions().await;
    client
        .expect(&[
            ("EHLO proxy.example", 250),
            ("MAIL FROM:<alice@example.com>", 530),
            ("XCLIENT ADDR=203.0.113.1 LOGIN=alice", 220),
            ("EHLO client.example", 250),
            ("MAIL FROM:<bob@example.com>", 550),
            ("MAIL FROM:<alice@example.com>", 250),
            ("RSET", 250),
            ("XCLIENT LOGIN=[UNAVAILABLE]", 220),
            ("EHLO client.example", 250),
            ("MAIL FROM:<alice@example.com>", 530),
            ("XCLIENT ADDR=nonsense", 501),
            ("XCLIENT", 501),
        ])
        .await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_may_and_it_is_not_offered_to_them() {
    let stage = Play {
        more: "access: {trustedPeers: [192.0.2.0/24]}\n".to_owned(),
        ..Play::default()
    }
    .start()
    .await;
    let mut client = stage.smtp().await;
    assert!(!client.say("EHLO client.example").await.offers("XCLIENT"));
    for line in ["XCLIENT ADDR=192.0.2.7", "XCLIENT nonsense"] {
        let reply = client.say(line).await;
        assert!(reply.code == 550 && reply.has("5.7.1"), "{reply:?}");
    }
    client
        .expect(&[("MAIL FROM:<>", 250), ("RCPT TO:<bob@example.com>", 250)])
        .await;
    stage.stop().await;
}
