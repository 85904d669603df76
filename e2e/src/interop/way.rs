//! One direction between us and a peer: each extension used, and the body at the end what it was at the start.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::Verdict;
use super::inbox::Inbox;
use super::mail::{self, Login, Mail, Session};
use super::stage::{PLAIN, Stage, TLS};
use super::tap::Tap;
use crate::shell::Shell;

pub(super) const COLUMNS: &[&str] = &[
    "plain",
    "STARTTLS",
    "8BITMIME",
    "SMTPUTF8",
    "CHUNKING",
    "PIPELINING",
    "DSN",
];

/// How a message gets on its way, and where it is listened to.
struct Door<'a> {
    domain: &'a str,
    login: Login<'a>,
    tap: &'a Tap,
}

/// One direction.
pub(super) struct Way<'a> {
    stage: &'a Stage,
    /// From us to the peer, where what is offered has to be used; a peer may leave it.
    outward: bool,
    to: SocketAddr,
    plain: Door<'a>,
    tls: Door<'a>,
    inbox: Inbox,
}

impl<'a> Way<'a> {
    /// From us to the peer.
    pub(super) fn out(stage: &'a Stage) -> Self {
        let door = |domain, tap| Door {
            domain,
            login: None,
            tap,
        };
        Self {
            stage,
            outward: true,
            to: stage.ours.smtp,
            plain: door(PLAIN, &stage.plain),
            tls: door(TLS, &stage.tls),
            inbox: stage.inbox.clone(),
        }
    }

    /// From the peer to us. A store sends by its user, any other peer by the domain.
    pub(super) fn back(stage: &'a Stage) -> Self {
        let door = |domain, user| Door {
            domain,
            login: stage.store.map(|store| (user, store.password)),
            tap: &stage.inward,
        };
        Self {
            stage,
            outward: false,
            to: stage.peer,
            plain: door("in-plain.test", "plain"),
            tls: door("in-tls.test", "tls"),
            inbox: Inbox::Sink(stage.sink.clone()),
        }
    }

    /// A verdict for each column.
    pub(super) fn all(&self) -> io::Result<Vec<Verdict>> {
        let plain = self.pass("plain", "bob", &self.plain, |_| {});
        let tls = self.starttls();
        // What the peer itself does not offer is not asked for, in either direction.
        let session = Session::start(self.to, self.plain.login)?;
        let offers = |keyword: &str| {
            if self.outward {
                self.plain.tap.server_offers(keyword)
            } else {
                mail::offers(&session.offered, keyword)
            }
        };
        let if_offered = |keyword: &str, test: &dyn Fn() -> Verdict| {
            if offers(keyword) { test() } else { Verdict::Absent }
        };
        Ok(vec![
            plain,
            tls,
            if_offered("8BITMIME", &|| self.eight_bit()),
            if_offered("SMTPUTF8", &|| self.utf8()),
            if_offered("CHUNKING", &|| self.used(self.plain.tap.client_said("BDAT "))),
            if_offered("PIPELINING", &|| {
                self.used(self.plain.tap.client_said_at_once(PIPELINED))
            }),
            if_offered("DSN", &|| self.dsn()),
        ])
    }

    /// A peer that cannot finish a handshake with another's client either has nothing to show.
    fn starttls(&self) -> Verdict {
        if self.outward && !takes_tls(self.stage) {
            eprintln!("    its STARTTLS fails with `openssl s_client`");
            return Verdict::Absent;
        }
        let verdict = self.pass("tls", "bob", &self.tls, |_| {});
        self.seen(verdict, &self.tls, "STARTTLS")
    }

    fn eight_bit(&self) -> Verdict {
        let verdict = self.pass("eight", "bob", &self.plain, |mail| {
            mail.from.push_str(" BODY=8BITMIME");
            mail.body = "gr\u{fc}\u{df}e\r\n".into();
        });
        self.seen(verdict, &self.plain, "BODY=8BITMIME")
    }

    fn utf8(&self) -> Verdict {
        let verdict = self.pass("utf8", "b\u{fc}b", &self.plain, |mail| {
            mail.from.push_str(" BODY=8BITMIME SMTPUTF8");
            mail.body = "gr\u{fc}\u{df}e\r\n".into();
        });
        self.seen(verdict, &self.plain, " SMTPUTF8")
    }

    /// Hands a message in and looks whether its body comes out as it was.
    fn pass(&self, name: &str, user: &str, door: &Door<'_>, change: impl FnOnce(&mut Mail)) -> Verdict {
        let subject = format!("{}-{name}", if self.outward { "out" } else { "in" });
        let mut message = Mail::new(&subject, &[&format!("{user}@{}", door.domain)]);
        change(&mut message);
        if let Err(error) = message.send(self.to, door.login) {
            return Verdict::Fail(format!("it was not taken: {error}"));
        }
        let arrived = self
            .inbox
            .wait(LIMIT, |one| mail::subject(&one.content) == subject);
        match arrived {
            None => Verdict::Fail("it did not arrive".into()),
            Some(arrived) if mail::body(&arrived.content) == message.body => Verdict::Yes,
            Some(arrived) => {
                let body = mail::shown(mail::body(&arrived.content));
                Verdict::Fail(format!("its body changed: {body}"))
            }
        }
    }

    /// The same, and the extension was seen on the way.
    fn seen(&self, verdict: Verdict, door: &Door<'_>, word: &str) -> Verdict {
        match verdict {
            Verdict::Yes => self.used(door.tap.client_said(word)),
            other => other,
        }
    }

    fn used(&self, seen: bool) -> Verdict {
        match (seen, self.outward) {
            (true, _) => Verdict::Yes,
            (false, false) => Verdict::Absent,
            (false, true) => Verdict::Fail("it was offered and not used".into()),
        }
    }

    /// The request goes hop by hop; standing before the sink, which has no DSN, we report (RFC 3461 section 5.2.2).
    fn dsn(&self) -> Verdict {
        let id = format!("envelope-{}", if self.outward { "out" } else { "in" });
        let verdict = self.pass("dsn", "bob", &self.plain, |mail| {
            mail.from.push_str(" RET=HDRS ENVID=");
            mail.from.push_str(&id);
            for to in &mut mail.to {
                to.push_str(" NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;robert+2Bx@back.test");
            }
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
            if !self.plain.tap.client_said(word) {
                return Verdict::Fail(format!("{word} was not passed on"));
            }
        }
        if self.outward {
            // What the peer then reports is its own affair.
            return Verdict::Yes;
        }
        let has = |content: &[u8], word: &str| {
            String::from_utf8_lossy(content)
                .to_lowercase()
                .contains(&word.to_lowercase())
        };
        let report = self.inbox.wait(LIMIT, |one| {
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
fn takes_tls(stage: &Stage) -> bool {
    let to = stage.entry.to_string();
    let protocol = if stage.store.is_some() { "lmtp" } else { "smtp" };
    let said = Shell::new("openssl")
        .args(["s_client", "-tls1_2", "-starttls", protocol, "-connect", &to])
        .limit(Duration::from_secs(30))
        .try_run();
    said.is_ok_and(|said| !said.text().contains("Cipher is (NONE)"))
}

/// Two commands in one piece.
const PIPELINED: &[&str] = &["MAIL FROM", "\nRCPT TO"];
pub(super) const LIMIT: Duration = Duration::from_secs(15);
