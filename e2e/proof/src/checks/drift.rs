//! Checks 7, 26 and 27: what is owned is changed field by field, or deleted, and comes back; what others add stays.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::case::{Case, Verdict};
use crate::managed;
use crate::operation::{Operation, Reference};
use crate::rig::{REACHED, Rig, World};
use crate::server::Said;

/// Fields of one object that one case changes.
const CHUNK: usize = 12;

/// What an operator owns of a fresh listener, and how many chunks of fields each has.
pub fn cases(created: &Arc<Reference>) -> Vec<Case> {
    let owned: Vec<String> = created
        .objects
        .keys()
        .filter(|name| is_owned(name))
        .cloned()
        .collect();
    let mut cases = Vec::new();
    for name in &owned {
        for chunk in 0..chunks(&created.objects[name]) {
            let (name, reference) = (name.clone(), created.clone());
            let what = format!("{name}: fields from {}", chunk * CHUNK + 1);
            cases.push(Case::new(
                "check_26_every_owned_field_is_restored",
                what,
                move |world| mutated(world, reference, name, chunk),
            ));
        }
        for (check, down) in [
            ("check_27_an_owned_object_comes_back", false),
            ("check_07_deleted_while_the_operator_is_down", true),
        ] {
            let (name, reference) = (name.clone(), created.clone());
            cases.push(Case::new(check, name.clone(), move |world| {
                deleted(world, reference, vec![name], down)
            }));
        }
    }
    let reference = created.clone();
    cases.push(Case::new(
        "check_27_an_owned_object_comes_back",
        "all at once",
        move |world| deleted(world, reference, owned, false),
    ));
    let reference = created.clone();
    cases.push(Case::new(
        "check_26_what_others_add_stays",
        "labels and annotations of others",
        move |world| added(world, reference),
    ));
    for (what, also) in [
        ("its name and its ports", Also::Ports),
        (
            "its name, its ports, its image and where it mounts its volumes",
            Also::Everything,
        ),
    ] {
        let reference = created.clone();
        cases.push(Case::new(
            "check_26_our_container_is_known_under_another_name",
            what,
            move |world| disguised(world, reference, also),
        ));
    }
    for name in ["services/edge", "services/edge-peers"] {
        for (what, change) in [("a port is added", Port::Added), ("TCP becomes UDP", Port::Udp)] {
            let reference = created.clone();
            cases.push(Case::new(
                "check_26_ports_of_a_service_are_ours_alone",
                format!("{name}: {what}"),
                move |world| other_ports(world, reference, name, change),
            ));
        }
    }
    cases
}

/// What somebody changes of our container, beside its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Also {
    Ports,
    Everything,
}

/// Two daemons on one volume would break the spool. A sidecar of somebody that reads it stays.
async fn disguised(world: Arc<World>, reference: Arc<Reference>, also: Also) -> Said<Verdict> {
    let rig = place(&world, &reference).await?;
    let path = rig.path("statefulsets", "edge");
    let mut set = rig.api.get(&path).await?;
    let containers = set
        .pointer_mut("/spec/template/spec/containers")
        .and_then(Value::as_array_mut)
        .ok_or("no containers")?;
    let container = containers.first_mut().ok_or("no container")?;
    container["name"] = json!("theirs");
    container["ports"] = json!([{"name": "other", "containerPort": 9_999, "protocol": "TCP"}]);
    // They are about ports that it does not have any more.
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        container[probe] = Value::Null;
    }
    if also == Also::Everything {
        container["image"] = json!("theirs:1");
        for mount in container["volumeMounts"].as_array_mut().into_iter().flatten() {
            let elsewhere = format!("/elsewhere{}", mount["mountPath"].as_str().unwrap_or_default());
            mount["mountPath"] = json!(elsewhere);
        }
    }
    containers.push(json!({
        "name": "reader", "image": "reader:1",
        "volumeMounts": [{"name": "queue", "mountPath": "/spool", "readOnly": true}],
    }));
    rig.api.replace(&path, &set).await??;
    rig.until("ours is back alone, and the sidecar stays", async |rig| {
        let set = rig.api.get(&path).await?;
        let containers = set["spec"]["template"]["spec"]["containers"].as_array().cloned();
        let mut names: Vec<_> = containers
            .unwrap_or_default()
            .iter()
            .map(|container| container["name"].as_str().unwrap_or_default().to_owned())
            .collect();
        names.sort();
        Ok(names == ["mta", "reader"])
    })
    .await?;
    rig.quiet(0).await?;
    Ok(Verdict::Held)
}

/// What somebody does to the ports of a Service.
#[derive(Clone, Copy)]
enum Port {
    Added,
    Udp,
}

async fn other_ports(
    world: Arc<World>,
    reference: Arc<Reference>,
    name: &'static str,
    change: Port,
) -> Said<Verdict> {
    let rig = place(&world, &reference).await?;
    let (kind, object) = split(name);
    let path = rig.path(kind, object);
    let mut service = rig.api.get(&path).await?;
    match change {
        Port::Udp => service["spec"]["ports"][0]["protocol"] = json!("UDP"),
        Port::Added => {
            let theirs = json!({"name": "theirs", "port": 2525, "targetPort": 10_025, "protocol": "TCP"});
            let ports = service["spec"]["ports"].as_array_mut().ok_or("no ports")?;
            ports.push(theirs);
        }
    }
    let stored = rig.api.replace(&path, &service).await??;
    if stored["spec"]["ports"] != service["spec"]["ports"] {
        return Err(format!("the API server made it {}", stored["spec"]["ports"]));
    }
    rig.reaches(&reference.objects).await?;
    Ok(Verdict::Held)
}

/// Made by the operator, and kept by it. Pods and claims are the StatefulSet's.
fn is_owned(name: &str) -> bool {
    let kind = name.split('/').next().unwrap_or_default();
    !matches!(
        kind,
        "smtplisteners" | "maildomains" | "relaypolicies" | "pods" | "persistentvolumeclaims"
    ) && name != "secrets/users"
}

/// More than there will be is no harm: an empty one ends at once.
fn chunks(object: &Value) -> usize {
    crate::objects::leaves(object).len().div_ceil(CHUNK)
}

async fn place(world: &World, reference: &Reference) -> Said<Rig> {
    let rig = Rig::new(world).await?;
    Operation::Create.prepare(&rig).await?;
    Operation::Create.act(&rig).await?;
    rig.reaches(&reference.objects).await?;
    Ok(rig)
}

fn split(name: &str) -> (&str, &str) {
    name.split_once('/').unwrap_or((name, ""))
}

async fn mutated(world: Arc<World>, reference: Arc<Reference>, name: String, chunk: usize) -> Said<Verdict> {
    let rig = place(&world, &reference).await?;
    let (kind, object) = split(&name);
    let path = rig.path(kind, object);
    let fields = managed::fields(&rig.api.get(&path).await?, "postroad-operator");
    let fields: Vec<_> = fields.into_iter().skip(chunk * CHUNK).take(CHUNK).collect();
    if fields.is_empty() {
        return Ok(Verdict::Skipped("no such fields".into()));
    }
    let mut lost = Vec::new();
    for field in &fields {
        if let Some(problem) = change(&rig, &path, field).await? {
            lost.push(problem);
        }
    }
    if !lost.is_empty() {
        return Err(lost.join("; "));
    }
    // A pod too many leaves its claim behind: the operator deletes none.
    let mut wanted = reference.objects.clone();
    for (name, object) in rig.objects().await? {
        if name.starts_with("persistentvolumeclaims/") {
            wanted.entry(name).or_insert(object);
        }
    }
    rig.reaches(&wanted).await?;
    Ok(Verdict::Held)
}

/// Changes one field, in the first way that the API server takes. What is wrong with what the operator does then.
async fn change(rig: &Rig, path: &str, field: &str) -> Said<Option<String>> {
    let before = rig.api.get(path).await?;
    let Some(was) = before.pointer(field).cloned() else {
        return Ok(None);
    };
    for other in others(field, &was) {
        let mut object = rig.api.get(path).await?;
        let Some(place) = object.pointer_mut(field) else {
            return Ok(None);
        };
        *place = other.clone();
        let Ok(stored) = rig.api.replace(path, &object).await? else {
            continue;
        };
        let foreign = stored.pointer(field).cloned();
        if foreign.as_ref() == Some(&was) {
            continue;
        }
        return Ok(
            if comes(async || restored_now(rig, path, field, &was, foreign.as_ref()).await).await? {
                None
            } else {
                Some(format!("{field} is not restored from {other} to {was}"))
            },
        );
    }
    // No other value is taken: it cannot drift.
    Ok(None)
}

async fn restored_now(
    rig: &Rig,
    path: &str,
    field: &str,
    was: &Value,
    foreign: Option<&Value>,
) -> Said<bool> {
    let now = rig.api.find(path).await?.unwrap_or_default();
    // A key or certificate that was spoilt may be made anew.
    let renewed = path.contains("/secrets/") && field.starts_with("/data/");
    let value = now.pointer(field);
    Ok(value == Some(was) || renewed && value.is_some() && value != foreign)
}

/// Longest time until a field is restored: one reconcile of a quiet listener, and the computer may be busy.
const RESTORED: Duration = Duration::from_mins(1);

async fn comes(holds: impl AsyncFn() -> Said<bool>) -> Said<bool> {
    let started = Instant::now();
    while !holds().await? {
        if started.elapsed() > RESTORED {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(true)
}

/// Values that a field could be changed to.
fn others(field: &str, was: &Value) -> Vec<Value> {
    match was {
        Value::Bool(is) => vec![json!(!is)],
        Value::Number(number) => {
            let number = number.as_i64().unwrap_or_default();
            vec![json!(number + 1), json!(number - 1), json!(number + 100)]
        }
        Value::String(text) if field.starts_with("/data/") => {
            vec![json!("Zm9yZWlnbg=="), json!(format!("{text}AAAA"))]
        }
        Value::String(text) => {
            let words = [
                "2Gi",
                "75m",
                "RollingUpdate",
                "OnDelete",
                "Delete",
                "Retain",
                "UDP",
                "TCP",
                "NodePort",
                "ClusterIP",
                "OrderedReady",
                "Always",
                "IfHealthyBudget",
                "Unconfined",
                "OnRootMismatch",
                "IfNotPresent",
                "Ingress",
                "kubernetes.io/basic-auth",
            ];
            std::iter::once(json!(format!("{text}x")))
                .chain(words.iter().map(|word| json!(word)))
                .collect()
        }
        _ => Vec::new(),
    }
}

async fn deleted(
    world: Arc<World>,
    reference: Arc<Reference>,
    names: Vec<String>,
    down: bool,
) -> Said<Verdict> {
    let rig = place(&world, &reference).await?;
    let mut before = BTreeMap::new();
    for name in &names {
        let (kind, object) = split(name);
        let path = rig.path(kind, object);
        let found = rig.api.get(&path).await?;
        before.insert(path, found["metadata"]["uid"].clone());
    }
    if down {
        rig.operator.down().await;
    }
    for path in before.keys() {
        rig.api.delete(path).await?;
    }
    if down {
        rig.operator.up();
    }
    let started = Instant::now();
    for (path, uid) in &before {
        loop {
            let now = rig.api.find(path).await?;
            if now.is_some_and(|now| now["metadata"]["uid"] != *uid) {
                break;
            }
            if started.elapsed() > REACHED {
                return Err(format!("{path} does not come back"));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    rig.reaches(&reference.objects).await?;
    Ok(Verdict::Held)
}

/// Labels and annotations that somebody else adds are theirs.
async fn added(world: Arc<World>, reference: Arc<Reference>) -> Said<Verdict> {
    let rig = place(&world, &reference).await?;
    let foreign = json!({"metadata": {"labels": {"example.com/team": "post"}, "annotations": {"example.com/note": "kept"}}});
    let names: Vec<_> = reference.objects.keys().filter(|name| is_owned(name)).collect();
    for name in &names {
        let (kind, object) = split(name);
        rig.api.merge(&rig.path(kind, object), &foreign).await?;
    }
    // A change of the listener has the operator apply what it owns anew.
    rig.proxy.begin(Vec::new(), None);
    Operation::Rename.act(&rig).await?;
    rig.quiet(1).await?;
    for name in &names {
        let (kind, object) = split(name);
        let now = rig.api.get(&rig.path(kind, object)).await?;
        if now["metadata"]["labels"]["example.com/team"] != "post"
            || now["metadata"]["annotations"]["example.com/note"] != "kept"
        {
            return Err(format!("{name}: what another added is gone: {}", now["metadata"]));
        }
    }
    Ok(Verdict::Held)
}
