//! B3: how many messages per second are submitted in TLS 1.3 by users who logged in, signed and stored.
//!
//! Sessions stay open. One message more goes through to a next hop, where its signature must be on it.

use std::time::Duration;

use postroad_e2e::kubectl::{Failure, Outcome};

use super::{accept, count_queue, of_test};
use crate::account::Watch;
use crate::bench::Bench;
use crate::figures::rate;
use crate::load::entrance::Entrance;
use crate::load::generator::Load;
use crate::load::probe::PROBED;
use crate::servers::{Running, Task, postfix_signing, postroad_signing};
use crate::submission::{Algorithm, Submission};

const MESSAGES: u64 = 10_000;

pub(super) fn run(bench: &mut Bench) -> Outcome {
    // The servers borrow what they are given, for as long as the process runs.
    for algorithm in [Algorithm::Rsa2048, Algorithm::Ed25519] {
        let submission: &'static Submission = Box::leak(Box::new(Submission::new(algorithm)?));
        let ours = Box::new(postroad_signing::Signer(submission));
        let theirs = Box::new(postfix_signing::Signer(submission));
        of_test(bench, "B3", ours, theirs, |bench| measure(bench, submission))?;
    }
    Ok(())
}

fn measure(bench: &mut Bench, submission: &Submission) -> Outcome {
    let what = match submission.algorithm {
        Algorithm::Rsa2048 => "B3 submission with RSA-2048",
        Algorithm::Ed25519 => "B3 submission with Ed25519",
    };
    bench.in_turns(what, Task::Keep, |bench, server, running| {
        is_signed(bench, submission, running)?;
        let watch = Watch::start(&running.jail)?;
        let given = bench.generate(load(submission, running, MESSAGES))?;
        let sample = watch.sample(rate(MESSAGES, given.took))?;
        bench.note("B3", &[submission.algorithm.name()], server.name(), "/s", sample);
        count_queue(server, running, MESSAGES)
    })
}

fn load(submission: &Submission, running: &Running, messages: u64) -> Load {
    Load {
        entrance: Entrance::Login(submission.login.clone()),
        ..accept::load(running, messages)
    }
}

fn is_signed(bench: &Bench, submission: &Submission, running: &Running) -> Outcome {
    bench.generate(Load {
        domain: PROBED,
        sessions: 1,
        ..load(submission, running, 1)
    })?;
    let message = submission.probe.message(Duration::from_secs(30))?;
    let algorithm = format!("a={}", submission.algorithm.of_opendkim());
    if message.contains("DKIM-Signature:") && message.contains(&algorithm) {
        Ok(())
    } else {
        let header = message.split("\r\n\r\n").next().unwrap_or_default();
        Err(Failure::wrong(format!("the message is not signed:\n{header}")))
    }
}
