//! Objects of somebody else that are in the way: by their number, by our label, by their size. On a paused clock, against an API in memory.
#![expect(clippy::unwrap_used, reason = "a test")]

#[allow(dead_code, reason = "this test needs a part of it")]
mod memory;

use std::time::Duration;

use base64::Engine as _;
use clap::Parser;
use memory::Memory;
use postroad_operator::args::Args;
use postroad_operator::manager;
use serde_json::{Value, json};

const LISTENER: &str = "/apis/postroad.dev/v1alpha1/namespaces/mail/smtplisteners/edge";
const SET: &str = "/apis/apps/v1/namespaces/mail/statefulsets/edge";

fn listener(metadata: &Value, spec: &Value) -> (String, Value) {
    let mut object = json!({
        "apiVersion": "postroad.dev/v1alpha1", "kind": "SmtpListener",
        "metadata": {
            "name": "edge", "namespace": "mail", "uid": "00000000-0000-4000-8000-000000000000",
            "resourceVersion": "1", "generation": 1, "finalizers": ["postroad.dev/queue"],
        },
        "spec": {
            "hostname": "mx.example.com", "replicas": 1,
            "ports": [{"name": "smtp", "port": 25, "role": "Transfer", "tls": "Opportunistic"}],
            "tls": {"selfSigned": {}}, "queue": {"storage": {"size": "1Gi"}},
        },
    });
    for (part, more) in [("metadata", metadata), ("spec", spec)] {
        for (field, value) in more.as_object().unwrap() {
            object[part][field] = value.clone();
        }
    }
    (LISTENER.to_owned(), object)
}

/// An object of the core API of this namespace.
fn object(kind: &str, plural: &str, name: &str, labels: &Value, rest: &Value) -> (String, Value) {
    let mut object = json!({
        "apiVersion": "v1", "kind": kind,
        "metadata": {"name": name, "namespace": "mail", "uid": name, "resourceVersion": "1", "labels": labels},
    });
    for (field, value) in rest.as_object().unwrap() {
        object[field] = value.clone();
    }
    (format!("/api/v1/namespaces/mail/{plural}/{name}"), object)
}

/// An operator of one namespace.
async fn run(memory: &Memory) {
    operator(memory, &["--namespace", "mail"]).await;
}

async fn operator(memory: &Memory, more: &[&str]) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let words = [
        "operator",
        "--mta-image",
        "mta:1",
        "--http",
        "127.0.0.1:0",
        "--review-port",
        "0",
        "--resolver",
        "127.0.0.1:1",
    ];
    let args = Args::parse_from(words.iter().chain(more));
    let running = manager::run(args, memory.client(), std::future::pending());
    let ended = tokio::time::timeout(Duration::from_secs(20), running).await;
    assert!(ended.is_err(), "it ended by itself: {}", ended.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_claim_brings_no_pods_back_that_no_fleet_ever_had() {
    let ours = json!({"postroad.dev/listener": "edge"});
    let bound = json!({"spec": {}, "status": {"phase": "Bound"}});
    let names = [
        "queue-edge-2000000000",
        "queue-edge-2147483647",
        "queue-edge-07",
        "edge-5",
    ];
    let claims = names.map(|name| {
        object(
            "PersistentVolumeClaim",
            "persistentvolumeclaims",
            name,
            &ours,
            &bound,
        )
    });
    let memory = Memory::new(claims.into_iter().chain([listener(&json!({}), &json!({}))]), None);
    run(&memory).await;
    let set = memory.object(SET).expect("a StatefulSet");
    assert_eq!(set["spec"]["replicas"], 1);

    // One that a fleet may have had does.
    let claim = object(
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        "queue-edge-3",
        &ours,
        &bound,
    );
    let memory = Memory::new([claim, listener(&json!({}), &json!({}))], None);
    run(&memory).await;
    assert_eq!(memory.object(SET).expect("a StatefulSet")["spec"]["replicas"], 4);
}

/// Somebody took the label off the claim of a pod that is to leave.
#[tokio::test(start_paused = true)]
async fn a_pod_whose_claim_lost_its_label_stays_and_the_label_comes_back() {
    let ours = json!({"postroad.dev/listener": "edge", "app.kubernetes.io/managed-by": "postroad"});
    let (_, mut set) = object("StatefulSet", "statefulsets", "edge", &ours, &json!({}));
    set["apiVersion"] = json!("apps/v1");
    set["spec"] = json!({"replicas": 2, "serviceName": "edge-peers", "selector": {}, "template": {}});
    let pod = |name: &str| object("Pod", "pods", name, &ours, &json!({"spec": {"containers": []}}));
    let claim = |name: &str, labels: &Value| {
        let bound = json!({"spec": {}, "status": {"phase": "Bound"}});
        object(
            "PersistentVolumeClaim",
            "persistentvolumeclaims",
            name,
            labels,
            &bound,
        )
    };
    let bare = claim("queue-edge-1", &json!({}));
    let path = bare.0.clone();
    let objects = [
        (SET.to_owned(), set),
        pod("edge-0"),
        pod("edge-1"),
        claim("queue-edge-0", &ours),
        bare,
        listener(&json!({}), &json!({"replicas": 1})),
    ];
    let memory = Memory::new(objects, None);
    run(&memory).await;
    assert_eq!(memory.object(SET).expect("a StatefulSet")["spec"]["replicas"], 2);
    let claim = memory.object(&path).expect("the claim");
    assert_eq!(claim["metadata"]["labels"]["postroad.dev/listener"], "edge");
}

#[tokio::test(start_paused = true)]
async fn what_only_carries_our_label_outlives_the_listener() {
    let (name, by) = ("postroad.dev/listener", "app.kubernetes.io/managed-by");
    let secret = |secret: &str, labels: Value| {
        object(
            "Secret",
            "secrets",
            secret,
            &labels,
            &json!({"data": {"users": "eA=="}}),
        )
    };
    let theirs = secret("people", json!({name: "edge"}));
    let ours = secret("edge-ca", json!({name: "edge", by: "postroad"}));
    let pod = object(
        "Pod",
        "pods",
        "debug",
        &json!({name: "edge"}),
        &json!({"spec": {"containers": []}}),
    );
    let account = object(
        "ServiceAccount",
        "serviceaccounts",
        "edge-mta",
        &json!({name: "edge"}),
        &json!({}),
    );
    let (_, mut set) = object(
        "StatefulSet",
        "statefulsets",
        "edge",
        &json!({name: "edge"}),
        &json!({}),
    );
    set["apiVersion"] = json!("apps/v1");
    set["spec"] = json!({"serviceName": "theirs", "selector": {}, "template": {}});
    let paths = [&theirs.0, &pod.0, &account.0].map(Clone::clone);
    let gone = ours.0.clone();
    let ends = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
    let ending = listener(&ends, &json!({"deletionPolicy": "Discard"}));
    let objects = [theirs, ours, pod, account, (SET.to_owned(), set), ending];
    let memory = Memory::new(objects, None);
    run(&memory).await;
    assert!(memory.object(&gone).is_none(), "ours goes with the listener");
    for path in paths.iter().map(String::as_str).chain([SET]) {
        assert!(memory.object(path).is_some(), "{path} is gone");
    }
}

/// A domain with so many recipients.
fn domain(path: &str, domain: &str, recipients: usize) -> (String, Value) {
    let (namespace, name) = path.split_once('/').unwrap();
    let addresses: Vec<String> = (0..recipients).map(|number| format!("{number:064}")).collect();
    let object = json!({
        "apiVersion": "postroad.dev/v1alpha1", "kind": "MailDomain",
        "metadata": {"name": name, "namespace": namespace, "uid": path, "resourceVersion": "1", "generation": 1},
        "spec": {
            "domain": domain, "listenerRefs": [{"name": "edge", "namespace": "mail"}],
            "inbound": {
                "recipients": {"mode": "Listed", "addresses": addresses},
                "deliverTo": {"lmtp": {"host": "store.example", "port": 24}},
            },
            // No name server is asked: sockets know nothing of a paused clock.
            "dns": {"checks": {"mx": "Ignored", "spf": "Ignored", "dkim": "Ignored"}},
        },
    });
    let all = format!("/apis/postroad.dev/v1alpha1/namespaces/{namespace}/maildomains");
    (format!("{all}/{name}"), object)
}

/// Domains of these that are in the configuration.
fn served<'a>(memory: &Memory, names: &[&'a str]) -> Vec<&'a str> {
    let shards = memory
        .paths()
        .into_iter()
        .filter(|path| path.contains("/secrets/edge-domains-"));
    let texts: Vec<String> = shards
        .map(|path| {
            let secret = memory.object(&path).unwrap();
            let data = secret["data"].as_object().unwrap().values().next().unwrap();
            let text = base64::engine::general_purpose::STANDARD.decode(data.as_str().unwrap());
            String::from_utf8(text.unwrap()).unwrap()
        })
        .collect();
    let is_served = |name: &&&str| {
        let line = format!(" {name}\n");
        texts.iter().any(|text| text.contains(&line))
    };
    names.iter().filter(is_served).copied().collect()
}

/// Three large domains of one neighbour are of one shard, and more than it holds.
#[tokio::test(start_paused = true)]
async fn a_neighbour_whose_domains_do_not_fit_keeps_nobody_else_from_the_pods() {
    let large = ["d0.large.example", "d119.large.example", "d152.large.example"];
    let shards = large.map(|name| postroad_config::shard_of(&name.parse().unwrap()));
    assert_eq!(shards, [shards[0]; 3]);
    let attach = json!({"attach": {"from": "All", "domains": ["*.large.example", "a.crm.example"]}});
    let [first, second, third] = large;
    let objects = [
        listener(&json!({}), &attach),
        domain("mail/own", "own.example", 1),
        domain("crm/a", "a.crm.example", 1),
        domain("shop/one", first, 5_000),
        domain("shop/two", second, 5_000),
        domain("shop/three", third, 5_000),
    ];
    let memory = Memory::new(objects, None);
    operator(&memory, &[]).await;
    let names = ["own.example", "a.crm.example", first, second, third];
    assert_eq!(served(&memory, &names), ["own.example", "a.crm.example"]);
}
