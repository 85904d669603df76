//! Domains with the same servers are one site; servers are chosen as RFC 5321 section 5.1 says, and never ourselves.

#![allow(clippy::unwrap_used, reason = "tests and their parts")]

mod deliver_support;
mod sink;

use std::net::IpAddr;

use deliver_support::{Bench, SOON, Setup, envelope, message};
use postroad_mta::dns::table::Table;
use sink::{Script, Sink, eventually};

const HOME: &str = "{to: {direct: {allowedNetworks: [127.0.0.0/8]}}, tls: Disabled}";

fn by_mx(dns: Table, port: u16) -> Setup {
    Setup {
        policies: format!("policies:\n  - name: test/mx\n    routes: [{HOME}]\n    retry: {SOON}\n"),
        dns,
        mx_port: port,
        ..Setup::default()
    }
}

fn local(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

async fn submit(bench: &Bench, to: &[&str]) {
    bench.submit(envelope("a@from.example", to), message("x")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn domains_of_one_provider_share_a_site_its_connection_and_an_attempt() {
    let sink = Sink::start_at("127.0.0.11:0".parse().unwrap(), Script::default()).await;
    let dns = Table::default()
        .mx("one.example", 10, "mx.provider.example")
        .mx("two.example", 5, "mx.provider.example")
        .address("mx.provider.example", local(11));
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), by_mx(dns, sink.address.port()));
    submit(&bench, &["u@one.example"]).await;
    sink.wait_for(1).await;
    submit(&bench, &["u@two.example"]).await;
    sink.wait_for(2).await;
    // Both domains are known by now: one message to both is one transaction.
    submit(&bench, &["v@one.example", "v@two.example"]).await;
    let taken = sink.wait_for(3).await;
    bench.empty().await;
    assert_eq!(taken[2].rcpt.len(), 2);
    assert_eq!(sink.connections(), 1);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_is_probed_once_for_all_its_domains() {
    let dns = ["one", "two", "three"]
        .iter()
        .fold(Table::default(), |table, name| {
            table.mx(&format!("{name}.example"), 10, "mx.provider.example")
        });
    let dns = dns.address("mx.provider.example", local(12));
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup {
        policies: format!(
            "policies:\n  - name: test/mx\n    routes: [{HOME}]\n    retry: {{first: 1h, max: 1h}}\n"
        ),
        ..by_mx(dns, 1)
    };
    let bench = Bench::start(dir.path(), setup);
    submit(&bench, &["u@one.example"]).await;
    eventually("the site is dead", || {
        bench.figure("deliveries_total{outcome=\"Deferred\"}") == 1
    })
    .await;
    for to in ["u@two.example", "u@three.example", "v@two.example"] {
        submit(&bench, &[to]).await;
    }
    let mut waiting = 0;
    for _ in 0..1_000 {
        let sites = bench.queue.sites(None, 100).await;
        let site = sites
            .iter()
            .find(|site| site.name.starts_with("mx:mx.provider.example"));
        waiting = site.map_or(0, |site| site.waiting);
        if waiting == 4 {
            assert!(site.unwrap().last_trouble.is_some());
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(waiting, 4, "all of them wait for the one probe");
    assert_eq!(bench.figure("deliveries_total{outcome=\"Deferred\"}"), 1);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_about_one_domain_does_not_close_the_site_of_another() {
    let sink = Sink::start_at("127.0.0.13:0".parse().unwrap(), Script::default()).await;
    let dns = Table::default()
        .mx("good.example", 10, "mx.example")
        .address("mx.example", local(13))
        .silent("silent.example");
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), by_mx(dns, sink.address.port()));
    submit(&bench, &["u@silent.example", "u@good.example"]).await;
    sink.wait_for(1).await;
    eventually("it was deferred", || {
        bench.figure("deliveries_total{outcome=\"Deferred\"}") >= 1
    })
    .await;
    assert_eq!(sink.asked(), ["u@good.example"]);
    let sites = bench.queue.sites(None, 100).await;
    assert!(
        sites
            .iter()
            .any(|site| &*site.name == "silent.example@test/mx" && site.opens_at > 0)
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_our_own_name_is_a_loop_and_literals_are_not_passed_on() {
    let mirror = Script {
        name: "mail.test.example",
        ..Script::default()
    };
    let sink = Sink::start_at("127.0.0.14:0".parse().unwrap(), mirror).await;
    let dns = Table::default()
        .mx("mirror.example", 10, "other.example")
        .address("other.example", local(14));
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), by_mx(dns, sink.address.port()));
    for (to, failed) in [("u@mirror.example", 1), ("u@[192.0.2.1]", 2)] {
        bench.submit(envelope("", &[to]), message("x")).await;
        eventually("it failed", || {
            bench.figure("deliveries_total{outcome=\"Failed\"}") == failed
        })
        .await;
    }
    bench.empty().await;
    assert!(sink.taken().is_empty() && sink.asked().is_empty());
    bench.stop().await;
}
