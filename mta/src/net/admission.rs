//! How many sessions are open, in all and per client, against the limits of the settings.
//!
//! A client is an IPv4 address or an IPv6 network of 64 bits, the least that one customer gets.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use postroad_config::Limits;

use super::pressure::Rank;

/// Counts open sessions. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Admission(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    total: u32,
    /// Connections of load balancers whose client is not known yet.
    unknown: u32,
    clients: HashMap<IpAddr, u32>,
}

/// One open session; it is counted until this is dropped.
#[derive(Debug)]
pub struct Admitted {
    open: Arc<Mutex<Open>>,
    client: IpAddr,
}

/// A connection whose client is not known yet; it is counted until this is dropped.
#[derive(Debug)]
pub struct Unknown(Arc<Mutex<Open>>);

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// `limits.connections`.
    Total,
    /// `limits.connectionsPerClient`.
    Client,
}

impl Admission {
    /// Counts one more session of this client, or says which limit is reached.
    pub fn admit(&self, client: IpAddr, rank: Rank, limits: &Limits) -> Result<Admitted, Full> {
        let client = network(client);
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= rank.connections(limits.connections) {
            return Err(Full::Total);
        }
        let count = open.clients.entry(client).or_default();
        if *count >= limits.connections_per_client {
            return Err(Full::Client);
        }
        *count += 1;
        open.total += 1;
        Ok(Admitted {
            open: Arc::clone(&self.0),
            client,
        })
    }

    /// Counts a connection whose client will be named. `None`: there are as many as sessions are allowed.
    pub fn expect(&self, limits: &Limits) -> Option<Unknown> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.unknown >= limits.connections {
            return None;
        }
        open.unknown += 1;
        Some(Unknown(Arc::clone(&self.0)))
    }

    /// Sessions open now.
    pub fn total(&self) -> u32 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).total
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        if let Some(count) = open.clients.get_mut(&self.client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.clients.remove(&self.client);
            }
        }
    }
}

impl Drop for Unknown {
    fn drop(&mut self) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.unknown = open.unknown.saturating_sub(1);
    }
}

/// The least that one customer gets: an IPv4 address, or an IPv6 network of 64 bits.
pub(crate) fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_and_a_closed_session_makes_room() {
        let limits = Limits {
            connections: 3,
            connections_per_client: 2,
            ..Limits::default()
        };
        let admission = Admission::default();
        let admit = |client: &str| admission.admit(client.parse().unwrap(), Rank::User, &limits);
        let first = admit("2001:db8::1").unwrap();
        let _second = admit("2001:db8::2").unwrap();
        assert_eq!(
            admit("2001:db8::3").unwrap_err(),
            Full::Client,
            "one /64 is one client"
        );
        let _third = admit("192.0.2.1").unwrap();
        assert_eq!(admit("::ffff:192.0.2.9").unwrap_err(), Full::Total);
        drop(first);
        assert!(admit("192.0.2.9").is_ok());
        assert_eq!(admission.total(), 2);
    }

    #[test]
    fn connections_without_a_client_are_bounded_too() {
        let limits = Limits {
            connections: 1,
            ..Limits::default()
        };
        let admission = Admission::default();
        let first = admission.expect(&limits);
        assert!(first.is_some() && admission.expect(&limits).is_none());
        drop(first);
        assert!(admission.expect(&limits).is_some());
    }
}
