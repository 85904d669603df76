//! B2: messages per second from `smtp-source` through the server to a sink, until the last one is there. Every message
//! must be there exactly once.

use std::time::Duration;

use postroad_e2e::kubectl::{Failure, Outcome};
use postroad_e2e::place::free_address;

use crate::account::Watch;
use crate::bench::{Bench, SIZE};
use crate::figures::rate;
use crate::load::source;
use crate::servers::Task;
use crate::sink::Sink;

/// Messages, and for servers that take minutes for so many.
const MESSAGES: u64 = 10_000;
const MESSAGES_OF_SLOW: u64 = 2_000;
const SESSIONS: &str = "50";

pub(super) fn run(bench: &mut Bench) -> Outcome {
    let sink = Sink::start(bench.runtime.handle(), free_address()?)?;
    bench.in_turns("B2 relay", Task::Relay(sink.address), |bench, server, running| {
        let messages = match server.name() {
            "exim" | "opensmtpd" => MESSAGES_OF_SLOW,
            _ => MESSAGES,
        };
        let before = sink.taken().messages;
        let watch = Watch::start(&running.jail)?;
        source::run(
            bench.tools()?,
            running.address,
            SESSIONS,
            (messages, SIZE),
            "sink.example",
        )?;
        sink.wait_for(before + messages, Duration::from_mins(1))?;
        let sample = watch.sample(rate(messages, watch.elapsed()))?;
        bench.note("B2", &[], server.name(), "/s", sample);
        let came = sink.taken().messages - before;
        if came == messages {
            Ok(())
        } else {
            Err(Failure::wrong(format!("{came} messages came of {messages}")))
        }
    })
}
