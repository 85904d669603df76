//! Calm under a fault that stays: ten minutes on a paused clock, against an API in memory. Check 13 of the operator's contract.
#![expect(clippy::unwrap_used, reason = "a test")]

mod memory;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Parser;
use memory::{Fault, Memory, split};
use postroad_operator::args::Args;
use postroad_operator::manager;
use serde_json::{Value, json};

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

/// Runs the operator for this long, on the paused clock.
async fn run(memory: &Memory, time: Duration) {
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
    let ended = tokio::time::timeout(time, manager::run(args, memory.client(), std::future::pending())).await;
    assert!(ended.is_err(), "it ended by itself: {}", ended.unwrap());
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
