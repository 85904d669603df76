//! A pod tries to relay through ports, and finds out who is an open relay; and it notes who its clients are.

use postroad_config::admin::{RelayTarget, RelayTest};
use postroad_mta::relay_test::{self, tricks::tricks};

use crate::stage::{MAIL, Play, Stage};

fn test(stage: &Stage) -> RelayTest {
    let target = |(name, implicit_tls)| RelayTarget {
        address: stage.port(name),
        implicit_tls,
    };
    RelayTest {
        targets: [("smtp", false), ("submission", false), ("submissions", true)]
            .map(target)
            .to_vec(),
        names: ["mail.example.com", "example.com"]
            .map(|name| name.parse().unwrap())
            .to_vec(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_trick_is_refused_at_every_port() {
    let stage = Play::default().start().await;
    let wanted = tricks(&["mail.example.com", "example.com"]).len();
    for tested in relay_test::run(&test(&stage)).await {
        assert_eq!(
            (tested.taken.len(), tested.error.clone()),
            (0, None),
            "{tested:?}"
        );
        assert_eq!(
            (tested.refused as usize, tested.put_off),
            (wanted, 0),
            "{tested:?}"
        );
    }
    assert!(stage.entries().is_empty(), "no message comes of it");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_relay_is_found_at_each_port_that_is_one() {
    let stage = Play {
        more: "relayFrom: [127.0.0.0/8]\n".into(),
        ..Play::default()
    }
    .start()
    .await;
    for tested in relay_test::run(&test(&stage)).await {
        let taken = |name: &str| tested.taken.iter().any(|taken| taken == name);
        assert!(
            taken("a stranger's mail") && taken("the null sender"),
            "{tested:?}"
        );
        assert_eq!(tested.error, None);
    }
    assert!(stage.entries().is_empty(), "no message comes of it");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_not_there_is_an_error_and_no_verdict() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let target = RelayTarget {
        address: gone,
        implicit_tls: false,
    };
    let test = RelayTest {
        targets: vec![target],
        names: vec![],
    };
    let tested = relay_test::run(&test).await;
    assert_eq!((tested[0].refused, tested[0].taken.len()), (0, 0));
    assert!(tested[0].error.is_some());
}

/// Connections alone are no clients: a load balancer makes them, and the test of the ports does.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_message_accepted_is_a_client() {
    let stage = Play::default().start().await;
    let seen = || stage.daemon.handles().metrics.seen.state().clients;
    relay_test::run(&test(&stage)).await;
    assert!(seen().is_empty());
    let mut client = stage.smtp().await;
    client
        .expect(&[
            ("EHLO client.example", 250),
            ("MAIL FROM:<carol@else.example>", 250),
            ("RCPT TO:<bob@example.com>", 250),
        ])
        .await;
    assert_eq!(client.data(MAIL).await.code, 250);
    let clients = seen();
    assert_eq!((clients.len(), clients[0].messages), (1, 1));
    assert_eq!(clients[0].address.to_string(), "127.0.0.1");
    stage.stop().await;
}
