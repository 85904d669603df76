//! Reports that are sent to domains about their own mail.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Reports that are sent to domains which ask for them in the DNS. Each goes out once a day, about the day (UTC) before, by one of the
/// pods. None is sent unless its `mode` says so.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Reports {
    /// Address in their From field. Its domain should be a MailDomain of this listener that signs (`dkim`), so that those who get
    /// them believe them. Default `postmaster@` and the listener's `hostname`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 318), regex(pattern = r"^[^\s@]+@[^\s@]+$"))]
    pub from: Option<String>,
    /// Who reports, in words. Default: the domain of `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^[ -~]+$"))]
    pub organization: Option<String>,
    /// How to reach a person about them: an address or a URL. Default: `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^[ -~]+$"))]
    pub contact: Option<String>,
    /// To the domains that stand in From of mail of strangers: who sends as them, and what DMARC said of it (RFC 9990).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dmarc: Option<DmarcReports>,
    /// To the domains that mail goes to: how TLS with their mail servers went, and what was wrong (TLS-RPT, RFC 8460).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsReports>,
}

/// Reports about DMARC (RFC 9990).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DmarcReports {
    /// Whether they are sent. They stand on `verification.dmarc`, whose `mode` may not be `Disabled` then.
    #[serde(default)]
    pub mode: ReportMode,
}

/// Reports about TLS (TLS-RPT, RFC 8460).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TlsReports {
    /// Whether they are sent. Sessions by direct routes with `tls.mode` `Automatic` or `DaneOnly` count. Those reports that go by mail
    /// need the key of `from`'s domain: without a signature nobody may believe them, and none is sent.
    #[serde(default)]
    pub mode: ReportMode,
}

/// Whether reports of a kind are sent.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReportMode {
    /// Nothing is counted and nothing sent.
    #[default]
    Disabled,
    /// One a day for each domain that asks for it.
    Daily,
}
