//! Our own daemon, as released, with its defaults but for the limits per session.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use postroad_config::{AdminApi, TlsMode, TlsSection, TlsSource, TlsVersion};
use postroad_e2e::kubectl::{Failure, Outcome};
use postroad_e2e::place::{self, free_address};
use postroad_e2e::rootfs::Jail;
use postroad_e2e::shell::Shell;

use super::{Greets, Running, Server, Task};
use crate::bench::OURS;
use crate::folder::Folder;

/// Our daemon as the other servers are.
#[derive(Debug)]
pub struct Postroad;

/// The domain whose server is down.
pub const DEAD: &str = "dead.example";

/// How one daemon is set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is done with mail; mail for [`DEAD`] is kept whatever this says.
    pub task: Task,
    /// The first wait after a failure, in seconds.
    pub retry: u32,
    /// Certificate and key in PEM for STARTTLS.
    pub tls: Option<(String, String)>,
    /// The admin endpoint.
    pub api: Option<AdminApi>,
}

impl Settings {
    /// The settings of the tests that compare.
    pub fn of(task: Task) -> Self {
        Self {
            task,
            retry: 3_600,
            tls: None,
            api: None,
        }
    }
}

impl Server for Postroad {
    fn name(&self) -> &'static str {
        OURS
    }

    fn settings(&self) -> &'static str {
        "defaults; no limit of connections or of messages in one; accept tests: the next hop is down; log lines go to a \
         file"
    }

    fn version(&self) -> Outcome<String> {
        let text = Shell::new(program()?).args(["--version"]).read()?;
        Ok(text.rsplit(' ').next().unwrap_or_default().to_owned())
    }

    fn start(&self, folder: Folder, task: Task) -> Outcome<Running> {
        start(folder, &Settings::of(task))
    }

    fn queued(&self, running: &Running) -> Outcome<u64> {
        metric(running, "postroad_mta_queue_messages")
    }
}

/// The program that is measured.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Takes this program, or builds the tree's as it is released.
pub fn build(given: Option<&Path>) -> Outcome {
    if let Some(given) = given {
        PROGRAM.get_or_init(|| given.to_owned());
        return Ok(());
    }
    let args = ["build", "--release", "--locked", "--quiet", "-p", "postroad-mta"];
    Shell::new(place::cargo())
        .args(args)
        .dir(&place::tree())
        .limit(Duration::from_hours(1))
        .echo()
        .run()?;
    Ok(())
}

fn program() -> Outcome<PathBuf> {
    let built = || place::target().join("release/postroad-mta");
    Ok(std::path::absolute(PROGRAM.get_or_init(built))?)
}

/// Starts a daemon in a folder; a spool that is there is used.
pub fn start(folder: Folder, settings: &Settings) -> Outcome<Running> {
    let (address, health, dead) = (free_address()?, free_address()?, free_address()?);
    let text = configuration(folder.path(), [address, health, dead], settings)?;
    launch(folder, Greets::AtOnce, [address, health], &text)
}

/// Starts it with that configuration; `[address, health]` stand in it.
pub(super) fn launch(
    folder: Folder,
    greets: Greets,
    [address, health]: [SocketAddr; 2],
    configuration: &str,
) -> Outcome<Running> {
    let file = folder.path().join("postroad.yaml");
    std::fs::write(&file, configuration)?;
    std::fs::write(folder.path().join("health"), health.to_string())?;
    let jail = Jail::on_host()?;
    // Its log goes to a file in a folder of its own, as a container's does.
    let logs = folder.path().join("log");
    std::fs::create_dir_all(&logs)?;
    let log = "log=$1; shift; exec \"$@\" >>\"$log\" 2>&1";
    let program = jail
        .shell("sh")
        .args(["-c", log, "sh"])
        .args([&logs.join("postroad"), &program()?])
        .args(["--config".as_ref(), file.as_os_str()])
        .spawn()?;
    Running::that(greets, address, Some(program), jail, folder)
}

/// A verifier of that password, as a user's `verifier`.
pub(super) fn verifier(password: &str) -> Outcome<String> {
    let made = Shell::new(program()?).args(["hash-password"]);
    Ok(made.input(format!("{password}\n")).read()?)
}

fn configuration(
    folder: &Path,
    [address, health, dead]: [SocketAddr; 3],
    settings: &Settings,
) -> Outcome<String> {
    let mut text = format!(
        "format: 1
hostname: postroad.bench.example
spool: {{directory: {}, highWaterPercent: 99}}
ports: [{{name: bench, address: '{address}', role: Transfer, tls: Disabled}}]
relayFrom: [127.0.0.0/8]
limits: {{messageSize: 100Mi, connections: 50000, connectionsPerClient: 50000, messagesPerConnection: 1000000}}
admin: {{health: '{health}'}}
policies:
",
        folder.join("spool").display()
    );
    let retry = settings.retry;
    let mut policy = |name: &str, matches: &str, to: SocketAddr| {
        let _ = write!(
            text,
            "- name: bench/{name}
  match: {matches}
  routes: [{{to: {{smartHosts: [{{host: {}, port: {}}}]}}, tls: Disabled}}]
  retry: {{first: {retry}s, max: {retry}s}}
",
            to.ip(),
            to.port(),
        );
    };
    policy("dead", &format!("{{recipientDomains: [{DEAD}]}}"), dead);
    let rest = match settings.task {
        Task::Keep => dead,
        Task::Relay(to) => to,
    };
    policy("rest", "{}", rest);
    let mut set = postroad_config::assemble(&text, &std::collections::BTreeMap::new())
        .map_err(|error| Failure::wrong(format!("the bench's own configuration: {error}")))?;
    if settings.tls.is_some() {
        set.file
            .ports
            .iter_mut()
            .for_each(|port| port.tls = TlsMode::Opportunistic);
    }
    set.file.tls = settings.tls.clone().map(|(certificate, key)| TlsSection {
        source: TlsSource::Inline { certificate, key },
        minimum_version: TlsVersion::Tls12,
    });
    set.file.admin.api.clone_from(&settings.api);
    postroad_config::render(&set.file).map_err(Failure::wrong)
}

/// One figure of `/metrics`.
pub fn metric(running: &Running, name: &str) -> Outcome<u64> {
    let text = health(running, "/metrics")?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value
        .and_then(|value| value.trim().parse().ok())
        .ok_or_else(|| Failure::wrong(format!("/metrics shows no {name}")))
}

/// Waits until `/readyz` says yes.
pub fn ready(running: &Running, limit: Duration) -> Outcome {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if health(running, "/readyz").is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(Failure::wrong("the daemon is not ready in time"))
}

/// `GET` of the health endpoint; any status but 200 is an error.
fn health(running: &Running, path: &str) -> Outcome<String> {
    let address = std::fs::read_to_string(running.folder.path().join("health"))?;
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    match text.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => Err(Failure::wrong(format!(
            "{path}: {}",
            text.lines().next().unwrap_or_default()
        ))),
    }
}
