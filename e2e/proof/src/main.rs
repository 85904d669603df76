//! `cargo prove`: the checks of the operator by number, a sample by a seed or all of them.
//!
//! The last line is `N passed, N failed, N skipped`; the exit code is non-zero if anything failed.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use futures::StreamExt;
use postroad_e2e::report::Count;
use postroad_proof::case::{self, Case, Verdict};
use postroad_proof::checks;
use postroad_proof::earlier;
use postroad_proof::operation::{self, Reference};
use postroad_proof::rig::World;
use postroad_proof::server::{self, Said, Server};

/// Proves the operator, check by check.
#[derive(Parser)]
struct Args {
    /// All cases, with the operator as it is released.
    #[arg(long)]
    exhaustive: bool,
    /// With the operator as it is released: what `cargo verify` has, and what figures are told of.
    #[arg(long)]
    release: bool,
    /// Which cases a sample takes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many cases a sample has.
    #[arg(long, default_value_t = 44)]
    sample: usize,
    /// Only cases whose check or description contains this; may be given more than once.
    #[arg(long)]
    only: Vec<String>,
    /// Cases at the same time; they wait more than they work, so these are several for each core.
    #[arg(long, alias = "jobs", default_value_t = at_once())]
    at_once: usize,
    /// The operator; built from the tree where none is given.
    #[arg(long)]
    program: Option<std::path::PathBuf>,
    /// The operator of another version, for the cases of two versions. Absent = an exhaustive run builds an earlier one, others skip
    /// these cases.
    #[arg(long, env = "POSTROAD_OPERATOR_OTHER")]
    other: Option<std::path::PathBuf>,
    /// Builds the other operator from this commit. Absent = the newest release, or the commit before the operator last changed.
    #[arg(long, conflicts_with = "other")]
    other_commit: Option<String>,
    /// Says which cases there are, and plays none.
    #[arg(long)]
    list: bool,
}

/// Cases for each core of the computer.
const PER_CORE: usize = 5;

fn at_once() -> usize {
    PER_CORE * std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("the runtime cannot be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(prove(&args)) {
        Ok(count) => {
            println!("{count}");
            if count.failed == 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn prove(args: &Args) -> Said<Count> {
    let started = Instant::now();
    let program = match &args.program {
        Some(program) => program.clone(),
        None => server::operator(args.release || args.exhaustive)?,
    };
    let world = World::new(Server::start().await?, program, other(args)?);
    eprintln!(
        "operator: API server up after {:.0?}; seed {}",
        started.elapsed(),
        args.seed
    );
    let references = references(&world, args.at_once).await?;
    let mut cases = checks::all(&references, args.exhaustive || !args.only.is_empty())?;
    let all = cases.len();
    if !args.only.is_empty() {
        let is_meant = |case: &Case| {
            let mut wanted = args.only.iter();
            wanted.any(|only| case.check.contains(only.as_str()) || case.what.contains(only.as_str()))
        };
        cases.retain(is_meant);
    }
    if !args.exhaustive && args.only.is_empty() {
        cases = case::sample(cases, args.sample, args.seed);
    }
    eprintln!(
        "operator: {} of {all} cases, after {:.0?}",
        cases.len(),
        started.elapsed()
    );
    if args.list {
        for case in &cases {
            println!("{}: {}", case.check, case.what);
        }
        return Ok(Count::default());
    }
    let (together, alone) = case::turns(cases);
    let mut sum = play_all(&world, together, args.at_once).await;
    sum += play_all(&world, alone, 1).await;
    eprintln!("operator: all of it took {:.0?}", started.elapsed());
    Ok(sum)
}

/// The operator of another version. Nothing to build it from is no failure: its cases say that they are skipped.
fn other(args: &Args) -> Said<Option<std::path::PathBuf>> {
    match (&args.other, &args.other_commit) {
        (Some(program), _) => Ok(Some(program.clone())),
        (None, Some(commit)) => earlier::operator(Some(commit)).map(Some),
        (None, None) if args.exhaustive => {
            let built = earlier::operator(None);
            Ok(built
                .inspect_err(|error| eprintln!("    no earlier operator: {error}"))
                .ok())
        }
        (None, None) => Ok(None),
    }
}

async fn play_all(world: &Arc<World>, cases: Vec<Case>, at_once: usize) -> Count {
    let played = futures::stream::iter(cases)
        .map(|case| play(world, case))
        .buffer_unordered(at_once);
    played
        .fold(Count::default(), async |mut sum, count| {
            sum += count;
            sum
        })
        .await
}

async fn references(world: &World, at_once: usize) -> Said<Vec<Arc<Reference>>> {
    let runs = futures::stream::iter(operation::ALL)
        .map(async |operation| {
            Reference::of(world, operation)
                .await
                .map_err(|error| format!("{operation:?}: {error}"))
        })
        .buffered(at_once);
    let found: Vec<Said<Reference>> = runs.collect().await;
    let mut references = Vec::new();
    for reference in found {
        let reference = reference?;
        eprintln!("    {:?}: {} writes", reference.operation, reference.writes);
        references.push(Arc::new(reference));
    }
    Ok(references)
}

async fn play(world: &Arc<World>, case: Case) -> Count {
    let (check, what, started) = (case.check, case.what, Instant::now());
    let verdict = (case.play)(world.clone()).await;
    let took = started.elapsed().as_secs_f64();
    match verdict {
        Ok(Verdict::Held) => {
            eprintln!("    ok      {check}: {what} ({took:.0} s)");
            Count {
                passed: 1,
                ..Count::default()
            }
        }
        Ok(Verdict::Skipped(why)) => {
            eprintln!("    skipped {check}: {what}: {why}");
            Count {
                skipped: 1,
                ..Count::default()
            }
        }
        Err(error) => {
            eprintln!("    FAILED  {check}: {what} ({took:.0} s): {error}");
            Count {
                failed: 1,
                ..Count::default()
            }
        }
    }
}
