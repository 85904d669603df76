//! `EgressIdentified`: the address that mail leaves from, the name that it greets with, and DNS agree. Pure.
//!
//! ```text
//!   spec.egress.addresses ─┐
//!   printed by next hops ──┴─► addresses ─► A/AAAA of the host name has each? ─► PTR of each is the host name?
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use postroad_config::admin::NetworkState;
use postroad_crds::conditions::{EGRESS_IDENTIFIED, NewCondition, reason};

/// What DNS says. Errors: why it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Addresses of the host name.
    pub forward: Option<Result<Vec<IpAddr>, String>>,
    /// Names of addresses.
    pub reverse: BTreeMap<IpAddr, Result<Vec<String>, String>>,
}

/// Where mail leaves from, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    /// Addresses to judge.
    pub addresses: Vec<IpAddr>,
    /// An address that next hops print and that was not declared.
    pub undeclared: Option<IpAddr>,
}

/// Puts what was declared and what was seen together. What one next hop prints may be a lie: an address counts when two print it, or
/// when the only one does that prints any.
pub fn known(declared: &[IpNet], pods: &[(String, NetworkState)]) -> Egress {
    let mut by_address: BTreeMap<IpAddr, BTreeSet<&str>> = BTreeMap::new();
    for seen in pods.iter().flat_map(|(_, state)| &state.egress) {
        by_address
            .entry(seen.address.to_canonical())
            .or_default()
            .insert(&seen.host);
    }
    let hosts: BTreeSet<&str> = by_address.values().flatten().copied().collect();
    let agreed = by_address
        .iter()
        .filter(|(_, by)| by.len() >= 2.min(hosts.len()))
        .map(|(ip, _)| *ip);
    let agreed: Vec<IpAddr> = agreed.collect();
    let single = declared
        .iter()
        .filter(|network| network.prefix_len() == network.max_prefix_len());
    let mut addresses: Vec<IpAddr> = single.map(IpNet::addr).chain(agreed.iter().copied()).collect();
    addresses.sort();
    addresses.dedup();
    addresses.truncate(MOST);
    let is_declared = |ip: &IpAddr| declared.iter().any(|network| network.contains(ip));
    Egress {
        addresses,
        undeclared: agreed
            .into_iter()
            .find(|ip| !declared.is_empty() && !is_declared(ip)),
    }
}

/// The condition. `helo`: the name in EHLO.
pub fn condition(helo: &str, egress: &Egress, dns: &Dns) -> NewCondition {
    let condition =
        |status, reason, message: String| NewCondition::new(EGRESS_IDENTIFIED, status, reason, message);
    if let Some(address) = egress.undeclared {
        let message =
            format!("next hops see {address}, which is not in egress.addresses; add it, or mend the way out");
        return condition(Some(false), reason::EGRESS_DIFFERS, message);
    }
    if egress.addresses.is_empty() {
        let message =
            "no next hop prints where mail comes from, and egress.addresses has no single address; give it";
        return condition(None, reason::EGRESS_UNKNOWN, message.into());
    }
    let forward = match &dns.forward {
        None => return condition(None, reason::IN_PROGRESS, "DNS was not asked yet".into()),
        Some(Err(why)) => {
            return condition(None, reason::NO_ANSWER, format!("the addresses of {helo}: {why}"));
        }
        Some(Ok(addresses)) => addresses,
    };
    for address in &egress.addresses {
        if !forward.contains(address) {
            let kind = if address.is_ipv4() { "A" } else { "AAAA" };
            let has: Vec<String> = forward.iter().map(ToString::to_string).collect();
            let has = if has.is_empty() {
                "no address".to_owned()
            } else {
                has.join(", ")
            };
            let message = format!(
                "mail leaves from {address} as {helo}, which has {has}; publish: {helo}. {kind} {address}"
            );
            return condition(Some(false), reason::HELO_MISMATCH, message);
        }
    }
    reverse(helo, egress, dns)
}

fn reverse(helo: &str, egress: &Egress, dns: &Dns) -> NewCondition {
    let condition =
        |status, reason, message: String| NewCondition::new(EGRESS_IDENTIFIED, status, reason, message);
    let mut unknown = None;
    for address in &egress.addresses {
        match dns.reverse.get(address) {
            Some(Ok(names)) if names.iter().any(|name| name.eq_ignore_ascii_case(helo)) => {}
            Some(Ok(names)) => {
                let has = if names.is_empty() {
                    "no name".to_owned()
                } else {
                    names.join(", ")
                };
                let message = format!(
                    "the PTR record of {address} has {has}, not {helo}; whoever gave you the address can set it"
                );
                return condition(Some(false), reason::PTR_MISMATCH, message);
            }
            Some(Err(why)) => {
                unknown = Some((reason::NO_ANSWER, format!("the PTR record of {address}: {why}")));
            }
            None => {
                unknown = Some((
                    reason::IN_PROGRESS,
                    format!("the PTR record of {address} was not asked for yet"),
                ));
            }
        }
    }
    if let Some((reason, message)) = unknown {
        return condition(None, reason, message);
    }
    let addresses: Vec<String> = egress.addresses.iter().map(ToString::to_string).collect();
    let message = format!("{helo} and {} name each other in DNS", addresses.join(", "));
    condition(Some(true), reason::AS_WANTED, message)
}

const MOST: usize = 8;

#[cfg(test)]
mod tests {
    use postroad_config::admin::EgressSeen;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn pods(seen: &[(&str, &str)]) -> Vec<(String, NetworkState)> {
        let one = |(host, address): &(&str, &str)| EgressSeen {
            host: (*host).into(),
            address: ip(address),
        };
        let state = NetworkState {
            egress: seen.iter().map(one).collect(),
            ..NetworkState::default()
        };
        vec![("edge-0".into(), state)]
    }

    #[test]
    fn one_next_hop_among_others_proves_nothing() {
        let lie = ("liar.example", "203.0.113.66");
        let (a, b) = (("a.example", "192.0.2.1"), ("b.example", "192.0.2.1"));
        let declared: Vec<IpNet> = vec![
            "192.0.2.1/32".parse().unwrap(),
            "198.51.100.0/28".parse().unwrap(),
        ];
        for (declared, seen, want, undeclared) in [
            (&[][..], vec![], vec![], None),
            (&[], vec![lie], vec![ip("203.0.113.66")], None),
            (&[], vec![lie, a], vec![], None),
            (&[], vec![lie, a, b], vec![ip("192.0.2.1")], None),
            (&declared, vec![], vec![ip("192.0.2.1")], None),
            (&declared, vec![a, b, lie], vec![ip("192.0.2.1")], None),
            (
                &declared,
                vec![("a.example", "198.51.100.3"), ("b.example", "198.51.100.3")],
                vec![ip("192.0.2.1"), ip("198.51.100.3")],
                None,
            ),
            (
                &declared,
                vec![("a.example", "203.0.113.9"), ("b.example", "203.0.113.9")],
                vec![ip("192.0.2.1"), ip("203.0.113.9")],
                Some(ip("203.0.113.9")),
            ),
        ] {
            let found = known(declared, &pods(&seen));
            assert_eq!(
                (found.addresses, found.undeclared),
                (want, undeclared),
                "{seen:?}"
            );
        }
    }

    #[test]
    fn name_and_address_must_name_each_other() {
        let (helo, one) = ("mx.example.com", ip("192.0.2.1"));
        let egress = Egress {
            addresses: vec![one],
            undeclared: None,
        };
        let names = |names: &[&str]| Ok(names.iter().map(|&name| name.to_owned()).collect());
        let dns = |forward: Result<&str, &str>, reverse: Option<Result<Vec<String>, String>>| Dns {
            forward: Some(match forward {
                Ok("") => Ok(vec![]),
                Ok(address) => Ok(vec![ip("2001:db8::9"), ip(address)]),
                Err(why) => Err(why.to_owned()),
            }),
            reverse: reverse.into_iter().map(|seen| (one, seen)).collect(),
        };
        for (dns, status, reason) in [
            (Dns::default(), None, reason::IN_PROGRESS),
            (dns(Err("SERVFAIL"), None), None, reason::NO_ANSWER),
            (dns(Ok(""), None), Some(false), reason::HELO_MISMATCH),
            (dns(Ok("192.0.2.2"), None), Some(false), reason::HELO_MISMATCH),
            (dns(Ok("192.0.2.1"), None), None, reason::IN_PROGRESS),
            (
                dns(Ok("192.0.2.1"), Some(Err("no reply".into()))),
                None,
                reason::NO_ANSWER,
            ),
            (
                dns(Ok("192.0.2.1"), Some(names(&[]))),
                Some(false),
                reason::PTR_MISMATCH,
            ),
            (
                dns(Ok("192.0.2.1"), Some(names(&["host-1.isp.example"]))),
                Some(false),
                reason::PTR_MISMATCH,
            ),
            (
                dns(Ok("192.0.2.1"), Some(names(&["x.example", "MX.example.com"]))),
                Some(true),
                reason::AS_WANTED,
            ),
        ] {
            let judged = condition(helo, &egress, &dns);
            assert_eq!(
                (judged.status, judged.reason.as_str()),
                (status, reason),
                "{dns:?}"
            );
        }
        let nothing = condition(helo, &Egress::default(), &Dns::default());
        assert_eq!(
            (nothing.status, nothing.reason.as_str()),
            (None, reason::EGRESS_UNKNOWN)
        );
        let other = Egress {
            undeclared: Some(ip("203.0.113.9")),
            ..egress
        };
        let judged = condition(helo, &other, &Dns::default());
        assert_eq!(
            (judged.status, judged.reason.as_str()),
            (Some(false), reason::EGRESS_DIFFERS)
        );
    }
}
