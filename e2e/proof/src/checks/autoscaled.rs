//! Check 36, without mail: an autoscaler of pods (`HorizontalPodAutoscaler`) scales the custom resource itself, and the pods follow its number. The one of the
//! cluster does it; figures of load are not there, so it is its bounds that move.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::case::{Case, Verdict};
use crate::operation::{Operation, Reference};
use crate::rig::{Rig, World};
use crate::server::Said;

/// One case.
pub fn cases(scaled_up: &Arc<Reference>, scaled_down: &Arc<Reference>) -> Vec<Case> {
    let references = [scaled_up.clone(), scaled_down.clone()];
    vec![Case::new(
        "check_36_an_autoscaler_is_followed",
        "two pods, three, one",
        move |world| followed(world, references),
    )]
}

async fn followed(world: Arc<World>, [up, down]: [Arc<Reference>; 2]) -> Said<Verdict> {
    let rig = Rig::new(&world).await?;
    Operation::ScaleUp.prepare(&rig).await?;
    let at = format!(
        "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
        rig.namespace
    );
    rig.api.create(&at, &autoscaler()).await?;
    let path = format!("{at}/edge");
    rig.until("three pods", async |rig| pods(rig, 3).await).await?;
    rig.reaches(&up.objects).await?;
    let bounds = json!({"spec": {"minReplicas": 1, "maxReplicas": 1}});
    rig.api.merge(&path, &bounds).await?;
    rig.until("one pod", async |rig| pods(rig, 1).await).await?;
    // Of the third pod a claim was made, which stays like that of the second.
    let mut wanted = down.objects.clone();
    for (name, object) in rig.objects().await? {
        if name.starts_with("persistentvolumeclaims/") {
            wanted.entry(name).or_insert(object);
        }
    }
    rig.reaches(&wanted).await?;
    let found = rig.api.get(&path).await?;
    let conditions = found["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    let can = conditions.find(|condition| condition["type"] == "AbleToScale");
    if can.is_none_or(|can| can["status"] != "True") {
        return Err(format!("the autoscaler says {}", found["status"]));
    }
    Ok(Verdict::Held)
}

async fn pods(rig: &Rig, wanted: usize) -> Said<bool> {
    let pods = rig.api.get(&rig.path("pods", "")).await?;
    Ok(pods["items"].as_array().is_some_and(|pods| pods.len() == wanted))
}

fn autoscaler() -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "edge"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "postroad.dev/v1alpha1", "kind": "SmtpListener", "name": "edge"},
            "minReplicas": 3, "maxReplicas": 4,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}],
        },
    })
}
