//! The state of a chain (RFC 8617 section 5.2): its structure, the newest message signature, and every seal.

use std::fmt;

use super::chain::{self, Fields, MOST_SETS};
use crate::dkim::algorithm::HeaderHasher;
use crate::dkim::lookup::KeyLookup;
use crate::dkim::signature::{Basics, Signature, absorb_own};
use crate::dkim::tags::{TagError, Tags};
use crate::dkim::verify::{body_agrees, in_time, made_in_time};
use crate::dkim::{self, BodyHashes, Canonicalization, Field, Header, HeaderHash, Limits, Wanted};
use crate::dns::{Answer, Question};

/// State of a chain (RFC 8617 section 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// There is no chain.
    None,
    /// All seals and the newest message signature verify.
    Pass,
    /// Something is wrong with it.
    Fail,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
        })
    }
}

/// Why a chain fails. Each text is one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A field without a proper instance.
    #[error("a field of the chain has no proper i=")]
    Instance,
    /// Two fields of a kind in one set.
    #[error("set {0} of the chain has a field twice")]
    Twice(u8),
    /// A field is missing, or a whole set.
    #[error("set {0} of the chain is not complete")]
    Incomplete(u8),
    /// More sets than a chain may have.
    #[error("the chain has more than {MOST_SETS} sets")]
    TooMany,
    /// A field that is too large to look at.
    #[error("{0} is too large")]
    TooLarge(&'static str),
    /// `cv=` of a seal is not what its place demands.
    #[error("seal {0} has no proper cv=")]
    State(u8),
    /// A sealer found that the chain had failed before: nobody may add to it (section 5.1.2).
    #[error("seal {0} says that the chain had failed before")]
    FailedBefore(u8),
    /// A seal has a tag that it may not have (section 4.1.3).
    #[error("seal {0} names signed fields (h=)")]
    SealNames(u8),
    /// A seal does not verify.
    #[error("seal {0}: {1}")]
    Seal(u8, dkim::Problem),
    /// A field of the chain is no list of tags.
    #[error("a field of the chain cannot be read: {0}")]
    Tags(#[from] TagError),
    /// The newest message signature does not verify.
    #[error("message signature: {0}")]
    Signature(#[from] dkim::Problem),
}

impl Problem {
    /// Whether another time it may work: a look-up failed.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Seal(_, problem) | Self::Signature(problem) => {
                problem.verdict() == dkim::Verdict::TempError
            }
            _ => false,
        }
    }
}

/// One set, as its sealer wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// `i=`, from 1.
    pub instance: u8,
    /// `d=` of the seal, in lower case, as A-labels: whom to trust, or not.
    pub sealer: String,
    /// `s=` of the seal.
    pub selector: String,
    /// What the sealer found, without `i=`, unfolded. Only as true as the sealer is.
    pub results: String,
}

/// What a chain came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The state.
    pub verdict: Verdict,
    /// Its sets, the oldest first. Empty unless the state is `pass`.
    pub sets: Vec<Set>,
    /// Whether the newest message signature covers From; without it, what a set says of the author may be of another.
    pub author_signed: bool,
    /// Why the state is `fail`.
    pub problem: Option<Problem>,
}

/// A chain under verification.
#[derive(Clone, Debug)]
pub struct Verifier(Result<Option<Checks>, Problem>);

/// What is still to be compared.
#[derive(Clone, Debug)]
struct Checks {
    message: (Signature, HeaderHash, KeyLookup),
    seals: Vec<Seal>,
}

#[derive(Clone, Debug)]
struct Seal {
    set: Set,
    basics: Basics,
    hash: HeaderHash,
    key: KeyLookup,
}

impl Verifier {
    /// Reads the chain and hashes what it signs of the header. `now`: seconds since 1970. What it needs of the body is added
    /// to `wanted`. Of `limits`, those of sizes and clocks count.
    pub fn new(header: &Header<'_>, limits: &Limits, now: u64, wanted: &mut Wanted) -> Self {
        Self(checks(header, limits, now).inspect(|checks| {
            if let Some(checks) = checks {
                wanted.add(checks.message.0.body, checks.message.0.length);
            }
        }))
    }

    /// What to ask of DNS, each question once.
    pub fn questions(&self) -> Vec<Question> {
        let mut questions: Vec<Question> = Vec::new();
        if let Ok(Some(checks)) = &self.0 {
            let seals = checks.seals.iter().map(|seal| &seal.key.question);
            for question in std::iter::once(&checks.message.2.question).chain(seals) {
                if !questions.contains(question) {
                    questions.push(question.clone());
                }
            }
        }
        questions
    }

    /// What became of a question. The first answer counts.
    pub fn answer(&mut self, question: &Question, answer: &Answer) {
        if let Ok(Some(checks)) = &mut self.0 {
            checks.message.2.answer(question, answer);
            for seal in &mut checks.seals {
                seal.key.answer(question, answer);
            }
        }
    }

    /// Gives the state. A question without an answer counts as failed.
    pub fn finish(self, body: &BodyHashes) -> Outcome {
        let author_signed = matches!(&self.0, Ok(Some(checks)) if checks.message.0.signs("from"));
        let sets = self.0.and_then(|checks| match checks {
            Some(checks) => checks.finish(body).map(Some),
            None => Ok(None),
        });
        match sets {
            Ok(None) => Outcome {
                verdict: Verdict::None,
                sets: Vec::new(),
                author_signed: false,
                problem: None,
            },
            Ok(Some(sets)) => Outcome {
                verdict: Verdict::Pass,
                sets,
                author_signed,
                problem: None,
            },
            Err(problem) => Outcome {
                verdict: Verdict::Fail,
                sets: Vec::new(),
                author_signed: false,
                problem: Some(problem),
            },
        }
    }
}

impl Checks {
    fn finish(self, body: &BodyHashes) -> Result<Vec<Set>, Problem> {
        let (signature, hash, key) = &self.message;
        body_agrees(signature, body)?;
        key.verify(&signature.basics, hash, |_| Ok(()))?;
        self.seals
            .into_iter()
            .map(|seal| {
                let verified = seal.key.verify(&seal.basics, &seal.hash, |_| Ok(()));
                verified.map_err(|problem| Problem::Seal(seal.set.instance, problem))?;
                Ok(seal.set)
            })
            .collect()
    }
}

/// All that the header alone decides. None: there is no chain.
fn checks(header: &Header<'_>, limits: &Limits, now: u64) -> Result<Option<Checks>, Problem> {
    let sets = chain::sets(header)?;
    let Some(newest) = sets.last() else {
        return Ok(None);
    };
    let octets: usize = header.fields().iter().map(|field| field.raw().len() + 2).sum();
    if octets > limits.header_octets {
        return Err(dkim::Problem::LargeHeader(limits.header_octets).into());
    }
    states(&sets)?;
    let message = {
        let mut signature = Signature::arc(&Tags::parse(newest.message.value())?)?;
        in_time(&signature, limits, now)?;
        let hash = signature.hash(header, newest.message_at, newest.message);
        signature.hashed();
        let key = KeyLookup::new(&signature.basics)?;
        (signature, hash, key)
    };
    let mut hasher = HeaderHasher::new();
    let mut seals = Vec::with_capacity(sets.len());
    for fields in &sets {
        let seal = Seal::new(fields, &mut hasher, limits, now);
        seals.push(seal.map_err(|problem| Problem::Seal(fields.instance, problem))?);
    }
    Ok(Some(Checks { message, seals }))
}

/// `cv=` of every seal (section 5.2, steps 1 and 3): the first found no chain, the others one that passed.
fn states(sets: &[Fields<'_>]) -> Result<(), Problem> {
    for fields in sets.iter().rev() {
        let instance = fields.instance;
        let tags = Tags::parse(fields.seal.value())?;
        let state = tags.value("cv").unwrap_or_default();
        let wanted = if instance == 1 { "none" } else { "pass" };
        if state.eq_ignore_ascii_case("fail") {
            return Err(Problem::FailedBefore(instance));
        }
        if !state.eq_ignore_ascii_case(wanted) {
            return Err(Problem::State(instance));
        }
        if tags.find("h").is_some() {
            return Err(Problem::SealNames(instance));
        }
    }
    Ok(())
}

impl Seal {
    /// `hasher`: has taken the older sets, and takes this one.
    fn new(
        fields: &Fields<'_>,
        hasher: &mut HeaderHasher,
        limits: &Limits,
        now: u64,
    ) -> Result<Self, dkim::Problem> {
        let basics = Basics::read(&Tags::parse(fields.seal.value())?)?;
        made_in_time(basics.signed_at, limits, now)?;
        absorb(hasher, fields.results);
        absorb(hasher, fields.message);
        let mut own = hasher.clone();
        let mut text = Vec::new();
        absorb_own(
            Canonicalization::Relaxed,
            fields.seal,
            basics.span.clone(),
            &mut text,
        );
        own.update(&text);
        absorb(hasher, fields.seal);
        let (_, results) = chain::results(fields.results.value()).unwrap_or_default();
        Ok(Self {
            set: Set {
                instance: fields.instance,
                sealer: basics.domain.clone(),
                selector: basics.selector.clone(),
                results: unfolded(results),
            },
            key: KeyLookup::new(&basics)?,
            basics,
            hash: own.finish(),
        })
    }
}

/// A whole field, canonical (section 5.1.1: relaxed).
pub(super) fn absorb(hasher: &mut HeaderHasher, field: &Field<'_>) {
    let mut text = Vec::new();
    Canonicalization::Relaxed.field(field, &mut text);
    text.extend_from_slice(b"\r\n");
    hasher.update(&text);
}

/// Text on one line, without control characters.
pub(super) fn unfolded(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let words = text.split(|letter: char| letter.is_ascii_whitespace() || letter.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}
