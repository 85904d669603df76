//! What filters said, as figures.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// In which protocol a filter is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Kind {
    /// Over HTTP.
    Rspamd,
    /// Over milter.
    Milter,
}

/// What it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Verdict {
    /// The message goes on.
    Accept,
    /// It is refused for good.
    Reject,
    /// It is refused for now.
    TempFail,
    /// It goes nowhere.
    Discard,
    /// It is held.
    Quarantine,
    /// The filter could not be asked.
    Failed,
}

impl Verdict {
    /// Of an answer.
    pub fn of(answer: &postroad_filter::Answer) -> Self {
        match &answer.verdict {
            postroad_filter::Verdict::Accept if answer.quarantine.is_some() => Self::Quarantine,
            postroad_filter::Verdict::Accept => Self::Accept,
            postroad_filter::Verdict::Refuse(refusal) if refusal.is_temporary() => Self::TempFail,
            postroad_filter::Verdict::Refuse(_) => Self::Reject,
            postroad_filter::Verdict::Discard => Self::Discard,
        }
    }
}

/// Labels of filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByKind {
    /// How it was asked.
    pub kind: Kind,
    /// What it said.
    pub verdict: Verdict,
}

/// The figures.
#[derive(Clone, Debug)]
pub struct Filters {
    said: Family<ByKind, Counter>,
    took: Histogram,
}

impl Default for Filters {
    fn default() -> Self {
        Self {
            said: Family::default(),
            // 1 ms to 131 s.
            took: Histogram::new(exponential_buckets(0.001, 2.0, 18)),
        }
    }
}

impl Filters {
    pub(super) fn register(&self, to: &mut Registry) {
        to.register(
            "filtered",
            "Messages that a filter was asked about, by its kind and what it said",
            self.said.clone(),
        );
        to.register_with_unit(
            "filter",
            "Time that one filter took for one message",
            Unit::Seconds,
            self.took.clone(),
        );
    }

    /// Counts what one filter said of one message.
    pub fn count(&self, kind: Kind, verdict: Verdict, took: Duration) {
        self.said.get_or_create(&ByKind { kind, verdict }).inc();
        self.took.observe(took.as_secs_f64());
    }
}
