//! DMARC (RFC 9989), case by case: nobody publishes a suite of it, so the cases are stated here, each with data of its own.
//!
//! ```text
//!   author   which From fields have an author
//!   record   texts of records
//!   policy   which record applies, and what it asks for
//!   aligned  which identifiers speak for the author
//!   errors   no answer is never "none"
//! ```

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test file")]

mod aligned;
mod author;
mod errors;
mod policy;
mod record;
mod zone;

use libtest_mimic::{Arguments, Failed, Trial};

/// A case: its name and what must hold.
type Case = (&'static str, fn());

/// Number of cases.
const CASES: usize = 77;

fn main() {
    let arguments = Arguments::from_args();
    let parts: [(&str, &[Case]); 5] = [
        ("author", author::CASES),
        ("record", record::CASES),
        ("policy", policy::CASES),
        ("aligned", aligned::CASES),
        ("errors", errors::CASES),
    ];
    let trials: Vec<Trial> = parts
        .into_iter()
        .flat_map(|(part, cases)| cases.iter().map(move |(name, case)| trial(part, name, *case)))
        .collect();
    assert_eq!(trials.len(), CASES, "cases were lost or not counted");
    let conclusion = libtest_mimic::run(&arguments, trials);
    if conclusion.num_filtered_out == 0 {
        println!("score: dmarc {}/{CASES}", conclusion.num_passed);
    }
    conclusion.exit();
}

fn trial(part: &str, name: &str, case: fn()) -> Trial {
    Trial::test(format!("{part}/{name}"), move || {
        std::panic::catch_unwind(case).map_err(|panic| {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
            Failed::from(words.unwrap_or_default())
        })
    })
}
