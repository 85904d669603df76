//! What `access` of the settings came to, as figures.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::access::blocklist::Word;

/// What a recipient was refused by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Check {
    /// A rule of `access.deny`.
    Deny,
    /// The client's name in the DNS.
    ReverseDns,
    /// Lists in the DNS.
    DnsBlocklist,
    /// It has to come again.
    Greylisting,
    /// There was too much of it.
    Rate,
}

/// What a list said of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Said {
    /// It is on it.
    Listed,
    /// It is not.
    NotListed,
    /// No answer.
    Unknown,
    /// It is no list.
    Broken,
}

/// Where an answer about a tuple or a count came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Answered {
    /// This pod.
    Here,
    /// The pod that it belongs to.
    Peer,
    /// That pod did not answer: the mail went on.
    Nobody,
}

/// Label `check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByCheck {
    /// By what.
    pub check: Check,
}

/// Labels of the lists.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByList {
    /// Its name, as it is shown.
    pub list: String,
    /// What it said.
    pub answer: Said,
}

/// Label `answered`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByAnswer {
    /// By whom.
    pub answered: Answered,
}

/// The figures.
#[derive(Clone, Debug, Default)]
pub struct AccessFigures {
    /// Recipients that were refused.
    pub denied: Family<ByCheck, Counter>,
    /// Answers of lists.
    pub lists: Family<ByList, Counter>,
    /// Questions about tuples and counts.
    pub questions: Family<ByAnswer, Counter>,
    /// Tuples that this pod knows.
    pub tuples: Gauge,
}

impl AccessFigures {
    pub(super) fn register(&self, to: &mut Registry) {
        to.register(
            "access_denied",
            "Recipients that access refused, by check",
            self.denied.clone(),
        );
        to.register(
            "dns_blocklist_answers",
            "Answers of DNS lists about clients",
            self.lists.clone(),
        );
        to.register(
            "shared_questions",
            "Questions about greylisting and rates, by who answered",
            self.questions.clone(),
        );
        to.register(
            "greylist_tuples",
            "Greylisting tuples that this pod knows",
            self.tuples.clone(),
        );
    }

    /// Counts a recipient that was refused.
    pub fn deny(&self, check: Check) {
        self.denied.get_or_create(&ByCheck { check }).inc();
    }

    /// Counts an answer of a list.
    pub fn listed(&self, list: &str, word: &Word) {
        let labels = ByList {
            list: list.to_owned(),
            answer: match word {
                Word::Listed(_) => Said::Listed,
                Word::NotListed => Said::NotListed,
                Word::Unknown => Said::Unknown,
                Word::Broken => Said::Broken,
            },
        };
        self.lists.get_or_create(&labels).inc();
    }

    /// Counts a question about a tuple or a count.
    pub fn asked(&self, answered: Answered) {
        self.questions.get_or_create(&ByAnswer { answered }).inc();
    }
}
