//! Whole daemons in processes of their own, which can be killed, and an operator that tells them what to do.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use postroad_config::ConfigFile;
use postroad_config::admin::State;
use postroad_spool::{Envelope, Options, Recipient, Spool};

use super::{Fleet, body, http, now};

/// A daemon in a process; killed when it is dropped.
pub struct Process {
    pub config: PathBuf,
    /// Its admin endpoint: the same after each start.
    pub address: SocketAddr,
    child: Option<Child>,
}

/// Addresses of 127.0.0.0/8 that no other test has: nobody takes a port while its daemon is down.
pub fn address(port: u16) -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [high, low] = u16::try_from(std::process::id() & 0xffff).unwrap().to_be_bytes();
    let own = u8::try_from(64 + NEXT.fetch_add(1, Ordering::Relaxed) % 190).unwrap();
    SocketAddr::from(([127, own, high, low], port))
}

/// The configuration of a daemon that sends everything to `next_hop`, tried each second.
pub fn configuration(fleet: &Fleet, directory: &Path, api: SocketAddr, next_hop: SocketAddr) -> ConfigFile {
    let mut file = fleet.set(api, Vec::new()).file;
    file.admin.health = None;
    file.spool.directory = directory.join("spool");
    file.spool.high_water_percent = 99;
    let policies = format!(
        "format: 1\nhostname: mail.example.com\nspool: {{directory: /unused}}\npolicies:\n  - name: test/all\n    \
         routes: [{{to: {{smartHosts: [{{host: {}, port: {}}}]}}, tls: Disabled}}]\n    \
         retry: {{first: 1s, max: 1s}}\n",
        next_hop.ip(),
        next_hop.port()
    );
    let set = postroad_config::assemble(&policies, &std::collections::BTreeMap::new()).unwrap();
    file.policies = set.file.policies;
    file
}

/// Writes a configuration in one step, as a mounted Secret changes.
pub fn write(path: &Path, file: &ConfigFile) {
    let next = path.with_extension("next");
    std::fs::write(&next, postroad_config::render(file).unwrap()).unwrap();
    std::fs::rename(next, path).unwrap();
}

/// Mail that an earlier run of the daemon accepted, to `u<tag>@example.net`.
pub async fn fill(directory: &Path, tags: std::ops::Range<u64>, size: usize) {
    let (spool, _) = Spool::open(&directory.join("spool"), &Options::default()).unwrap();
    let now = now();
    let mut commits = Vec::new();
    for tag in tags {
        let mut incoming = spool.begin();
        incoming.write(b"Subject: drained\r\n\r\n").unwrap();
        incoming.write(&body(tag, size)).unwrap();
        incoming.write(b"\r\n").unwrap();
        let envelope = Envelope {
            reverse_path: "app@sender.example".into(),
            recipients: vec![Recipient {
                forward_path: format!("u{tag}@example.net"),
                ..Recipient::default()
            }],
            arrived: now,
            expires: now + 86_400_000,
            ..Envelope::default()
        };
        commits.push(incoming.commit(envelope, Vec::new()));
    }
    for commit in commits {
        commit.await.unwrap();
    }
}

impl Process {
    /// A daemon on its directory under the fleet's, not started.
    pub fn new(fleet: &Fleet, name: &str, next_hop: SocketAddr) -> Self {
        let directory = fleet.directory.path().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let address = address(18_443);
        let config = directory.join("base.yaml");
        write(&config, &configuration(fleet, &directory, address, next_hop));
        Self {
            config,
            address,
            child: None,
        }
    }

    pub fn directory(&self) -> &Path {
        self.config.parent().unwrap()
    }

    pub fn start(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postroad-mta"));
        command.arg("--config").arg(&self.config).stdout(Stdio::null());
        self.child = Some(command.spawn().unwrap());
    }

    /// SIGKILL: no chance to tidy up.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// A verb, or a question; `None` while it is down, or where it refuses.
    pub async fn call(&self, fleet: &Fleet, method: &str, path: &str, body: &str) -> Option<State> {
        let token = fleet.operator();
        let answer = http::attempt(fleet, self.address, method, path, Some(&token), body).await;
        let (status, text) = answer.ok()?;
        if status != 200 {
            println!("{method} {path} at {}: {status} {text}", self.address);
            return None;
        }
        Some(serde_json::from_str(&text).unwrap())
    }

    pub async fn state(&self, fleet: &Fleet) -> Option<State> {
        self.call(fleet, "GET", "/v1/state", "").await
    }

    /// Waits until it answers.
    pub async fn ready(&self, fleet: &Fleet) -> State {
        let end = Instant::now() + LONG;
        loop {
            if let Some(state) = self.state(fleet).await {
                return state;
            }
            assert!(Instant::now() < end, "{} does not answer", self.config.display());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn seal(&self, fleet: &Fleet, targets: &[SocketAddr]) -> Option<State> {
        let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
        let request = serde_json::json!({ "targets": targets }).to_string();
        self.call(fleet, "POST", "/v1/seal", &request).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

pub const LONG: Duration = Duration::from_mins(2);
