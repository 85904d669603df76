//! Tries the smart hosts of a policy as mail would: connect, EHLO, STARTTLS, AUTH, QUIT. No mail is sent.
//!
//! ```text
//!   POST /v1/upstream-test ─► each route at once ─► its first host that can be tried ─► reached? secured? let in?
//! ```
//!
//! A refused login counts as one of mail: the pause begins, or ends where the login is taken again. A try that goes well has mail that
//! is on hold tried.

use std::sync::Arc;
use std::time::Duration;

use postroad_config::admin::UpstreamTested;
use postroad_config::{ConfigFile, Endpoint, Route, RouteTarget};

use super::control::Passing;
use super::hosts::{Finder, Server};
use super::lanes::Lanes;
use super::link::{Link, Target, Trouble};
use super::login::{self, Key};
use super::patience::Patience;
use super::plan::{Protocol, To, route_name};
use super::protection::{Need, Protection};
use super::tls::ClientTls;
use crate::dns::Dns;
use crate::dsn::text::{Charset, one_line};
use crate::logins::Logins;
use crate::outcome::Hop;

/// What tries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Prober {
    dns: Dns,
    tls: ClientTls,
    logins: Logins,
    lanes: Lanes,
}

impl Prober {
    /// `logins`: those of the queue, so that a try of one is one of the other.
    pub fn new(dns: Dns, tls: ClientTls, logins: Logins) -> Self {
        Self {
            dns,
            tls,
            logins,
            lanes: Lanes::default(),
        }
    }

    /// The same, which tells the queue of routes that are well.
    #[must_use]
    pub fn with_lanes(self, lanes: Lanes) -> Self {
        Self { lanes, ..self }
    }

    /// How logins stand, by those tries and by mail.
    pub fn logins(&self) -> &Logins {
        &self.logins
    }

    /// Tries every route of a policy that leads to smart hosts. `None`: there is no policy of that name.
    pub async fn test(&self, config: &ConfigFile, policy: &str) -> Option<Vec<UpstreamTested>> {
        let policy = config.policies.iter().find(|known| known.name == policy)?;
        let tries = policy.routes.iter().enumerate().map(async |(number, route)| {
            let RouteTarget::SmartHosts(hosts) = &route.to else {
                return None;
            };
            let mut tested = UpstreamTested {
                route: u32::try_from(number).unwrap_or(u32::MAX),
                host: hosts.first().map(shown).unwrap_or_default(),
                ..UpstreamTested::default()
            };
            let tried = self.route(config.hostname.as_str(), route, hosts, &mut tested);
            if tokio::time::timeout(LONGEST, tried).await.is_err() {
                tested.message = format!("not done within {} s", LONGEST.as_secs());
            }
            if let Some(credentials) = &route.credentials {
                let id = crate::logins::Id::of(credentials);
                tested.token = self.logins.token_state(id, credentials);
            }
            tested.message = one_line(&tested.message, Charset::Ascii, LONGEST_MESSAGE);
            if tested.is_good() {
                self.lanes
                    .is_well(&policy.name, &route_name(&policy.name, number));
            }
            Some(tested)
        });
        let tested = futures::future::join_all(tries).await;
        Some(tested.into_iter().flatten().collect())
    }

    async fn route(&self, hostname: &str, route: &Route, hosts: &[Endpoint], tested: &mut UpstreamTested) {
        let finder = Finder {
            dns: &self.dns,
            hostname,
            port: 25,
        };
        let to = To::Hosts {
            hosts: hosts.to_vec(),
            protocol: Protocol::Smtp,
        };
        let servers = match finder.find(&to, None, || 0).await {
            Ok(servers) => servers,
            Err(setback) => {
                setback.outcome.source.text().clone_into(&mut tested.message);
                return;
            }
        };
        let authorities = route.authorities.as_deref().map(Arc::from);
        let protection = Protection::from(route.tls).vouched_by(authorities.as_ref());
        for server in &servers {
            for address in &server.addresses {
                let target = Target {
                    server,
                    address: *address,
                    tls: &protection,
                    require_tls: false,
                    hostname: route.hello_name.as_ref().map_or(hostname, |name| name.as_str()),
                    login: Key::of(route.credentials.as_ref()),
                    recipients: None,
                    messages: None,
                    implicit_tls: route.implicit_tls,
                    passing: Passing::All,
                    rewrite: None,
                    lane: None,
                    patience: Patience::default(),
                    seen: None,
                    authorities: None,
                    witness: None,
                };
                tested.host = shown_server(server, address.port());
                self.server(&target, tested).await;
                // A host that answers speaks for its route; one that does not leaves it to the next.
                if tested.reachable {
                    return;
                }
            }
        }
    }

    async fn server(&self, target: &Target<'_>, tested: &mut UpstreamTested) {
        let opened = match target.login {
            Some(key) => login::log_in_at(target, key, &self.tls, &self.logins, true).await,
            None => Link::open(target, &self.tls).await,
        };
        match opened {
            Ok(link) => {
                good(target, &link.hop, tested);
                tested.authenticated = target.login.map(|_| true);
                link.quit().await;
            }
            Err(Trouble::Login(no)) => {
                // Whether the host is there is another matter, and it may not have been asked yet.
                let without = Target {
                    login: None,
                    ..*target
                };
                match Link::open(&without, &self.tls).await {
                    Ok(link) => {
                        good(target, &link.hop, tested);
                        link.quit().await;
                    }
                    Err(trouble) => bad(trouble, target, tested),
                }
                tested.authenticated = Some(false);
                tested.fault = Some(no.fault);
                tested.message = if tested.reachable {
                    no.reason
                } else {
                    format!("{}; {}", no.reason, tested.message)
                };
            }
            Err(trouble) => bad(trouble, target, tested),
        }
    }
}

fn good(target: &Target<'_>, hop: &Hop, tested: &mut UpstreamTested) {
    tested.reachable = true;
    tested.secured = (target.tls.need != Need::Clear).then_some(hop.tls.is_some());
    hop.tls
        .as_deref()
        .unwrap_or("in clear")
        .clone_into(&mut tested.message);
}

fn bad(trouble: Trouble, target: &Target<'_>, tested: &mut UpstreamTested) {
    tested.reachable = matches!(trouble, Trouble::Tls(_) | Trouble::Lacks(_));
    tested.secured = matches!(trouble, Trouble::Tls(_)).then_some(false);
    let setback = trouble.setback(target);
    setback.outcome.source.text().clone_into(&mut tested.message);
}

fn shown(endpoint: &Endpoint) -> String {
    format!("{}:{}", endpoint.host, endpoint.port)
}

fn shown_server(server: &Server, port: u16) -> String {
    format!("{}:{port}", server.host)
}

/// For one route. The operator waits longer.
const LONGEST: Duration = Duration::from_secs(25);
const LONGEST_MESSAGE: usize = 600;
