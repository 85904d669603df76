//! Check 26: a mutating webhook of the cluster labels what the operator owns, puts a sidecar beside its containers and changes the
//! image. What it did stays, and the operator does not fight it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::case::{Case, Verdict};
use crate::operation::Operation;
use crate::rig::{Rig, World};
use crate::server::Said;
use crate::webhook::{LABEL, MIRROR, SIDECAR, Webhook};

/// One case.
pub fn cases() -> Vec<Case> {
    vec![Case::new(
        "check_26_a_mutating_webhook_is_not_fought",
        "labels, a sidecar, images of a mirror",
        changed,
    )]
}

async fn changed(world: Arc<World>) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    let webhook = Webhook::start(&rig).await?;
    let verdict = under(&rig).await;
    webhook.end(&rig).await?;
    verdict.map(|()| Verdict::Held)
}

async fn under(rig: &Rig) -> Said<()> {
    // As it is made, at rest, after a change, and by an operator that knows nothing of before.
    Operation::ScaleUp.prepare(rig).await?;
    let pods = looked_at(rig).await?;
    rig.proxy.begin(Vec::new(), None);
    Operation::Rename.act(rig).await?;
    rig.quiet(1).await?;
    if looked_at(rig).await? != pods {
        return Err("pods were replaced for another host name".into());
    }
    rig.operator.down().await;
    rig.proxy.begin(Vec::new(), None);
    rig.operator.up();
    rig.quiet(1).await?;
    if looked_at(rig).await? != pods {
        return Err("pods were replaced by a restart".into());
    }
    Ok(())
}

/// What the webhook did is there. Gives the pods with their identities.
async fn looked_at(rig: &Rig) -> Said<BTreeMap<String, Value>> {
    let mut pods = BTreeMap::new();
    for (name, object) in rig.raw().await? {
        let kind = name.split('/').next().unwrap_or_default();
        let spec = match kind {
            "smtplisteners" | "maildomains" | "relaypolicies" => continue,
            "pods" => &object["spec"],
            _ => &object["spec"]["template"]["spec"],
        };
        if object["metadata"]["labels"][LABEL] != "platform" {
            return Err(format!("{name} lost the label: {}", object["metadata"]["labels"]));
        }
        if matches!(kind, "pods" | "statefulsets") {
            let containers = spec["containers"].as_array().cloned().unwrap_or_default();
            let is_of_mirror = |container: &Value| {
                let image = container["image"].as_str();
                image.is_some_and(|image| image.starts_with(MIRROR))
            };
            let has_sidecar = containers.iter().any(|container| container["name"] == SIDECAR);
            if containers.len() != 2 || !has_sidecar || !containers.iter().all(is_of_mirror) {
                return Err(format!("{name} has the containers {containers:?}"));
            }
        }
        if kind == "pods" {
            pods.insert(name, object["metadata"]["uid"].clone());
        }
    }
    if pods.len() == 2 {
        Ok(pods)
    } else {
        Err(format!("two pods are wanted, and {pods:?} are there"))
    }
}
