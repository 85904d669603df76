//! A daemon in a process of its own, with a spool, a certificate and a configuration of its own.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::wire::Wire;

pub struct Stage {
    pub daemon: Daemon,
    pub directory: tempfile::TempDir,
    pub chain: String,
    pub transfer: SocketAddr,
    pub submission: SocketAddr,
}

/// What differs between scenarios.
pub struct Play {
    pub limits: String,
    /// Where mail for `example.com` goes, by LMTP; without one it stays in the queue.
    pub store: Option<SocketAddr>,
    /// Where all other mail goes, by SMTP.
    pub relay: Option<SocketAddr>,
    /// Recipients of `example.com`; all of them where empty.
    pub listed: &'static str,
    /// Whether clients on this machine may relay without a password.
    pub trusted: bool,
    /// More ports, a line each.
    pub ports: String,
    /// More lines of the file.
    pub more: String,
}

impl Default for Play {
    fn default() -> Self {
        Self {
            limits: "{connections: 5000, connectionsPerClient: 5000}".to_owned(),
            store: None,
            relay: None,
            listed: "alice, bob",
            trusted: false,
            ports: String::new(),
            more: String::new(),
        }
    }
}

/// A port of loopback that nobody serves now, outside of the range that the system gives to clients: between here and
/// the daemon's start nobody gets it.
pub fn free_port() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = std::process::id().wrapping_mul(97) + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(10_000 + step % 20_000).unwrap();
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().unwrap();
        }
    }
}

/// `alice`, password `correct horse`.
pub const PASSWORD: &str = "correct horse";

/// What a daemon is started with.
pub struct Files {
    pub directory: tempfile::TempDir,
    pub config: PathBuf,
    pub chain: String,
    pub transfer: SocketAddr,
    pub submission: SocketAddr,
}

impl Play {
    pub fn start(self) -> Stage {
        let files = self.write();
        Stage {
            daemon: serve(&files.config, &files.directory.path().join("log")),
            directory: files.directory,
            chain: files.chain,
            transfer: files.transfer,
            submission: files.submission,
        }
    }

    /// Writes everything, and starts nothing.
    pub fn write(&self) -> Files {
        let directory = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["mail.example.com".to_owned()]).unwrap();
        let chain = made.cert.pem();
        std::fs::write(directory.path().join("tls.crt"), &chain).unwrap();
        std::fs::write(directory.path().join("tls.key"), made.signing_key.serialize_pem()).unwrap();
        let (transfer, submission) = (free_port(), free_port());
        let config = directory.path().join("postroad.yaml");
        std::fs::write(
            &config,
            self.text(&directory.path().display().to_string(), transfer, submission),
        )
        .unwrap();
        Files {
            directory,
            config,
            chain,
            transfer,
            submission,
        }
    }

    fn text(&self, at: &str, transfer: SocketAddr, submission: SocketAddr) -> String {
        let endpoint = |address: SocketAddr| format!("{{host: {}, port: {}}}", address.ip(), address.port());
        let store = endpoint(self.store.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 1))));
        let recipients = if self.listed.is_empty() {
            "{mode: Any}".to_owned()
        } else {
            format!("{{mode: Listed, addresses: [{}]}}", self.listed)
        };
        let relay = self.relay.map_or_else(String::new, |relay| {
            format!(
                "policies: [{{name: p, routes: [{{to: {{smartHosts: [{}]}}, tls: Disabled}}]}}]\n",
                endpoint(relay)
            )
        });
        let verifier = postroad_mta::auth::Verifier::scram(PASSWORD).unwrap();
        format!(
            "format: 1\nhostname: mail.example.com\nspool: {{directory: {at}/spool, highWaterPercent: 99, writeFormat: 2}}\n\
             tls: {{certificateFile: {at}/tls.crt, keyFile: {at}/tls.key}}\nlimits: {limits}\n\
             relayFrom: [{trusted}]\nusers: [{{name: alice, verifier: '{verifier}'}}]\nports:\n\
             \x20 - {{name: smtp, address: '{transfer}', role: Transfer, tls: Opportunistic}}\n\
             \x20 - {{name: submission, address: '{submission}', role: Submission, tls: StartTls}}\n{ports}\
             domains:\n  - name: example.com\n    inbound:\n      recipients: {recipients}\n      deliverTo: {{lmtp: {store}}}\n\
             \x20   senders: [{{user: alice, addresses: [alice]}}]\n{relay}{more}",
            limits = self.limits,
            trusted = if self.trusted { "127.0.0.0/8" } else { "" },
            ports = self.ports,
            more = self.more,
        )
    }
}

/// A daemon that ends when its test does, however that ends.
pub struct Daemon(pub Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the daemon; its log goes to this file.
pub fn serve(config: &std::path::Path, log: &PathBuf) -> Daemon {
    let log = std::fs::File::create(log).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_postroad-mta"))
        .arg("--config")
        .arg(config)
        .current_dir(config.parent().unwrap())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    Daemon(child)
}

impl Stage {
    /// A session after EHLO, on the port for other servers.
    pub fn wire(&self) -> Wire {
        Wire::ready(self.transfer)
    }

    /// A session of alice, who may send.
    pub fn submitting(&self) -> Wire {
        let mut wire = Wire::ready(self.submission).secure(&self.chain);
        wire.expect(&[(&format!("AUTH PLAIN {}", plain("alice", PASSWORD)), 235)]);
        wire
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// Resident memory now, in octets.
    pub fn resident(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most resident memory so far, in octets.
    pub fn most_resident(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.daemon.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
    }

    /// The daemon runs, takes mail, and no thread of it panicked.
    pub fn is_well(&mut self) {
        assert!(
            self.daemon.0.try_wait().unwrap().is_none(),
            "the daemon ended: {}",
            self.log()
        );
        let mut wire = self.wire();
        assert_eq!(
            wire.deliver("alice@example.com", "Subject: well\r\n\r\nwell\r\n")
                .code,
            250
        );
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

/// The response of PLAIN.
pub fn plain(user: &str, password: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(format!("\0{user}\0{password}"))
}
