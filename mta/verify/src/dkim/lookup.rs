//! The way from a signature to its key (RFC 6376 section 6.1.2), and whether the key says that the signature is right.

use super::key::{KeyError, KeyRecord};
use super::signature::Basics;
use super::{HeaderHash, Problem};
use crate::dns::{Answer, Question};

/// The way from a signature to its key.
#[derive(Clone, Debug)]
pub(crate) struct KeyLookup {
    pub(crate) question: Question,
    answer: Option<Answer>,
}

impl KeyLookup {
    pub(crate) fn new(basics: &Basics) -> Result<Self, Problem> {
        let question = basics.question().ok_or(Problem::Name)?;
        Ok(Self {
            question,
            answer: None,
        })
    }

    pub(crate) fn answer(&mut self, question: &Question, answer: &Answer) {
        if self.answer.is_none() && self.question == *question {
            self.answer = Some(answer.clone());
        }
    }

    /// Tries the records that there are (RFC 6376 section 6.1.2, item 4), and gives the one that verifies.
    pub(crate) fn verify(
        &self,
        basics: &Basics,
        hash: &HeaderHash,
        allows: impl Fn(&KeyRecord) -> Result<(), KeyError>,
    ) -> Result<KeyRecord, Problem> {
        let none = || Problem::NoKey(self.question.name.clone());
        let texts = match &self.answer {
            Some(Answer::Txt(texts)) => texts,
            Some(Answer::NoData | Answer::NxDomain) => return Err(none()),
            _ => return Err(Problem::NoAnswer(self.question.clone())),
        };
        let mut problem = none();
        for text in texts.iter().take(MOST_RECORDS) {
            match try_record(text, basics, hash, &allows) {
                Ok(record) => return Ok(record),
                Err(found) => problem = worse(problem, found),
            }
        }
        Err(problem)
    }

    /// Whether any record says that the domain tests.
    pub(super) fn testing(&self) -> bool {
        match &self.answer {
            Some(Answer::Txt(texts)) => texts
                .iter()
                .take(MOST_RECORDS)
                .any(|text| KeyRecord::parse(text).is_ok_and(|record| record.testing)),
            _ => false,
        }
    }
}

fn try_record(
    text: &[u8],
    basics: &Basics,
    hash: &HeaderHash,
    allows: impl Fn(&KeyRecord) -> Result<(), KeyError>,
) -> Result<KeyRecord, Problem> {
    let record = KeyRecord::parse(text)?;
    if record.key.algorithm() != basics.algorithm {
        return Err(KeyError::Type(record.key.algorithm().key_type().to_owned()).into());
    }
    allows(&record)?;
    if record.key.verifies(hash, &basics.signature) {
        Ok(record)
    } else {
        Err(Problem::Wrong)
    }
}

/// Of two reasons the one that says more: that a proper key does not fit says more than that another text is no key.
fn worse(one: Problem, other: Problem) -> Problem {
    let weight = |problem: &Problem| match problem {
        Problem::Wrong => 3,
        Problem::Key(KeyError::Tags(_) | KeyError::Version | KeyError::NoKey) => 1,
        Problem::Key(_) => 2,
        _ => 0,
    };
    if weight(&other) > weight(&one) { other } else { one }
}

/// TXT records at the name of a key that are looked at. There should be one (RFC 6376 section 3.6.2.2).
const MOST_RECORDS: usize = 4;
