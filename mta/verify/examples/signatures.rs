//! Signs messages of many shapes into a folder, as NAME.eml, for programs that verify them; `zone` has a line "NAME RECORD" for
//! each key.
//!
//! ```text
//!   cargo run -p postroad-verify --example signatures -- DIRECTORY
//! ```
//!
//! `rsa-…`, `ed25519-…` and `both-…` have a DKIM signature of each key that they are named after, `arc-…` two ARC sets.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use postroad_verify::arc::{self, Sealer};
use postroad_verify::dkim::{Algorithm, BodyHashes, Header, Limits, PrivateKey, Signer, Wanted};
use postroad_verify::dns::Answer;

const DOMAIN: &str = "signed.example";

const BODIES: &[(&str, &str)] = &[
    ("plain", "Hello.\r\n"),
    ("empty", ""),
    ("no-line-end", "Hello"),
    ("blank-lines", "Hello.\r\n\r\n\r\n\r\n"),
    ("white-space", " a  b \t c\t\r\n \t \r\n\tindented\r\n \r\n"),
    ("eight-bit", "Grüße, 日本語, \u{1f4e8}\r\n"),
];

const HEADERS: &[(&str, &str)] = &[
    (
        "short",
        "From: alice@signed.example\r\nTo: bob@example.net\r\nSubject: hello\r\nDate: Sat, 28 Nov 2026 11:00:00 +0000\r\n\
         Message-ID: <1@signed.example>\r\n",
    ),
    (
        "folded",
        "Received: from a (b\r\n\t[192.0.2.1])\r\n\tby c; Sat, 28 Nov 2026 11:00:00 +0000\r\nFROM:  Alice\r\n\t<alice@signed.example>\r\n\
         To: bob@example.net,\r\n carol@example.net\r\nSubject:   two   words\t\r\n  and  more  \r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain;\r\n\tcharset=utf-8\r\nReferences: <1@a> <2@b>\r\nList-Id: <x.example>\r\n",
    ),
];

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
    let rsa = Arc::new(PrivateKey::generate(Algorithm::RsaSha256)?);
    let ed25519 = Arc::new(PrivateKey::generate(Algorithm::Ed25519Sha256)?);
    let zone = format!(
        "rsa._domainkey.{DOMAIN} {}\ned25519._domainkey.{DOMAIN} {}\n",
        rsa.record()?,
        ed25519.record()?
    );
    std::fs::write(folder.join("zone"), zone)?;
    let signer = Signer::new(DOMAIN)?;
    let signers = [
        ("rsa", signer.clone().with_key("rsa", rsa.clone())?),
        ("ed25519", signer.clone().with_key("ed25519", ed25519.clone())?),
        (
            "both",
            signer
                .with_key("rsa", rsa.clone())?
                .with_key("ed25519", ed25519)?
                .expiring(86_400),
        ),
    ];
    let sealer = Sealer::new(DOMAIN, "rsa", rsa.clone())?;
    let record = rsa.record()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    for (shape, header) in HEADERS {
        for (kind, body) in BODIES {
            for (name, signer) in &signers {
                let mut wanted = Wanted::new();
                signer.want(&mut wanted);
                let fields = signer.sign(&Header::parse(header.as_bytes()), &hashes(&wanted, body), now)?;
                let message = format!("{fields}{header}\r\n{body}");
                std::fs::write(folder.join(format!("{name}-{shape}-{kind}.eml")), message)?;
            }
            let once = sealed(&sealer, &record, header, body, now)?;
            let twice = sealed(&sealer, &record, &once, body, now)?;
            let file = folder.join(format!("arc-{shape}-{kind}.eml"));
            std::fs::write(file, format!("{twice}\r\n{body}"))?;
        }
    }
    Ok(())
}

/// The header with one set more.
fn sealed(
    sealer: &Sealer,
    record: &str,
    header: &str,
    body: &str,
    now: u64,
) -> Result<String, Box<dyn Error>> {
    let parsed = Header::parse(header.as_bytes());
    let mut wanted = Wanted::new();
    let mut verifier = arc::Verifier::new(&parsed, &Limits::default(), now, &mut wanted);
    for question in verifier.questions() {
        verifier.answer(&question, &Answer::Txt(vec![record.as_bytes().to_vec()]));
    }
    sealer.want(&mut wanted);
    let hashes = hashes(&wanted, body);
    let chain = verifier.finish(&hashes);
    let results = format!("mx.{DOMAIN}; arc={}; spf=none", chain.verdict);
    let set = sealer.seal(&parsed, &hashes, &chain, &results, now)?;
    Ok(format!("{set}{header}"))
}

fn hashes(wanted: &Wanted, body: &str) -> BodyHashes {
    let mut hasher = wanted.hasher();
    hasher.update(body.as_bytes());
    hasher.finish()
}
