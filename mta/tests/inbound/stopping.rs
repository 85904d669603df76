//! Asked to stop: sessions end after their transaction, and are told.

use std::time::Duration;

use postroad_mta::lifecycle::Patience;

use crate::client::{Client, PATIENCE};
use crate::probing::answer;
use crate::stage::{MAIL, Play};

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_is_finished_and_an_idle_session_is_told() {
    let stage = Play::default().start().await;
    let mut idle = stage.smtp().await;
    idle.expect(&[("EHLO client.example", 250)]).await;
    let mut busy = stage.smtp().await;
    busy.expect(&[
        ("EHLO client.example", 250),
        ("MAIL FROM:<>", 250),
        ("RCPT TO:<bob@example.com>", 250),
    ])
    .await;
    let address = stage.port("smtp");
    let spool = stage.daemon.handles().spool.clone();
    let ends = tokio::spawn(stage.daemon.stop(Patience {
        leave: Duration::ZERO,
        ..Patience::default()
    }));
    assert_eq!(idle.reply().await.code, 421);
    idle.hung_up().await;
    let mut late = Client::connect(address).await;
    assert_eq!(late.reply().await.code, 421);
    assert_eq!(busy.data(MAIL).await.code, 250);
    assert_eq!(busy.reply().await.code, 421);
    busy.hung_up().await;
    tokio::time::timeout(Duration::from_secs(20), ends)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(spool.entries().len(), 1);
}

/// Who is sent to a pod by an endpoint that is not taken back yet is served.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_unready_before_its_ports_close() {
    let stage = Play::default().start().await;
    let (health, address) = (stage.daemon.admin().health.unwrap(), stage.port("smtp"));
    assert!(answer(health, "/readyz").await.starts_with("HTTP/1.1 200"));
    // Longer than the test: it is looked at in the midst of leaving.
    let ends = tokio::spawn(stage.daemon.stop(Patience {
        leave: Duration::from_hours(1),
        ..Patience::default()
    }));
    tokio::time::timeout(PATIENCE, async {
        while !answer(health, "/readyz").await.starts_with("HTTP/1.1 503") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("it says that it leaves");
    let mut late = Client::greeted(address).await;
    late.expect(&[
        ("EHLO client.example", 250),
        ("MAIL FROM:<>", 250),
        ("RCPT TO:<bob@example.com>", 250),
    ])
    .await;
    assert_eq!(late.data(MAIL).await.code, 250);
    ends.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_does_not_end_is_told_and_cut() {
    let stage = Play::default().start().await;
    let mut stuck = stage.smtp().await;
    stuck
        .expect(&[
            ("EHLO client.example", 250),
            ("MAIL FROM:<>", 250),
            ("RCPT TO:<bob@example.com>", 250),
            ("DATA", 354),
        ])
        .await;
    stage.stop().await;
    assert_eq!(stuck.reply().await.code, 421);
    stuck.hung_up().await;
}
