//! May this MAIL, this RCPT, this author be accepted? Pure: settings and facts in, a decision out.
//!
//! ```text
//!   Transfer    MAIL anyone          RCPT only recipients of domains that we receive for
//!   Submission  MAIL own addresses   RCPT anyone, ours must exist      From own addresses
//!   relayFrom   MAIL anyone          RCPT anyone, ours must exist      From anyone          (no identity, either port)
//! ```
//!
//! Default is no: relaying needs an identity, or an address of a network that `relayFrom` names. While the configuration is incomplete nothing is refused for good:
//! what is not known may be in the part that is missing (451, never 550).

mod address;
mod author;
mod recipient;
mod sender;

pub use address::Address;
pub use author::{Authors, authors};

use postroad_config::{Deliver, Role};

use crate::settings::Settings;

/// What a decision is made from.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The settings of this transaction.
    pub settings: &'a Settings,
    /// See `settings::Live::complete`.
    pub complete: bool,
    /// What the port is for.
    pub role: Role,
    /// Who has authenticated.
    pub identity: Option<&'a str>,
    /// The client may relay as it is (`relayFrom`).
    pub may_relay: bool,
}

/// A refusal as a reply says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Reply code, 4yz or 5yz.
    pub code: u16,
    /// Enhanced status code (RFC 3463).
    pub enhanced: &'static str,
    /// One sentence, ours alone: never the peer's text.
    pub text: &'static str,
}

impl Refusal {
    pub(crate) const fn new(code: u16, enhanced: &'static str, text: &'static str) -> Self {
        Self { code, enhanced, text }
    }
}

/// Where an accepted recipient's mail goes: itself, or what its alias stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Forward-paths, at least one.
    pub to: Vec<String>,
    /// The recipient was replaced: the given address goes on as ORCPT.
    pub aliased: bool,
    /// Whether it exists is known by this host, which has to be asked.
    pub ask: Option<Deliver>,
}

impl Context<'_> {
    /// Judges a reverse-path; empty is the null one.
    pub fn sender(&self, reverse_path: &str) -> Result<(), Refusal> {
        sender::judge(self, reverse_path)
    }

    /// Judges a forward-path and says where its mail goes.
    pub fn recipient(&self, forward_path: &str) -> Result<Accepted, Refusal> {
        recipient::judge(self, forward_path)
    }

    /// Judges the From fields of a submitted message; on other ports all are taken.
    pub fn author(&self, from: &[String]) -> Result<(), Refusal> {
        author::judge(self, from)
    }

    /// Whether what is written is not bound to an identity: another server, or a network that may relay.
    fn is_unbound(&self) -> bool {
        self.role == Role::Transfer || (self.may_relay && self.identity.is_none())
    }

    /// The refusal of what is not known: for good only where everything is known.
    fn unknown(&self, for_good: Refusal) -> Refusal {
        if self.complete { for_good } else { INCOMPLETE }
    }
}

const INCOMPLETE: Refusal = Refusal::new(
    451,
    "4.3.0",
    "The configuration is being updated, try again later",
);

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Settings with the given lines after the head.
    pub(crate) fn settings(lines: &str) -> Settings {
        let head = "format: 1\nhostname: mail.example.com\nspool: {directory: /nowhere}\n";
        Settings::new(postroad_config::assemble(&format!("{head}{lines}"), &BTreeMap::new()).unwrap())
            .unwrap()
    }

    pub(crate) const DOMAINS: &str = "\
domains:
  - name: example.com
    inbound:
      recipients:
        mode: Listed
        addresses: [Alice, 'odd%one']
        aliases:
          - {name: sales, to: [alice@example.com, bob@else.example]}
          - {name: ring, to: [gnir@example.com, alice@example.com]}
          - {name: gnir, to: [ring@example.com]}
      deliverTo: {lmtp: {host: 127.0.0.1, port: 24}}
    senders:
      - {user: alice, addresses: [alice, sales@example.com]}
      - {user: root}
  - name: any.example
    inbound:
      recipients: {mode: Any}
      deliverTo: {lmtp: {host: 127.0.0.1, port: 24}}
  - name: catch.example
    inbound:
      recipients: {mode: Listed, catchAll: all@example.com}
      deliverTo: {lmtp: {host: 127.0.0.1, port: 24}}
  - name: only-sends.example
";

    pub(crate) fn at(settings: &Settings, role: Role) -> Context<'_> {
        Context {
            settings,
            complete: true,
            role,
            identity: None,
            may_relay: false,
        }
    }
}
