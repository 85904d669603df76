//! What is known of the hosts that the routes lead to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Secret that a route logs in with.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsUsed {
    /// Place of the route in the policy, from 0.
    pub route: i32,
    /// Name of the Secret.
    pub secret: String,
    /// Its resourceVersion.
    pub version: String,
}

/// What a pod found when it last tried a route.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Upstream {
    /// The listener whose pod tried.
    pub listener: String,
    /// Place of the route in the policy, from 0.
    pub route: i32,
    /// The host that was tried, with its port.
    pub host: String,
    /// It answered as a mail server does.
    pub reachable: bool,
    /// TLS is as the route wants it; absent where it did not come so far, or none is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secured: Option<bool>,
    /// It let us in; absent where it did not come so far, or nobody logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticated: Option<bool>,
    /// When the token ends, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_expires: Option<String>,
    /// What went wrong, or the version of TLS.
    pub message: String,
}
