//! Next hops that are away, broken or hostile: mail waits or moves on, and nobody gets it twice.

#![allow(clippy::unwrap_used, reason = "tests and their parts")]

mod deliver_support;
mod sink;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use deliver_support::{
    Bench, SOON, Setup, certificate, envelope, message, options, settings, store, to_hosts,
};
use postroad_mta::deliver::tls::ClientTls;
use postroad_mta::dns::table::Table;
use postroad_spool::Spool;
use postroad_spool::io::memory::Memory;
use sink::{Script, Sink, Trick, eventually};

fn hosts(addresses: &[SocketAddr], tls: &str) -> Setup {
    Setup {
        policies: to_hosts(addresses, tls, SOON),
        ..Setup::default()
    }
}

/// A port on which nobody listens.
fn closed_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hop_that_comes_back_gets_the_message_exactly_once() {
    let address = closed_port();
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), hosts(&[address], "Opportunistic"));
    for number in 0..5 {
        bench
            .submit(
                envelope("a@from.example", &["b@to.example"]),
                message(&format!("n{number}")),
            )
            .await;
    }
    eventually("an attempt failed", || {
        bench.figure("deliveries_total{outcome=\"Deferred\"}") >= 1
    })
    .await;
    let sink = Sink::start_at(address, Script::default()).await;
    sink.wait_for(5).await;
    bench.empty().await;
    assert_eq!(sink.taken().len(), 5);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_can_record_nothing_sends_nothing() {
    let sink = Sink::start(Script::default()).await;
    let setup = || hosts(&[sink.address], "Opportunistic");
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let volume = Memory::new(64 << 20);
    let (spool, _) = Spool::open_on(Arc::new(volume.clone()), dir.path(), &options()).unwrap();
    let to = envelope("a@from.example", &["b@to.example"]);
    let waiting = store(&spool, to.clone(), message("again after a restart")).await;
    volume.fail_syncs(true);
    let refused = spool.begin().commit(to.clone(), message("refused")).await;
    assert!(refused.is_err() && spool.is_read_only());
    let failed = Bench::on(spool, dir.path(), setup());
    failed.queue.accepted(waiting);
    // While nothing leaves there, whole queues of others come and go.
    let sound = Bench::start(other.path(), setup());
    for number in 0..20 {
        sound.submit(to.clone(), message(&format!("n{number}"))).await;
        sound.empty().await;
    }
    assert!(
        failed.queue.standing(1).await.is_some(),
        "the scheduler of the first one lives"
    );
    let taken = sink.taken();
    assert_eq!(taken.len(), 20);
    assert!(
        !taken
            .iter()
            .any(|mail| mail.text().contains("again after a restart"))
    );
    assert_eq!(failed.figure("duplicates_possible_total{why=\"Unrecorded\"}"), 0);
    sound.stop().await;
    failed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sender_of_a_message_that_the_volume_has_lost_is_told() {
    let sink = Sink::start(Script::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(dir.path(), &options()).unwrap();
    let to = envelope("a@from.example", &["b@to.example"]);
    // Large enough for a file of its own, and small enough for one that is read whole.
    for (lines, is_gone) in [(20_000, true), (2, true), (20_000, false), (2, false)] {
        let mut incoming = spool.begin();
        incoming
            .write_to_file(&b"Subject: lost\r\n".repeat(lines))
            .unwrap();
        let id = incoming
            .commit(to.clone(), b"Received: by mail.test.example\r\n".to_vec())
            .await
            .unwrap();
        let file = dir.path().join(format!("blobs/{id}.blob"));
        if is_gone {
            std::fs::remove_file(file).unwrap();
        } else {
            let mut octets = std::fs::read(&file).unwrap();
            *octets.last_mut().unwrap() ^= 0x20;
            std::fs::write(file, octets).unwrap();
        }
    }
    drop(spool);
    let (spool, recovery) = Spool::open(dir.path(), &options()).unwrap();
    assert_eq!((recovery.entries, recovery.lost), (4, 2));
    let damaged = spool.clone();
    let bench = Bench::on(spool, dir.path(), hosts(&[sink.address], "Opportunistic"));
    let notices = sink.wait_for(4).await;
    bench.empty().await;
    assert_eq!(
        damaged.usage().damaged,
        2,
        "what the start has told is not counted again"
    );
    for notice in notices {
        assert!(notice.mail.starts_with("MAIL FROM:<>"), "{}", notice.mail);
        assert!(
            notice.rcpt[0].starts_with("RCPT TO:<a@from.example>"),
            "{:?}",
            notice.rcpt
        );
        let text = notice.text();
        assert!(
            text.contains("Action: failed") && text.contains("Status: 5.3.0"),
            "{text}"
        );
        assert!(text.contains("Received: by mail.test.example"), "{text}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_host_is_tried_when_the_first_cannot_be_reached_or_breaks() {
    let broken = Sink::start(Script {
        trick: Trick::HalfLine,
        ..Script::default()
    })
    .await;
    let refusing = Sink::start(Script {
        greeting: "554 no service",
        ..Script::default()
    })
    .await;
    let good = Sink::start(Script::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let order = [closed_port(), broken.address, refusing.address, good.address];
    let bench = Bench::start(dir.path(), hosts(&order, "Opportunistic"));
    bench
        .submit(
            envelope("a@from.example", &["b@to.example"]),
            message("fall over"),
        )
        .await;
    assert_eq!(good.wait_for(1).await.len(), 1);
    bench.empty().await;
    assert_eq!(bench.figure("deliveries_total{outcome=\"Deferred\"}"), 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_by_mx_goes_to_the_best_host_that_answers() {
    let good = Sink::start_at("127.0.0.3:0".parse().unwrap(), Script::default()).await;
    let local = |last: u8| IpAddr::from([127, 0, 0, last]);
    let dns = Table::default()
        .mx("to.example", 10, "down.example")
        .mx("to.example", 20, "up.example")
        .address("down.example", local(2))
        .address("up.example", local(3));
    let policies = format!(
        "policies:\n  - name: test/mx\n    routes: [{{to: {{direct: {{allowedNetworks: [127.0.0.0/8]}}}}, tls: Opportunistic}}]\n    retry: {SOON}\n"
    );
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup {
        policies,
        dns,
        mx_port: good.address.port(),
        ..Setup::default()
    };
    let bench = Bench::start(dir.path(), setup);
    bench.submit(envelope("", &["b@to.example"]), message("mx")).await;
    good.wait_for(1).await;
    bench.empty().await;
    // Without permission, inside is out of reach, and a domain that does not exist is not waited for.
    bench.live.swap(settings(dir.path(), ""));
    for (to, failed) in [("b@to.example", 1), ("b@nowhere.example", 2)] {
        bench.submit(envelope("", &[to]), message("no")).await;
        eventually("it failed", || {
            bench.figure("deliveries_total{outcome=\"Failed\"}") == failed
        })
        .await;
    }
    assert_eq!(good.taken().len(), 1);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_used_as_the_route_says() {
    let (acceptor, root) = certificate();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root).unwrap();
    let trusting = ClientTls::trusting(roots).unwrap();
    // Mode, whether the certificate is known, whether STARTTLS is offered, whether it arrives, whether inside TLS.
    for (mode, known, offered, arrives, inside) in [
        ("Disabled", false, true, true, false),
        ("Opportunistic", false, true, true, true),
        ("Opportunistic", false, false, true, false),
        ("Encrypted", false, true, true, true),
        ("Encrypted", false, false, false, false),
        ("Verified", true, true, true, true),
        ("Verified", false, true, false, false),
    ] {
        let tls = offered.then(|| acceptor.clone());
        let sink = Sink::start(Script {
            tls,
            ..Script::default()
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        let setup = Setup {
            tls: known.then(|| trusting.clone()),
            ..hosts(&[sink.address], mode)
        };
        let bench = Bench::start(dir.path(), setup);
        bench
            .submit(envelope("a@from.example", &["b@to.example"]), message("tls"))
            .await;
        if arrives {
            assert_eq!(
                sink.wait_for(1).await[0].tls,
                inside,
                "{mode} known: {known} offered: {offered}"
            );
        } else {
            eventually("it was deferred", || {
                bench.figure("deliveries_total{outcome=\"Deferred\"}") >= 1
            })
            .await;
            assert!(
                sink.taken().is_empty(),
                "{mode} known: {known} offered: {offered}"
            );
        }
        bench.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_handshake_falls_back_to_the_clear_only_where_that_is_allowed() {
    for (mode, arrives) in [("Opportunistic", true), ("Encrypted", false)] {
        let sink = Sink::start(Script {
            trick: Trick::BrokenTls,
            ..Script::default()
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        let bench = Bench::start(dir.path(), hosts(&[sink.address], mode));
        bench
            .submit(envelope("a@from.example", &["b@to.example"]), message("tls"))
            .await;
        if arrives {
            assert!(!sink.wait_for(1).await[0].tls);
        } else {
            eventually("it was deferred", || {
                bench.figure("deliveries_total{outcome=\"Deferred\"}") >= 1
            })
            .await;
            assert!(sink.taken().is_empty());
        }
        bench.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_hops_are_left_and_the_message_stays() {
    let (acceptor, _) = certificate();
    for trick in [
        Trick::EndlessGreeting,
        Trick::HalfLine,
        Trick::InjectAfterStartTls,
    ] {
        let tls = Some(acceptor.clone()).filter(|_| trick == Trick::InjectAfterStartTls);
        let sink = Sink::start(Script {
            tls,
            trick,
            ..Script::default()
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        let bench = Bench::start(dir.path(), hosts(&[sink.address], "Opportunistic"));
        bench
            .submit(envelope("a@from.example", &["b@to.example"]), message("x"))
            .await;
        eventually("it was deferred", || {
            bench.figure("deliveries_total{outcome=\"Deferred\"}") >= 1
        })
        .await;
        assert!(sink.taken().is_empty(), "{trick:?}");
        assert_eq!(bench.spool.entries().len(), 1, "{trick:?}");
        bench.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_fate_is_unknown_is_not_given_to_another_host_in_the_same_attempt() {
    let unclear = Sink::start(Script {
        trick: Trick::CloseAfterData,
        ..Script::default()
    })
    .await;
    let other = Sink::start(Script::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), hosts(&[unclear.address, other.address], "Disabled"));
    bench
        .submit(envelope("a@from.example", &["b@to.example"]), message("x"))
        .await;
    eventually("it was deferred", || {
        bench.figure("deliveries_total{outcome=\"Deferred\"}") == 1
    })
    .await;
    assert!(other.taken().is_empty());
    assert_eq!(bench.figure("duplicates_possible_total{why=\"NoReply\"}"), 1);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pending_is_delivered_after_a_restart_and_what_was_delivered_is_not_repeated() {
    let address = closed_port();
    let yes = Sink::start(Script {
        rcpt: Box::new(|address, _| {
            if address.starts_with("later") {
                "451 4.2.0 later"
            } else {
                "250 ok"
            }
            .into()
        }),
        ..Script::default()
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), hosts(&[yes.address], "Disabled"));
    bench
        .submit(
            envelope("a@from.example", &["now@to.example", "later@to.example"]),
            message("mixed"),
        )
        .await;
    yes.wait_for(1).await;
    eventually("the outcome is there", || bench.spool.entries()[0].pending == 1).await;
    let spool = bench.spool.clone();
    bench.stop().await;
    drop(spool);
    // Another process on the same directory, with another next hop.
    let (spool, recovery) = open_again(dir.path()).await;
    assert_eq!(recovery, 1);
    store(
        &spool,
        envelope("a@from.example", &["new@to.example"]),
        message("never announced"),
    )
    .await;
    let bench = Bench::on(spool, dir.path(), hosts(&[address], "Disabled"));
    let sink = Sink::start_at(address, Script::default()).await;
    sink.wait_for(2).await;
    bench.empty().await;
    let mut asked = sink.asked();
    asked.sort();
    assert_eq!(asked, ["later@to.example", "new@to.example"]);
    bench.stop().await;
}

/// The last clone of a spool may close a moment later, on the thread of a task that just ended.
async fn open_again(directory: &std::path::Path) -> (Spool, usize) {
    let mut opened = None;
    eventually("the spool is free again", || {
        opened = Spool::open(directory, &options()).ok();
        opened.is_some()
    })
    .await;
    let (spool, recovery) = opened.unwrap();
    (spool, recovery.entries)
}

#[tokio::test(flavor = "multi_thread")]
async fn withdrawn_entries_are_left_alone_until_they_come_back() {
    let address = closed_port();
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), hosts(&[address], "Disabled"));
    let mut entries = vec![];
    for _ in 0..3 {
        entries.push(
            bench
                .submit(envelope("a@from.example", &["b@to.example"]), message("x"))
                .await,
        );
    }
    eventually("an attempt failed", || {
        bench.figure("deliveries_total{outcome=\"Deferred\"}") >= 1
    })
    .await;
    // Those that are in an attempt are given later, so the order is chance.
    let mut withdrawn = bench.queue.withdraw(entries.clone()).await;
    withdrawn.sort_unstable();
    assert_eq!(withdrawn, entries);
    let sink = Sink::start_at(address, Script::default()).await;
    // Something else passes, they do not.
    bench
        .submit(envelope("a@from.example", &["other@to.example"]), message("y"))
        .await;
    sink.wait_for(1).await;
    assert_eq!(sink.asked(), ["other@to.example"]);
    bench.queue.give_back(entries);
    sink.wait_for(4).await;
    bench.empty().await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_runs_out_of_time_is_returned() {
    let notices = Sink::start(Script::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let dead = closed_port();
    let policies = format!(
        "policies:\n  - name: test/dead\n    match: {{recipientDomains: [to.example]}}\n    routes: [{{to: {{smartHosts: [{{host: {}, port: {}}}]}}, tls: Disabled}}]\n    retry: {SOON}\n{}",
        dead.ip(),
        dead.port(),
        to_hosts(&[notices.address], "Disabled", SOON).replace("policies:\n", "")
    );
    let policies = policies.replacen(SOON, &SOON.replace('}', ", lifetime: 1500ms}"), 1);
    let bench = Bench::start(
        dir.path(),
        Setup {
            policies,
            ..Setup::default()
        },
    );
    let short = envelope("a@from.example", &["b@to.example"]);
    bench.submit(short, message("short")).await;
    let notice = notices.wait_for(1).await[0].text();
    for line in [
        "Action: failed",
        "Status: 4.4.7",
        "Final-Recipient: rfc822; b@to.example",
    ] {
        assert!(notice.lines().any(|found| found == line), "{line}\n{notice}");
    }
    bench.empty().await;
    assert_eq!(bench.figure("deliveries_total{outcome=\"Expired\"}"), 1);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_its_next_try_comes_back_when_its_lifetime_is_shortened() {
    let sink = Sink::start(Script {
        rcpt: Box::new(|address, _| match address {
            later if later.starts_with("later") => "450 4.2.0 later".to_owned(),
            _ => "250 2.1.5 ok".to_owned(),
        }),
        ..Script::default()
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let policies = |retry: &str| to_hosts(&[sink.address], "Disabled", retry);
    let bench = Bench::start(
        dir.path(),
        Setup {
            policies: policies("{first: 12h, max: 24h}"),
            ..Setup::default()
        },
    );
    let entry = bench
        .submit(envelope("a@from.example", &["later@to.example"]), message("wait"))
        .await;
    eventually("it waits for hours", || {
        let states = bench.spool.states(entry);
        states.is_some_and(|states| states[0].attempts == 1)
    })
    .await;
    let shorter = policies("{first: 12h, max: 24h, lifetime: 1s}");
    bench.live.swap(settings(dir.path(), &shorter));
    let notices = sink.wait_for(1).await;
    let text = notices[0].text();
    assert!(text.contains("Action: failed"), "{text}");
    bench.empty().await;
    // The same by the lifetime of the queue, which holds for what waits already.
    let mut old = envelope("a@from.example", &["later@to.example"]);
    old.arrived -= 120_000;
    bench
        .live
        .swap(settings(dir.path(), &policies("{first: 12h, max: 24h}")));
    let entry = bench.submit(old, message("old")).await;
    eventually("it waits for hours, too", || {
        let states = bench.spool.states(entry);
        states.is_some_and(|states| states[0].attempts == 1)
    })
    .await;
    let shorter = format!("{}queue: {{lifetime: 1m}}\n", policies("{first: 12h, max: 24h}"));
    bench.live.swap(settings(dir.path(), &shorter));
    let notices = sink.wait_for(2).await;
    let text = notices[1].text();
    assert!(text.contains("Status: 4.4.7"), "{text}");
    bench.empty().await;
    bench.stop().await;
}
