//! Mail to and from other mail servers.

use std::time::Duration;

use super::mail::{self, Mail};
use super::ours::{self, Ours, free_address, listens};
use super::sink::Sink;
use super::tap::Tap;
use super::{Table, Verdict};
use crate::kubectl::Outcome;
use crate::rootfs::{Jail, Rootfs};
use crate::shell::{Background, Shell};

/// A mail server that relays: mail for `in-plain.test` and `in-tls.test` to us, all else to the sink.
struct Peer {
    name: &'static str,
    packages: &'static [&'static str],
    file: &'static str,
    configuration: &'static str,
    start: &'static str,
}

/// `LISTEN`, `BACK` and `SINK` stand for ports.
const PEERS: &[Peer] = &[
    Peer {
        name: "postfix",
        packages: &["postfix"],
        file: "/etc/postfix/main.cf",
        configuration: include_str!("../../peers/postfix-main.cf"),
        start: "postconf -M# smtp/inet
            postconf -Me '127.0.0.1:LISTEN/inet=127.0.0.1:LISTEN inet n - n - - smtpd'
            postconf -Me 'tls/unix=tls unix - - n - - smtp -o smtp_tls_security_level=encrypt'
            postconf -F '*/*/chroot=n'
            postfix start
            exec sleep infinity",
    },
    Peer {
        name: "exim",
        packages: &["exim4-daemon-heavy"],
        file: "/etc/exim4/exim4.conf",
        configuration: include_str!("../../peers/exim.conf"),
        start: "chown Debian-exim /etc/interop.key; exec exim4 -bdf",
    },
    Peer {
        name: "opensmtpd",
        packages: &["opensmtpd"],
        file: "/etc/smtpd.conf",
        configuration: include_str!("../../peers/smtpd.conf"),
        start: "chmod 711 /var/spool/smtpd; exec smtpd -d",
    },
];

const COLUMNS: &[&str] = &[
    "plain",
    "STARTTLS",
    "8BITMIME",
    "SMTPUTF8",
    "CHUNKING",
    "PIPELINING",
    "DSN",
];

/// A peer with taps on both ways between it and us.
struct Stage {
    ours: Ours,
    peer: std::net::SocketAddr,
    outward: Tap,
    inward: Tap,
    sink: Sink,
    jail: Jail,
    _program: Background,
    _scratch: tempfile::TempDir,
}

pub(super) fn play() -> Outcome<Table> {
    let mut table = Table::new(COLUMNS);
    for peer in PEERS {
        let stage = start(peer)?;
        eprintln!("    {}", peer.name);
        table
            .rows
            .push((format!("Postroad to {}", peer.name), outward(&stage)));
        table
            .rows
            .push((format!("{} to Postroad", peer.name), inward(&stage)));
        let failed = table.rows.iter().rev().take(2).flat_map(|(_, row)| row);
        if failed.into_iter().any(|one| matches!(one, Verdict::Fail(_))) {
            eprintln!("our log:\n{}", stage.ours.log());
            let log = stage.jail.run(
                "sh",
                ["-c", "cat /var/log/postfix.log /var/log/exim4/*log || true"],
            );
            eprintln!(
                "log of {}:\n{}",
                peer.name,
                crate::shell::tail(&log.unwrap_or_default())
            );
        }
    }
    Ok(table)
}

fn start(peer: &Peer) -> Outcome<Stage> {
    let sink = Sink::start()?;
    let (listen, smtp) = (free_address()?, free_address()?);
    let (outward, inward) = (Tap::start(listen)?, Tap::start(smtp)?);
    let scratch = tempfile::tempdir()?;
    let jail = Rootfs::cached(peer.name, peer.packages)?.enter(scratch.path(), &[])?;
    let keys = tempfile::tempdir()?;
    ours::certificate(keys.path())?;
    jail.write("/etc/interop.crt", std::fs::read(keys.path().join("tls.crt"))?)?;
    jail.write("/etc/interop.key", std::fs::read(keys.path().join("tls.key"))?)?;
    jail.run("chmod", ["600", "/etc/interop.key"])?;
    let ports = |text: &str| {
        text.replace("LISTEN", &listen.port().to_string())
            .replace("BACK", &inward.address.port().to_string())
            .replace("SINK", &sink.address.port().to_string())
    };
    jail.write(peer.file, ports(peer.configuration))?;
    let program = jail.spawn("sh", ["-c", &ports(peer.start)])?;
    let routes = [
        ("plain.test", outward.address, "Disabled"),
        ("tls.test", outward.address, "Encrypted"),
    ];
    let ours = Ours::start(smtp, &routes, sink.address)?;
    listens(listen)?;
    Ok(Stage {
        ours,
        peer: listen,
        outward,
        inward,
        sink,
        jail,
        _program: program,
        _scratch: scratch,
    })
}

fn outward(stage: &Stage) -> Vec<Verdict> {
    let way = Way {
        stage,
        name: "out",
        to: stage.ours.smtp,
        plain: "plain.test",
        tls: "tls.test",
        tap: &stage.outward,
    };
    // What the peer does not offer is not asked of us.
    way.all(|keyword| stage.outward.server_said(keyword))
}

fn inward(stage: &Stage) -> Vec<Verdict> {
    let way = Way {
        stage,
        name: "in",
        to: stage.peer,
        plain: "in-plain.test",
        tls: "in-tls.test",
        tap: &stage.inward,
    };
    // We offer all; whether the peer has it shows in what it offers itself.
    way.all(|keyword| stage.outward.server_said(keyword))
}

/// One direction.
struct Way<'a> {
    stage: &'a Stage,
    name: &'a str,
    to: std::net::SocketAddr,
    plain: &'a str,
    tls: &'a str,
    tap: &'a Tap,
}

impl Way<'_> {
    fn all(&self, offered: impl Fn(&str) -> bool) -> Vec<Verdict> {
        let plain = self.pass("plain", &format!("bob@{}", self.plain), |_| {});
        let mut tls = self.pass("tls", &format!("bob@{}", self.tls), |_| {});
        if self.name == "out" && tls != Verdict::Yes && !takes_tls(self.stage.peer) {
            eprintln!("    the peer's STARTTLS fails with `openssl s_client` as well");
            tls = Verdict::Absent;
        }
        let if_offered = |keyword: &str, test: &dyn Fn() -> Verdict| {
            if offered(keyword) { test() } else { Verdict::Absent }
        };
        let eight = if_offered("8BITMIME", &|| {
            let verdict = self.pass("eight", &format!("bob@{}", self.plain), |mail| {
                mail.from.push_str(" BODY=8BITMIME");
                mail.body = "gr\u{fc}\u{df}e\r\n".into();
            });
            self.seen(verdict, "BODY=8BITMIME")
        });
        let utf8 = if_offered("SMTPUTF8", &|| {
            let verdict = self.pass("utf8", &format!("b\u{fc}b@{}", self.plain), |mail| {
                mail.from.push_str(" BODY=8BITMIME SMTPUTF8");
                mail.body = "gr\u{fc}\u{df}e\r\n".into();
            });
            self.seen(verdict, " SMTPUTF8")
        });
        let chunks = if_offered("CHUNKING", &|| self.used(self.tap.client_said("BDAT ")));
        let pipelining = if_offered("PIPELINING", &|| self.used(self.tap.client_pipelined()));
        let dsn = if_offered("DSN", &|| self.dsn());
        vec![
            plain,
            self.seen(tls, "STARTTLS"),
            eight,
            utf8,
            chunks,
            pipelining,
            dsn,
        ]
    }

    /// Hands a message in and looks whether its body comes out as it was.
    fn pass(&self, name: &str, to: &str, change: impl FnOnce(&mut Mail)) -> Verdict {
        let subject = format!("{}-{name}", self.name);
        let mut message = Mail::new(&subject, to);
        change(&mut message);
        if let Err(error) = message.send(self.to) {
            return Verdict::Fail(format!("it was not taken: {error}"));
        }
        let arrived = self
            .stage
            .sink
            .wait(LIMIT, |one| mail::has_subject(&one.content, &subject));
        match arrived {
            None => Verdict::Fail("it did not arrive".into()),
            Some(arrived) if mail::body(&arrived.content) == message.body => Verdict::Yes,
            Some(arrived) => Verdict::Fail(format!(
                "its body changed: {:?}",
                String::from_utf8_lossy(mail::body(&arrived.content))
            )),
        }
    }

    /// The same, and the extension was seen on the way.
    fn seen(&self, verdict: Verdict, word: &str) -> Verdict {
        match verdict {
            Verdict::Yes => self.used(self.tap.client_said(word)),
            other => other,
        }
    }

    /// We have to use what is offered; a peer may leave it.
    fn used(&self, seen: bool) -> Verdict {
        match (seen, self.name) {
            (true, _) => Verdict::Yes,
            (false, "in") => Verdict::Absent,
            (false, _) => Verdict::Fail("it was offered and not used".into()),
        }
    }

    /// The request goes hop by hop; standing before the sink, which has no DSN, we report (RFC 3461 section 5.2.2).
    fn dsn(&self) -> Verdict {
        let id = format!("envelope-{}", self.name);
        let verdict = self.pass("dsn", &format!("bob@{}", self.plain), |mail| {
            mail.from += " RET=HDRS ENVID=";
            mail.from += &id;
            mail.to
                .push_str(" NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;robert+2Bx@back.test");
        });
        if verdict != Verdict::Yes {
            return verdict;
        }
        for word in [
            "NOTIFY=SUCCESS,FAILURE",
            "RET=HDRS",
            &format!("ENVID={id}"),
            "ORCPT=rfc822;robert+2Bx@",
        ] {
            if !self.tap.client_said(word) {
                return Verdict::Fail(format!("{word} was not passed on"));
            }
        }
        if self.name == "out" {
            // What the peer then reports is its own affair.
            return Verdict::Yes;
        }
        let has = |content: &[u8], word: &str| {
            String::from_utf8_lossy(content)
                .to_lowercase()
                .contains(&word.to_lowercase())
        };
        let report = self.stage.sink.wait(LIMIT, |one| {
            one.recipient == "alice@back.test"
                && has(&one.content, &format!("original-envelope-id: {id}"))
                && has(&one.content, "action: relayed")
                && has(&one.content, "original-recipient: rfc822; robert+x@back.test")
        });
        if report.is_some() {
            Verdict::Yes
        } else {
            Verdict::Fail("no report that it was relayed".into())
        }
    }
}

/// Whether the peer finishes a handshake with a client that is not ours.
fn takes_tls(peer: std::net::SocketAddr) -> bool {
    let to = peer.to_string();
    let said = Shell::new("openssl")
        .args(["s_client", "-tls1_2", "-starttls", "smtp", "-connect", &to])
        .limit(Duration::from_secs(10))
        .try_run();
    said.is_ok_and(|said| !said.text().contains("Cipher is (NONE)"))
}

const LIMIT: Duration = Duration::from_secs(15);
