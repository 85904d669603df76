//! How strangers' mail is judged at ports of role Transfer.

use serde::{Deserialize, Serialize};

use crate::file::unset;

/// How mail at ports of role Transfer is judged. Clients of `relayFrom` and of this machine are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Verification {
    /// The Sender Policy Framework (RFC 7208).
    #[serde(skip_serializing_if = "unset")]
    pub spf: SpfSection,
}

/// The Sender Policy Framework (RFC 7208).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SpfSection {
    /// What follows from the verdict.
    #[serde(skip_serializing_if = "unset")]
    pub mode: SpfMode,
    /// What happens where the DNS gives no answer.
    #[serde(skip_serializing_if = "unset")]
    pub temporary_error: TemporaryError,
}

/// What follows from a verdict of SPF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpfMode {
    /// Nothing is asked and nothing written.
    Disabled,
    /// It stands in the field Authentication-Results.
    #[default]
    Report,
    /// The same, and `fail` refuses the recipients.
    Reject,
}

/// What happens where the DNS gives no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TemporaryError {
    /// The message is taken, with `temperror` in its field.
    #[default]
    Accept,
    /// The client is asked to come again.
    Defer,
}
