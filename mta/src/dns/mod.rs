//! What mail asks of the DNS: outgoing mail for mail exchangers and addresses, sender authentication for records as they are.
//!
//! ```text
//!   deliver, verify ─► Dns ─┬─► resolver::Resolver   the network, by hickory; follows `resolvers` of the settings
//!                           └─► table::Table         answers from a table: tests, and a closed network
//! ```
//!
//! The three ways to get nothing are kept apart, as mail treats them differently: a name that does not exist is final,
//! a name without the type leads to the implicit MX, and no answer means "ask again later".
//!
//! May assume: names are A-labels, without a trailing dot.

mod cache;
mod matching;
mod proof;
mod records;
pub mod resolver;
pub mod table;
mod validation;
mod wildcard;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use postroad_verify::dane;
use postroad_verify::dns::{Answer, Question};

/// One mail exchanger of a domain (RFC 5321 section 5.1). An empty host is the null MX (RFC 7505).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exchange {
    /// Lower is tried first.
    pub preference: u16,
    /// Lower-case host name without a trailing dot.
    pub host: String,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// The name does not exist (RFC 1035 section 4.1.1, code 3).
    #[error("the name does not exist")]
    NxDomain,
    /// The name exists and has no record of this type (RFC 2308 section 2.2).
    #[error("the name has no such record")]
    NoData,
    /// No usable answer for now: time-out, SERVFAIL, refused, no server reachable. The text is for logs.
    #[error("no answer: {0}")]
    Temporary(String),
}

/// How a host name is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A full name out of the public DNS, such as an MX target: no search list, no hosts file.
    Public,
    /// A name out of the configuration: the search list of the system applies (a Service's short name in a cluster).
    Configured,
}

/// A source of answers.
pub trait Lookup: Send + Sync + 'static {
    /// The MX records of a domain, in no particular order; never empty.
    fn mx<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<Vec<Exchange>, DnsError>>;
    /// The addresses of a host, IPv6 first, CNAMEs followed; never empty.
    fn addresses<'a>(&'a self, host: &'a str, scope: Scope) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>>;
    /// The answer to a question of sender authentication: records, no data, no such name and no answer kept apart.
    fn answer<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Answer>;
    /// The answer to a question of DANE, with whether it is proven: by DNSSEC as it is validated here, or by the AD bit of a
    /// resolver that validates (RFC 4035 section 3.2.3). That is worth something only where the resolver and the way to it are
    /// trusted, which the caller knows.
    fn proof<'a>(&'a self, question: &'a dane::Question) -> BoxFuture<'a, dane::Answer>;
}

/// A shared source of answers; clones ask the same one.
#[derive(Clone)]
pub struct Dns(Arc<dyn Lookup>);

impl Dns {
    /// Wraps a source.
    pub fn new(source: impl Lookup) -> Self {
        Self(Arc::new(source))
    }

    /// See [`Lookup::mx`].
    pub async fn mx(&self, domain: &str) -> Result<Vec<Exchange>, DnsError> {
        self.0.mx(domain).await
    }

    /// See [`Lookup::addresses`]. An address in text form is its own answer.
    pub async fn addresses(&self, host: &str, scope: Scope) -> Result<Vec<IpAddr>, DnsError> {
        match host.parse() {
            Ok(address) => Ok(vec![address]),
            Err(_) => self.0.addresses(host, scope).await,
        }
    }

    /// See [`Lookup::proof`].
    pub async fn proof(&self, question: &dane::Question) -> dane::Answer {
        self.0.proof(question).await
    }

    /// See [`Lookup::answer`].
    pub async fn answer(&self, question: &Question) -> Answer {
        self.0.answer(question).await
    }
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dns(…)")
    }
}
