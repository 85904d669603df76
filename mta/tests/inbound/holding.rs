//! FUTURERELEASE (RFC 4865): users ask that a message leaves later.

use jiff::{SignedDuration, Timestamp};

use crate::stage::{Play, Stage};

const TEXT: &str = "From: alice@example.com\r\nSubject: x\r\n\r\nHello\r\n";

async fn stage() -> Stage {
    Play {
        more: "relayFrom: [127.0.0.0/8]\n".to_owned(),
        ..Play::default()
    }
    .start()
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_held_as_long_as_its_sender_asks() {
    let stage = stage().await;
    let until = Timestamp::now() + SignedDuration::from_hours(5);
    for (parameter, hours) in [
        ("HOLDFOR=7200".to_owned(), 2),
        (format!("HOLDUNTIL={}", until.strftime("%Y-%m-%dT%H:%M:%SZ")), 5),
    ] {
        let mut client = stage.submissions().await;
        assert!(client.say("EHLO client.example").await.offers("FUTURERELEASE"));
        client
            .expect(&[
                (&format!("MAIL FROM:<alice@example.com> {parameter}"), 250),
                ("RCPT TO:<x@else.example>", 250),
            ])
            .await;
        assert_eq!(client.data(TEXT).await.code, 250);
        let summary = stage.daemon.handles().spool.summary(stage.newest()).unwrap();
        let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap();
        let left = summary.next_attempt.saturating_sub(now).div_ceil(3_600_000);
        assert_eq!(left, hours, "{parameter}");
        assert!(
            summary.expires > summary.next_attempt + 4 * 86_400_000,
            "its time begins with its release"
        );
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_held_is_refused_and_it_is_for_users_alone() {
    let stage = stage().await;
    let mut client = stage.submissions().await;
    client
        .expect(&[
            ("EHLO client.example", 250),
            ("MAIL FROM:<alice@example.com> HOLDFOR=99999999", 501),
            ("MAIL FROM:<alice@example.com> HOLDFOR=1x", 501),
            ("MAIL FROM:<alice@example.com> HOLDUNTIL=tomorrow", 501),
            (
                "MAIL FROM:<alice@example.com> HOLDUNTIL=2001-01-01T00:00:00Z",
                501,
            ),
            (
                "MAIL FROM:<alice@example.com> HOLDUNTIL=2999-01-01T00:00:00Z",
                501,
            ),
            (
                "MAIL FROM:<alice@example.com> HOLDFOR=5 HOLDUNTIL=2999-01-01T00:00:00Z",
                501,
            ),
            ("MAIL FROM:<alice@example.com> HOLDFOR=0", 250),
        ])
        .await;
    let mut client = stage.smtp().await;
    assert!(!client.say("EHLO client.example").await.offers("FUTURERELEASE"));
    client
        .expect(&[("MAIL FROM:<a@else.example> HOLDFOR=5", 555)])
        .await;
    stage.stop().await;
}
