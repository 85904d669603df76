//! `ClientIPPreserved`: the pods see who connects, and not a node or a load balancer in his place. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use postroad_config::admin::NetworkState;
use postroad_crds::conditions::{CLIENT_IP_PRESERVED, NewCondition, reason};

use super::known::Known;

/// The condition. `outside`: the Service lets clients in from outside of the cluster.
pub fn condition(outside: bool, known: &Known, pods: &[(String, NetworkState)]) -> NewCondition {
    let condition =
        |status, reason, message: String| NewCondition::new(CLIENT_IP_PRESERVED, status, reason, message);
    let mut seen: BTreeMap<IpAddr, u64> = BTreeMap::new();
    for client in pods.iter().flat_map(|(_, state)| &state.clients) {
        *seen.entry(client.address.to_canonical()).or_default() += client.messages;
    }
    let masked: Vec<_> = seen
        .iter()
        .filter_map(|(address, messages)| Some((known.masked(*address)?, *messages)))
        .collect();
    let all: u64 = seen.values().sum();
    let lost: u64 = masked.iter().map(|(_, messages)| messages).sum();
    let Some((place, _)) = masked.iter().max_by_key(|(_, messages)| *messages) else {
        return match (all, known.all_nodes) {
            (0, _) => condition(
                None,
                reason::NO_TRAFFIC,
                "no message came in the last hour, or none could be asked for".into(),
            ),
            (_, false) => condition(
                None,
                reason::NODES_UNKNOWN,
                "the operator may not list nodes: whether one of them stands for its clients cannot be told"
                    .into(),
            ),
            (_, true) => condition(
                Some(true),
                reason::AS_WANTED,
                format!(
                    "{} clients of the last hour are no nodes of the cluster",
                    seen.len()
                ),
            ),
        };
    };
    // A few may be of programs on the nodes themselves.
    if lost * 2 < all {
        let message = format!(
            "{} of {all} messages of the last hour came from others than nodes",
            all - lost
        );
        return condition(Some(true), reason::AS_WANTED, message);
    }
    if !outside {
        let message = format!(
            "{lost} of {all} messages of the last hour came from {} ({}): programs on the nodes themselves look the same",
            place.owner, place.address
        );
        return condition(None, reason::SOURCE_IS_NODE, message);
    }
    let why = if known.balancers.contains(place) {
        reason::SOURCE_IS_LOAD_BALANCER
    } else {
        reason::SOURCE_IS_NODE
    };
    let message = format!(
        "{lost} of {all} messages of the last hour came from {} ({}), which stands in its clients' place; set \
         service.externalTrafficPolicy: Local, or service.proxyProtocol",
        place.owner, place.address
    );
    condition(Some(false), why, message)
}

#[cfg(test)]
mod tests {
    use postroad_config::admin::ClientSeen;

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

    fn pods(clients: &[(&str, u64)]) -> Vec<(String, NetworkState)> {
        let seen = |(address, messages): &(&str, u64)| ClientSeen {
            address: address.parse().unwrap(),
            messages: *messages,
        };
        let state = NetworkState {
            clients: clients.iter().map(seen).collect(),
            ..NetworkState::default()
        };
        vec![("edge-0".into(), state)]
    }

    #[test]
    fn whoever_stands_in_for_most_of_the_clients_is_named() {
        let (node, balancer, client, pod) = ("192.0.2.1", "203.0.113.1", "198.51.100.7", "10.244.1.5");
        for (outside, all_nodes, clients, status, reason, part) in [
            (true, true, vec![], None, reason::NO_TRAFFIC, ""),
            (
                true,
                true,
                vec![(client, 1)],
                Some(true),
                reason::AS_WANTED,
                "1 clients",
            ),
            (
                true,
                true,
                vec![(pod, 5)],
                Some(true),
                reason::AS_WANTED,
                "1 clients",
            ),
            (
                true,
                false,
                vec![(client, 1)],
                None,
                reason::NODES_UNKNOWN,
                "list nodes",
            ),
            (
                true,
                true,
                vec![(node, 5)],
                Some(false),
                reason::SOURCE_IS_NODE,
                "node node1 (192.0.2.1)",
            ),
            (
                true,
                false,
                vec![(node, 5)],
                Some(false),
                reason::SOURCE_IS_NODE,
                "5 of 5",
            ),
            (
                true,
                true,
                vec![(node, 1), (balancer, 4)],
                Some(false),
                reason::SOURCE_IS_LOAD_BALANCER,
                "203.0.113.1",
            ),
            (
                true,
                true,
                vec![(node, 5), (client, 5)],
                Some(false),
                reason::SOURCE_IS_NODE,
                "5 of 10",
            ),
            (
                true,
                true,
                vec![(node, 4), (client, 5)],
                Some(true),
                reason::AS_WANTED,
                "5 of 9",
            ),
            (
                false,
                true,
                vec![(node, 5)],
                None,
                reason::SOURCE_IS_NODE,
                "programs on the nodes",
            ),
            (false, true, vec![(pod, 5)], Some(true), reason::AS_WANTED, ""),
        ] {
            let judged = condition(outside, &known(all_nodes), &pods(&clients));
            assert_eq!(
                (judged.status, judged.reason.as_str()),
                (status, reason),
                "{clients:?}"
            );
            assert!(judged.message.contains(part), "{}", judged.message);
        }
    }
}
