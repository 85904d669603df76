//! What recipients' domains and their servers publish about TLS: asked for one way out, and decided for each of its servers.
//!
//! ```text
//!   Way, servers ─┬─ MX proven by DNSSEC? ─► TLSA of each server ─┐
//!                 ├─ MTA-STS of the domain ───────────────────────┼─► protection::decide, for each server
//!                 └─ TLS-Required in the header ──────────────────┘
//! ```
//!
//! Nothing is asked where neither route nor message wants to know.

use std::borrow::Cow;

use futures::future::join_all;
use postroad_config::TlsMode;
use postroad_spool::Spool;
use postroad_verify::dane::{self, Answer, Dane, Kind, Question};
use postroad_verify::mta_sts::{Mode, Policy};
use postroad_verify::{dns, tls_rpt};

use super::demand::{self, Terms};
use super::hosts::Server;
use super::https::Bounds;
use super::plan::{To, Way};
use super::protection::{self, Facts, Protection, Refusal};
use super::sts::{NoPolicy, Sts};
use super::telling::Counter;
use super::tls_session::About;
use super::{Load, body};
use crate::dns::Dns;

/// Whom to ask.
#[derive(Debug)]
pub(super) struct Policies {
    pub(super) dns: Dns,
    pub(super) sts: Sts,
    pub(super) spool: Spool,
    /// Who counts sessions for reports about TLS.
    pub(super) counter: Option<Counter>,
}

/// What was found about one way out, for all terms on which it is tried.
#[derive(Debug, Default)]
pub(super) struct Found {
    policy: Option<Policy>,
    /// Why there is none although its domain says that there is.
    no_policy: Option<NoPolicy>,
    /// One per server, in their order.
    servers: Vec<(bool, Dane)>,
    waived: bool,
    /// Its sessions are counted for a report.
    reported: bool,
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
        let (policy, servers, wants_report) = tokio::join!(
            self.policy(way, terms, servers),
            self.servers(&way.to, servers, load.validated && wants_dane(way)),
            self.wants_report(&way.to),
        );
        let (policy, no_policy) = match policy {
            Ok(policy) => (policy, None),
            Err(no) => (None, Some(no)),
        };
        let is_silent = policy.is_none() && servers.iter().all(|(_, dane)| *dane == Dane::Absent);
        let header = if is_silent && !wants_report {
            None
        } else {
            self.header(load).await
        };
        // REQUIRETLS makes a waiver count for nothing (RFC 8689 section 4.1).
        let may_waive = !is_silent && !load.item.envelope.require_tls;
        Found {
            waived: may_waive && header.as_deref().is_some_and(demand::waives),
            reported: wants_report
                && header
                    .as_deref()
                    .is_some_and(|header| !demand::is_tls_report(header)),
            policy,
            no_policy,
            servers,
        }
    }

    async fn policy(
        &self,
        way: &Way,
        terms: &[Terms],
        servers: &[Server],
    ) -> Result<Option<Policy>, NoPolicy> {
        match &way.to {
            _ if terms.iter().all(|terms| terms.tls == TlsMode::DaneOnly) => Ok(None),
            To::Exchanges { domain, allowed } if !domain.starts_with('[') => {
                let bounds = Bounds {
                    allowed,
                    authorities: way.habits.authorities.as_deref(),
                };
                let policy = self.sts.policy(domain, bounds).await?;
                if policy.as_ref().is_some_and(|policy| bars(policy, servers)) {
                    // One that is not found again (forgotten, and not on a full volume) still holds.
                    return Ok(self.sts.again(domain, bounds).await.or(policy));
                }
                Ok(policy)
            }
            _ => Ok(None),
        }
    }

    /// Whether sessions are counted, and the domain says where a report about them goes.
    async fn wants_report(&self, to: &To) -> bool {
        let is_counted = self
            .counter
            .as_ref()
            .is_some_and(|counter| counter.0.are_counted());
        let question = match to {
            To::Exchanges { domain, .. } if is_counted && !domain.starts_with('[') => {
                tls_rpt::question(domain)
            }
            _ => None,
        };
        let Some(question) = question else {
            return false;
        };
        match self.dns.answer(&question).await {
            dns::Answer::Txt(texts) => tls_rpt::Record::of(&texts).is_ok(),
            _ => false,
        }
    }

    /// Of each server whether its name is proven, and its TLSA records.
    async fn servers(&self, to: &To, servers: &[Server], validated: bool) -> Vec<(bool, Dane)> {
        let named = match to {
            // A literal is looked up nowhere.
            To::Exchanges { domain, .. } if validated && !domain.starts_with('[') => {
                self.exchangers(domain).await
            }
            _ => Named::Unproven,
        };
        join_all(
            servers
                .iter()
                .map(|server| self.server(to, server, &named, validated)),
        )
        .await
    }

    async fn server(&self, to: &To, server: &Server, named: &Named, validated: bool) -> (bool, Dane) {
        let own = demand::is_proven(to, &server.host);
        let proven = match named {
            Named::Unproven => own,
            Named::Proven(hosts) if hosts.contains(&server.host) => true,
            // The answer that named it is forged, or is no longer that of the domain.
            Named::Proven(_) => return (false, Dane::Unknown(mx(to))),
            Named::Unknown(question) => return (false, Dane::Unknown(question.clone())),
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

    /// The servers of the domain, as far as they are proven.
    async fn exchangers(&self, domain: &str) -> Named {
        let question = Question {
            name: domain.to_owned(),
            kind: Kind::Mx,
        };
        match self.dns.proof(&question).await {
            Answer::Found {
                proven: true, data, ..
            } => Named::Proven(
                data.into_iter()
                    .filter_map(|host| String::from_utf8(host).ok())
                    .collect(),
            ),
            // Without MX records the domain is its own server, and there is no other.
            Answer::Nothing => Named::Proven(vec![domain.to_owned()]),
            Answer::Found { .. } => Named::Unproven,
            Answer::Failure => Named::Unknown(question),
        }
    }

    /// The header of the message, and perhaps what follows.
    async fn header<'a>(&self, load: &Load<'a>) -> Option<Cow<'a, [u8]>> {
        if let Some(octets) = load.octets {
            return Some(Cow::Borrowed(octets));
        }
        let header = body::header(self.spool.clone(), load.entry).await;
        header.ok().map(Cow::Owned)
    }
}

/// What DNSSEC says of the servers of a domain.
#[derive(Debug)]
enum Named {
    /// Nothing.
    Unproven,
    /// They are these.
    Proven(Vec<String>),
    /// It is not known now.
    Unknown(Question),
}

fn mx(to: &To) -> Question {
    let name = match to {
        To::Exchanges { domain, .. } => domain.clone(),
        To::Hosts { .. } => String::new(),
    };
    Question { name, kind: Kind::Mx }
}

/// Whether none of the servers may be used: the domain has moved, or somebody has forged its MX records.
fn bars(policy: &Policy, servers: &[Server]) -> bool {
    policy.mode == Mode::Enforce && !servers.iter().any(|server| policy.names(&server.host))
}

/// A host that the configuration names is judged as the route says, unless that says to look it up.
fn wants_dane(way: &Way) -> bool {
    matches!(way.to, To::Exchanges { .. }) || matches!(way.tls, TlsMode::Automatic | TlsMode::DaneOnly)
}

impl Found {
    /// Whether its sessions are counted for a report about TLS.
    pub(super) fn is_reported(&self) -> bool {
        self.reported
    }

    /// What is published of the server at this place, for mail to this domain.
    pub(super) fn about<'a>(&'a self, place: usize, server: &'a Server, domain: &'a str) -> About<'a> {
        About {
            domain,
            host: &server.host,
            dane: self.servers.get(place).map_or(&Dane::Absent, |(_, dane)| dane),
            policy: self.policy.as_ref(),
            no_policy: self.no_policy.as_ref(),
        }
    }

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
