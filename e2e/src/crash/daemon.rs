//! The mail server under test: started on a spool, with a tracer in front of it or without, killed, started again.

use std::io::{PipeWriter, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::kubectl::{Failure, Outcome};

/// A mail server that runs, or did.
#[derive(Debug)]
pub(super) struct Daemon {
    program: PathBuf,
    /// Configuration and log.
    home: tempfile::TempDir,
    child: Option<Child>,
    smtp: SocketAddr,
    health: SocketAddr,
}

impl Daemon {
    /// Writes the configuration of a server with its spool there, which sends everything to `sink`. Does not start it.
    pub(super) fn new(program: &Path, spool: &Path, sink: SocketAddr) -> Outcome<Self> {
        let home = tempfile::tempdir()?;
        let host = own_address();
        let (smtp, health) = (SocketAddr::from((host, 2525)), SocketAddr::from((host, 8080)));
        let config = format!(
            "format: 1\nhostname: crash.test\nspool: {{directory: {}, highWaterPercent: 95}}\n\
             relayFrom: [127.0.0.0/8]\nlimits: {{messagesPerConnection: 1000000, connectionsPerClient: 1000}}\n\
             admin: {{health: '{health}'}}\n\
             ports: [{{name: smtp, address: '{smtp}', role: Transfer, tls: Disabled}}]\n\
             policies:\n\
             \x20 - name: sink\n\
             \x20   routes: [{{to: {{smartHosts: [{{host: 127.0.0.1, port: {}}}]}}, tls: Disabled}}]\n\
             \x20   retry: {{first: 1s, max: 1s}}\n",
            spool.display(),
            sink.port()
        );
        std::fs::write(home.path().join("postroad.yaml"), config)?;
        Ok(Self {
            program: program.to_owned(),
            home,
            child: None,
            smtp,
            health,
        })
    }

    /// Adds sections to the configuration.
    pub(super) fn configure(&mut self, sections: &str) -> Outcome {
        let file = self.home.path().join("postroad.yaml");
        let text = std::fs::read_to_string(&file)?;
        Ok(std::fs::write(file, text + sections)?)
    }

    /// Lets it serve the admin API, as `admin.api` describes it.
    pub(super) fn serve_api(&mut self, api: &serde_json::Value) -> Outcome {
        let file = self.home.path().join("postroad.yaml");
        let text = std::fs::read_to_string(&file)?;
        let old = format!("admin: {{health: '{}'}}", self.health);
        let new = format!("admin: {{health: '{}', api: {api}}}", self.health);
        if !text.contains(&old) {
            return Err(Failure::wrong("the configuration has another section `admin`"));
        }
        Ok(std::fs::write(file, text.replace(&old, &new))?)
    }

    /// Starts it; `before` is put in front of the command line. Does not wait.
    pub(super) fn spawn(&mut self, before: &[&str]) -> Outcome {
        self.launch(before, None)
    }

    /// Starts it under a tracer, whose words (and the server's own on standard error) go there.
    pub(super) fn spawn_traced(&mut self, tracer: &[&str], words: PipeWriter) -> Outcome<Pid> {
        self.launch(tracer, Some(words))?;
        let group = self.child.as_ref().map(Pid::from_child);
        group.ok_or_else(|| Failure::wrong("no process"))
    }

    fn launch(&mut self, tracer: &[&str], errors: Option<PipeWriter>) -> Outcome {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.home.path().join("log"))?;
        let mut words: Vec<String> = tracer.iter().map(|word| (*word).to_owned()).collect();
        words.extend([self.program.display().to_string(), "--config".to_owned()]);
        words.push(self.home.path().join("postroad.yaml").display().to_string());
        let (program, args) = words.split_first().ok_or_else(|| Failure::wrong("no program"))?;
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(errors.map_or_else(|| Stdio::from(log), Stdio::from))
            .process_group(0)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// Starts it and waits until it is ready.
    pub(super) fn start(self) -> Outcome<Self> {
        self.start_behind(&[])
    }

    /// The same, with these words in front of the command line.
    pub(super) fn start_behind(mut self, before: &[&str]) -> Outcome<Self> {
        self.spawn(before)?;
        if self.becomes_ready(READY) {
            return Ok(self);
        }
        Err(Failure::wrong(format!(
            "the mail server does not get ready:\n{}",
            self.log()
        )))
    }

    /// Kills what is left of it, and starts it without a tracer: whatever happened to it, it must come up.
    pub(super) fn restart(mut self) -> Outcome<Self> {
        self.kill();
        self.start()
    }

    /// Whether it comes to say that it is ready; false also when it ends.
    pub(super) fn becomes_ready(&mut self, limit: Duration) -> bool {
        self.comes(limit, |daemon| daemon.is_ready() == Some(true))
    }

    /// Whether it comes to answer, ready or not.
    pub(super) fn becomes_alive(&mut self, limit: Duration) -> bool {
        self.comes(limit, |daemon| daemon.is_alive() == Some(true))
    }

    fn comes(&mut self, limit: Duration, test: impl Fn(&Self) -> bool) -> bool {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline && self.runs() {
            if test(self) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// What its readiness probe says; nothing where it does not answer.
    pub(super) fn is_ready(&self) -> Option<bool> {
        self.probe("/readyz")
    }

    /// The same of its liveness probe.
    pub(super) fn is_alive(&self) -> Option<bool> {
        self.probe("/livez")
    }

    fn probe(&self, path: &str) -> Option<bool> {
        let mut stream = TcpStream::connect_timeout(&self.health, Duration::from_secs(2)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
            .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer.starts_with("HTTP/1.1 200"))
    }

    /// Whether it, or its tracer, still runs.
    pub(super) fn runs(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// SIGKILL to it and its tracer.
    pub(super) fn kill(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        let _ = child.wait();
    }

    pub(super) fn smtp(&self) -> SocketAddr {
        self.smtp
    }

    /// The end of its log.
    pub(super) fn log(&self) -> String {
        let log = std::fs::read(self.home.path().join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Ends it and leaves configuration and log where they are.
    pub(super) fn keep(&self) -> PathBuf {
        let kept = std::env::temp_dir().join(format!("postroad-crash-{}", std::process::id()));
        let _ = std::fs::create_dir_all(&kept);
        for name in ["log", "postroad.yaml"] {
            let _ = std::fs::copy(self.home.path().join(name), kept.join(name));
        }
        kept
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A loopback address that no other server of this run or of a run beside it has: no port is ever taken already.
fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let bits = (std::process::id() << 14) ^ number;
    Ipv4Addr::from_bits(0x7f80_0000 | (bits & 0x007f_ffff))
}

const READY: Duration = Duration::from_mins(1);
