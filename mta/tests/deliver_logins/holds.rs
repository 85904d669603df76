//! Mail whose route is to be mended by a person waits, and goes on when it is.

use std::net::SocketAddr;

use postroad_mta::deliver::probe::Prober;
use postroad_mta::dns::Dns;
use postroad_mta::dns::table::Table;
use postroad_mta::logins::Logins;
use postroad_mta::queue::orders::Order;
use rustls::pki_types::CertificateDer;
use tokio_rustls::TlsAcceptor;

use crate::authority::Authority;
use crate::deliver_support::{
    Bench, SOON, certificate, certificate_for, certificate_until, envelope, message, settings,
};
use crate::sink::{Reply, Script, Sink, eventually};
use crate::{ANN, bench, client, policy, route, script, server, submit, trusting, yes};

#[tokio::test]
async fn refused_credentials_hold_the_mail_until_others_are_configured() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::numbering(3_600).await;
    let judge: Reply = Box::new(|said, _| {
        if said.starts_with("PLAIN") {
            "235 2.7.0 welcome".to_owned()
        } else {
            "535 5.7.3 Authentication unsuccessful".to_owned()
        }
    });
    let (sink, tls) = server("AUTH XOAUTH2 PLAIN", judge).await;
    let credentials = client(&authority, "{secret: s-1}");
    let policies = policy(&[route(&sink, "Verified", &credentials)]);
    let bench = bench(directory.path(), policies, tls);
    for number in 0..10 {
        submit(&bench, &format!("mail {number}")).await;
    }
    eventually("it was refused twice", || sink.logins().len() >= 2).await;
    eventually("mail was deferred", || {
        bench.figure("deliveries_total{outcome=\"Deferred\"}") >= 1
    })
    .await;
    assert_eq!(
        (sink.logins().len(), authority.forms().len()),
        (2, 2),
        "no storm of logins"
    );
    assert_eq!(
        bench.spool.entries().len(),
        10,
        "nothing is lost, nothing bounced"
    );
    let better = policy(&[route(&sink, "Verified", ANN)]);
    bench.live.swap(settings(directory.path(), &better));
    sink.wait_for(10).await;
    bench.empty().await;
    bench.stop().await;
}

/// Wrong until the second is configured; and then it puts each recipient off once.
#[tokio::test]
async fn mail_that_is_on_hold_outlives_its_lifetime_and_has_the_rest_of_it_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    let judge: Reply = Box::new(|said, _| {
        if said.ends_with("better") {
            "235 2.7.0 welcome".to_owned()
        } else {
            "535 5.7.8 Authentication credentials invalid".to_owned()
        }
    });
    let (acceptor, certificate) = certificate();
    let sink = Sink::start(Script {
        rcpt: Box::new(|_, before| {
            if before == 0 {
                "451 4.7.1 greylisted"
            } else {
                "250 2.1.5 ok"
            }
            .to_owned()
        }),
        ..script("AUTH PLAIN", Some(acceptor), judge)
    })
    .await;
    let bench = bench(
        directory.path(),
        policy(&[route(&sink, "Verified", ANN)]),
        trusting(certificate),
    );
    // Long enough for a first attempt on a busy machine: it has to be refused before its time is over.
    let short = 6_000;
    let mut envelope = envelope("a@from.example", &["b@to.example"]);
    envelope.expires = envelope.arrived + short;
    let over = envelope.expires;
    bench.submit(envelope, message("one")).await;
    eventually("it was refused", || !sink.logins().is_empty()).await;
    eventually("its time is over, and the end of it was dealt with", || {
        postroad_mta::queue::clock::now() > over + 1_000
            && bench.figure("deliveries_total{outcome=\"Deferred\"}") >= 2
    })
    .await;
    assert_eq!(bench.figure("deliveries_total{outcome=\"Expired\"}"), 0);
    assert_eq!(bench.spool.entries().len(), 1, "nothing was returned");
    let figures = bench.metrics.text().unwrap();
    let held = figures
        .lines()
        .find_map(|line| line.strip_prefix("postroad_mta_policy_hold_seconds{policy=\"test/all\"} "));
    assert!(held.unwrap().parse::<u64>().unwrap() >= 1, "{figures}");
    let better = "{password: {user: ann, password: better}}";
    bench.live.swap(settings(
        directory.path(),
        &policy(&[route(&sink, "Verified", better)]),
    ));
    let taken = sink.wait_for(1).await;
    bench.empty().await;
    assert!(taken[0].text().contains("Subject: one"), "itself, and no notice");
    assert_eq!(sink.asked().len(), 2, "put off once, after its hold");
    assert!(!bench.metrics.text().unwrap().contains("policy_hold_seconds{"));
    bench.stop().await;
}

#[tokio::test]
async fn a_route_whose_host_does_not_exist_holds_the_mail() {
    let directory = tempfile::tempdir().unwrap();
    // As of a region that there is not.
    let policies = "policies:\n  - name: test/all\n    routes: [{to: {smartHosts: [{host: email-smtp.eu-west-9.example, port: 587}]}, tls: Verified}]\n    retry: {first: 1s, max: 1s}\n";
    let (_, tls) = server("AUTH PLAIN", yes()).await;
    let bench = bench(directory.path(), policies.to_owned(), tls);
    let mut envelope = envelope("a@from.example", &["b@to.example"]);
    // Over when it comes, as of one that another pod hands over.
    envelope.expires = envelope.arrived;
    let entry = bench.submit(envelope, message("one")).await;
    eventually("it was tried", || {
        bench.figure("deliveries_total{outcome=\"Deferred\"}") >= 1
    })
    .await;
    eventually("its reason is kept", || {
        let read = bench.spool.read(entry).unwrap();
        read.item.recipients[0].reply.contains("eu-west-9")
    })
    .await;
    assert_eq!(bench.spool.entries().len(), 1, "nothing was returned");
    let holds = bench.metrics.lanes.holds().view();
    assert_eq!(holds[0].0, "test/all");
    bench.stop().await;
}

/// One policy with these routes, each to a host with a mode of TLS; it tries again so soon.
fn keyless(routes: &[(SocketAddr, &str)], retry: &str) -> String {
    let route = |(host, tls): &(SocketAddr, &str)| {
        let (ip, port) = (host.ip(), host.port());
        format!("{{to: {{smartHosts: [{{host: {ip}, port: {port}}}]}}, tls: {tls}}}")
    };
    let routes = routes.iter().map(route).collect::<Vec<_>>().join(", ");
    format!("policies:\n  - name: test/all\n    routes: [{routes}]\n    retry: {retry}\n")
}

const LATE: &str = "{first: 1h, max: 1h}";

/// Its time is over when it comes: only a hold keeps it.
fn overdue() -> postroad_spool::Envelope {
    let mut envelope = envelope("a@from.example", &["b@to.example"]);
    envelope.expires = envelope.arrived;
    envelope
}

async fn is_held(bench: &Bench, entry: postroad_spool::EntryId, word: &str) {
    eventually("its reason is kept", || {
        let read = bench.spool.read(entry).unwrap();
        read.item.recipients[0].reply.contains(word)
    })
    .await;
    assert_eq!(bench.figure("deliveries_total{outcome=\"Expired\"}"), 0, "{word}");
    assert!(bench.metrics.lanes.holds().holds("test/all"), "{word}");
}

#[tokio::test]
async fn a_smart_host_whose_tls_is_wrong_holds_the_mail_and_it_goes_on_when_the_route_is_mended() {
    let usual = ["localhost", "127.0.0.1"];
    let (_, unknown) = certificate();
    let known = |(acceptor, own): (TlsAcceptor, CertificateDer<'static>)| (Some(acceptor), own);
    for (mode, (acceptor, trusted), word) in [
        ("Encrypted", (None, unknown.clone()), "STARTTLS is not offered"),
        (
            "Verified",
            (Some(certificate().0), unknown.clone()),
            "invalid peer certificate",
        ),
        (
            "Verified",
            known(certificate_for(&["other.example"])),
            "not valid for name",
        ),
        (
            "Verified",
            known(certificate_until(&usual, 2001)),
            "is over by our clock",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let host = Sink::start(Script {
            tls: acceptor,
            ..Script::default()
        })
        .await;
        let policies = keyless(&[(host.address, mode)], LATE);
        let bench = bench(directory.path(), policies, trusting(trusted));
        let entry = bench.submit(overdue(), message("one")).await;
        is_held(&bench, entry, word).await;
        let told = || bench.queue.lanes().view(postroad_mta::queue::clock::now());
        let [insecure] = told().try_into().unwrap();
        assert_eq!(
            (insecure.route.as_str(), insecure.reason.as_str(), insecure.until),
            ("test/all#0", "TlsFailed", 0)
        );
        assert!(insecure.reply.contains(word), "{insecure:?}");
        let mended = keyless(&[(host.address, "Opportunistic")], LATE);
        bench.live.swap(settings(directory.path(), &mended));
        let taken = host.wait_for(1).await;
        bench.empty().await;
        assert!(told().is_empty(), "{word}: it is over");
        assert!(
            taken[0].text().contains("Subject: one"),
            "{word}: itself, and no notice"
        );
        bench.stop().await;
    }
}

#[tokio::test]
async fn mail_on_hold_goes_on_when_a_test_finds_its_host_mended() {
    let directory = tempfile::tempdir().unwrap();
    let (acceptor, certificate) = certificate();
    let broken = Sink::start(Script::default()).await;
    let address = broken.address;
    let policies = keyless(&[(address, "Verified")], LATE);
    let tls = trusting(certificate);
    let bench = bench(directory.path(), policies.clone(), tls.clone());
    let entry = bench.submit(overdue(), message("one")).await;
    is_held(&bench, entry, "STARTTLS is not offered").await;
    drop(broken);
    eventually("it listens no more", || {
        std::net::TcpStream::connect(address).is_err()
    })
    .await;
    let mended = Sink::start_at(
        address,
        Script {
            tls: Some(acceptor),
            ..Script::default()
        },
    )
    .await;
    let dns = Dns::new(Table::default());
    let logins = Logins::new(dns.clone(), tls.clone());
    let prober = Prober::new(dns, tls, logins).with_lanes(bench.metrics.lanes.clone());
    let config = settings(directory.path(), &policies).set.file.clone();
    let tested = prober.test(&config, "test/all").await.unwrap();
    assert!(tested[0].is_good(), "{tested:?}");
    mended.wait_for(1).await;
    bench.empty().await;
    bench.stop().await;
}

#[tokio::test]
async fn a_route_that_is_to_be_mended_holds_the_mail_while_the_next_one_is_out_of_reach() {
    let directory = tempfile::tempdir().unwrap();
    let broken = Sink::start(Script::default()).await;
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = gone.local_addr().unwrap();
    drop(gone);
    let policies = keyless(&[(broken.address, "Encrypted"), (nobody, "Encrypted")], SOON);
    let (_, unknown) = certificate();
    let bench = bench(directory.path(), policies, trusting(unknown));
    let entry = bench.submit(overdue(), message("one")).await;
    is_held(&bench, entry, "; other routes: 4.4.1 no connection to").await;
    // The first rests meanwhile, and is the reason all the same.
    eventually("it was tried again and again", || {
        bench.figure("deliveries_total{outcome=\"Deferred\"}") >= 3
    })
    .await;
    is_held(&bench, entry, "the route rests: no TLS with").await;
    assert_eq!(broken.connections(), 1, "it rests");
    bench.stop().await;
}

#[tokio::test]
async fn a_person_who_has_mail_tried_ends_the_pause_of_its_login() {
    for (provider, refusal) in [
        ("", "535 5.7.8 Authentication credentials invalid"),
        (
            ", provider: SendGrid",
            "451 Authentication failed: Maximum credits exceeded",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let judge: Reply = Box::new(move |_, before| {
            if before == 0 {
                refusal.to_owned()
            } else {
                "235 2.7.0 welcome".to_owned()
            }
        });
        let (sink, tls) = server("AUTH PLAIN", judge).await;
        let route = route(&sink, "Verified", ANN);
        let route = format!("{}{provider}}}", route.strip_suffix('}').unwrap());
        let policies = format!("policies:\n  - name: test/all\n    routes: [{route}]\n    retry: {LATE}\n");
        let bench = bench(directory.path(), policies, tls);
        let entry = bench
            .submit(envelope("a@from.example", &["b@to.example"]), message("one"))
            .await;
        eventually("it was deferred", || {
            bench.figure("deliveries_total{outcome=\"Deferred\"}") >= 1
        })
        .await;
        bench.queue.order(Order::Retry, vec![entry]).await.unwrap();
        sink.wait_for(1).await;
        bench.empty().await;
        assert_eq!(sink.logins().len(), 2, "{refusal}");
        bench.stop().await;
    }
}
