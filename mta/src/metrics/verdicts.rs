//! What sender authentication came to, as figures.

use postroad_verify::{arc, dkim, dmarc, spf};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What a method came to (RFC 8601 section 2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Verdict {
    /// Nothing is published, or the message has nothing of the kind.
    None,
    /// The domain makes no statement, or what is there cannot be read.
    Neutral,
    /// It holds.
    Pass,
    /// It does not.
    Fail,
    /// It probably does not.
    SoftFail,
    /// It is not accepted here.
    Policy,
    /// The DNS gave no answer.
    TempError,
    /// What is published, or signed, can never hold.
    PermError,
}

/// What a verdict of DMARC asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Disposition {
    /// To be taken like any mail.
    Accept,
    /// To be taken with suspicion.
    Quarantine,
    /// To be refused.
    Reject,
    /// Not known now.
    Defer,
}

/// Label `verdict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByVerdict {
    /// Of the method.
    pub verdict: Verdict,
}

/// Labels of DMARC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByDisposition {
    /// What it came to.
    pub verdict: Verdict,
    /// What that asks for, whether or not it is done here.
    pub disposition: Disposition,
}

/// The figures.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    /// Transactions that SPF was asked about, by verdict of the reverse-path, or of the HELO name where that is null.
    pub spf: Family<ByVerdict, Counter>,
    /// Messages whose signatures were looked at, by the best verdict of one.
    pub dkim: Family<ByVerdict, Counter>,
    /// Messages whose chain was looked at.
    pub arc: Family<ByVerdict, Counter>,
    /// Messages that DMARC was asked about.
    pub dmarc: Family<ByDisposition, Counter>,
    /// Fields of strangers that claimed to be our Authentication-Results.
    pub forged_results: Counter,
}

impl Verdicts {
    pub(super) fn register(&self, to: &mut Registry) {
        to.register(
            "spf",
            "Transactions that SPF was asked about, by verdict",
            self.spf.clone(),
        );
        to.register(
            "dkim",
            "Messages whose DKIM signatures were looked at, by the best verdict",
            self.dkim.clone(),
        );
        to.register(
            "arc",
            "Messages whose ARC chain was looked at, by verdict",
            self.arc.clone(),
        );
        to.register(
            "dmarc",
            "Messages that DMARC was asked about, by verdict and by what that asks for",
            self.dmarc.clone(),
        );
        to.register(
            "forged_results",
            "Fields of strangers that claimed to be our Authentication-Results",
            self.forged_results.clone(),
        );
    }

    /// Counts a transaction.
    pub fn count_spf(&self, verdict: spf::Verdict) {
        count(&self.spf, of_spf(verdict));
    }

    /// Counts a message by its best signature.
    pub fn count_dkim(&self, verdict: dkim::Verdict) {
        count(&self.dkim, of_dkim(verdict));
    }

    /// Counts a message by its chain.
    pub fn count_arc(&self, verdict: arc::Verdict) {
        count(&self.arc, of_arc(verdict));
    }

    /// Counts a message by what the author's domain says to it.
    pub fn count_dmarc(&self, outcome: &dmarc::Outcome) {
        let labels = ByDisposition {
            verdict: of_dmarc(outcome.verdict),
            disposition: match outcome.disposition {
                dmarc::Disposition::Accept => Disposition::Accept,
                dmarc::Disposition::Quarantine => Disposition::Quarantine,
                dmarc::Disposition::Reject => Disposition::Reject,
                dmarc::Disposition::Defer => Disposition::Defer,
            },
        };
        self.dmarc.get_or_create(&labels).inc();
    }
}

fn count(family: &Family<ByVerdict, Counter>, verdict: Verdict) {
    family.get_or_create(&ByVerdict { verdict }).inc();
}

fn of_spf(verdict: spf::Verdict) -> Verdict {
    match verdict {
        spf::Verdict::None => Verdict::None,
        spf::Verdict::Neutral => Verdict::Neutral,
        spf::Verdict::Pass => Verdict::Pass,
        spf::Verdict::Fail => Verdict::Fail,
        spf::Verdict::SoftFail => Verdict::SoftFail,
        spf::Verdict::TempError => Verdict::TempError,
        spf::Verdict::PermError => Verdict::PermError,
    }
}

fn of_dkim(verdict: dkim::Verdict) -> Verdict {
    match verdict {
        dkim::Verdict::None => Verdict::None,
        dkim::Verdict::Pass => Verdict::Pass,
        dkim::Verdict::Fail => Verdict::Fail,
        dkim::Verdict::Policy => Verdict::Policy,
        dkim::Verdict::Neutral => Verdict::Neutral,
        dkim::Verdict::TempError => Verdict::TempError,
        dkim::Verdict::PermError => Verdict::PermError,
    }
}

fn of_arc(verdict: arc::Verdict) -> Verdict {
    match verdict {
        arc::Verdict::None => Verdict::None,
        arc::Verdict::Pass => Verdict::Pass,
        arc::Verdict::Fail => Verdict::Fail,
    }
}

fn of_dmarc(verdict: dmarc::Verdict) -> Verdict {
    match verdict {
        dmarc::Verdict::None => Verdict::None,
        dmarc::Verdict::Pass => Verdict::Pass,
        dmarc::Verdict::Fail => Verdict::Fail,
        dmarc::Verdict::TempError => Verdict::TempError,
        dmarc::Verdict::PermError => Verdict::PermError,
    }
}

#[cfg(test)]
pub(crate) fn sample(metrics: &Verdicts) {
    metrics.count_spf(spf::Verdict::Pass);
    metrics.count_dkim(dkim::Verdict::Pass);
    metrics.count_arc(arc::Verdict::None);
    let message = dmarc::Request {
        author: Err(dmarc::FromError::Missing),
        identifiers: Vec::new(),
        each_method: false,
    };
    let outcome = dmarc::Check::run(message, |_| postroad_verify::dns::Answer::Failure);
    metrics.count_dmarc(&outcome);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verdict_is_a_series_and_no_text_of_a_stranger_is() {
        let verdicts = Verdicts::default();
        let mut registry = Registry::default();
        verdicts.register(&mut registry);
        sample(&verdicts);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "spf_total{verdict=\"Pass\"} 1",
            "dkim_total{verdict=\"Pass\"} 1",
            "arc_total{verdict=\"None\"} 1",
            "dmarc_total{verdict=\"PermError\",disposition=\"Reject\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
