//! How mail of strangers is judged.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How mail of strangers is judged. Clients of `relayFrom` and users are no strangers.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// The Sender Policy Framework (RFC 7208): whether the sender's domain lets the client send its mail. The pods must see the
    /// client's own address for it: `service.proxyProtocol`, or a Service that keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spf: Option<SpfCheck>,
}

/// The Sender Policy Framework (RFC 7208).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SpfCheck {
    /// What follows from the verdict.
    #[serde(default)]
    pub mode: SpfMode,
    /// What happens where the DNS gives no answer.
    #[serde(default)]
    pub temporary_error: TemporaryError,
}

/// What follows from a verdict of SPF.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpfMode {
    /// Nothing is asked and nothing written.
    Disabled,
    /// It stands in the field Authentication-Results of the message.
    #[default]
    Report,
    /// The same, and a verdict `fail`, of the sender's domain or of the EHLO name, refuses the recipients (550 5.7.23).
    Reject,
}

/// What happens where the DNS gives no answer.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TemporaryError {
    /// The message is taken, with `temperror` in its field.
    #[default]
    Accept,
    /// The client is asked to come again (451 4.4.3).
    Defer,
}
