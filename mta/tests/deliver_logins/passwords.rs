//! Passwords: said inside TLS, to whom the certificate proves, and to nobody else.

use rustls::pki_types::CertificateDer;

use crate::deliver_support::{certificate, settings};
use crate::sink::{Reply, Script, Sink, eventually};
use crate::{ANN, bench, policy, route, script, server, submit, trusting, yes};

#[tokio::test]
async fn a_password_is_said_inside_tls_and_once_for_a_connection() {
    for (offer, said) in [
        ("AUTH PLAIN LOGIN", "PLAIN ann s3cret"),
        ("AUTH LOGIN", "LOGIN ann s3cret"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let (sink, tls) = server(offer, yes()).await;
        let bench = bench(directory.path(), policy(&[route(&sink, "Verified", ANN)]), tls);
        submit(&bench, "one").await;
        sink.wait_for(1).await;
        submit(&bench, "two").await;
        let taken = sink.wait_for(2).await;
        bench.empty().await;
        assert!(taken.iter().all(|taken| taken.tls));
        assert_eq!(sink.logins(), vec![said; sink.connections()], "{offer}");
        bench.stop().await;
    }
}

/// As a configuration has it, in one line.
fn pem(certificate: &CertificateDer<'static>) -> String {
    use base64::Engine as _;
    let coded = base64::engine::general_purpose::STANDARD.encode(certificate);
    format!(r#""-----BEGIN CERTIFICATE-----\n{coded}\n-----END CERTIFICATE-----\n""#)
}

#[tokio::test]
async fn the_authorities_of_a_route_vouch_for_its_hosts_in_place_of_the_public_ones() {
    let directory = tempfile::tempdir().unwrap();
    let (acceptor, own) = certificate();
    let (_, other) = certificate();
    let known = Sink::start(script("AUTH PLAIN", Some(acceptor), yes())).await;
    let (foreign, public) = server("AUTH PLAIN", yes()).await;
    let vouched = |host: &Sink, by: &CertificateDer<'static>| {
        let route = route(host, "Verified", ANN);
        format!("{}, authorities: {}}}", route.strip_suffix('}').unwrap(), pem(by))
    };
    // The first has a certificate that the public authorities vouch for, which is nothing to this route.
    let routes = [vouched(&foreign, &other), vouched(&known, &own)];
    let bench = bench(directory.path(), policy(&routes), public);
    submit(&bench, "one").await;
    let taken = known.wait_for(1).await;
    bench.empty().await;
    assert!(taken[0].tls);
    assert_eq!((foreign.logins().len(), known.logins().len()), (0, 1));
    assert!(foreign.connections() >= 1, "it was tried");
    bench.stop().await;
}

#[tokio::test]
async fn nothing_is_said_in_clear_nor_to_whom_the_certificate_does_not_prove() {
    let directory = tempfile::tempdir().unwrap();
    let plain = Sink::start(Script {
        extensions: vec!["PIPELINING", "AUTH PLAIN LOGIN"],
        login: Some(yes()),
        ..Script::default()
    })
    .await;
    let (foreign, _) = server("AUTH PLAIN", yes()).await;
    let (_, tls) = server("AUTH PLAIN", yes()).await;
    let routes = [route(&plain, "Encrypted", ANN), route(&foreign, "Verified", ANN)];
    let bench = bench(directory.path(), policy(&routes), tls);
    submit(&bench, "one").await;
    // The first rests for a while, as there is another.
    eventually("both were tried", || {
        plain.connections() >= 1 && foreign.connections() >= 2
    })
    .await;
    assert_eq!((plain.logins().len(), foreign.logins().len()), (0, 0));
    assert_eq!(bench.spool.entries().len(), 1, "the mail is kept");
    bench.stop().await;
}

#[tokio::test]
async fn what_one_route_logs_in_with_is_never_said_to_another_host() {
    let directory = tempfile::tempdir().unwrap();
    let (acceptor, certificate) = certificate();
    let refuse: Reply = Box::new(|_, _| "535 5.7.8 no".to_owned());
    let first = Sink::start(script("AUTH PLAIN", Some(acceptor.clone()), refuse)).await;
    let second = Sink::start(script("AUTH PLAIN", Some(acceptor), yes())).await;
    let routes = [
        route(&first, "Verified", ANN),
        route(&second, "Verified", "{password: {user: bob, password: other}}"),
    ];
    let bench = bench(directory.path(), policy(&routes), trusting(certificate));
    for number in 0..5 {
        submit(&bench, &format!("mail {number}")).await;
        second.wait_for(number + 1).await;
    }
    bench.empty().await;
    assert_eq!(
        first.logins(),
        ["PLAIN ann s3cret"],
        "a refused password is not tried again at once"
    );
    assert!(second.logins().iter().all(|said| said == "PLAIN bob other"));
    bench.stop().await;
}

#[tokio::test]
async fn without_credentials_that_should_be_there_nobody_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let (sink, tls) = server("AUTH PLAIN", yes()).await;
    let missing = "{missing: {reason: 'there is no Secret corp; create it'}}";
    let bench = bench(
        directory.path(),
        policy(&[route(&sink, "Verified", missing)]),
        tls,
    );
    submit(&bench, "one").await;
    eventually("it was deferred", || {
        bench.figure("deliveries_total{outcome=\"Deferred\"}") >= 1
    })
    .await;
    assert_eq!((sink.connections(), bench.spool.entries().len()), (0, 1));
    bench.live.swap(settings(
        directory.path(),
        &policy(&[route(&sink, "Verified", ANN)]),
    ));
    sink.wait_for(1).await;
    bench.empty().await;
    bench.stop().await;
}
