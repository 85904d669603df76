//! Certificates that we show in place of a password.

use std::sync::Arc;

use postroad_mta::deliver::tls::ClientTls;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;

use crate::deliver_support::settings;
use crate::sink::{Script, Sink};
use crate::{bench, policy, route, submit, trusting};

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
