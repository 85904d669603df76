//! The servers of one way out, each with its addresses, in the order in which they are tried.
//!
//! ```text
//!   Way ─┬─ Exchanges ─► MX ─► exchanges::order ─► addresses, each checked by networks::may_be_next_hop
//!        └─ Hosts ─────► addresses as configured
//! ```
//!
//! Asks the DNS; the decisions are in `exchanges.rs` and `networks.rs`.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use postroad_config::Endpoint;

use super::exchanges::{self, NoExchange};
use super::networks::may_be_next_hop;
use super::plan::{Protocol, To};
use super::setback::Setback;
use crate::dns::{Dns, DnsError, Scope};
use crate::outcome::Status;

/// A server that may be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name, or its address where it has none.
    pub host: String,
    /// Where it listens, in order; never empty.
    pub addresses: Vec<SocketAddr>,
    /// What it speaks.
    pub protocol: Protocol,
    /// Found by MX: whether it is ourselves has to be watched for.
    pub public: bool,
}

/// What a look-up needs.
#[derive(Clone, Copy, Debug)]
pub struct Finder<'a> {
    /// Whom to ask.
    pub dns: &'a Dns,
    /// Our name.
    pub hostname: &'a str,
    /// Port of servers that are found by MX: 25 (RFC 5321 section 4.5.4.2), another one in tests.
    pub port: u16,
}

impl Finder<'_> {
    /// Finds the servers. Errors: why there is none.
    pub async fn find(&self, to: &To, draw: impl FnMut() -> u64) -> Result<Vec<Server>, Setback> {
        match to {
            To::Hosts { hosts, protocol } => self.configured(hosts, *protocol).await,
            To::Exchanges { domain, allowed } => match exchanges::literal(domain) {
                Some(address) => self.literal(domain, address, allowed),
                None if domain.starts_with('[') => Err(Setback::nowhere(domain, false)),
                None => self.exchanges(domain, allowed, draw).await,
            },
        }
    }

    fn literal(&self, domain: &str, address: IpAddr, allowed: &[IpNet]) -> Result<Vec<Server>, Setback> {
        if !may_be_next_hop(address, allowed) {
            return Err(Setback::nowhere(domain, true));
        }
        Ok(vec![self.server(address.to_string(), vec![address])])
    }

    fn server(&self, host: String, addresses: Vec<IpAddr>) -> Server {
        let addresses = addresses
            .into_iter()
            .map(|address| SocketAddr::new(address, self.port));
        Server {
            host,
            addresses: addresses.collect(),
            protocol: Protocol::Smtp,
            public: true,
        }
    }

    async fn exchanges(
        &self,
        domain: &str,
        allowed: &[IpNet],
        draw: impl FnMut() -> u64,
    ) -> Result<Vec<Server>, Setback> {
        let answer = self.dns.mx(domain).await;
        let hosts = exchanges::order(domain, answer, self.hostname, draw)
            .map_err(|why| Setback::of_exchange(domain, &why))?;
        let mut servers = vec![];
        let mut refused = false;
        let mut unknown = None;
        for host in hosts {
            match self.dns.addresses(&host, Scope::Public).await {
                Ok(mut addresses) => {
                    let found = addresses.len();
                    addresses.retain(|address| may_be_next_hop(*address, allowed));
                    addresses.truncate(MOST_ADDRESSES);
                    refused |= addresses.len() < found;
                    if !addresses.is_empty() {
                        servers.push(self.server(host, addresses));
                    }
                }
                Err(DnsError::NxDomain | DnsError::NoData) => {}
                Err(DnsError::Temporary(reason)) => unknown = Some(reason),
            }
        }
        match unknown {
            _ if !servers.is_empty() => Ok(servers),
            Some(reason) => Err(Setback::of_exchange(domain, &NoExchange::Unknown(reason))),
            None => Err(Setback::nowhere(domain, refused)),
        }
    }

    /// A configured name without an address is a fault of the configuration or the cluster: mail waits for the mend.
    async fn configured(&self, hosts: &[Endpoint], protocol: Protocol) -> Result<Vec<Server>, Setback> {
        let mut servers = vec![];
        let mut last = None;
        for endpoint in hosts {
            match self.dns.addresses(&endpoint.host, Scope::Configured).await {
                Ok(addresses) => servers.push(Server {
                    host: endpoint.host.clone(),
                    addresses: addresses
                        .into_iter()
                        .take(MOST_ADDRESSES)
                        .map(|address| SocketAddr::new(address, endpoint.port))
                        .collect(),
                    protocol,
                    public: false,
                }),
                Err(error) => last = Some(format!("no address of {}: {error}", endpoint.host)),
            }
        }
        if servers.is_empty() {
            let reason = last.unwrap_or_else(|| "the route names no host".to_owned());
            return Err(Setback::dead(Status::new(4, 4, 3), reason));
        }
        Ok(servers)
    }
}

/// Addresses of one host that are tried in one attempt.
const MOST_ADDRESSES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::table::Table;
    use crate::outcome::Verdict;
    use crate::queue::window::Feedback;

    async fn find(table: Table, domain: &str, allowed: &[&str]) -> Result<Vec<Server>, Setback> {
        let dns = Dns::new(table);
        let finder = Finder {
            dns: &dns,
            hostname: "us.example",
            port: 25,
        };
        let to = To::Exchanges {
            domain: domain.into(),
            allowed: allowed.iter().map(|network| network.parse().unwrap()).collect(),
        };
        finder.find(&to, || 0).await
    }

    fn table() -> Table {
        let address = |text: &str| text.parse().unwrap();
        Table::default()
            .mx("a.example", 20, "mx2.example")
            .mx("a.example", 10, "mx1.example")
            .mx("inner.example", 10, "inner-mx.example")
            .mx("gone.example", 10, "nothing.example")
            .mx("flaky.example", 10, "silent.example")
            .address("mx1.example", address("192.0.2.1"))
            .address("mx2.example", address("192.0.2.2"))
            .address("inner-mx.example", address("10.0.0.1"))
            .silent("silent.example")
            .silent("dead.example")
    }

    #[tokio::test]
    async fn servers_come_in_order_of_preference() {
        let servers = find(table(), "a.example", &[]).await.unwrap();
        let hosts: Vec<_> = servers.iter().map(|server| server.host.as_str()).collect();
        assert_eq!(hosts, ["mx1.example", "mx2.example"]);
        assert_eq!(servers[0].addresses, ["192.0.2.1:25".parse().unwrap()]);
    }

    #[tokio::test]
    async fn inner_addresses_need_permission() {
        let setback = find(table(), "inner.example", &[]).await.unwrap_err();
        assert_eq!(setback.outcome.verdict, Verdict::Failed);
        assert!(find(table(), "inner.example", &["10.0.0.0/8"]).await.is_ok());
        assert!(find(table(), "[127.0.0.1]", &[]).await.is_err());
        assert!(find(table(), "[192.0.2.9]", &[]).await.is_ok());
        assert!(find(table(), "[nonsense]", &[]).await.is_err());
    }

    #[tokio::test]
    async fn only_silence_is_waited_for() {
        for (domain, verdict, feedback) in [
            ("gone.example", Verdict::Failed, None),
            ("unknown.example", Verdict::Failed, None),
            ("flaky.example", Verdict::Deferred, Some(Feedback::Dead)),
            ("dead.example", Verdict::Deferred, Some(Feedback::Dead)),
        ] {
            let setback = find(table(), domain, &[]).await.unwrap_err();
            assert_eq!(
                (setback.outcome.verdict, setback.feedback),
                (verdict, feedback),
                "{domain}"
            );
        }
    }
}
