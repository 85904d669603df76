//! A spool that is sealed, or whose volume has failed, takes no new sessions; open ones end after their transaction.

use crate::client::Client;
use crate::probing::get;
use crate::stage::{MAIL, Play};

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_daemon_says_421_at_once_and_to_open_sessions_after_their_transaction() {
    let stage = Play::default().start().await;
    let mut open = stage.smtp().await;
    let envelope = [("MAIL FROM:<>", 250), ("RCPT TO:<bob@example.com>", 250)];
    open.expect(&[("EHLO client.example", 250)]).await;
    open.expect(&envelope).await;
    let spool = stage.daemon.handles().spool.clone();
    spool.seal().await.unwrap();

    let mut new = Client::connect(stage.port("smtp")).await;
    assert_eq!(new.reply().await.code, 421);
    new.hung_up().await;

    assert_eq!(open.data(MAIL).await.code, 250, "what was begun is taken");
    let next = open.say("MAIL FROM:<>").await;
    assert_eq!(next.code, 421, "{next:?}");
    open.hung_up().await;

    spool.unseal().await.unwrap();
    stage
        .smtp()
        .await
        .expect(&[("EHLO client.example", 250), ("MAIL FROM:<>", 250)])
        .await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_whose_volume_has_failed_leaves_service_and_confirms_nothing() {
    let stage = Play::default().start().await;
    let mut open = stage.smtp().await;
    let envelope = [("MAIL FROM:<>", 250), ("RCPT TO:<bob@example.com>", 250)];
    open.expect(&[("EHLO client.example", 250)]).await;
    open.expect(&envelope).await;
    let spool = stage.daemon.handles().spool.clone();
    // What is written from now on would be found by no later start.
    std::fs::remove_dir_all(spool.directory()).unwrap();
    assert!(get(&stage, "/readyz").await.starts_with("HTTP/1.1 503"));
    assert!(spool.is_read_only());

    assert_eq!(open.data(MAIL).await.code, 451);
    let next = open.say("MAIL FROM:<>").await;
    assert_eq!(next.code, 421, "{next:?}");
    open.hung_up().await;

    let mut new = Client::connect(stage.port("smtp")).await;
    assert_eq!(new.reply().await.code, 421);
    new.hung_up().await;
    stage.stop().await;
}
