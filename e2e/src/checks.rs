//! The parts of `cargo verify` that need no cluster, and the reading of what they say.
//!
//! Each part gives one [`Count`]. A part that cannot run here is a counted skip with its reason in the output, never a
//! silent pass.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cluster::Cluster;
use crate::place;
use crate::report::Count;
use crate::shell::{Said, Shell, ShellError, tail};
use crate::tools;

/// Source layout: `cargo fmt`.
pub fn formats() -> Count {
    judge("rust source layout", cargo(["fmt", "--all", "--check"]).run())
}

/// Lints of the whole workspace, warnings refused.
pub fn lints() -> Count {
    let args = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--quiet",
        "--",
        "--deny",
        "warnings",
    ];
    judge("clippy", cargo(args).run())
}

/// Licences, banned crates and sources, by cargo-deny. Advisories need the network and are not asked for here.
pub fn dependencies() -> Count {
    let deny = match tools::cargo_deny() {
        Ok(deny) => deny,
        Err(error) => {
            eprintln!("{error}");
            return skip("dependencies", 3, "cargo-deny could not be built");
        }
    };
    let mut count = Count::default();
    for what in ["licenses", "bans", "sources"] {
        let check = Shell::new(&deny)
            .args(["--offline", "check", what])
            .dir(&place::tree())
            .run();
        count += judge(&format!("cargo deny {what}"), check);
    }
    count
}

/// The mail server, built from the tree in the profile of the tests.
pub fn mail_server() -> Result<PathBuf, ShellError> {
    cargo(["build", "--locked", "--quiet", "--package", "postroad-mta"]).run()?;
    Ok(place::target().join("debug/postroad-mta"))
}

/// What an example of the mail server's crate writes into the folder, for other readers than ours.
pub(crate) fn mail_samples(example: &str, folder: &Path) -> Result<Said, ShellError> {
    let package = ["--package", "postroad-mta", "--example", example, "--"];
    cargo(["run", "--locked", "--quiet"])
        .args(package)
        .args([folder])
        .run()
}

/// Unit and integration tests of all crates, with the public suites where `POSTROAD_SUITES` names them; prints their scores.
pub fn tests(exhaustive: bool) -> Count {
    let (count, said) = run_tests(&[], exhaustive);
    for score in read_scores(&said) {
        println!("{score}");
    }
    count
}

/// Only the tests of the public suites, and their scores.
pub fn suites() -> (Count, Vec<String>) {
    let (count, said) = run_tests(&["--test", "*suite*"], false);
    (count, read_scores(&said))
}

/// `exhaustive`: long searches, which are ignored otherwise, are made; tests that take a sample (they read
/// `POSTROAD_EXHAUSTIVE`) take all. Gives also what they said.
fn run_tests(which: &[&str], exhaustive: bool) -> (Count, String) {
    let args = ["test", "--workspace", "--locked", "--no-fail-fast", "--quiet"];
    let mut run = cargo(args).args(which).echo();
    if exhaustive {
        run = run
            .env("POSTROAD_EXHAUSTIVE", "1")
            .args(["--", "--include-ignored"]);
    }
    match run.try_run() {
        Ok(said) => {
            let mut count = read_tests(&said.text());
            if !said.status.success() && count.failed == 0 {
                complain("cargo test", &tail(&format!("{}\n{}", said.text(), said.err)));
                count.failed += 1;
            }
            (count, said.text())
        }
        Err(error) => (judge("cargo test", Err(error)), String::new()),
    }
}

/// The proof of the operator: a program of its own, as it needs what this crate is built without. Its last line is a count.
pub fn operator(exhaustive: bool, seed: u64) -> Count {
    let args = [
        "run",
        "--locked",
        "--quiet",
        "--package",
        "postroad-proof",
        "--",
        // The stories have it built anyway, and thousands of objects are looked at several times faster.
        "--release",
        "--seed",
    ];
    let mut run = cargo(args).args([seed.to_string()]).echo();
    if exhaustive {
        run = run.args(["--exhaustive"]).limit(Duration::from_hours(4));
    }
    match run.try_run() {
        Ok(said) => match said.text().lines().last().and_then(read_count) {
            Some(count) => count,
            None => fail("the proof of the operator", &tail(&said.err)),
        },
        Err(error) => judge("the proof of the operator", Err(error)),
    }
}

/// `N passed, N failed, N skipped`.
fn read_count(line: &str) -> Option<Count> {
    let mut numbers = line
        .split(", ")
        .zip(["passed", "failed", "skipped"])
        .map(|(part, word)| {
            let (number, said) = part.split_once(' ')?;
            (said == word).then(|| number.parse().ok()).flatten()
        });
    let mut next = || numbers.next().flatten();
    Some(Count {
        passed: next()?,
        failed: next()?,
        skipped: next()?,
    })
}

/// Generated files against what would be generated now.
pub fn drift() -> Count {
    if !place::tree().join("crds/src/bin/crdgen.rs").exists() {
        return skip("crd drift", 1, "the crates have no crdgen yet");
    }
    judge(
        "crds/*.yaml are what cargo crdgen writes",
        cargo(["crdgen", "--", "--check"]).run(),
    )
}

/// The scripts of the tree, by shellcheck where it is installed.
pub fn scripts() -> Count {
    let tree = place::tree();
    let list = Shell::new("git")
        .args(["ls-files", "*.sh", ".ci/run"])
        .dir(&tree)
        .read();
    let files = match list {
        Ok(files) => files.lines().map(str::to_owned).collect::<Vec<_>>(),
        Err(error) => return judge("list of scripts", Err(error)),
    };
    if Shell::new("shellcheck").args(["--version"]).run().is_err() {
        return skip("scripts", files.len() as u64, "shellcheck is not installed");
    }
    files.iter().fold(Count::default(), |mut count, file| {
        count += judge(
            file,
            Shell::new("shellcheck")
                .args(["-x", "-P", "SCRIPTDIR", file])
                .dir(&tree)
                .run(),
        );
        count
    })
}

/// The chart: lint, every good values file renders, every bad one is refused for its reason.
pub fn chart(cluster: &Cluster) -> Count {
    let tree = place::tree();
    let chart = tree.join("charts/postroad");
    let mut count = judge(
        "helm lint",
        cluster.helm(["lint", "--strict"]).args([&chart]).run(),
    );
    for file in yaml_files(&tree.join("charts/tests/good")) {
        let name = format!("chart renders with {}", name_of(&file));
        count += judge(&name, render(cluster, &chart, &file).run());
    }
    for file in yaml_files(&tree.join("charts/tests/bad")) {
        count += refusal(cluster, &chart, &file);
    }
    count
}

fn render(cluster: &Cluster, chart: &Path, values: &Path) -> Shell {
    let flags = [
        "template",
        "tested",
        "--namespace",
        "postroad",
        "--kube-version",
        "1.33.0",
    ];
    cluster.helm(flags).args([chart, Path::new("--values"), values])
}

/// A bad values file starts with `# refused: WORD`: the refusal must name that word.
fn refusal(cluster: &Cluster, chart: &Path, file: &Path) -> Count {
    let name = format!("chart refuses {}", name_of(file));
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let Some(word) = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("# refused: "))
    else {
        return fail(&name, "its first line must be `# refused: WORD`");
    };
    match render(cluster, chart, file).run() {
        Ok(_) => fail(&name, "it was rendered"),
        Err(ShellError::Failed { said, .. }) if said.contains(word) => pass(),
        Err(error) => fail(&name, &format!("refused, but not for `{word}`: {error}")),
    }
}

fn yaml_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}

fn name_of(file: &Path) -> String {
    file.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// One check that held.
pub fn pass() -> Count {
    Count {
        passed: 1,
        ..Count::default()
    }
}

/// One check that did not hold, said on the terminal.
pub fn fail(what: &str, why: &str) -> Count {
    complain(what, why);
    Count {
        failed: 1,
        ..Count::default()
    }
}

/// Checks that cannot be made here, said on the terminal.
pub fn skip(what: &str, cases: u64, why: &str) -> Count {
    eprintln!("    skipped: {what} {cases} cases ({why})");
    Count {
        skipped: cases,
        ..Count::default()
    }
}

/// One check by how a program ended.
pub fn judge(what: &str, result: Result<Said, ShellError>) -> Count {
    match result {
        Ok(_) => pass(),
        Err(error) => fail(what, &error.to_string()),
    }
}

fn complain(what: &str, why: &str) {
    eprintln!("    FAILED: {what}");
    for line in why.lines() {
        eprintln!("      {line}");
    }
}

fn cargo<const N: usize>(args: [&str; N]) -> Shell {
    Shell::new(place::cargo())
        .args(args)
        .dir(&place::tree())
        .limit(Duration::from_hours(1))
}

/// Counts the result lines of Rust's test harness. A suite that is absent has each of its cases among the ignored.
pub fn read_tests(output: &str) -> Count {
    let mut count = Count::default();
    for line in output.lines().map(str::trim) {
        if let Some(result) = line.strip_prefix("test result: ") {
            count.passed += number_before(result, " passed");
            count.failed += number_before(result, " failed");
            count.skipped += number_before(result, " ignored");
        }
    }
    count
}

/// What suites say of themselves, as `score: spf 203/203`.
fn read_scores(output: &str) -> Vec<String> {
    let scores = output
        .lines()
        .filter_map(|line| line.trim().strip_prefix("score: "));
    scores.map(str::to_owned).collect()
}

fn number_before(line: &str, word: &str) -> u64 {
    let before = line.find(word).map_or("", |at| &line[..at]);
    before
        .rsplit(|letter: char| !letter.is_ascii_digit())
        .next()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_read_back() {
        let count = Count {
            passed: 41,
            failed: 0,
            skipped: 3,
        };
        assert_eq!(read_count(&count.to_string()), Some(count));
        for other in ["", "41 passed", "a passed, 0 failed, 0 skipped"] {
            assert_eq!(read_count(other), None, "{other}");
        }
    }

    #[test]
    fn test_results_and_skips_of_all_binaries_are_added() {
        let output = "running 3 tests\n...\n\
            test result: ok. 3 passed; 0 failed; 204 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            skipped: spf 203 cases (POSTROAD_SUITES is not set)\n\
            test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s\n";
        assert_eq!(
            read_tests(output),
            Count {
                passed: 13,
                failed: 2,
                skipped: 204
            }
        );
    }

    #[test]
    fn scores_of_suites_are_found() {
        let output = "running 2 tests\n..\nscore: spf 203/203\ntest score: no\n score: dkim 1/37\n";
        assert_eq!(read_scores(output), ["spf 203/203", "dkim 1/37"]);
    }

    #[test]
    fn other_lines_count_nothing() {
        assert_eq!(read_tests("error: 3 passed\nwarning: unused\n"), Count::default());
    }
}
