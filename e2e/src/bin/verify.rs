//! `cargo verify`: formats, lints, tests, drift, chart, and the stories on the local cluster, as one count.
//!
//! The last line is `N passed, N failed, N skipped`; the exit code is non-zero if anything failed.

use std::process::ExitCode;

use clap::Parser;
use postroad_e2e::checks;
use postroad_e2e::cluster::Cluster;
use postroad_e2e::report::{Count, Steps};

/// Runs every check of the tree and counts them.
#[derive(Parser)]
struct Args {
    /// Only these parts: formats, lints, dependencies, tests, drift, scripts, chart, stories.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

type Part = (&'static str, fn() -> Count);

const PARTS: &[Part] = &[
    ("formats", checks::formats),
    ("lints", checks::lints),
    ("dependencies", checks::dependencies),
    ("tests", checks::tests),
    ("drift", checks::drift),
    ("scripts", checks::scripts),
    ("chart", chart),
];

fn chart() -> Count {
    match Cluster::programs() {
        Ok(cluster) => checks::chart(&cluster),
        Err(error) => {
            eprintln!("{error}");
            checks::skip("chart", 1, "helm could not be built")
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(unknown) = args
        .only
        .iter()
        .find(|name| !PARTS.iter().any(|(part, _)| part == name))
    {
        eprintln!("there is no part `{unknown}`");
        return ExitCode::from(2);
    }
    let mut steps = Steps::default();
    let mut sum = Count::default();
    for (name, part) in PARTS
        .iter()
        .filter(|(name, _)| args.only.is_empty() || args.only.iter().any(|o| o == name))
    {
        let result = steps.step(name, || {
            let count = part();
            eprintln!("    {count}");
            if count.failed == 0 { Ok(count) } else { Err(count) }
        });
        sum += result.unwrap_or_else(|count| count);
    }
    print!("{}", steps.table());
    println!("{sum}");
    if sum.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
