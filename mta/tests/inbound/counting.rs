//! Refusals are counted by class, whoever made them: the policy, the state machine, the port.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::client::Client;
use crate::stage::{Play, Stage};

/// Waits until so many refusals of that class are counted, and sees that there are no more.
async fn counted(stage: &Stage, class: &str, count: u32) {
    let sample = format!("postroad_mta_refused_total{{class=\"{class}\"}} {count}\n");
    let is_there = |stage: &Stage| stage.daemon.handles().metrics.text().unwrap().contains(&sample);
    stage.until(&sample, is_there).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_is_counted_once_by_its_class() {
    let stage = Play {
        limits: "{connectionsPerClient: 2, messageSize: 64Ki}",
        domains: format!(
            "{}  - name: asked.example\n    inbound:\n      recipients: {{mode: Callout, addresses: [known]}}\n      \
             deliverTo: {{lmtp: {{host: 127.0.0.1, port: 1}}}}\n",
            crate::stage::DOMAINS
        ),
        ..Play::default()
    }
    .start()
    .await;
    let mut client = stage.smtp().await;
    // Made by the state machine.
    client
        .expect(&[("MAIL FROM:<>", 503), ("WHAT", 500), ("EHLO client.example", 250)])
        .await;
    counted(&stage, "Protocol", 2).await;
    client.expect(&[("MAIL FROM:<> SIZE=65537", 552)]).await;
    counted(&stage, "Limit", 1).await;
    // Made by the policy, and by the lack of a mail store that answers.
    client
        .expect(&[
            ("MAIL FROM:<a@else.example>", 250),
            ("RCPT TO:<nobody@example.com>", 550),
            ("RCPT TO:<x@else.example>", 550),
            ("RCPT TO:<y@asked.example>", 451),
            ("RCPT TO:<bob@example.com>", 250),
            ("DATA", 354),
        ])
        .await;
    counted(&stage, "Recipient", 1).await;
    counted(&stage, "Policy", 1).await;
    counted(&stage, "Unable", 1).await;
    // Of a body; it ends the session.
    client.send(b"a\nb\r\n").await;
    assert_eq!(client.say(".").await.code, 550);
    client.hung_up().await;
    counted(&stage, "Protocol", 3).await;
    // Made by the port.
    stage
        .until("the session is over", |stage| {
            stage.daemon.handles().metrics.sessions.get() == 0
        })
        .await;
    let _first = stage.smtp().await;
    let mut second = stage.submissions().await;
    let mut third = Client::connect(stage.port("smtp")).await;
    assert_eq!(third.reply().await.code, 421);
    counted(&stage, "Limit", 2).await;
    // A failed AUTH is of one class, however it fails.
    second.expect(&[("EHLO client.example", 250)]).await;
    let wrong = format!("AUTH PLAIN {}", STANDARD.encode("\0nobody\0wrong"));
    second.expect(&[(&wrong, 535), ("AUTH PLAIN !", 501)]).await;
    counted(&stage, "Authentication", 2).await;
    counted(&stage, "Protocol", 3).await;
    stage.stop().await;
}
