//! The public suite of address syntax (isemail), every case: RCPT to it, as a client on the wire says it.
//!
//! Reads `$POSTROAD_SUITES/address/isemail-tests.xml` (see `docs/suites.md`). Without the variable its cases count as
//! skipped, visibly. Accepted in an envelope: what the suite calls valid, also where only the domain's DNS is odd
//! (`DNSWARN`), or valid by RFC 5321 only. Refused: comments, folding white space, what is obsolete or wrong, and what
//! only RFC 5322 allows.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test file")]

mod isemail;

use std::path::Path;

use isemail::{element, unescape};
use libtest_mimic::{Arguments, Failed, Trial};
use postroad_smtp::Reply;
use postroad_smtp::server::{Config, Event, Session};

/// Number of cases of the suite.
const CASES: usize = 164;

fn main() {
    let arguments = Arguments::from_args();
    let trials = match std::env::var("POSTROAD_SUITES") {
        Ok(root) if !root.is_empty() => read_suite(&Path::new(&root).join("address/isemail-tests.xml")),
        _ => {
            println!("skipped: isemail {CASES} cases (POSTROAD_SUITES is not set)");
            (1..=CASES)
                .map(|number| {
                    Trial::test(format!("isemail case {number}"), || Ok(())).with_ignored_flag(true)
                })
                .collect()
        }
    };
    assert_eq!(trials.len(), CASES, "the suite was not read whole");
    let conclusion = libtest_mimic::run(&arguments, trials);
    if conclusion.num_ignored == 0 {
        println!("score: isemail {}/{CASES}", conclusion.num_passed);
    }
    conclusion.exit();
}

fn read_suite(path: &Path) -> Vec<Trial> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let cases = text.split("<test id=\"").skip(1).map(|case| {
        let (id, case) = case.split_once("\">").unwrap();
        let address = unescape(element(case, "address"));
        let category = element(case, "category").to_owned();
        Trial::test(format!("isemail {id} {category} {address:?}"), move || {
            judge(&address, &category)
        })
    });
    cases.collect()
}

fn judge(address: &str, category: &str) -> Result<(), Failed> {
    let want = match category {
        "ISEMAIL_VALID_CATEGORY" | "ISEMAIL_RFC5321" | "ISEMAIL_DNSWARN" => true,
        "ISEMAIL_ERR" | "ISEMAIL_CFWS" | "ISEMAIL_DEPREC" | "ISEMAIL_RFC5322" => false,
        other => return Err(format!("unknown category {other}").into()),
    };
    let got = is_accepted(address);
    if got == want {
        Ok(())
    } else {
        Err(format!("accepted: {got}, wanted: {want}").into())
    }
}

/// RCPT to a server that takes every recipient that it can read.
fn is_accepted(address: &str) -> bool {
    let mut session = Session::new(Config::transfer("mx.example.org"));
    session.feed(format!("EHLO x\r\nMAIL FROM:<> SMTPUTF8\r\nRCPT TO:<{address}>\r\n").as_bytes());
    loop {
        match session.poll() {
            Event::Mail(_) => session.answer(Reply::ok("2.1.0", "ok")),
            Event::Rcpt(rcpt) => {
                let same = rcpt.forward_path.is_some_and(|path| path.as_str() == address);
                assert!(same, "another address was read");
                return true;
            }
            _ => return false,
        }
    }
}
