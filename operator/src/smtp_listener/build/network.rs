//! The NetworkPolicy of the pods: in, the ports that they serve; out, DNS, each other, and the ports that mail leaves through and
//! those of filters.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use postroad_config::{
    Deliver, Domain, Filter, FilterService, Policy, ReportMode, Reports, RouteTarget, TlsMode,
};
use postroad_crds::SmtpListener;
use serde_json::{Value, json};

use crate::smtp_listener::names::{LISTENER, Names, container_port};

/// Ports (TCP) that mail leaves through: 25 for mail by MX, which is the way of all that no policy takes, then smart hosts,
/// the hosts that received mail is delivered to, the addresses where tokens for smart hosts are given, and the one that MTA-STS
/// policies are fetched from (RFC 8461 section 3.3), which reports about TLS are posted to as well; and those of filters. `tls`: clients
/// may come inside TLS, and so ask for REQUIRETLS, for which such a policy is asked for whatever the route says.
pub fn mail_ports(
    policies: &[Policy],
    domains: &[Domain],
    filters: &[Filter],
    reports: &Reports,
    tls: bool,
) -> BTreeSet<u16> {
    let routes = policies.iter().flat_map(|policy| &policy.routes);
    let hops = routes.flat_map(|route| match &route.to {
        RouteTarget::Direct { .. } if route.tls == TlsMode::Automatic => vec![HTTPS],
        RouteTarget::Direct { .. } => Vec::new(),
        RouteTarget::SmartHosts(hosts) => hosts.iter().map(|host| host.port).collect(),
    });
    let stores = domains.iter().filter_map(|domain| domain.inbound.as_ref());
    let stores = stores.map(|inbound| match &inbound.deliver_to {
        Deliver::Lmtp(host) | Deliver::Smtp(host) => host.port,
    });
    let tokens = policies.iter().flat_map(|policy| &policy.routes);
    let tokens = tokens.filter_map(|route| route.credentials.as_ref()?.token_endpoint());
    let tokens = tokens.filter_map(|url| Some(postroad_config::token_endpoint(url).ok()?.port));
    let filters = filters.iter().filter_map(|filter| match &filter.service {
        FilterService::Rspamd(host) | FilterService::Milter(host) => Some(host.port),
        FilterService::MilterSocket(_) => None,
    });
    std::iter::once(25)
        .chain(tls.then_some(HTTPS))
        .chain(hops)
        .chain(stores)
        .chain(tokens)
        .chain(filters)
        .chain((reports.tls.mode == ReportMode::Daily).then_some(HTTPS))
        .collect()
}

const HTTPS: u16 = 443;

/// Whom the pods talk to.
#[derive(Clone, Copy, Debug)]
pub struct Talk<'a> {
    /// See [`mail_ports`].
    pub mail: &'a BTreeSet<u16>,
    /// DNS servers of the listener; empty = the pods' own.
    pub resolvers: &'a [SocketAddr],
    /// Namespace of the operator, which asks the pods how they are.
    pub operator: &'a str,
    /// Port of the operator that pods ask about tokens.
    pub reviews: Option<u16>,
}

/// Renders the policy.
pub fn network_policy(
    names: &Names,
    listener: &SmtpListener,
    further: &[i32],
    talk: Talk<'_>,
    owner: &Value,
) -> Value {
    let tcp = |port: i32| json!({"port": port, "protocol": "TCP"});
    let pods = json!({"matchLabels": {LISTENER: names.listener}});
    let served: Vec<Value> = listener
        .spec
        .ports
        .iter()
        .map(|port| tcp(container_port(port.port)))
        .collect();
    let mut dns: BTreeSet<u16> = talk.resolvers.iter().map(SocketAddr::port).collect();
    dns.insert(53);
    let dns: Vec<Value> = dns
        .into_iter()
        .flat_map(|port| {
            [
                json!({"port": port, "protocol": "UDP"}),
                json!({"port": port, "protocol": "TCP"}),
            ]
        })
        .collect();
    let mut out: BTreeSet<i32> = talk.mail.iter().map(|port| i32::from(*port)).collect();
    out.extend(further);
    let operator =
        json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": talk.operator}}});
    let reviews = talk
        .reviews
        .map(|port| json!({"to": [operator], "ports": [tcp(i32::from(port))]}));
    let mut policy = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {
            "name": names.listener, "namespace": names.namespace, "labels": names.labels(), "ownerReferences": [owner],
        },
        "spec": {
            "podSelector": pods,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"ports": served},
                // Health and metrics, for the node and whoever scrapes.
                {"ports": [tcp(8080)]},
                {
                    "from": [
                        {"podSelector": pods},
                        operator,
                    ],
                    "ports": [tcp(8443)],
                },
            ],
            "egress": [
                {"ports": dns},
                // Each other: hand-over, and the test of the ports by one of them.
                {"to": [{"podSelector": pods}], "ports": served.iter().cloned().chain([tcp(8443)]).collect::<Vec<_>>()},
                {"ports": out.into_iter().map(tcp).collect::<Vec<_>>()},
            ],
        },
    });
    if let (Some(rule), Some(egress)) = (reviews, policy["spec"]["egress"].as_array_mut()) {
        egress.push(rule);
    }
    policy
}

#[cfg(test)]
mod flows;

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(routes: &Value) -> Policy {
        serde_json::from_value(json!({"name": "p", "routes": routes})).unwrap()
    }

    fn domain(deliver: &Value) -> Domain {
        let inbound = json!({"recipients": {"mode": "Any"}, "deliverTo": deliver});
        serde_json::from_value(json!({"name": "a.example", "inbound": inbound})).unwrap()
    }

    #[test]
    fn the_ports_are_those_of_every_route_and_store() {
        let host = |port: u16| json!({"host": "h.example", "port": port});
        let policies = [
            policy(&json!([{"to": {"smartHosts": [host(2525), host(587)]}, "tls": "Verified"}])),
            policy(
                &json!([{"to": {"direct": {}}, "tls": "Opportunistic"}, {"to": {"smartHosts": [host(465)]}, "tls": "Verified"}]),
            ),
        ];
        let domains = [
            domain(&json!({"lmtp": host(24)})),
            domain(&json!({"smtp": host(1025)})),
        ];
        let filters: Vec<Filter> = serde_json::from_value(json!([
            {"name": "a", "service": {"rspamd": host(11333)}}, {"name": "b", "service": {"milter": host(7357)}},
            {"name": "c", "service": {"milterSocket": "/run/c.sock"}},
        ]))
        .unwrap();
        let none = Reports::default();
        let ports = mail_ports(&policies, &domains, &filters, &none, false);
        assert_eq!(
            ports.into_iter().collect::<Vec<_>>(),
            [24, 25, 465, 587, 1025, 2525, 7357, 11333]
        );
        let tokens = policy(&json!([{
            "to": {"smartHosts": [host(587)]}, "tls": "Verified",
            "credentials": {"oauthClient": {
                "user": "u", "clientId": "c", "tokenEndpoint": "https://login.example/token", "scope": "s", "proof": {"secret": "x"},
            }},
        }]));
        assert_eq!(
            mail_ports(&[tokens], &[], &[], &none, false)
                .into_iter()
                .collect::<Vec<_>>(),
            [25, 443, 587]
        );
        let automatic = policy(&json!([{"to": {"direct": {}}, "tls": "Automatic"}]));
        assert_eq!(
            mail_ports(&[automatic], &[], &[], &none, false)
                .into_iter()
                .collect::<Vec<_>>(),
            [25, 443]
        );
        let ports = |tls| {
            mail_ports(&[], &[], &[], &none, tls)
                .into_iter()
                .collect::<Vec<_>>()
        };
        assert_eq!((ports(false), ports(true)), (vec![25], vec![25, 443]));
        let mut reports = Reports::default();
        reports.tls.mode = ReportMode::Daily;
        let posting = mail_ports(&[], &[], &[], &reports, false);
        assert_eq!(posting.into_iter().collect::<Vec<_>>(), [25, 443]);
    }

    #[test]
    fn the_policy_opens_what_is_served_and_what_is_needed_and_nothing_else() {
        let names = Names {
            namespace: "mail".into(),
            listener: "edge".into(),
        };
        let listener: SmtpListener = serde_json::from_value(json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": "SmtpListener", "metadata": {"name": "edge"},
            "spec": {
                "hostname": "mail.example.com", "queue": {"storage": {"size": "1Gi"}},
                "ports": [
                    {"name": "smtp", "port": 25, "role": "Transfer", "tls": "Disabled"},
                    {"name": "alt", "port": 2525, "role": "Transfer", "tls": "Disabled"},
                ],
            },
        }))
        .unwrap();
        let mail = BTreeSet::from([25, 587]);
        let resolvers = ["10.0.0.1:5353".parse().unwrap()];
        let talk = Talk {
            mail: &mail,
            resolvers: &resolvers,
            operator: "postroad",
            reviews: Some(8443),
        };
        let policy = network_policy(&names, &listener, &[2424], talk, &json!({"uid": "u"}));
        let ports = |rule: &Value| -> Vec<String> {
            let ports = rule["ports"].as_array().unwrap().iter();
            ports
                .map(|port| format!("{}/{}", port["protocol"].as_str().unwrap(), port["port"]))
                .collect()
        };
        let rules = |way: &str| policy["spec"][way].as_array().unwrap().clone();
        let (ingress, egress) = (rules("ingress"), rules("egress"));
        assert_eq!(ports(&ingress[0]), ["TCP/10025", "TCP/2525"]);
        assert_eq!(ports(&ingress[1]), ["TCP/8080"]);
        assert_eq!(ports(&ingress[2]), ["TCP/8443"]);
        assert_eq!(
            ingress[2]["from"][1]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"],
            "postroad"
        );
        assert_eq!(ports(&egress[0]), ["UDP/53", "TCP/53", "UDP/5353", "TCP/5353"]);
        assert_eq!(ports(&egress[1]), ["TCP/10025", "TCP/2525", "TCP/8443"]);
        assert!(egress[1]["to"].is_array());
        assert_eq!(ports(&egress[2]), ["TCP/25", "TCP/587", "TCP/2424"]);
        assert_eq!(ports(&egress[3]), ["TCP/8443"]);
        assert_eq!(egress[3]["to"], json!([ingress[2]["from"][1]]));
        assert_eq!((ingress.len(), egress.len()), (3, 4));
        let without = network_policy(
            &names,
            &listener,
            &[2424],
            Talk {
                reviews: None,
                ..talk
            },
            &json!({}),
        );
        assert_eq!(without["spec"]["egress"].as_array().unwrap().len(), 3);
        assert_eq!(policy["metadata"]["ownerReferences"][0]["uid"], "u");
    }
}
