//! Flows against a rendered policy, by the rules of the NetworkPolicy API: those that mail needs pass, and a list of others does not.
//! The evaluator shares nothing with what renders.

use super::*;

/// The other end of a flow: labels of its namespace and of its pod; `None`: it is outside of the cluster.
type End = Option<(
    &'static [(&'static str, &'static str)],
    &'static [(&'static str, &'static str)],
)>;

const OUTSIDE: End = None;
const OWN: &str = "kubernetes.io/metadata.name";
const SIBLING: End = Some((&[(OWN, "mail")], &[("postroad.dev/listener", "edge")]));
const OTHER_LISTENER: End = Some((&[(OWN, "mail")], &[("postroad.dev/listener", "other")]));
const NAMESAKE: End = Some((&[(OWN, "shop")], &[("postroad.dev/listener", "edge")]));
const OPERATOR: End = Some((
    &[(OWN, "postroad")],
    &[("app.kubernetes.io/name", "postroad-operator")],
));
const SHOP: End = Some((&[(OWN, "shop")], &[("app", "shop")]));

fn selects(selector: &Value, labels: &[(&str, &str)]) -> bool {
    // An expression would be one that this does not know.
    assert!(selector["matchExpressions"].is_null());
    let wanted = selector["matchLabels"].as_object().into_iter().flatten();
    wanted
        .into_iter()
        .all(|(key, value)| labels.iter().any(|(k, v)| k == key && value == v))
}

fn is_peer(peer: &Value, own: &str, end: End) -> bool {
    assert!(peer["ipBlock"].is_null(), "an address block is not known here");
    let Some((namespace, pod)) = end else { return false };
    let in_namespace = match &peer["namespaceSelector"] {
        Value::Null => namespace.contains(&(OWN, own)),
        selector => selects(selector, namespace),
    };
    in_namespace && (peer["podSelector"].is_null() || selects(&peer["podSelector"], pod))
}

/// Whether a flow from or to a pod of the policy passes. Absent or empty peers are everybody, absent or empty ports are all.
fn passes(policy: &Value, way: &str, end: End, protocol: &str, port: i32) -> bool {
    let (rules, peers) = match way {
        "in" => ("ingress", "from"),
        _ => ("egress", "to"),
    };
    let own = policy["metadata"]["namespace"].as_str().unwrap();
    let any = |list: &Value, holds: &dyn Fn(&Value) -> bool| {
        let list = list.as_array().map_or(&[][..], Vec::as_slice);
        list.is_empty() || list.iter().any(holds)
    };
    let rules = policy["spec"][rules].as_array().unwrap();
    rules.iter().any(|rule| {
        any(&rule[peers], &|peer| is_peer(peer, own, end))
            && any(&rule["ports"], &|open| {
                let protocol_of = open["protocol"].as_str().unwrap_or("TCP");
                protocol_of == protocol && (open["port"].is_null() || open["port"] == port)
            })
    })
}

fn rendered() -> Value {
    let names = Names {
        namespace: "mail".into(),
        listener: "edge".into(),
    };
    let listener: SmtpListener = serde_json::from_value(json!({
        "apiVersion": "postroad.dev/v1alpha1", "kind": "SmtpListener", "metadata": {"name": "edge"},
        "spec": {
            "hostname": "mail.example.com", "queue": {"storage": {"size": "1Gi"}},
            "ports": [
                {"name": "smtp", "port": 25, "role": "Transfer", "tls": "Opportunistic"},
                {"name": "submission", "port": 587, "role": "Submission", "tls": "StartTls"},
            ],
        },
    }))
    .unwrap();
    let host = |port: u16| json!({"host": "h.example", "port": port});
    let policies: Vec<Policy> = serde_json::from_value(json!([{"name": "p", "routes": [
        {"to": {"smartHosts": [host(2525)]}, "tls": "Verified"}, {"to": {"direct": {}}, "tls": "Automatic"},
    ]}]))
    .unwrap();
    let domains: Vec<Domain> = serde_json::from_value(json!([{
        "name": "a.example", "inbound": {"recipients": {"mode": "Any"}, "deliverTo": {"lmtp": host(24)}},
    }]))
    .unwrap();
    let filters: Vec<Filter> =
        serde_json::from_value(json!([{"name": "a", "service": {"rspamd": host(11333)}}])).unwrap();
    let mail = mail_ports(&policies, &domains, &filters, &Reports::default(), true);
    let talk = Talk {
        mail: &mail,
        resolvers: &["10.0.0.1:5353".parse().unwrap()],
        operator: "postroad",
        reviews: Some(9443),
    };
    network_policy(&names, &listener, &[8080], talk, &json!({}))
}

#[test]
fn what_mail_needs_passes() {
    let policy = rendered();
    for (way, end, protocol, port) in [
        ("in", OUTSIDE, "TCP", 10_025),
        ("in", SHOP, "TCP", 10_587),
        ("in", OUTSIDE, "TCP", 8080),
        ("in", SIBLING, "TCP", 8443),
        ("in", OPERATOR, "TCP", 8443),
        ("out", OUTSIDE, "UDP", 53),
        ("out", OUTSIDE, "TCP", 53),
        ("out", OUTSIDE, "UDP", 5353),
        ("out", OUTSIDE, "TCP", 25),
        ("out", OUTSIDE, "TCP", 443),
        ("out", OUTSIDE, "TCP", 2525),
        ("out", SHOP, "TCP", 24),
        ("out", SHOP, "TCP", 11_333),
        ("out", OUTSIDE, "TCP", 8080),
        ("out", SIBLING, "TCP", 8443),
        ("out", SIBLING, "TCP", 10_587),
        ("out", OPERATOR, "TCP", 9443),
    ] {
        assert!(
            passes(&policy, way, end, protocol, port),
            "{way} {end:?} {protocol}/{port}"
        );
    }
}

#[test]
fn all_else_does_not() {
    let policy = rendered();
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    assert!(selects(&policy["spec"]["podSelector"], SIBLING.unwrap().1));
    assert!(!selects(
        &policy["spec"]["podSelector"],
        OTHER_LISTENER.unwrap().1
    ));
    for (way, end, protocol, port) in [
        // Admin endpoints are for the fleet and its operator.
        ("in", OUTSIDE, "TCP", 8443),
        ("in", SHOP, "TCP", 8443),
        ("in", OTHER_LISTENER, "TCP", 8443),
        ("in", NAMESAKE, "TCP", 8443),
        // Ports that are not served, and the Service's number of one that is.
        ("in", OUTSIDE, "TCP", 25),
        ("in", OUTSIDE, "TCP", 10_465),
        ("in", OUTSIDE, "UDP", 10_025),
        ("in", OUTSIDE, "TCP", 22),
        // Nothing that mail does not leave by: shells, databases, the metadata service, the API server.
        ("out", OUTSIDE, "TCP", 22),
        ("out", OUTSIDE, "TCP", 80),
        ("out", OUTSIDE, "TCP", 587),
        ("out", OUTSIDE, "UDP", 443),
        ("out", SHOP, "TCP", 5432),
        ("out", SHOP, "TCP", 8443),
        ("out", SHOP, "TCP", 9443),
        ("out", OUTSIDE, "TCP", 6443),
        ("out", OTHER_LISTENER, "TCP", 10_025),
        ("out", NAMESAKE, "TCP", 8443),
    ] {
        assert!(
            !passes(&policy, way, end, protocol, port),
            "{way} {end:?} {protocol}/{port}"
        );
    }
}
