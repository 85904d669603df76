//! Answers from the network, by hickory.
//!
//! ```text
//!   each question ─► servers of the current settings ─┬─ same as before ─► resolver in use (its cache stays warm)
//!                                                     └─ changed ────────► a new resolver, for this and all later ones
//! ```
//!
//! May assume: called inside a tokio runtime. Never uses the C library's resolver, as the binary is static.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, FutureExt};
use hickory_resolver::Resolver as OfServers;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup as Answer;
use hickory_resolver::net::{DnsError as HickoryDnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use postroad_config::TrustAnchor;
use postroad_verify::dane;
use postroad_verify::dns::{Answer as Known, Question};

use super::cache::{Cache, Said};
use super::matching::Connections;
use super::proof::Prover;
use super::records;
use super::{DnsError, Exchange, Lookup, Scope};

/// A resolver that follows settings which may change under it.
pub struct Resolver {
    source: Box<dyn Fn() -> Source + Send + Sync>,
    current: Mutex<Option<Current>>,
}

/// Whom to ask, and whose word proves an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    /// The servers; empty = those of the system.
    pub servers: Vec<SocketAddr>,
    /// Proofs are made here, from these trust anchors down (empty = the root's own keys). Absent: the servers' AD bit is one.
    pub anchors: Option<Vec<TrustAnchor>>,
}

#[derive(Clone)]
struct Current {
    source: Source,
    public: Arc<OfServers<Connections>>,
    /// Answers of the public one.
    known: Arc<Cache>,
    configured: Arc<OfServers<Connections>>,
    /// Asks with the DO bit.
    prover: Prover,
}

impl Resolver {
    /// A resolver that asks the servers that `servers` names at the time of each question; empty = those of the system.
    pub fn new(servers: impl Fn() -> Vec<SocketAddr> + Send + Sync + 'static) -> Self {
        Self::of(move || Source {
            servers: servers(),
            anchors: None,
        })
    }

    /// The same with what else is set at the time of each question.
    pub fn of(source: impl Fn() -> Source + Send + Sync + 'static) -> Self {
        Self {
            source: Box::new(source),
            current: Mutex::new(None),
        }
    }

    fn current(&self) -> Result<Current, DnsError> {
        let source = (self.source)();
        let mut held = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = held.as_ref().filter(|current| current.source == source) {
            return Ok(current.clone());
        }
        let made = build(source).map_err(|error| temporary(&error))?;
        *held = Some(made.clone());
        Ok(made)
    }
}

impl Current {
    /// The records of a public name, from what is known or from the network.
    async fn ask(&self, name: Name, kind: RecordType) -> Result<Arc<[RData]>, DnsError> {
        let (resolver, of) = (Arc::clone(&self.public), name.clone());
        let ask = move || async move { said(resolver.lookup(of, kind)).await }.boxed();
        self.known.get((name, kind), ask).await
    }
}

/// What a question comes to, and for how long that holds.
async fn said(question: impl Future<Output = Result<Answer, NetError>>) -> Said {
    match tokio::time::timeout(DEADLINE, question).await {
        Ok(Ok(answer)) => Said {
            found: Ok(answer
                .answers()
                .iter()
                .map(|record| record.data.clone())
                .collect()),
            until: Some(answer.valid_until()),
        },
        Ok(Err(error)) => {
            let found = classify(&error);
            let until = negative(&error).filter(|_| !matches!(found, DnsError::Temporary(_)));
            Said {
                found: Err(found),
                until,
            }
        }
        Err(_) => Said {
            found: Err(too_late()),
            until: None,
        },
    }
}

/// Until when "there is none" may be said again (RFC 2308 section 5).
fn negative(error: &NetError) -> Option<Instant> {
    let NetError::Dns(HickoryDnsError::NoRecordsFound(none)) = error else {
        return None;
    };
    let time = Duration::from_secs(none.negative_ttl?.into()).min(LONGEST_NEGATIVE);
    Some(Instant::now() + time)
}

fn too_late() -> DnsError {
    DnsError::Temporary("no answer in time".to_owned())
}

impl Lookup for Resolver {
    fn mx<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<Vec<Exchange>, DnsError>> {
        async move {
            let current = self.current()?;
            let answer = current.ask(full_name(domain)?, RecordType::MX).await?;
            let exchanges: Vec<_> = answer.iter().filter_map(exchange).collect();
            if exchanges.is_empty() {
                Err(DnsError::NoData)
            } else {
                Ok(exchanges)
            }
        }
        .boxed()
    }

    fn addresses<'a>(&'a self, host: &'a str, scope: Scope) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>> {
        async move {
            let current = self.current()?;
            let mut addresses = match scope {
                Scope::Public => of_both(&current, host).await?,
                Scope::Configured => {
                    let answer = bounded(current.configured.lookup_ip(host)).await?;
                    answer.iter().collect()
                }
            };
            // RFC 6724 section 2.1 prefers IPv6 where both are reachable; the connector falls over to IPv4.
            addresses.sort_by_key(IpAddr::is_ipv4);
            addresses.dedup();
            if addresses.is_empty() {
                Err(DnsError::NoData)
            } else {
                Ok(addresses)
            }
        }
        .boxed()
    }

    fn proof<'a>(&'a self, question: &'a dane::Question) -> BoxFuture<'a, dane::Answer> {
        async move {
            match self.current() {
                Ok(current) => current.prover.ask(question).await,
                Err(_) => dane::Answer::Failure,
            }
        }
        .boxed()
    }

    fn answer<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Known> {
        async move {
            // A name that no question can hold does not exist.
            let Some(name) = records::wire_name(&question.name) else {
                return Known::NxDomain;
            };
            let Ok(current) = self.current() else {
                return Known::Failure;
            };
            let kind = records::record_type(question.kind);
            match current.ask(name, kind).await {
                Ok(found) => records::answer(question.kind, found.iter()),
                Err(DnsError::NxDomain) => Known::NxDomain,
                Err(DnsError::NoData) => Known::NoData,
                Err(DnsError::Temporary(_)) => Known::Failure,
            }
        }
        .boxed()
    }
}

/// The addresses of both families, each asked for by itself: asked together, hickory tells the error of one of them alone,
/// and which of them failed decides whether mail waits or is returned.
async fn of_both(current: &Current, host: &str) -> Result<Vec<IpAddr>, DnsError> {
    let (name, also) = (full_name(host)?, full_name(host)?);
    let (old, new) = tokio::join!(
        current.ask(name, RecordType::A),
        current.ask(also, RecordType::AAAA),
    );
    joined(old.map(|answer| found(&answer)), new.map(|answer| found(&answer)))
}

fn found(answer: &[RData]) -> Vec<IpAddr> {
    answer.iter().filter_map(RData::ip_addr).collect()
}

/// What two answers about one host say together. Where neither has an address, one that may come later counts more than one
/// that is known not to be there.
fn joined(
    old: Result<Vec<IpAddr>, DnsError>,
    new: Result<Vec<IpAddr>, DnsError>,
) -> Result<Vec<IpAddr>, DnsError> {
    match (old, new) {
        (Ok(mut old), Ok(new)) => {
            old.extend(new);
            Ok(old)
        }
        (Ok(found), Err(error)) | (Err(error), Ok(found)) => {
            if found.is_empty() {
                Err(error)
            } else {
                Ok(found)
            }
        }
        (Err(error @ DnsError::Temporary(_)), Err(_)) | (Err(_), Err(error @ DnsError::Temporary(_))) => {
            Err(error)
        }
        (Err(DnsError::NxDomain), Err(DnsError::NxDomain)) => Err(DnsError::NxDomain),
        (Err(_), Err(_)) => Err(DnsError::NoData),
    }
}

fn exchange(data: &RData) -> Option<Exchange> {
    let RData::MX(mx) = data else { return None };
    let host = mx.exchange.to_ascii().trim_end_matches('.').to_ascii_lowercase();
    Some(Exchange {
        preference: mx.preference,
        host,
    })
}

/// A name that is taken as it is, without the search list.
fn full_name(name: &str) -> Result<Name, DnsError> {
    // A name that the DNS cannot hold does not exist in it.
    let mut name = Name::from_ascii(name).map_err(|_| DnsError::NxDomain)?;
    name.set_fqdn(true);
    Ok(name)
}

async fn bounded<T>(question: impl Future<Output = Result<T, NetError>>) -> Result<T, DnsError> {
    match tokio::time::timeout(DEADLINE, question).await {
        Ok(answer) => answer.map_err(|error| classify(&error)),
        Err(_) => Err(too_late()),
    }
}

fn classify(error: &NetError) -> DnsError {
    match error {
        NetError::Dns(HickoryDnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => DnsError::NxDomain,
            ResponseCode::NoError => DnsError::NoData,
            other => DnsError::Temporary(other.to_string()),
        },
        NetError::Dns(HickoryDnsError::ResponseCode(ResponseCode::NXDomain)) => DnsError::NxDomain,
        other => temporary(other),
    }
}

fn temporary(error: &NetError) -> DnsError {
    DnsError::Temporary(error.to_string())
}

fn build(source: Source) -> Result<Current, NetError> {
    let servers = &source.servers;
    let (system, system_options) = match hickory_resolver::system_conf::read_system_conf() {
        Ok(found) => found,
        // A container without /etc/resolv.conf is fine as long as servers are configured.
        Err(_) if !servers.is_empty() => (ResolverConfig::default(), ResolverOpts::default()),
        Err(error) => return Err(error),
    };
    let name_servers = if servers.is_empty() {
        system.name_servers().to_vec()
    } else {
        servers.iter().map(name_server).collect()
    };
    let full = ResolverConfig::from_parts(None, vec![], name_servers.clone());
    let searching =
        ResolverConfig::from_parts(system.domain().cloned(), system.search().to_vec(), name_servers);
    // Its answers are kept by us: bounded by octets, and each question under way once.
    let mut public_options = options(1, ResolveHosts::Never);
    public_options.cache_size = 0;
    let configured_options = options(system_options.ndots, ResolveHosts::Always);
    let prover = Prover::new(
        full.name_servers().to_vec(),
        public_options.clone(),
        source.anchors.as_deref(),
    )?;
    Ok(Current {
        prover,
        public: Arc::new(with(full, public_options)?),
        known: Arc::new(Cache::new(MOST_KNOWN)),
        configured: Arc::new(with(searching, configured_options)?),
        source,
    })
}

fn with(config: ResolverConfig, options: ResolverOpts) -> Result<OfServers<Connections>, NetError> {
    OfServers::builder_with_config(config, Connections::default())
        .with_options(options)
        .build()
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

fn options(ndots: usize, hosts: ResolveHosts) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.ndots = ndots;
    options.timeout = Duration::from_secs(5);
    options.attempts = 2;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = hosts;
    options.cache_size = 1_024;
    options.edns0 = true;
    options
}

/// Longest wait for one question with its retries and, for names of the configuration, the whole search list.
const DEADLINE: Duration = Duration::from_secs(30);

/// RFC 2308 section 5 asks for one to three hours at most.
const LONGEST_NEGATIVE: Duration = Duration::from_hours(1);
/// Octets of answers that are kept.
const MOST_KNOWN: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_answer_that_may_come_later_is_waited_for() {
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let later = || Err(DnsError::Temporary("SERVFAIL".into()));
        let (none, unknown, empty) = (Err(DnsError::NoData), Err(DnsError::NxDomain), Ok(vec![]));
        for (one, other, together) in [
            (Ok(vec![address]), later(), Ok(vec![address])),
            (Ok(vec![address]), none.clone(), Ok(vec![address])),
            (none.clone(), later(), later()),
            (unknown.clone(), later(), later()),
            (empty.clone(), later(), later()),
            (later(), later(), later()),
            (none.clone(), unknown.clone(), none.clone()),
            (none.clone(), empty, none),
            (unknown.clone(), unknown.clone(), unknown),
        ] {
            assert_eq!(joined(one.clone(), other.clone()), together, "{one:?} {other:?}");
            assert_eq!(joined(other.clone(), one.clone()), together, "{other:?} {one:?}");
        }
    }
}
