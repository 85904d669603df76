//! `cargo suites`: only the tests that run the public suites (`docs/suites.md`): the score of each, then one count.

use std::process::ExitCode;

use postroad_e2e::checks;

fn main() -> ExitCode {
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
