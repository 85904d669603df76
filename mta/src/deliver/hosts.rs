//! The servers of one way out, each with its addresses, in the order in which they are tried.
//!
//! ```text
//!   Way ─┬─ Exchanges ─► MX ─► exchanges::Exchangers ─► addresses, each checked by networks::may_be_next_hop
//!        └─ Hosts ─────► addresses as configured
//! ```
//!
//! Asks the DNS; the decisions are in `exchanges.rs` and `networks.rs`.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use postroad_config::Endpoint;

use super::exchanges::{self, Exchangers, NoExchange};
use super::networks::{leads_home, may_be_next_hop};
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
    /// Servers of one rank are as good as each other: those with a warm connection go first.
    pub rank: usize,
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
    /// Asks for the hosts of a domain. Errors: why it has none.
    pub async fn exchangers(&self, domain: &str) -> Result<Exchangers, NoExchange> {
        Exchangers::of(domain, self.dns.mx(domain).await, self.hostname)
    }

    /// Finds the servers. `known`: the hosts of the domain, where they were asked for already. Errors: why there is none.
    pub async fn find(
        &self,
        to: &To,
        known: Option<Result<Exchangers, NoExchange>>,
        draw: impl FnMut() -> u64,
    ) -> Result<Vec<Server>, Setback> {
        match to {
            To::Hosts { hosts, protocol } => self.configured(hosts, *protocol).await,
            To::Exchanges { domain, allowed } if domain.starts_with('[') => self.literal(domain, allowed),
            To::Exchanges { domain, allowed } => {
                let known = match known {
                    Some(known) => known,
                    None => self.exchangers(domain).await,
                };
                let hosts = known.map_err(|why| Setback::of_exchange(domain, &why))?;
                self.servers(domain, &hosts.drawn(draw), allowed).await
            }
        }
    }

    /// A literal names a machine past all that its owner says of mail, so that only named networks are reached by one.
    fn literal(&self, domain: &str, allowed: &[IpNet]) -> Result<Vec<Server>, Setback> {
        let named = |address: &IpAddr| allowed.iter().any(|network| network.contains(address));
        match exchanges::literal(domain).filter(named) {
            Some(address) => Ok(vec![self.server(address.to_string(), 0, vec![address])]),
            None => Err(Setback::literal(domain)),
        }
    }

    fn server(&self, host: String, rank: usize, addresses: Vec<IpAddr>) -> Server {
        let addresses = addresses
            .into_iter()
            .map(|address| SocketAddr::new(address, self.port));
        Server {
            host,
            addresses: addresses.collect(),
            protocol: Protocol::Smtp,
            public: true,
            rank,
        }
    }

    async fn servers(
        &self,
        domain: &str,
        hosts: &[(usize, &str)],
        allowed: &[IpNet],
    ) -> Result<Vec<Server>, Setback> {
        let mut servers = vec![];
        let mut refused = None;
        let mut unknown = None;
        for (rank, host) in hosts {
            match self.dns.addresses(host, Scope::Public).await {
                Ok(addresses) => {
                    let (mut good, bad): (Vec<_>, Vec<_>) = addresses
                        .into_iter()
                        .partition(|address| may_be_next_hop(*address, allowed));
                    refused = refused.or(bad.first().copied());
                    alternate(&mut good);
                    good.truncate(MOST_ADDRESSES);
                    if !good.is_empty() {
                        servers.push(self.server((*host).to_owned(), *rank, good));
                    }
                }
                Err(DnsError::NxDomain | DnsError::NoData) => {}
                Err(DnsError::Temporary(reason)) => unknown = Some(reason),
            }
        }
        match (unknown, refused) {
            _ if !servers.is_empty() => Ok(servers),
            (Some(reason), _) => Err(Setback::of_exchange(domain, &NoExchange::Unknown(reason))),
            (None, Some(address)) if leads_home(address) => {
                Err(Setback::of_exchange(domain, &NoExchange::Ourselves))
            }
            (None, Some(_)) => Err(Setback::private(domain)),
            (None, None) => Err(Setback::nowhere(domain)),
        }
    }

    /// A configured name without an address is a fault of the configuration or the cluster: mail waits for the mend.
    async fn configured(&self, hosts: &[Endpoint], protocol: Protocol) -> Result<Vec<Server>, Setback> {
        let mut servers = vec![];
        let mut last = None;
        let mut is_answered = protocol == Protocol::Smtp;
        for (rank, endpoint) in hosts.iter().enumerate() {
            match self.dns.addresses(&endpoint.host, Scope::Configured).await {
                Ok(mut addresses) => {
                    alternate(&mut addresses);
                    servers.push(Server {
                        host: endpoint.host.clone(),
                        addresses: addresses
                            .into_iter()
                            .take(MOST_ADDRESSES)
                            .map(|address| SocketAddr::new(address, endpoint.port))
                            .collect(),
                        protocol,
                        public: false,
                        rank,
                    });
                }
                Err(error) => {
                    is_answered &= !matches!(error, DnsError::Temporary(_));
                    last = Some(format!("no address of {}: {error}", endpoint.host));
                }
            }
        }
        if servers.is_empty() {
            let reason = last.unwrap_or_else(|| "the route names no host".to_owned());
            return Err(if is_answered {
                Setback::misnamed(reason)
            } else {
                Setback::dead(Status::new(4, 4, 3), reason)
            });
        }
        Ok(servers)
    }
}

/// One family after the other in turns (RFC 8305 section 4), so that a network without one of them soon comes to the other.
fn alternate(addresses: &mut Vec<IpAddr>) {
    let (mut six, mut four): (VecDeque<IpAddr>, VecDeque<IpAddr>) =
        addresses.drain(..).partition(IpAddr::is_ipv6);
    while !(six.is_empty() && four.is_empty()) {
        addresses.extend(six.pop_front());
        addresses.extend(four.pop_front());
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
        finder.find(&to, None, || 0).await
    }

    fn table() -> Table {
        let address = |text: &str| text.parse().unwrap();
        Table::default()
            .mx("a.example", 20, "mx2.example")
            .mx("a.example", 10, "mx1.example")
            .mx("inner.example", 10, "inner-mx.example")
            .mx("home.example", 10, "localhost.example")
            .mx("ours.example", 10, "us.example")
            .mx("gone.example", 10, "nothing.example")
            .address("localhost.example", address("127.0.0.1"))
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
    async fn a_host_with_many_addresses_of_one_family_is_reached_by_the_other_too() {
        let mut table = Table::default().mx("wide.example", 10, "wide-mx.example");
        for text in [
            "2001:db8::1",
            "2001:db8::2",
            "2001:db8::3",
            "2001:db8::4",
            "192.0.2.1",
        ] {
            table = table.address("wide-mx.example", text.parse().unwrap());
        }
        let servers = find(table, "wide.example", &["2001:db8::/32"]).await.unwrap();
        let addresses: Vec<_> = servers[0]
            .addresses
            .iter()
            .map(|one| one.ip().to_string())
            .collect();
        assert_eq!(
            addresses,
            ["2001:db8::1", "192.0.2.1", "2001:db8::2", "2001:db8::3"]
        );
    }

    #[tokio::test]
    async fn inner_addresses_need_permission() {
        let setback = find(table(), "inner.example", &[]).await.unwrap_err();
        assert_eq!(setback.outcome.verdict, Verdict::Failed);
        assert!(find(table(), "inner.example", &["10.0.0.0/8"]).await.is_ok());
    }

    #[tokio::test]
    async fn what_leads_back_to_ourselves_is_a_loop() {
        for (domain, status) in [
            ("home.example", Status::new(5, 4, 6)),
            ("inner.example", Status::new(5, 4, 4)),
            ("gone.example", Status::new(5, 4, 4)),
            ("ours.example", Status::new(5, 4, 6)),
        ] {
            let setback = find(table(), domain, &[]).await.unwrap_err();
            assert_eq!(setback.outcome.status, status, "{domain}");
        }
    }

    #[tokio::test]
    async fn literals_reach_named_networks_only() {
        for (domain, allowed, reached) in [
            ("[192.0.2.9]", &[][..], false),
            ("[192.0.2.9]", &["192.0.2.0/24"], true),
            ("[IPv6:2001:db8::9]", &["2001:db8::/32"], true),
            ("[127.0.0.1]", &["192.0.2.0/24"], false),
            ("[nonsense]", &["0.0.0.0/0"], false),
        ] {
            assert_eq!(
                find(table(), domain, allowed).await.is_ok(),
                reached,
                "{domain} {allowed:?}"
            );
        }
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
