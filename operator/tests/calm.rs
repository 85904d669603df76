//! Calm under a fault that stays, one object that cannot be read among many, watches that say nothing, and an API server that is
//! away: ten minutes on a paused clock, against an API in memory. Checks 5, 13, 14, 15 and 42 of the operator's contract.
#![expect(clippy::unwrap_used, reason = "a test")]

mod memory;

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use clap::Parser;
use memory::{Fault, Memory, split};
use postroad_operator::args::Args;
use postroad_operator::manager;
use serde_json::{Value, json};

/// Domains that can be read.
const GOOD: usize = 500;
const API: &str = "/apis/postroad.dev/v1alpha1/namespaces/mail";

fn listener() -> (String, Value) {
    let object = json!({
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
    (format!("{API}/smtplisteners/edge"), object)
}

fn domain(number: usize) -> (String, Value) {
    let name = format!("d{number}");
    let object = json!({
        "apiVersion": "postroad.dev/v1alpha1", "kind": "MailDomain",
        "metadata": {"name": name, "namespace": "mail", "uid": name, "resourceVersion": "1", "generation": 1},
        "spec": {
            "domain": format!("{name}.example"), "listenerRefs": [{"name": "edge"}],
            "inbound": {
                "recipients": {"mode": "Any"},
                "deliverTo": {"lmtp": {"host": "store.example", "port": 24}},
            },
            // No name server is asked: sockets know nothing of a paused clock.
            "dns": {"checks": {"mx": "Ignored", "spf": "Ignored", "dkim": "Ignored"}},
        },
    });
    (format!("{API}/maildomains/{name}"), object)
}

/// Runs the operator for this long, on the paused clock.
async fn run(memory: &Memory, time: Duration) {
    let ended = tokio::time::timeout(time, process(memory)).await;
    assert!(ended.is_err(), "it ended by itself: {}", ended.unwrap());
}

/// One process of the operator.
async fn process(memory: &Memory) -> manager::Ended {
    let args = Args::parse_from([
        "operator",
        "--mta-image",
        "mta:1",
        "--http",
        "127.0.0.1:0",
        "--review-port",
        "0",
        "--namespace",
        "mail",
        "--resolver",
        "127.0.0.1:1",
    ]);
    manager::run(args, memory.client(), std::future::pending()).await
}

/// The operator for this long, started again whenever it ends, as a kubelet does with a container. Gives the starts.
async fn kept_running(memory: &Memory, time: Duration) -> usize {
    let mut starts = 0;
    let forever = async {
        loop {
            starts += 1;
            process(memory).await;
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    };
    let ended: Result<(), _> = tokio::time::timeout(time, forever).await;
    assert!(ended.is_err());
    starts
}

/// The generation that the status of the listener is about.
fn observed(memory: &Memory) -> Option<i64> {
    let listener = memory.object(&format!("{API}/smtplisteners/edge/status"))?;
    listener["status"]["observedGeneration"].as_i64()
}

/// The listener as somebody changed it.
fn changed() -> (String, Value) {
    let (path, mut object) = listener();
    object["metadata"]["generation"] = json!(2);
    object["metadata"]["resourceVersion"] = json!("1000");
    object["spec"]["hostname"] = json!("mx2.example.com");
    (path, object)
}

/// Times that each object was asked for in this way.
fn counted(memory: &Memory, fault: Fault) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (method, path) in memory.seen() {
        if method == fault.method && split(&path).0 == fault.kind {
            *counts.entry(path).or_default() += 1;
        }
    }
    counts
}

/// Requests in ten minutes: of one object twelve. A kind as a whole is also watched, and a watch that cannot begin is tried anew
/// every half minute.
fn most(path: &str) -> usize {
    if split(path).1.is_empty() { 40 } else { 12 }
}

#[tokio::test(start_paused = true)]
async fn check_13_a_fault_that_stays_is_met_with_patience() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut impatient = Vec::new();
    for (method, kind) in [
        ("PATCH", "secrets"),
        ("PATCH", "serviceaccounts"),
        ("PATCH", "services"),
        ("PATCH", "poddisruptionbudgets"),
        ("PATCH", "statefulsets"),
        ("PATCH", "smtplisteners/status"),
        ("GET", "statefulsets"),
        ("GET", "pods"),
        ("GET", "persistentvolumeclaims"),
        ("GET", "secrets"),
    ] {
        for code in [403, 409, 500, 0] {
            let fault = Fault { method, kind, code };
            let memory = Memory::new([listener()], Some(fault));
            run(&memory, Duration::from_mins(10)).await;
            let counts = counted(&memory, fault);
            assert!(!counts.is_empty(), "{fault:?} was never met");
            impatient.extend(
                counts
                    .into_iter()
                    .filter(|(path, count)| *count > most(path))
                    .map(|found| (fault, found)),
            );
        }
    }
    assert!(
        impatient.is_empty(),
        "too many requests in ten minutes: {impatient:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn check_14_one_object_that_cannot_be_read_holds_up_nobody() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (path, mut unreadable) = domain(GOOD);
    unreadable["spec"]["domain"] = json!(17);
    let objects = (0..GOOD)
        .map(domain)
        .chain([listener(), (path.clone(), unreadable)]);
    let memory = Memory::new(objects, None);
    run(&memory, Duration::from_secs(10)).await;
    let told = memory
        .paths()
        .iter()
        .filter(|path| path.ends_with("/status") && path.contains("/maildomains/"))
        .count();
    assert_eq!(told, GOOD, "domains whose status was written");
    assert!(
        memory.object(&format!("{path}/status")).is_none(),
        "the one that cannot be read is left alone"
    );
    assert_eq!(served(&memory), GOOD, "domains in the configuration");
}

/// Watches of this server say nothing of what comes, changes and goes, and do not end either.
#[tokio::test(start_paused = true)]
async fn check_05_what_no_watch_told_is_found_by_the_next_list() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let memory = Memory::new([listener(), domain(1)], None);
    let happens = async {
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(observed(&memory), Some(1));
        assert_eq!(served(&memory), 1);
        memory.put(changed());
        memory.put(domain(2));
        memory.remove(&domain(1).0);
        // The list comes after ten minutes, and the listener is looked at again within half of one.
        tokio::time::sleep(Duration::from_mins(11)).await;
        assert_eq!(observed(&memory), Some(2), "the change of the listener");
        let told = memory.object(&format!("{}/status", domain(2).0));
        assert!(told.is_some(), "the domain that came");
        assert_eq!(
            (served(&memory), serves(&memory, 2)),
            (1, true),
            "the domain that went"
        );
    };
    tokio::select! {
        () = run(&memory, Duration::from_hours(1)) => {}
        () = happens => {}
    }
}

#[tokio::test(start_paused = true)]
async fn check_15_an_api_server_that_is_away_for_ten_minutes() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let memory = Memory::new([listener()], None);
    let happens = async {
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(observed(&memory), Some(1));
        memory.away(true);
        memory.put(changed());
        tokio::time::sleep(Duration::from_mins(10)).await;
        // Once in 15 seconds, and at the beginning what it was about to do.
        assert!(
            memory.missed() <= 60,
            "{} requests in ten minutes",
            memory.missed()
        );
        memory.away(false);
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(observed(&memory), Some(2), "half a minute after it came back");
    };
    tokio::select! {
        starts = kept_running(&memory, Duration::from_hours(1)) => assert_eq!(starts, 2),
        () = happens => {}
    }
}

/// Its pods never come, and nobody changes anything.
#[tokio::test(start_paused = true)]
async fn check_42_who_never_serves_is_looked_at_less_and_less() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let memory = Memory::new([listener()], None);
    run(&memory, Duration::from_mins(10)).await;
    let pods = "/api/v1/namespaces/mail/pods";
    let seen = memory.seen();
    let looks = seen
        .iter()
        .filter(|(method, path)| method == "GET" && path == pods);
    let looks = looks.count();
    // Every second of the first minute, and then every fifteenth in the end.
    assert!((60..=200).contains(&looks), "{looks} looks in ten minutes");
}

/// Domains in the configuration.
fn served(memory: &Memory) -> usize {
    let shards = memory
        .paths()
        .into_iter()
        .filter(|path| path.contains("/secrets/edge-domains-"));
    shards.map(|path| domains(&memory.object(&path).unwrap())).sum()
}

/// Whether this domain is in it.
fn serves(memory: &Memory, number: usize) -> bool {
    let mut shards = memory
        .paths()
        .into_iter()
        .filter(|path| path.contains("/secrets/edge-domains-"));
    shards.any(|path| text(&memory.object(&path).unwrap()).contains(&format!(" d{number}.example")))
}

/// The text of a shard.
fn text(secret: &Value) -> String {
    let data = secret["data"].as_object().unwrap().values().next().unwrap();
    let text = base64::engine::general_purpose::STANDARD
        .decode(data.as_str().unwrap())
        .unwrap();
    String::from_utf8(text).unwrap()
}

/// Domains in a shard of the configuration.
fn domains(secret: &Value) -> usize {
    let text = text(secret);
    (0..1_000)
        .filter(|number| text.contains(&format!(" d{number}.example")))
        .count()
}
