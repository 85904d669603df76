//! Reports that we send to others about their own domains, as figures.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::reports::Kind;

/// What became of a report to one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum End {
    /// It is in the queue.
    Queued,
    /// It went another way than by mail.
    Posted,
    /// The place does not get it.
    LeftOut,
    /// It could not be sent for days.
    TooOld,
}

/// Label `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Of {
    /// DMARC.
    Dmarc,
    /// TLS.
    Tls,
}

/// Labels of reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByEnd {
    /// About what.
    pub kind: Of,
    /// What became of it.
    pub end: End,
}

/// Label of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByKind {
    /// About what.
    pub kind: Of,
}

/// The figures.
#[derive(Clone, Debug, Default)]
pub struct ReportFigures {
    /// Reports, for each place that one was to go to.
    pub reports: Family<ByEnd, Counter>,
    /// Rows that there was no room for.
    pub rows_left_out: Family<ByKind, Counter>,
    /// Rows that wait for their day's end.
    pub rows: Gauge,
}

impl ReportFigures {
    pub(super) fn register(&self, to: &mut Registry) {
        to.register(
            "reports",
            "Reports to domains, by what became of them",
            self.reports.clone(),
        );
        to.register(
            "report_rows_left_out",
            "Rows of reports that there was no room for",
            self.rows_left_out.clone(),
        );
        to.register(
            "report_rows",
            "Rows of reports that this pod has",
            self.rows.clone(),
        );
    }

    /// Counts what became of a report.
    pub fn ended(&self, kind: Kind, end: End) {
        let kind = of(kind);
        self.reports.get_or_create(&ByEnd { kind, end }).inc();
    }

    /// Counts rows that there was no room for.
    pub fn left_out(&self, kind: Kind, rows: u64) {
        let kind = of(kind);
        self.rows_left_out.get_or_create(&ByKind { kind }).inc_by(rows);
    }
}

fn of(kind: Kind) -> Of {
    match kind {
        Kind::Dmarc => Of::Dmarc,
        Kind::Tls => Of::Tls,
    }
}
