//! Filters that are asked about a message before it is stored.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{HostPort, Period};

/// One filter: asked when a message has come whole, before it is signed and stored and before its client gets 250.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("has(self.rspamd) != has(self.milter)").message("filters: give exactly one of rspamd and milter"))]
#[serde(rename_all = "camelCase")]
pub struct Filter {
    /// Name in logs.
    #[schemars(
        length(min = 1, max = 42),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// rspamd over HTTP: its normal worker or its proxy, usually on port 11333.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rspamd: Option<HostPort>,
    /// A milter (version 6 of the protocol or older) over TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milter: Option<HostPort>,
    /// Which mail it sees.
    #[serde(default)]
    pub mail: FilteredMail,
    /// What happens to a message while the filter cannot be asked.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// How long it is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<FilterTimeouts>,
}

/// Which mail a filter sees.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FilteredMail {
    /// All that is accepted.
    #[default]
    All,
    /// Mail of clients that nobody vouches for.
    FromStrangers,
    /// Mail of users, and of clients of `relayFrom`.
    FromUsers,
}

/// What happens to a message while a filter cannot be asked.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The client is asked to come again (451).
    #[default]
    TempFail,
    /// It goes on as if there were no such filter.
    Accept,
    /// It is refused for good (554).
    Reject,
}

/// How long a filter is waited for.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct FilterTimeouts {
    /// For a connection, at most 1m. Default `10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<Period>,
    /// For the answer to one command of milter before the end of the message, at most 5m. Default `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Period>,
    /// For all of it, up to the verdict, at most 5m; of all filters together at most 8m, as clients wait for ten minutes. Default `2m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Period>,
}
