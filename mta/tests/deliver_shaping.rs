//! How fast next hops are used: rates, connections, recipients of one transaction; by the route and by what they say.

#![allow(clippy::unwrap_used, reason = "tests and their parts")]

mod deliver_support;
mod sink;

use std::time::Duration;

use deliver_support::{Bench, SOON, Setup, envelope, message, to_hosts};
use sink::{Script, Sink, eventually};

/// One policy to this sink, with these limits.
fn limited(sink: &Sink, limits: &str) -> Setup {
    let policies = to_hosts(&[sink.address], "Disabled", SOON);
    Setup {
        policies: policies.replace("tls: Disabled", &format!("tls: Disabled, limits: {limits}")),
        ..Setup::default()
    }
}

fn addresses(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("r{n}@to.example")).collect()
}

async fn submit_to(bench: &Bench, to: &[String]) {
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    bench.submit(envelope("a@from.example", &to), message("x")).await;
}

/// How many recipients each message had that the sink took.
fn sizes(sink: &Sink) -> Vec<usize> {
    sink.taken().iter().map(|taken| taken.rcpt.len()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_of_the_route_holds_back_what_is_more() {
    let sink = Sink::start(Script::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), limited(&sink, "{messages: [{count: 1, per: 1h}]}"));
    for _ in 0..3 {
        submit_to(&bench, &addresses(1)).await;
    }
    sink.wait_for(1).await;
    eventually("the site waits for its rate", || {
        bench.queue.totals().running == 0
    })
    .await;
    let sites = bench.queue.sites(None, 100).await;
    assert_eq!((sites.len(), sites[0].waiting), (1, 2), "{sites:?}");
    assert!(sites[0].opens_at > postroad_mta::queue::clock::now() + 3_000_000);
    assert_eq!(bench.spool.entries().len(), 2);
    // Without the limit they go at once.
    bench.live.swap(deliver_support::settings(
        dir.path(),
        &to_hosts(&[sink.address], "Disabled", SOON),
    ));
    sink.wait_for(3).await;
    bench.empty().await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_the_route_are_never_exceeded() {
    for most in [1, 3] {
        let sink = Sink::start(Script::default()).await;
        let dir = tempfile::tempdir().unwrap();
        let limits = format!("{{connections: {most}}}");
        let bench = Bench::start(dir.path(), limited(&sink, &limits));
        for _ in 0..30 {
            submit_to(&bench, &addresses(1)).await;
        }
        sink.wait_for(30).await;
        bench.empty().await;
        // They stay open, so that each of them was open at once with the others.
        let opened = sink.connections();
        assert!((1..=most).contains(&opened), "{opened} of {most}");
        bench.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recipients_are_split_as_the_route_and_the_next_hop_say() {
    for (limits, extension, want) in [
        ("{recipientsPerTransaction: 3}", "DSN", vec![3, 3, 1]),
        (
            "{recipientsPerTransaction: 100}",
            "LIMITS RCPTMAX=2",
            vec![2, 2, 2, 1],
        ),
        ("{recipientsPerTransaction: 1}", "LIMITS RCPTMAX=5", vec![1; 7]),
    ] {
        let mut script = Script::default();
        script.extensions.push(extension);
        let sink = Sink::start(script).await;
        let dir = tempfile::tempdir().unwrap();
        let bench = Bench::start(dir.path(), limited(&sink, limits));
        submit_to(&bench, &addresses(7)).await;
        bench.empty().await;
        assert_eq!(sizes(&sink), want, "{limits} {extension}");
        bench.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_next_hop_that_has_enough_recipients_gets_the_others_in_the_next_transaction() {
    for reply in ["452 4.5.3 too many recipients", "552 Too many recipients"] {
        // The third of each transaction is one too many: asked for a second time it is among the first.
        let sink = Sink::start(Script {
            rcpt: Box::new(move |address, before| {
                let number: usize = address[1..address.find('@').unwrap()].parse().unwrap();
                let fits = if before == 0 {
                    number < 2
                } else {
                    number < 2 + before * 2
                };
                if fits {
                    "250 ok".to_owned()
                } else {
                    reply.to_owned()
                }
            }),
            ..Script::default()
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        let bench = Bench::start(dir.path(), limited(&sink, "{connections: 1}"));
        submit_to(&bench, &addresses(4)).await;
        bench.empty().await;
        assert_eq!(sizes(&sink), [2, 2], "{reply}");
        assert_eq!(bench.figure("deliveries_total{outcome=\"Deferred\"}"), 0);
        bench.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_suspend_that_is_cut_off_is_carried_out_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), Setup::default());
    tokio::select! {
        biased;
        _ = bench.queue.suspend("mx:a", true) => unreachable!("it waits for the disk"),
        () = std::future::ready(()) => {}
    }
    let suspended = async {
        while !bench
            .queue
            .sites(None, 100)
            .await
            .iter()
            .any(|site| site.suspended)
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), suspended)
        .await
        .unwrap();
    let kept = std::fs::read_to_string(dir.path().join("suspended-sites.json")).unwrap();
    assert!(kept.contains("mx:a"), "{kept}");
    bench.stop().await;
}
