//! B10: how many messages per second are accepted and kept on a device as clouds rent them out.
//!
//! The figure `written` is what the server's own writes came to: a server that were not held back would show it there.

use postroad_e2e::kubectl::Outcome;

use super::{accept, count_queue};
use crate::account::Watch;
use crate::bench::{Bench, OURS};
use crate::figures::{Sample, rate};
use crate::servers::Task;
use crate::throttle::Throttle;

/// Messages, to ours and to servers that sync for each.
const MESSAGES_OURS: u64 = 60_000;
const MESSAGES: u64 = 5_000;

pub(super) fn run(bench: &mut Bench) -> Outcome {
    bench.in_turns("B10 throttled", Task::Keep, |bench, server, running| {
        let messages = if server.name() == OURS {
            MESSAGES_OURS
        } else {
            MESSAGES
        };
        let throttle = Throttle::on(&running.jail, running.folder.path())?;
        let (watch, before) = (Watch::start(&running.jail)?, throttle.written()?);
        let given = bench.generate(accept::load(running, messages))?;
        let sample = watch.sample(rate(messages, given.took))?;
        bench.note("B10", &[], server.name(), "/s", sample);
        let speed = rate(throttle.written()?.saturating_sub(before), given.took) / 1e6;
        bench.note(
            "B10",
            &["written"],
            server.name(),
            "MB/s",
            Sample {
                value: speed,
                ..sample
            },
        );
        count_queue(server, running, messages)
    })
}
