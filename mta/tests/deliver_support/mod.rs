//! A queue with a spool of its own, without the inbound side: what the delivery tests start from.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a part of tests, of which each file uses its share"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use postroad_mta::deliver::telling::Counter;
use postroad_mta::deliver::tls::ClientTls;
use postroad_mta::dns::Dns;
use postroad_mta::dns::table::Table;
use postroad_mta::metrics::Metrics;
use postroad_mta::queue::{Parts, Queue, clock};
use postroad_mta::settings::{Live, Settings};
use postroad_spool::{EntryId, Envelope, Options, Recipient, Spool};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// A queue under test.
pub struct Bench {
    pub spool: Spool,
    pub queue: Queue,
    pub live: Live,
    pub metrics: Arc<Metrics>,
    shutdown: CancellationToken,
}

/// What a bench is started with.
pub struct Setup {
    pub policies: String,
    pub dns: Table,
    pub mx_port: u16,
    pub policy_port: u16,
    pub tls: Option<ClientTls>,
    pub tls_sessions: Option<Counter>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            policies: String::new(),
            dns: Table::default(),
            mx_port: 25,
            policy_port: 443,
            tls: None,
            tls_sessions: None,
        }
    }
}

/// One policy that sends everything to these hosts.
pub fn to_hosts(hosts: &[SocketAddr], tls: &str, retry: &str) -> String {
    let hosts: Vec<_> = hosts
        .iter()
        .map(|host| format!("{{host: {}, port: {}}}", host.ip(), host.port()))
        .collect();
    format!(
        "policies:\n  - name: test/all\n    routes: [{{to: {{smartHosts: [{}]}}, tls: {tls}}}]\n    retry: {retry}\n",
        hosts.join(", ")
    )
}

/// One domain of ours whose mail goes to an LMTP store.
pub fn to_store(domain: &str, store: SocketAddr) -> String {
    format!(
        "domains:\n  - name: {domain}\n    inbound:\n      recipients: {{mode: Any}}\n      deliverTo: {{lmtp: {{host: {}, port: {}}}}}\n",
        store.ip(),
        store.port()
    )
}

/// Tries again soon.
pub const SOON: &str = "{first: 1s, max: 2s}";

pub fn settings(directory: &Path, rest: &str) -> Settings {
    let text = format!(
        "format: 1\nhostname: mail.test.example\nspool: {{directory: {}}}\n{rest}",
        directory.display()
    );
    Settings::new(postroad_config::assemble(&text, &BTreeMap::new()).unwrap()).unwrap()
}

impl Bench {
    pub fn start(directory: &Path, setup: Setup) -> Self {
        let (spool, _) = Spool::open(directory, &options()).unwrap();
        Self::on(spool, directory, setup)
    }

    pub fn on(spool: Spool, directory: &Path, setup: Setup) -> Self {
        // To the end of all tests of the process.
        std::mem::forget(postroad_mta::log::start());
        let live = Live::new(settings(directory, &setup.policies));
        let metrics = Arc::new(Metrics::new());
        let shutdown = CancellationToken::new();
        let mut parts = Parts::new(
            spool.clone(),
            live.clone(),
            Dns::new(setup.dns),
            metrics.clone(),
            shutdown.clone(),
        )
        .unwrap();
        parts.mx_port = setup.mx_port;
        parts.policy_port = setup.policy_port;
        parts.tls_sessions = setup.tls_sessions;
        parts.tls = setup.tls.unwrap_or(parts.tls);
        Self {
            queue: Queue::start_with(parts),
            spool,
            live,
            metrics,
            shutdown,
        }
    }

    /// Stores a message and tells the queue.
    pub async fn submit(&self, envelope: Envelope, body: Vec<u8>) -> EntryId {
        let entry = store(&self.spool, envelope, body).await;
        self.queue.accepted(entry);
        entry
    }

    /// Waits until the spool holds nothing.
    pub async fn empty(&self) {
        super::sink::eventually("the spool is empty", || self.spool.entries().is_empty()).await;
    }

    /// Ends the queue and gives up the spool.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.queue.stopped().await;
    }

    /// A sum of the metrics text, such as `deliveries_total{outcome="Delivered"}`.
    pub fn figure(&self, name: &str) -> u64 {
        let text = self.metrics.text().unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("postroad_mta_{name} ")));
        line.and_then(|line| line.rsplit(' ').next())
            .and_then(|number| number.parse().ok())
            .unwrap_or(0)
    }
}

pub fn options() -> Options {
    Options {
        segment_size: Some(1 << 20),
        high_water_percent: 99,
        ..Options::default()
    }
}

pub async fn store(spool: &Spool, envelope: Envelope, body: Vec<u8>) -> EntryId {
    let mut incoming = spool.begin();
    let commit = tokio::task::spawn_blocking(move || {
        for piece in body.chunks(100_000) {
            incoming.write(piece).unwrap();
        }
        incoming.commit(envelope, b"Received: by mail.test.example\r\n".to_vec())
    });
    commit.await.unwrap().await.unwrap()
}

pub fn envelope(from: &str, to: &[&str]) -> Envelope {
    let recipient = |to: &&str| Recipient {
        forward_path: (*to).to_owned(),
        ..Recipient::default()
    };
    Envelope {
        reverse_path: from.to_owned(),
        recipients: to.iter().map(recipient).collect(),
        client: "192.0.2.1".to_owned(),
        arrived: clock::now(),
        expires: clock::now() + 5 * 86_400_000,
        ..Envelope::default()
    }
}

pub fn message(subject: &str) -> Vec<u8> {
    format!("From: <a@from.example>\r\nSubject: {subject}\r\n\r\n.leading dot\r\nbody\r\n").into_bytes()
}

/// An acceptor with a certificate of its own for the loopback, and that certificate.
pub fn certificate() -> (TlsAcceptor, CertificateDer<'static>) {
    certificate_for(&["localhost", "127.0.0.1"])
}

/// The same for these names.
pub fn certificate_for(names: &[&str]) -> (TlsAcceptor, CertificateDer<'static>) {
    certificate_until(names, 4096)
}

/// The same up to the beginning of a year.
pub fn certificate_until(names: &[&str], year: i32) -> (TlsAcceptor, CertificateDer<'static>) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let signing_key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&signing_key).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(postroad_mta::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), certificate.der().clone())
}
