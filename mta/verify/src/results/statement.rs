//! Outcomes as statements of the field.

use super::{Property, Statement};
use crate::dmarc::{self, Disposition};
use crate::{arc, dkim, spf};

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

/// What the signatures came to (RFC 8601 section 2.7.1, RFC 6008), one statement each; one that says `none` where there is none.
pub fn dkim(outcomes: &[dkim::Outcome]) -> Vec<Statement> {
    if outcomes.is_empty() {
        return vec![bare("dkim", "none")];
    }
    outcomes.iter().map(signature).collect()
}

fn signature(outcome: &dkim::Outcome) -> Statement {
    let header = |name, value: Option<String>| {
        value.map(|value| Property {
            kind: "header",
            name,
            value,
        })
    };
    let bits = outcome.key_bits.map(|bits| format!("{bits}-bit key"));
    let tests = outcome.testing.then(|| "the domain tests DKIM".to_owned());
    let words: Vec<String> = bits.into_iter().chain(tests).collect();
    Statement {
        comment: (!words.is_empty()).then(|| words.join(", ")),
        reason: outcome.problem.as_ref().map(ToString::to_string),
        properties: [
            header("d", outcome.domain.clone()),
            header("i", outcome.identity.clone()),
            header("s", outcome.selector.clone()),
            header("a", outcome.algorithm.map(|algorithm| algorithm.to_string())),
            header("b", outcome.mark.clone()),
        ]
        .into_iter()
        .flatten()
        .collect(),
        ..bare(
            "dkim",
            match outcome.verdict {
                dkim::Verdict::None => "none",
                dkim::Verdict::Pass => "pass",
                dkim::Verdict::Fail => "fail",
                dkim::Verdict::Policy => "policy",
                dkim::Verdict::Neutral => "neutral",
                dkim::Verdict::TempError => "temperror",
                dkim::Verdict::PermError => "permerror",
            },
        )
    }
}

/// What the chain came to (RFC 8617 section 10.1), and who sealed it last.
pub fn arc(outcome: &arc::Outcome) -> Statement {
    let last = outcome.sets.last();
    Statement {
        comment: last.map(|set| format!("i={}, sealed by {}", set.instance, set.sealer)),
        reason: outcome.problem.as_ref().map(ToString::to_string),
        ..bare(
            "arc",
            match outcome.verdict {
                arc::Verdict::None => "none",
                arc::Verdict::Pass => "pass",
                arc::Verdict::Fail => "fail",
            },
        )
    }
}

fn bare(method: &'static str, result: &'static str) -> Statement {
    Statement {
        method,
        result,
        comment: None,
        reason: None,
        properties: Vec::new(),
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
