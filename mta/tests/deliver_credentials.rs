//! What a route logs in with is said to its own hosts alone, whatever connections are open and wherever the DNS leads.

#![allow(clippy::unwrap_used, reason = "a test file")]

mod deliver_support;
mod sink;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use deliver_support::{Bench, SOON, Setup, certificate_for, envelope, message};
use postroad_mta::deliver::tls::ClientTls;
use postroad_mta::dns::table::Table;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use sink::{Reply, Script, Sink, eventually};
use tokio_rustls::TlsAcceptor;

fn trusting(certificates: &[CertificateDer<'static>]) -> ClientTls {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.clone()).unwrap();
    }
    ClientTls::trusting(roots).unwrap()
}

/// A server that lets everybody in, logged in or not.
fn welcoming(tls: TlsAcceptor) -> Script {
    let yes: Reply = Box::new(|_, _| "235 2.7.0 welcome".to_owned());
    Script {
        tls: Some(tls),
        inside: Some(vec!["PIPELINING", "AUTH PLAIN"]),
        login: Some(yes),
        open: true,
        ..Script::default()
    }
}

/// A policy for mail to this domain.
fn policy(domain: &str, routes: &[String]) -> String {
    let (name, routes) = (domain.replace('.', "-"), routes.join(", "));
    format!(
        "  - {{name: test/{name}, match: {{recipientDomains: [{domain}]}}, routes: [{routes}], retry: {SOON}}}\n"
    )
}

fn to(host: &str, port: u16, credentials: &str, more: &str) -> String {
    format!(
        "{{to: {{smartHosts: [{{host: {host}, port: {port}}}]}}, tls: Verified, credentials: {credentials}{more}}}"
    )
}

fn password(user: &str) -> String {
    format!("{{password: {{user: {user}, password: {user}-secret}}}}")
}

async fn submit(bench: &Bench, domain: &str) {
    let recipient = format!("b@{domain}");
    bench
        .submit(envelope("a@from.example", &[recipient.as_str()]), message(domain))
        .await;
}

/// Who was logged in when mail for each domain was taken there.
fn users(sink: &Sink) -> BTreeMap<String, Vec<Option<String>>> {
    let mut users: BTreeMap<String, Vec<Option<String>>> = BTreeMap::new();
    for taken in sink.taken() {
        let (_, domain) = taken.rcpt[0].split_once('@').unwrap();
        let domain = domain.split('>').next().unwrap().to_owned();
        users
            .entry(domain)
            .or_default()
            .push(sink.user_of(taken.connection));
    }
    users
}

fn plain(user: &str) -> String {
    format!("PLAIN {user} {user}-secret")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_route_logs_in_with_its_own_whatever_connections_are_warm() {
    let (acceptor, certificate) = certificate_for(&["127.0.0.1", "here.example"]);
    let here = Sink::start(welcoming(acceptor.clone())).await;
    let there = Sink::start(welcoming(acceptor)).await;
    let (port, other) = (here.address.port(), there.address.port());
    let policies = [
        // A provider's route and two to one host, of which one has nothing to log in with.
        policy(
            "ann.example",
            &[to("127.0.0.1", port, &password("ann"), ", provider: SendGrid")],
        ),
        policy("carl.example", &[to("127.0.0.1", port, &password("carl"), "")]),
        policy(
            "nobody.example",
            &[format!(
                "{{to: {{smartHosts: [{{host: 127.0.0.1, port: {port}}}]}}, tls: Verified}}"
            )],
        ),
        policy("bob.example", &[to("127.0.0.1", other, &password("bob"), "")]),
        // The first cannot be reached; the second is another account elsewhere.
        policy(
            "spare.example",
            &[
                to("127.0.0.1", 1, &password("dora"), ""),
                to("127.0.0.1", other, &password("eve"), ""),
            ],
        ),
        policy(
            "direct.example",
            &["{to: {direct: {allowedNetworks: [127.0.0.0/8]}}, tls: Opportunistic}".to_owned()],
        ),
    ];
    let dns = Table::default()
        .mx("direct.example", 10, "here.example")
        .address("here.example", [127, 0, 0, 1].into());
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench::start(
        directory.path(),
        Setup {
            policies: format!("policies:\n{}", policies.concat()),
            dns,
            mx_port: port,
            tls: Some(trusting(&[certificate])),
            ..Setup::default()
        },
    );
    let domains = ["ann", "carl", "nobody", "bob", "spare", "direct"];
    for _ in 0..4 {
        for domain in domains {
            submit(&bench, &format!("{domain}.example")).await;
        }
    }
    here.wait_for(16).await;
    there.wait_for(8).await;
    bench.empty().await;
    for (sink, domain, user) in [
        (&here, "ann", Some("ann")),
        (&here, "carl", Some("carl")),
        (&here, "nobody", None),
        (&here, "direct", None),
        (&there, "bob", Some("bob")),
        (&there, "spare", Some("eve")),
    ] {
        let want = vec![user.map(plain); 4];
        assert_eq!(
            users(sink).get(&format!("{domain}.example")),
            Some(&want),
            "{domain}"
        );
    }
    for (sink, own) in [(&here, ["ann", "carl"]), (&there, ["bob", "eve"])] {
        let known = own.map(plain);
        assert!(
            sink.logins().iter().all(|said| known.contains(said)),
            "{:?}",
            sink.logins()
        );
    }
    bench.stop().await;
}

/// An address of its own, so that two servers have one port.
async fn at(last: u8, port: u16, script: Script) -> Sink {
    Sink::start_at(SocketAddr::from(([127, 77, last, 1], port)), script).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_the_dns_leads_to_is_told_nothing_unless_it_proves_the_name_of_the_route() {
    let (acceptor, certificate) = certificate_for(&["relay.corp.example"]);
    let (foreign, foreign_certificate) = certificate_for(&["elsewhere.example"]);
    let thief = at(1, 0, welcoming(foreign)).await;
    let port = thief.address.port();
    let right = at(2, port, welcoming(acceptor)).await;
    // The name of the route is an alias of another host by now; and of the right one, at the second address.
    let dns = Table::default()
        .address("relay.corp.example", thief.address.ip())
        .address("relay.corp.example", right.address.ip());
    let directory = tempfile::tempdir().unwrap();
    let policies = policy(
        "ann.example",
        &[to("relay.corp.example", port, &password("ann"), "")],
    );
    let bench = Bench::start(
        directory.path(),
        Setup {
            policies: format!("policies:\n{policies}"),
            dns,
            tls: Some(trusting(&[certificate, foreign_certificate])),
            ..Setup::default()
        },
    );
    submit(&bench, "ann.example").await;
    right.wait_for(1).await;
    bench.empty().await;
    eventually("the other was tried", || thief.connections() >= 1).await;
    assert!(thief.logins().is_empty() && thief.taken().is_empty());
    assert_eq!(right.logins(), [plain("ann")]);
    bench.stop().await;
}
