//! The annotation that fences pods off, from the listener to the configuration of the pods: on a paused clock, against an API in
//! memory.
#![expect(clippy::unwrap_used, reason = "a test")]

#[allow(dead_code, reason = "this test needs a part of it")]
mod memory;

use std::time::Duration;

use base64::Engine as _;
use clap::Parser;
use memory::Memory;
use postroad_config::ConfigFile;
use postroad_operator::args::Args;
use postroad_operator::manager;
use serde_json::{Value, json};

const LISTENER: &str = "/apis/postroad.dev/v1alpha1/namespaces/mail/smtplisteners/edge";
const BASE: &str = "/api/v1/namespaces/mail/secrets/edge-config";

/// What pods that are wanted twice are told of each other under these annotations.
async fn fenced(annotations: Value) -> Vec<String> {
    let listener = json!({
        "apiVersion": "postroad.dev/v1alpha1", "kind": "SmtpListener",
        "metadata": {
            "name": "edge", "namespace": "mail", "uid": "00000000-0000-4000-8000-000000000000",
            "resourceVersion": "1", "generation": 1, "finalizers": ["postroad.dev/queue"], "annotations": annotations,
        },
        "spec": {
            "hostname": "mx.example.com", "replicas": 2,
            "ports": [{"name": "smtp", "port": 25, "role": "Transfer", "tls": "Opportunistic"}],
            "tls": {"selfSigned": {}}, "queue": {"storage": {"size": "1Gi"}},
        },
    });
    let memory = Memory::new([(LISTENER.to_owned(), listener)], None);
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
    let running = manager::run(args, memory.client(), std::future::pending());
    assert!(
        tokio::time::timeout(Duration::from_secs(10), running)
            .await
            .is_err(),
        "it ended by itself"
    );
    let secret = memory.object(BASE).expect("a configuration");
    let encoded = secret["data"]["base.yaml"].as_str().unwrap();
    let text = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
    let text = String::from_utf8(text).unwrap();
    let file: ConfigFile = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(
        text.contains("fenced"),
        !file.peers.fenced.is_empty(),
        "a pod that does not know the field reads a file without it"
    );
    file.peers.fenced
}

#[tokio::test(start_paused = true)]
async fn pods_that_the_annotation_names_are_fenced_off_in_the_configuration_and_no_others() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    assert!(fenced(json!({})).await.is_empty());
    assert_eq!(fenced(json!({"postroad.dev/fenced": "1"})).await, ["edge-1"]);
    assert_eq!(
        fenced(json!({"postroad.dev/fenced": "all"})).await,
        ["edge-0", "edge-1"]
    );
    assert!(
        fenced(json!({"postroad.dev/fenced": "edge-2"})).await.is_empty(),
        "there is no such pod"
    );
}
