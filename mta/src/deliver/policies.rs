//! What recipients' domains and their servers publish about TLS: asked for one way out, and decided for each of its servers.
//!
//! ```text
//!   Way, servers ─┬─ MX proven by DNSSEC? ─► TLSA of each server ─┐
//!                 ├─ MTA-STS of the domain ───────────────────────┼─► protection::decide, for each server
//!                 └─ TLS-Required in the header ──────────────────┘
//! ```
//!
//! Nothing is asked where neither route nor message wants to know.

use futures::future::join_all;
use postroad_config::TlsMode;
use postroad_spool::Spool;
use postroad_verify::dane::{self, Answer, Dane, Kind, Question};
use postroad_verify::mta_sts::Policy;

use super::demand::{self, Terms};
use super::hosts::Server;
use super::plan::{To, Way};
use super::protection::{self, Facts, Protection, Refusal};
use super::sts::Sts;
use super::{Load, body};
use crate::dns::Dns;

/// Whom to ask.
#[derive(Debug)]
pub(super) struct Policies {
    pub(super) dns: Dns,
    pub(super) sts: Sts,
    pub(super) spool: Spool,
}

/// What was found about one way out, for all terms on which it is tried.
#[derive(Debug, Default)]
pub(super) struct Found {
    policy: Option<Policy>,
    /// One per server, in their order.
    servers: Vec<(bool, Dane)>,
    waived: bool,
}

impl Policies {
    /// Asks about the servers of a way.
    pub(super) async fn ask(&self, way: &Way, terms: &[Terms], servers: &[Server], load: &Load<'_>) -> Found {
        if !terms.iter().copied().any(protection::asks) {
            let asked = |server: &Server| (demand::is_proven(&way.to, &server.host), Dane::Absent);
            return Found {
                servers: servers.iter().map(asked).collect(),
                ..Found::default()
            };
        }
        let (policy, servers) = tokio::join!(
            self.policy(&way.to, terms),
            self.servers(&way.to, servers, load.validated && wants_dane(way)),
        );
        let is_silent = policy.is_none() && servers.iter().all(|(_, dane)| *dane == Dane::Absent);
        Found {
            waived: !is_silent && self.is_waived(load).await,
            policy,
            servers,
        }
    }

    async fn policy(&self, to: &To, terms: &[Terms]) -> Option<Policy> {
        match to {
            _ if terms.iter().all(|terms| terms.tls == TlsMode::DaneOnly) => None,
            To::Exchanges { domain, allowed } if !domain.starts_with('[') => {
                self.sts.policy(domain, allowed).await
            }
            _ => None,
        }
    }

    /// Of each server whether its name is proven, and its TLSA records.
    async fn servers(&self, to: &To, servers: &[Server], validated: bool) -> Vec<(bool, Dane)> {
        let exchangers = match to {
            To::Exchanges { domain, .. } if validated => self.exchangers(domain).await,
            _ => Ok(vec![]),
        };
        join_all(
            servers
                .iter()
                .map(|server| self.server(to, server, &exchangers, validated)),
        )
        .await
    }

    async fn server(
        &self,
        to: &To,
        server: &Server,
        exchangers: &Result<Vec<String>, Question>,
        validated: bool,
    ) -> (bool, Dane) {
        let own = demand::is_proven(to, &server.host);
        let proven = match exchangers {
            _ if own => true,
            Ok(names) => names.contains(&server.host),
            Err(question) => return (false, Dane::Unknown(question.clone())),
        };
        let port = server.addresses.first().map_or(0, std::net::SocketAddr::port);
        // An address in the configuration is no name.
        let has_name = server.host.parse::<std::net::IpAddr>().is_err();
        let dane = if validated && proven && has_name {
            self.search(&server.host, port).await
        } else {
            Dane::Absent
        };
        (proven, dane)
    }

    async fn search(&self, host: &str, port: u16) -> Dane {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let (mut search, mut step) = dane::Search::start(&host, port);
        loop {
            match step {
                dane::Step::Done(dane) => return dane,
                dane::Step::Ask(question) => step = search.answer(self.dns.proof(&question).await),
            }
        }
    }

    /// The servers that a proven MX record names. Errors: whether it is proven is not known now.
    async fn exchangers(&self, domain: &str) -> Result<Vec<String>, Question> {
        let question = Question {
            name: domain.to_owned(),
            kind: Kind::Mx,
        };
        match self.dns.proof(&question).await {
            Answer::Found {
                proven: true, data, ..
            } => Ok(data
                .into_iter()
                .filter_map(|host| String::from_utf8(host).ok())
                .collect()),
            Answer::Found { .. } | Answer::Nothing => Ok(vec![]),
            Answer::Failure => Err(question),
        }
    }

    async fn is_waived(&self, load: &Load<'_>) -> bool {
        // It counts for nothing then (RFC 8689 section 4.1).
        if load.item.envelope.require_tls {
            return false;
        }
        if let Some(octets) = load.octets {
            return demand::waives(octets);
        }
        let header = body::header(self.spool.clone(), load.entry).await;
        header.is_ok_and(|header| demand::waives(&header))
    }
}

/// A host that the configuration names is judged as the route says, unless that says to look it up.
fn wants_dane(way: &Way) -> bool {
    matches!(way.to, To::Exchanges { .. }) || matches!(way.tls, TlsMode::Automatic | TlsMode::DaneOnly)
}

impl Found {
    /// Decides for the server at this place on these terms.
    pub(super) fn decide(
        &self,
        place: usize,
        server: &Server,
        to: &To,
        terms: Terms,
    ) -> Result<Protection, Refusal> {
        let absent = (false, Dane::Absent);
        let (proven, dane) = self.servers.get(place).unwrap_or(&absent);
        let domain = match to {
            To::Exchanges { domain, .. } => Some(domain.as_str()),
            To::Hosts { .. } => None,
        };
        let facts = Facts {
            domain,
            host: &server.host,
            proven: *proven,
            dane,
            policy: self.policy.as_ref(),
            waived: self.waived,
        };
        protection::decide(terms, &facts)
    }
}
