//! Two versions of the spool meet as processes: the present one ("old"), and the same code built with the feature
//! `next-format` ("new"), which reads one format more and writes the present one while it is told to.

#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use postroad_spool::NEWEST_FORMAT;

/// What the old version writes, and the new one while the fleet is mixed.
const N: u32 = NEWEST_FORMAT;
const NEXT: u32 = N + 1;

/// The folder that the examples are built in.
fn built() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().to_path_buf()
}

/// Builds a program; of all packages only the spool is compiled again for the next version.
fn build(example: &str, features: &[&str]) -> PathBuf {
    let profile = match built().file_name().and_then(|name| name.to_str()).unwrap() {
        "debug" => "dev".to_owned(),
        other => other.to_owned(),
    };
    let done = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--locked",
            "--offline",
            "--package",
            "postroad-spool",
        ])
        .args(["--example", example, "--profile", &profile, "--target-dir"])
        .arg(built().parent().unwrap())
        .args(features)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(done.unwrap().success(), "{example} is not built");
    built().join("examples").join(example)
}

fn old() -> &'static Path {
    static OLD: OnceLock<PathBuf> = OnceLock::new();
    OLD.get_or_init(|| build("version", &[]))
}

fn new() -> &'static Path {
    static NEW: OnceLock<PathBuf> = OnceLock::new();
    NEW.get_or_init(|| build("version_next", &["--features", "next-format"]))
}

fn run(program: &Path, words: &[&str], dir: &Path, format: u32, more: &[&str]) -> Output {
    Command::new(program)
        .args(words)
        .arg(dir)
        .arg(format.to_string())
        .args(more)
        .output()
        .unwrap()
}

/// What it prints, one line for each entry.
fn said(output: Output) -> Vec<String> {
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn fill(program: &Path, dir: &Path, format: u32, from: &str, count: &str) -> Vec<String> {
    said(run(program, &["fill"], dir, format, &[from, count]))
}

fn dump(program: &Path, dir: &Path, format: u32) -> Vec<String> {
    said(run(program, &["dump"], dir, format, &[]))
}

/// Without the ids, which each spool gives anew.
fn contents(lines: &[String]) -> Vec<String> {
    let mut contents: Vec<String> = lines
        .iter()
        .map(|line| line.split_once(' ').unwrap().1.to_owned())
        .collect();
    contents.sort();
    contents
}

fn remarked(lines: &[String]) -> usize {
    lines.iter().filter(|line| line.contains("\"remark ")).count()
}

/// All files, for "nothing was harmed".
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for folder in [dir.to_path_buf(), dir.join("segments"), dir.join("blobs")] {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.is_file() {
                all.insert(path.clone(), std::fs::read(path).unwrap());
            }
        }
    }
    all
}

fn assert_refused(dir: &Path) {
    let before = files(dir);
    let refused = run(old(), &["dump"], dir, N, &[]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(3), "{told}");
    assert_eq!(
        told.trim(),
        format!(
            "the spool has format {NEXT}, this version of the program reads {} to {N}: start a newer version, or let \
             the newer one write format {N} (spool.writeFormat) until it has rewritten the spool",
            N - 1
        )
    );
    assert!(files(dir) == before, "the refused spool is as it was");
}

#[test]
fn what_the_old_version_wrote_the_new_one_reads() {
    let dir = tempfile::tempdir().unwrap();
    let wrote = fill(old(), dir.path(), N, "1", "60");
    assert_eq!(wrote.len(), 52);
    assert_eq!(dump(new(), dir.path(), N), wrote);
    assert_eq!(dump(new(), dir.path(), NEXT), wrote);
}

#[test]
fn what_the_new_version_writes_in_the_format_before_the_old_one_reads_whole() {
    let dir = tempfile::tempdir().unwrap();
    let first = fill(new(), dir.path(), N, "1", "60");
    assert_eq!(dump(old(), dir.path(), N), first);
    // And on: each goes on with what the other left.
    let second = fill(old(), dir.path(), N, "61", "30");
    let third = fill(new(), dir.path(), N, "91", "30");
    assert!(second.len() > first.len() && third.len() > second.len());
    assert_eq!(dump(old(), dir.path(), N), third);
}

#[test]
fn what_the_new_version_writes_in_its_own_format_the_old_one_refuses_and_does_not_harm() {
    let dir = tempfile::tempdir().unwrap();
    let wrote = fill(new(), dir.path(), NEXT, "1", "60");
    assert!(
        remarked(&wrote) > 0,
        "something that only the next format can say"
    );
    assert_refused(dir.path());
    assert_eq!(dump(new(), dir.path(), NEXT), wrote);
}

#[test]
fn a_spool_of_both_formats_is_read_by_the_new_version_and_the_way_back_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let old_wrote = fill(old(), dir.path(), N, "1", "60");
    let both = fill(new(), dir.path(), NEXT, "61", "60");
    assert_eq!(both[..old_wrote.len()], old_wrote);
    assert_refused(dir.path());
    // Written in the format before again; what only the next one can say stays, and is readable.
    let mixed = fill(new(), dir.path(), N, "121", "60");
    assert_eq!(mixed[..both.len()], both);
    assert_eq!(remarked(&mixed), remarked(&both));
    assert_refused(dir.path());
    // Once that has ended, the old version takes the spool.
    let settled = said(run(new(), &["settle"], dir.path(), N, &[]));
    assert_eq!(settled.len(), mixed.len() - remarked(&mixed));
    assert_eq!(dump(old(), dir.path(), N), settled);
}

#[test]
fn a_process_that_is_killed_while_it_turns_between_the_formats_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut must: BTreeMap<String, String> = BTreeMap::new();
    for round in 0..8 {
        let mut child = Command::new(new())
            .arg("churn")
            .arg(dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let hear = |line: &str, must: &mut BTreeMap<String, String>| {
            let entry = line.strip_prefix("committed ").unwrap();
            let (id, content) = entry.split_once(' ').unwrap();
            must.insert(id.to_owned(), content.to_owned());
        };
        for line in lines.by_ref().take(5 + round * 4) {
            hear(&line.unwrap(), &mut must);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let lines = dump(new(), dir.path(), if round % 2 == 0 { N } else { NEXT });
        let found: BTreeMap<&str, &str> = lines.iter().map(|line| line.split_once(' ').unwrap()).collect();
        for (id, content) in &must {
            assert_eq!(found.get(id.as_str()), Some(&content.as_str()), "round {round}");
        }
    }
    let settled = said(run(new(), &["settle"], dir.path(), N, &[]));
    assert_eq!(dump(old(), dir.path(), N), settled);
    let kept = must.values().filter(|content| !content.contains("\"remark "));
    assert!(settled.len() >= kept.count());
}

/// Hands over from one process to another.
fn hand_over(giver: (&Path, &Path, u32), taker: (&Path, &Path, u32), all: &[&str]) {
    let mut take = Command::new(taker.0)
        .arg("take")
        .arg(taker.1)
        .arg(taker.2.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let give = Command::new(giver.0)
        .arg("give")
        .arg(giver.1)
        .arg(giver.2.to_string())
        .args(all)
        .stdin(take.stdout.take().unwrap())
        .stdout(take.stdin.take().unwrap())
        .spawn()
        .unwrap();
    let handed = give.wait_with_output().unwrap();
    assert!(handed.status.success());
    assert!(take.wait().unwrap().success());
}

#[test]
fn an_old_version_hands_over_to_a_new_one_of_either_format() {
    for format in [N, NEXT] {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let wrote = fill(old(), from.path(), N, "1", "60");
        hand_over((old(), from.path(), N), (new(), to.path(), format), &[]);
        assert_eq!(dump(old(), from.path(), N), Vec::<String>::new());
        assert_eq!(contents(&dump(new(), to.path(), format)), contents(&wrote));
    }
}

#[test]
fn a_new_version_hands_over_to_an_old_one_what_that_can_keep_and_keeps_the_rest() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let wrote = fill(new(), from.path(), NEXT, "1", "60");
    let (rest, fits): (Vec<_>, Vec<_>) = wrote.into_iter().partition(|line| line.contains("\"remark "));
    assert!(!rest.is_empty());
    hand_over((new(), from.path(), NEXT), (old(), to.path(), N), &[]);
    assert_eq!(contents(&dump(old(), to.path(), N)), contents(&fits));
    assert_eq!(dump(new(), from.path(), NEXT), rest, "owned here, whole");
}

#[test]
fn what_is_offered_to_a_version_that_cannot_keep_it_comes_back() {
    for taker in [(old(), N), (new(), N)] {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let wrote = fill(new(), from.path(), NEXT, "1", "30");
        let (rest, fits): (Vec<_>, Vec<_>) = wrote.into_iter().partition(|line| line.contains("\"remark "));
        hand_over(
            (new(), from.path(), NEXT),
            (taker.0, to.path(), taker.1),
            &["all"],
        );
        assert_eq!(contents(&dump(taker.0, to.path(), taker.1)), contents(&fits));
        assert_eq!(contents(&dump(new(), from.path(), NEXT)), contents(&rest));
    }
}
