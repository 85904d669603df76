//! Verdicts on cases of SPF and ARC in a file of JSON, as `e2e/peers/beside/cases.py` makes it: lines of suite, id and verdict
//! between tabs.
//!
//! ```text
//!   cargo run -p postroad-verify --example verdicts -- cases.json
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;

use postroad_verify::arc;
use postroad_verify::dkim::{Header, Limits, Wanted};
use postroad_verify::dns::{Answer, Exchanger, Kind, Question};
use postroad_verify::spf::{Check, Request};
use serde::Deserialize;

#[derive(Deserialize)]
struct Cases {
    zones: Vec<BTreeMap<String, Entries>>,
    spf: Vec<Spf>,
    arc: Vec<Arc>,
}

#[derive(Deserialize)]
struct Spf {
    id: String,
    helo: String,
    host: String,
    mailfrom: String,
    zone: usize,
}

#[derive(Deserialize)]
struct Arc {
    id: String,
    message: String,
    keys: BTreeMap<String, String>,
}

/// What there is at a name.
#[derive(Default, Deserialize)]
#[serde(rename_all = "UPPERCASE", default)]
struct Entries {
    txt: Vec<String>,
    a: Vec<String>,
    aaaa: Vec<String>,
    mx: Vec<(u16, String)>,
    ptr: Vec<String>,
    cname: Vec<String>,
    /// What there is not gets no answer.
    #[serde(rename = "silent")]
    silent: bool,
}

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("give the file of cases");
        return ExitCode::from(2);
    };
    let cases = std::fs::read_to_string(path).map_err(Box::from).and_then(|text| {
        serde_saphyr::from_str(&text).map_err(|error| Box::<dyn Error>::from(error.to_string()))
    });
    match cases {
        Ok(cases) => judge(&cases),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn judge(cases: &Cases) {
    let nowhere = BTreeMap::new();
    for case in &cases.spf {
        let zone = cases.zones.get(case.zone).unwrap_or(&nowhere);
        let verdict = case.host.parse().map_or_else(
            |_| "error: no address".to_owned(),
            |client| {
                let request = Request::mail_from(client, &case.helo, &case.mailfrom);
                let request = request.seen_by("receiver.example", 0);
                Check::run(request, |question| answer(zone, question))
                    .verdict
                    .to_string()
            },
        );
        println!("spf\t{}\t{verdict}", case.id);
    }
    for case in &cases.arc {
        println!("arc\t{}\t{}", case.id, chain(case));
    }
}

fn chain(case: &Arc) -> arc::Verdict {
    let (section, body) = Header::split(case.message.as_bytes());
    let header = Header::parse(section);
    let mut wanted = Wanted::new();
    let mut verifier = arc::Verifier::new(&header, &Limits::default(), NOW, &mut wanted);
    for question in verifier.questions() {
        let key = case.keys.get(&question.name);
        let answer = key.map_or(Answer::NxDomain, |key| {
            Answer::Txt(vec![key.clone().into_bytes()])
        });
        verifier.answer(&question, &answer);
    }
    let mut hasher = wanted.hasher();
    hasher.update(body);
    verifier.finish(&hasher.finish()).verdict
}

/// What a resolver says of a zone. A name without an answer, and a loop of aliases, are a failure.
fn answer(zone: &BTreeMap<String, Entries>, question: &Question) -> Answer {
    let mut name = question.name.to_ascii_lowercase();
    for _ in 0..MOST_ALIASES {
        let Some(entries) = zone.get(&name) else {
            return Answer::NxDomain;
        };
        let Some(alias) = entries.cname.first() else {
            return records(entries, question.kind);
        };
        name = alias.trim_end_matches('.').to_ascii_lowercase();
    }
    Answer::Failure
}

fn records(entries: &Entries, kind: Kind) -> Answer {
    let addresses = |texts: &[String]| texts.iter().filter_map(|text| text.parse().ok()).collect();
    let (found, is_empty) = match kind {
        Kind::Txt => {
            let texts = entries.txt.iter().cloned().map(String::into_bytes).collect();
            (Answer::Txt(texts), entries.txt.is_empty())
        }
        Kind::A => (Answer::Addresses(addresses(&entries.a)), entries.a.is_empty()),
        Kind::Aaaa => (
            Answer::Addresses(addresses(&entries.aaaa)),
            entries.aaaa.is_empty(),
        ),
        Kind::Ptr => (Answer::Names(entries.ptr.clone()), entries.ptr.is_empty()),
        Kind::Mx => {
            let exchangers = entries.mx.iter().cloned();
            let exchangers = exchangers.map(|(preference, host)| Exchanger { preference, host });
            (Answer::Mx(exchangers.collect()), entries.mx.is_empty())
        }
    };
    match (is_empty, entries.silent) {
        (false, _) => found,
        (true, true) => Answer::Failure,
        (true, false) => Answer::NoData,
    }
}

/// The suite's messages are of then.
const NOW: u64 = 1_500_000_000;
const MOST_ALIASES: usize = 8;
