//! Check 32: taken away in any order: the operator first, the namespace first, the definitions first. Nothing is stuck without
//! saying so, and no claim goes that was not asked for.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::case::{Case, Verdict};
use crate::operation::{Operation, Reference};
use crate::rig::{Rig, World};
use crate::server::{Said, Server};

/// All cases. `deleted`: what is left of a deletion that nothing disturbs.
pub fn cases(created: &Arc<Reference>, deleted: &Arc<Reference>) -> Vec<Case> {
    const CHECK: &str = "check_32_uninstalled_in_any_order";
    let (first, whole) = (deleted.clone(), created.clone());
    vec![
        Case::new(CHECK, "the operator first", move |world| {
            operator_first(world, first)
        }),
        Case::new(CHECK, "the namespace first", namespace_first),
        Case::new(CHECK, "the definitions first", move |world| {
            definitions_first(world, whole)
        }),
    ]
}

/// What a person does to a listener that waits for an operator that does not come back.
async fn give_up(rig: &Rig) -> Said<()> {
    let path = rig.path("smtplisteners", "edge");
    rig.api
        .merge(&path, &json!({"metadata": {"finalizers": null}}))
        .await
        .map(drop)
}

async fn operator_first(world: Arc<World>, deleted: Arc<Reference>) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    Operation::Delete.prepare(&rig).await?;
    rig.operator.down().await;
    Operation::Delete.act(&rig).await?;
    let path = rig.path("smtplisteners", "edge");
    let waiting = rig.api.get(&path).await?;
    if waiting["metadata"]["finalizers"] != json!(["postroad.dev/queue"]) {
        return Err(format!("the listener does not wait: {}", waiting["metadata"]));
    }
    let before = rig.raw().await?;
    give_up(&rig).await?;
    rig.until("the listener is gone, and what it owned", async |rig| {
        let gone = rig.api.find(&path).await?.is_none();
        Ok(gone && rig.api.find(&rig.path("services", "edge")).await?.is_none())
    })
    .await?;
    // The pods and their mail have no owner that went: they go on without an operator.
    let now = rig.raw().await?;
    for (name, object) in &before {
        let stays = name.starts_with("persistentvolumeclaims/")
            || name.starts_with("pods/")
            || name == "statefulsets/edge"
            || name == "secrets/edge-config";
        let same = now.get(name).map(|now| &now["metadata"]["uid"]) == Some(&object["metadata"]["uid"]);
        if stays && !same {
            return Err(format!("{name} went with the listener"));
        }
    }
    // An operator that is installed again leaves it alone until a listener of that name wants it.
    rig.operator.up();
    Operation::Create.act(&rig).await?;
    rig.until("the listener is the operator's again", async |rig| {
        let listener = rig.api.get(&path).await?;
        Ok(listener["metadata"]["finalizers"] == json!(["postroad.dev/queue"]))
    })
    .await?;
    Operation::Delete.act(&rig).await?;
    rig.reaches(&deleted.objects).await?;
    Ok(Verdict::Held)
}

async fn namespace_first(world: Arc<World>) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    Operation::Delete.prepare(&rig).await?;
    let path = format!("/api/v1/namespaces/{}", rig.namespace);
    rig.api.delete(&path).await?;
    let waits = |namespace: &Value| {
        let conditions = namespace["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        conditions.iter().any(|condition| {
            condition["type"] == "NamespaceFinalizersRemaining"
                && condition["status"] == "True"
                && condition["message"]
                    .as_str()
                    .is_some_and(|message| message.contains("postroad.dev/queue"))
        })
    };
    // The operator of a namespace loses its permissions with it, so it may not get to the end.
    rig.until("the namespace is gone, or says what it waits for", async |rig| {
        let namespace = rig.api.find(&path).await?;
        Ok(namespace.is_none_or(|namespace| waits(&namespace)))
    })
    .await?;
    if rig.api.find(&path).await?.is_some()
        && rig.api.find(&rig.path("smtplisteners", "edge")).await?.is_some()
    {
        give_up(&rig).await?;
    }
    rig.until("the namespace is gone", async |rig| {
        Ok(rig.api.find(&path).await?.is_none())
    })
    .await?;
    Ok(Verdict::Held)
}

/// The definitions.
const OURS: [&str; 3] = ["smtplisteners", "maildomains", "relaypolicies"];

/// On a server of its own: the definitions are everybody's.
async fn definitions_first(world: Arc<World>, created: Arc<Reference>) -> Said<Verdict> {
    let own = World::new(Server::start().await?, world.program.clone(), None);
    let rig = Rig::new(&own).await?;
    Operation::Delete.prepare(&rig).await?;
    let claims = |objects: &crate::objects::Objects| {
        let claims = objects
            .iter()
            .filter(|(name, _)| name.starts_with("persistentvolumeclaims/"));
        claims
            .map(|(name, object)| (name.clone(), object["metadata"]["uid"].clone()))
            .collect::<Vec<_>>()
    };
    let before = claims(&rig.raw().await?);
    if before.is_empty() {
        return Err("there are no claims".into());
    }
    let starts = rig.operator.starts();
    let definition =
        |kind: &str| format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind}.postroad.dev");
    for kind in OURS {
        rig.api.delete(&definition(kind)).await?;
    }
    rig.until(
        "the definitions are gone, as the listener was let go",
        async |rig| {
            for kind in OURS {
                if rig.api.find(&definition(kind)).await?.is_some() {
                    return Ok(false);
                }
            }
            Ok(true)
        },
    )
    .await?;
    if rig.api.find(&rig.path("statefulsets", "edge")).await?.is_some() {
        return Err("the pods were left behind".into());
    }
    own.server.define()?;
    // An API server takes its time until it stores objects of a new definition.
    rig.until("objects are taken again", async |rig| {
        Ok(Operation::Create.act(rig).await.is_ok())
    })
    .await?;
    rig.reaches(&created.objects).await?;
    if rig.operator.starts() != starts {
        return Err("it took a restart".into());
    }
    if claims(&rig.raw().await?) != before {
        return Err("claims went with the definitions".into());
    }
    Ok(Verdict::Held)
}
