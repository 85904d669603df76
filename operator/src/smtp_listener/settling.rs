//! A change of an attached object on its way to the pods: a new domain, key, user or certificate is taken up by one pod after
//! the other, within seconds. The listener has not stopped being ready over that, and `Ready` says since when it is.
//!
//! ```text
//!   Ready was True for this very spec ─┐
//!   a pod is not as far yet, only that ├─► for a minute Ready stays True; ConfigApplied tells the truth at once
//!   for less than a minute ────────────┘
//! ```
//!
//! A change of the listener's own spec is another matter: `kubectl apply` and `kubectl wait --for=condition=Ready` belong together,
//! so Ready is not True for a generation before each serving pod has confirmed it. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use postroad_crds::SmtpListenerStatus;
use postroad_crds::conditions::{NewCondition, READY, reason};

/// How long pods may take for what others follow within seconds.
const GRACE: i64 = 60;

/// Whether this condition says no more than that a change is on its way. `before`: the status as it was said last.
pub(super) fn is_settling(
    condition: &NewCondition,
    before: &SmtpListenerStatus,
    generation: Option<i64>,
    now: Timestamp,
) -> bool {
    let said = |kind: &str| before.conditions.iter().find(|said| said.type_ == kind);
    let was_ready = |ready: &Condition| ready.status == "True" && ready.observed_generation == generation;
    // One that was True until now has just begun.
    let waits = said(condition.kind)
        .filter(|said| said.status == "False")
        .map_or(0, |said| {
            now.as_second() - said.last_transition_time.0.as_second()
        });
    condition.status == Some(false)
        && condition.reason == reason::IN_PROGRESS
        && said(READY).is_some_and(was_ready)
        && waits < GRACE
}
