//! What signatures came to.

use std::fmt;

use super::tags::{Tags, shortened, without_space};
use super::{Algorithm, Problem, domain};

/// Result of one signature, or of all of a message (RFC 8601 section 2.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// There is no signature.
    None,
    /// The signature is the domain's, and all of the body is signed.
    Pass,
    /// It does not verify.
    Fail,
    /// It is not accepted here.
    Policy,
    /// It cannot be read.
    Neutral,
    /// A look-up failed; another time it may work.
    TempError,
    /// It can never verify.
    PermError,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Policy => "policy",
            Self::Neutral => "neutral",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        })
    }
}

/// What one signature came to. Texts are the signer's words without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The verdict. Only `pass` says that the domain takes responsibility, so only that may align (RFC 9989).
    pub verdict: Verdict,
    /// `d=` in lower case, as A-labels. None: it has none that can be read.
    pub domain: Option<String>,
    /// `i=` as written.
    pub identity: Option<String>,
    /// `s=` in lower case, as A-labels.
    pub selector: Option<String>,
    /// `a=`, where it is known.
    pub algorithm: Option<Algorithm>,
    /// The first eight characters of `b=`, which tell signatures apart (RFC 6008).
    pub mark: Option<String>,
    /// Bits of the key that verified.
    pub key_bits: Option<u32>,
    /// The domain says that it tests DKIM (`t=y`): a failure is no reason to treat the mail worse than an unsigned one.
    pub testing: bool,
    /// Why the verdict is not `pass`.
    pub problem: Option<Problem>,
}

/// One verdict for a message: the best of its signatures. RFC 6376 section 6.1: one that verifies is enough.
pub fn overall(outcomes: &[Outcome]) -> Verdict {
    [
        Verdict::Pass,
        Verdict::TempError,
        Verdict::Fail,
        Verdict::Policy,
        Verdict::PermError,
        Verdict::Neutral,
    ]
    .into_iter()
    .find(|verdict| outcomes.iter().any(|outcome| outcome.verdict == *verdict))
    .unwrap_or(Verdict::None)
}

impl Outcome {
    /// Of a signature of which nothing is known.
    pub(crate) const NOTHING: Self = Self {
        verdict: Verdict::Neutral,
        domain: None,
        identity: None,
        selector: None,
        algorithm: None,
        mark: None,
        key_bits: None,
        testing: false,
        problem: None,
    };

    pub(super) fn set(&mut self, problem: Problem) {
        self.verdict = problem.verdict();
        self.problem = Some(problem);
    }

    /// What a signature says of itself, even if something else in it is wrong.
    pub(super) fn described(tags: &Tags<'_>) -> Self {
        Self {
            domain: tags.value("d").and_then(domain::domain),
            identity: tags
                .value("i")
                .map(without_space)
                .filter(|text| text.len() <= 320),
            selector: tags.value("s").and_then(domain::selector),
            algorithm: tags.value("a").and_then(|name| {
                Algorithm::ALL
                    .into_iter()
                    .find(|known| known.to_string().eq_ignore_ascii_case(name))
            }),
            mark: tags
                .value("b")
                .filter(|text| !text.is_empty())
                .map(|text| without_space(&shortened(text)).chars().take(8).collect()),
            ..Self::NOTHING
        }
    }
}
