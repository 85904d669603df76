//! DMARC, RFC 9989: whether the author's domain stands behind a message, and what its owner asks for where it does not.
//!
//! ```text
//! From fields ─► author ─┐
//! SPF, DKIM results ─────┴► Request ─► Check ──Ask(question)──► caller's resolver
//!                                        ▲                            │
//!                                        └────────answer──────────────┘        … until Done(Outcome)
//! ```
//!
//! * [`author`](fn@author): the one domain that a message is from, or why there is none.
//! * [`record`]: text of a policy record.
//! * `walk`: the tree walk, section 4.10.
//! * `evaluate`: policy, alignment, verdict and disposition, section 5.3.
//! * [`report`]: what owners are told of it once a day, RFC 9990.
//!
//! May assume: the results of SPF and DKIM are given for the domains that were checked (the reverse-path's or the HELO
//! name, and `d=`).

mod author;
mod domain;
mod evaluate;
pub mod record;
pub mod report;
mod walk;

pub use author::{FromError, author, shown_instead};
pub use domain::Domain;
pub use record::{Policy, Record};
pub use walk::MOST_QUESTIONS;

use std::fmt;

use crate::dns::{Answer, Question};
use crate::steps::{self, Evaluation};

/// What has authenticated an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// RFC 7208.
    Spf,
    /// RFC 6376.
    Dkim,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spf => "SPF",
            Self::Dkim => "DKIM",
        })
    }
}

/// What a method came to, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// It passed.
    Pass,
    /// It did not, whatever it is called: fail, softfail, neutral, none, permerror, policy.
    Fail,
    /// Another time there may be a result (temperror).
    Unknown,
}

/// A domain, and whether a method has shown that it stands behind the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identifier {
    /// By what.
    pub method: Method,
    /// Whose.
    pub domain: Domain,
    /// With what result.
    pub proof: Proof,
}

/// One message to judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whom it is from, see [`author`](fn@author).
    pub author: Result<Domain, FromError>,
    /// What SPF and DKIM said. Leave out names that [`Domain::parse`] does not take: they are aligned with nothing.
    pub identifiers: Vec<Identifier>,
    /// Whether both methods are to be judged where one alone decides, as reports tell of both. It may cost questions more.
    pub each_method: bool,
}

/// Result of an evaluation (RFC 9989 section 9.2, RFC 8601 section 2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// No record applies.
    None,
    /// An aligned identifier has passed.
    Pass,
    /// None has.
    Fail,
    /// A look-up failed; another time it may work.
    TempError,
    /// The message has no author that could be checked.
    PermError,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        })
    }
}

/// What the verdict asks for. A receiver may know better (RFC 9989 section 5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// To be taken like any mail.
    Accept,
    /// To be taken with suspicion.
    Quarantine,
    /// To be refused.
    Reject,
    /// Not known now, and the author's domain asks for something: to be refused for a time, or taken with the mark `temperror`; never taken without a mark.
    Defer,
}

/// What an evaluation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// What it asks for.
    pub disposition: Disposition,
    /// The author's domain.
    pub author: Option<Domain>,
    /// The identifier that passed.
    pub aligned: Option<Identifier>,
    /// One of the other method that passed as well; asked for by [`Request::each_method`].
    pub also_aligned: Option<Identifier>,
    /// Where the record stands.
    pub record_at: Option<Domain>,
    /// The record that applies.
    pub record: Option<Record>,
    /// On `fail`: what the record asks for, before `t=y` lowers it.
    pub requested: Option<Policy>,
    /// Why there is no verdict, or no record that could be used.
    pub problem: Option<Problem>,
}

impl Outcome {
    fn new(verdict: Verdict) -> Self {
        Self {
            verdict,
            disposition: Disposition::Accept,
            author: None,
            aligned: None,
            also_aligned: None,
            record_at: None,
            record: None,
            requested: None,
            problem: None,
        }
    }
}

/// Why there is no verdict, or no record. Each text is one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The message.
    #[error("{0}")]
    From(FromError),
    /// More than one record at a name.
    #[error("{0} publishes more than one DMARC record; publish exactly one")]
    SeveralRecords(Domain),
    /// A record without a clear policy.
    #[error("the DMARC record of {0} has no valid `p`, or an invalid `sp` or `np`, and no valid `rua`")]
    NoPolicy(Domain),
    /// A DNS question without an answer.
    #[error("no answer from DNS for {0}; the servers of that name must answer")]
    NoAnswer(Question),
    /// A method that would decide has no result.
    #[error("{0} of the author's domain had no answer from DNS")]
    NoResult(Method),
}

/// What to do next.
pub type Step = steps::Step<Outcome>;

/// A running evaluation.
#[derive(Debug)]
pub struct Check(Evaluation<Outcome>);

impl Check {
    /// Starts an evaluation and runs it to its first question.
    pub fn start(request: Request) -> (Self, Step) {
        let stalled = Outcome {
            disposition: Disposition::Defer,
            ..Outcome::new(Verdict::TempError)
        };
        let (evaluation, step) = Evaluation::start(|slot| evaluate::evaluate(request, slot), stalled);
        (Self(evaluation), step)
    }

    /// Gives the answer to the question of the last step. After the end, gives the end again.
    pub fn answer(&mut self, answer: Answer) -> Step {
        self.0.answer(answer)
    }

    /// Runs an evaluation to its end with a function that answers at once.
    pub fn run(request: Request, lookup: impl FnMut(&Question) -> Answer) -> Outcome {
        let (mut check, step) = Self::start(request);
        steps::run(step, |answer| check.answer(answer), lookup)
    }
}
