//! What is sent in clear behind STARTTLS is never run under TLS (RFC 3207 section 5; CVE-2011-0411).

use crate::client::Client;
use crate::stage::Play;

#[tokio::test(flavor = "multi_thread")]
async fn commands_behind_starttls_are_thrown_away_or_end_the_session() {
    let stage = Play::default().start().await;
    let mut client = stage.smtp().await;
    assert_eq!(client.say("EHLO client.example").await.code, 250);
    client
        .send(b"STARTTLS\r\nMAIL FROM:<evil@else.example>\r\n")
        .await;
    let reply = client.reply().await;
    if reply.code == 220 {
        let mut client = client.secure(&stage.chain).await;
        // Nothing of it may be answered: the next reply is that of EHLO, and there is no transaction.
        let reply = client.say("EHLO client.example").await;
        assert!(reply.code == 250 && reply.lines.len() > 1, "{reply:?}");
        assert_eq!(client.say("RCPT TO:<bob@example.com>").await.code, 503);
    } else {
        assert!((500..600).contains(&reply.code) || reply.code == 421, "{reply:?}");
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_in_clear_is_forgotten_under_tls() {
    let stage = Play::default().start().await;
    let mut client = stage.smtp().await;
    client
        .expect(&[("EHLO client.example", 250), ("MAIL FROM:<a@else.example>", 250)])
        .await;
    let reply = client.say("STARTTLS").await;
    // In mid-transaction it may be refused; else the transaction is gone.
    if reply.code == 220 {
        let mut client = client.secure(&stage.chain).await;
        assert_eq!(client.say("RCPT TO:<bob@example.com>").await.code, 503);
        let ehlo = client.say("EHLO client.example").await;
        assert!(!ehlo.offers("STARTTLS"), "once is enough");
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_session_that_breaks_off_tls_in_a_message_leaves_nothing() {
    let stage = Play::default().start().await;
    let mut client = Client::greeted(stage.port("smtp"))
        .await
        .starttls(&stage.chain)
        .await;
    client
        .expect(&[("MAIL FROM:<>", 250), ("RCPT TO:<bob@example.com>", 250)])
        .await;
    client.send(b"BDAT 100\r\nhalf").await;
    drop(client);
    stage
        .until("the session has ended", |stage| {
            stage.daemon.handles().metrics.sessions.get() == 0
        })
        .await;
    assert!(stage.entries().is_empty());
    stage.stop().await;
}
