//! A sealed spool takes no new sessions; open ones end after their transaction.

use crate::client::Client;
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
