//! Messages that we sign and seal, verified by the programs that others verify with; and verdicts that we write, read by another.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::filters::{RSPAMD, start_rspamd};
use super::{Table, Verdict};
use crate::kubectl::Outcome;
use crate::place::{self, free_address};
use crate::rootfs::Rootfs;
use crate::shell::Shell;

/// Packages of the root file system.
pub(super) const PACKAGES: &[&str] = &[
    "python3-dkim",
    "python3-nacl",
    "libmail-dkim-perl",
    "libcryptx-perl",
    "opendkim",
    "python3-authres",
];

const DKIMPY: &str = include_str!("../../peers/verifiers.py");
const AUTHRES: &str = include_str!("../../peers/results.py");
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
    for example in ["signatures", "results"] {
        write_samples(example, samples.path())?;
    }
    let jail = root.enter(scratch.path(), &[(samples.path(), "/samples")])?;
    jail.write("/verifiers.py", DKIMPY)?;
    jail.write("/verifiers.pl", MAIL_DKIM)?;
    jail.write("/results.py", AUTHRES)?;
    let script =
        format!("python3 /verifiers.py /samples/*.eml; perl /verifiers.pl /samples/*.eml; {OPENDKIM}");
    let said = jail.run("sh", ["-c", &script])? + "\n" + &rspamd(samples.path())?;
    let read = jail.run("sh", ["-c", "python3 /results.py /samples/*.field"])?;
    Ok(vec![judge(&said), judge_results(&read)])
}

/// rspamd, whose keys come from its settings in place of DNS. Says how many signatures pass, and of a chain whether it does.
fn rspamd(samples: &Path) -> Outcome<String> {
    let scratch = tempfile::tempdir()?;
    let jail = Rootfs::cached("rspamd", RSPAMD)?.enter(scratch.path(), &[(samples, "/samples")])?;
    let zone = std::fs::read_to_string(samples.join("zone"))?;
    let records = zone.lines().filter_map(|line| line.split_once(' '));
    let records =
        records.map(|(name, text)| format!("{{ name = \"{name}\"; type = txt; replies = [\"{text}\"]; }},"));
    let options = format!(
        "dns {{ nameserver = [\"127.0.0.1:1\"]; timeout = 0.1s; retransmits = 1; fake_records = [{}]; }}\n",
        records.collect::<String>()
    );
    let at = free_address()?;
    let program = start_rspamd(&jail, at, &[], &options)?;
    let ask = format!(
        "for file in /samples/*.eml; do
             printf '%s\\t' \"$(basename \"$file\" .eml)\"
             rspamc --connect {at} --ip 203.0.113.7 --json --compact symbols \"$file\" | tr -d '\\n'
             echo
         done"
    );
    let said = jail.run("sh", ["-c", &ask])?;
    drop(program);
    let found = said.lines().filter_map(|line| {
        let (sample, answer) = line.split_once('\t')?;
        let answer: Value = serde_json::from_str(answer).unwrap_or_default();
        let symbols = &answer["symbols"];
        let words = if sample.starts_with("arc-") {
            if symbols["ARC_ALLOW"].is_object() {
                "pass".to_owned()
            } else {
                symbols.to_string()
            }
        } else {
            let passed = symbols["R_DKIM_ALLOW"]["options"].as_array().map_or(0, Vec::len);
            passed.to_string()
        };
        Some(format!("{sample}\trspamd\t{words}\n"))
    });
    Ok(found.collect())
}

fn write_samples(example: &str, folder: &Path) -> Outcome {
    let args = [
        "run",
        "--locked",
        "--quiet",
        "--package",
        "postroad-verify",
        "--example",
        example,
        "--",
    ];
    let build = Shell::new("cargo").dir(&place::tree()).args(args);
    build.args([folder]).run()?;
    Ok(())
}

/// `said`: lines of sample, verifier, and what it found, between tabs.
fn judge(said: &str) -> Table {
    let mut table = Table::new(
        "signed by Postroad",
        &["dkimpy", "Mail::DKIM", "OpenDKIM", "rspamd"],
    );
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
        let cells = ["dkimpy", "maildkim", "opendkim", "rspamd"].map(|verifier| match (verifier, kind) {
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
                ("opendkim" | "rspamd", "both") => "2",
                ("opendkim", _) | ("rspamd", "rsa" | "ed25519") => "1",
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

/// `said`: lines of sample, reader, and whether it reads what was meant, between tabs.
fn judge_results(said: &str) -> Table {
    let mut table = Table::new("verdicts in Authentication-Results", &["authres"]);
    let lines = said.lines().filter_map(|line| line.split_once("\tauthres\t"));
    let found: BTreeMap<&str, &str> = lines.collect();
    for sample in RESULTS {
        let verdict = match found.get(sample).copied() {
            Some("same") => Verdict::Yes,
            words => Verdict::Fail(format!("it said `{}`", words.unwrap_or("nothing"))),
        };
        table.rows.push(((*sample).to_owned(), vec![verdict]));
    }
    table
}

/// As `mta/verify/examples/results.rs` has them.
const RESULTS: &[&str] = &[
    "nothing",
    "spf",
    "dkim",
    "dkim-none",
    "arc",
    "dmarc",
    "all",
    "hostile",
];
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reader_reads_otherwise_is_a_failure() {
        let lines = RESULTS.iter().map(|sample| format!("{sample}\tauthres\tsame\n"));
        let all: String = lines.collect();
        let failed = |said: &str| {
            let rows = judge_results(said).rows;
            rows.iter().filter(|(_, cells)| cells[0] != Verdict::Yes).count()
        };
        assert_eq!(failed(&all), 0);
        assert_eq!(failed(&all.replacen("same", "{}", 1)), 1);
        assert_eq!(failed(""), RESULTS.len());
    }
}
