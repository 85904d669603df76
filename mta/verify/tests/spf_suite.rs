//! The public suite for RFC 7208, every case: verdict and explanation.
//!
//! Reads `$POSTROAD_SUITES/spf/rfc7208-tests.yml` (see `docs/suites.md`). Without the variable its cases count as
//! skipped, visibly.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test file")]

mod rfc7208;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use postroad_verify::spf::{Check, Request};

use rfc7208::{Case, Zone, read, run};

/// Default explanation that the suite expects where the domain gives none.
const DEFAULT: &str = "DEFAULT";

fn main() {
    run("spf", &Arguments::from_args(), trials);
}

fn trials(root: &Path) -> Vec<Trial> {
    let mut trials = Vec::new();
    for scenario in read(root) {
        let zone: Arc<Zone> = Arc::new(scenario.zone());
        for (name, case) in scenario.tests {
            let zone = Arc::clone(&zone);
            trials.push(Trial::test(
                format!("{}/{name}", scenario.description),
                move || judge(&case, &zone),
            ));
        }
    }
    trials
}

fn judge(case: &Case, zone: &Zone) -> Result<(), Failed> {
    let client: IpAddr = case.host.parse()?;
    let request = Request::mail_from(client, &case.helo, &case.mailfrom).seen_by("receiver.example", 0);
    let outcome = Check::run(request, |question| zone.answer(question));
    let (verdict, allowed) = (outcome.verdict.to_string(), case.allowed());
    if !allowed.contains(&verdict) {
        return Err(format!("verdict {verdict}, not {allowed:?}; {:?}", outcome.problem).into());
    }
    let explanation = outcome.explanation.as_deref().unwrap_or(DEFAULT);
    match &case.explanation {
        Some(wanted) if wanted != explanation => {
            Err(format!("explanation `{explanation}`, not `{wanted}`").into())
        }
        _ => Ok(()),
    }
}
