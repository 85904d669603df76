//! The record that says that there is an MTA-STS policy, and which version of it (RFC 8461 section 3.1). The policy itself is on the
//! web: `mta_sts_policy.rs`.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use postroad_verify::dns::Answer;
use postroad_verify::mta_sts::{Mode, Pattern, Policy, Record};

use super::{Judgement, Opinion, Ruling, Sought, Statement, no_answer, reasons};
use crate::dns::exchange::{Found, Trouble, texts};
use crate::dns::resolver::Observation;

/// What is wanted of the record.
#[derive(Clone, Debug)]
pub struct MtaStsWanted<'a> {
    /// The domain.
    pub domain: &'a str,
    /// Names of its mail servers.
    pub hostnames: &'a [String],
    /// What the policy asks of others.
    pub mode: Mode,
}

impl MtaStsWanted<'_> {
    /// `_mta-sts.<domain>`.
    pub fn name(&self) -> String {
        format!("_mta-sts.{}", self.domain)
    }

    /// The policy to publish.
    pub fn policy(&self) -> String {
        Policy {
            mode: self.mode,
            max_age: MAX_AGE,
            mx: self
                .hostnames
                .iter()
                .filter_map(|host| Pattern::parse(host))
                .collect(),
        }
        .to_string()
    }

    /// The record to publish. Its id changes with the policy.
    pub fn record(&self) -> String {
        let digest = digest::digest(&digest::SHA256, self.policy().as_bytes());
        let id = digest
            .as_ref()
            .iter()
            .take(8)
            .fold(String::new(), |mut id, octet| {
                // Writing to a string cannot fail.
                let _ = write!(id, "{octet:02x}");
                id
            });
        format!("v=STSv1; id={id}")
    }

    /// Where the policy is served (RFC 8461 section 3.3).
    pub fn url(&self) -> String {
        format!("https://mta-sts.{}/.well-known/mta-sts.txt", self.domain)
    }

    /// The record with the same servers in another mode: what the record was before the mode was changed.
    fn of_another_mode(&self, record: &str) -> Option<Mode> {
        let modes = [Mode::Testing, Mode::Enforce, Mode::None];
        let is_it = |mode: &Mode| *mode != self.mode && Self { mode: *mode, ..*self }.record() == record;
        modes.into_iter().find(is_it)
    }

    /// The row of the policy where it is not asked for.
    pub fn policy_row(&self) -> Judgement {
        Judgement {
            name: self.url(),
            kind: "HTTPS",
            expected: self.policy(),
            observed: String::new(),
            server: String::new(),
            ruling: Ruling::Unknown,
            reason: reasons::NO_ANSWER,
            message: String::new(),
        }
    }
}

/// Judges the record as the servers gave it, or the trouble of finding the servers.
pub fn mta_sts(wanted: &MtaStsWanted<'_>, seen: &Result<Vec<Observation>, Trouble>) -> Judgement {
    let (name, expected) = (wanted.name(), format!("\"{}\"", wanted.record()));
    let sought = Sought {
        name: &name,
        kind: "TXT",
        publish: format!("publish the policy of status.records, then: {name}. TXT {expected}"),
        expected,
    };
    let statements = seen
        .as_ref()
        .map(|list| list.iter().map(|seen| statement(wanted, seen)).collect());
    sought.conclude(&statements.map_err(Clone::clone))
}

fn statement(wanted: &MtaStsWanted<'_>, observation: &Observation) -> Statement {
    let (observed, opinion) = match &observation.seen {
        Err(trouble) => (String::new(), no_answer(trouble)),
        Ok(Found::Records(records)) => {
            let list = texts(records);
            let shown: Vec<_> = list.iter().take(3).map(|text| super::spf::shown(text)).collect();
            (shown.join(", "), judged(wanted, list))
        }
        Ok(_) => (String::new(), judged(wanted, Vec::new())),
    };
    Statement {
        server: observation.server.clone(),
        observed,
        opinion,
    }
}

fn judged(wanted: &MtaStsWanted<'_>, texts: Vec<Vec<u8>>) -> Opinion {
    let ours = texts.iter().filter(|text| text.starts_with(b"v=STSv1")).count();
    match (Record::of(&Answer::Txt(texts)), ours) {
        (Record::Id(id), _) => match wanted.of_another_mode(&format!("v=STSv1; id={id}")) {
            Some(mode) => Opinion::Bad(
                reasons::MTASTS_STALE,
                format!(
                    "the id is that of the policy with mode: {mode}, which others have kept and do not fetch again"
                ),
            ),
            None => Opinion::Good(
                reasons::MTASTS_RECORD_FOUND,
                "the record says that there is a policy".to_owned(),
            ),
        },
        (_, 0) => Opinion::Bad(
            reasons::MTASTS_MISSING,
            "no record says that there is a policy".to_owned(),
        ),
        (_, 1) => Opinion::Bad(reasons::MTASTS_INVALID, "the record cannot be read".to_owned()),
        (_, several) => Opinion::Bad(
            reasons::MTASTS_SEVERAL,
            format!("there are {several} records; one is right"),
        ),
    }
}

/// Seconds: a week. Others look every day.
const MAX_AGE: u32 = 604_800;

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::RData;
    use hickory_resolver::proto::rr::rdata::TXT;

    use super::*;
    use crate::dns::judge::Ruling::{False, True, Unknown};

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

    fn wanted(hostnames: &[String], mode: Mode) -> MtaStsWanted<'_> {
        MtaStsWanted {
            domain: "example.com",
            hostnames,
            mode,
        }
    }

    #[test]
    fn one_record_with_any_id_is_right() {
        let hosts = ["mx.example.com".to_owned()];
        let good = "v=STSv1; id=20260101";
        for (seen, ruling, reason) in [
            (
                records(&[good, "v=spf1 -all"]),
                True,
                reasons::MTASTS_RECORD_FOUND,
            ),
            (records(&[good, good]), False, reasons::MTASTS_SEVERAL),
            (records(&["v=STSv1; id=a-b"]), False, reasons::MTASTS_INVALID),
            (records(&["v=spf1 -all"]), False, reasons::MTASTS_MISSING),
            (said(Ok(Found::NxDomain)), False, reasons::MTASTS_MISSING),
            (said(Ok(Found::NoData)), False, reasons::MTASTS_MISSING),
            (said(Err(Trouble::TimedOut)), Unknown, reasons::NO_ANSWER),
        ] {
            let judged = mta_sts(&wanted(&hosts, Mode::Testing), &Ok(vec![seen]));
            assert_eq!((judged.ruling, judged.reason), (ruling, reason), "{judged:?}");
        }
    }

    #[test]
    fn the_id_of_another_mode_is_one_that_was_not_changed() {
        let hosts = ["mx.example.com".to_owned()];
        let enforced = wanted(&hosts, Mode::Enforce);
        let before = wanted(&hosts, Mode::Testing).record();
        let judged = mta_sts(&enforced, &Ok(vec![records(&[&before])]));
        assert_eq!((judged.ruling, judged.reason), (False, reasons::MTASTS_STALE));
        assert!(judged.message.contains("mode: testing"), "{judged:?}");
        let judged = mta_sts(&enforced, &Ok(vec![records(&[&enforced.record()])]));
        assert_eq!(
            (judged.ruling, judged.reason),
            (True, reasons::MTASTS_RECORD_FOUND)
        );
    }

    #[test]
    fn what_to_publish_is_what_a_sender_reads_and_its_id_changes_with_it() {
        let (one, two) = (["mx.example.com".to_owned()], ["mx2.example.com".to_owned()]);
        let testing = wanted(&one, Mode::Testing);
        let policy = Policy::parse(testing.policy_row().expected.as_bytes()).unwrap();
        assert_eq!(
            (policy.mode, policy.names("mx.example.com")),
            (Mode::Testing, true)
        );
        let record = Record::of(&Answer::Txt(vec![testing.record().into_bytes()]));
        assert!(matches!(record, Record::Id(_)), "{record:?}");
        for other in [wanted(&one, Mode::Enforce), wanted(&two, Mode::Testing)] {
            assert_ne!(other.record(), testing.record());
        }
        assert_eq!(wanted(&one, Mode::Testing).record(), testing.record());
    }
}
