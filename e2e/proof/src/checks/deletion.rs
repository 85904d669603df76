//! Checks 6, 10, 30 and 31: listeners that come, go and come again; what is sent with a delete; finalizers.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::case::{Case, Verdict};
use crate::operation::{Operation, Reference, listener};
use crate::proxy::{Fault, Pick, Rule};
use crate::request::Verb;
use crate::rig::{Rig, World};
use crate::server::Said;

/// All cases. `references`: how each operation goes undisturbed.
pub fn cases(references: &[Arc<Reference>]) -> Vec<Case> {
    let mut cases = Vec::new();
    for reference in references {
        let of = reference.clone();
        let what = format!("{:?}", reference.operation);
        cases.push(Case::new(
            "check_10_deletes_carry_uid_and_version",
            what,
            move |world| exact(world, of),
        ));
    }
    let of = |operation| {
        references
            .iter()
            .find(|reference| reference.operation == operation)
            .cloned()
    };
    if let (Some(created), Some(deleted)) = (of(Operation::Create), of(Operation::Delete)) {
        let again = created.clone();
        cases.push(Case::new(
            "check_06_the_same_name_again_at_once",
            "create, delete, create",
            move |world| renewed(world, again),
        ));
        for (what, when) in [
            ("while the operator is down", When::Down),
            ("while it is created", When::Creating),
            ("while its pods are replaced", When::Upgrading),
            ("while a write is refused for good", When::Failing),
        ] {
            let deleted = deleted.clone();
            cases.push(Case::new("check_30_a_deletion_ends", what, move |world| {
                ends(world, deleted, when)
            }));
        }
        cases.push(Case::new(
            "check_31_finalizers",
            "ours first, foreign ones kept",
            move |world| finalizers(world, deleted),
        ));
    }
    cases
}

/// Every delete names the very object, and no name is left to the server.
async fn exact(world: Arc<World>, reference: Arc<Reference>) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    reference.operation.prepare(&rig).await?;
    rig.proxy.begin(Vec::new(), None);
    reference.operation.act(&rig).await?;
    rig.reaches(&reference.objects).await?;
    let mut deletes = 0;
    for seen in rig.proxy.seen() {
        let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
        if seen.call.verb == Verb::Delete {
            deletes += 1;
            let asked = &body["preconditions"];
            if seen.call.name.is_empty() || !asked["uid"].is_string() || !asked["resourceVersion"].is_string()
            {
                return Err(format!("{} is deleted with {asked}", seen.path));
            }
        }
        if seen.call.is_numbered() && body["metadata"]["generateName"].is_string() {
            return Err(format!("{} leaves the name to the server", seen.path));
        }
    }
    let must = matches!(
        reference.operation,
        Operation::Delete | Operation::Grow | Operation::Upgrade
    );
    if must && deletes == 0 {
        return Err("nothing was deleted".into());
    }
    Ok(Verdict::Held)
}

async fn renewed(world: Arc<World>, created: Arc<Reference>) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    Operation::Create.prepare(&rig).await?;
    Operation::Create.act(&rig).await?;
    let first = rig.api.get(&rig.path("smtplisteners", "edge")).await?["metadata"]["uid"].clone();
    rig.api.delete(&rig.path("smtplisteners", "edge")).await?;
    // The name is free when the finalizer went; a person who applies meanwhile writes to the one that ends.
    rig.until("the first listener is gone", async |rig| {
        Ok(rig.api.find(&rig.path("smtplisteners", "edge")).await?.is_none())
    })
    .await?;
    let second = rig.apply("smtplisteners", &listener()).await?["metadata"]["uid"].clone();
    if first == second {
        return Err("it is the same listener still".into());
    }
    rig.reaches(&created.objects).await?;
    for (name, object) in rig.raw().await? {
        let owners = object["metadata"]["ownerReferences"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        if owners.iter().any(|owner| owner["uid"] == first) {
            return Err(format!("{name} belongs to the listener that went"));
        }
    }
    Ok(Verdict::Held)
}

#[derive(Clone, Copy)]
enum When {
    Down,
    Creating,
    Upgrading,
    Failing,
}

async fn ends(world: Arc<World>, deleted: Arc<Reference>, when: When) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    match when {
        When::Down => {
            Operation::Delete.prepare(&rig).await?;
            rig.operator.down().await;
            Operation::Delete.act(&rig).await?;
            rig.operator.up();
            rig.reaches(&deleted.objects).await?;
            return Ok(Verdict::Held);
        }
        When::Creating => {
            Operation::Create.prepare(&rig).await?;
            rig.proxy.begin(Vec::new(), None);
            Operation::Create.act(&rig).await?;
            rig.until("some writes", async |rig| Ok(rig.proxy.writes() > 3))
                .await?;
        }
        When::Upgrading => {
            Operation::Upgrade.prepare(&rig).await?;
            rig.proxy.begin(Vec::new(), None);
            Operation::Upgrade.act(&rig).await?;
            rig.until("some writes", async |rig| Ok(rig.proxy.writes() > 2))
                .await?;
        }
        When::Failing => {
            Operation::Rename.prepare(&rig).await?;
            let rule = Rule {
                pick: Pick::Call(Verb::Patch, "services".into()),
                fault: Fault::Answer(403),
                times: usize::MAX,
            };
            rig.proxy.begin(vec![rule], None);
            // Changed by somebody, it is applied anew.
            let service = rig.path("services", "edge");
            rig.api
                .merge(&service, &json!({"spec": {"type": "NodePort"}}))
                .await?;
            rig.until("the listener says so", async |rig| {
                let listener = rig.api.get(&rig.path("smtplisteners", "edge")).await?;
                Ok(listener.to_string().contains("ApiError"))
            })
            .await?;
        }
    }
    Operation::Delete.act(&rig).await?;
    // Pods and their claims may not have been made at all: what may be left is less.
    rig.until("the listener is gone", async |rig| {
        Ok(rig.api.find(&rig.path("smtplisteners", "edge")).await?.is_none())
    })
    .await?;
    rig.quiet(0).await?;
    // What is owned is collected by the cluster, a moment later.
    rig.until("nothing of it is left", async |rig| {
        let left = rig.objects().await?;
        let is_left = |name: &String| {
            !deleted.objects.contains_key(name) && !name.starts_with("persistentvolumeclaims/")
        };
        Ok(!left.keys().any(is_left))
    })
    .await?;
    Ok(Verdict::Held)
}

async fn finalizers(world: Arc<World>, deleted: Arc<Reference>) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    Operation::Create.prepare(&rig).await?;
    rig.proxy.begin(Vec::new(), None);
    Operation::Create.act(&rig).await?;
    rig.quiet(1).await?;
    let seen = rig.proxy.seen();
    let first = seen
        .iter()
        .find(|seen| seen.call.is_numbered() && !seen.call.kind.ends_with("/status"));
    let first = first.map(|seen| {
        (
            seen.call.kind.clone(),
            String::from_utf8_lossy(&seen.body).into_owned(),
        )
    });
    if !first
        .as_ref()
        .is_some_and(|(kind, body)| kind == "smtplisteners" && body.contains("finalizers"))
    {
        return Err(format!("the first write is {first:?}"));
    }
    let path = rig.path("smtplisteners", "edge");
    let ours = rig.api.get(&path).await?["metadata"]["finalizers"].clone();
    let mut both = ours.as_array().cloned().unwrap_or_default();
    both.push(json!("example.com/another"));
    rig.api
        .merge(&path, &json!({"metadata": {"finalizers": both}}))
        .await?;
    Operation::Delete.act(&rig).await?;
    rig.until("ours alone goes", async |rig| {
        Ok(rig.api.get(&path).await?["metadata"]["finalizers"] == json!(["example.com/another"]))
    })
    .await?;
    rig.quiet(0).await?;
    rig.api
        .merge(&path, &json!({"metadata": {"finalizers": null}}))
        .await?;
    rig.reaches(&deleted.objects).await?;
    Ok(Verdict::Held)
}
