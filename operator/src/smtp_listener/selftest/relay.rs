//! `RelayProtected`: nobody relays whom the owner has not named. Pure.
//!
//! ```text
//!   relayFrom ─► holds an address that strangers may come from? ─► False/RelayFromTooWide
//!   the test  ─► a trick was taken? ─► False/OpenRelay, or Unknown where whoever tests may be trusted
//!             ─► nothing was tried, or all was put off? ─► Unknown
//! ```

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use postroad_config::admin::{RelayTarget, RelayTested};
use postroad_config::{Domain, DomainName, Port, RecipientMode, TlsMode};
use postroad_crds::conditions::{NewCondition, RELAY_PROTECTED, reason};

use super::known::Known;

/// What came of the test.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Test {
    /// It was not made yet.
    #[default]
    Due,
    /// It could not be made; why.
    Failed(String),
    /// It was made.
    Done(Vec<RelayTested>),
}

impl Test {
    /// Whether the next may wait.
    pub fn is_good(&self) -> bool {
        let all_tried =
            |tested: &RelayTested| tested.taken.is_empty() && tested.error.is_none() && tested.refused > 0;
        matches!(self, Self::Done(list) if list.iter().all(all_tried))
    }
}

/// The ports at the addresses that are published.
pub fn targets(addresses: &[IpAddr], ports: &[(u16, &Port)]) -> Vec<RelayTarget> {
    let at = |address: &IpAddr| {
        let address = *address;
        ports.iter().map(move |(number, port)| RelayTarget {
            address: SocketAddr::new(address, *number),
            implicit_tls: port.tls == TlsMode::Implicit,
        })
    };
    addresses.iter().flat_map(at).take(MOST_TARGETS).collect()
}

/// Names to try tricks through: the host name, and a domain. A domain that takes any local part takes `a%b@domain` rightly, so that
/// only one with listed recipients says something.
pub fn names(hostname: &DomainName, domains: &[Domain]) -> Vec<DomainName> {
    let lists = |domain: &&Domain| {
        domain.inbound.as_ref().is_some_and(|inbound| {
            inbound.recipients.mode == RecipientMode::Listed && inbound.recipients.catch_all.is_none()
        })
    };
    let takes_any = |name: &DomainName| {
        let domain = domains
            .iter()
            .find(|domain| domain.name == *name && domain.inbound.is_some());
        domain.is_some_and(|domain| !lists(&domain))
    };
    let first = Some(hostname).filter(|name| !takes_any(name));
    let listed = domains
        .iter()
        .filter(lists)
        .map(|domain| &domain.name)
        .find(|name| *name != hostname);
    first.into_iter().chain(listed).cloned().collect()
}

/// The condition.
pub fn condition(relay_from: &[IpNet], known: &Known, is_published: bool, test: &Test) -> NewCondition {
    let condition =
        |status, reason, message: String| NewCondition::new(RELAY_PROTECTED, status, reason, message);
    let wide = relay_from
        .iter()
        .find_map(|network| Some((network, known.inside(network)?)));
    if let Some((network, place)) = wide {
        let message = format!(
            "relayFrom {network} holds {} ({}): strangers whose address is lost on the way there relay as well; \
             name the clients' own networks, or let them log in",
            place.address, place.owner
        );
        return condition(Some(false), reason::RELAY_FROM_TOO_WIDE, message);
    }
    let tested = match test {
        Test::Due if !is_published => {
            let message = "no address is published that could be tested; give service.publicAddresses";
            return condition(None, reason::NOT_PUBLISHED, message.into());
        }
        Test::Due => return condition(None, reason::IN_PROGRESS, "not tested yet".into()),
        Test::Failed(why) => {
            return condition(
                None,
                reason::POD_UNREACHABLE,
                format!("it could not be tested: {why}"),
            );
        }
        Test::Done(tested) => tested,
    };
    if let Some(open) = tested.iter().find(|tested| !tested.taken.is_empty()) {
        let tricks = open.taken.join("; ");
        if !relay_from.is_empty() && !known.all_nodes {
            let message = format!(
                "{} took {tricks}, and whether the pod that tested counts as one of relayFrom cannot be told: the operator \
                 may not list nodes",
                open.address
            );
            return condition(None, reason::PROBE_TRUSTED, message);
        }
        let message = format!(
            "{} takes mail for other domains from strangers: {tricks}",
            open.address
        );
        return condition(Some(false), reason::OPEN_RELAY, message);
    }
    verdict(tested)
}

fn verdict(tested: &[RelayTested]) -> NewCondition {
    let refused: u32 = tested.iter().map(|tested| tested.refused).sum();
    let unreached: Vec<String> = tested
        .iter()
        .filter_map(|tested| {
            let put_off = (tested.refused == 0).then_some("every try was put off");
            let why = tested.error.as_deref().or(put_off)?;
            Some(format!("{}: {why}", tested.address))
        })
        .collect();
    let reached: Vec<String> = tested
        .iter()
        .filter(|tested| tested.error.is_none() && tested.refused > 0)
        .map(|tested| tested.address.to_string())
        .collect();
    let not = if unreached.is_empty() {
        String::new()
    } else {
        format!("; not tested to the end: {}", unreached.join(", "))
    };
    if reached.is_empty() {
        let message = format!("no published address could be tested{not}");
        return NewCondition::new(RELAY_PROTECTED, None, reason::NOT_TESTED, message);
    }
    let message = format!(
        "{refused} tries to relay were refused at {}{not}",
        reached.join(", ")
    );
    // A port that was not tried may be the one that relays.
    if unreached.is_empty() {
        NewCondition::new(RELAY_PROTECTED, Some(true), reason::AS_WANTED, message)
    } else {
        NewCondition::new(RELAY_PROTECTED, None, reason::NOT_TESTED, message)
    }
}

const MOST_TARGETS: usize = 32;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::smtp_listener::selftest::known::Place;

    fn known(all_nodes: bool) -> Known {
        let place = |owner: &str, address: &str| Place {
            owner: owner.into(),
            address: address.parse().unwrap(),
        };
        Known {
            nodes: vec![place("node node1", "192.0.2.1")],
            all_nodes,
            pods: vec![place("pod edge-0", "10.244.1.5")],
            balancers: vec![place("the load balancer", "203.0.113.1")],
        }
    }

    fn tested(refused: u32, put_off: u32, taken: &[&str], error: Option<&str>) -> RelayTested {
        RelayTested {
            address: "203.0.113.1:25".parse().unwrap(),
            refused,
            put_off,
            taken: taken.iter().map(|&name| name.to_owned()).collect(),
            error: error.map(str::to_owned),
        }
    }

    #[test]
    fn a_network_with_an_address_that_strangers_come_from_is_too_wide() {
        let good = Test::Done(vec![tested(20, 0, &[], None)]);
        for (network, owner) in [
            ("192.0.2.0/24", Some("node node1")),
            ("10.0.0.0/8", Some("pod edge-0")),
            ("0.0.0.0/0", Some("node node1")),
            ("203.0.113.1/32", Some("the load balancer")),
            ("10.244.1.6/32", None),
            ("198.51.100.0/24", None),
        ] {
            let judged = condition(&[network.parse().unwrap()], &known(true), true, &good);
            assert_eq!(judged.status, Some(owner.is_none()), "{judged:?}");
            if let Some(owner) = owner {
                assert_eq!(judged.reason, reason::RELAY_FROM_TOO_WIDE);
                assert!(
                    judged.message.contains(owner) && judged.message.contains(network),
                    "{judged:?}"
                );
            }
        }
    }

    #[test]
    fn what_the_test_says_is_what_is_known() {
        let from: Vec<IpNet> = vec!["198.51.100.0/24".parse().unwrap()];
        let none: Vec<IpNet> = vec![];
        let open = || Test::Done(vec![tested(20, 0, &["percent at example.com"], None)]);
        for (relay_from, all_nodes, published, test, status, reason) in [
            (&none, true, false, Test::Due, None, reason::NOT_PUBLISHED),
            (&none, true, true, Test::Due, None, reason::IN_PROGRESS),
            (
                &none,
                true,
                true,
                Test::Failed("x".into()),
                None,
                reason::POD_UNREACHABLE,
            ),
            (&none, true, true, open(), Some(false), reason::OPEN_RELAY),
            (&none, false, true, open(), Some(false), reason::OPEN_RELAY),
            (&from, true, true, open(), Some(false), reason::OPEN_RELAY),
            (&from, false, true, open(), None, reason::PROBE_TRUSTED),
            (
                &none,
                true,
                true,
                Test::Done(vec![tested(20, 0, &[], None)]),
                Some(true),
                reason::AS_WANTED,
            ),
            (
                &none,
                true,
                true,
                Test::Done(vec![tested(0, 20, &[], None)]),
                None,
                reason::NOT_TESTED,
            ),
            (
                &none,
                true,
                true,
                Test::Done(vec![tested(3, 0, &[], Some("it hung up"))]),
                None,
                reason::NOT_TESTED,
            ),
            (
                &none,
                true,
                true,
                Test::Done(vec![tested(0, 0, &[], Some("refused")), tested(20, 1, &[], None)]),
                None,
                reason::NOT_TESTED,
            ),
        ] {
            let judged = condition(relay_from, &known(all_nodes), published, &test);
            assert_eq!(
                (judged.status, judged.reason.as_str()),
                (status, reason),
                "{test:?}"
            );
            assert_eq!(test.is_good(), judged.status == Some(true), "{test:?}");
        }
    }

    #[test]
    fn a_domain_that_takes_anybody_is_no_way_to_try() {
        let domain = |name: &str, recipients: serde_json::Value| -> Domain {
            let inbound =
                json!({"recipients": recipients, "deliverTo": {"lmtp": {"host": "h.example", "port": 24}}});
            serde_json::from_value(json!({"name": name, "inbound": inbound})).unwrap()
        };
        let any = domain("any.example", json!({"mode": "Any"}));
        let all = domain(
            "all.example",
            json!({"mode": "Listed", "catchAll": "a@all.example"}),
        );
        let listed = domain("listed.example", json!({"mode": "Listed", "addresses": ["a"]}));
        let sends: Domain = serde_json::from_value(json!({"name": "sends.example"})).unwrap();
        let host: DomainName = "mx.example".parse().unwrap();
        let found = |domains: &[Domain], host: &DomainName| -> Vec<String> {
            names(host, domains).iter().map(ToString::to_string).collect()
        };
        let domains = [any, all, sends, listed];
        assert_eq!(found(&domains, &host), ["mx.example", "listed.example"]);
        assert_eq!(found(&domains[..3], &host), ["mx.example"]);
        assert_eq!(
            found(&domains, &"any.example".parse().unwrap()),
            ["listed.example"]
        );
    }

    #[test]
    fn every_port_at_every_address_is_a_target() {
        let port = |name: &str, tls: &str| -> Port {
            serde_json::from_value(
                json!({"name": name, "address": "[::]:10025", "role": "Submission", "tls": tls}),
            )
            .unwrap()
        };
        let (plain, implicit) = (port("submission", "StartTls"), port("submissions", "Implicit"));
        let addresses = ["203.0.113.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let list = targets(&addresses, &[(587, &plain), (465, &implicit)]);
        let shown: Vec<_> = list
            .iter()
            .map(|target| (target.address.to_string(), target.implicit_tls))
            .collect();
        assert_eq!(
            shown,
            [
                ("203.0.113.1:587".into(), false),
                ("203.0.113.1:465".into(), true),
                ("[2001:db8::1]:587".into(), false),
                ("[2001:db8::1]:465".into(), true),
            ]
        );
    }
}
