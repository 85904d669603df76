//! Sessions with the servers of one way, told to whoever counts them for a report about TLS.
//!
//! What a session comes to is decided in `tls_session.rs`. Only sessions with servers that an MX names count, under policies
//! that were looked up, for domains that want a report, and of messages that are none themselves: two servers that report to
//! each other would else do so for ever.

use std::fmt;
use std::sync::Arc;

use postroad_verify::tls_rpt::Session;

use super::hosts::Server;
use super::link::{Link, Target, Trouble};
use super::policies::Found;
use super::protection::Refusal;
use super::tls_session::{self, Went};
use super::witness::Witness;

/// Who counts sessions.
pub trait TlsSessions: Send + Sync {
    /// Whether any are to be counted.
    fn are_counted(&self) -> bool;
    /// A session for mail to this domain.
    fn count(&self, domain: &str, session: &Session);
}

/// The same to be shared.
#[derive(Clone)]
pub struct Counter(pub Arc<dyn TlsSessions>);

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counter(…)")
    }
}

/// Tells of sessions with these servers.
#[derive(Clone, Copy)]
pub(super) struct Telling<'a> {
    pub(super) counter: &'a Counter,
    /// The recipient's domain.
    pub(super) domain: &'a str,
    pub(super) servers: &'a [Server],
    pub(super) found: &'a Found,
}

impl Telling<'_> {
    /// Of servers that get nothing, those that would have been asked first. `first`: rank of the first that gets something.
    pub(super) fn refused(&self, refusals: &[(usize, Refusal)], first: Option<usize>) {
        for (place, refusal) in refusals {
            let Some(server) = self.servers.get(*place) else {
                continue;
            };
            if first.is_none_or(|first| server.rank < first) {
                let about = self.found.about(*place, server, self.domain);
                if let Some(session) = tls_session::refused(&about, refusal) {
                    self.counter.0.count(self.domain, &session);
                }
            }
        }
    }

    /// A connection that was opened, or not. What ended before TLS says nothing about it.
    pub(super) fn opened(&self, target: &Target<'_>, witness: &Witness, opened: &Result<Link, Trouble>) {
        let noted = witness.noted();
        let flaw = match opened {
            Err(Trouble::Tls(no)) => Some(no),
            _ => noted.flaw.as_ref(),
        };
        if opened.is_err() && flaw.is_none() {
            return;
        }
        let is_it = |server: &Server| std::ptr::eq(server, target.server);
        let Some(place) = self.servers.iter().position(is_it) else {
            return;
        };
        let went = Went {
            address: target.address.ip().to_canonical(),
            ours: noted.ours,
            helo: &noted.helo,
            flaw,
        };
        let about = self.found.about(place, target.server, self.domain);
        for session in tls_session::opened(&about, target.tls, &went) {
            self.counter.0.count(self.domain, &session);
        }
    }
}
