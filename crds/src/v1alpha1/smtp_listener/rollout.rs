//! How pods are replaced by newer ones.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::Period;

/// How pods are replaced by newer ones, after a change of their image or their settings.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// The rollout stops when a replaced pod does not do well within this time, 30s or more, of which its sessions take up to two
    /// minutes to end. It goes on when the pod does well after all, or when the template changes again. Default `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Period>,
}

/// How far a rollout is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// The newest template, as the pods' label `controller-revision-hash` names it.
    pub revision: String,
    /// Pods of it that do well.
    pub updated: i32,
    /// Pods that are to be of it.
    pub total: i32,
    /// The pod that is replaced now, or waited for.
    pub pod: String,
    /// Since when (RFC 3339).
    pub since: String,
    /// What is waited for.
    pub message: String,
    /// The deadline has passed: no other pod is replaced until this one does well, or the template changes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
}
