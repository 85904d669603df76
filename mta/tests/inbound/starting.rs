//! What stops a start, and what is waited for.

use std::net::SocketAddr;
use std::time::Duration;

use postroad_mta::daemon::Daemon;

use crate::probing::answer;
use crate::stage::{AT_ONCE, DOMAINS, Play};

async fn refused(text: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("base.yaml");
    std::fs::write(
        &config,
        text.replace("SPOOL", &directory.path().join("spool").display().to_string()),
    )
    .unwrap();
    match Daemon::start(&config).await {
        Ok(_) => panic!("started"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_be_says_what_to_mend() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let head = "format: 1\nhostname: mail.example.com\nspool: {directory: SPOOL}\n";
    for (text, wants) in [
        (
            format!(
                "{head}ports: [{{name: smtp, address: '127.0.0.1:{port}', role: Transfer, tls: Disabled}}]\n"
            ),
            "in use",
        ),
        (format!("{head}colour: blue\n"), "colour"),
        (
            format!("{head}tls: {{certificateFile: /no/such, keyFile: /no/such}}\n"),
            "/no/such",
        ),
        (head.replace("SPOOL", "/proc/no"), "/proc/no"),
        (head.replace("format: 1", "format: 7"), "7"),
    ] {
        let sentence = refused(&text).await;
        assert!(
            sentence.contains(wants) && !sentence.contains('\n') || wants == "colour",
            "{sentence}"
        );
        assert!(sentence.contains(wants), "{sentence}");
    }
    let missing = Daemon::start(std::path::Path::new("/no/such/base.yaml")).await;
    assert!(missing.is_err_and(|error| error.to_string().contains("/no/such/base.yaml")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_configuration_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("base.yaml");
    let domains = DOMAINS.replacen("domains:", "format: 1\ndomains:", 1);
    let base = format!(
        "format: 1\nhostname: mail.example.com\nspool: {{directory: {}/spool}}\n\
         ports: [{{name: smtp, address: '127.0.0.1:0', role: Transfer, tls: Disabled}}]\nshards: {{7: {}}}\n",
        directory.path().display(),
        postroad_config::hash(&domains),
    );
    std::fs::write(&config, base).unwrap();
    let waiting = tokio::spawn(async move { Daemon::start(&config).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished(), "it waits for the shard");
    std::fs::write(directory.path().join("domains-07.yaml"), domains).unwrap();
    let daemon = tokio::time::timeout(crate::client::PATIENCE, waiting)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(daemon.handles().live.current().set.file.domains.len(), 1);
    daemon.stop(AT_ONCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_fenced_off_does_not_open_its_spool_and_goes_on_later() {
    let directory = tempfile::tempdir().unwrap();
    let (config, spool) = (directory.path().join("base.yaml"), directory.path().join("spool"));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let health = own_address();
    let text = |peers: &str| {
        format!(
            "format: 1\nhostname: mail.example.com\nspool: {{directory: {}}}\nadmin: {{health: '{health}'}}\n\
             ports: [{{name: smtp, address: '127.0.0.1:0', role: Transfer, tls: Disabled}}]\n{peers}",
            spool.display()
        )
    };
    let fenced = text(&format!("peers: {{fenced: [{}]}}\n", host.trim()));
    std::fs::write(&config, &fenced).unwrap();
    let path = config.clone();
    let waiting = tokio::spawn(async move { Daemon::start(&path).await });
    let ready = answer(health, "/readyz").await;
    assert!(
        ready.starts_with("HTTP/1.1 503") && ready.contains(postroad_mta::fenced::REASON),
        "{ready}"
    );
    assert!(answer(health, "/livez").await.starts_with("HTTP/1.1 200"));
    assert!(!waiting.is_finished() && !spool.exists(), "it touches nothing");
    std::fs::write(&config, text("")).unwrap();
    let daemon = tokio::time::timeout(crate::client::PATIENCE, waiting)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(spool.exists());
    assert!(answer(health, "/readyz").await.starts_with("HTTP/1.1 200"));
    let live = daemon.handles().live.clone();
    std::fs::write(&config, fenced).unwrap();
    let ordered = postroad_mta::fenced::ordered(live);
    tokio::time::timeout(crate::client::PATIENCE, ordered)
        .await
        .expect("it hears of the order while it serves");
    daemon.stop(AT_ONCE).await;
}

/// A port of an address that no other test of this process or another has.
fn own_address() -> SocketAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    let own = std::net::TcpListener::bind((std::net::Ipv4Addr::new(127, 83, high, low), 0)).unwrap();
    own.local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_is_there_after_a_restart() {
    let stage = Play::default().start().await;
    let mut client = stage.smtp().await;
    client
        .expect(&[
            ("EHLO client.example", 250),
            ("MAIL FROM:<>", 250),
            ("RCPT TO:<bob@example.com>", 250),
        ])
        .await;
    assert_eq!(client.data(crate::stage::MAIL).await.code, 250);
    drop(client);
    let crate::stage::Stage {
        daemon,
        directory,
        chain,
    } = stage;
    daemon.stop(AT_ONCE).await;
    let daemon = Daemon::start(&directory.path().join("base.yaml")).await.unwrap();
    let again = crate::stage::Stage {
        daemon,
        directory,
        chain,
    };
    let (_, body) = again.only().await;
    assert_eq!(body, crate::stage::MAIL);
    again.stop().await;
}
