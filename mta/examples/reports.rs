//! Writes a report of every kind that goes to other domains into a folder, as NAME.eml, for programs that read them:
//!
//! ```text
//!   cargo run -p postroad-mta --example reports -- DIRECTORY
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use postroad_mta::dns::Dns;
use postroad_mta::dns::table::Table;
use postroad_mta::reports::dmarc::DmarcWriter;
use postroad_mta::reports::{Day, Kind, Subject, Writer};
use postroad_mta::settings::Settings;
use postroad_verify::dmarc::record::{Alignment, Policy};
use postroad_verify::dmarc::report::{Applied, DkimResult, Published, Reason, ReasonKind, Row, SpfResult};
use postroad_verify::dns::{Answer, Kind as Type, Question};

const CONFIG: &str = "format: 1\nhostname: mail.example.com\nspool: {directory: /unused}\n\
    reports: {from: reports@example.com, organization: 'Ears & Eyes <Inc.>', contact: 'https://example.com/?a=1&b=2', dmarc: {mode: Daily}}\n";
/// 28 November 2026.
const DAY: u32 = 20_785;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("give a folder");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let written = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(write(&folder)));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn write(folder: &Path) -> Result<(), Box<dyn Error>> {
    let settings = Settings::new(postroad_config::assemble(CONFIG, &BTreeMap::new())?)?;
    let asked = Question {
        name: "_dmarc.a.example".to_owned(),
        kind: Type::Txt,
    };
    let record = b"v=DMARC1; p=reject; rua=mailto:dmarc@a.example".to_vec();
    let writer = DmarcWriter::new(Dns::new(
        Table::default().answers(asked, Answer::Txt(vec![record])),
    ));
    for (name, rows) in samples() {
        let rows = rows.into_iter().zip(1..);
        let rows: Result<Vec<_>, serde_json::Error> = rows
            .map(|(row, count)| Ok((serde_json::to_string(&row)?, count)))
            .collect();
        let day = Day {
            of: Subject {
                kind: Kind::Dmarc,
                domain: "a.example".to_owned(),
                day: DAY,
            },
            rows: rows?,
            id: "0123456789abcdef".to_owned(),
        };
        let written = writer.write(&day, &settings).await?;
        let letter = written.letters.first().ok_or("there is no letter")?;
        std::fs::write(folder.join(format!("{name}.eml")), letter.compose(1_795_914_000))?;
    }
    Ok(())
}

fn samples() -> Vec<(&'static str, Vec<Row>)> {
    let forged = Row {
        disposition: Applied::Reject,
        dkim_aligned: false,
        spf_aligned: false,
        envelope_from: "else.example".to_owned(),
        dkim: Vec::new(),
        ..row()
    };
    let forwarded = Row {
        disposition: Applied::None,
        reasons: vec![Reason {
            kind: ReasonKind::TrustedForwarder,
            comment: "arc=pass, sealed by lists.example".to_owned(),
        }],
        dkim: vec![DkimResult {
            result: "fail".to_owned(),
            why: Some("the body's hash is another: <body> & \"text\"".to_owned()),
            ..signature()
        }],
        ..forged.clone()
    };
    let null = Row {
        envelope_from: String::new(),
        spf: None,
        source: [0x2001, 0xdb8, 0, 0, 0, 0, 0, 7].into(),
        ..row()
    };
    vec![
        ("dmarc", vec![row()]),
        ("dmarc-failures", vec![forged, forwarded]),
        ("dmarc-null", vec![null]),
    ]
}

fn signature() -> DkimResult {
    DkimResult {
        domain: "a.example".to_owned(),
        selector: "s1".to_owned(),
        result: "pass".to_owned(),
        why: None,
    }
}

fn row() -> Row {
    Row {
        policy: Published {
            domain: "a.example".to_owned(),
            p: Policy::Reject,
            sp: Policy::Quarantine,
            np: Policy::None,
            adkim: Alignment::Strict,
            aspf: Alignment::Relaxed,
            testing: false,
        },
        source: [192, 0, 2, 7].into(),
        disposition: Applied::Pass,
        dkim_aligned: true,
        spf_aligned: false,
        reasons: Vec::new(),
        header_from: "a.example".to_owned(),
        envelope_from: "bounce.a.example".to_owned(),
        dkim: vec![signature()],
        spf: Some(SpfResult {
            domain: "bounce.a.example".to_owned(),
            result: "softfail".to_owned(),
            why: None,
        }),
        is_report: false,
    }
}
