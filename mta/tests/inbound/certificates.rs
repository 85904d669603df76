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

/// Neither the PROXY protocol nor a limit is in the way, and no figure counts it.
#[tokio::test(flavor = "multi_thread")]
async fn each_port_is_seen_to_show_the_certificate_that_is_in_use() {
    let stage = Play {
        limits: "{connections: 1}",
        more: "proxyProtocol: {mode: Required, trustedSources: [127.0.0.0/8]}\n".into(),
        ..Play::default()
    }
    .start()
    .await;
    let ports = stage.daemon.ports();
    let wanted = stage.daemon.handles().live.current().certificate().cloned();
    assert!(wanted.is_some());
    for _ in 0..2 {
        let shown = ports.shown().await;
        let names: Vec<_> = shown.iter().map(|port| port.port.as_str()).collect();
        assert_eq!(names, ["smtp", "submission", "submissions"]);
        for port in shown {
            assert_eq!(
                (port.certificate, port.error),
                (wanted.clone(), None),
                "{}",
                port.port
            );
        }
    }
    assert_eq!(stage.daemon.handles().metrics.sessions_opened.get(), 0);
    let (chain, key) = certificate();
    std::fs::write(stage.directory.path().join("tls.key"), key).unwrap();
    std::fs::write(stage.directory.path().join("tls.crt"), &chain).unwrap();
    let live = stage.daemon.handles().live.clone();
    stage
        .until("the new certificate is in use", |_| {
            live.current().certificate() != wanted.as_ref()
        })
        .await;
    let renewed = live.current().certificate().cloned();
    for port in ports.shown().await {
        assert_eq!(port.certificate, renewed, "{}", port.port);
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_shows_nothing_is_said_to() {
    let stage = Play::default().start().await;
    let ports = stage.daemon.ports().clone();
    ports.close();
    let shown = ports.shown().await;
    assert_eq!(shown.len(), 3);
    for port in shown {
        assert_eq!(port.certificate, None);
        assert!(port.error.is_some_and(|error| error.contains("not open")));
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tls13_as_the_oldest_version_tls12_gets_no_handshake() {
    let stage = Play::default().start().await;
    let text = std::fs::read_to_string(stage.config()).unwrap();
    let attempt = async |version| {
        let mut client = stage.smtp().await;
        client
            .expect(&[("EHLO client.example", 250), ("STARTTLS", 220)])
            .await;
        client.try_secure_as(&stage.chain, &[version]).await.is_ok()
    };
    assert!(attempt(&rustls::version::TLS12).await && attempt(&rustls::version::TLS13).await);
    let newest = text.replace("tls.key}", "tls.key, minimumVersion: Tls13}");
    assert_ne!(newest, text);
    std::fs::write(stage.config(), newest).unwrap();
    let follows = |stage: &crate::stage::Stage| {
        let settings = stage.daemon.handles().live.current();
        let tls = settings.set.file.tls.as_ref();
        tls.is_some_and(|tls| tls.minimum_version == postroad_config::TlsVersion::Tls13)
    };
    stage.until("the change is in use", follows).await;
    assert!(!attempt(&rustls::version::TLS12).await);
    assert!(attempt(&rustls::version::TLS13).await);
    stage.stop().await;
}
