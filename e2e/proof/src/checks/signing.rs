//! Checks 27 and 39: signing keys. A lost one is not made anew by itself, the pods go on with it, and it is picked up once it is
//! there again; a new one does not sign before its record is seen. (Killed while keys are made: checks 1 and 2.)

use std::sync::Arc;

use serde_json::{Value, json};

use crate::case::{Case, Verdict};
use crate::objects::Objects;
use crate::operation::{Operation, Reference};
use crate::rig::{Rig, World};
use crate::server::Said;

/// The Secret of the keys.
const SECRET: &str = "moor-dkim";

/// All cases. `signed`: how it goes when nothing is lost.
pub fn cases(signed: &Arc<Reference>) -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, loss) in [
        ("its Secret is deleted", Loss::Secret),
        ("it is taken out of its Secret", Loss::Entry),
        (
            "its Secret is deleted while the operator is down",
            Loss::WhileDown,
        ),
    ] {
        let reference = signed.clone();
        cases.push(Case::new(
            "check_27_a_lost_signing_key_is_not_made_anew",
            what,
            move |world| lost(world, reference, loss),
        ));
    }
    cases.push(Case::new(
        "check_39_a_key_does_not_sign_before_its_record_is_seen",
        "no name server answers",
        unseen,
    ));
    cases
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    Secret,
    Entry,
    WhileDown,
}

async fn lost(world: Arc<World>, signed: Arc<Reference>, loss: Loss) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    Operation::Sign.prepare(&rig).await?;
    Operation::Sign.act(&rig).await?;
    rig.reaches(&signed.objects).await?;
    let path = rig.path("secrets", SECRET);
    let kept = rig.api.get(&path).await?;
    let shards = shards(&rig).await?;
    if !shards.values().any(|text| text.to_string().contains("selector")) {
        return Err("the pods are told of no key".into());
    }
    if loss == Loss::WhileDown {
        rig.operator.down().await;
    }
    if loss == Loss::Entry {
        let entries = kept["data"].as_object().ok_or("a Secret without data")?;
        let entry = entries.keys().next().ok_or("a Secret without a key")?;
        rig.api.merge(&path, &json!({"data": {entry: null}})).await?;
    } else {
        rig.api.delete(&path).await?;
    }
    if loss == Loss::WhileDown {
        rig.operator.up();
    }
    says(&rig, "False", "KeysLost").await?;
    // Who starts anew has no key in memory, and must not make one either.
    rig.operator.down().await;
    rig.operator.up();
    rig.quiet(0).await?;
    let now = rig.api.find(&path).await?;
    let left = |secret: &Value| secret["data"].as_object().map_or(0, serde_json::Map::len);
    let wanted = usize::from(loss == Loss::Entry);
    if now.as_ref().map_or(0, left) != wanted {
        return Err(format!(
            "{SECRET} has other keys than the {wanted} that were left"
        ));
    }
    if self::shards(&rig).await? != shards {
        return Err("the pods are told of other keys".into());
    }
    says(&rig, "False", "KeysLost").await?;
    if loss == Loss::Entry {
        rig.api.merge(&path, &json!({"data": kept["data"]})).await?;
    } else {
        rig.api.create(&rig.path("secrets", ""), &restored(kept)).await?;
    }
    rig.reaches(&signed.objects).await?;
    if self::shards(&rig).await? != shards {
        return Err("the pods are told of other keys than before the loss".into());
    }
    Ok(Verdict::Held)
}

/// As a backup has it.
fn restored(mut secret: Value) -> Value {
    if let Some(metadata) = secret["metadata"].as_object_mut() {
        metadata.retain(|key, _| matches!(key.as_str(), "name" | "labels" | "ownerReferences"));
    }
    secret
}

/// The files with the domains, as they are stored.
async fn shards(rig: &Rig) -> Said<Objects> {
    let all = rig.raw().await?;
    let is_shard = |name: &String| name.starts_with("secrets/edge-domains-");
    let decoded = all.into_iter().filter(|(name, _)| is_shard(name));
    Ok(decoded
        .map(|(name, secret)| (name, crate::objects::texts(&secret["data"])))
        .collect())
}

async fn unseen(world: Arc<World>) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    Operation::Sign.prepare(&rig).await?;
    let before = shards(&rig).await?;
    rig.api
        .merge(&rig.path("maildomains", "moor"), &json!({"spec": {"dkim": {}}}))
        .await?;
    says(&rig, "False", "RecordNotSeen").await?;
    rig.quiet(1).await?;
    let domain = rig.api.get(&rig.path("maildomains", "moor")).await?;
    let keys = domain["status"]["dkim"]["keys"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if keys.len() != 2 || keys.iter().any(|key| key["state"] != "Pending") {
        return Err(format!("status.dkim.keys: {keys:?}"));
    }
    let rows = domain["status"]["records"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    for key in &keys {
        let name = format!(
            "{}._domainkey.moor.example",
            key["selector"].as_str().unwrap_or_default()
        );
        if !rows
            .iter()
            .any(|row| row["name"] == name.as_str() && row["expected"] != "")
        {
            return Err(format!("status.records does not say what to publish at {name}"));
        }
    }
    if shards(&rig).await? != before {
        return Err("the pods are told of a key whose record nobody has seen".into());
    }
    Ok(Verdict::Held)
}

async fn says(rig: &Rig, status: &str, reason: &str) -> Said<()> {
    rig.until(&format!("DKIMKeysCurrent={status}/{reason}"), async |rig| {
        let object = rig.api.get(&rig.path("maildomains", "moor")).await?;
        let conditions = object["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        Ok(conditions.iter().any(|condition| {
            condition["type"] == "DKIMKeysCurrent"
                && condition["status"] == status
                && condition["reason"] == reason
        }))
    })
    .await
}
