//! Where others send reports about TLS with this domain (RFC 8460 section 3): one record, with every place that is wanted.

use postroad_verify::tls_rpt::{Record, RecordError};

use super::{Judgement, Opinion, Sought, Statement, no_answer, reasons};
use crate::dns::exchange::{Found, Trouble, texts};
use crate::dns::resolver::Observation;

/// What is wanted of the record.
#[derive(Clone, Copy, Debug)]
pub struct TlsRptWanted<'a> {
    /// `_smtp._tls.<domain>`.
    pub name: &'a str,
    /// Places that are in it; not empty.
    pub report_to: &'a [String],
}

impl TlsRptWanted<'_> {
    /// The text of the record.
    pub fn record(&self) -> String {
        format!("v=TLSRPTv1; rua={}", self.report_to.join(","))
    }
}

/// Judges the record as the servers gave it, or the trouble of finding the servers.
pub fn tls_rpt(wanted: &TlsRptWanted<'_>, seen: &Result<Vec<Observation>, Trouble>) -> Judgement {
    let expected = format!("\"{}\"", wanted.record());
    let sought = Sought {
        name: wanted.name,
        kind: "TXT",
        publish: format!("publish: {}. TXT {expected}", wanted.name),
        expected,
    };
    let statements = seen.as_ref().map(|list| {
        list.iter()
            .map(|observation| statement(wanted, observation))
            .collect()
    });
    sought.conclude(&statements.map_err(Clone::clone))
}

fn statement(wanted: &TlsRptWanted<'_>, observation: &Observation) -> Statement {
    let (observed, opinion) = match &observation.seen {
        Err(trouble) => (String::new(), no_answer(trouble)),
        Ok(Found::Records(records)) => {
            let list = texts(records);
            let shown: Vec<_> = list.iter().take(3).map(|text| super::spf::shown(text)).collect();
            (shown.join(", "), judged(wanted, &list))
        }
        Ok(_) => (String::new(), judged(wanted, &[])),
    };
    Statement {
        server: observation.server.clone(),
        observed,
        opinion,
    }
}

fn judged(wanted: &TlsRptWanted<'_>, texts: &[Vec<u8>]) -> Opinion {
    let record = match Record::of(texts) {
        Ok(record) => record,
        Err(error) => {
            let reason = match error {
                RecordError::Missing => reasons::TLSRPT_MISSING,
                RecordError::Several => reasons::TLSRPT_SEVERAL,
                RecordError::Syntax => reasons::TLSRPT_INVALID,
            };
            return Opinion::Bad(reason, error.to_string());
        }
    };
    let lacks = wanted.report_to.iter().find(|place| !record.rua.contains(place));
    match lacks {
        Some(place) => Opinion::Bad(
            reasons::TLSRPT_ELSEWHERE,
            format!("the record does not name {place}"),
        ),
        None => Opinion::Good(reasons::TLSRPT_FOUND, "the record names every place".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::RData;
    use hickory_resolver::proto::rr::rdata::TXT;

    use super::*;
    use crate::dns::judge::Ruling::{self, False, True, Unknown};

    fn said(seen: Result<Found, Trouble>) -> Observation {
        Observation {
            server: "ns1".to_owned(),
            seen,
        }
    }

    fn records(texts: &[&str]) -> Observation {
        let one = |text: &&str| RData::TXT(TXT::new(vec![(*text).to_owned()]));
        said(Ok(Found::Records(texts.iter().map(one).collect())))
    }

    fn judge(seen: Vec<Observation>) -> (Ruling, &'static str, String) {
        let report_to = [
            "mailto:tls@example.com".to_owned(),
            "https://r.example/".to_owned(),
        ];
        let wanted = TlsRptWanted {
            name: "_smtp._tls.example.com",
            report_to: &report_to,
        };
        let judged = tls_rpt(&wanted, &Ok(seen));
        (judged.ruling, judged.reason, judged.message)
    }

    #[test]
    fn every_place_must_be_in_one_record() {
        let good = "v=TLSRPTv1; rua=mailto:x@y.example, https://r.example/,mailto:tls@example.com";
        for (seen, ruling, reason) in [
            (records(&[good, "v=spf1 -all"]), True, reasons::TLSRPT_FOUND),
            (records(&[good, good]), False, reasons::TLSRPT_SEVERAL),
            (records(&["v=spf1 -all"]), False, reasons::TLSRPT_MISSING),
            (said(Ok(Found::NxDomain)), False, reasons::TLSRPT_MISSING),
            (said(Ok(Found::NoData)), False, reasons::TLSRPT_MISSING),
            (
                records(&["v=TLSRPTv1; rua=nobody"]),
                False,
                reasons::TLSRPT_INVALID,
            ),
            (
                records(&["v=TLSRPTv1; rua=mailto:tls@example.com"]),
                False,
                reasons::TLSRPT_ELSEWHERE,
            ),
            (said(Err(Trouble::TimedOut)), Unknown, reasons::NO_ANSWER),
        ] {
            let judged = judge(vec![seen]);
            assert_eq!((judged.0, judged.1), (ruling, reason), "{judged:?}");
        }
        let (_, _, message) = judge(vec![said(Ok(Found::NoData))]);
        let mend = "publish: _smtp._tls.example.com. TXT \"v=TLSRPTv1; rua=mailto:tls@example.com,https://r.example/\"";
        assert!(message.contains(mend), "{message}");
    }
}
