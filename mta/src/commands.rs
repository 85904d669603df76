//! Commands that end by themselves: `check` and `hash-password`.

use std::path::Path;
use std::process::ExitCode;

use crate::reload::{self, LoadError};

/// Checks a configuration; prints each problem with its field, and the line where it is known.
pub fn check(file: &Path) -> ExitCode {
    let problems = match reload::load(file) {
        Ok(settings) => {
            let file = &settings.set.file;
            println!(
                "ok: {} ports, {} domains, {} users",
                file.ports.len(),
                file.domains.len(),
                file.users.len()
            );
            return ExitCode::SUCCESS;
        }
        Err(error) => describe(&error),
    };
    for problem in problems {
        println!("{problem}");
    }
    ExitCode::FAILURE
}

fn describe(error: &LoadError) -> Vec<String> {
    match error {
        LoadError::Set(postroad_config::AssembleError::Invalid(problems)) => problems
            .0
            .iter()
            .map(|problem| format!("{}: {}", problem.field, problem.sentence))
            .collect(),
        other => vec![other.to_string()],
    }
}

/// Prints the verifier of the password on standard input.
pub fn hash_password(_scram: bool) -> ExitCode {
    ExitCode::FAILURE
}
