//! B1: how many messages per second are accepted and kept. After each server's turn its queue must hold exactly what
//! was acknowledged.

use postroad_e2e::kubectl::Outcome;

use super::count_queue;
use crate::account::Watch;
use crate::bench::{Bench, OURS, SIZE};
use crate::figures::rate;
use crate::load::body::Template;
use crate::load::entrance::Entrance;
use crate::load::generator::Load;
use crate::load::source;
use crate::servers::{Running, Server, Task};

/// Sessions of `smtp-source`, and how many messages they send together.
const SESSIONS: [(&str, u64); 3] = [("1", 4_000), ("10", 15_000), ("50", 15_000)];

/// Messages by our generator: to servers that sync for each, and to ours, so that either runs for some seconds.
const PIPELINED: u64 = 20_000;
const PIPELINED_OURS: u64 = 100_000;

pub(super) fn run(bench: &mut Bench) -> Outcome {
    bench.in_turns("B1 accept", Task::Keep, |bench, server, running| {
        let mut sent = 0;
        for (sessions, messages) in SESSIONS {
            let watch = Watch::start(&running.jail)?;
            let took = source::run(
                bench.tools()?,
                running.address,
                sessions,
                (messages, SIZE),
                "sink.example",
            )?;
            let sample = watch.sample(rate(messages, took))?;
            bench.note("B1", &["sessions", sessions], server.name(), "/s", sample);
            sent += messages;
        }
        sent += pipelined(bench, server, running)?;
        count_queue(server, running, sent)
    })
}

fn pipelined(bench: &mut Bench, server: &dyn Server, running: &Running) -> Outcome<u64> {
    let messages = if server.name() == OURS {
        PIPELINED_OURS
    } else {
        PIPELINED
    };
    let watch = Watch::start(&running.jail)?;
    let given = bench.generate(load(running, messages))?;
    let sample = watch.sample(rate(messages, given.took))?;
    bench.note("B1", &["pipelined"], server.name(), "/s", sample);
    Ok(messages)
}

/// The load of the upper range.
pub(super) fn load(running: &Running, messages: u64) -> Load {
    Load {
        to: running.address,
        sessions: 64,
        window: 8,
        numbers: 0..messages,
        domain: "sink.example",
        template: Template::new(SIZE),
        pace: None,
        entrance: Entrance::Plain,
    }
}
