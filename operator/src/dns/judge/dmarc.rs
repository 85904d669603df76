//! What others are asked to do with mail in the domain's name (RFC 9989 section 4.7): one record, with the policy and every place that
//! are wanted.

use postroad_verify::dmarc::Policy;
use postroad_verify::dmarc::record::{Record, Text};

use super::{Judgement, Opinion, Sought, Statement, no_answer, reasons};
use crate::dns::exchange::{Found, Trouble, texts};
use crate::dns::resolver::Observation;

/// What is wanted of the record.
#[derive(Clone, Copy, Debug)]
pub struct DmarcWanted<'a> {
    /// `_dmarc.<domain>`.
    pub name: &'a str,
    /// What it asks for.
    pub policy: Policy,
    /// Places that are in it.
    pub report_to: &'a [String],
}

impl DmarcWanted<'_> {
    /// The text of the record.
    pub fn record(&self) -> String {
        let places = if self.report_to.is_empty() {
            String::new()
        } else {
            format!("; rua={}", self.report_to.join(","))
        };
        format!("v=DMARC1; p={}{places}", self.policy.as_str())
    }
}

/// Judges the record as the servers gave it, or the trouble of finding the servers.
pub fn dmarc(wanted: &DmarcWanted<'_>, seen: &Result<Vec<Observation>, Trouble>) -> Judgement {
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

fn statement(wanted: &DmarcWanted<'_>, observation: &Observation) -> Statement {
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

fn judged(wanted: &DmarcWanted<'_>, texts: &[Vec<u8>]) -> Opinion {
    let parsed = texts.iter().map(|text| Text::parse(text));
    let mut ours: Vec<Text> = parsed.filter(|text| *text != Text::Foreign).collect();
    match (ours.pop(), ours.is_empty()) {
        (None, _) => Opinion::Bad(reasons::DMARC_MISSING, "there is no DMARC record".to_owned()),
        // RFC 9989 section 4.10: of several none counts.
        (Some(_), false) => Opinion::Bad(
            reasons::DMARC_SEVERAL,
            "there are several DMARC records, and others go by none of them".to_owned(),
        ),
        (Some(Text::Record(record)), true) => opinion(wanted, &record),
        (Some(_), true) => Opinion::Bad(
            reasons::DMARC_INVALID,
            "the DMARC record has no policy that others know".to_owned(),
        ),
    }
}

fn opinion(wanted: &DmarcWanted<'_>, record: &Record) -> Opinion {
    let (asked, policy) = (record.policy.as_str(), wanted.policy.as_str());
    if record.policy != wanted.policy {
        return Opinion::Bad(
            reasons::DMARC_POLICY_DIFFERS,
            format!("the record asks for {asked}, and {policy} is wanted"),
        );
    }
    if record.testing && record.policy.lowered() != record.policy {
        return Opinion::Bad(
            reasons::DMARC_POLICY_DIFFERS,
            format!("the record asks for {policy} and is a test (t=y): others do what is one level below"),
        );
    }
    // A place may have the size behind it that it takes (RFC 9990).
    let has = |place: &str| {
        let mut places = record.reports.iter();
        places.any(|uri| uri.split('!').next() == Some(place))
    };
    match wanted.report_to.iter().find(|place| !has(place)) {
        Some(place) => Opinion::Bad(
            reasons::DMARC_ELSEWHERE,
            format!("the record does not name {place}"),
        ),
        None => Opinion::Good(
            reasons::DMARC_FOUND,
            format!("the record asks for {policy}, and names every place"),
        ),
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

    fn judge(policy: Policy, seen: Observation) -> (Ruling, &'static str, String) {
        let report_to = ["mailto:d@example.com".to_owned()];
        let wanted = DmarcWanted {
            name: "_dmarc.example.com",
            policy,
            report_to: &report_to,
        };
        let judged = dmarc(&wanted, &Ok(vec![seen]));
        (judged.ruling, judged.reason, judged.message)
    }

    #[test]
    fn one_record_asks_for_the_policy_and_names_every_place() {
        let good = "v=DMARC1; p=reject; sp=none; rua=mailto:x@y.example, mailto:d@example.com!10m";
        for (seen, ruling, reason) in [
            (records(&[good, "v=spf1 -all"]), True, reasons::DMARC_FOUND),
            (records(&[good, good]), False, reasons::DMARC_SEVERAL),
            (records(&["v=spf1 -all"]), False, reasons::DMARC_MISSING),
            (said(Ok(Found::NxDomain)), False, reasons::DMARC_MISSING),
            (said(Ok(Found::NoData)), False, reasons::DMARC_MISSING),
            (records(&["v=DMARC1; p=refuse"]), False, reasons::DMARC_INVALID),
            (
                records(&["v=DMARC1; p=none; rua=mailto:d@example.com"]),
                False,
                reasons::DMARC_POLICY_DIFFERS,
            ),
            (
                records(&["v=DMARC1; p=reject; t=y; rua=mailto:d@example.com"]),
                False,
                reasons::DMARC_POLICY_DIFFERS,
            ),
            (
                records(&["v=DMARC1; p=reject; rua=mailto:x@y.example"]),
                False,
                reasons::DMARC_ELSEWHERE,
            ),
            (said(Err(Trouble::TimedOut)), Unknown, reasons::NO_ANSWER),
        ] {
            let judged = judge(Policy::Reject, seen);
            assert_eq!((judged.0, judged.1), (ruling, reason), "{judged:?}");
        }
        let (_, _, message) = judge(Policy::Reject, said(Ok(Found::NoData)));
        let mend = "publish: _dmarc.example.com. TXT \"v=DMARC1; p=reject; rua=mailto:d@example.com\"";
        assert!(message.contains(mend), "{message}");
    }

    #[test]
    fn a_test_of_no_policy_is_what_it_says() {
        let seen = records(&["v=DMARC1; p=none; t=y; rua=mailto:d@example.com"]);
        assert_eq!(judge(Policy::None, seen).0, True);
    }

    #[test]
    fn without_places_the_record_has_none() {
        let wanted = DmarcWanted {
            name: "_dmarc.example.com",
            policy: Policy::Quarantine,
            report_to: &[],
        };
        assert_eq!(wanted.record(), "v=DMARC1; p=quarantine");
    }
}
