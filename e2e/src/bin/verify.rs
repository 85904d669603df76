//! `cargo verify`: formats, lints, tests, drift, chart, and the stories on the local cluster, as one count.
//!
//! The last line is `N passed, N failed, N skipped`; the exit code is non-zero if anything failed.

use std::process::ExitCode;

use clap::Parser;
use postroad_e2e::checks;
use postroad_e2e::cluster::{self, Choice, Cluster, Which};
use postroad_e2e::crash;
use postroad_e2e::fuzz;
use postroad_e2e::interop;
use postroad_e2e::report::{Count, Steps};
use postroad_e2e::stories::ALL;
use postroad_e2e::story::{self, World};

/// Runs every check of the tree and counts them.
#[derive(Parser)]
struct Args {
    /// Only these parts: formats, lints, dependencies, tests, drift, scripts, fuzz, crash, operator, interop, chart, stories.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Everything that is sampled otherwise: every point of the crash proof and of the operator's, long searches, long fuzzing, long
    /// stories.
    #[arg(long)]
    exhaustive: bool,
    /// Which points a sample takes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

type Part = (&'static str, fn(&Args, &mut Steps) -> Count);

const PARTS: &[Part] = &[
    ("formats", |_, _| checks::formats()),
    ("lints", |_, _| checks::lints()),
    ("dependencies", |_, _| checks::dependencies()),
    ("tests", |args, _| checks::tests(args.exhaustive)),
    ("drift", |_, _| checks::drift()),
    ("scripts", |_, _| checks::scripts()),
    ("fuzz", |args, _| fuzz::run(args.exhaustive, args.seed)),
    ("crash", |args, _| crash_proof(args)),
    ("operator", |args, _| checks::operator(args.exhaustive, args.seed)),
    ("interop", |_, _| interop::play(&[])),
    ("chart", |_, _| chart()),
    ("stories", stories),
];

/// The stories; each of them and each step before them has a line of its own in the table.
fn stories(args: &Args, steps: &mut Steps) -> Count {
    if let Err(error) = steps.step("packages for the cluster", cluster::packages) {
        eprintln!("{error}");
        return checks::skip(
            "stories",
            ALL.len() as u64,
            "the local cluster cannot be started here",
        );
    }
    let choice = Choice {
        cluster: Which::Local,
        load_images: None,
    };
    match World::ready(&choice, steps) {
        Ok(world) => story::play(&world, ALL, args.exhaustive, steps),
        Err(error) => checks::fail("the cluster for the stories", &error.to_string()),
    }
}

/// A sample of the crash proof, or all of it.
fn crash_proof(args: &Args) -> Count {
    match checks::mail_server() {
        Ok(program) => {
            let choice = crash::Choice {
                program,
                seed: args.seed,
                exhaustive: args.exhaustive,
                sample: 16,
            };
            println!("crash: seed {}", choice.seed);
            crash::play(&choice, &[])
        }
        Err(error) => checks::fail("the mail server for the crash proof", &error.to_string()),
    }
}

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
        let count = steps.part(name, |steps| part(&args, steps));
        eprintln!("    {name}: {count}");
        sum += count;
    }
    print!("{}", steps.table());
    println!("{sum}");
    if sum.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
