//! What is around a listener's pods: the Service in front of them, and the NetworkPolicy.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{Network, own_words};

/// The Service in front of the pods.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.externalTrafficPolicy) || self.type != 'ClusterIP'").message("service.externalTrafficPolicy: a Service of type ClusterIP has no traffic from outside; use NodePort or LoadBalancer"),
    validation = Rule::new("!has(self.loadBalancerClass) || self.type == 'LoadBalancer'").message("service.loadBalancerClass: only a Service of type LoadBalancer has one"),
    validation = Rule::new("!has(self.ipFamilies) || self.ipFamilies.size() < 2 || self.ipFamilies[0] != self.ipFamilies[1]").message("service.ipFamilies: the same family is given twice"),
    validation = Rule::new("!has(self.publicAddresses) || self.publicAddresses.all(a, isIP(a))").message("service.publicAddresses: each is an IP address"),
)]
#[serde(rename_all = "camelCase")]
pub struct ListenerService {
    /// Type of the Service.
    #[serde(default, rename = "type")]
    pub type_: ServiceType,
    /// Annotations of the Service, for the load balancer's controller.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub annotations: BTreeMap<String, String>,
    /// IP families, the first one first. Default: the cluster's. The first cannot be changed on a live Service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub ip_families: Vec<IpFamily>,
    /// Whether one family is enough. Default: `SingleStack`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = own_words)]
    pub ip_family_policy: Option<IpFamilyPolicy>,
    /// Where traffic from outside goes. Default `Cluster`. With `Local` the pods see the addresses of clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = own_words)]
    pub external_traffic_policy: Option<TrafficPolicy>,
    /// Where traffic from inside goes. Default `Cluster`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = own_words)]
    pub internal_traffic_policy: Option<TrafficPolicy>,
    /// Whose load balancer it is, where the cluster has several. It cannot be changed on a live Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    pub load_balancer_class: Option<String>,
    /// IP addresses that the world connects to, where the Service does not know them: nodes with public addresses, a load balancer
    /// outside of the cluster. They are what `status.addresses` says then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 2, max = 45)))]
    pub public_addresses: Vec<String>,
    /// Whether the load balancer says by the PROXY protocol who the client is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// Type of a Service.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceType {
    /// Reached inside the cluster.
    #[default]
    ClusterIP,
    /// Reached at a port of each node.
    NodePort,
    /// Reached through a load balancer.
    LoadBalancer,
}

/// A family of IP addresses.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpFamily {
    /// IPv4.
    IPv4,
    /// IPv6.
    IPv6,
}

/// Whether one family is enough.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpFamilyPolicy {
    /// One.
    SingleStack,
    /// Both, where the cluster has both.
    PreferDualStack,
    /// Both, or nothing.
    RequireDualStack,
}

/// Which pods traffic goes to.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// Pods on every node.
    Cluster,
    /// Pods on the node that it reached; a node without one takes none.
    Local,
}

/// The PROXY protocol (versions 1 and 2) on all ports.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("self.mode == 'Disabled' || (has(self.trustedSources) && size(self.trustedSources) > 0)").message("service.proxyProtocol: name the load balancers' networks in trustedSources; nobody else is believed"))]
#[serde(rename_all = "camelCase")]
pub struct ProxyProtocol {
    /// Whether connections begin with its header.
    #[serde(default)]
    pub mode: ProxyMode,
    /// Networks of the load balancers. Nobody else is believed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub trusted_sources: Vec<Network>,
}

/// Whether connections begin with a PROXY header.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyMode {
    /// None does.
    #[default]
    Disabled,
    /// Those of the trusted sources do; all others are taken for what they are.
    Optional,
    /// All do, and all come from the trusted sources; others are closed.
    Required,
}

/// A NetworkPolicy for the pods: in, the ports that they serve; out, DNS and the ports that mail leaves through. These come
/// from the attached policies and domains, and from the listener's filters, and follow them.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ListenerNetworkPolicy {
    /// Further ports (TCP) that pods may connect to: where a Service leads to another port than its own, the port of the pods
    /// behind it, which is what a NetworkPolicy judges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(range(min = 1, max = 65535)))]
    pub egress_ports: Vec<i32>,
}
