//! The public suite for RFC 7208, every case: verdict and explanation.
//!
//! Reads `$POSTROAD_SUITES/spf/rfc7208-tests.yml` (see `docs/suites.md`). Without the variable its cases count as
//! skipped, visibly.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test file")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use postroad_verify::dns::{Answer, Exchanger, Kind, Question};
use postroad_verify::spf::{Check, Request};
use serde::Deserialize;

/// Number of cases of the suite.
const CASES: usize = 203;

/// Default explanation that the suite expects where the domain gives none.
const DEFAULT: &str = "DEFAULT";

fn main() {
    let arguments = Arguments::from_args();
    let trials = if let Ok(root) = std::env::var("POSTROAD_SUITES") {
        read_suite(&Path::new(&root).join("spf/rfc7208-tests.yml"))
    } else {
        println!("skipped: spf {CASES} cases (POSTROAD_SUITES is not set)");
        (1..=CASES)
            .map(|number| Trial::test(format!("spf case {number}"), || Ok(())).with_ignored_flag(true))
            .collect()
    };
    assert_eq!(trials.len(), CASES, "the suite was not read whole");
    let conclusion = libtest_mimic::run(&arguments, trials);
    println!("score: spf {}/{CASES}", conclusion.num_passed);
    conclusion.exit();
}

#[derive(Deserialize)]
struct Scenario {
    description: String,
    tests: BTreeMap<String, Case>,
    #[serde(default)]
    zonedata: BTreeMap<String, Vec<Entry>>,
}

#[derive(Deserialize)]
struct Case {
    helo: String,
    host: String,
    mailfrom: String,
    result: OneOrMore,
    explanation: Option<String>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn list(&self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one.clone()],
            Self::More(more) => more.clone(),
        }
    }
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Entry {
    /// `TIMEOUT`: what the name has no record for gets no answer.
    Word(String),
    Record(BTreeMap<String, Data>),
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Data {
    Mx(u16, String),
    Text(OneOrMore),
}

fn read_suite(path: &Path) -> Vec<Trial> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let documents = text.split("\n---\n").skip(1);
    let mut trials = Vec::new();
    for document in documents {
        let scenario: Scenario = serde_saphyr::from_str(document).unwrap();
        let zone: Arc<Zone> = Arc::new(Zone::new(scenario.zonedata));
        for (name, case) in scenario.tests {
            let zone = Arc::clone(&zone);
            trials.push(Trial::test(
                format!("{}/{name}", scenario.description),
                move || judge(&case, &zone),
            ));
        }
    }
    trials
}

fn judge(case: &Case, zone: &Zone) -> Result<(), Failed> {
    let client: IpAddr = case.host.parse()?;
    let request = Request::mail_from(client, &case.helo, &case.mailfrom).seen_by("receiver.example", 0);
    let outcome = Check::run(request, |question| zone.answer(question));
    let (verdict, allowed) = (outcome.verdict.to_string(), case.result.list());
    if !allowed.contains(&verdict) {
        return Err(format!("verdict {verdict}, not {allowed:?}; {:?}", outcome.problem).into());
    }
    let explanation = outcome.explanation.as_deref().unwrap_or(DEFAULT);
    match &case.explanation {
        Some(wanted) if wanted != explanation => {
            Err(format!("explanation `{explanation}`, not `{wanted}`").into())
        }
        _ => Ok(()),
    }
}

/// A scenario's names, in lower case.
struct Zone(BTreeMap<String, Vec<Entry>>);

impl Zone {
    fn new(data: BTreeMap<String, Vec<Entry>>) -> Self {
        let lower = |(name, entries): (String, _)| (name.trim_end_matches('.').to_ascii_lowercase(), entries);
        Self(data.into_iter().map(lower).collect())
    }

    fn answer(&self, question: &Question) -> Answer {
        let mut name = question.name.to_ascii_lowercase();
        // Aliases are followed like a resolver does; a loop of them is a failure (RFC 1034 section 3.6.2).
        for _ in 0..8 {
            let Some(entries) = self.0.get(&name) else {
                return Answer::NxDomain;
            };
            let Some(alias) = texts(entries, "CNAME").into_iter().next() else {
                return records(entries, question.kind);
            };
            name = alias.trim_end_matches('.').to_ascii_lowercase();
        }
        Answer::Failure
    }
}

fn records(entries: &[Entry], kind: Kind) -> Answer {
    let found = match kind {
        Kind::Txt => {
            // The suite's rule: SPF entries stand for TXT records unless TXT is given.
            let source = if given(entries, "TXT") { "TXT" } else { "SPF" };
            let found = texts(entries, source).into_iter().filter(|text| text != "NONE");
            Answer::Txt(found.map(String::into_bytes).collect())
        }
        Kind::A | Kind::Aaaa => {
            let name = kind.to_string();
            Answer::Addresses(texts(entries, &name).iter().map(|t| t.parse().unwrap()).collect())
        }
        Kind::Ptr => Answer::Names(texts(entries, "PTR")),
        Kind::Mx => Answer::Mx(exchangers(entries)),
    };
    let empty = match &found {
        Answer::Txt(list) => list.is_empty(),
        Answer::Addresses(list) => list.is_empty(),
        Answer::Names(list) => list.is_empty(),
        Answer::Mx(list) => list.is_empty(),
        _ => true,
    };
    let silent = entries
        .iter()
        .any(|entry| matches!(entry, Entry::Word(word) if word == "TIMEOUT"));
    match (empty, silent) {
        (false, _) => found,
        (true, true) => Answer::Failure,
        (true, false) => Answer::NoData,
    }
}

fn given(entries: &[Entry], kind: &str) -> bool {
    entries
        .iter()
        .any(|entry| matches!(entry, Entry::Record(record) if record.contains_key(kind)))
}

fn data<'a>(entries: &'a [Entry], kind: &'a str) -> impl Iterator<Item = &'a Data> {
    entries.iter().filter_map(move |entry| match entry {
        Entry::Record(record) => record.get(kind),
        Entry::Word(_) => None,
    })
}

fn texts(entries: &[Entry], kind: &str) -> Vec<String> {
    data(entries, kind)
        .filter_map(|data| match data {
            Data::Text(text) => Some(text.list().concat()),
            Data::Mx(..) => None,
        })
        .collect()
}

fn exchangers(entries: &[Entry]) -> Vec<Exchanger> {
    data(entries, "MX")
        .filter_map(|data| match data {
            Data::Mx(preference, host) => Some(Exchanger {
                preference: *preference,
                host: host.clone(),
            }),
            Data::Text(_) => None,
        })
        .collect()
}
