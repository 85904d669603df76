//! Checks 8, 16, 19, 23, 42 and 43: hasty edits, what is missing and comes later, foreign objects, quiet, and secrets that are
//! told to nobody.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::case::{Case, Verdict};
use crate::objects::{self, Objects};
use crate::operation::{Operation, Reference, listener, secret};
use crate::request::Verb;
use crate::rig::{Rig, World};
use crate::server::Said;

/// All cases.
pub fn cases(created: &Arc<Reference>) -> Vec<Case> {
    let mut cases = vec![];
    let mut add = |case| cases.push(case);
    let of = || created.clone();
    let reference = of();
    add(Case::new(
        "check_08_hasty_edits",
        "twice at once, and back",
        move |world| hasty(world, reference),
    ));
    let reference = of();
    add(Case::new(
        "check_16_a_missing_secret_is_picked_up",
        "the users' Secret",
        move |world| missing(world, reference),
    ));
    let reference = of();
    add(Case::new(
        "check_19_from_an_error_back_to_good",
        "a Secret that is not there",
        move |world| recovers(world, reference),
    ));
    let reference = of();
    add(Case::new(
        "check_19_from_an_error_back_to_good",
        "a pod template that is never admitted",
        move |world| admitted(world, reference),
    ));
    for name in created.objects.keys().filter(|name| may_be_foreign(name)) {
        let (reference, name) = (of(), name.clone());
        add(Case::new(
            "check_23_foreign_objects_stay",
            name.clone(),
            move |world| foreign(world, reference, name),
        ));
    }
    let reference = of();
    add(Case::new("check_42_idle_is_quiet", "60 s", move |world| {
        idle(world, reference)
    }));
    let reference = of();
    add(Case::new(
        "check_43_no_secret_is_told",
        "a canary in the users' Secret",
        move |world| canary(world, reference),
    ));
    cases
}

fn may_be_foreign(name: &str) -> bool {
    let kinds = [
        "statefulsets/",
        "services/",
        "secrets/",
        "serviceaccounts/",
        "poddisruptionbudgets/",
        "networkpolicies/",
    ];
    kinds.iter().any(|kind| name.starts_with(kind)) && name != "secrets/users"
}

async fn created(world: &World, reference: &Reference) -> Said<Rig> {
    let rig = Rig::new(world).await?;
    Operation::Create.prepare(&rig).await?;
    Operation::Create.act(&rig).await?;
    rig.reaches(&reference.objects).await?;
    Ok(rig)
}

async fn hasty(world: Arc<World>, reference: Arc<Reference>) -> Said<Verdict> {
    let rig = created(&world, &reference).await?;
    let path = rig.path("smtplisteners", "edge");
    let name = async |name: &str| rig.api.merge(&path, &json!({"spec": {"hostname": name}})).await;
    name("mx8.example.com").await?;
    name("mx9.example.com").await?;
    name("mx.example.com").await?;
    rig.reaches(&reference.objects).await?;
    Ok(Verdict::Held)
}

/// Status and reason of a condition of the listener.
async fn condition(rig: &Rig, kind: &str) -> Said<(String, String, String)> {
    let object = rig.api.get(&rig.path("smtplisteners", "edge")).await?;
    let conditions = object["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let found = conditions
        .into_iter()
        .find(|condition| condition["type"] == kind)
        .unwrap_or_default();
    let part = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
    Ok((part("status"), part("reason"), part("message")))
}

async fn says(rig: &Rig, reason: &str, word: &str) -> Said<()> {
    rig.until(&format!("Ready=False {reason}, naming {word}"), async |rig| {
        let (status, is, message) = condition(rig, "Ready").await?;
        Ok(status == "False" && is == reason && message.contains(word))
    })
    .await
}

async fn missing(world: Arc<World>, reference: Arc<Reference>) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    Operation::Create.act(&rig).await?;
    says(&rig, "SecretNotFound", "users").await?;
    rig.quiet(1).await?;
    let starts = rig.operator.starts();
    Operation::Create.prepare(&rig).await?;
    rig.reaches(&reference.objects).await?;
    if rig.operator.starts() != starts {
        return Err("it took a restart".into());
    }
    Ok(Verdict::Held)
}

async fn recovers(world: Arc<World>, reference: Arc<Reference>) -> Said<Verdict> {
    let rig = created(&world, &reference).await?;
    let before = rig.raw().await?;
    let path = rig.path("smtplisteners", "edge");
    let named = |name: &str| json!({"spec": {"authentication": {"users": {"secretRef": {"name": name}}}}});
    rig.api.merge(&path, &named("nobody")).await?;
    says(&rig, "SecretNotFound", "nobody").await?;
    rig.quiet(0).await?;
    // What ran goes on as it was.
    let now = rig.raw().await?;
    for name in ["statefulsets/edge", "secrets/edge-config", "services/edge"] {
        if before
            .get(name)
            .map(|object| &object["metadata"]["resourceVersion"])
            != now.get(name).map(|object| &object["metadata"]["resourceVersion"])
            && name != "statefulsets/edge"
        {
            return Err(format!("{name} was touched while the listener was wrong"));
        }
    }
    rig.api.merge(&path, &named("users")).await?;
    rig.reaches(&reference.objects).await?;
    Ok(Verdict::Held)
}

/// Pods that the API server refuses, whose StatefulSet tries on and on; then a template that it takes.
async fn admitted(world: Arc<World>, reference: Arc<Reference>) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    Operation::Create.prepare(&rig).await?;
    Operation::Create.act(&rig).await?;
    rig.reaches(&reference.objects).await?;
    let mut bad = listener();
    bad["spec"]["pod"] = json!({"priorityClassName": "nobody"});
    rig.put("smtplisteners", &bad).await?;
    rig.until("the StatefulSet has the bad template", async |rig| {
        let set = rig.api.get(&rig.path("statefulsets", "edge")).await?;
        Ok(set["spec"]["template"]["spec"]["priorityClassName"] == "nobody")
    })
    .await?;
    rig.api.delete(&rig.path("pods", "edge-1")).await?;
    rig.until("its pods are refused", async |rig| {
        let events = format!("/api/v1/namespaces/{}/events", rig.namespace);
        Ok(rig.api.get(&events).await?.to_string().contains("nobody"))
    })
    .await?;
    rig.put("smtplisteners", &listener()).await?;
    // Pods that never serve end no rollout: what the listener says of it is left out.
    let made = |mut objects: Objects| {
        objects.remove("smtplisteners/edge");
        objects
    };
    let wanted = made(reference.objects.clone());
    rig.until("all is made of the good template", async |rig| {
        Ok(objects::differences(&wanted, &made(rig.objects().await?)).is_empty())
    })
    .await?;
    rig.quiet(0).await?;
    Ok(Verdict::Held)
}

/// An object of that name is there already and somebody else's.
async fn foreign(world: Arc<World>, reference: Arc<Reference>, name: String) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    Operation::Create.prepare(&rig).await?;
    let (kind, object) = name.split_once('/').unwrap_or_default();
    rig.apply(kind, &theirs(kind, object)).await?;
    let path = rig.path(kind, object);
    let before = rig.api.get(&path).await?["metadata"].clone();
    rig.proxy.begin(Vec::new(), None);
    Operation::Create.act(&rig).await?;
    says(&rig, "ForeignObject", object).await?;
    rig.quiet(1).await?;
    // No operator writes to it, not even something that changes nothing.
    if let Some(seen) = rig.proxy.seen().iter().find(|seen| {
        seen.call.is_numbered()
            && seen.call.kind == kind
            && seen.call.name == object
            && seen.call.verb != Verb::Get
    }) {
        return Err(format!(
            "the operator wrote to it: {:?} {}",
            seen.call.verb, seen.path
        ));
    }
    let now = rig.api.get(&path).await?["metadata"].clone();
    if kind != "statefulsets" && now["resourceVersion"] != before["resourceVersion"]
        || now["uid"] != before["uid"]
    {
        return Err(format!("it was written: {now}"));
    }
    rig.api.delete(&path).await?;
    rig.reaches(&reference.objects).await?;
    Ok(Verdict::Held)
}

/// The smallest object of a kind that is not ours.
fn theirs(kind: &str, name: &str) -> Value {
    // A label of ours makes it no object of ours.
    let labels = json!({"example.com/owner": "another", "postroad.dev/listener": "edge"});
    let metadata = json!({"name": name, "labels": labels});
    let selector = json!({"matchLabels": {"app": "another"}});
    match kind {
        "statefulsets" => json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata,
            "spec": {"replicas": 0, "serviceName": "another", "selector": selector, "template": {
                "metadata": {"labels": {"app": "another"}},
                "spec": {"containers": [{"name": "x", "image": "example.com/x"}]}}},
        }),
        "services" => json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"selector": {"app": "another"}, "ports": [{"port": 80, "protocol": "TCP"}]},
        }),
        "secrets" => {
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"theirs": "eA=="}})
        }
        "serviceaccounts" => json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}),
        "poddisruptionbudgets" => json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata,
            "spec": {"maxUnavailable": 1, "selector": selector},
        }),
        _ => json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata,
            "spec": {"podSelector": selector, "policyTypes": ["Ingress"]},
        }),
    }
}

/// One minute without a write.
async fn idle(world: Arc<World>, reference: Arc<Reference>) -> Said<Verdict> {
    let rig = created(&world, &reference).await?;
    rig.proxy.begin(Vec::new(), None);
    tokio::time::sleep(Duration::from_mins(1)).await;
    match rig.proxy.seen().iter().find(|seen| seen.call.writes()) {
        Some(seen) => Err(format!("{:?} {}", seen.call.verb, seen.path)),
        None => Ok(Verdict::Held),
    }
}

/// What is in a Secret stands in no log, no Event, no status and no object but Secrets.
async fn canary(world: Arc<World>, reference: Arc<Reference>) -> Said<Verdict> {
    const CANARY: &str = "canary-of-a-verifier";
    let rig = created(&world, &reference).await?;
    // A line that cannot be read is the likeliest to be quoted.
    secret(&rig, "users", "users", &format!("shop {CANARY}")).await?;
    says(&rig, "SecretInvalid", "line 1").await?;
    Operation::Create.prepare(&rig).await?;
    rig.reaches(&reference.objects).await?;
    if rig.operator.log().contains(CANARY) {
        return Err("the log tells it".into());
    }
    let events = rig
        .api
        .get(&format!(
            "/apis/events.k8s.io/v1/namespaces/{}/events",
            rig.namespace
        ))
        .await?;
    let mut others = vec![("events".to_owned(), events)];
    others.extend(
        rig.raw()
            .await?
            .into_iter()
            .filter(|(name, _)| !name.starts_with("secrets/")),
    );
    match others
        .iter()
        .find(|(_, object)| object.to_string().contains(CANARY))
    {
        Some((name, _)) => Err(format!("{name} tells it")),
        None if rig.api.get(&rig.path("secrets", "users")).await?.is_object() => Ok(Verdict::Held),
        None => Err(format!(
            "the listener {} has no Secret",
            listener()["metadata"]["name"]
        )),
    }
}
