//! Verification (RFC 6376 section 6): all signatures of a message at once, their keys asked for while the body arrives.
//!
//! May assume: the caller hands over the header section as it came, and the time. Work is bounded by [`Limits`]:
//! signatures beyond them are counted, not read.

use super::body::{BodyHashes, Wanted};
use super::header::{Field, Header};
use super::key::{KeyError, KeyRecord};
use super::lookup::KeyLookup;
use super::outcome::{Outcome, Verdict};
use super::signature::Signature;
use super::tags::Tags;
use super::{HeaderHash, Problem};
use crate::dns::{Answer, Question};

/// Bounds of what is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Signatures of one message, from the top.
    pub signatures: usize,
    /// Octets of one signature field.
    pub signature_octets: usize,
    /// Octets of the header section.
    pub header_octets: usize,
    /// Seconds that clocks may differ, for `t=` and `x=`.
    pub clock_skew: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            signatures: 10,
            signature_octets: 32 * 1024,
            header_octets: 1024 * 1024,
            clock_skew: 300,
        }
    }
}

/// Signatures of one message under verification.
#[derive(Clone, Debug)]
pub struct Verifier {
    signatures: Vec<Entry>,
    skipped: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    outcome: Outcome,
    check: Option<Check>,
}

/// What is still to be compared.
#[derive(Clone, Debug)]
struct Check {
    signature: Signature,
    hash: HeaderHash,
    key: KeyLookup,
}

impl Verifier {
    /// Reads the signatures and hashes what they sign of the header. `now`: seconds since 1970. What they need of the body
    /// is added to `wanted`.
    pub fn new(header: &Header<'_>, limits: &Limits, now: u64, wanted: &mut Wanted) -> Self {
        let mut positions = header.positions(b"DKIM-Signature").iter().rev();
        let octets: usize = header.fields().iter().map(|field| field.raw().len() + 2).sum();
        let signatures = positions
            .by_ref()
            .take(limits.signatures)
            .filter_map(|at| Some((*at, header.fields().get(*at)?)))
            .map(|(at, field)| {
                if octets > limits.header_octets {
                    return Entry::refused(Problem::LargeHeader(limits.header_octets));
                }
                Entry::new(header, at, field, limits, now, wanted)
            })
            .collect();
        let skipped = positions.len();
        Self { signatures, skipped }
    }

    /// What to ask of DNS, each question once.
    pub fn questions(&self) -> Vec<Question> {
        let mut questions: Vec<Question> = Vec::new();
        for check in self.signatures.iter().filter_map(|entry| entry.check.as_ref()) {
            if !questions.contains(&check.key.question) {
                questions.push(check.key.question.clone());
            }
        }
        questions
    }

    /// What became of a question. The first answer counts.
    pub fn answer(&mut self, question: &Question, answer: &Answer) {
        for check in self
            .signatures
            .iter_mut()
            .filter_map(|entry| entry.check.as_mut())
        {
            check.key.answer(question, answer);
        }
    }

    /// Gives one outcome for each signature, top to bottom; none where there is no signature. A question without an answer
    /// counts as failed.
    pub fn finish(self, body: &BodyHashes) -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> = self
            .signatures
            .into_iter()
            .map(|entry| entry.finish(body))
            .collect();
        if self.skipped > 0 {
            outcomes.push(Entry::refused(Problem::TooMany(self.skipped)).outcome);
        }
        outcomes
    }
}

impl Entry {
    fn new(
        header: &Header<'_>,
        at: usize,
        field: &Field<'_>,
        limits: &Limits,
        now: u64,
        wanted: &mut Wanted,
    ) -> Self {
        if field.raw().len() > limits.signature_octets {
            return Self::refused(Problem::TooLarge(limits.signature_octets));
        }
        let tags = match Tags::parse(field.value()) {
            Ok(tags) => tags,
            Err(error) => return Self::refused(error.into()),
        };
        let mut entry = Self {
            outcome: Outcome::described(&tags),
            check: None,
        };
        let check = Signature::dkim(&tags).and_then(|mut signature| {
            in_time(&signature, limits, now)?;
            let key = KeyLookup::new(&signature.basics)?;
            let hash = signature.hash(header, at, field);
            signature.hashed();
            Ok(Check { signature, hash, key })
        });
        match check {
            Ok(check) => {
                wanted.add(check.signature.body, check.signature.length);
                entry.check = Some(check);
            }
            Err(problem) => entry.outcome.set(problem),
        }
        entry
    }

    /// A signature that is not read.
    fn refused(problem: Problem) -> Self {
        let mut outcome = Outcome::NOTHING;
        outcome.set(problem);
        Self { outcome, check: None }
    }

    fn finish(self, body: &BodyHashes) -> Outcome {
        let mut outcome = self.outcome;
        if let Some(check) = self.check {
            match check.finish(body) {
                Ok(record) => {
                    outcome.verdict = Verdict::Pass;
                    outcome.key_bits = Some(record.key.bits());
                    outcome.testing = record.testing;
                }
                Err(problem) => {
                    outcome.testing = check.key.testing();
                    outcome.set(problem);
                }
            }
        }
        outcome
    }
}

impl Check {
    fn finish(&self, body: &BodyHashes) -> Result<KeyRecord, Problem> {
        // The body first: it needs no key.
        let hashed = body_agrees(&self.signature, body);
        if let Err(problem) = &hashed
            && !matches!(problem, Problem::PartlySigned { .. })
        {
            return Err(problem.clone());
        }
        let own_identity = self.signature.own_identity;
        let record = self.key.verify(&self.signature.basics, &self.hash, |record| {
            // RFC 6376 section 3.6.1, t=s
            if record.strict && !own_identity {
                return Err(KeyError::Strict);
            }
            Ok(())
        })?;
        // All else is right, so that the rest of the body is the only reason.
        hashed.map(|()| record)
    }
}

/// RFC 6376 section 3.5: a signature may say when it was made and when it ends.
pub(crate) fn in_time(signature: &Signature, limits: &Limits, now: u64) -> Result<(), Problem> {
    if let Some(expires) = signature.expires
        && now > expires.saturating_add(limits.clock_skew)
    {
        return Err(Problem::Expired(expires));
    }
    made_in_time(signature.basics.signed_at, limits, now)
}

pub(crate) fn made_in_time(signed_at: Option<u64>, limits: &Limits, now: u64) -> Result<(), Problem> {
    match signed_at {
        Some(signed) if signed > now.saturating_add(limits.clock_skew) => Err(Problem::Future(signed)),
        _ => Ok(()),
    }
}

/// Whether the body is the signed one, and all of it (RFC 6376 section 8.2: what `l=` leaves out may be anything).
pub(crate) fn body_agrees(signature: &Signature, body: &BodyHashes) -> Result<(), Problem> {
    let hash = body
        .find(signature.body, signature.length)
        .ok_or(Problem::NoBody)?;
    let octets = hash.octets;
    match signature.length {
        Some(signed) if signed > octets => Err(Problem::Shortened { signed, octets }),
        _ if hash.sha256[..] != signature.body_hash[..] => Err(Problem::BodyChanged),
        Some(signed) if signed < octets => Err(Problem::PartlySigned { signed, octets }),
        _ => Ok(()),
    }
}
