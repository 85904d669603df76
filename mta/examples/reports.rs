//! Writes a report of every kind that goes to other domains into a folder, as NAME.eml, for programs that read them:
//!
//! ```text
//!   cargo run -p postroad-mta --example reports -- DIRECTORY
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use postroad_mta::deliver::https::Https;
use postroad_mta::deliver::tls::ClientTls;
use postroad_mta::dns::Dns;
use postroad_mta::dns::table::Table;
use postroad_mta::reports::dmarc::DmarcWriter;
use postroad_mta::reports::tls::TlsWriter;
use postroad_mta::reports::{Day, Subject, Writer};
use postroad_mta::settings::Settings;
use postroad_verify::dane::Tlsa;
use postroad_verify::dkim::{Algorithm, PrivateKey};
use postroad_verify::dmarc::record::{self, Alignment};
use postroad_verify::dmarc::report::{Applied, DkimResult, Published, Reason, ReasonKind, Row, SpfResult};
use postroad_verify::dns::{Answer, Kind as Type, Question};
use postroad_verify::mta_sts;
use postroad_verify::tls_rpt::{Failure, Policy, ResultType, Session};
use serde::Serialize;

const CONFIG: &str = "format: 1\nhostname: mail.example.com\nspool: {directory: /unused}\n\
    reports: {from: reports@example.com, organization: 'Ears & Eyes <Inc.>', contact: 'https://example.com/?a=1&b=2', dmarc: {mode: Daily}, tls: {mode: Daily}}\n";
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
    // Without a key no report about TLS goes by mail.
    let key = PrivateKey::generate(Algorithm::Ed25519Sha256)?.to_pem()?;
    let key = serde_json::to_string(&*key)?;
    let config =
        format!("{CONFIG}domains: [{{name: example.com, dkim: {{keys: [{{selector: s, key: {key}}}]}}}}]\n");
    let settings = Settings::new(postroad_config::assemble(&config, &BTreeMap::new())?)?;
    let text = |dns: Table, name: &str, record: &str| {
        let asked = Question {
            name: name.to_owned(),
            kind: Type::Txt,
        };
        dns.answers(asked, Answer::Txt(vec![record.into()]))
    };
    let record = "v=DMARC1; p=reject; rua=mailto:dmarc@a.example";
    let dns = text(Table::default(), "_dmarc.a.example", record);
    let dns = text(
        dns,
        "_smtp._tls.a.example",
        "v=TLSRPTv1; rua=mailto:tls@a.example",
    );
    let dns = Dns::new(dns);
    let dmarc = DmarcWriter::new(dns.clone());
    let tls = TlsWriter::new(dns.clone(), Https::new(dns, &ClientTls::public()?));
    for (name, rows) in samples() {
        let octets = report(&dmarc, &rows, &settings).await?;
        std::fs::write(folder.join(format!("{name}.eml")), octets)?;
    }
    for (name, rows) in sessions() {
        let octets = report(&tls, &rows, &settings).await?;
        std::fs::write(folder.join(format!("{name}.eml")), octets)?;
    }
    Ok(())
}

/// The letter with these rows, of which the first came once, the second twice and so on.
async fn report(
    writer: &impl Writer,
    rows: &[impl Serialize],
    settings: &Settings,
) -> Result<Vec<u8>, Box<dyn Error>> {
    let rows: Result<Vec<_>, serde_json::Error> = rows
        .iter()
        .zip(1..)
        .map(|(row, count)| Ok((serde_json::to_string(row)?, count)))
        .collect();
    let day = Day {
        of: Subject {
            kind: writer.kind(),
            domain: "a.example".to_owned(),
            day: DAY,
        },
        rows: rows?,
        id: "0123456789abcdef".to_owned(),
    };
    let written = writer.write(&day, settings).await?;
    let letter = written.letters.first().ok_or("there is no letter")?;
    Ok(letter.compose(1_795_914_000))
}

fn sessions() -> Vec<(&'static str, Vec<Session>)> {
    let session = |policy: &Policy, failure| Session {
        policy: policy.clone(),
        failure,
    };
    let text = b"version: STSv1\nmode: testing\nmx: *.a.example\nmax_age: 86400\n";
    let sts = Policy::sts("a.example", mta_sts::Policy::parse(text).ok().as_ref());
    let tlsa = Tlsa::read(&[&[3, 1, 1][..], &[0xab; 32]].concat());
    let tlsa = Policy::tlsa("mx.a.example", tlsa.as_slice());
    let none = Policy::none("a.example");
    let failure = |result| Failure {
        sending_mta_ip: Some([192, 0, 2, 7].into()),
        receiving_ip: Some([0x2001, 0xdb8, 0, 0, 0, 0, 0, 25].into()),
        ..Failure::of(result)
            .at("mx.a.example", "mail.a.example")
            .because("why: \"<this>\"")
    };
    let failures = ResultType::ALL.map(|result| session(&sts, Some(failure(result))));
    vec![
        ("tls", vec![session(&none, None)]),
        (
            "tls-policies",
            vec![
                session(&tlsa, None),
                session(&sts, None),
                session(&none, Some(Failure::of(ResultType::StarttlsNotSupported))),
            ],
        ),
        ("tls-failures", failures.to_vec()),
    ]
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
            p: record::Policy::Reject,
            sp: record::Policy::Quarantine,
            np: record::Policy::None,
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
