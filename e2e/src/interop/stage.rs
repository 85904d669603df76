//! A peer in its jail and our mail server, with taps on the ways between them.
//!
//! ```text
//!   out    client ─► ours ─► tap ─► peer ─► sink      a store keeps it
//!   back   client ─► peer ─► tap ─► ours ─► sink
//! ```

use std::net::SocketAddr;

use super::inbox::Inbox;
use super::ours::{self, By, Ours, Route, listens};
use super::sink::Sink;
use super::tap::Tap;
use crate::kubectl::Outcome;
use crate::place::free_address;
use crate::rootfs::{Jail, Rootfs};
use crate::shell::Background;

/// A mail server: mail for `in-plain.test` and `in-tls.test` goes to us, all else to the sink, or into its mailboxes.
pub(super) struct Peer {
    pub(super) name: &'static str,
    pub(super) suite: &'static str,
    pub(super) packages: &'static [&'static str],
    /// Path and text of its configuration, with words for ports.
    pub(super) files: &'static [(&'static str, &'static str)],
    /// Runs it, in a shell, with words for ports.
    pub(super) start: &'static str,
    /// Where it logs, for the shell.
    pub(super) logs: &'static str,
    pub(super) store: Option<Store>,
}

/// A peer that keeps mail: it takes it by LMTP on a port of its own, and its clients log in before they hand mail in.
#[derive(Clone, Copy)]
pub(super) struct Store {
    /// The folder of its mailboxes.
    pub(super) mail: &'static str,
    /// Its users' password.
    pub(super) password: &'static str,
}

/// All of them, running.
pub(super) struct Stage {
    pub(super) ours: Ours,
    /// Where the peer takes mail from its clients.
    pub(super) peer: SocketAddr,
    /// Where the peer takes mail from us.
    pub(super) entry: SocketAddr,
    /// Between us and the peer; towards a store it hides STARTTLS.
    pub(super) plain: Tap,
    /// The same for sessions that are to use TLS.
    pub(super) tls: Tap,
    /// Between the peer and us.
    pub(super) inward: Tap,
    /// Behind us.
    pub(super) sink: Sink,
    /// Behind the peer.
    pub(super) inbox: Inbox,
    pub(super) store: Option<Store>,
    jail: Jail,
    logs: &'static str,
    _program: Background,
    _scratch: tempfile::TempDir,
}

impl Stage {
    pub(super) fn start(peer: &Peer) -> Outcome<Self> {
        let sink = Sink::start()?;
        let (listen, smtp) = (free_address()?, free_address()?);
        let entry = if peer.store.is_some() {
            free_address()?
        } else {
            listen
        };
        // STARTTLS towards a store is not ours to configure: it is used where it is offered.
        let hidden: &[&str] = if peer.store.is_some() { &["STARTTLS"] } else { &[] };
        let (plain, tls) = (Tap::hiding(entry, hidden)?, Tap::start(entry)?);
        let data = Tap::hiding(entry, &["STARTTLS", "CHUNKING"])?;
        let by = |tls| {
            if peer.store.is_some() {
                By::Lmtp
            } else {
                By::Smtp(tls)
            }
        };
        let routes = [
            (PLAIN, &plain, "Disabled"),
            (TLS, &tls, "Encrypted"),
            (DATA, &data, "Disabled"),
        ];
        let routes = routes.map(|(domain, tap, tls)| Route {
            domain,
            to: tap.address,
            by: by(tls),
        });
        let ours = Ours::start(smtp, &routes, sink.address)?;
        let inward = Tap::start(smtp)?;
        let words = [
            ("LISTEN", listen),
            ("STORE", entry),
            ("BACK", inward.address),
            ("SINK", sink.address),
            ("LOGINS", ours.submissions),
            ("LOGIN", ours.submission),
        ];
        let scratch = tempfile::tempdir()?;
        let jail = Rootfs::of(peer.suite, peer.name, peer.packages)?.enter(scratch.path(), &[])?;
        let program = run(&jail, peer, &words)?;
        listens(listen)?;
        listens(entry)?;
        Ok(Self {
            ours,
            peer: listen,
            entry,
            plain,
            tls,
            inward,
            inbox: peer.store.map_or_else(
                || Inbox::Sink(sink.clone()),
                |store| Inbox::Maildirs(jail.file(store.mail)),
            ),
            sink,
            store: peer.store,
            jail,
            logs: peer.logs,
            _program: program,
            _scratch: scratch,
        })
    }

    /// What both servers logged, for who looks into a failure.
    pub(super) fn show_logs(&self) {
        eprintln!("our log:\n{}", self.ours.log());
        let log = self.jail.run("sh", ["-c", &format!("cat {}", self.logs)]);
        eprintln!(
            "log of the peer:\n{}",
            crate::shell::tail(&log.unwrap_or_default())
        );
    }
}

fn run(jail: &Jail, peer: &Peer, words: &[(&str, SocketAddr)]) -> Outcome<Background> {
    let keys = tempfile::tempdir()?;
    ours::certificate(keys.path())?;
    jail.write("/etc/interop.crt", std::fs::read(keys.path().join("tls.crt"))?)?;
    jail.write("/etc/interop.key", std::fs::read(keys.path().join("tls.key"))?)?;
    jail.run("chmod", ["600", "/etc/interop.key"])?;
    let filled = |text: &str| {
        let fill = |text: String, (word, at): &(&str, SocketAddr)| text.replace(word, &at.port().to_string());
        words.iter().fold(text.to_owned(), fill)
    };
    for (path, text) in peer.files {
        jail.write(path, filled(text))?;
    }
    jail.spawn("sh", ["-c", &filled(peer.start)])
}

/// Domains whose mail goes to the peer without TLS, with it, and without chunks.
pub(super) const PLAIN: &str = "plain.test";
pub(super) const TLS: &str = "tls.test";
pub(super) const DATA: &str = "data.test";
