//! Smart hosts that others made: our mail server relays through each, with the right credentials and with wrong ones.
//!
//! ```text
//!   client ─► ours ─► smart host (AUTH inside TLS, or a client's certificate) ─► sink
//!      right: it arrives once, as it was          wrong: it is held, and the delivery log says why
//! ```

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use super::inbox::Arrived;
use super::mail::{self, Mail};
use super::ours::{self, Ours, USER, listens};
use super::sink::Sink;
use super::{Table, Verdict};
use crate::kubectl::{Failure, Outcome};
use crate::place::free_address;
use crate::rootfs::{Jail, Rootfs};
use crate::shell::{Background, Shell};

/// Programs of one root file system, with `PORT0` to `PORT4` and `SINK` for ports in their files.
struct Host {
    name: &'static str,
    packages: &'static [&'static str],
    files: &'static [(&'static str, &'static str)],
    start: &'static str,
    logs: &'static str,
    ways: &'static [Way],
}

/// A port of it, and how one is let in there.
struct Way {
    row: &'static str,
    port: usize,
    provider: &'static str,
    login: By,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Password,
    /// What it says to one that it does not know.
    Certificate(&'static str),
}

const HOSTS: &[Host] = &[
    Host {
        name: "smarthost-postfix",
        packages: &["postfix", "dovecot-core", "dovecot-submissiond"],
        files: &[
            (
                "/etc/postfix/main.cf",
                include_str!("../../peers/smarthost-postfix-main.cf"),
            ),
            (
                "/etc/dovecot/dovecot.conf",
                include_str!("../../peers/smarthost-dovecot.conf"),
            ),
            ("/etc/dovecot/users", "alice:{PLAIN}correct-horse::::::\n"),
        ],
        start: "mkdir -p /var/mail; chown mail /var/mail
            postconf -M# smtp/inet
            postconf -Me '127.0.0.1:PORT0/inet=127.0.0.1:PORT0 inet n - n - - smtpd -o smtpd_sasl_auth_enable=yes -o smtpd_sasl_mechanism_filter=plain'
            postconf -Me '127.0.0.1:PORT1/inet=127.0.0.1:PORT1 inet n - n - - smtpd -o smtpd_sasl_auth_enable=yes -o smtpd_sasl_mechanism_filter=login'
            postconf -Me '127.0.0.1:PORT2/inet=127.0.0.1:PORT2 inet n - n - - smtpd -o smtpd_sasl_auth_enable=yes -o smtpd_sasl_mechanism_filter=scram-sha-256'
            postconf -Me '127.0.0.1:PORT3/inet=127.0.0.1:PORT3 inet n - n - - smtpd -o smtpd_tls_ask_ccert=yes'
            postconf -F '*/*/chroot=n'
            postfix start
            exec dovecot -F",
        logs: "/var/log/postfix.log /var/log/dovecot.log",
        ways: &[
            password("Postfix with Dovecot SASL: PLAIN", 0, "Postfix"),
            password("Postfix with Dovecot SASL: LOGIN", 1, "Postfix"),
            password("Postfix with Dovecot SASL: SCRAM-SHA-256", 2, "Postfix"),
            Way {
                row: "Postfix: client certificate, by fingerprint",
                port: 3,
                provider: "Postfix",
                login: By::Certificate("Relay access denied"),
            },
            password("Dovecot submission: SCRAM-SHA-256", 4, ""),
        ],
    },
    Host {
        name: "exim",
        packages: &["exim4-daemon-heavy"],
        files: &[(
            "/etc/exim4/exim4.conf",
            include_str!("../../peers/smarthost-exim.conf"),
        )],
        start: "chown Debian-exim /etc/interop.key; exec exim4 -bdf",
        logs: "/var/log/exim4/*log",
        ways: &[
            password("Exim: PLAIN", 0, "Exim"),
            password("Exim: LOGIN", 1, "Exim"),
            Way {
                row: "Exim: client certificate, by its authority",
                port: 2,
                provider: "Exim",
                login: By::Certificate("relay not permitted"),
            },
        ],
    },
];

const fn password(row: &'static str, port: usize, provider: &'static str) -> Way {
    Way {
        row,
        port,
        provider,
        login: By::Password,
    }
}

pub(super) fn play() -> Outcome<Vec<Table>> {
    let mut table = Table::new(
        "Postroad relays through",
        &["right: delivered", "wrong: held, and said why"],
    );
    for host in HOSTS {
        let stage = Stage::start(host)?;
        let rows = stage.judge(host)?;
        if rows
            .iter()
            .any(|(_, verdicts)| verdicts.iter().any(|one| matches!(one, Verdict::Fail(_))))
        {
            stage.show_logs(host);
        }
        table.rows.extend(rows);
    }
    Ok(vec![table])
}

struct Stage {
    ours: Ours,
    sink: Sink,
    jail: Jail,
    _program: Background,
    _scratch: tempfile::TempDir,
}

impl Stage {
    fn start(host: &Host) -> Outcome<Self> {
        let sink = Sink::start()?;
        let ports: Vec<SocketAddr> = (0..PORTS).map(|_| free_address()).collect::<Outcome<_>>()?;
        let (keys, scratch) = (tempfile::tempdir()?, tempfile::tempdir()?);
        ours::certificate(keys.path())?;
        let (known, unknown) = (client(keys.path(), "known")?, client(keys.path(), "unknown")?);
        let jail = Rootfs::of("bookworm", host.name, host.packages)?.enter(scratch.path(), &[])?;
        let filled = |text: &str| {
            let text = text
                .replace("SINK", &sink.address.port().to_string())
                .replace("FINGERPRINT", &known.fingerprint);
            let fill = |text: String, (number, at): (usize, &SocketAddr)| {
                text.replace(&format!("PORT{number}"), &at.port().to_string())
            };
            ports.iter().enumerate().fold(text, fill)
        };
        for (name, to) in [
            ("tls.crt", "/etc/interop.crt"),
            ("tls.key", "/etc/interop.key"),
            ("known.crt", "/etc/interop-known.crt"),
        ] {
            jail.write(to, std::fs::read(keys.path().join(name))?)?;
        }
        jail.run("chmod", ["600", "/etc/interop.key"])?;
        for (path, text) in host.files {
            jail.write(path, filled(text))?;
        }
        let program = jail.spawn("sh", ["-c", &filled(host.start)])?;
        for way in host.ways {
            listens(ports[way.port])?;
        }
        let mut policies = String::new();
        for (number, way) in host.ways.iter().enumerate() {
            for (domain, right) in [(right(number), true), (wrong(number), false)] {
                let certificate = if right { &known } else { &unknown };
                policies.push_str(&way.policy(&domain, ports[way.port], certificate, right));
            }
        }
        Ok(Self {
            ours: Ours::configured(free_address()?, &format!("policies:\n{policies}"))?,
            sink,
            jail,
            _program: program,
            _scratch: scratch,
        })
    }

    fn judge(&self, host: &Host) -> Outcome<Vec<(String, Vec<Verdict>)>> {
        // All at once; each is waited for then.
        for number in 0..host.ways.len() {
            for domain in [right(number), wrong(number)] {
                Mail::new(&domain, &[&format!("bob@{domain}")])
                    .send(self.ours.smtp, None)
                    .map_err(|error| Failure::wrong(format!("{domain}: it was not taken: {error}")))?;
            }
        }
        let ways = host.ways.iter().enumerate();
        let rows = ways.map(|(number, way)| {
            let verdicts = vec![
                self.delivered(&right(number)),
                self.held(&wrong(number), way.login),
            ];
            (way.row.to_owned(), verdicts)
        });
        Ok(rows.collect())
    }

    fn delivered(&self, domain: &str) -> Verdict {
        let is_it = |one: &Arrived| mail::subject(&one.content) == domain;
        let sent = Mail::new(domain, &[]);
        match self.sink.wait(LIMIT, is_it) {
            Some(arrived) if mail::body(&arrived.content) == sent.body => Verdict::Yes,
            Some(arrived) => {
                let body = mail::shown(mail::body(&arrived.content));
                Verdict::Fail(format!("its body changed: {body}"))
            }
            None => Verdict::Fail("it did not arrive".into()),
        }
    }

    /// The log names the condition; nothing arrives and nothing is given up.
    fn held(&self, domain: &str, login: By) -> Verdict {
        let address = format!("bob@{domain}");
        let why = match login {
            By::Password => "CredentialsRefused: the login as alice",
            By::Certificate(denied) => denied,
        };
        let held = [
            "\"event\":\"deferred\"",
            &address,
            "\"reaction\":\"Configuration\"",
            why,
        ];
        let deadline = Instant::now() + LIMIT;
        while self.ours.logged(&held) == 0 {
            if Instant::now() > deadline {
                return Verdict::Fail(format!("no line of the log has {held:?}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let given_up = ["failed", "expired", "delivered"]
            .iter()
            .any(|event| self.ours.logged(&[&format!("\"event\":\"{event}\""), &address]) > 0);
        let all = self.sink.all();
        let arrived = all.iter().any(|one| mail::subject(&one.content) == domain);
        if given_up || arrived {
            return Verdict::Fail("it was given up, or let in".into());
        }
        Verdict::Yes
    }

    fn show_logs(&self, host: &Host) {
        eprintln!("our log:\n{}", self.ours.log());
        let log = self.jail.run("sh", ["-c", &format!("cat {}", host.logs)]);
        eprintln!(
            "log of {}:\n{}",
            host.name,
            crate::shell::tail(&log.unwrap_or_default())
        );
    }
}

impl Way {
    fn policy(&self, domain: &str, to: SocketAddr, certificate: &Client, right: bool) -> String {
        let password = if right { USER.1 } else { "battery-staple" };
        let credentials = match self.login {
            By::Password => format!("password: {{user: {}, password: {password}}}", USER.0),
            By::Certificate(_) => format!(
                "clientCertificate: {{certificate: \"{}\", key: \"{}\"}}",
                certificate.certificate, certificate.key
            ),
        };
        let mut policy = String::new();
        let provider = match self.provider {
            "" => String::new(),
            name => format!(", provider: {name}"),
        };
        let _ = writeln!(
            policy,
            "\x20 - {{name: {domain}, match: {{recipientDomains: [{domain}]}}, retry: {{first: 1s, max: 1s}}, \
             routes: [{{to: {{smartHosts: [{{host: 127.0.0.1, port: {}}}]}}, tls: Encrypted{provider}, \
             credentials: {{{credentials}}}}}]}}",
            to.port()
        );
        policy
    }
}

/// A client's certificate: as one line of YAML each, and its fingerprint as Postfix writes it.
struct Client {
    certificate: String,
    key: String,
    fingerprint: String,
}

fn client(folder: &Path, name: &str) -> Outcome<Client> {
    let make = format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN={name}.test \
         -keyout {name}.key -out {name}.crt"
    );
    Shell::new("openssl")
        .args(make.split_whitespace())
        .dir(folder)
        .run()?;
    let show = format!("x509 -noout -fingerprint -sha256 -in {name}.crt");
    let shown = Shell::new("openssl")
        .args(show.split_whitespace())
        .dir(folder)
        .read()?;
    let (_, fingerprint) = shown
        .trim()
        .split_once('=')
        .ok_or_else(|| Failure::wrong(format!("no fingerprint: {shown}")))?;
    let read = |kind: &str| -> Outcome<String> {
        let text = std::fs::read_to_string(folder.join(format!("{name}.{kind}")))?;
        Ok(text.trim_end().replace('\n', "\\n"))
    };
    Ok(Client {
        certificate: read("crt")?,
        key: read("key")?,
        fingerprint: fingerprint.to_owned(),
    })
}

fn right(number: usize) -> String {
    format!("right-{number}.test")
}

fn wrong(number: usize) -> String {
    format!("wrong-{number}.test")
}

const PORTS: usize = 5;
const LIMIT: Duration = Duration::from_secs(30);
