//! `cargo suites`: only the tests that run the public suites (`docs/suites.md`), as one count.

use std::process::ExitCode;

use postroad_e2e::checks;

fn main() -> ExitCode {
    let count = checks::suites();
    println!("{count}");
    if count.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
