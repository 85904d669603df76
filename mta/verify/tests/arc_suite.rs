//! The public suite for ARC: the state of chains, and sets that are added.
//!
//! Reads `$POSTROAD_SUITES/arc` (see `docs/suites.md`). Without the variable its cases count as skipped, visibly.
//!
//! The suite's private key has 1024 bits, with which nobody signs here. PKCS #1 signatures have no randomness, so that there is
//! exactly one for each text: the key of the sealer is the suite's expected signatures, of which it gives the one that verifies.
//! A set that the suite does not expect is one that no signature fits.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test file")]

mod zone;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use postroad_verify::arc::{Outcome, Problem, Sealer, Unsealable, Verdict};
use postroad_verify::dkim::{Algorithm, Header, HeaderHash, KeyFailed, KeyRecord, SigningKey, Wanted};
use serde::Deserialize;
use zone::{Zone, crlf, hashes, verify_chain};

/// Numbers of cases.
const VERIFY: usize = 171;
const SIGN: usize = 17;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let (verify, sign) = if let Ok(root) = std::env::var("POSTROAD_SUITES") {
        let root = Path::new(&root).join("arc");
        (
            read(&root.join("arc-draft-validation-tests.yml"), judge_state),
            read(&root.join("arc-draft-sign-tests.yml"), judge_set),
        )
    } else {
        println!(
            "skipped: arc {} cases (POSTROAD_SUITES is not set)",
            VERIFY + SIGN
        );
        (skipped("verify", VERIFY), skipped("sign", SIGN))
    };
    assert_eq!(
        (verify.len(), sign.len()),
        (VERIFY, SIGN),
        "the suite was not read whole"
    );
    let mut failed = false;
    for (name, trials) in [("arc-verify", verify), ("arc-sign", sign)] {
        let cases = trials.len();
        let conclusion = libtest_mimic::run(&arguments, trials);
        println!("score: {name} {}/{cases}", conclusion.num_passed);
        failed |= conclusion.has_failed();
    }
    if failed {
        ExitCode::from(101)
    } else {
        ExitCode::SUCCESS
    }
}

fn skipped(name: &str, cases: usize) -> Vec<Trial> {
    (1..=cases)
        .map(|number| Trial::test(format!("arc {name} case {number}"), || Ok(())).with_ignored_flag(true))
        .collect()
}

#[derive(Deserialize)]
struct Scenario {
    description: String,
    tests: BTreeMap<String, Case>,
    #[serde(rename = "txt-records")]
    records: BTreeMap<String, String>,
    #[serde(default)]
    domain: String,
    #[serde(default)]
    sel: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Case {
    message: String,
    /// State, empty where the chain had failed before.
    cv: Option<String>,
    t: Option<u64>,
    sig_headers: Option<String>,
    srv_id: Option<String>,
    #[serde(rename = "AS")]
    seal: Option<String>,
    #[serde(rename = "AMS")]
    message_signature: Option<String>,
    #[serde(rename = "AAR")]
    results: Option<String>,
}

type Judge = fn(&Case, &Scenario) -> Result<(), Failed>;

fn read(path: &Path, judge: Judge) -> Vec<Trial> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut documents = vec![String::new()];
    for line in text.lines() {
        if line.trim_end() == "---" {
            documents.push(String::new());
        } else if let Some(document) = documents.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    // Some names stand twice in a scenario: the later one is meant, as the suite's own reader has it.
    let options = serde_saphyr::options! { duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins };
    let mut trials = Vec::new();
    for document in documents {
        let scenario: Scenario = serde_saphyr::from_str_with_options(&document, options.clone()).unwrap();
        let scenario = Arc::new(scenario);
        for name in scenario.tests.keys() {
            let (scenario, key) = (Arc::clone(&scenario), name.clone());
            trials.push(Trial::test(
                format!("{}/{name}", scenario.description.trim()),
                move || judge(&scenario.tests[&key], &scenario),
            ));
        }
    }
    trials
}

impl Scenario {
    fn zone(&self) -> Zone {
        let mut zone = Zone::default();
        for (name, record) in &self.records {
            // Long records are folded in the file.
            zone.add(
                name.trim_end_matches('.'),
                &record.split_whitespace().collect::<Vec<_>>().join(" "),
            );
        }
        zone
    }
}

fn judge_state(case: &Case, scenario: &Scenario) -> Result<(), Failed> {
    let outcome = verify_chain(&crlf(case.message.as_bytes()), &scenario.zone(), 1_500_000_000);
    let want = case.cv.as_deref().unwrap_or_default().trim().to_ascii_lowercase();
    let before = matches!(outcome.problem, Some(Problem::FailedBefore(_)));
    let right = match want.as_str() {
        "" => outcome.verdict == Verdict::Fail && before,
        state => outcome.verdict.to_string() == state && !before,
    };
    if right {
        return Ok(());
    }
    Err(format!("{outcome:?}, not `{want}`").into())
}

fn judge_set(case: &Case, scenario: &Scenario) -> Result<(), Failed> {
    let zone = scenario.zone();
    let message = crlf(case.message.as_bytes());
    let (section, body) = Header::split(&message);
    let header = Header::parse(section);
    let expected = [&case.seal, &case.message_signature, &case.results];
    let expected = expected.map(|text| text.as_deref().unwrap_or_default());
    let key = KnownSignatures::new(scenario, &expected);
    let names = case.sig_headers.as_deref().unwrap_or_default().split(':');
    let sealer = Sealer::new(&scenario.domain, &scenario.sel, Arc::new(key))?.signing(names);
    let mut wanted = Wanted::new();
    sealer.want(&mut wanted);
    let (results, state) = results(&header, case.srv_id.as_deref().unwrap_or_default());
    let mut chain = verify_chain(&message, &zone, 1_500_000_000);
    // The suite says what the chain came to by the field that it has for it.
    if let Some(state) = state {
        chain = Outcome {
            verdict: state,
            ..chain
        };
    }
    let set = sealer.seal(
        &header,
        &hashes(&wanted, body, 61),
        &chain,
        &results,
        case.t.unwrap_or_default(),
    );
    if expected[0].trim().is_empty() {
        return match set {
            Err(Unsealable::Ended) => Ok(()),
            other => Err(format!("{other:?}").into()),
        };
    }
    let set = set.map_err(|error| error.to_string())?;
    let fields = Header::parse(set.as_bytes());
    for (name, want) in ["ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results"]
        .iter()
        .zip(expected)
    {
        let field = fields.named(name).next().ok_or("a field is missing")?;
        let found = String::from_utf8_lossy(field.value()).into_owned();
        if without_space(&found) != without_space(want) {
            return Err(format!("{name}: `{found}`, not `{want}`").into());
        }
    }
    Ok(())
}

fn without_space(text: &str) -> String {
    text.split_whitespace().collect()
}

/// What the fields with our id say, as one text from the id on, and the state of the chain among it.
fn results(header: &Header<'_>, id: &str) -> (String, Option<Verdict>) {
    let mut parts = vec![id.to_owned()];
    for field in header.named("Authentication-Results") {
        let text = String::from_utf8_lossy(field.value()).replace("\r\n", "");
        let mut found = text.split(';').map(str::trim);
        if found.next() == Some(id) {
            parts.extend(found.filter(|part| !part.is_empty()).map(str::to_owned));
        }
    }
    let state = parts.iter().find_map(|part| match part.strip_prefix("arc=")? {
        "none" => Some(Verdict::None),
        "pass" => Some(Verdict::Pass),
        "fail" => Some(Verdict::Fail),
        other => panic!("{other}"),
    });
    (parts.join("; "), state)
}

/// A key that knows the signatures to make, and none else.
struct KnownSignatures {
    public: KeyRecord,
    signatures: Vec<Vec<u8>>,
}

impl KnownSignatures {
    fn new(scenario: &Scenario, expected: &[&str; 3]) -> Self {
        let record = scenario.records.values().next().unwrap();
        let signature = |text: &&str| {
            let tags: String = text.split_whitespace().collect();
            let value = tags.split(';').find_map(|tag| tag.strip_prefix("b="))?.to_owned();
            base64::Engine::decode(&base64::engine::general_purpose::STANDARD, value).ok()
        };
        Self {
            public: KeyRecord::parse(record.trim().replace('\n', " ").as_bytes()).unwrap(),
            signatures: expected.iter().filter_map(signature).collect(),
        }
    }
}

impl SigningKey for KnownSignatures {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RsaSha256
    }

    fn sign(&self, hash: &HeaderHash) -> Result<Vec<u8>, KeyFailed> {
        let fits = |signature: &&Vec<u8>| self.public.key.verifies(hash, signature);
        self.signatures.iter().find(fits).cloned().ok_or(KeyFailed)
    }
}
