//! Check 35: a configuration is in force when the pods say so. One that they refuse is said, with the cause, in the words of the pod;
//! what they had stays in force, and what they take later mends it. A daemon of the harness stands in for that of each pod.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::case::{Case, Verdict};
use crate::daemon::Daemon;
use crate::rig::{Rig, World};
use crate::server::Said;

/// All cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "check_35_a_configuration_that_pods_refuse",
            "both refuse it, then what follows is taken",
            |world| refused(world, &[0, 1]),
        ),
        Case::new(
            "check_35_a_configuration_that_pods_refuse",
            "one of two refuses it, as the older of two versions does",
            |world| refused(world, &[1]),
        ),
    ]
}

/// What a pod says of it.
const CAUSE: &str = "hostname: this daemon knows no such name";

/// A listener whose pods need no certificate.
pub fn plain_listener() -> Value {
    json!({
        "apiVersion": "postroad.dev/v1alpha1", "kind": "SmtpListener", "metadata": {"name": "edge"},
        "spec": {
            "hostname": "mx.example.com", "replicas": 2,
            "ports": [{"name": "smtp", "port": 25, "role": "Transfer", "tls": "Disabled"}],
            "queue": {"storage": {"size": "1Gi"}},
        },
    })
}

/// A domain that is ready once the pods have it.
fn domain(name: &str) -> Value {
    json!({
        "apiVersion": "postroad.dev/v1alpha1", "kind": "MailDomain", "metadata": {"name": name},
        "spec": {
            "domain": format!("{name}.example"), "listenerRefs": [{"name": "edge"}],
            "inbound": {"recipients": {"mode": "Any"}, "deliverTo": {"lmtp": {"host": "store.example", "port": 24}}},
            "dns": {"checks": {"mx": "Ignored", "spf": "Ignored", "dkim": "Ignored"}},
        },
    })
}

/// Status, reason and message of a condition that is about the newest generation.
pub async fn condition(rig: &Rig, kind: &str, name: &str, of: &str) -> Said<[String; 3]> {
    let object = rig.api.get(&rig.path(kind, name)).await?;
    let is_now = object["status"]["observedGeneration"] == object["metadata"]["generation"];
    let mut all = object["status"]["conditions"].as_array().into_iter().flatten();
    let found = all
        .find(|known| is_now && known["type"] == of)
        .cloned()
        .unwrap_or_default();
    Ok(["status", "reason", "message"].map(|part| found[part].as_str().unwrap_or_default().to_owned()))
}

/// Whether a condition has this status.
pub async fn is(rig: &Rig, kind: &str, name: &str, of: &str, wanted: &str) -> Said<bool> {
    Ok(condition(rig, kind, name, of).await?[0] == wanted)
}

async fn refused(world: Arc<World>, who: &'static [usize]) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    rig.apply("smtplisteners", &plain_listener()).await?;
    rig.apply("maildomains", &domain("moor")).await?;
    rig.until("pods of the listener", async |rig| {
        let pods = rig.api.get(&rig.path("pods", "")).await?;
        Ok(pods["items"].as_array().is_some_and(|pods| pods.len() == 2))
    })
    .await?;
    let daemons = [Daemon::start(&rig, 0).await?, Daemon::start(&rig, 1).await?];
    rig.until("listener and domain are ready", async |rig| {
        Ok(is(rig, "smtplisteners", "edge", "Ready", "True").await?
            && is(rig, "maildomains", "moor", "Ready", "True").await?)
    })
    .await?;
    rig.quiet(1).await?;
    let before = daemons[1].runs();
    for pod in who {
        daemons[*pod].refuse(Some(CAUSE));
    }
    let hostname = |name: &str| json!({"spec": {"hostname": name}});
    let path = rig.path("smtplisteners", "edge");
    rig.api.merge(&path, &hostname("mx2.example.com")).await?;
    rig.apply("maildomains", &domain("heath")).await?;
    let named = format!(
        "edge-{} stays on configuration {}: {CAUSE}",
        who[0], before.generation
    );
    rig.until(
        "ConfigApplied=False/ConfigRefused, in the words of the pod",
        async |rig| {
            let [status, reason, message] = condition(rig, "smtplisteners", "edge", "ConfigApplied").await?;
            let [ready, why, _] = condition(rig, "smtplisteners", "edge", "Ready").await?;
            Ok(status == "False"
                && reason == "ConfigRefused"
                && message == named
                && ready == "False"
                && why == "ConfigRefused")
        },
    )
    .await?;
    rig.quiet(0).await?;
    if daemons[1].runs().hash != before.hash {
        return Err("the stand-in took what it refused".into());
    }
    if is(&rig, "maildomains", "heath", "Ready", "True").await? {
        return Err("a domain is ready that the pods do not have".into());
    }
    // Somebody mends it. What nobody has ever run is not in the way of what comes next.
    for daemon in &daemons {
        daemon.refuse(None);
    }
    rig.api.merge(&path, &hostname("mx3.example.com")).await?;
    rig.until("all is ready with what is taken", async |rig| {
        let [status, ..] = condition(rig, "smtplisteners", "edge", "ConfigApplied").await?;
        Ok(status == "True"
            && is(rig, "smtplisteners", "edge", "Ready", "True").await?
            && is(rig, "maildomains", "heath", "Ready", "True").await?)
    })
    .await?;
    rig.quiet(0).await?;
    Ok(Verdict::Held)
}
