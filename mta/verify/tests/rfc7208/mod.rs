//! The public suite for RFC 7208 (`spf/rfc7208-tests.yml`): its cases, and its names as a resolver finds them.

#![allow(dead_code, reason = "its parts serve several targets")]

use std::collections::BTreeMap;
use std::path::Path;

use libtest_mimic::{Arguments, Trial};
use postroad_verify::dns::{Answer, Exchanger, Kind, Question};
use serde::Deserialize;

/// Number of cases of the suite.
pub const CASES: usize = 203;

/// Runs the suite under this name and ends the process. Without `$POSTROAD_SUITES` its cases count as skipped, visibly.
pub fn run(name: &str, arguments: &Arguments, trials: impl FnOnce(&Path) -> Vec<Trial>) -> ! {
    let root = std::env::var("POSTROAD_SUITES").unwrap_or_default();
    let trials = if root.is_empty() {
        println!("skipped: {name} {CASES} cases (POSTROAD_SUITES is not set)");
        let skipped =
            |number| Trial::test(format!("{name} case {number}"), || Ok(())).with_ignored_flag(true);
        (1..=CASES).map(skipped).collect()
    } else {
        trials(Path::new(&root))
    };
    assert_eq!(trials.len(), CASES, "the suite was not read whole");
    let conclusion = libtest_mimic::run(arguments, trials);
    if conclusion.num_filtered_out == 0 && !root.is_empty() {
        println!("score: {name} {}/{CASES}", conclusion.num_passed);
    }
    conclusion.exit()
}

/// Names with their records, and what is asked about them.
#[derive(Deserialize)]
pub struct Scenario {
    pub description: String,
    pub tests: BTreeMap<String, Case>,
    #[serde(default)]
    zonedata: BTreeMap<String, Vec<Entry>>,
}

#[derive(Clone, Deserialize)]
pub struct Case {
    pub helo: String,
    pub host: String,
    pub mailfrom: String,
    result: OneOrMore,
    pub explanation: Option<String>,
}

impl Case {
    /// The verdicts that are right.
    pub fn allowed(&self) -> Vec<String> {
        self.result.list()
    }
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

impl Scenario {
    /// Its names.
    pub fn zone(&self) -> Zone {
        let lower = |(name, entries): (&String, &Vec<Entry>)| {
            (name.trim_end_matches('.').to_ascii_lowercase(), entries.clone())
        };
        Zone(self.zonedata.iter().map(lower).collect())
    }
}

/// Reads the suite out of the folder of suites.
pub fn read(root: &Path) -> Vec<Scenario> {
    let path = root.join("spf/rfc7208-tests.yml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.split("\n---\n")
        .skip(1)
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .collect()
}

/// What there is at a name.
pub enum Found {
    /// An answer, and the aliases that were followed to it.
    Answer { answer: Answer, aliases: Vec<String> },
    /// Nobody answers.
    Silence,
    /// Aliases without end.
    Loop,
}

/// A scenario's names, in lower case.
pub struct Zone(BTreeMap<String, Vec<Entry>>);

impl Zone {
    /// What a resolver says. A name without an answer, and a loop of aliases, are a failure (RFC 1034 section 3.6.2).
    pub fn answer(&self, question: &Question) -> Answer {
        match self.find(question) {
            Found::Answer { answer, .. } => answer,
            Found::Silence | Found::Loop => Answer::Failure,
        }
    }

    /// The same, with the aliases that led there, and the two kinds of failure told apart.
    pub fn find(&self, question: &Question) -> Found {
        let mut name = question.name.to_ascii_lowercase();
        let mut aliases = Vec::new();
        for _ in 0..8 {
            let Some(entries) = self.0.get(&name) else {
                let answer = Answer::NxDomain;
                return Found::Answer { answer, aliases };
            };
            let Some(alias) = texts(entries, "CNAME").into_iter().next() else {
                return match records(entries, question.kind) {
                    Answer::Failure => Found::Silence,
                    answer => Found::Answer { answer, aliases },
                };
            };
            name = alias.trim_end_matches('.').to_ascii_lowercase();
            aliases.push(name.clone());
        }
        Found::Loop
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
