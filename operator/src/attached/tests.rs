use postroad_crds::SmtpListener;
use serde_json::{Value, json};

use super::*;
use crate::tenancy::Labels;

fn listener(name: &str, attach: &Value) -> SmtpListener {
    serde_json::from_value(json!({
        "apiVersion": "postroad.dev/v1alpha1", "kind": "SmtpListener",
        "metadata": {"name": name, "namespace": "mail"},
        "spec": {
            "hostname": "mx.example.com", "queue": {"storage": {"size": "1Gi"}}, "attach": attach,
            "ports": [{"name": "smtp", "port": 25, "role": "Transfer", "tls": "Disabled"}],
        },
    }))
    .unwrap()
}

fn nothing(_: &str) -> Labels {
    Labels::new()
}

fn object<T: serde::de::DeserializeOwned>(kind: &str, path: &str, created: &str, spec: &Value) -> Arc<T> {
    let (namespace, name) = path.split_once('/').unwrap();
    Arc::new(
        serde_json::from_value(json!({
            "apiVersion": "postroad.dev/v1alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": namespace, "uid": path, "generation": 1, "creationTimestamp": created},
            "spec": spec,
        }))
        .unwrap(),
    )
}

fn domain(path: &str, domain: &str, listener: &str, created: &str) -> Arc<MailDomain> {
    let reference = json!([{"name": listener, "namespace": "mail"}]);
    object(
        "MailDomain",
        path,
        created,
        &json!({"domain": domain, "listenerRefs": reference}),
    )
}

fn policy(path: &str, priority: i32, matches: &Value) -> Arc<RelayPolicy> {
    let spec = json!({
        "listenerRefs": [{"name": "edge", "namespace": "mail"}], "priority": priority, "match": matches,
        "routes": [{"direct": {}}],
    });
    object("RelayPolicy", path, "2026-01-01T00:00:00Z", &spec)
}

fn owners(attached: &Attached) -> Vec<String> {
    let path = |object: &MailDomain| format!("{}/{}", object.namespace().unwrap(), object.name_any());
    attached.domains.iter().map(|(object, _)| path(object)).collect()
}

fn names_of(attached: &Attached) -> Vec<&str> {
    attached
        .policies
        .iter()
        .map(|(_, policy)| policy.name.as_str())
        .collect()
}

#[test]
fn the_older_object_has_the_domain_and_the_other_is_told() {
    let old = domain("mail/old", "Example.com", "edge", "2026-01-01T00:00:00Z");
    let young = domain("mail/young", "example.com", "edge", "2026-01-02T00:00:00Z");
    let elsewhere = domain("mail/elsewhere", "example.com", "other", "2025-01-01T00:00:00Z");
    let all = [young.clone(), old.clone(), elsewhere.clone()];
    let (edge, other) = (listener("edge", &json!(null)), listener("other", &json!(null)));
    let (edge, other) = (Door::new(&edge, &nothing), Door::new(&other, &nothing));
    assert_eq!(owners(&attached(edge, &all, &[])), ["mail/old"]);
    assert_eq!(
        domain_winner(&young, &[edge], &all),
        Some(("edge".into(), "old".into()))
    );
    assert_eq!(domain_winner(&old, &[edge], &all), None);
    assert_eq!(domain_winner(&elsewhere, &[other], &all), None);
}

/// The same domain in other letters; the next takes over when the first goes, and says so no more.
#[test]
fn names_are_compared_as_a_labels_and_the_next_takes_over() {
    let edge = listener("edge", &json!(null));
    let edge = Door::new(&edge, &nothing);
    let first = domain("mail/z", "B\u{fc}cher.example", "edge", "2026-01-01T00:00:00Z");
    let second = domain("mail/a", "XN--bcher-kva.Example", "edge", "2026-01-02T00:00:00Z");
    let third = domain("mail/b", "xn--BCHER-kva.example", "edge", "2026-01-02T00:00:00Z");
    let mut all = vec![third.clone(), first, second.clone()];
    assert_eq!(owners(&attached(edge, &all, &[])), ["mail/z"]);
    assert_eq!(
        domain_winner(&second, &[edge], &all),
        Some(("edge".into(), "z".into()))
    );
    let before = fingerprint(&attached(edge, &all, &[]));
    let going = Arc::make_mut(&mut all[1]);
    going.metadata.deletion_timestamp = going.metadata.creation_timestamp.clone();
    assert_eq!(owners(&attached(edge, &all, &[])), ["mail/a"]);
    assert_eq!(domain_winner(&second, &[edge], &all), None);
    assert_eq!(
        domain_winner(&third, &[edge], &all),
        Some(("edge".into(), "a".into()))
    );
    assert_ne!(
        before,
        fingerprint(&attached(edge, &all, &[])),
        "the listener takes it up"
    );
}

/// A record in DNS opens for one domain what the owner has opened for the namespace.
#[test]
fn a_proven_domain_is_let_in() {
    let open = listener("edge", &json!({"from": "All", "domains": []}));
    let closed = listener("edge", &json!(null));
    let mut object = domain("shop/own", "Shop.example", "edge", "2026-01-01T00:00:00Z");
    let of = |listener: &SmtpListener, object: &Arc<MailDomain>| {
        owners(&attached(
            Door::new(listener, &nothing),
            std::slice::from_ref(object),
            &[],
        ))
    };
    assert!(of(&open, &object).is_empty());
    for (proof, want) in [("shop.example", true), ("other.example", false)] {
        let status = json!({"conditions": [], "proof": {"domain": proof, "seen": "2026-01-01T00:00:00Z"}});
        Arc::make_mut(&mut object).status = Some(serde_json::from_value(status).unwrap());
        assert_eq!(of(&open, &object).len() == 1, want, "{proof}");
        assert!(of(&closed, &object).is_empty());
    }
}

#[test]
fn a_wrong_object_and_one_of_another_namespace_change_nothing() {
    let wrong = domain("mail/wrong", "10.0.0.1", "edge", "2026-01-01T00:00:00Z");
    let good = domain("mail/good", "a.example", "edge", "2026-01-01T00:00:00Z");
    let foreign = domain("shop/foreign", "a.example", "edge", "2025-01-01T00:00:00Z");
    // Without a namespace it is a listener of the object's own.
    let own: Arc<MailDomain> = object(
        "MailDomain",
        "shop/own",
        "2026-01-01T00:00:00Z",
        &json!({"domain": "b.example", "listenerRefs": [{"name": "edge"}]}),
    );
    let closed = listener("edge", &json!(null));
    let door = Door::new(&closed, &nothing);
    assert_eq!(
        owners(&attached(door, &[wrong, good, foreign, own], &[])),
        ["mail/good"]
    );
}

#[test]
fn policies_stand_in_rank_order_and_the_fingerprint_moves_with_generations() {
    let closed = listener("edge", &json!(null));
    let door = Door::new(&closed, &nothing);
    let (low, high) = (
        policy("mail/low", 1, &json!(null)),
        policy("mail/high", 9, &json!(null)),
    );
    let served = attached(door, &[], &[low, high]);
    assert_eq!(names_of(&served), ["mail/high", "mail/low"]);
    let mut changed = served.clone();
    Arc::make_mut(&mut changed.policies[0].0).metadata.generation = Some(2);
    assert_ne!(fingerprint(&served), fingerprint(&changed));
}

/// What a hostile neighbour may write, all at once: a default route of the highest priority, and other people's domains.
#[test]
fn a_neighbour_changes_nothing_for_others() {
    let ours = [
        domain("mail/ours", "example.com", "edge", "2026-02-01T00:00:00Z"),
        domain(
            "mail/orders",
            "orders.shop.example",
            "edge",
            "2026-02-01T00:00:00Z",
        ),
    ];
    let theirs = [
        domain("shop/gmail", "gmail.com", "edge", "2025-01-01T00:00:00Z"),
        domain("shop/ours", "example.com", "edge", "2025-01-01T00:00:00Z"),
        domain(
            "shop/orders",
            "orders.shop.example",
            "edge",
            "2025-01-01T00:00:00Z",
        ),
        domain("shop/news", "news.shop.example", "edge", "2025-01-01T00:00:00Z"),
    ];
    let default = policy("mail/default", 0, &json!(null));
    let grab = policy("shop/grab", 1_000_000, &json!(null));
    let domains: Vec<_> = ours.iter().chain(&theirs).cloned().collect();
    let closed = listener("edge", &json!(null));
    let served = attached(
        Door::new(&closed, &nothing),
        &domains,
        &[grab.clone(), default.clone()],
    );
    assert_eq!(owners(&served), ["mail/ours", "mail/orders"], "nobody is let in");
    assert_eq!(names_of(&served), ["mail/default"]);
    let open = listener("edge", &json!({"from": "All", "domains": ["*.shop.example"]}));
    let door = Door::new(&open, &nothing);
    let served = attached(door, &domains, &[grab, default]);
    assert_eq!(
        owners(&served),
        ["mail/ours", "shop/news", "mail/orders"],
        "only what is given, and is not ours"
    );
    assert_eq!(names_of(&served), ["shop/grab", "mail/default"]);
    let within = served.policies[0].1.within.clone().unwrap();
    assert_eq!(within.namespace, "shop");
    assert_eq!(within.sender_domains, ["news.shop.example".parse().unwrap()]);
    assert_eq!(
        served.policies[1].1.within, None,
        "the default route is the listener's own"
    );
    assert_eq!(
        domain_winner(&theirs[2], &[door], &domains),
        Some(("edge".into(), "mail/orders".into()))
    );
}

/// What was written last: a domain and a policy.
fn last() -> ConfigFile {
    let text = "
format: 1
hostname: mx.example.com
spool: {directory: /var/spool/postroad}
ports: [{name: smtp, address: '127.0.0.1:2525', role: Transfer, tls: Disabled}]
domains:
  - name: example.com
    inbound: {recipients: {mode: Listed, addresses: [ann]}, deliverTo: {lmtp: {host: store, port: 24}}}
policies:
  - name: mail/out
    routes: [{to: {direct: {}}, tls: Opportunistic, limits: {connections: 2}}]
";
    postroad_config::assemble(text, &BTreeMap::new()).unwrap().file
}

/// The same object with a field that the schema lets pass and nobody can use.
fn spoilt_domain(path: &str) -> Arc<MailDomain> {
    let spec = json!({
        "domain": "example.com", "listenerRefs": [{"name": "edge", "namespace": "mail"}],
        "inbound": {
            "recipients": {"mode": "Listed", "addresses": ["ann"], "catchAll": "nobody"},
            "deliverTo": {"lmtp": {"host": "store", "port": 24}},
        },
    });
    object("MailDomain", path, "2026-01-01T00:00:00Z", &spec)
}

fn spoilt_policy() -> Arc<RelayPolicy> {
    policy("mail/out", 7, &json!({"senderDomains": ["10.1.2.3"]}))
}

#[test]
fn what_was_served_is_served_as_before_when_its_newest_spec_is_wrong() {
    let edge = listener("edge", &json!(null));
    let door = Door::new(&edge, &nothing);
    let (domains, policies) = ([spoilt_domain("mail/moor")], [spoilt_policy()]);
    let served = with_last(door, &domains, &policies, Some(&last()));
    assert_eq!(
        (owners(&served), names_of(&served)),
        (vec!["mail/moor".to_owned()], vec!["mail/out"])
    );
    let inbound = served.domains[0].1.inbound.as_ref().unwrap();
    assert_eq!(
        (inbound.recipients.addresses.len(), &inbound.recipients.catch_all),
        (1, &None)
    );
    assert_eq!(served.policies[0].1.routes, last().policies[0].routes);
    assert_eq!(
        lines(&served),
        Vec::<String>::new(),
        "nobody takes it for the newest spec"
    );
    assert!(served.keeps(&*domains[0]) && served.keeps(&*policies[0]));
    let never = attached(door, &domains, &policies);
    assert!(
        never.domains.is_empty() && never.policies.is_empty(),
        "what never was served is not"
    );
}

/// Its mail waits in its place, and not in that of a policy of its rank that can be used.
#[test]
fn a_new_policy_whose_routes_are_wrong_is_served_and_waits() {
    let edge = listener("edge", &json!(null));
    let door = Door::new(&edge, &nothing);
    let new = |path: &str, created: &str, provider: &Value| -> Arc<RelayPolicy> {
        let spec = json!({
            "listenerRefs": [{"name": "edge"}], "match": {"recipientDomains": ["a.example"]},
            "routes": [{"provider": provider}],
        });
        object("RelayPolicy", path, created, &spec)
    };
    let wrong = new(
        "mail/wrong",
        "2026-01-01T00:00:00Z",
        &json!({"name": "SendGrid", "tenant": "x"}),
    );
    let good = new("mail/good", "2026-02-01T00:00:00Z", &json!({"name": "SendGrid"}));
    let served = with_last(door, &[], std::slice::from_ref(&wrong), Some(&last()));
    assert_eq!(names_of(&served), ["mail/wrong"]);
    assert!(served.kept.is_empty() && waiting::waits(&served.policies[0].1));
    let both = [wrong, good];
    let served = with_last(door, &[], &both, Some(&last()));
    assert_eq!(names_of(&served), ["mail/good", "mail/wrong"]);
    let ranked = ranked(door, &[], &both);
    assert_eq!(ranked.len(), 1, "nobody loses to what cannot be used");
}

#[test]
fn a_wrong_spec_keeps_nothing_that_is_not_its_own() {
    let edge = listener("edge", &json!(null));
    let door = Door::new(&edge, &nothing);
    let good = domain("mail/good", "example.com", "edge", "2026-02-01T00:00:00Z");
    let served = with_last(
        door,
        &[spoilt_domain("mail/moor"), good.clone()],
        &[],
        Some(&last()),
    );
    assert_eq!(owners(&served), ["mail/good"]);
    assert!(served.kept.is_empty() && served.domains[0].1.inbound.is_none());
    let open = listener("edge", &json!({"from": "All"}));
    let foreign = [spoilt_domain("shop/moor")];
    let served = with_last(Door::new(&open, &nothing), &foreign, &[], Some(&last()));
    assert!(served.domains.is_empty(), "a neighbour's");
    let served = with_last(
        door,
        &[spoilt_domain("mail/a"), spoilt_domain("mail/b")],
        &[],
        Some(&last()),
    );
    assert_eq!(owners(&served), ["mail/a"], "one object for each name");
}
