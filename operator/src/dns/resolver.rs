//! Who is to be asked: the servers of a domain's zone, found by walking up from the domain.
//!
//! ```text
//! NS a.b.example? no ─► NS b.example? yes: ns1, ns2 ─► their addresses ─► each asked directly
//! ```
//!
//! Where the owner names resolvers of his own (an air gap, a split horizon), those are asked instead, as if they were
//! the zone's servers.

use std::net::{IpAddr, SocketAddr};

use futures::future::join_all;
use hickory_resolver::proto::rr::RecordType;
use postroad_verify::dns::{Answer, Kind, Question};

use super::exchange::{Found, Mode, Patience, Trouble, addresses, ask, is_authentic, names};

/// Servers of one zone that are asked.
const MOST_SERVERS: usize = 8;
/// Addresses of one server that are tried.
const MOST_ADDRESSES: usize = 4;
/// Aliases that are followed from zone to zone.
const MOST_ALIASES: usize = 5;

/// A server to ask, with the name that people know it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name; its address where it has none.
    pub name: String,
    /// Where it is; the first that replies decides.
    pub addresses: Vec<SocketAddr>,
    /// How it is asked.
    pub mode: Mode,
}

/// What one server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Name of the server.
    pub server: String,
    /// What it said.
    pub seen: Result<Found, Trouble>,
}

/// Asks DNS.
#[derive(Clone, Debug)]
pub struct Resolver {
    upstream: Vec<SocketAddr>,
    patience: Patience,
    /// Port of the zones' servers: 53, but for tests.
    port: u16,
}

impl Resolver {
    /// Uses these recursive resolvers, in order.
    pub fn new(upstream: Vec<SocketAddr>) -> Self {
        Self {
            upstream,
            patience: Patience::default(),
            port: 53,
        }
    }

    /// Uses the resolvers of `/etc/resolv.conf`. Error: the file cannot be read; said in one sentence.
    pub fn from_system() -> Result<Self, String> {
        let (config, _) = hickory_resolver::system_conf::read_system_conf()
            .map_err(|error| format!("/etc/resolv.conf cannot be used: {error}; give --resolver"))?;
        let mut upstream: Vec<SocketAddr> = config
            .name_servers
            .iter()
            .map(|server| SocketAddr::new(server.ip, 53))
            .collect();
        upstream.dedup();
        Ok(Self::new(upstream))
    }

    #[cfg(test)]
    pub(super) fn for_tests(upstream: Vec<SocketAddr>, port: u16, patience: Patience) -> Self {
        Self {
            upstream,
            patience,
            port,
        }
    }

    /// Asks the recursive resolvers in turn. Error: none of them gave an answer; the last one's trouble.
    pub async fn recursive(&self, name: &str, kind: RecordType) -> Result<Found, Trouble> {
        first_reply(&self.upstream, name, kind, Mode::Recursive, self.patience).await
    }

    /// The recursive answer as verdicts take it.
    pub async fn answer(&self, question: &Question) -> Answer {
        match self.recursive(&question.name, record_type(question.kind)).await {
            Ok(found) => found.into_answer(),
            Err(_) => Answer::Failure,
        }
    }

    /// The same resolver with other recursive servers; unchanged when there are none.
    #[must_use]
    pub fn with_upstream(&self, upstream: &[SocketAddr]) -> Self {
        let mut other = self.clone();
        if !upstream.is_empty() {
            other.upstream = upstream.to_vec();
        }
        other
    }

    /// Servers of the zone that a domain is in. Error: they cannot be found out now.
    pub async fn authorities(&self, domain: &str) -> Result<Vec<Server>, Trouble> {
        let mut zone = domain;
        loop {
            if let Found::Records(records) = self.recursive(zone, RecordType::NS).await? {
                return self.locate(names(&records)).await;
            }
            zone = zone.split_once('.').ok_or(Trouble::NoServer)?.1;
        }
    }

    async fn locate(&self, mut servers: Vec<String>) -> Result<Vec<Server>, Trouble> {
        servers.sort();
        servers.truncate(MOST_SERVERS);
        let located = join_all(servers.into_iter().map(|name| self.locate_one(name))).await;
        let servers: Vec<Server> = located
            .into_iter()
            .filter(|server| !server.addresses.is_empty())
            .collect();
        if servers.is_empty() {
            Err(Trouble::NoServer)
        } else {
            Ok(servers)
        }
    }

    async fn locate_one(&self, name: String) -> Server {
        let mut found: Vec<IpAddr> = Vec::new();
        // IPv4 first: a cluster without IPv6 must not wait for it.
        for kind in [RecordType::A, RecordType::AAAA] {
            if let Ok(Found::Records(records)) = self.recursive(&name, kind).await {
                found.extend(addresses(&records));
            }
        }
        found.truncate(MOST_ADDRESSES);
        Server {
            name,
            addresses: found
                .into_iter()
                .map(|address| SocketAddr::new(address, self.port))
                .collect(),
            mode: Mode::Direct,
        }
    }

    /// Asks each server for itself, all at once.
    pub async fn observe(&self, servers: &[Server], name: &str, kind: RecordType) -> Vec<Observation> {
        join_all(servers.iter().map(|server| self.observe_one(server, name, kind))).await
    }

    /// Whether each of these resolvers says that DNSSEC proves its answer; by name, as far as they answer.
    pub async fn proofs(
        &self,
        servers: &[Server],
        name: &str,
        kind: RecordType,
    ) -> Vec<(String, Result<bool, Trouble>)> {
        join_all(servers.iter().map(async |server| {
            let mut said = Err(Trouble::NoServer);
            for address in &server.addresses {
                said = is_authentic(*address, name, kind, self.patience).await;
                if said.is_ok() {
                    break;
                }
            }
            (server.name.clone(), said)
        }))
        .await
    }

    async fn observe_one(&self, server: &Server, name: &str, kind: RecordType) -> Observation {
        let mut seen = first_reply(&server.addresses, name, kind, server.mode, self.patience).await;
        for followed in 0..=MOST_ALIASES {
            let Ok(Found::Alias(target)) = &seen else { break };
            if followed == MOST_ALIASES {
                seen = Err(Trouble::AliasLoop);
                break;
            }
            // The alias leads out of what the server knows.
            seen = self.recursive(&target.clone(), kind).await;
        }
        Observation {
            server: server.name.clone(),
            seen,
        }
    }
}

/// The owner's own resolvers as servers to ask.
pub fn named_servers(resolvers: &[SocketAddr]) -> Vec<Server> {
    let server = |address: &SocketAddr| Server {
        name: if address.port() == 53 {
            address.ip().to_string()
        } else {
            address.to_string()
        },
        addresses: vec![*address],
        mode: Mode::Recursive,
    };
    resolvers.iter().take(MOST_SERVERS).map(server).collect()
}

async fn first_reply(
    servers: &[SocketAddr],
    name: &str,
    kind: RecordType,
    mode: Mode,
    patience: Patience,
) -> Result<Found, Trouble> {
    let mut trouble = Trouble::NoServer;
    for server in servers {
        match ask(*server, name, kind, mode, patience).await {
            Ok(found) => return Ok(found),
            // A server that cannot be reached at all says less than one that replied.
            Err(Trouble::Unreachable(_)) if trouble != Trouble::NoServer => {}
            Err(other) => trouble = other,
        }
    }
    Err(trouble)
}

fn record_type(kind: Kind) -> RecordType {
    match kind {
        Kind::Txt => RecordType::TXT,
        Kind::A => RecordType::A,
        Kind::Aaaa => RecordType::AAAA,
        Kind::Mx => RecordType::MX,
        Kind::Ptr => RecordType::PTR,
    }
}
