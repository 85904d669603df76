//! Logins at smart hosts: what is said, to whom, and what becomes of the mail when it is refused.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test file")]

mod certificates;
mod holds;
mod passwords;
mod probes;
mod tokens;

#[path = "../authority/mod.rs"]
mod authority;
#[path = "../deliver_support/mod.rs"]
mod deliver_support;
#[path = "../sink/mod.rs"]
mod sink;

use std::path::Path;

use authority::Authority;
use deliver_support::{Bench, SOON, Setup, certificate, envelope, message};
use postroad_mta::deliver::tls::ClientTls;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use sink::{Reply, Script, Sink};
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
