//! Every fuzz target of `mta/fuzz` for a short, bounded time, from its committed seeds and past crashes.
//!
//! Built on the stable compiler: LLVM's own coverage passes and libFuzzer's runtime, no sanitizer; it needs a C++
//! compiler. What is found new stays in `target/fuzz/corpus`, so that the next run on this machine begins there.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::checks::{fail, pass, skip};
use crate::place;
use crate::report::Count;
use crate::shell::{Shell, ShellError, tail};

/// What makes LLVM count edges and comparisons for libFuzzer.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=16";

/// How long each target runs in a sample, and in an exhaustive run.
const SAMPLE: Duration = Duration::from_secs(6);
const EXHAUSTIVE: Duration = Duration::from_mins(5);

/// Builds and runs all targets; one check each.
pub fn run(exhaustive: bool, seed: u64) -> Count {
    let targets = targets();
    let cases = targets.len() as u64;
    if !["c++", "g++", "clang++"].iter().any(|name| runs(name)) {
        return skip(
            "fuzz",
            cases,
            "there is no C++ compiler for libFuzzer's runtime; install g++",
        );
    }
    let folder = place::target().join("fuzz");
    let programs = match build(&folder) {
        Ok(programs) => programs,
        Err(error) => return fail("fuzz targets", &error.to_string()),
    };
    let time = if exhaustive { EXHAUSTIVE } else { SAMPLE };
    let (next, sum) = (AtomicUsize::new(0), Mutex::new(Count::default()));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(name) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let count = play(name, &programs, &folder, time, seed);
                    *sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += count;
                }
            });
        }
    });
    sum.into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn package() -> PathBuf {
    place::tree().join("mta/fuzz")
}

/// Names of the targets, by their files.
fn targets() -> Vec<String> {
    let files = std::fs::read_dir(package().join("fuzz_targets"))
        .into_iter()
        .flatten()
        .flatten();
    let mut names: Vec<_> = files
        .filter_map(|file| Some(file.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names
}

fn runs(program: &str) -> bool {
    Shell::new(program).args(["--version"]).run().is_ok()
}

/// Gives the folder of the programs.
fn build(folder: &Path) -> Result<PathBuf, ShellError> {
    let about = Shell::new("rustc").args(["-vV"]).read()?;
    let host = about
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .unwrap_or_default();
    // With a target, the flags are for the programs alone, not for build scripts.
    Shell::new(place::cargo())
        .args([
            "build",
            "--locked",
            "--quiet",
            "--package",
            "postroad-fuzz",
            "--bins",
            "--features",
            "fuzzer",
        ])
        .args(["--profile", "fuzz", "--target", host, "--target-dir"])
        .args([folder])
        .env("RUSTFLAGS", FLAGS)
        .without_env("CARGO_ENCODED_RUSTFLAGS")
        .dir(&place::tree())
        .limit(Duration::from_mins(30))
        .run()?;
    Ok(folder.join(host).join("fuzz"))
}

fn play(name: &str, programs: &Path, folder: &Path, time: Duration, seed: u64) -> Count {
    let (corpus, found) = (folder.join("corpus").join(name), folder.join("crashes"));
    if let Err(error) = std::fs::create_dir_all(&corpus).and_then(|()| std::fs::create_dir_all(&found)) {
        return fail(&format!("fuzz {name}"), &error.to_string());
    }
    let mut shell = Shell::new(programs.join(name))
        .args([
            format!("-max_total_time={}", time.as_secs()),
            format!("-seed={seed}"),
            format!("-artifact_prefix={}/{name}-", found.display()),
        ])
        // An input that needs 10 s or 1 GiB is a finding.
        .args([
            "-timeout=10",
            "-rss_limit_mb=1024",
            "-max_len=4096",
            "-print_final_stats=1",
        ])
        .args([&corpus])
        .limit(time + Duration::from_mins(2));
    for folder in ["seeds", "regressions"] {
        let folder = package().join(folder).join(name);
        if folder.is_dir() {
            shell = shell.args([folder]);
        }
    }
    match shell.try_run() {
        Ok(said) if said.status.success() => {
            eprintln!("    {name}: {}, seed {seed}", summary(&said.err));
            pass()
        }
        Ok(said) => fail(&format!("fuzz {name} (seed {seed})"), &tail(&said.err)),
        Err(error) => fail(&format!("fuzz {name} (seed {seed})"), &error.to_string()),
    }
}

/// `73652 inputs, coverage 886` out of libFuzzer's last line.
fn summary(said: &str) -> String {
    let done = said
        .lines()
        .rev()
        .find(|line| line.contains("DONE"))
        .unwrap_or_default();
    let mut words = done.split_whitespace();
    let inputs = words.next().unwrap_or_default().trim_start_matches('#');
    let coverage = words
        .skip_while(|word| *word != "cov:")
        .nth(1)
        .unwrap_or_default();
    format!("{inputs} inputs, coverage {coverage}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_the_fuzzer_is_read() {
        let said = "INFO: x\n#73652\tDONE   cov: 886 ft: 3716 corp: 755/462Kb\nDone 73652 runs\n";
        assert_eq!(summary(said), "73652 inputs, coverage 886");
    }

    #[test]
    fn every_target_is_found() {
        assert!(targets().len() >= 13 && targets().contains(&"session".to_owned()));
    }
}
