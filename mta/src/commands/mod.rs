//! Commands that end by themselves: `postroad-mta hash-password`, `postroad-mta spool …`, `postroad-mta queue …`.

pub mod queue;
pub mod spool;

use std::fmt::Display;
use std::io::{self, Read, Write as _};
use std::process::ExitCode;

use zeroize::Zeroizing;

use crate::auth::Verifier;

/// Prints a line. Whoever has read enough, as `head` has, ends the command without a word.
fn say(line: &dyn Display) {
    match writeln!(io::stdout(), "{line}") {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("standard output cannot be written: {error}");
            std::process::exit(1);
        }
    }
}

/// A number and what it counts.
pub(crate) fn counted(number: u64, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {what}{ending}")
}

/// Prints the verifier of the password on standard input (one line; its line end does not belong to it).
pub fn hash_password(scram: bool) -> ExitCode {
    let mut input = Zeroizing::new(String::new());
    if let Err(error) = std::io::stdin().take(MOST_INPUT).read_to_string(&mut input) {
        eprintln!("standard input cannot be read as UTF-8 text: {error}");
        return ExitCode::FAILURE;
    }
    let password = input.strip_suffix('\n').unwrap_or(&input);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() || password.contains(['\r', '\n', '\0']) {
        eprintln!("standard input must hold one password on one line");
        return ExitCode::FAILURE;
    }
    let make = if scram {
        Verifier::scram
    } else {
        Verifier::argon2id
    };
    match make(password) {
        Ok(verifier) => {
            say(&verifier);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("no verifier was made: {error}");
            ExitCode::FAILURE
        }
    }
}

const MOST_INPUT: u64 = 4_096;
