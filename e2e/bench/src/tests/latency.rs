//! B9: how long an accept takes when the server has half of what it can do.

use postroad_e2e::kubectl::Outcome;

use super::accept::load;
use crate::account::Watch;
use crate::bench::Bench;
use crate::figures::{per_mille, rate};
use crate::load::generator::Load;
use crate::servers::Task;

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
        let given = bench.generate(half)?;
        let load = watch.sample(rate(messages, given.took))?;
        let mut times: Vec<_> = given.sent.iter().map(|sent| sent.took).collect();
        for (series, rank) in [("p50", 500), ("p99", 990), ("p99.9", 999)] {
            let time = per_mille(&mut times, rank).as_secs_f64() * 1_000.0;
            let sample = crate::figures::Sample { value: time, ..load };
            bench.note("B9", &[series], server.name(), "ms", sample);
        }
        bench.note("B9", &["load"], server.name(), "/s", load);
        Ok(())
    })
}
