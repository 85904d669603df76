//! Logins at smart hosts: what is said, to whom, and what becomes of the mail when it is refused.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test file")]

mod authority;
mod deliver_support;
mod sink;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use authority::Authority;
use deliver_support::{
    Bench, SOON, Setup, certificate, certificate_for, certificate_until, envelope, message, settings,
};
use postroad_config::admin::LoginFault;
use postroad_mta::deliver::probe::Prober;
use postroad_mta::deliver::tls::ClientTls;
use postroad_mta::dns::Dns;
use postroad_mta::dns::table::Table;
use postroad_mta::logins::Logins;
use postroad_mta::queue::orders::Order;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use sink::{Reply, Script, Sink, eventually};
use tokio_rustls::TlsAcceptor;

/// A route to a host, with credentials as YAML.
fn route(host: &Sink, tls: &str, credentials: &str) -> String {
    let (ip, port) = (host.address.ip(), host.address.port());
    format!("{{to: {{smartHosts: [{{host: {ip}, port: {port}}}]}}, tls: {tls}, credentials: {credentials}}}")
}

fn policy(routes: &[String]) -> String {
    let routes = routes.join(", ");
    format!("policies:\n  - name: test/all\n    routes: [{routes}]\n    retry: {SOON}\n")
}

const ANN: &str = "{password: {user: ann, password: s3cret}}";

fn client(authority: &Authority, proof: &str) -> String {
    let url = authority.url();
    format!(
        "{{oauthClient: {{user: box@example.com, clientId: id-1, tokenEndpoint: '{url}', scope: 'https://mail.example/.default', proof: {proof}}}}}"
    )
}

fn trusting(certificate: CertificateDer<'static>) -> ClientTls {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    ClientTls::trusting(roots).unwrap()
}

/// A server that offers these mechanisms inside TLS, and judges logins so; and what trusts it.
async fn server(offer: &'static str, login: Reply) -> (Sink, ClientTls) {
    let (acceptor, certificate) = certificate();
    let sink = Sink::start(script(offer, Some(acceptor), login)).await;
    (sink, trusting(certificate))
}

fn script(offer: &'static str, tls: Option<TlsAcceptor>, login: Reply) -> Script {
    Script {
        tls,
        inside: Some(vec!["PIPELINING", offer]),
        login: Some(login),
        ..Script::default()
    }
}

fn yes() -> Reply {
    Box::new(|_, _| "235 2.7.0 welcome".to_owned())
}

fn bench(directory: &Path, policies: String, tls: ClientTls) -> Bench {
    let setup = Setup {
        policies,
        tls: Some(tls),
        ..Setup::default()
    };
    Bench::start(directory, setup)
}

async fn submit(bench: &Bench, subject: &str) {
    bench
        .submit(envelope("a@from.example", &["b@to.example"]), message(subject))
        .await;
}

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
async fn a_token_is_got_once_for_all_connections() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::numbering(3_600).await;
    let (sink, tls) = server("AUTH XOAUTH2 LOGIN", yes()).await;
    let credentials = client(&authority, "{secret: s-1}");
    let bench = bench(
        directory.path(),
        policy(&[route(&sink, "Verified", &credentials)]),
        tls,
    );
    for number in 0..20 {
        submit(&bench, &format!("mail {number}")).await;
    }
    sink.wait_for(20).await;
    bench.empty().await;
    let forms = authority.forms();
    assert_eq!(forms.len(), 1, "one flight for all");
    let said: Vec<_> = forms[0]
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            ("client_id", "id-1"),
            ("client_secret", "s-1"),
            ("grant_type", "client_credentials"),
            ("scope", "https://mail.example/.default"),
        ]
    );
    assert!(
        sink.logins()
            .iter()
            .all(|said| said == "XOAUTH2 box@example.com token-0"),
        "{:?}",
        sink.logins()
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_and_nothing_bounces() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::numbering(5).await;
    let (acceptor, certificate) = certificate();
    let sink = Sink::start(Script {
        // Each mail has a connection of its own, and a login.
        inside: Some(vec!["AUTH OAUTHBEARER XOAUTH2", "LIMITS MAILMAX=1"]),
        ..script("", Some(acceptor), yes())
    })
    .await;
    let credentials = client(&authority, "{secret: s-1}");
    let policies = policy(&[route(&sink, "Verified", &credentials)]);
    let bench = bench(directory.path(), policies, trusting(certificate));
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(50));
    let mut sent = 0;
    while authority.forms().len() < 3 {
        submit(&bench, &format!("mail {sent}")).await;
        sent += 1;
        sink.wait_for(sent).await;
        assert!(sent < 2_000, "it is never renewed");
        pace.tick().await;
    }
    bench.empty().await;
    assert_eq!(bench.figure("deliveries_total{outcome=\"Failed\"}"), 0);
    bench.stop().await;
}

#[tokio::test]
async fn a_token_that_is_refused_is_got_anew_once() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::numbering(3_600).await;
    let judge: Reply = Box::new(|said, _| match said {
        "XOAUTH2 box@example.com token-1" => "235 2.7.0 welcome".to_owned(),
        _ => "535 5.7.3 Authentication unsuccessful".to_owned(),
    });
    let (sink, tls) = server("AUTH XOAUTH2", judge).await;
    let credentials = client(&authority, "{secret: s-1}");
    let bench = bench(
        directory.path(),
        policy(&[route(&sink, "Verified", &credentials)]),
        tls,
    );
    submit(&bench, "one").await;
    sink.wait_for(1).await;
    bench.empty().await;
    assert_eq!(authority.forms().len(), 2);
    bench.stop().await;
}

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
        let mended = keyless(&[(host.address, "Opportunistic")], LATE);
        bench.live.swap(settings(directory.path(), &mended));
        let taken = host.wait_for(1).await;
        bench.empty().await;
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

/// A certificate of a client, and it as credentials.
fn client_certificate() -> (CertificateDer<'static>, String) {
    let made = rcgen::generate_simple_self_signed(vec!["client.example".to_owned()]).unwrap();
    let indented = |pem: String| pem.trim_end().replace('\n', "\\n");
    let credentials = format!(
        "{{clientCertificate: {{certificate: \"{}\", key: \"{}\"}}}}",
        indented(made.cert.pem()),
        indented(made.signing_key.serialize_pem())
    );
    (made.cert.der().clone(), credentials)
}

#[tokio::test]
async fn a_certificate_that_is_replaced_is_shown_by_the_next_connection_and_no_old_one_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let (first, with_first) = client_certificate();
    let (second, with_second) = client_certificate();
    let (sink, tls) = asking_for_certificates(&[&first, &second]).await;
    let bench = bench(
        directory.path(),
        policy(&[route(&sink, "Verified", &with_first)]),
        tls,
    );
    submit(&bench, "one").await;
    sink.wait_for(1).await;
    bench.empty().await;
    bench.live.swap(settings(
        directory.path(),
        &policy(&[route(&sink, "Verified", &with_second)]),
    ));
    // The connection of the first is still warm.
    submit(&bench, "two").await;
    let taken = sink.wait_for(2).await;
    bench.empty().await;
    let shown = sink.shown();
    let shown_by = |number: usize| shown[taken[number].connection].as_deref();
    assert_eq!(shown_by(0), Some(first.as_ref()));
    assert_eq!(shown_by(1), Some(second.as_ref()));
    assert_eq!((sink.connections(), sink.resumed()), (2, 0));
    bench.stop().await;
}

/// A server that wants one of these certificates, and what trusts it.
async fn asking_for_certificates(known: &[&CertificateDer<'static>]) -> (Sink, ClientTls) {
    let server = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    for one in known {
        roots.add((*one).clone()).unwrap();
    }
    let provider = postroad_mta::tls::provider();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(server.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![server.cert.der().clone()], key.into())
        .unwrap();
    let sink = Sink::start(Script {
        tls: Some(TlsAcceptor::from(Arc::new(config))),
        ..Script::default()
    })
    .await;
    (sink, trusting(server.cert.der().clone()))
}

#[tokio::test]
async fn a_certificate_is_shown_to_the_host_of_its_route() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, credentials) = client_certificate();
    let (sink, tls) = asking_for_certificates(&[&certificate]).await;
    let bench = bench(
        directory.path(),
        policy(&[route(&sink, "Verified", &credentials)]),
        tls,
    );
    submit(&bench, "one").await;
    sink.wait_for(1).await;
    bench.empty().await;
    assert_eq!(sink.certificates(), [true]);
    assert!(sink.logins().is_empty());
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

/// A probe of one route.
async fn probe(policies: &str, tls: ClientTls) -> postroad_config::admin::UpstreamTested {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(directory.path(), policies);
    let dns = Dns::new(Table::default());
    let prober = Prober::new(dns.clone(), tls.clone(), Logins::new(dns, tls));
    assert!(prober.test(&settings.set.file, "test/none").await.is_none());
    let mut tested = prober.test(&settings.set.file, "test/all").await.unwrap();
    assert_eq!(tested.len(), 1);
    tested.remove(0)
}

#[tokio::test]
async fn a_probe_says_how_far_it_came_and_sends_no_mail() {
    let (sink, tls) = server("AUTH PLAIN", yes()).await;
    let good = probe(&policy(&[route(&sink, "Verified", ANN)]), tls.clone()).await;
    assert_eq!(
        (good.reachable, good.secured, good.authenticated, good.fault),
        (true, Some(true), Some(true), None),
        "{good:?}"
    );
    assert!(good.message.starts_with("TLSv1"), "{good:?}");
    assert!(sink.taken().is_empty() && sink.asked().is_empty());

    let basic: Reply =
        Box::new(|_, _| "550 5.7.30 Basic authentication is not supported for Client Submission".to_owned());
    let (sink, tls) = server("AUTH LOGIN", basic).await;
    let refused = probe(&policy(&[route(&sink, "Verified", ANN)]), tls.clone()).await;
    assert_eq!(
        (
            refused.reachable,
            refused.secured,
            refused.authenticated,
            refused.fault
        ),
        (
            true,
            Some(true),
            Some(false),
            Some(LoginFault::BasicAuthenticationDisabled)
        ),
        "{refused:?}"
    );
    assert!(!refused.message.contains("s3cret"), "{refused:?}");

    let authority = Authority::start(Box::new(|_, _| {
        let body =
            r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret."}"#;
        (401, String::new(), body.to_owned())
    }))
    .await;
    let credentials = client(&authority, "{secret: s-1}");
    let (sink, tls) = server("AUTH XOAUTH2", yes()).await;
    let no_token = probe(&policy(&[route(&sink, "Verified", &credentials)]), tls).await;
    assert_eq!(
        (no_token.reachable, no_token.authenticated, no_token.fault),
        (true, Some(false), Some(LoginFault::TokenRefused)),
        "{no_token:?}"
    );
    let token = no_token.token.unwrap();
    assert!(token.expires.is_none() && token.last_error.unwrap().contains("AADSTS7000215"));
    assert!(sink.logins().is_empty() && !no_token.message.contains("s-1"));

    let plain = Sink::start(Script::default()).await;
    let (_, tls) = server("AUTH PLAIN", yes()).await;
    let in_clear = probe(&policy(&[route(&plain, "Verified", ANN)]), tls.clone()).await;
    assert_eq!(
        (in_clear.reachable, in_clear.secured, in_clear.authenticated),
        (true, Some(false), None)
    );
    let address = plain.address;
    drop(plain);
    eventually("nobody listens", || {
        std::net::TcpStream::connect(address).is_err()
    })
    .await;
    let gone = format!(
        "policies:\n  - name: test/all\n    routes: [{{to: {{smartHosts: [{{host: {}, port: {}}}]}}, tls: Verified}}]\n",
        address.ip(),
        address.port()
    );
    let gone = probe(&gone, tls).await;
    assert_eq!(
        (gone.reachable, gone.secured, gone.authenticated),
        (false, None, None)
    );
    assert!(gone.message.contains("no connection"), "{gone:?}");
}

#[tokio::test]
async fn a_service_account_is_dated_by_the_clock_of_its_authority_where_ours_is_wrong() {
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let authority = Authority::start(Box::new(|form, _| {
        let payload = form["assertion"].split('.').nth(1).unwrap();
        let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let claims = base64::Engine::decode(&engine, payload).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
        assert_eq!(claims["sub"], "box@example.com");
        let theirs = jiff::Timestamp::now().as_second() + 7_200;
        let date = jiff::Timestamp::from_second(theirs).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
        let date = format!("date: {}\r\n", date.strftime("%a, %d %b %Y %H:%M:%S GMT"));
        if claims["iat"].as_i64().unwrap().abs_diff(theirs) < 120 {
            (200, date, r#"{"access_token":"dated","expires_in":3599}"#.to_owned())
        } else {
            let body = r#"{"error":"invalid_grant","error_description":"Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."}"#;
            (400, date, body.to_owned())
        }
    }))
    .await;
    let pem = key.serialize_pem().trim_end().replace('\n', "\\n");
    let credentials = format!(
        "{{googleServiceAccount: {{user: box@example.com, account: sa@p.example, key: \"{pem}\", tokenEndpoint: '{}', scope: 'https://mail.google.com/'}}}}",
        authority.url()
    );
    let (sink, tls) = server("AUTH XOAUTH2", yes()).await;
    let tested = probe(&policy(&[route(&sink, "Verified", &credentials)]), tls).await;
    assert_eq!(tested.authenticated, Some(true), "{tested:?}");
    assert_eq!(sink.logins(), ["XOAUTH2 box@example.com dated"]);
    assert_eq!(authority.forms().len(), 2);
    let expires = tested.token.unwrap().expires.unwrap();
    assert!(expires > jiff::Timestamp::now().as_second() + 3_000);
}

#[tokio::test]
async fn a_token_of_the_platform_is_read_from_its_file_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "eyJ.first\n").unwrap();
    let authority = Authority::numbering(3_600).await;
    let credentials = client(&authority, &format!("{{tokenFile: {}}}", file.display()));
    let judge: Reply = Box::new(|said, _| match said {
        "XOAUTH2 box@example.com token-1" => "235 2.7.0 welcome".to_owned(),
        _ => "535 5.7.3 Authentication unsuccessful".to_owned(),
    });
    let (sink, tls) = server("AUTH XOAUTH2", judge).await;
    let tested = probe(&policy(&[route(&sink, "Verified", &credentials)]), tls).await;
    assert_eq!(tested.authenticated, Some(true), "{tested:?}");
    for form in authority.forms() {
        assert_eq!(form["client_assertion"], "eyJ.first");
        assert_eq!(
            form["client_assertion_type"],
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        );
        assert!(!form.contains_key("client_secret"));
    }
    assert_eq!(authority.forms().len(), 2);
}
