//! One message as a report counts it. Pure.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::super::record::{Alignment, Policy, Record};
use super::super::{Disposition, Domain, Method, Outcome, Verdict};
use crate::{dkim, spf};

/// What one message came to. Texts are of the sender's choice but for the words of verdicts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Row {
    /// The policy that it was judged by.
    pub policy: Published,
    /// The client.
    pub source: IpAddr,
    /// What was done for the policy's sake.
    pub disposition: Applied,
    /// Whether an aligned signature has passed.
    pub dkim_aligned: bool,
    /// Whether SPF has passed, aligned.
    pub spf_aligned: bool,
    /// Why less was done than the policy asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
    /// The author's domain.
    pub header_from: String,
    /// Domain of the reverse-path; empty where that is null, or no domain.
    pub envelope_from: String,
    /// Signatures, those first that matter most (section 2.1.3).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dkim: Vec<DkimResult>,
    /// SPF of the reverse-path; absent where it has no domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spf: Option<SpfResult>,
    /// It is such a report itself, from somebody who stands behind it or wants no answer. It is told of like any mail, but is no
    /// reason to send a report: else two servers would report about each other's reports for ever.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_report: bool,
}

/// A policy as it was found (section 2.1.1.5), with the defaults of what it does not say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Published {
    /// The policy domain: where the record stands.
    pub domain: String,
    /// `p`.
    pub p: Policy,
    /// `sp`.
    pub sp: Policy,
    /// `np`.
    pub np: Policy,
    /// `adkim`.
    pub adkim: Alignment,
    /// `aspf`.
    pub aspf: Alignment,
    /// `t`.
    pub testing: bool,
}

/// What was done for the policy's sake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Applied {
    /// Nothing.
    None,
    /// Nothing, as it passed, and the policy asks for something where it does not.
    Pass,
    /// It was marked.
    Quarantine,
    /// It was refused.
    Reject,
}

/// Why less was done than the policy asks for (section 2.1.6).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reason {
    /// Its kind.
    pub kind: ReasonKind,
    /// In words; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// The kinds of reasons that occur here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReasonKind {
    /// The receiver does not do what policies ask for.
    LocalPolicy,
    /// `t=y`.
    PolicyTestMode,
    /// Somebody who is believed saw it pass.
    TrustedForwarder,
}

/// Of a signature.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DkimResult {
    /// `d=`.
    pub domain: String,
    /// `s=`.
    pub selector: String,
    /// The verdict in the words of RFC 8601 section 2.7.1.
    pub result: String,
    /// Why it is not `pass`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Of SPF.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SpfResult {
    /// Whose record was asked for.
    pub domain: String,
    /// The verdict in the words of RFC 8601 section 2.7.2.
    pub result: String,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What is known of a message that was judged.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The client.
    pub source: IpAddr,
    /// Without brackets; empty is the null one.
    pub reverse_path: &'a str,
    /// What the client called itself.
    pub helo: &'a str,
    /// Of the reverse-path, or of the HELO name where that is null.
    pub spf: Option<&'a spf::Outcome>,
    /// Of its signatures.
    pub dkim: &'a [dkim::Outcome],
    /// With both methods judged, see [`Request::each_method`](super::super::Request::each_method).
    pub dmarc: &'a Outcome,
    /// Whether policies are followed here.
    pub enforced: bool,
    /// The forwarder that was believed.
    pub vouched: Option<&'a str>,
    /// Its Subject is that of a report.
    pub is_report: bool,
}

impl Row {
    /// The row of a message. None: no policy was applied to it, or the policy's owner wants no reports.
    pub fn of(seen: &Seen<'_>) -> Option<Self> {
        let outcome = seen.dmarc;
        let (author, record) = (outcome.author.as_ref()?, outcome.record.as_ref()?);
        if record.reports.is_empty() || !matches!(outcome.verdict, Verdict::Pass | Verdict::Fail) {
            return None;
        }
        let policy = Published::of(outcome.record_at.as_ref()?, record);
        let aligned = |method| {
            let found = outcome.aligned.iter().chain(&outcome.also_aligned);
            found.into_iter().any(|one| one.method == method)
        };
        let (disposition, reasons) = match outcome.verdict {
            Verdict::Pass => (passed(author, &policy), Vec::new()),
            _ => failed(seen, record),
        };
        let domain = seen.reverse_path.rsplit_once('@').map(|(_, domain)| domain);
        Some(Self {
            policy,
            source: seen.source.to_canonical(),
            disposition,
            dkim_aligned: aligned(Method::Dkim),
            spf_aligned: aligned(Method::Spf),
            reasons,
            header_from: author.to_string(),
            envelope_from: domain
                .and_then(Domain::parse)
                .map_or_else(String::new, |domain| domain.to_string()),
            dkim: signatures(seen.dkim, author),
            spf: seen.spf.and_then(|spf| of_spf(spf, domain.unwrap_or(seen.helo))),
            is_report: seen.is_report && (outcome.verdict == Verdict::Pass || seen.reverse_path.is_empty()),
        })
    }
}

impl Published {
    fn of(domain: &Domain, record: &Record) -> Self {
        let sp = record.subdomains.unwrap_or(record.policy);
        Self {
            domain: domain.to_string(),
            p: record.policy,
            sp,
            np: record.absent.unwrap_or(sp),
            adkim: record.dkim,
            aspf: record.spf,
            testing: record.testing,
        }
    }
}

/// Of a message that passed. Whether a name below the policy domain exists was not asked for: `sp` is taken to hold for it.
fn passed(author: &Domain, policy: &Published) -> Applied {
    let holds = if author.as_str() == policy.domain {
        policy.p
    } else {
        policy.sp
    };
    match holds {
        Policy::None => Applied::None,
        Policy::Quarantine | Policy::Reject => Applied::Pass,
    }
}

/// Of a message that failed. RFC 9990 section 2.1.1.10: a reason where something else was done than is asked for.
fn failed(seen: &Seen<'_>, record: &Record) -> (Applied, Vec<Reason>) {
    let mut reasons = Vec::new();
    let requested = seen.dmarc.requested.unwrap_or(Policy::None);
    if requested == Policy::None {
        return (Applied::None, reasons);
    }
    if record.testing {
        reasons.push(Reason {
            kind: ReasonKind::PolicyTestMode,
            comment: String::new(),
        });
    }
    let wanted = match seen.dmarc.disposition {
        Disposition::Reject => Applied::Reject,
        Disposition::Quarantine => Applied::Quarantine,
        Disposition::Accept | Disposition::Defer => Applied::None,
    };
    if wanted == Applied::None {
        return (Applied::None, reasons);
    }
    if let Some(forwarder) = seen.vouched {
        reasons.push(Reason {
            kind: ReasonKind::TrustedForwarder,
            comment: format!("arc=pass, sealed by {forwarder}"),
        });
        return (Applied::None, reasons);
    }
    if !seen.enforced {
        reasons.push(Reason {
            kind: ReasonKind::LocalPolicy,
            comment: "DMARC is evaluated here and not enforced".to_owned(),
        });
        return (Applied::None, reasons);
    }
    (wanted, reasons)
}

/// Those that say whose they are: first what passed for the author's very domain, then for one that ends or begins as it does,
/// then what passed at all.
fn signatures(outcomes: &[dkim::Outcome], author: &Domain) -> Vec<DkimResult> {
    let mut found: Vec<(u8, DkimResult)> = outcomes
        .iter()
        .filter_map(|outcome| {
            let (domain, selector) = (outcome.domain.clone()?, outcome.selector.clone()?);
            let rank = match Domain::parse(&domain) {
                _ if outcome.verdict != dkim::Verdict::Pass => 3,
                Some(domain) if domain == *author => 0,
                Some(domain) if domain.is_within(author) || author.is_within(&domain) => 1,
                _ => 2,
            };
            let why = outcome
                .problem
                .as_ref()
                .map(|problem| shortened(&problem.to_string()));
            let result = outcome.verdict.to_string();
            Some((
                rank,
                DkimResult {
                    domain,
                    selector,
                    result,
                    why,
                },
            ))
        })
        .collect();
    found.sort_by_key(|(rank, _)| *rank);
    found
        .into_iter()
        .take(MOST_SIGNATURES)
        .map(|(_, result)| result)
        .collect()
}

fn of_spf(outcome: &spf::Outcome, domain: &str) -> Option<SpfResult> {
    Some(SpfResult {
        domain: Domain::parse(domain)?.to_string(),
        result: outcome.verdict.to_string(),
        why: outcome
            .problem
            .as_ref()
            .map(|problem| shortened(&problem.to_string())),
    })
}

fn shortened(text: &str) -> String {
    text.chars().take(LONGEST_WHY).collect()
}

/// RFC 9990 section 2.1.3 has 100; the caller looks at ten.
const MOST_SIGNATURES: usize = 100;
/// Characters of a sentence that says why.
const LONGEST_WHY: usize = 200;

#[cfg(test)]
mod tests {
    use super::super::super::{Check, Identifier, Proof, Request};
    use super::*;
    use crate::dns::{Answer, Question};

    const RECORD: &str = "v=DMARC1; p=reject; sp=quarantine; aspf=s; rua=mailto:d@a.example";

    /// Judges a message from this author by this record of a.example.
    fn judged(record: &str, author: &str, identifiers: &[(Method, &str)]) -> Outcome {
        let lookup = |question: &Question| match question.name.as_str() {
            "_dmarc.a.example" => Answer::Txt(vec![record.as_bytes().to_vec()]),
            _ => Answer::NxDomain,
        };
        let identifiers = identifiers.iter().map(|(method, domain)| Identifier {
            method: *method,
            domain: Domain::parse(domain).unwrap(),
            proof: Proof::Pass,
        });
        let request = Request {
            author: Ok(Domain::parse(author).unwrap()),
            identifiers: identifiers.collect(),
            each_method: true,
        };
        Check::run(request, lookup)
    }

    fn seen(outcome: &Outcome) -> Seen<'_> {
        Seen {
            source: "::ffff:192.0.2.1".parse().unwrap(),
            reverse_path: "bounce@Esp.Example",
            helo: "mx.esp.example",
            spf: None,
            dkim: &[],
            dmarc: outcome,
            enforced: true,
            vouched: None,
            is_report: false,
        }
    }

    fn shown(row: &Row) -> (Applied, Vec<ReasonKind>) {
        (
            row.disposition,
            row.reasons.iter().map(|reason| reason.kind).collect(),
        )
    }

    #[test]
    fn both_methods_are_told_and_a_policy_with_its_defaults() {
        let both = [(Method::Dkim, "mail.a.example"), (Method::Spf, "a.example")];
        let outcome = judged(RECORD, "a.example", &both);
        let row = Row::of(&seen(&outcome)).unwrap();
        assert!(row.dkim_aligned && row.spf_aligned);
        assert_eq!(shown(&row), (Applied::Pass, vec![]));
        assert_eq!(row.source.to_string(), "192.0.2.1");
        assert_eq!(
            (row.header_from.as_str(), row.envelope_from.as_str()),
            ("a.example", "esp.example")
        );
        assert_eq!(
            (row.policy.p, row.policy.sp, row.policy.np),
            (Policy::Reject, Policy::Quarantine, Policy::Quarantine)
        );
        let outcome = judged(RECORD, "a.example", &both[..1]);
        let row = Row::of(&seen(&outcome)).unwrap();
        assert!(row.dkim_aligned && !row.spf_aligned);
        // SPF is held to the very name, and the policy of a name below asks for less.
        let outcome = judged(RECORD, "x.a.example", &both);
        let row = Row::of(&seen(&outcome)).unwrap();
        assert!(row.dkim_aligned && !row.spf_aligned && row.disposition == Applied::Pass);
        let text = serde_json_like(&row);
        assert!(!text.contains("reasons"), "{text}");
    }

    /// YAML will do to see which fields are written.
    fn serde_json_like(row: &Row) -> String {
        let text = serde_saphyr::to_string(row).unwrap();
        assert_eq!(serde_saphyr::from_str::<Row>(&text).unwrap(), *row);
        text
    }

    #[test]
    fn what_was_done_instead_has_its_reason() {
        use ReasonKind::{LocalPolicy, PolicyTestMode, TrustedForwarder};
        let of = |record: &str, change: &dyn Fn(&mut Seen<'_>)| {
            let outcome = judged(record, "a.example", &[]);
            let mut seen = seen(&outcome);
            change(&mut seen);
            shown(&Row::of(&seen).unwrap())
        };
        let testing = "v=DMARC1; p=reject; t=y; rua=mailto:d@a.example";
        let testing_less = "v=DMARC1; p=quarantine; t=y; rua=mailto:d@a.example";
        let nothing = "v=DMARC1; p=none; rua=mailto:d@a.example";
        let report = |seen: &mut Seen<'_>| seen.enforced = false;
        let vouched = |seen: &mut Seen<'_>| seen.vouched = Some("lists.example");
        for (record, change, want) in [
            (
                RECORD,
                &(|_: &mut Seen<'_>| ()) as &dyn Fn(&mut Seen<'_>),
                (Applied::Reject, vec![]),
            ),
            (RECORD, &report, (Applied::None, vec![LocalPolicy])),
            (RECORD, &vouched, (Applied::None, vec![TrustedForwarder])),
            (
                testing,
                &|_: &mut Seen<'_>| (),
                (Applied::Quarantine, vec![PolicyTestMode]),
            ),
            (
                testing,
                &report,
                (Applied::None, vec![PolicyTestMode, LocalPolicy]),
            ),
            (testing_less, &report, (Applied::None, vec![PolicyTestMode])),
            (nothing, &report, (Applied::None, vec![])),
        ] {
            assert_eq!(of(record, change), want, "{record}");
        }
    }

    #[test]
    fn who_asks_for_no_reports_gets_no_row_and_neither_does_what_was_not_judged() {
        let outcome = judged("v=DMARC1; p=reject", "a.example", &[]);
        assert_eq!(Row::of(&seen(&outcome)), None);
        let outcome = judged(RECORD, "b.example", &[]);
        assert_eq!(Row::of(&seen(&outcome)), None);
        let mut outcome = judged(RECORD, "a.example", &[]);
        outcome.verdict = Verdict::TempError;
        assert_eq!(Row::of(&seen(&outcome)), None);
    }

    #[test]
    fn a_report_is_one_if_its_author_stands_behind_it_or_it_wants_no_answer() {
        let (good, bad) = (
            judged(RECORD, "a.example", &[(Method::Dkim, "a.example")]),
            judged(RECORD, "a.example", &[]),
        );
        for (outcome, reverse_path, want) in [
            (&good, "r@a.example", true),
            (&good, "", true),
            (&bad, "", true),
            // Whoever forges mail does not get out of the report by its Subject.
            (&bad, "r@a.example", false),
        ] {
            let seen = Seen {
                is_report: true,
                reverse_path,
                ..seen(outcome)
            };
            assert_eq!(Row::of(&seen).unwrap().is_report, want);
        }
    }

    #[test]
    fn signatures_stand_by_their_weight_and_spf_by_its_domain() {
        let signature = |domain: Option<&str>, verdict| dkim::Outcome {
            verdict,
            domain: domain.map(str::to_owned),
            selector: Some("s".to_owned()),
            ..dkim::Outcome::NOTHING
        };
        let dkim = [
            signature(Some("a.example"), dkim::Verdict::Fail),
            signature(Some("esp.example"), dkim::Verdict::Pass),
            signature(None, dkim::Verdict::PermError),
            signature(Some("m.a.example"), dkim::Verdict::Pass),
            signature(Some("a.example"), dkim::Verdict::Pass),
        ];
        let spf = spf::Outcome {
            verdict: spf::Verdict::SoftFail,
            explanation: None,
            matched: None,
            problem: None,
        };
        let outcome = judged(RECORD, "a.example", &[]);
        let with = |reverse_path, helo| {
            let seen = Seen {
                dkim: &dkim,
                spf: Some(&spf),
                reverse_path,
                helo,
                ..seen(&outcome)
            };
            Row::of(&seen).unwrap()
        };
        let row = with("x@b.example", "mx.b.example");
        let order: Vec<_> = row.dkim.iter().map(|one| (&*one.domain, &*one.result)).collect();
        assert_eq!(
            order,
            [
                ("a.example", "pass"),
                ("m.a.example", "pass"),
                ("esp.example", "pass"),
                ("a.example", "fail")
            ]
        );
        let spf = row.spf.unwrap();
        assert_eq!(
            (spf.domain.as_str(), spf.result.as_str()),
            ("b.example", "softfail")
        );
        let row = with("", "mx.b.example");
        assert_eq!(
            (row.envelope_from.as_str(), row.spf.unwrap().domain.as_str()),
            ("", "mx.b.example")
        );
        assert_eq!(with("", "[192.0.2.1]").spf, None);
    }
}
