//! The SPF record: one, valid, and letting out every address that mail leaves from. Else the record to publish.

use std::net::IpAddr;

use postroad_verify::spf::{Record, SelectError, Verdict, record, select};

use super::{Judgement, Opinion, Sought, Statement, no_answer, reasons};
use crate::dns::exchange::{Found, Trouble, texts};
use crate::dns::resolver::Observation;
use crate::dns::spf::SpfObservation;

/// Most octets of a record that are shown.
const LONGEST_SHOWN: usize = 400;

/// What is wanted of a domain's SPF record.
#[derive(Clone, Debug)]
pub struct SpfWanted<'a> {
    /// The domain.
    pub domain: &'a str,
    /// Addresses that mail leaves from; empty = not known.
    pub egress: &'a [IpAddr],
    /// Whether anybody sends as the domain.
    pub sends: bool,
    /// Host names of the listeners, for a record to propose where the addresses are not known.
    pub hostnames: &'a [String],
    /// Names that providers ask to include: they are in the record to propose.
    pub includes: &'a [&'a str],
}

/// Judges the SPF record as the servers gave it, or the trouble of finding the servers.
pub fn spf(wanted: &SpfWanted<'_>, seen: &Result<Vec<SpfObservation>, Trouble>) -> Judgement {
    let current = seen
        .iter()
        .flatten()
        .find_map(|one| sole_record(&one.observation));
    let proposal = propose(wanted, current.as_deref(), seen.iter().flatten());
    let sought = Sought {
        name: wanted.domain,
        kind: "TXT",
        publish: format!("publish: {}. TXT \"{proposal}\"", wanted.domain),
        expected: proposal,
    };
    let statements = seen.as_ref().map(|list| {
        list.iter()
            .map(|observation| spf_statement(wanted, observation))
            .collect()
    });
    sought.conclude(&statements.map_err(Clone::clone))
}

fn spf_statement(wanted: &SpfWanted<'_>, seen: &SpfObservation) -> Statement {
    let (observed, opinion) = match &seen.observation.seen {
        Err(trouble) => (String::new(), no_answer(trouble)),
        Ok(Found::Records(records)) => {
            let texts = texts(records);
            let shown: Vec<String> = texts
                .iter()
                .filter(|text| record::is_spf(text))
                .map(|text| shown(text))
                .collect();
            let opinion = match select(&texts) {
                Ok(None) => spf_missing(),
                Ok(Some(_)) => spf_opinion(wanted, seen),
                Err(error @ SelectError::Several(_)) => Opinion::Bad(reasons::SPF_SEVERAL, error.to_string()),
                Err(error) => Opinion::Bad(reasons::SPF_INVALID, format!("the SPF record is wrong: {error}")),
            };
            (shown.join(", "), opinion)
        }
        Ok(_) => (String::new(), spf_missing()),
    };
    Statement {
        server: seen.observation.server.clone(),
        observed,
        opinion,
    }
}

fn spf_missing() -> Opinion {
    Opinion::Bad(reasons::SPF_MISSING, "there is no SPF record".to_owned())
}

/// The record itself is in order; does it let the mail out?
fn spf_opinion(wanted: &SpfWanted<'_>, seen: &SpfObservation) -> Opinion {
    if !wanted.sends {
        let sentence = "the SPF record is valid; nobody sends as this domain";
        return Opinion::Good(reasons::SPF_RECORD_VALID, sentence.to_owned());
    }
    if let Some(problem) = problem_with(seen, Verdict::PermError) {
        return Opinion::Bad(reasons::SPF_INVALID, problem);
    }
    if let Some(problem) = problem_with(seen, Verdict::TempError) {
        return Opinion::Unclear(reasons::NO_ANSWER, problem);
    }
    let refused: Vec<String> = seen
        .outcomes
        .iter()
        .filter(|(_, outcome)| outcome.verdict != Verdict::Pass)
        .map(|(address, outcome)| format!("{address} ({})", outcome.verdict))
        .collect();
    if !refused.is_empty() {
        let sentence = format!("the SPF record does not authorize {}", refused.join(", "));
        return Opinion::Bad(reasons::SPF_NOT_AUTHORIZED, sentence);
    }
    if seen.outcomes.is_empty() {
        let sentence = "the SPF record is valid, but no listener declares egress.addresses to judge it by";
        return Opinion::Unclear(reasons::EGRESS_UNKNOWN, sentence.to_owned());
    }
    Opinion::Good(
        reasons::SPF_PASSES,
        "the SPF record authorizes every egress address".to_owned(),
    )
}

fn problem_with(seen: &SpfObservation, verdict: Verdict) -> Option<String> {
    let (_, outcome) = seen
        .outcomes
        .iter()
        .find(|(_, outcome)| outcome.verdict == verdict)?;
    Some(
        outcome
            .problem
            .as_ref()
            .map_or_else(|| verdict.to_string(), ToString::to_string),
    )
}

/// The text of the one SPF record that a server gave, if it can be read.
fn sole_record(observation: &Observation) -> Option<String> {
    let Ok(Found::Records(records)) = &observation.seen else {
        return None;
    };
    let texts: Vec<Vec<u8>> = texts(records)
        .into_iter()
        .filter(|text| record::is_spf(text))
        .collect();
    match texts.as_slice() {
        [text] if Record::parse(text).is_ok() => String::from_utf8(text.clone()).ok(),
        _ => None,
    }
}

/// The record to publish: the one that is there with the addresses that it lacks, or a new one.
fn propose<'s>(
    wanted: &SpfWanted<'_>,
    current: Option<&str>,
    seen: impl Iterator<Item = &'s SpfObservation>,
) -> String {
    let Some(current) = current else {
        return new_record(wanted);
    };
    let current = &with_includes(wanted, current);
    let mut lacking: Vec<IpAddr> = seen
        .flat_map(|one| &one.outcomes)
        .filter(|(_, outcome)| !matches!(outcome.verdict, Verdict::Pass | Verdict::TempError))
        .map(|(address, _)| *address)
        .collect();
    lacking.sort();
    lacking.dedup();
    if !wanted.sends || lacking.is_empty() {
        return current.to_owned();
    }
    // First, so that nothing before them can decide otherwise.
    let (version, rest) = current.split_once(' ').unwrap_or((current, ""));
    let terms: Vec<String> = lacking.iter().map(mechanism).collect();
    [version, &terms.join(" "), rest.trim()]
        .join(" ")
        .trim()
        .to_owned()
}

/// The record with what providers ask for and it does not say itself. Whether something that it includes says so is not asked.
fn with_includes(wanted: &SpfWanted<'_>, current: &str) -> String {
    let says = |name: &&&str| {
        let term = format!("include:{name}");
        let mut terms = current.split(' ');
        !terms.any(|known| {
            known
                .trim_start_matches(['+', '?', '~'])
                .eq_ignore_ascii_case(&term)
        })
    };
    let lacking = wanted
        .includes
        .iter()
        .filter(says)
        .map(|name| format!("include:{name}"));
    let lacking: Vec<String> = lacking.filter(|_| wanted.sends).collect();
    if lacking.is_empty() {
        return current.to_owned();
    }
    let (version, rest) = current.split_once(' ').unwrap_or((current, ""));
    [version, &lacking.join(" "), rest.trim()]
        .join(" ")
        .trim()
        .to_owned()
}

fn new_record(wanted: &SpfWanted<'_>) -> String {
    let terms: Vec<String> = if !wanted.sends {
        Vec::new()
    } else if wanted.egress.is_empty() {
        wanted.hostnames.iter().map(|host| format!("a:{host} ")).collect()
    } else {
        wanted
            .egress
            .iter()
            .map(|address| mechanism(address) + " ")
            .collect()
    };
    let includes = wanted.includes.iter().filter(|_| wanted.sends);
    let includes: Vec<String> = includes.map(|name| format!("include:{name} ")).collect();
    format!("v=spf1 {}{}-all", terms.concat(), includes.concat())
}

fn mechanism(address: &IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("ip4:{address}"),
        IpAddr::V6(address) => format!("ip6:{address}"),
    }
}

/// Foreign octets as printable text of bounded length.
pub(super) fn shown(text: &[u8]) -> String {
    shown_up_to(text, LONGEST_SHOWN)
}

/// The same with another bound.
pub(super) fn shown_up_to(text: &[u8], longest: usize) -> String {
    let cut = &text[..text.len().min(longest)];
    let mut shown: String = cut
        .iter()
        .map(|b| {
            if (0x20..0x7f).contains(b) {
                char::from(*b)
            } else {
                '?'
            }
        })
        .collect();
    if cut.len() < text.len() {
        shown.push('…');
    }
    shown
}
