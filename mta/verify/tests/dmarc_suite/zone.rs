//! A few names, and one message that is judged by them.

use std::collections::BTreeMap;

use postroad_verify::dmarc::{Check, Domain, Identifier, Method, Outcome, Proof, Request, Step};
use postroad_verify::dns::{Answer, Kind, Question};

/// Names with their TXT records. What is not in it does not exist.
#[derive(Default)]
pub struct Zone(BTreeMap<String, Answer>);

impl Zone {
    /// One DMARC record.
    pub fn with(name: &str, record: &str) -> Self {
        Self::default().and(name, record)
    }

    /// One more.
    pub fn and(self, name: &str, record: &str) -> Self {
        self.texts(&format!("_dmarc.{name}"), &[record])
    }

    /// TXT records of any name.
    pub fn texts(self, name: &str, texts: &[&str]) -> Self {
        let texts = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        self.answer(name, Answer::Txt(texts))
    }

    /// Any answer, whatever is asked about the name.
    pub fn answer(mut self, name: &str, answer: Answer) -> Self {
        self.0.insert(name.to_owned(), answer);
        self
    }

    fn find(&self, question: &Question) -> Answer {
        match self.0.get(&question.name) {
            Some(Answer::Txt(_)) if question.kind != Kind::Txt => Answer::NoData,
            Some(answer) => answer.clone(),
            None => Answer::NxDomain,
        }
    }

    /// Judges a message from that domain.
    pub fn judge(&self, author: &str, identifiers: &[Identifier]) -> Outcome {
        self.asked(author, identifiers).0
    }

    /// The same, with the questions in their order.
    pub fn asked(&self, author: &str, identifiers: &[Identifier]) -> (Outcome, Vec<String>) {
        let request = Request {
            author: Ok(domain(author)),
            identifiers: identifiers.to_vec(),
            each_method: false,
        };
        let mut asked = Vec::new();
        let (mut check, mut step) = Check::start(request);
        loop {
            match step {
                Step::Done(outcome) => return (outcome, asked),
                Step::Ask(question) => {
                    asked.push(question.to_string());
                    step = check.answer(self.find(&question));
                }
            }
        }
    }
}

pub fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

pub fn spf(name: &str, proof: Proof) -> Identifier {
    Identifier {
        method: Method::Spf,
        domain: domain(name),
        proof,
    }
}

pub fn dkim(name: &str, proof: Proof) -> Identifier {
    Identifier {
        method: Method::Dkim,
        domain: domain(name),
        proof,
    }
}
