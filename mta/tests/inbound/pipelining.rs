//! A client that does not wait (RFC 2920) gets every reply, in order.

use crate::stage::Play;

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_group_is_answered_in_order() {
    let stage = Play::default().start().await;
    let mut client = stage.smtp().await;
    assert!(client.say("EHLO client.example").await.offers("PIPELINING"));
    client
        .send(
            b"MAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\nRCPT TO:<nobody@example.com>\r\n\
              RCPT TO:<x@else.example>\r\nDATA\r\n",
        )
        .await;
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.push(client.reply().await.code);
    }
    assert_eq!(codes, [250, 250, 550, 550, 354]);
    client
        .send(b"Subject: x\r\n\r\nx\r\n.\r\nMAIL FROM:<>\r\nRSET\r\nQUIT\r\n")
        .await;
    let mut codes = Vec::new();
    for _ in 0..4 {
        codes.push(client.reply().await.code);
    }
    assert_eq!(codes, [250, 250, 250, 221]);
    client.hung_up().await;
    assert_eq!(stage.entries().len(), 1);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_without_any_good_recipient_is_refused() {
    let stage = Play::default().start().await;
    let mut client = stage.smtp().await;
    client
        .expect(&[
            ("EHLO client.example", 250),
            ("MAIL FROM:<>", 250),
            ("RCPT TO:<nobody@example.com>", 550),
        ])
        .await;
    let reply = client.say("DATA").await;
    assert!(matches!(reply.code, 503 | 554), "{reply:?}");
    stage.stop().await;
}
