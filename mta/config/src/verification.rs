//! How strangers' mail is judged at ports of role Transfer.

use serde::{Deserialize, Serialize};

use crate::check::Findings;
use crate::domain::DomainName;
use crate::file::unset;
use crate::reports::{ReportMode, Reports};

/// How mail at ports of role Transfer is judged. Clients of `relayFrom` and of this machine are not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Verification {
    /// The Sender Policy Framework (RFC 7208).
    #[serde(skip_serializing_if = "unset")]
    pub spf: SpfSection,
    /// Signatures of domains (RFC 6376).
    #[serde(skip_serializing_if = "unset")]
    pub dkim: DkimSection,
    /// Chains of those who forwarded it (RFC 8617).
    #[serde(skip_serializing_if = "unset")]
    pub arc: ArcSection,
    /// The policy of the author's domain (RFC 9989).
    #[serde(skip_serializing_if = "unset")]
    pub dmarc: DmarcSection,
}

/// What stands on DMARC says nothing where that is not asked for: then it is refused, as nobody means it so.
pub(crate) fn check(given: &Verification, reports: &Reports, found: &mut Findings) {
    let is_asked = given.dmarc.mode != DmarcMode::Disabled;
    found.require(
        is_asked || given.arc.trusted_sealers.is_empty(),
        || "verification.arc.trustedSealers".into(),
        || {
            "they are believed where DMARC fails, and with `verification.dmarc.mode: Disabled` it is not asked for: say Report or \
             Enforce there, or leave them out"
                .into()
        },
    );
    found.require(
        is_asked || reports.dmarc.mode == ReportMode::Disabled,
        || "reports.dmarc.mode".into(),
        || {
            "they tell what DMARC said, and with `verification.dmarc.mode: Disabled` it is not asked for: say Report or Enforce \
             there, or Disabled here"
                .into()
        },
    );
}

/// Whether a check is made for its own sake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckMode {
    /// Nothing is written; it is made only where another check needs it.
    Disabled,
    /// Its verdict stands in the field Authentication-Results.
    #[default]
    Report,
}

/// Signatures of domains (RFC 6376).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DkimSection {
    /// Whether they are told of.
    #[serde(skip_serializing_if = "unset")]
    pub mode: CheckMode,
}

/// Chains of those who forwarded it (RFC 8617).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ArcSection {
    /// Whether they are told of.
    #[serde(skip_serializing_if = "unset")]
    pub mode: CheckMode,
    /// Forwarders whose word is taken that a message passed DMARC when they got it: `d=` of their seals. Not where DMARC is `Disabled`.
    #[serde(skip_serializing_if = "unset")]
    pub trusted_sealers: Vec<DomainName>,
}

/// The policy of the author's domain (RFC 9989).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DmarcSection {
    /// What follows from the verdict.
    #[serde(skip_serializing_if = "unset")]
    pub mode: DmarcMode,
    /// What happens where the DNS gives no answer. Absent: `Defer` where `mode` is `Enforce`, else `Accept`.
    #[serde(skip_serializing_if = "unset")]
    pub temporary_error: Option<TemporaryError>,
}

impl DmarcSection {
    /// What happens where the DNS gives no answer. A refusal that slow name servers of a forger could take away would be none.
    #[must_use]
    pub fn on_temporary_error(self) -> TemporaryError {
        self.temporary_error.unwrap_or(match self.mode {
            DmarcMode::Enforce => TemporaryError::Defer,
            DmarcMode::Disabled | DmarcMode::Report => TemporaryError::Accept,
        })
    }
}

/// What follows from a verdict of DMARC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DmarcMode {
    /// No policy is asked for and nothing written.
    Disabled,
    /// It stands in the field Authentication-Results.
    #[default]
    Report,
    /// The same, and a message that the author's domain wants refused is refused, as is one without one clear author.
    Enforce,
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
    /// Nothing is written and nothing refused; it is asked for only where DMARC needs it.
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
