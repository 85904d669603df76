//! A daemon with a spool, certificate and configuration of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use postroad_mta::daemon::Daemon;
use postroad_mta::lifecycle::Patience;
use postroad_spool::{EntryId, Message};

use crate::client::{Client, PATIENCE};

pub struct Stage {
    pub daemon: Daemon,
    pub directory: tempfile::TempDir,
    pub chain: String,
}

/// What differs between scenarios; the rest is the same everywhere.
pub struct Play {
    pub limits: &'static str,
    pub users: Vec<(&'static str, String)>,
    pub domains: String,
    /// More sections.
    pub more: String,
    /// `spool.writeFormat`.
    pub format: u32,
    /// Who answers for the DNS. Nobody, so that nothing leaves the spool.
    pub resolver: String,
}

impl Default for Play {
    fn default() -> Self {
        Self {
            limits: "{}",
            users: Vec::new(),
            domains: DOMAINS.to_owned(),
            more: String::new(),
            format: 2,
            resolver: "127.0.0.1:1".to_owned(),
        }
    }
}

pub const DOMAINS: &str = "\
domains:
  - name: example.com
    inbound:
      recipients:
        mode: Listed
        addresses: [alice, bob]
        aliases: [{name: sales, to: [alice@example.com, carol@else.example]}]
      deliverTo: {lmtp: {host: 127.0.0.1, port: 1}}
    senders:
      - {user: alice, addresses: [alice]}
";

/// Sessions that a scenario leaves open are cut.
pub const AT_ONCE: Patience = Patience {
    leave: Duration::ZERO,
    sessions: Duration::from_millis(200),
};

pub fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["mail.example.com".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

impl Play {
    pub async fn start(self) -> Stage {
        let directory = tempfile::tempdir().unwrap();
        let (chain, key) = certificate();
        std::fs::write(directory.path().join("tls.crt"), &chain).unwrap();
        std::fs::write(directory.path().join("tls.key"), key).unwrap();
        let config = directory.path().join("base.yaml");
        std::fs::write(&config, self.text(directory.path(), &self.domains)).unwrap();
        Stage {
            daemon: Daemon::start(&config).await.unwrap(),
            directory,
            chain,
        }
    }

    /// The base file.
    pub fn text(&self, directory: &std::path::Path, domains: &str) -> String {
        let at = directory.display();
        let mut text = format!(
            "format: 1\nhostname: mail.example.com\nspool: {{directory: {at}/spool, \
             highWaterPercent: 99, writeFormat: {format}}}\n\
             tls: {{certificateFile: {at}/tls.crt, keyFile: {at}/tls.key}}\nlimits: {limits}\n\
             admin: {{health: '127.0.0.1:0'}}\nresolvers: ['{resolver}']\nports:\n\
             \x20 - {{name: smtp, address: '127.0.0.1:0', role: Transfer, tls: Opportunistic}}\n\
             \x20 - {{name: submission, address: '127.0.0.1:0', role: Submission, tls: StartTls}}\n\
             \x20 - {{name: submissions, address: '127.0.0.1:0', role: Submission, tls: Implicit}}\n",
            format = self.format,
            limits = self.limits,
            resolver = self.resolver,
        );
        if !self.users.is_empty() {
            text += "users:\n";
            for (name, verifier) in &self.users {
                text.extend(["  - {name: ", name, ", verifier: '", verifier, "'}\n"]);
            }
        }
        text + &self.more + domains
    }
}

impl Stage {
    pub fn port(&self, name: &str) -> SocketAddr {
        self.daemon.ports().address(name).unwrap()
    }

    pub async fn smtp(&self) -> Client {
        Client::greeted(self.port("smtp")).await
    }

    pub async fn submissions(&self) -> Client {
        Client::implicit(self.port("submissions"), &self.chain).await
    }

    pub fn config(&self) -> PathBuf {
        self.directory.path().join("base.yaml")
    }

    /// Entry ids, oldest first.
    pub fn entries(&self) -> Vec<EntryId> {
        let mut ids: Vec<_> = self
            .daemon
            .handles()
            .spool
            .entries()
            .into_iter()
            .map(|entry| entry.id)
            .collect();
        ids.sort_unstable();
        ids
    }

    /// The newest entry of the spool.
    pub fn newest(&self) -> EntryId {
        *self.entries().last().expect("there is an entry")
    }

    /// The one entry of the spool, and its body.
    pub async fn only(&self) -> (Message, String) {
        let ids = self.entries();
        assert_eq!(ids.len(), 1, "one entry");
        let spool = self.daemon.handles().spool.clone();
        tokio::task::spawn_blocking(move || {
            let mut message = spool.read(ids[0]).unwrap();
            let mut body = String::new();
            std::io::Read::read_to_string(&mut message.body, &mut body).unwrap();
            (message, body)
        })
        .await
        .unwrap()
    }

    /// Waits until it holds.
    pub async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("never: {what}"));
    }

    pub async fn stop(self) {
        self.daemon.stop(AT_ONCE).await;
    }
}

/// Message text of one short mail.
pub const MAIL: &str = "From: Carol <carol@else.example>\r\nSubject: x\r\n\r\nHello\r\n";
