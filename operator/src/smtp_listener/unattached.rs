//! Volumes that cannot be attached: their mail waits, and nothing is forced. Judged by the pod, as the operator may not read
//! nodes. Pure.

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::jiff::Timestamp;

/// Why the volume of a pod that does not answer is not there; `None` where something else keeps the pod from answering.
///
/// * It cannot be scheduled: the node of its volume is away, full or closed.
/// * Its node does not report any more: the node controller alone sets `Ready` to False or Unknown, and only the kubelet
///   `ContainersReady`; or its deletion is overdue, which the kubelet ends.
/// * Its containers cannot be prepared: volumes are mounted before anything else.
pub fn why(pod: &Pod, now: Timestamp) -> Option<String> {
    let status = |kind: &str| condition(pod, kind).map(|condition| condition.status.as_str());
    let said = |condition: &PodCondition| {
        let message = condition.message.clone().or_else(|| condition.reason.clone());
        message.unwrap_or_else(|| "nobody says why".to_owned())
    };
    if let Some(scheduled) = condition(pod, "PodScheduled").filter(|scheduled| scheduled.status == "False") {
        return since(scheduled, pod, now, UNSCHEDULED)
            .then(|| format!("its pod cannot be scheduled: {}", said(scheduled)));
    }
    let ends = pod.metadata.deletion_timestamp.as_ref();
    if ends.is_some_and(|ends| now.as_second() - ends.0.as_second() >= OVERDUE) {
        return Some("the deletion of its pod is overdue, its node does not carry it out".to_owned());
    }
    let ready = condition(pod, "Ready")?;
    let is_unreported = status("Ready") == Some("Unknown")
        || (ready.status == "False" && status("ContainersReady") == Some("True"));
    if is_unreported {
        return Some("its node does not report any more".to_owned());
    }
    let is_prepared = status("PodReadyToStartContainers") != Some("False");
    (ready.status == "False" && !is_prepared && since(ready, pod, now, UNPREPARED))
        .then(|| "its pod is scheduled, and its volume is not mounted yet".to_owned())
}

/// Seconds until it is said of a pod that is not scheduled, that is not prepared, that should be gone.
const UNSCHEDULED: i64 = 60;
const UNPREPARED: i64 = 120;
const OVERDUE: i64 = 60;

fn since(condition: &PodCondition, pod: &Pod, now: Timestamp, seconds: i64) -> bool {
    let made = pod.metadata.creation_timestamp.as_ref();
    let since = condition.last_transition_time.as_ref().or(made);
    since.is_some_and(|since| now.as_second() - since.0.as_second() >= seconds)
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(conditions: &[(&str, &str, i64)], deleted: Option<i64>) -> Pod {
        let time = |second: i64| Timestamp::from_second(second).unwrap().to_string();
        let conditions: Vec<_> = conditions
            .iter()
            .map(|(kind, status, since)| {
                json!({"type": kind, "status": status, "lastTransitionTime": time(*since), "message": "affinity conflict"})
            })
            .collect();
        let mut pod = json!({"metadata": {"name": "edge-2"}, "status": {"conditions": conditions}});
        if let Some(deleted) = deleted {
            pod["metadata"]["deletionTimestamp"] = json!(time(deleted));
        }
        serde_json::from_value(pod).unwrap()
    }

    /// Conditions of the pod, its deletion, and a word of the cause.
    type Row<'a> = (&'a [(&'a str, &'a str, i64)], Option<i64>, Option<&'a str>);

    #[test]
    fn a_volume_is_away_where_scheduler_node_or_mount_say_so() {
        let now = Timestamp::from_second(1_000).unwrap();
        let rows: &[Row<'_>] = &[
            (&[], None, None),
            (&[("PodScheduled", "False", 941)], None, None),
            (&[("PodScheduled", "False", 940)], None, Some("affinity conflict")),
            (
                &[("Ready", "Unknown", 999), ("ContainersReady", "True", 1)],
                None,
                Some("report"),
            ),
            (
                &[("Ready", "False", 999), ("ContainersReady", "True", 1)],
                None,
                Some("report"),
            ),
            // It starts, or its container falls: the kubelet says both.
            (
                &[("Ready", "False", 1), ("ContainersReady", "False", 1)],
                None,
                None,
            ),
            (
                &[
                    ("Ready", "False", 1),
                    ("ContainersReady", "False", 1),
                    ("PodReadyToStartContainers", "True", 1),
                ],
                None,
                None,
            ),
            (
                &[
                    ("Ready", "False", 881),
                    ("ContainersReady", "False", 881),
                    ("PodReadyToStartContainers", "False", 881),
                ],
                None,
                None,
            ),
            (
                &[
                    ("Ready", "False", 880),
                    ("ContainersReady", "False", 880),
                    ("PodReadyToStartContainers", "False", 880),
                ],
                None,
                Some("mounted"),
            ),
            (
                &[("Ready", "True", 1), ("ContainersReady", "True", 1)],
                None,
                None,
            ),
            (
                &[("Ready", "True", 1), ("ContainersReady", "True", 1)],
                Some(941),
                None,
            ),
            (
                &[("Ready", "True", 1), ("ContainersReady", "True", 1)],
                Some(940),
                Some("overdue"),
            ),
        ];
        for (conditions, deleted, word) in rows {
            let said = why(&pod(conditions, *deleted), now);
            let fits = match (&said, word) {
                (None, None) => true,
                (Some(said), Some(word)) => said.contains(word),
                _ => false,
            };
            assert!(fits, "{conditions:?}, deleted {deleted:?}: {said:?}");
        }
    }
}
