//! REQUIRETLS (RFC 8689) and DELIVERBY (RFC 2852): what is offered where, and what of it is kept with a message.

use jiff::Timestamp;
use postroad_spool::ByMode;

use crate::client::Client;
use crate::stage::{MAIL, Play, Stage};

/// Clients on this machine may relay.
async fn stage() -> Stage {
    Play {
        more: "relayFrom: [127.0.0.0/8]\n".to_owned(),
        ..Play::default()
    }
    .start()
    .await
}

async fn secure(stage: &Stage) -> Client {
    stage.smtp().await.starttls(&stage.chain).await
}

#[tokio::test(flavor = "multi_thread")]
async fn requiretls_is_offered_inside_tls_and_kept_with_the_message() {
    let stage = stage().await;
    let mut client = stage.smtp().await;
    assert!(!client.say("EHLO client.example").await.offers("REQUIRETLS"));
    let reply = client.say("MAIL FROM:<a@else.example> REQUIRETLS").await;
    assert_eq!(reply.code, 530);
    assert!(reply.lines[0].starts_with("5.7.10 "), "{reply:?}");
    for (mut client, from) in [
        (secure(&stage).await, "a@else.example"),
        (stage.submissions().await, "alice@example.com"),
    ] {
        assert!(client.say("EHLO client.example").await.offers("REQUIRETLS"));
        client
            .expect(&[
                (&format!("MAIL FROM:<{from}> REQUIRETLS=1"), 501),
                (&format!("MAIL FROM:<{from}> REQUIRETLS requiretls"), 501),
                (&format!("MAIL FROM:<{from}> REQUIRETLS"), 250),
                ("RCPT TO:<x@else.example>", 250),
            ])
            .await;
        let text = format!("From: {from}\r\nSubject: x\r\n\r\nHello\r\n");
        assert_eq!(client.data(&text).await.code, 250);
        let message = stage.daemon.handles().spool.read(stage.newest()).unwrap();
        assert!(message.item.envelope.require_tls);
    }
    stage.stop().await;
}

/// The store cannot be reached: nothing is taken that would have to be returned to a sender that may be forged.
#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_whose_store_keeps_no_requiretls_is_not_taken() {
    let stage = stage().await;
    let mut client = secure(&stage).await;
    client
        .expect(&[
            ("MAIL FROM:<a@else.example> REQUIRETLS", 250),
            ("RCPT TO:<alice@example.com>", 451),
            ("RCPT TO:<sales@example.com>", 451),
            ("RCPT TO:<x@else.example>", 250),
            ("RSET", 250),
            // Notices are not lost for want of it (RFC 8689 section 5).
            ("MAIL FROM:<> REQUIRETLS", 250),
            ("RCPT TO:<alice@example.com>", 250),
            ("RSET", 250),
            ("MAIL FROM:<a@else.example>", 250),
            ("RCPT TO:<alice@example.com>", 250),
        ])
        .await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_to_deliver_by_counts_from_mail_and_is_kept() {
    let stage = stage().await;
    for (parameter, mode, trace, seconds) in [
        ("BY=3600;R", ByMode::Return, false, 3_600),
        ("BY=-60;NT", ByMode::Notify, true, -60),
    ] {
        let mut client = stage.smtp().await;
        assert!(client.say("EHLO client.example").await.offers("DELIVERBY"));
        client
            .expect(&[
                (&format!("MAIL FROM:<a@else.example> {parameter}"), 250),
                ("RCPT TO:<x@else.example>", 250),
            ])
            .await;
        assert_eq!(client.data(MAIL).await.code, 250);
        let message = stage.daemon.handles().spool.read(stage.newest()).unwrap();
        let by = message.item.envelope.deliver_by.unwrap();
        assert_eq!((by.mode, by.trace), (mode, trace));
        let left = i64::try_from(by.deadline).unwrap() - Timestamp::now().as_millisecond();
        let wanted = seconds * 1_000;
        assert!((wanted - 60_000..=wanted).contains(&left), "{parameter}: {left}");
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_not_held_beyond_its_time() {
    let stage = stage().await;
    let mut client = stage.submissions().await;
    client
        .expect(&[
            ("EHLO client.example", 250),
            ("MAIL FROM:<alice@example.com> HOLDFOR=600 BY=600;R", 501),
            ("MAIL FROM:<alice@example.com> HOLDFOR=600 BY=60;N", 501),
            ("MAIL FROM:<alice@example.com> HOLDFOR=600 BY=6000;R", 250),
        ])
        .await;
    stage.stop().await;
}

/// It would have to be dropped: the first format of the spool cannot say it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_promised_while_the_first_format_of_the_spool_is_written() {
    let stage = Play {
        more: "relayFrom: [127.0.0.0/8]\n".to_owned(),
        format: 1,
        ..Play::default()
    }
    .start()
    .await;
    let mut client = secure(&stage).await;
    let offers = client.say("EHLO client.example").await;
    assert!(
        !offers.offers("REQUIRETLS") && !offers.offers("DELIVERBY"),
        "{offers:?}"
    );
    for (parameter, code) in [("REQUIRETLS", 555), ("BY=600;R", 555)] {
        let reply = client
            .say(&format!("MAIL FROM:<a@else.example> {parameter}"))
            .await;
        assert_eq!(reply.code, code, "{parameter}: {reply:?}");
    }
    // Offered before the format was lowered: the message is not taken without its promise.
    let spool = &stage.daemon.handles().spool;
    spool.set_write_format(2).await.unwrap();
    let mut client = secure(&stage).await;
    client
        .expect(&[
            ("EHLO client.example", 250),
            ("MAIL FROM:<a@else.example> REQUIRETLS", 250),
            ("RCPT TO:<x@else.example>", 250),
        ])
        .await;
    spool.set_write_format(1).await.unwrap();
    let reply = client.data(MAIL).await;
    assert_eq!(reply.code, 451, "{reply:?}");
    assert!(reply.lines[0].starts_with("4.3.3 "), "{reply:?}");
    assert!(stage.entries().is_empty());
    stage.stop().await;
}

/// What a stranger asks for must not lead to notices: its sender may be forged.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_get_no_promise_that_would_have_to_be_returned() {
    let stage = Play::default().start().await;
    let mut client = secure(&stage).await;
    let offers = client.say("EHLO client.example").await;
    assert!(
        offers.offers("REQUIRETLS") && !offers.offers("DELIVERBY"),
        "{offers:?}"
    );
    client
        .expect(&[
            ("MAIL FROM:<victim@else.example> BY=1;R", 555),
            ("MAIL FROM:<victim@else.example> REQUIRETLS", 250),
            // An alias of which one part leads elsewhere.
            ("RCPT TO:<sales@example.com>", 550),
            ("RSET", 250),
            ("MAIL FROM:<victim@else.example>", 250),
            ("RCPT TO:<sales@example.com>", 250),
        ])
        .await;
    assert!(
        stage
            .submissions()
            .await
            .say("EHLO client.example")
            .await
            .offers("DELIVERBY")
    );
    stage.stop().await;
}
