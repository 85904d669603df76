//! Installing the chart from the tree, with the images that were just built.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::images::Product;
use crate::kubectl::{Namespace, Outcome};
use crate::place;

/// The release and its namespace.
pub const RELEASE: &str = "postroad";
/// Where the operator runs.
pub const NAMESPACE: &str = "postroad-system";

/// Installs or upgrades the chart and waits until the operator is ready. `resolver` = where it asks for name servers.
pub fn install(cluster: &Cluster, product: &Product, resolver: &str) -> Outcome {
    Namespace::new(cluster, NAMESPACE).create("restricted")?;
    let chart = place::tree().join("charts/postroad");
    let chart = chart.to_string_lossy();
    let flags = ["upgrade", "--install", RELEASE, &chart, "--namespace", NAMESPACE];
    let mut values = vec![
        format!("image.operator.repository={}", product.operator.repository),
        format!("image.operator.tag={}", product.operator.tag),
        format!("image.mta.repository={}", product.mta.repository),
        format!("image.mta.tag={}", product.mta.tag),
        "rbac.clusterSecrets=true".to_owned(),
        "crds.keep=false".to_owned(),
        format!("dns.resolvers={{{resolver}}}"),
    ];
    if cluster.is_local() {
        // Not on the node whose plug is pulled: Kubernetes would not move it for five minutes.
        values.push("operator.nodeSelector.kubernetes\\.io/hostname=node1".to_owned());
    }
    let mut shell = cluster
        .helm(flags)
        .args(["--wait", "--timeout", "3m"])
        .limit(Duration::from_mins(4));
    for value in &values {
        // Tags are hexadecimal and may look like a number: they are strings.
        let option = if value.contains(".tag=") {
            "--set-string"
        } else {
            "--set"
        };
        shell = shell.args([option, value]);
    }
    if let Err(error) = shell.run() {
        eprintln!("{}", Namespace::new(cluster, NAMESPACE).dump());
        return Err(error.into());
    }
    Ok(())
}

/// Removes the release, its custom resource definitions and its namespace.
pub fn remove(cluster: &Cluster) -> Outcome {
    let flags = [
        "uninstall",
        RELEASE,
        "--namespace",
        NAMESPACE,
        "--ignore-not-found",
        "--wait",
    ];
    cluster.helm(flags).run()?;
    Namespace::new(cluster, NAMESPACE).delete()
}

/// Everything about the operator that helps to understand a failure.
pub fn operator_log(cluster: &Cluster) -> String {
    let namespace = Namespace::new(cluster, NAMESPACE);
    let log = namespace.kubectl([
        "logs",
        "--selector=app.kubernetes.io/name=postroad-operator",
        "--tail=80",
    ]);
    log.unwrap_or_else(|error| error.to_string())
}
