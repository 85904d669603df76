//! Reports that are sent to domains about their own mail.

use serde::{Deserialize, Serialize};

use crate::check::Findings;
use crate::domain::DomainName;
use crate::file::unset;

/// Reports that are sent to domains which ask for them. Each goes out once a day, about the day (UTC) before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Reports {
    /// Address in their From field; its domain should have a DKIM key here. Absent = `postmaster@` and `hostname`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Who reports, in words; absent = the domain of `from`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// How to reach a person about them: an address or a URL; absent = `from`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// To the domains of authors, about their mail (RFC 9990).
    #[serde(skip_serializing_if = "unset")]
    pub dmarc: DmarcReports,
    /// To the domains of recipients, about TLS with their mail servers (RFC 8460).
    #[serde(skip_serializing_if = "unset")]
    pub tls: TlsReports,
}

impl Reports {
    /// Whether pods of a fleet have to know each other for it: a day's report is made by one of them.
    pub fn is_shared(&self) -> bool {
        self.dmarc.mode == ReportMode::Daily || self.tls.mode == ReportMode::Daily
    }
}

/// Reports about DMARC (RFC 9990).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DmarcReports {
    /// Whether they are sent.
    #[serde(skip_serializing_if = "unset")]
    pub mode: ReportMode,
}

/// Reports about TLS (RFC 8460).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TlsReports {
    /// Whether they are sent.
    #[serde(skip_serializing_if = "unset")]
    pub mode: ReportMode,
}

/// Whether reports of a kind are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReportMode {
    /// Nothing is counted and nothing sent.
    #[default]
    Disabled,
    /// One a day for each domain that asks for it.
    Daily,
}

pub(crate) fn check(reports: &Reports, found: &mut Findings) {
    if let Some(from) = &reports.from {
        found.require(
            is_address(from),
            || "reports.from".into(),
            || {
                "is no address that a From field takes as it is; write one such as postmaster@example.com"
                    .into()
            },
        );
    }
    for (field, text) in [
        ("organization", &reports.organization),
        ("contact", &reports.contact),
    ] {
        if let Some(text) = text {
            found.require(
                is_line(text),
                || format!("reports.{field}"),
                || format!("must have 1 to {LONGEST_LINE} printable characters of ASCII"),
            );
        }
    }
}

/// Atoms with dots between (RFC 5322 section 3.2.3), at a domain.
fn is_address(text: &str) -> bool {
    let is_atom = |atom: &str| {
        let sound = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet);
        !atom.is_empty() && atom.bytes().all(sound)
    };
    text.rsplit_once('@').is_some_and(|(local, domain)| {
        local.len() <= 64
            && local.split('.').all(is_atom)
            && domain.parse::<DomainName>().is_ok()
            && text.is_ascii()
    })
}

fn is_line(text: &str) -> bool {
    let printable = |octet: u8| (b' '..=b'~').contains(&octet);
    !text.trim().is_empty() && text.len() <= LONGEST_LINE && text.bytes().all(printable)
}

const LONGEST_LINE: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_off_needs_no_fleet() {
        let mut reports = Reports::default();
        assert!(!reports.is_shared());
        reports.dmarc.mode = ReportMode::Daily;
        assert!(reports.is_shared());
        let mut reports = Reports::default();
        reports.tls.mode = ReportMode::Daily;
        assert!(reports.is_shared());
    }

    #[test]
    fn an_address_is_one_that_a_header_takes_as_it_is() {
        for (text, want) in [
            ("postmaster@example.com", true),
            ("dmarc.reports+x@mail.example.com", true),
            ("example.com", false),
            ("@example.com", false),
            ("a..b@example.com", false),
            ("\"a b\"@example.com", false),
            ("a@b@example.com", false),
            ("a@[192.0.2.1]", false),
            ("\u{e4}@example.com", false),
            ("a\r\nBcc: x@example.com", false),
        ] {
            assert_eq!(is_address(text), want, "{text}");
        }
        assert!(is_line("Example Inc.") && !is_line(" ") && !is_line("a\nb") && !is_line(&"x".repeat(201)));
    }
}
