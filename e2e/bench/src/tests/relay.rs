//! B2: messages per second from `smtp-source` through the server to a sink, until the last one is there. Every message
//! must be there exactly once.

use std::time::Duration;

use postroad_e2e::kubectl::{Failure, Outcome};

use crate::account::Watch;
use crate::bench::{Bench, SIZE};
use crate::figures::rate;
use crate::load::source;
use crate::servers::{Task, free_address};
use crate::sink::Sink;

const MESSAGES: u64 = 10_000;
const SESSIONS: &str = "50";

pub(super) fn run(bench: &mut Bench) -> Outcome {
    let sink = Sink::start(bench.runtime.handle(), free_address()?)?;
    bench.in_turns("B2 relay", Task::Relay(sink.address), |bench, server, running| {
        let before = sink.taken().messages;
        let watch = Watch::start(&running.jail)?;
        source::run(
            bench.tools()?,
            running.address,
            SESSIONS,
            (MESSAGES, SIZE),
            "sink.example",
        )?;
        sink.wait_for(before + MESSAGES, Duration::from_mins(1))?;
        let sample = watch.sample(rate(MESSAGES, watch.elapsed()))?;
        bench.note("B2", &[], server.name(), "/s", sample);
        let came = sink.taken().messages - before;
        if came == MESSAGES {
            Ok(())
        } else {
            Err(Failure::wrong(format!("{came} messages came of {MESSAGES}")))
        }
    })
}
