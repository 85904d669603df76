//! Public suites over the wire, against the real daemon: dialogues of chasquid and James, Dovecot's odd MIME, isemail.
//!
//! Reads `$POSTROAD_SUITES` (see `docs/suites.md`). Without the variable every case counts as skipped, visibly.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where a step fails; its parts serve several targets"
)]

mod addresses;
mod chasquid;
mod house;
mod james;
mod mime;
#[path = "../strict/sink.rs"]
mod sink;
#[path = "../strict/stage.rs"]
mod stage;
#[path = "../strict/wire.rs"]
mod wire;

use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Trial};

/// A suite: name, folder, number of cases, reader.
type Suite = (&'static str, &'static str, usize, fn(&Path) -> Vec<Trial>);

const SUITES: [Suite; 4] = [
    ("chasquid", "smtp-dialogs/chasquid", 17, chasquid::cases),
    ("james", "smtp-dialogs/james-mpt", 8, james::cases),
    ("mime", "mime", 43, mime::cases),
    ("isemail over the wire", "address", 164, addresses::cases),
];

fn main() {
    let arguments = Arguments::from_args();
    let root = std::env::var("POSTROAD_SUITES")
        .ok()
        .filter(|root| !root.is_empty());
    let mut trials = Vec::new();
    for (name, folder, count, read) in SUITES {
        let cases = if let Some(root) = &root {
            read(&Path::new(root).join(folder))
        } else {
            println!("skipped: {name} {count} cases (POSTROAD_SUITES is not set)");
            let skipped =
                |number| Trial::test(format!("{name} case {number}"), || Ok(())).with_ignored_flag(true);
            (1..=count).map(skipped).collect()
        };
        assert_eq!(cases.len(), count, "{name} was not read whole");
        trials.extend(cases);
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// Files of a folder with this extension, sorted.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    paths.sort();
    paths
}

/// The class that a line of a dialogue begins with.
fn class_of(line: &str) -> u16 {
    line.bytes()
        .next()
        .map_or(0, |digit| u16::from(digit.wrapping_sub(b'0')))
}
