//! What a sender was promised goes on with its message, or the message comes back: REQUIRETLS (RFC 8689), DELIVERBY (RFC
//! 2852), and `TLS-Required: No` takes nothing away.

#![allow(clippy::unwrap_used, reason = "tests and their parts")]

mod deliver_support;
mod sink;

use std::net::SocketAddr;

use deliver_support::{Bench, SOON, Setup, certificate_for, envelope, message, store, to_hosts, to_store};
use postroad_config::{Deliver, Endpoint};
use postroad_mta::deliver::callout::{Callout, Keeps};
use postroad_mta::deliver::tls::ClientTls;
use postroad_mta::dns::Dns;
use postroad_mta::dns::table::Table;
use postroad_mta::metrics::Metrics;
use postroad_mta::net::Budget;
use postroad_mta::queue::clock;
use postroad_spool::{ByMode, DeliverBy, Envelope, Notify, Spool};
use sink::{Script, Sink, Taken, Trick, eventually};
use tokio_rustls::TlsAcceptor;

/// A certificate for these names, and trust in it.
fn trusted(names: &[&str]) -> (TlsAcceptor, ClientTls) {
    let (acceptor, root) = certificate_for(names);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root).unwrap();
    (acceptor, ClientTls::trusting(roots).unwrap())
}

fn inside(acceptor: &TlsAcceptor, extensions: &[&'static str]) -> Script {
    Script {
        tls: Some(acceptor.clone()),
        inside: Some(extensions.to_vec()),
        ..Script::default()
    }
}

fn with_requiretls(from: &str) -> Envelope {
    Envelope {
        require_tls: true,
        ..envelope(from, &["b@to.example"])
    }
}

fn within(seconds: u64, mode: ByMode, trace: bool) -> Envelope {
    Envelope {
        deliver_by: Some(DeliverBy {
            deadline: clock::now() + seconds * 1_000,
            mode,
            trace,
        }),
        ..envelope("a@from.example", &["b@to.example"])
    }
}

fn line<'a>(taken: &'a Taken, start: &str) -> &'a str {
    let text = std::str::from_utf8(&taken.body).unwrap();
    text.lines()
        .find(|line| line.starts_with(start))
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn requiretls_is_passed_on_inside_proven_tls_whatever_the_route_says() {
    let (acceptor, tls) = trusted(&["127.0.0.1"]);
    for mode in ["Disabled", "Opportunistic", "Encrypted", "Verified"] {
        let sink = Sink::start(inside(&acceptor, &["PIPELINING", "REQUIRETLS"])).await;
        let dir = tempfile::tempdir().unwrap();
        // It was accepted by a process before this one.
        let (spool, _) = Spool::open(dir.path(), &deliver_support::options()).unwrap();
        store(&spool, with_requiretls("a@from.example"), message("x")).await;
        drop(spool);
        let bench = Bench::start(
            dir.path(),
            Setup {
                policies: to_hosts(&[sink.address], mode, SOON),
                tls: Some(tls.clone()),
                ..Setup::default()
            },
        );
        let taken = sink.wait_for(1).await;
        assert!(taken[0].tls, "{mode}");
        assert_eq!(taken[0].mail, "MAIL FROM:<a@from.example> REQUIRETLS", "{mode}");
        bench.empty().await;
        bench.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requiretls_comes_back_where_it_cannot_be_kept_and_never_goes_out() {
    let (acceptor, tls) = trusted(&["127.0.0.1"]);
    let (stranger, _) = trusted(&["127.0.0.1"]);
    let (misnamed, misnamed_tls) = trusted(&["elsewhere.example"]);
    let in_clear = Script {
        extensions: vec!["REQUIRETLS", "DSN"],
        ..Script::default()
    };
    let broken = Script {
        trick: Trick::BrokenTls,
        ..Script::default()
    };
    for (what, script, trust, status) in [
        ("no TLS", in_clear, &tls, "5.7.10"),
        ("a handshake that fails", broken, &tls, "5.7.10"),
        (
            "an unknown certificate",
            inside(&stranger, &["REQUIRETLS"]),
            &tls,
            "5.7.10",
        ),
        (
            "another name",
            inside(&misnamed, &["REQUIRETLS"]),
            &misnamed_tls,
            "5.7.10",
        ),
        ("no REQUIRETLS", inside(&acceptor, &["DSN"]), &tls, "5.7.30"),
    ] {
        let sink = Sink::start(script).await;
        let dir = tempfile::tempdir().unwrap();
        let bench = Bench::start(
            dir.path(),
            Setup {
                policies: to_hosts(&[sink.address], "Opportunistic", SOON),
                tls: Some(trust.clone()),
                ..Setup::default()
            },
        );
        bench
            .submit(with_requiretls("a@from.example"), message("secret"))
            .await;
        // The notice has a null reverse-path: it goes where it can, with the header alone (RFC 8689 section 5).
        let taken = sink.wait_for(1).await;
        bench.empty().await;
        assert_eq!(sink.asked(), ["a@from.example"], "{what}");
        assert!(
            taken[0].mail.starts_with("MAIL FROM:<>"),
            "{what}: {}",
            taken[0].mail
        );
        assert!(!taken[0].mail.contains("REQUIRETLS"), "{what}: {}", taken[0].mail);
        assert_eq!(line(&taken[0], "Status:"), format!("Status: {status}"), "{what}");
        assert!(taken[0].text().contains("text/rfc822-headers"), "{what}");
        assert!(!taken[0].text().contains("leading dot"), "{what}");
        bench.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_about_requiretls_goes_with_it_where_it_is_kept() {
    let (acceptor, tls) = trusted(&["127.0.0.1"]);
    let sink = Sink::start(Script {
        rcpt: Box::new(|address, _| match address {
            "b@to.example" => "550 5.1.1 no".into(),
            _ => "250 ok".into(),
        }),
        ..inside(&acceptor, &["REQUIRETLS"])
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(
        dir.path(),
        Setup {
            policies: to_hosts(&[sink.address], "Opportunistic", SOON),
            tls: Some(tls),
            ..Setup::default()
        },
    );
    bench
        .submit(with_requiretls("a@from.example"), message("secret"))
        .await;
    let taken = sink.wait_for(1).await;
    assert!(taken[0].tls);
    assert_eq!(taken[0].mail, "MAIL FROM:<> REQUIRETLS");
    assert_eq!(line(&taken[0], "Status:"), "Status: 5.1.1");
    assert!(taken[0].text().contains("text/rfc822-headers"), "RET=HDRS");
    bench.empty().await;
    bench.stop().await;
}

/// One policy that sends everything directly, inside this machine.
fn direct(tls: &str) -> String {
    format!(
        "policies:\n  - name: test/mx\n    routes: [{{to: {{direct: {{allowedNetworks: [127.0.0.0/8]}}}}, tls: {tls}}}]\n    retry: {SOON}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_out_of_the_dns_is_no_proof_unless_it_is_the_domain_itself() {
    let (acceptor, tls) = trusted(&["mx.example", "own.example"]);
    let sink = Sink::start(inside(&acceptor, &["REQUIRETLS"])).await;
    let dns = Table::default()
        .mx("to.example", 10, "mx.example")
        .mx("own.example", 10, "own.example")
        .address("mx.example", sink.address.ip())
        .address("own.example", sink.address.ip());
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(
        dir.path(),
        Setup {
            policies: direct("Opportunistic"),
            dns,
            mx_port: sink.address.port(),
            tls: Some(tls),
            ..Setup::default()
        },
    );
    let to = |to| {
        let mut envelope = Envelope {
            require_tls: true,
            ..envelope("a@from.example", &[to])
        };
        envelope.recipients[0].notify = Notify::NEVER;
        envelope
    };
    bench.submit(to("b@to.example"), message("x")).await;
    bench.empty().await;
    assert_eq!(bench.figure("deliveries_total{outcome=\"Failed\"}"), 1);
    assert_eq!(sink.connections(), 0);
    bench.submit(to("b@own.example"), message("x")).await;
    assert_eq!(sink.wait_for(1).await[0].rcpt, ["RCPT TO:<b@own.example>"]);
    bench.empty().await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_header_waives_the_tls_that_a_policy_asks_for() {
    let (stranger, _) = trusted(&["mx.example"]);
    let sink = Sink::start(inside(&stranger, &["REQUIRETLS"])).await;
    let dns = || {
        Table::default()
            .mx("to.example", 10, "mx.example")
            .address("mx.example", sink.address.ip())
    };
    let waived = b"TLS-Required: No\r\nSubject: your certificate\r\n\r\nx\r\n".to_vec();
    for (policies, body, require_tls, arrives) in [
        (direct("Verified"), waived.clone(), false, false),
        (direct("Opportunistic"), waived.clone(), false, true),
        (direct("Verified"), message("x"), false, false),
        (direct("Verified"), waived.clone(), true, false),
        (to_hosts(&[sink.address], "Verified", SOON), waived, false, false),
    ] {
        let before = sink.taken().len();
        let dir = tempfile::tempdir().unwrap();
        let bench = Bench::start(
            dir.path(),
            Setup {
                policies: policies.clone(),
                dns: dns(),
                mx_port: sink.address.port(),
                tls: None,
                ..Setup::default()
            },
        );
        let mut envelope = Envelope {
            require_tls,
            ..envelope("a@from.example", &["b@to.example"])
        };
        envelope.recipients[0].notify = Notify::NEVER;
        bench.submit(envelope, body).await;
        if arrives {
            assert!(sink.wait_for(before + 1).await[before].tls, "TLS all the same");
            bench.empty().await;
        } else {
            eventually("it did not go", || {
                let figure = |outcome| bench.figure(&format!("deliveries_total{{outcome=\"{outcome}\"}}"));
                figure("Deferred") + figure("Failed") >= 1
            })
            .await;
            assert_eq!(sink.taken().len(), before, "{policies} {require_tls}");
        }
        bench.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_asked_whether_it_keeps_requiretls() {
    let (acceptor, tls) = trusted(&["127.0.0.1"]);
    let host = |address: SocketAddr| {
        Deliver::Lmtp(Endpoint {
            host: address.ip().to_string(),
            port: address.port(),
        })
    };
    let lmtp = |script: Script| Script { lmtp: true, ..script };
    let budget = Budget::new(&Metrics::new());
    let callout = Callout::new(Dns::new(Table::default()), tls, budget);
    for (script, keeps) in [
        (inside(&acceptor, &["REQUIRETLS"]), Keeps::Yes),
        (inside(&acceptor, &["DSN"]), Keeps::NotOffered),
        (Script::default(), Keeps::NoTls),
    ] {
        let sink = Sink::start(lmtp(script)).await;
        for _ in 0..2 {
            let said = callout.keeps_tls(&host(sink.address), "mail.test.example").await;
            assert_eq!(said, keeps);
        }
        assert_eq!(sink.connections(), 1, "it is asked once");
    }
    let nobody = host("127.0.0.1:1".parse().unwrap());
    assert_eq!(
        callout.keeps_tls(&nobody, "mail.test.example").await,
        Keeps::Unknown
    );
}

/// Sends a message to a hop with these extensions; all that the hop took, notices among it.
async fn send(extensions: &[&'static str], envelope: Envelope, messages: usize) -> Vec<Taken> {
    let sink = Sink::start(Script {
        extensions: extensions.to_vec(),
        ..Script::default()
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(
        dir.path(),
        Setup {
            policies: to_hosts(&[sink.address], "Disabled", SOON),
            ..Setup::default()
        },
    );
    bench.submit(envelope, message("x")).await;
    let taken = sink.wait_for(messages).await;
    bench.empty().await;
    assert_eq!(sink.taken().len(), messages);
    bench.stop().await;
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_that_is_left_is_passed_on() {
    for (mode, trace, end) in [(ByMode::Return, false, ";R"), (ByMode::Notify, false, ";N")] {
        let taken = send(&["DELIVERBY 10"], within(100, mode, trace), 1).await;
        let by = taken[0].mail.split(" BY=").nth(1).unwrap();
        let seconds: u64 = by.strip_suffix(end).unwrap().parse().unwrap();
        assert!((60..100).contains(&seconds), "{by}");
    }
    // Over when it came: that is passed on too, and nobody is told again.
    let mut past = within(0, ByMode::Notify, false);
    past.deliver_by.as_mut().unwrap().deadline -= 50_000;
    let taken = send(&["DELIVERBY"], past, 1).await;
    let by = taken[0].mail.split(" BY=").nth(1).unwrap();
    let seconds: i64 = by.strip_suffix(";N").unwrap().parse().unwrap();
    assert!((-120..=-50).contains(&seconds), "{by}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_return_that_the_next_hop_does_not_promise_comes_back_at_once() {
    for (extensions, seconds) in [(&["DSN"][..], 100), (&["DELIVERBY 200"], 100)] {
        let taken = send(extensions, within(seconds, ByMode::Return, false), 1).await;
        assert!(taken[0].mail.starts_with("MAIL FROM:<>"), "{}", taken[0].mail);
        assert_eq!(line(&taken[0], "Status:"), "Status: 5.4.7");
        assert_eq!(line(&taken[0], "Action:"), "Action: failed");
        assert!(line(&taken[0], "Deliver-By-Date: ").contains("+0000"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_is_told_where_nobody_keeps_the_time_and_where_it_is_traced() {
    for (extensions, trace, told) in [
        (&["DSN"][..], false, true),
        (&["DSN", "DELIVERBY"], false, false),
        (&["DSN", "DELIVERBY"], true, true),
    ] {
        let taken = send(
            extensions,
            within(100, ByMode::Notify, trace),
            1 + usize::from(told),
        )
        .await;
        assert_eq!(taken[0].mail.contains(" BY="), extensions.len() == 2);
        if told {
            assert_eq!(line(&taken[1], "Action:"), "Action: relayed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_knows_no_time_is_the_end_and_gets_its_mail() {
    let store = Sink::start(Script {
        lmtp: true,
        ..Script::default()
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(
        dir.path(),
        Setup {
            policies: to_store("to.example", store.address),
            ..Setup::default()
        },
    );
    bench
        .submit(within(100, ByMode::Return, true), message("x"))
        .await;
    store.wait_for(1).await;
    bench.empty().await;
    assert_eq!(bench.figure("notices_total"), 0);
    bench.stop().await;
}

/// A hop that cannot be reached is asked again in hours; the time of the sender is over in two seconds.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_time_is_kept_while_a_dead_hop_waits_for_hours() {
    for (mode, outcome, notices) in [(ByMode::Return, "Expired", 0), (ByMode::Notify, "Deferred", 1)] {
        let dir = tempfile::tempdir().unwrap();
        let nobody = "127.0.0.1:1".parse().unwrap();
        let bench = Bench::start(
            dir.path(),
            Setup {
                policies: to_hosts(&[nobody], "Disabled", "{first: 3h, max: 3h}"),
                ..Setup::default()
            },
        );
        let mut envelope = within(2, mode, false);
        let deadline = envelope.deliver_by.unwrap().deadline;
        if mode == ByMode::Return {
            // So that no notice waits for the dead hop.
            envelope.recipients[0].notify = Notify::NEVER;
        }
        bench.submit(envelope, message("x")).await;
        eventually("the time was over", || {
            let figure = bench.figure(&format!("deliveries_total{{outcome=\"{outcome}\"}}"));
            match mode {
                ByMode::Return => figure == 1,
                ByMode::Notify => figure >= 2 && bench.figure("notices_total") == notices,
            }
        })
        .await;
        assert!(clock::now() >= deadline, "not before it");
        if mode == ByMode::Return {
            bench.empty().await;
        }
        bench.stop().await;
    }
}
