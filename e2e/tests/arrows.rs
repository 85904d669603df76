//! The arrows between the crates are the architecture. A new one fails here until it is drawn in the README and below.
#![expect(
    clippy::unwrap_used,
    reason = "a test: the functions that read cargo metadata may fail loudly"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Crate → the crates of the workspace that it may use.
const ALLOWED: &[(&str, &[&str])] = &[
    ("postroad-config", &[]),
    ("postroad-filter", &[]),
    ("postroad-smtp", &[]),
    ("postroad-spool", &[]),
    ("postroad-verify", &[]),
    (
        "postroad-fuzz",
        &[
            "postroad-config",
            "postroad-filter",
            "postroad-smtp",
            "postroad-spool",
            "postroad-verify",
        ],
    ),
    ("postroad-crds", &[]),
    (
        "postroad-mta",
        &[
            "postroad-config",
            "postroad-filter",
            "postroad-smtp",
            "postroad-spool",
            "postroad-verify",
        ],
    ),
    (
        "postroad-operator",
        &["postroad-config", "postroad-crds", "postroad-verify"],
    ),
    ("postroad-e2e", &["postroad-config", "postroad-crds"]),
    ("postroad-bench", &["postroad-config", "postroad-e2e"]),
    ("postroad-proof", &["postroad-config", "postroad-e2e"]),
    ("postroad-providers", &[]),
];

/// Nothing of the mail server knows Kubernetes.
const KUBERNETES: &[&str] = &["kube", "k8s-openapi", "schemars"];

fn metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Crate → every name in its manifest's dependencies, of whatever kind.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap().to_owned();
    metadata()["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            (
                name(package),
                package["dependencies"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(name)
                    .collect(),
            )
        })
        .collect()
}

#[test]
fn crates_use_each_other_only_as_drawn() {
    let dependencies = dependencies();
    let known: BTreeMap<_, BTreeSet<_>> = ALLOWED
        .iter()
        .map(|(from, to)| (*from, to.iter().copied().collect()))
        .collect();
    assert_eq!(
        dependencies.keys().map(String::as_str).collect::<Vec<_>>(),
        known.keys().copied().collect::<Vec<_>>(),
        "a crate came or went: draw it here and in the README"
    );
    for (from, uses) in &dependencies {
        for to in uses.iter().filter(|name| name.starts_with("postroad-")) {
            assert!(
                known[from.as_str()].contains(to.as_str()),
                "{from} may not use {to}"
            );
        }
    }
}

#[test]
fn the_mail_server_knows_nothing_of_kubernetes() {
    for (from, uses) in dependencies() {
        if matches!(
            from.as_str(),
            "postroad-crds" | "postroad-operator" | "postroad-e2e" | "postroad-bench" | "postroad-proof"
        ) {
            continue;
        }
        for kubernetes in KUBERNETES {
            assert!(!uses.contains(*kubernetes), "{from} may not use {kubernetes}");
        }
    }
}
