//! The tree walk, RFC 9989 section 4.10: which names have a record, from a domain up to its last label.
//!
//! ```text
//!   a.b.mail.example.com ─► _dmarc.a.b.mail.example.com ─► _dmarc.b.mail.example.com ─► … ─► _dmarc.com
//!                           └── psd=y or psd=n at a name: the walk ends there
//!   nine labels or more: the whole name, then its last seven labels: eight questions at most, in this order
//! ```
//!
//! An answer is kept, so that the walks of one message ask for each name once.

use std::collections::BTreeMap;

use super::record::{Record, Suffix, Text};
use super::{Domain, Problem};
use crate::dns::{Answer, Kind, Question, is_askable};
use crate::steps::Slot;

/// Questions of one walk.
pub const MOST_QUESTIONS: usize = 8;

/// What stands at a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No record of DMARC.
    Nothing,
    /// More than one, which counts as none.
    Several,
    /// One that says too little.
    Unusable(Suffix),
    /// One.
    Record(Box<Record>),
}

impl Found {
    fn suffix(&self) -> Suffix {
        match self {
            Self::Nothing | Self::Several => Suffix::Unsaid,
            Self::Unusable(suffix) => *suffix,
            Self::Record(record) => record.suffix,
        }
    }

    fn is_record(&self) -> bool {
        matches!(self, Self::Record(_))
    }
}

/// A name and what stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) name: Domain,
    pub(super) found: Found,
}

/// Asks for records, each name once.
pub(super) struct Walker {
    slot: Slot,
    known: BTreeMap<Domain, Result<Found, Problem>>,
}

impl Walker {
    pub(super) fn new(slot: Slot) -> Self {
        Self {
            slot,
            known: BTreeMap::new(),
        }
    }

    /// What stands at one name. Error: no answer.
    pub(super) async fn look(&mut self, name: &Domain) -> Result<Found, Problem> {
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        let found = self.ask(name).await;
        self.known.insert(name.clone(), found.clone());
        found
    }

    async fn ask(&self, name: &Domain) -> Result<Found, Problem> {
        let question = Question {
            name: format!("_dmarc.{name}"),
            kind: Kind::Txt,
        };
        if !is_askable(&question.name) {
            return Ok(Found::Nothing);
        }
        match self.slot.ask(question.clone()).await {
            Answer::Failure => Err(Problem::NoAnswer(question)),
            Answer::Txt(texts) => Ok(read(&texts)),
            _ => Ok(Found::Nothing),
        }
    }

    /// Whether the name exists: only NXDOMAIN says that it does not (RFC 9989 section 3.2.10, RFC 8020).
    pub(super) async fn exists(&self, name: &Domain) -> Result<bool, Problem> {
        let question = Question {
            name: name.to_string(),
            kind: Kind::A,
        };
        match self.slot.ask(question.clone()).await {
            Answer::Failure => Err(Problem::NoAnswer(question)),
            Answer::NxDomain => Ok(false),
            _ => Ok(true),
        }
    }

    /// Walks from a name to its end. Error: a name gave no answer, so that nobody knows what stands there.
    pub(super) async fn walk(&mut self, from: &Domain) -> Result<Vec<Stop>, Problem> {
        let mut stops = Vec::new();
        for name in names(from) {
            let found = self.look(&name).await?;
            let is_end = found.suffix() != Suffix::Unsaid;
            stops.push(Stop { name, found });
            if is_end {
                break;
            }
        }
        Ok(stops)
    }

    /// The organisation that a name belongs to (RFC 9989 section 4.10.2).
    pub(super) async fn organization(&mut self, of: &Domain) -> Result<Domain, Problem> {
        let stops = self.walk(of).await?;
        Ok(organization(of, &stops))
    }
}

/// The names that a walk asks for, in order.
fn names(from: &Domain) -> impl Iterator<Item = Domain> + use<> {
    let whole = from.clone();
    let above = (whole.labels() - 1).min(MOST_QUESTIONS - 1);
    std::iter::once(whole.clone()).chain((1..=above).rev().map(move |labels| whole.last(labels)))
}

/// Records among the TXT records of a name; what is not of DMARC is passed over.
fn read(texts: &[Vec<u8>]) -> Found {
    let mut found = Found::Nothing;
    for text in texts {
        let next = match Text::parse(text) {
            Text::Foreign => continue,
            Text::Unusable(suffix) => Found::Unusable(suffix),
            Text::Record(record) => Found::Record(Box::new(record)),
        };
        found = match found {
            Found::Nothing => next,
            _ => return Found::Several,
        };
    }
    found
}

/// Section 4.10.2, over the stops of a walk from the longest name to the shortest.
pub(super) fn organization(start: &Domain, stops: &[Stop]) -> Domain {
    for stop in stops.iter().filter(|stop| stop.found.is_record()) {
        match stop.found.suffix() {
            Suffix::Organization => return stop.name.clone(),
            Suffix::Public if stop.name != *start => return start.last(stop.name.labels() + 1),
            _ => {}
        }
    }
    let highest = stops.iter().rfind(|stop| stop.found.is_record());
    highest.map_or(start, |stop| &stop.name).clone()
}
