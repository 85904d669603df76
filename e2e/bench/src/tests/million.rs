//! B7 and B8: a million queued messages, by a restart after `kill -9`, and beside traffic that must not notice them.

use std::time::{Duration, Instant};

use postroad_e2e::kubectl::{Failure, Outcome};
use postroad_e2e::place::free_address;

use crate::account::memory;
use crate::bench::Bench;
use crate::figures::{mebibytes, per_mille};
use crate::folder::settle;
use crate::load::body::Template;
use crate::load::entrance::Entrance;
use crate::load::generator::{Given, Load};
use crate::servers::postroad::{self, DEAD, Postroad, Settings};
use crate::servers::{Running, Server, Task};
use crate::sink::Sink;

const MESSAGES: u64 = 1_000_000;

/// Filled in steps, so that progress shows.
const STEP: u64 = 100_000;
const SIZE: usize = 1 << 10;

/// Healthy messages, and how many come in a second.
const HEALTHY: u64 = 10_000;
const PACE: f64 = 500.0;

pub(super) fn restart(bench: &mut Bench) -> Outcome {
    for _ in 0..bench.rounds {
        let settings = Settings::of(Task::Keep);
        let running = postroad::start(bench.place()?, &settings)?;
        fill(bench, &running)?;
        let folder = running.kill();
        settle()?;
        let start = Instant::now();
        let running = postroad::start(folder, &settings)?;
        postroad::ready(&running, Duration::from_mins(3))?;
        let took = start.elapsed().as_secs_f64();
        let queued = Postroad.queued(&running)?;
        let (now, peak) = memory(&running.jail)?;
        bench.note_ours("B7", &["ready"], "s", took);
        bench.note_ours(
            "B7",
            &["lost"],
            "messages",
            count(MESSAGES.saturating_sub(queued)),
        );
        bench.note_ours("B7", &["memory"], "MiB", mebibytes(now));
        bench.note_ours("B7", &["peak"], "MiB", mebibytes(peak));
        drop(running);
        settle()?;
    }
    Ok(())
}

pub(super) fn parked(bench: &mut Bench) -> Outcome {
    for _ in 0..bench.rounds {
        let sink = Sink::start(bench.runtime.handle(), free_address()?)?;
        let settings = Settings {
            retry: 60, // comes due while the healthy traffic flows
            ..Settings::of(Task::Relay(sink.address))
        };
        let running = postroad::start(bench.place()?, &settings)?;
        fill(bench, &running)?;
        let load = Load {
            to: running.address,
            sessions: 20,
            window: 1,
            numbers: MESSAGES..MESSAGES + HEALTHY,
            domain: "sink.example",
            template: Template::new(SIZE),
            pace: Some(PACE),
            entrance: Entrance::Plain,
        };
        let given = bench.generate(load)?;
        sink.wait_for(HEALTHY, Duration::from_mins(1))?;
        let mut times = journeys(&sink, &given)?;
        let (now, peak) = memory(&running.jail)?;
        for (series, rank) in [("p50", 500), ("p99", 990)] {
            let time = per_mille(&mut times, rank).as_secs_f64() * 1_000.0;
            bench.note_ours("B8", &[series], "ms", time);
        }
        bench.note_ours("B8", &["memory"], "MiB", mebibytes(now));
        bench.note_ours("B8", &["peak"], "MiB", mebibytes(peak));
        if Postroad.queued(&running)? < MESSAGES {
            return Err(Failure::wrong("parked messages are missing"));
        }
        drop(running);
        settle()?;
    }
    Ok(())
}

/// Queues the million for the domain whose server is down.
fn fill(bench: &Bench, running: &Running) -> Outcome {
    let start = Instant::now();
    for first in (0..MESSAGES).step_by(usize::try_from(STEP).unwrap_or(1)) {
        bench.generate(Load {
            to: running.address,
            sessions: 64,
            window: 8,
            numbers: first..first + STEP,
            domain: DEAD,
            template: Template::new(SIZE),
            pace: None,
            entrance: Entrance::Plain,
        })?;
        eprintln!(
            "      {} queued after {:.0} s",
            first + STEP,
            start.elapsed().as_secs_f64()
        );
    }
    let queued = Postroad.queued(running)?;
    if queued == MESSAGES {
        Ok(())
    } else {
        Err(Failure::wrong(format!(
            "{queued} of {MESSAGES} messages are queued"
        )))
    }
}

/// From when each message was sent to its coming.
fn journeys(sink: &Sink, given: &Given) -> Outcome<Vec<Duration>> {
    let taken = sink.taken();
    given
        .sent
        .iter()
        .map(|sent| match taken.numbers.get(&sent.number) {
            Some((came, 1)) => Ok(came.saturating_duration_since(sent.begun)),
            Some((_, times)) => Err(Failure::wrong(format!(
                "message {} came {times} times",
                sent.number
            ))),
            None => Err(Failure::wrong(format!("message {} did not come", sent.number))),
        })
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn count(messages: u64) -> f64 {
    messages as f64
}
