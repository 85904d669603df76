//! Writes verdicts as fields Authentication-Results into a folder, for a program that reads them: NAME.field is the field, NAME.json what
//! it has to say.
//!
//! ```text
//!   cargo run -p postroad-verify --example results -- DIRECTORY
//! ```

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use postroad_verify::dns::{Kind, Question};
use postroad_verify::results::{self, Field, Property, SpfIdentity, Statement};
use postroad_verify::{arc, dkim, dmarc, spf};
use serde_json::{Value, json};

const HOSTNAME: &str = "mail.example.com";

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("give a folder");
        return ExitCode::from(2);
    };
    match write_all(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn write_all(folder: &Path) -> Result<(), Box<dyn Error>> {
    for (name, statements) in samples() {
        let said: Vec<Value> = statements.iter().map(said).collect();
        let field = Field {
            authserv_id: HOSTNAME.to_owned(),
            statements,
        };
        std::fs::write(folder.join(format!("{name}.field")), field.text())?;
        let said = json!({"name": HOSTNAME, "statements": said});
        std::fs::write(folder.join(format!("{name}.json")), said.to_string())?;
    }
    Ok(())
}

fn said(statement: &Statement) -> Value {
    let property = |property: &Property| json!([property.kind, property.name, property.value]);
    let properties: Vec<Value> = statement.properties.iter().map(property).collect();
    json!([statement.method, statement.result, statement.reason, properties])
}

fn samples() -> Vec<(&'static str, Vec<Statement>)> {
    vec![
        ("nothing", Vec::new()),
        ("spf", spf_verdicts()),
        ("dkim", dkim_verdicts()),
        ("dkim-none", results::dkim(&[])),
        ("arc", arc_verdicts()),
        ("dmarc", dmarc_verdicts()),
        ("all", all()),
        ("hostile", hostile()),
    ]
}

fn key() -> Question {
    Question {
        name: "s._domainkey.a.example".to_owned(),
        kind: Kind::Txt,
    }
}

fn of_spf(identity: SpfIdentity<'_>, verdict: spf::Verdict, problem: Option<spf::Problem>) -> Statement {
    let outcome = spf::Outcome {
        verdict,
        explanation: None,
        matched: None,
        problem,
    };
    results::spf(identity, &outcome)
}

fn spf_verdicts() -> Vec<Statement> {
    let several = spf::Problem::SeveralRecords("a.example".to_owned());
    [
        (spf::Verdict::None, None),
        (spf::Verdict::Neutral, None),
        (spf::Verdict::Pass, None),
        (spf::Verdict::Fail, None),
        (spf::Verdict::SoftFail, None),
        (spf::Verdict::TempError, None),
        (spf::Verdict::PermError, Some(several)),
    ]
    .into_iter()
    .flat_map(|(verdict, problem)| {
        [
            of_spf(
                SpfIdentity::MailFrom("ann+list@sub.a.example"),
                verdict,
                problem.clone(),
            ),
            of_spf(SpfIdentity::Helo("mx.a.example"), verdict, problem),
        ]
    })
    .collect()
}

fn of_dkim(verdict: dkim::Verdict, problem: Option<dkim::Problem>) -> dkim::Outcome {
    dkim::Outcome {
        verdict,
        domain: Some("a.example".to_owned()),
        identity: Some("@sub.a.example".to_owned()),
        selector: Some("s1.mail".to_owned()),
        algorithm: Some(dkim::Algorithm::RsaSha256),
        mark: Some("dz/Vy+f=".to_owned()),
        key_bits: Some(2_048),
        testing: true,
        problem,
    }
}

fn dkim_verdicts() -> Vec<Statement> {
    results::dkim(&[
        of_dkim(dkim::Verdict::Pass, None),
        of_dkim(dkim::Verdict::Fail, None),
        of_dkim(dkim::Verdict::Policy, None),
        of_dkim(dkim::Verdict::Neutral, Some(dkim::Problem::Version)),
        of_dkim(dkim::Verdict::TempError, Some(dkim::Problem::NoAnswer(key()))),
        of_dkim(dkim::Verdict::PermError, Some(dkim::Problem::Missing("b"))),
    ])
}

fn of_arc(verdict: arc::Verdict, sets: Vec<arc::Set>, problem: Option<arc::Problem>) -> Statement {
    results::arc(&arc::Outcome {
        verdict,
        sets,
        author_signed: true,
        problem,
    })
}

fn arc_verdicts() -> Vec<Statement> {
    let set = arc::Set {
        instance: 1,
        sealer: "lists.example".to_owned(),
        selector: "s".to_owned(),
        results: "lists.example; dmarc=pass".to_owned(),
    };
    vec![
        of_arc(arc::Verdict::None, Vec::new(), None),
        of_arc(arc::Verdict::Pass, vec![set], None),
        of_arc(arc::Verdict::Fail, Vec::new(), Some(arc::Problem::Incomplete(1))),
    ]
}

fn of_dmarc(verdict: dmarc::Verdict, disposition: dmarc::Disposition) -> Statement {
    let failed = verdict == dmarc::Verdict::Fail;
    results::dmarc(&dmarc::Outcome {
        verdict,
        disposition,
        author: dmarc::Domain::parse("a.example"),
        aligned: None,
        also_aligned: None,
        record_at: None,
        record: None,
        requested: failed.then_some(dmarc::record::Policy::Reject),
        problem: (verdict == dmarc::Verdict::TempError).then(|| dmarc::Problem::NoAnswer(key())),
    })
}

fn dmarc_verdicts() -> Vec<Statement> {
    use dmarc::{Disposition, Verdict};
    vec![
        of_dmarc(Verdict::None, Disposition::Accept),
        of_dmarc(Verdict::Pass, Disposition::Accept),
        of_dmarc(Verdict::Fail, Disposition::Reject),
        of_dmarc(Verdict::Fail, Disposition::Quarantine),
        of_dmarc(Verdict::Fail, Disposition::Accept),
        of_dmarc(Verdict::TempError, Disposition::Defer),
        of_dmarc(Verdict::PermError, Disposition::Reject),
    ]
}

/// As the server writes it.
fn all() -> Vec<Statement> {
    let mut statements = vec![
        of_spf(SpfIdentity::MailFrom("ann@a.example"), spf::Verdict::Pass, None),
        of_spf(SpfIdentity::Helo("mx.a.example"), spf::Verdict::None, None),
    ];
    statements.extend(results::dkim(&[of_dkim(dkim::Verdict::Pass, None)]));
    statements.push(of_arc(arc::Verdict::None, Vec::new(), None));
    statements.push(of_dmarc(dmarc::Verdict::Pass, dmarc::Disposition::Accept));
    statements
}

/// What a stranger chose neither ends a statement nor begins one.
fn hostile() -> Vec<Statement> {
    [
        "a\"b; dkim=pass header.d=bank.example@a.example",
        "(a\\\"@a.example",
        "\"a b\"@a.example",
        "a@[192.0.2.1]",
        "",
    ]
    .into_iter()
    .map(|path| of_spf(SpfIdentity::MailFrom(path), spf::Verdict::Fail, None))
    .collect()
}
