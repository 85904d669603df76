//! Addresses whose owner is known: nodes, pods of the listener, load balancers. Pure.
//!
//! A connection that comes from one of them is not what it seems: whoever stands behind it has lost his address on the way.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;

/// An address and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// For a sentence: `node node1`.
    pub owner: String,
    /// The address.
    pub address: IpAddr,
}

/// What is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Nodes; all of them where `all_nodes`, else those that the listener's pods run on.
    pub nodes: Vec<Place>,
    /// The nodes could be listed.
    pub all_nodes: bool,
    /// Pods of the listener.
    pub pods: Vec<Place>,
    /// Load balancers.
    pub balancers: Vec<Place>,
}

impl Known {
    /// Of what could be read. `nodes`: absent where they may not be listed. `published`: where a load balancer says that it is.
    pub fn of(nodes: Option<&[Place]>, pods: &[Pod], published: &[IpAddr]) -> Self {
        let hosts = || pods.iter().flat_map(hosts).collect();
        Self {
            nodes: nodes.map_or_else(hosts, <[Place]>::to_vec),
            all_nodes: nodes.is_some(),
            pods: pods.iter().flat_map(addresses).collect(),
            balancers: published
                .iter()
                .map(|address| place("the load balancer", *address))
                .collect(),
        }
    }

    /// Whose an address is that traffic from outside must not have.
    pub fn masked(&self, address: IpAddr) -> Option<&Place> {
        let address = address.to_canonical();
        let mut places = self.nodes.iter().chain(&self.balancers);
        places.find(|place| place.address == address)
    }

    /// An address of any kind in a network.
    pub fn inside(&self, network: &IpNet) -> Option<&Place> {
        let mut places = self.nodes.iter().chain(&self.balancers).chain(&self.pods);
        places.find(|place| network.contains(&place.address))
    }
}

/// Addresses that a node sends from: its own, and those that it has in its part of the pods' network (the network's own, as
/// tunnels have it, and the first, as bridges do).
pub fn node(node: &Node) -> Vec<Place> {
    let owner = format!("node {}", node.name_any());
    let status = node.status.as_ref();
    let own = status.and_then(|status| status.addresses.as_ref());
    let own = own
        .into_iter()
        .flatten()
        .filter_map(|address| address.address.parse().ok());
    let networks = node.spec.as_ref().and_then(|spec| spec.pod_cidrs.as_ref());
    let networks = networks
        .into_iter()
        .flatten()
        .filter_map(|network| network.parse::<IpNet>().ok());
    let gateways = networks.flat_map(|network| [Some(network.network()), network.hosts().next()]);
    let mut list: Vec<IpAddr> = own.chain(gateways.flatten()).collect();
    list.sort();
    list.dedup();
    list.into_iter().map(|address| place(&owner, address)).collect()
}

fn addresses(pod: &Pod) -> Vec<Place> {
    let owner = format!("pod {}", pod.name_any());
    let status = pod.status.as_ref();
    let many = status.and_then(|status| status.pod_ips.as_ref());
    let many = many.into_iter().flatten().map(|one| one.ip.as_str());
    let one = status.and_then(|status| status.pod_ip.as_deref());
    places(&owner, many.chain(one))
}

fn hosts(pod: &Pod) -> Vec<Place> {
    let status = pod.status.as_ref();
    let name = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let owner = format!("node {}", name.unwrap_or("of a pod"));
    let many = status.and_then(|status| status.host_ips.as_ref());
    let many = many.into_iter().flatten().map(|one| one.ip.as_str());
    let one = status.and_then(|status| status.host_ip.as_deref());
    places(&owner, many.chain(one))
}

fn places<'a>(owner: &str, texts: impl Iterator<Item = &'a str>) -> Vec<Place> {
    let mut list: Vec<IpAddr> = texts.filter_map(|text| text.parse().ok()).collect();
    list.sort();
    list.dedup();
    list.into_iter().map(|address| place(owner, address)).collect()
}

fn place(owner: &str, address: IpAddr) -> Place {
    Place {
        owner: owner.to_owned(),
        address,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(places: &[Place]) -> Vec<String> {
        places
            .iter()
            .map(|place| format!("{} {}", place.owner, place.address))
            .collect()
    }

    #[test]
    fn a_node_sends_from_its_own_addresses_and_from_those_in_the_pods_network() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "node1"}, "spec": {"podCIDRs": ["10.244.1.0/24", "odd"]},
            "status": {"addresses": [{"type": "Hostname", "address": "node1"}, {"type": "InternalIP", "address": "192.0.2.7"}]},
        }))
        .unwrap();
        assert_eq!(
            shown(&super::node(&node)),
            [
                "node node1 10.244.1.0",
                "node node1 10.244.1.1",
                "node node1 192.0.2.7"
            ]
        );
    }

    #[test]
    fn without_the_nodes_those_of_our_pods_are_known() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "edge-0"}, "spec": {"nodeName": "node2", "containers": []},
            "status": {"podIP": "10.244.2.5", "podIPs": [{"ip": "10.244.2.5"}, {"ip": "fd00::5"}], "hostIP": "192.0.2.8"},
        }))
        .unwrap();
        let balancer: IpAddr = "203.0.113.1".parse().unwrap();
        let known = Known::of(None, std::slice::from_ref(&pod), &[balancer]);
        assert!(!known.all_nodes);
        assert_eq!(shown(&known.nodes), ["node node2 192.0.2.8"]);
        assert_eq!(
            shown(&known.pods),
            ["pod edge-0 10.244.2.5", "pod edge-0 fd00::5"]
        );
        let masked = |text: &str| {
            known
                .masked(text.parse().unwrap())
                .map(|place| place.owner.clone())
        };
        assert_eq!(masked("::ffff:192.0.2.8"), Some("node node2".into()));
        assert_eq!(masked("203.0.113.1"), Some("the load balancer".into()));
        assert_eq!(masked("10.244.2.5"), None, "a pod is who it says");
        let inside = |text: &str| known.inside(&text.parse().unwrap()).is_some();
        assert!(inside("10.0.0.0/8") && inside("192.0.2.8/32") && inside("fd00::/16"));
        assert!(!inside("198.51.100.0/24") && !inside("10.244.2.6/32"));
        let listed = [place("node all", "192.0.2.9".parse().unwrap())];
        let known = Known::of(Some(&listed), std::slice::from_ref(&pod), &[]);
        assert_eq!((known.all_nodes, known.nodes.len()), (true, 1));
    }
}
