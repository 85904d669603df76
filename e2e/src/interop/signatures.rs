//! Messages that we sign and seal, verified by the programs that others verify with.

use std::collections::BTreeMap;

use super::{Table, Verdict};
use crate::kubectl::Outcome;
use crate::place;
use crate::rootfs::Rootfs;
use crate::shell::Shell;

/// Packages of the root file system.
pub(super) const PACKAGES: &[&str] = &[
    "python3-dkim",
    "python3-nacl",
    "libmail-dkim-perl",
    "libcryptx-perl",
    "opendkim",
];

const DKIMPY: &str = include_str!("../../peers/verifiers.py");
const MAIL_DKIM: &str = include_str!("../../peers/verifiers.pl");

/// The `opendkim` program reads one message a run and writes the field that it would add; its keys come from a file in place of
/// DNS. Says how many signatures pass.
const OPENDKIM: &str = "
    cp /samples/zone /zone
    printf 'TestDNSData /zone\\nMode v\\n' >/opendkim.conf
    for file in /samples/*.eml; do
        passed=$(opendkim -x /opendkim.conf -vv -t \"$file\" 2>/dev/null | grep -c 'dkim=pass ')
        printf '%s\\topendkim\\t%s\\n' \"$(basename \"$file\" .eml)\" \"$passed\"
    done";

pub(super) fn play() -> Outcome<Vec<Table>> {
    let root = Rootfs::cached("signatures", PACKAGES)?;
    let (scratch, samples) = (tempfile::tempdir()?, tempfile::tempdir()?);
    write_samples(samples.path())?;
    let jail = root.enter(scratch.path(), &[(samples.path(), "/samples")])?;
    jail.write("/verifiers.py", DKIMPY)?;
    jail.write("/verifiers.pl", MAIL_DKIM)?;
    let script =
        format!("python3 /verifiers.py /samples/*.eml; perl /verifiers.pl /samples/*.eml; {OPENDKIM}");
    let said = jail.run("sh", ["-c", &script])?;
    Ok(vec![judge(&said)])
}

fn write_samples(folder: &std::path::Path) -> Outcome {
    let args = [
        "run",
        "--locked",
        "--quiet",
        "--package",
        "postroad-verify",
        "--example",
        "signatures",
        "--",
    ];
    let build = Shell::new("cargo").dir(&place::tree()).args(args);
    build.args([folder]).run()?;
    Ok(())
}

/// `said`: lines of sample, verifier, and what it found, between tabs.
fn judge(said: &str) -> Table {
    let mut table = Table::new("signed by Postroad", &["dkimpy", "Mail::DKIM", "OpenDKIM"]);
    let mut found: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for line in said.lines() {
        let mut parts = line.splitn(3, '\t');
        if let (Some(sample), Some(verifier), Some(words)) = (parts.next(), parts.next(), parts.next()) {
            found.insert((sample, verifier), words);
        }
    }
    for (kind, row) in [
        ("rsa", "RSA-2048"),
        ("ed25519", "Ed25519"),
        ("both", "both, with an end"),
        ("arc", "two ARC sets"),
    ] {
        let cells = ["dkimpy", "maildkim", "opendkim"].map(|verifier| match (verifier, kind) {
            // It knows no chains; that of Debian 12 no Ed25519.
            ("opendkim", "arc") | ("maildkim", "ed25519") => Verdict::Absent,
            _ => verdict(&found, kind, verifier),
        });
        table.rows.push((row.to_owned(), cells.to_vec()));
    }
    table
}

/// All samples of a kind pass.
fn verdict(found: &BTreeMap<(&str, &str), &str>, kind: &str, verifier: &str) -> Verdict {
    for shape in SHAPES {
        for body in BODIES {
            // It takes a file without a last line end for one without a signature; mail has one.
            if verifier == "opendkim" && *body == "no-line-end" {
                continue;
            }
            let sample = format!("{kind}-{shape}-{body}");
            let words = found
                .get(&(sample.as_str(), verifier))
                .copied()
                .unwrap_or("nothing");
            let wanted = match (verifier, kind) {
                ("opendkim", "both") => "2",
                ("opendkim", _) => "1",
                ("maildkim", "both") => "pass invalid",
                (_, "both") => "pass pass",
                _ => "pass",
            };
            if words != wanted {
                return Verdict::Fail(format!("{sample}: it said `{words}`"));
            }
        }
    }
    Verdict::Yes
}

/// As `mta/verify/examples/signatures.rs` has them.
const SHAPES: &[&str] = &["short", "folded"];
const BODIES: &[&str] = &[
    "plain",
    "empty",
    "no-line-end",
    "blank-lines",
    "white-space",
    "eight-bit",
];
