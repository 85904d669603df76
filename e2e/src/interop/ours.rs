//! Our mail server for these parts: it relays for this computer, knows one user, and sends by the recipient's domain.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::checks;
use crate::kubectl::{Failure, Outcome};
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

/// A route: recipient domain, next hop, TLS.
pub(super) type Route<'a> = (&'a str, SocketAddr, &'a str);

impl Ours {
    /// Starts it at that address, with these routes; all else goes to `sink`.
    pub(super) fn start(smtp: SocketAddr, routes: &[Route<'_>], sink: SocketAddr) -> Outcome<Self> {
        let home = tempfile::tempdir()?;
        let program = checks::mail_server()?;
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
             domains: [{{name: back.test, senders: [{{user: {}, addresses: [alice]}}]}}]\npolicies:\n",
            USER.0, USER.0
        );
        for (number, (domain, to, tls)) in (0..).zip(routes.iter().chain([&("", sink, "Disabled")])) {
            let terms = if domain.is_empty() {
                String::new()
            } else {
                format!("match: {{recipientDomains: [{domain}]}}, ")
            };
            let _ = writeln!(
                config,
                "\x20 - {{name: r{number}, {terms}routes: [{{to: {{smartHosts: [{{host: 127.0.0.1, port: {}}}]}}, \
                 tls: {tls}}}], retry: {{first: 1s, max: 1s}}}}",
                to.port()
            );
        }
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

/// Writes `tls.crt` and `tls.key` for this computer, and `ca.crt`, which signed them.
pub(super) fn certificate(folder: &Path) -> Outcome {
    let authority =
        "req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=interop -keyout ca.key -out ca.crt";
    let leaf = "req -x509 -CA ca.crt -CAkey ca.key -newkey rsa:2048 -nodes -days 3650 -subj /CN=localhost \
                -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
                -keyout tls.key -out tls.crt";
    for args in [authority, leaf] {
        Shell::new("openssl")
            .args(args.split_whitespace())
            .dir(folder)
            .run()?;
    }
    Ok(())
}

/// An address that nothing listens on.
pub(super) fn free_address() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
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
