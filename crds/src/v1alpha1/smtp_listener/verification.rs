//! How mail of strangers is judged.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{domains, own_words};

/// How mail of strangers is judged. Clients of `relayFrom` and users are no strangers.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// The Sender Policy Framework (RFC 7208): whether the sender's domain lets the client send its mail. The pods must see the
    /// client's own address for it: `service.proxyProtocol`, or a Service that keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spf: Option<SpfCheck>,
    /// Signatures of domains (DKIM, RFC 6376).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dkim: Option<DkimCheck>,
    /// Chains of those who forwarded a message (ARC, RFC 8617).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arc: Option<ArcCheck>,
    /// The policy of the domain in From (DMARC, RFC 9989). It stands on SPF and DKIM, which are asked for it also where they are
    /// `Disabled` themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dmarc: Option<DmarcCheck>,
}

/// Signatures of domains (DKIM, RFC 6376).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DkimCheck {
    /// Whether they are told of.
    #[serde(default)]
    pub mode: CheckMode,
}

/// Chains of those who forwarded a message (ARC, RFC 8617).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ArcCheck {
    /// Whether they are told of.
    #[serde(default)]
    pub mode: CheckMode,
    /// Forwarders, such as mailing lists, whose word is taken that a message passed DMARC when they got it: the `d=` of their seals. A
    /// message for which one of them vouches is not refused though it fails DMARC, if all who sealed it since are of this list.
    /// Not with `dmarc.mode: Disabled`, which asks for nothing that they could vouch for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 100),
        inner(length(min = 1, max = 253)),
        extend("x-kubernetes-validations" = [domains()])
    )]
    pub trusted_sealers: Vec<String>,
}

/// Whether a check is made for its own sake.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CheckMode {
    /// Nothing is written; it is made only where another check needs it.
    Disabled,
    /// Its verdict stands in the field Authentication-Results of the message.
    #[default]
    Report,
}

/// The policy of the domain in From (DMARC, RFC 9989).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DmarcCheck {
    /// What follows from the verdict. `Enforce` refuses what the domain in From wants refused, and asks a client to come again while
    /// it cannot be known, unless `temporaryError` says otherwise.
    #[serde(default)]
    pub mode: DmarcMode,
    /// What happens where the DNS gives no answer. Default: `Defer` where `mode` is `Enforce`, otherwise `Accept`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = own_words)]
    pub temporary_error: Option<TemporaryError>,
}

/// What follows from a verdict of DMARC.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DmarcMode {
    /// No policy is asked for and nothing written.
    Disabled,
    /// It stands in the field Authentication-Results of the message.
    #[default]
    Report,
    /// The same, and a message that the domain in From wants refused is refused (550 5.7.26), as is one without exactly one From
    /// field with one address. What is to be quarantined is taken, with `policy.dmarc=quarantine` in the field.
    Enforce,
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
    /// Nothing is written and nothing refused; it is asked for only where DMARC needs it.
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
