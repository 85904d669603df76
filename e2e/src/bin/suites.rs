//! `cargo suites`: only the tests that run the public suites (`docs/suites.md`): the score of each, then one count. With
//! `--beside`: what verifiers of others say of the same cases, into `docs/verifiers.md`.

use std::process::ExitCode;

use clap::Parser;
use postroad_e2e::{beside, checks};

/// The public suites, and their scores.
#[derive(Parser)]
struct Args {
    /// Asks mail-auth, pyspf, `Mail::SPF` and dkimpy the same cases, and writes docs/verifiers.md; runs no test.
    #[arg(long)]
    beside: bool,
}

fn main() -> ExitCode {
    if Args::parse().beside {
        return match beside::write() {
            Ok(page) => {
                println!("{page}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    let (count, scores) = checks::suites();
    for score in scores {
        println!("{score}");
    }
    println!("{count}");
    if count.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
