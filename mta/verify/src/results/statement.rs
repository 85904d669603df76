//! Outcomes as statements of the field.

use super::{Property, Statement};
use crate::dmarc::{self, Disposition};
use crate::spf;

/// Which identity SPF was asked about (RFC 7208 sections 2.3 and 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpfIdentity<'a> {
    /// The HELO name.
    Helo(&'a str),
    /// The reverse-path.
    MailFrom(&'a str),
}

/// What SPF came to (RFC 8601 section 2.7.2). The explanation of the domain's owner is not repeated: it is for a reply.
pub fn spf(identity: SpfIdentity<'_>, outcome: &spf::Outcome) -> Statement {
    let (name, value) = match identity {
        SpfIdentity::Helo(name) => ("helo", name),
        SpfIdentity::MailFrom(path) => ("mailfrom", path),
    };
    Statement {
        method: "spf",
        result: match outcome.verdict {
            spf::Verdict::None => "none",
            spf::Verdict::Neutral => "neutral",
            spf::Verdict::Pass => "pass",
            spf::Verdict::Fail => "fail",
            spf::Verdict::SoftFail => "softfail",
            spf::Verdict::TempError => "temperror",
            spf::Verdict::PermError => "permerror",
        },
        comment: None,
        reason: outcome.problem.as_ref().map(ToString::to_string),
        properties: vec![Property {
            kind: "smtp",
            name,
            value: value.to_owned(),
        }],
    }
}

/// What DMARC came to (RFC 9989 section 9.1), with what the record asks for and what that means here.
pub fn dmarc(outcome: &dmarc::Outcome) -> Statement {
    let applied = match outcome.disposition {
        Disposition::Accept => Some("none"),
        Disposition::Quarantine => Some("quarantine"),
        Disposition::Reject => Some("reject"),
        Disposition::Defer => None,
    };
    let applied = applied.filter(|_| outcome.verdict == dmarc::Verdict::Fail);
    let author = outcome
        .author
        .as_ref()
        .map(|author| ("header", "from", author.to_string()));
    let applied = applied.map(|applied| ("policy", "dmarc", applied.to_owned()));
    Statement {
        method: "dmarc",
        result: match outcome.verdict {
            dmarc::Verdict::None => "none",
            dmarc::Verdict::Pass => "pass",
            dmarc::Verdict::Fail => "fail",
            dmarc::Verdict::TempError => "temperror",
            dmarc::Verdict::PermError => "permerror",
        },
        comment: outcome
            .requested
            .map(|policy| format!("asked for {}", policy.as_str())),
        reason: outcome.problem.as_ref().map(ToString::to_string),
        properties: author
            .into_iter()
            .chain(applied)
            .map(|(kind, name, value)| Property { kind, name, value })
            .collect(),
    }
}
