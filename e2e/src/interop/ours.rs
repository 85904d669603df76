//! Our mail server for these parts: it relays for this computer, knows one user, and sends by the recipient's domain.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::checks;
use crate::kubectl::{Failure, Outcome};
use crate::place::free_address;
use crate::shell::{Background, Shell};

/// The user's name and password.
pub(super) const USER: (&str, &str) = ("alice", "correct-horse");

/// It runs until this is dropped.
#[derive(Debug)]
pub(super) struct Ours {
    pub(super) smtp: SocketAddr,
    pub(super) submission: SocketAddr,
    pub(super) submissions: SocketAddr,
    home: tempfile::TempDir,
    _program: Background,
}

/// Where the mail for a domain goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) domain: &'static str,
    pub(super) to: SocketAddr,
    pub(super) by: By,
}

/// How it goes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// By a policy's route, with this TLS mode.
    Smtp(&'static str),
    /// As mail for a domain of ours, to its store; TLS where the store offers it.
    Lmtp,
}

impl Ours {
    /// Starts it at that address, with these routes; all else goes to `sink`.
    pub(super) fn start(smtp: SocketAddr, routes: &[Route], sink: SocketAddr) -> Outcome<Self> {
        Self::start_with(smtp, routes, sink, "")
    }

    /// The same with more sections.
    pub(super) fn start_with(
        smtp: SocketAddr,
        routes: &[Route],
        sink: SocketAddr,
        more: &str,
    ) -> Outcome<Self> {
        let mut rest = String::new();
        write_routes(&mut rest, routes, sink);
        rest.push_str(more);
        Self::configured(smtp, &rest)
    }

    /// Starts it at that address; `rest` is what its file says behind the first of its domains.
    pub(super) fn configured(smtp: SocketAddr, rest: &str) -> Outcome<Self> {
        let home = tempfile::tempdir()?;
        let program = program()?;
        certificate(home.path())?;
        let (submission, submissions) = (free_address()?, free_address()?);
        let verifier = Shell::new(&program)
            .args(["hash-password", "--scram"])
            .input(format!("{}\n", USER.1))
            .read()?;
        let at = home.path().display();
        let mut config = format!(
            "format: 1\nhostname: ours.test\nspool: {{directory: {at}/spool, highWaterPercent: 99}}\n\
             tls: {{certificateFile: {at}/tls.crt, keyFile: {at}/tls.key}}\nrelayFrom: [127.0.0.0/8]\n\
             users: [{{name: {}, verifier: '{verifier}'}}]\nports:\n\
             \x20 - {{name: smtp, address: '{smtp}', role: Transfer, tls: Opportunistic}}\n\
             \x20 - {{name: submission, address: '{submission}', role: Submission, tls: StartTls}}\n\
             \x20 - {{name: submissions, address: '{submissions}', role: Submission, tls: Implicit}}\n\
             domains:\n\x20 - {{name: back.test, senders: [{{user: {}, addresses: [alice]}}]}}\n",
            USER.0, USER.0
        );
        config.push_str(rest);
        let file = home.path().join("postroad.yaml");
        std::fs::write(&file, config)?;
        let command = format!(
            "exec '{}' --config '{}' >'{at}/log' 2>&1",
            program.display(),
            file.display()
        );
        let program = Shell::new("sh").args(["-c", &command]).spawn()?;
        let ours = Self {
            smtp,
            submission,
            submissions,
            home,
            _program: program,
        };
        listens(smtp).map_err(|error| Failure::wrong(format!("{error}\n{}", ours.log())))?;
        Ok(ours)
    }

    /// Number of lines of its log that hold all of these words.
    pub(super) fn logged(&self, words: &[&str]) -> usize {
        let log = std::fs::read(self.home.path().join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let fits = |line: &&str| words.iter().all(|word| line.contains(word));
        log.lines().filter(fits).count()
    }

    /// The lines of its log that are whole.
    pub(super) fn lines(&self) -> Vec<serde_json::Value> {
        let log = std::fs::read(self.home.path().join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        log.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The end of its log.
    pub(super) fn log(&self) -> String {
        let log = std::fs::read(self.home.path().join("log")).unwrap_or_default();
        crate::shell::tail(&String::from_utf8_lossy(&log))
    }

    /// The authority that signed its certificate.
    pub(super) fn authority(&self) -> PathBuf {
        self.home.path().join("ca.crt")
    }
}

/// The rest of the list of domains, and the policies; what no route is for goes to `sink`.
fn write_routes(config: &mut String, routes: &[Route], sink: SocketAddr) {
    for Route { domain, to, .. } in routes.iter().filter(|route| route.by == By::Lmtp) {
        let _ = writeln!(
            config,
            "\x20 - {{name: {domain}, inbound: {{recipients: {{mode: Any}}, \
             deliverTo: {{lmtp: {{host: 127.0.0.1, port: {}}}}}}}}}",
            to.port()
        );
    }
    config.push_str("policies:\n");
    let mut policy = |name: &str, terms: &str, to: SocketAddr, tls: &str| {
        let _ = writeln!(
            config,
            "\x20 - {{name: {name}, {terms}routes: [{{to: {{smartHosts: [{{host: 127.0.0.1, port: {}}}]}}, \
             tls: {tls}}}], retry: {{first: 1s, max: 1s}}}}",
            to.port()
        );
    };
    for Route { domain, to, by } in routes {
        if let By::Smtp(tls) = by {
            policy(
                domain,
                &format!("match: {{recipientDomains: [{domain}]}}, "),
                *to,
                tls,
            );
        }
    }
    policy("sink", "", sink, "Disabled");
}

/// Writes `tls.crt` and `tls.key` for this computer, and `ca.crt`, which signed them.
pub(super) fn certificate(folder: &Path) -> Outcome {
    let authority = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=interop \
                     -keyout ca.key -out ca.crt";
    let leaf = "req -x509 -CA ca.crt -CAkey ca.key -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
                -subj /CN=localhost -addext basicConstraints=critical,CA:FALSE \
                -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout tls.key -out tls.crt";
    for args in [authority, leaf] {
        Shell::new("openssl")
            .args(args.split_whitespace())
            .dir(folder)
            .run()?;
    }
    Ok(())
}

/// Our mail server, built once.
pub(super) fn program() -> Outcome<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if built.is_none() {
        *built = Some(checks::mail_server()?);
    }
    built
        .clone()
        .ok_or_else(|| Failure::wrong("the mail server was not built"))
}

/// Waits until something listens there.
pub(super) fn listens(address: SocketAddr) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        if TcpStream::connect(address).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(Failure::wrong(format!("nothing listens on {address}")))
}
