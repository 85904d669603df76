//! Check 26, for somebody who does not give in: another controller sets a field of ours back each time that it is put right. It is told, and
//! met less and less; when it ends, all is put right.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::api::Api;
use crate::case::{Case, Verdict};
use crate::operation::{Operation, Reference};
use crate::request::Verb;
use crate::rig::{Rig, World};
use crate::server::Said;

/// One case.
pub fn cases(created: &Arc<Reference>) -> Vec<Case> {
    let reference = created.clone();
    vec![Case::new(
        "check_26_a_rival_is_not_fought_without_end",
        "the type of the Service",
        move |world| contested(world, reference),
    )]
}

/// How soon the other one looks again.
const PACE: Duration = Duration::from_millis(20);
/// How long the operator is watched after it has told of it, and how often it may write then: after 2, and after 4 more seconds.
const WATCHED: Duration = Duration::from_secs(7);
const MOST: usize = 3;

async fn contested(world: Arc<World>, reference: Arc<Reference>) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    Operation::Create.prepare(&rig).await?;
    Operation::Create.act(&rig).await?;
    rig.reaches(&reference.objects).await?;
    let rival = Rival::start(rig.api.clone(), rig.path("services", "edge"));
    rig.until("an Event says so", async |rig| {
        let events = format!("/apis/events.k8s.io/v1/namespaces/{}/events", rig.namespace);
        let events = rig.api.get(&events).await?;
        let mut all = events["items"].as_array().into_iter().flatten();
        Ok(all.any(|event| {
            let note = event["note"].as_str().unwrap_or_default();
            event["reason"] == "Contested" && event["regarding"]["name"] == "edge" && note.contains("rival")
        }))
    })
    .await?;
    rig.proxy.begin(Vec::new(), None);
    tokio::time::sleep(WATCHED).await;
    let is_ours = |seen: &&crate::proxy::Seen| seen.call.kind == "services" && seen.call.verb == Verb::Patch;
    let writes = rig.proxy.seen().iter().filter(is_ours).count();
    if writes > MOST {
        return Err(format!("{writes} writes to the Service in {WATCHED:?}"));
    }
    let now = rig.api.get(&rig.path("services", "edge")).await?;
    drop(rival);
    if now["spec"]["type"] != "NodePort" {
        return Err(format!("the rival has not won for now: {}", now["spec"]["type"]));
    }
    rig.reaches(&reference.objects).await?;
    Ok(Verdict::Held)
}

/// Sets the type of a Service again and again, until it is dropped.
struct Rival(tokio::task::JoinHandle<()>);

impl Rival {
    fn start(api: Api, path: String) -> Self {
        let write = format!("{path}?fieldManager=rival");
        Self(tokio::spawn(async move {
            loop {
                // What fails is tried again.
                if let Ok(service) = api.get(&path).await
                    && service["spec"]["type"] == "ClusterIP"
                {
                    let _ = api.merge(&write, &json!({"spec": {"type": "NodePort"}})).await;
                }
                tokio::time::sleep(PACE).await;
            }
        }))
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        self.0.abort();
    }
}
