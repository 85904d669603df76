//! Newer files are used when they are good; else the old ones stay.

use std::sync::Arc;

use postroad_mta::tls::Service;

use crate::client::Client;
use crate::stage::{DOMAINS, Play, Stage};

fn rewrite(stage: &Stage, domains: &str) {
    let text = Play::default().text(stage.directory.path(), domains);
    // As a projected volume does it: the new file appears at once, whole.
    let next = stage.directory.path().join("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(next, stage.config()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_domain_is_received_for_without_a_restart() {
    let stage = Play::default().start().await;
    let tls = |stage: &Stage| {
        let settings = stage.daemon.handles().live.current();
        Arc::clone(settings.tls().unwrap().config(Service::Submission))
    };
    let before = tls(&stage);
    let mut client = stage.smtp().await;
    client
        .expect(&[
            ("EHLO client.example", 250),
            ("MAIL FROM:<>", 250),
            ("RCPT TO:<x@new.example>", 550),
        ])
        .await;
    let more = "  - name: new.example\n    inbound:\n      recipients: {mode: Any}\n      \
                deliverTo: {lmtp: {host: 127.0.0.1, port: 1}}\n";
    rewrite(&stage, &format!("{DOMAINS}{more}"));
    stage
        .until("the new set is in use", |stage| {
            stage.daemon.handles().live.current().set.file.domains.len() == 2
        })
        .await;
    assert!(
        Arc::ptr_eq(&before, &tls(&stage)),
        "TLS sessions of before can be resumed"
    );
    client
        .expect(&[
            ("RSET", 250),
            ("MAIL FROM:<>", 250),
            ("RCPT TO:<x@new.example>", 250),
        ])
        .await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_is_not_used_and_nothing_is_refused_for_good_meanwhile() {
    let stage = Play::default().start().await;
    let before = stage.daemon.handles().live.state().hash;
    rewrite(&stage, "domains: [{name: 'not a name'}]\n");
    stage
        .until("the trouble is told", |stage| {
            stage.daemon.handles().live.state().error.is_some()
        })
        .await;
    assert_eq!(stage.daemon.handles().live.state().hash, before);
    assert_eq!(stage.daemon.handles().metrics.config_refused.get(), 1);
    let mut client = stage.smtp().await;
    client
        .expect(&[
            ("EHLO client.example", 250),
            ("MAIL FROM:<>", 250),
            ("RCPT TO:<alice@example.com>", 250),
            ("RCPT TO:<nobody@example.com>", 451),
            ("RCPT TO:<x@else.example>", 451),
        ])
        .await;
    rewrite(&stage, DOMAINS);
    stage
        .until("the trouble is over", |stage| {
            stage.daemon.handles().live.state().error.is_none()
        })
        .await;
    client
        .expect(&[
            ("RSET", 250),
            ("MAIL FROM:<>", 250),
            ("RCPT TO:<x@else.example>", 550),
        ])
        .await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_come_and_go_with_the_file() {
    let stage = Play::default().start().await;
    let mut old = Client::greeted(stage.port("smtp")).await;
    let text = Play::default()
        .text(stage.directory.path(), DOMAINS)
        .replace("name: smtp,", "name: mx,");
    std::fs::write(stage.config(), text).unwrap();
    stage
        .until("the new port is served", |stage| {
            stage.daemon.ports().address("mx").is_some() && stage.daemon.ports().address("smtp").is_none()
        })
        .await;
    Client::greeted(stage.port("mx"))
        .await
        .expect(&[("EHLO client.example", 250)])
        .await;
    old.expect(&[("NOOP", 250)]).await;
    stage.stop().await;
}
