//! `cargo crash`: the crash proof alone. The last line is the count; the exit code is non-zero if a mail was lost.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use postroad_e2e::checks;
use postroad_e2e::crash::{self, Choice, METHODS};

/// Kills the mail server, breaks its disk, cuts its power, and counts what became of every mail that it had confirmed.
#[derive(Parser)]
struct Args {
    /// Only these methods; `--list` names them.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Name the methods, what each shows and needs.
    #[arg(long)]
    list: bool,
    /// Every point of every method; about twenty minutes.
    #[arg(long)]
    exhaustive: bool,
    /// Points of each method where not all are taken.
    #[arg(long, default_value_t = 12)]
    sample: usize,
    /// Which points; the same seed takes the same ones.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The mail server; built from the tree if not given.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.list {
        for method in METHODS {
            println!(
                "{:13} {} (needs root {})",
                method.name,
                method.shows,
                method.needs.join(" ")
            );
        }
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = args
        .only
        .iter()
        .find(|name| !METHODS.iter().any(|method| method.name == **name))
    {
        eprintln!("there is no method `{unknown}`; `--list` names them");
        return ExitCode::from(2);
    }
    let program = match args.program.map_or_else(checks::mail_server, Ok) {
        Ok(program) => program,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let choice = Choice {
        program,
        seed: args.seed,
        exhaustive: args.exhaustive,
        sample: args.sample,
    };
    println!("crash: {} with seed {}", choice.program.display(), choice.seed);
    let count = crash::play(&choice, &args.only);
    println!("{count}");
    if count.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
