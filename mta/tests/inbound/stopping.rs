//! Asked to stop: sessions end after their transaction, and are told.

use std::time::Duration;

use postroad_mta::lifecycle::Patience;

use crate::client::Client;
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
