//! B9: how long an accept takes when the server has half of what it can do.
//!
//! Beside ours, right afterwards, the same load against a sink that keeps nothing (what the generator takes of it), and the
//! same messages in a bare group commit without sessions (what the disk takes of it).

use std::time::Duration;

use postroad_e2e::kubectl::Outcome;
use postroad_e2e::place::free_address;

use super::accept::load;
use crate::account::Watch;
use crate::bench::{Bench, OURS, SIZE};
use crate::disk::group_commits;
use crate::figures::{Sample, per_mille, rate};
use crate::load::generator::{Given, Load};
use crate::servers::Task;
use crate::sink::Sink;

/// Seconds of paced load.
const SECONDS: f64 = 10.0;

/// Messages that find out what the server can do.
const FULL: u64 = 20_000;

pub(super) fn run(bench: &mut Bench) -> Outcome {
    bench.in_turns("B9 latency", Task::Keep, |bench, server, running| {
        let full = Load {
            window: 1,
            ..load(running, FULL)
        };
        let most = rate(FULL, bench.generate(full)?.took);
        let pace = most / 2.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "thousands"
        )]
        let messages = (pace * SECONDS) as u64;
        let half = Load {
            window: 1,
            pace: Some(pace),
            numbers: FULL..FULL + messages,
            ..load(running, 0)
        };
        let watch = Watch::start(&running.jail)?;
        let given = bench.generate(half.clone())?;
        let load = watch.sample(rate(messages, given.took))?;
        for (series, time) in ranks(taken(&given)) {
            let sample = Sample { value: time, ..load };
            bench.note("B9", &[series], server.name(), "ms", sample);
        }
        bench.note("B9", &["load"], server.name(), "/s", load);
        if server.name() == OURS {
            sink(bench, half)?;
            let commits = group_commits(bench.folder.path(), pace, messages, SIZE)?;
            note(bench, "disk", commits);
        }
        Ok(())
    })
}

/// The same load against a sink.
fn sink(bench: &mut Bench, half: Load) -> Outcome {
    let sink = Sink::start(bench.runtime.handle(), free_address()?)?;
    let given = bench.generate(Load {
        to: sink.address,
        ..half
    })?;
    note(bench, "sink", taken(&given));
    Ok(())
}

fn note(bench: &mut Bench, control: &'static str, times: Vec<Duration>) {
    for (series, time) in ranks(times) {
        bench.note_ours("B9", &[control, series], "ms", time);
    }
}

fn taken(given: &Given) -> Vec<Duration> {
    given.sent.iter().map(|sent| sent.took).collect()
}

/// Milliseconds at each rank.
fn ranks(mut times: Vec<Duration>) -> [(&'static str, f64); 3] {
    [("p50", 500), ("p99", 990), ("p99.9", 999)]
        .map(|(series, rank)| (series, per_mille(&mut times, rank).as_secs_f64() * 1_000.0))
}
