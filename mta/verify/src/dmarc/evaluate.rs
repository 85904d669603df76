//! The evaluation, RFC 9989 section 5.3: which policy applies, what is aligned, and what that comes to.
//!
//! ```text
//!   author ─► policy (its own, its organisation's, the public suffix's) ─► aligned pass? ─► pass
//!               │ none: not of DMARC                                       │ none
//!               └ no answer: temperror                                     ├─ an aligned check had no answer: temperror
//!                                                                          └─ fail: p, sp or np, lowered by t=y
//! ```

use super::record::{Alignment, Policy, Record, Suffix};
use super::walk::{Found, Stop, Walker, organization};
use super::{Disposition, Domain, Identifier, Method, Outcome, Problem, Proof, Request, Verdict};
use crate::steps::Slot;

pub(super) async fn evaluate(request: Request, slot: Slot) -> Outcome {
    let author = match request.author {
        Ok(author) => author,
        Err(error) => {
            // RFC 5322 asks for one author; who writes another field wants something else to be shown.
            return Outcome {
                disposition: Disposition::Reject,
                problem: Some(Problem::From(error)),
                ..Outcome::new(Verdict::PermError)
            };
        }
    };
    let mut evaluation = Evaluation {
        walker: Walker::new(slot),
        author,
        each_method: request.each_method,
    };
    let mut outcome = match evaluation.judge(&request.identifiers).await {
        Ok(outcome) => outcome,
        Err(problem) => Outcome {
            disposition: Disposition::Defer,
            problem: Some(problem),
            ..Outcome::new(Verdict::TempError)
        },
    };
    outcome.author = Some(evaluation.author);
    outcome
}

struct Evaluation {
    walker: Walker,
    author: Domain,
    each_method: bool,
}

/// The record that applies.
struct Applies {
    at: Domain,
    record: Record,
}

impl Evaluation {
    async fn judge(&mut self, identifiers: &[Identifier]) -> Result<Outcome, Problem> {
        let applies = match self.discover().await? {
            Ok(applies) => applies,
            Err(problem) => {
                return Ok(Outcome {
                    problem,
                    ..Outcome::new(Verdict::None)
                });
            }
        };
        let mut outcome = Outcome {
            record_at: Some(applies.at.clone()),
            record: Some(applies.record.clone()),
            ..Outcome::new(Verdict::Pass)
        };
        outcome.aligned = match self.aligned(identifiers, &applies.record).await {
            Ok(aligned) => aligned,
            Err(problem) => return Ok(self.unknown(&applies, problem).await),
        };
        if outcome.aligned.is_none() {
            let policy = self.policy(&applies).await?;
            outcome.verdict = Verdict::Fail;
            outcome.disposition = disposition(policy, applies.record.testing);
            outcome.requested = Some(policy);
        }
        if let Some(found) = outcome.aligned.as_ref().filter(|_| self.each_method) {
            outcome.also_aligned = self
                .also_aligned(identifiers, &applies.record, found.method)
                .await;
        }
        Ok(outcome)
    }

    /// Nobody knows whether somebody speaks for the author: nothing to wait for where the answer would change nothing.
    async fn unknown(&mut self, applies: &Applies, problem: Problem) -> Outcome {
        let asked_for = self.policy(applies).await;
        let asked_for = asked_for.map(|policy| disposition(policy, applies.record.testing));
        Outcome {
            disposition: match asked_for {
                Ok(Disposition::Accept) => Disposition::Accept,
                _ => Disposition::Defer,
            },
            problem: Some(problem),
            ..Outcome::new(Verdict::TempError)
        }
    }

    /// Section 4.10.1. The inner error: there is none, and why, where somebody should know.
    async fn discover(&mut self) -> Result<Result<Applies, Option<Problem>>, Problem> {
        let own = self.walker.look(&self.author).await?;
        if let Found::Record(record) = own {
            return Ok(Ok(Applies {
                at: self.author.clone(),
                record: *record,
            }));
        }
        let stops = self.walker.walk(&self.author).await?;
        Ok(inherited(&self.author, &stops))
    }

    /// The first identifier that speaks for the author. Error: one might, but nobody knows.
    async fn aligned(
        &mut self,
        identifiers: &[Identifier],
        record: &Record,
    ) -> Result<Option<Identifier>, Problem> {
        let mut unknown = None;
        for identifier in candidates(identifiers, &self.author) {
            let mode = mode(record, identifier.method);
            let aligned = self.is_aligned(&identifier.domain, mode).await;
            match (aligned, identifier.proof) {
                (Ok(true), Proof::Pass) => return Ok(Some(identifier.clone())),
                (Ok(true), _) => {
                    unknown.get_or_insert(Problem::NoResult(identifier.method));
                }
                (Ok(false), _) => {}
                (Err(problem), _) => {
                    unknown.get_or_insert(problem);
                }
            }
        }
        unknown.map_or(Ok(None), Err)
    }

    /// One that has passed by another method than this. Where nobody knows, none has.
    async fn also_aligned(
        &mut self,
        identifiers: &[Identifier],
        record: &Record,
        than: Method,
    ) -> Option<Identifier> {
        for identifier in candidates(identifiers, &self.author) {
            if identifier.method == than || identifier.proof != Proof::Pass {
                continue;
            }
            let mode = mode(record, identifier.method);
            if self.is_aligned(&identifier.domain, mode).await == Ok(true) {
                return Some(identifier.clone());
            }
        }
        None
    }

    /// Section 4.10.2.
    async fn is_aligned(&mut self, domain: &Domain, mode: Alignment) -> Result<bool, Problem> {
        if *domain == self.author {
            return Ok(true);
        }
        // An organisation is the last labels of each of its names: without a common one there is nothing to ask.
        if mode == Alignment::Strict || domain.last(1) != self.author.last(1) {
            return Ok(false);
        }
        let ours = self.walker.organization(&self.author).await?;
        Ok(domain.is_within(&ours) && self.walker.organization(domain).await? == ours)
    }

    /// What the owner asks for, for this author.
    async fn policy(&mut self, applies: &Applies) -> Result<Policy, Problem> {
        let record = &applies.record;
        if applies.at == self.author {
            return Ok(record.policy);
        }
        let existing = record.subdomains.unwrap_or(record.policy);
        match record.absent {
            Some(absent) if absent != existing => {
                let exists = self.walker.exists(&self.author).await?;
                Ok(if exists { existing } else { absent })
            }
            _ => Ok(existing),
        }
    }
}

fn mode(record: &Record, method: Method) -> Alignment {
    match method {
        Method::Spf => record.spf,
        Method::Dkim => record.dkim,
    }
}

/// Identifiers that may speak for somebody, each once: first those that need no question, and those that have passed.
fn candidates<'a>(identifiers: &'a [Identifier], author: &Domain) -> Vec<&'a Identifier> {
    let mut found: Vec<&Identifier> = identifiers
        .iter()
        .filter(|one| one.proof != Proof::Fail)
        .collect();
    found.sort_by_key(|one| (one.proof != Proof::Pass, one.domain != *author));
    let mut kept: Vec<&Identifier> = Vec::new();
    for one in found {
        if kept.len() < MOST_IDENTIFIERS && !kept.contains(&one) {
            kept.push(one);
        }
    }
    kept
}

/// The organisation's record, else that of the public suffix above it. Several records at a name are discarded, as if there
/// were none, and the walk goes on (section 4.10, steps 2 and 6). Where the author or the organisation has one that says
/// nothing clear, DMARC is not applied (section 4.10.1), so that nothing is inherited past that name.
fn inherited(author: &Domain, stops: &[Stop]) -> Result<Applies, Option<Problem>> {
    let organization = organization(author, stops);
    let mut seen = None;
    for stop in stops {
        let is_theirs = stop.name == *author || stop.name == organization;
        let problem = match &stop.found {
            Found::Record(record) if is_theirs || record.suffix == Suffix::Public => {
                return Ok(Applies {
                    at: stop.name.clone(),
                    record: (**record).clone(),
                });
            }
            Found::Nothing | Found::Record(_) => continue,
            Found::Several => Problem::SeveralRecords(stop.name.clone()),
            Found::Unusable(_) if is_theirs => return Err(Some(Problem::NoPolicy(stop.name.clone()))),
            Found::Unusable(_) => Problem::NoPolicy(stop.name.clone()),
        };
        seen.get_or_insert(problem);
    }
    Err(seen)
}

fn disposition(policy: Policy, testing: bool) -> Disposition {
    match if testing { policy.lowered() } else { policy } {
        Policy::None => Disposition::Accept,
        Policy::Quarantine => Disposition::Quarantine,
        Policy::Reject => Disposition::Reject,
    }
}

/// Identifiers that are compared; nobody needs more, and each may cost a walk.
const MOST_IDENTIFIERS: usize = 10;
