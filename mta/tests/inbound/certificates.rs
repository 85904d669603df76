//! A renewed certificate is served at once, and no session ends for it.

use crate::client::Client;
use crate::stage::{Play, certificate};

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_served_while_an_old_session_goes_on() {
    let stage = Play::default().start().await;
    let mut old = stage.smtp().await.starttls(&stage.chain).await;
    let before = stage
        .daemon
        .handles()
        .live
        .current()
        .certificate()
        .unwrap()
        .serial
        .clone();
    let (chain, key) = certificate();
    std::fs::write(stage.directory.path().join("tls.key"), key).unwrap();
    std::fs::write(stage.directory.path().join("tls.crt"), &chain).unwrap();
    stage
        .until("the new certificate is in use", |stage| {
            stage
                .daemon
                .handles()
                .live
                .current()
                .certificate()
                .is_some_and(|served| served.serial != before)
        })
        .await;
    let mut new = stage.smtp().await.starttls(&chain).await;
    new.expect(&[("NOOP", 250)]).await;
    old.expect(&[
        ("MAIL FROM:<>", 250),
        ("RCPT TO:<bob@example.com>", 250),
        ("QUIT", 221),
    ])
    .await;
    let mut client = stage.smtp().await;
    client
        .expect(&[("EHLO client.example", 250), ("STARTTLS", 220)])
        .await;
    assert!(
        Client::try_secure(client, &stage.chain).await.is_err(),
        "the old one is not served any more"
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_does_not_fit_is_not_used() {
    let stage = Play::default().start().await;
    let (_, key) = certificate();
    std::fs::write(stage.directory.path().join("tls.key"), key).unwrap();
    stage
        .until("the trouble is told", |stage| {
            stage.daemon.handles().live.state().error.is_some()
        })
        .await;
    let mut client = stage.smtp().await.starttls(&stage.chain).await;
    client.expect(&[("NOOP", 250)]).await;
    stage.stop().await;
}
