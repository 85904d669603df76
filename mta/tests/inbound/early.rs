//! Strangers wait for the greeting, and talk after it.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::stage::{Play, Stage};

fn refused(stage: &Stage, count: u32) -> bool {
    let sample = format!("postroad_mta_refused_total{{class=\"Protocol\"}} {count}\n");
    stage.daemon.handles().metrics.text().unwrap().contains(&sample)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_talks_before_the_greeting_is_refused_and_who_waits_is_greeted() {
    let stage = Play {
        limits: "{greetingDelay: 30s}",
        ..Play::default()
    }
    .start()
    .await;
    let mut hasty = Client::connect(stage.port("smtp")).await;
    hasty
        .send(b"EHLO client.example\r\nMAIL FROM:<a@else.example>\r\n")
        .await;
    let reply = hasty.reply().await;
    assert!(reply.code == 554 && reply.has("before the greeting"), "{reply:?}");
    hasty.hung_up().await;
    stage.until("it is counted", |stage| refused(stage, 1)).await;
    // Users are not strangers, and under implicit TLS the client speaks first.
    stage.submissions().await.expect(&[("NOOP", 250)]).await;
    Client::greeted(stage.port("submission"))
        .await
        .expect(&[("NOOP", 250)])
        .await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_listens_is_greeted_after_the_delay() {
    let stage = Play {
        limits: "{greetingDelay: 1s}",
        ..Play::default()
    }
    .start()
    .await;
    let began = Instant::now();
    stage.smtp().await.expect(&[("NOOP", 250)]).await;
    assert!(began.elapsed() >= Duration::from_secs(1), "it did not wait");
    assert!(!refused(&stage, 1));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn known_peers_do_not_wait() {
    let stage = Play {
        limits: "{greetingDelay: 30s}",
        more: "relayFrom: [127.0.0.0/8]\n".into(),
        ..Play::default()
    }
    .start()
    .await;
    // The client of the tests waits for ten seconds.
    stage.smtp().await.expect(&[("NOOP", 250)]).await;
    stage.stop().await;
}
