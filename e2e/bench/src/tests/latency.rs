//! B9: how long an accept takes when the server has half of what it can do.
//!
//! Beside ours, right afterwards, the same load against a sink that keeps nothing (what the generator takes of it), and,
//! before and after, the same messages in a bare group commit without sessions (what the disk takes of it). Where the disk
//! alone takes longer than the bar, or the whole machine stood still for so long that this makes a good part of the slowest
//! hundredth, a turn says nothing of the server: it is told as `disturbed` and made again, so many times and no more; the last
//! one counts whatever disk and machine did.

use std::time::Duration;

use postroad_e2e::kubectl::Outcome;
use postroad_e2e::place::free_address;

use super::accept::load;
use crate::account::Watch;
use crate::bars::ACCEPT_MILLISECONDS;
use crate::bench::{Bench, OURS, SIZE};
use crate::disk::group_commits;
use crate::figures::{Sample, per_mille, rate};
use crate::load::generator::{Given, Load};
use crate::pulse::Pulse;
use crate::servers::{Running, Server, Task};
use crate::sink::Sink;

/// Seconds of paced load, and of a look at the disk before it.
const SECONDS: f64 = 10.0;
const LOOK: f64 = 3.0;

/// Messages that find out what the server can do.
const FULL: u64 = 20_000;

/// Turns of one round at most.
const TURNS: u64 = 8;

/// Percent of a turn that the machine may stand still: messages that are due meanwhile are late by that, and so are those
/// behind them, and the hundredth that is slowest is to be the server's.
const STILL: f64 = 0.3;

pub(super) fn run(bench: &mut Bench) -> Outcome {
    bench.in_turns("B9 latency", Task::Keep, |bench, server, running| {
        let full = Load {
            window: 1,
            ..load(running, FULL)
        };
        let pace = rate(FULL, bench.generate(full)?.took) / 2.0;
        for turn in 1..=TURNS {
            if measure(bench, server, running, pace, turn)? {
                break;
            }
        }
        Ok(())
    })
}

/// One turn; gives whether it counts.
fn measure(bench: &mut Bench, server: &dyn Server, running: &Running, pace: f64, turn: u64) -> Outcome<bool> {
    let ours = server.name() == OURS;
    let before = if ours { disk(bench, pace, LOOK)? } else { vec![] };
    let messages = count(pace, SECONDS);
    // Each turn sends messages that no turn sent before.
    let first = FULL + (turn - 1) * messages;
    let half = Load {
        window: 1,
        pace: Some(pace),
        numbers: first..first + messages,
        ..load(running, 0)
    };
    let watch = Watch::start(&running.jail)?;
    let pulse = Pulse::start();
    let given = bench.generate(half.clone())?;
    let load = watch.sample(rate(messages, given.took))?;
    let still = still(pulse, given.took);
    let after = if ours { disk(bench, pace, SECONDS)? } else { vec![] };
    let slow = |times: &[Duration]| p99(times) > ACCEPT_MILLISECONDS;
    if turn < TURNS && (slow(&before) || slow(&after) || still > STILL) {
        if ours {
            note(bench, "disturbed", taken(&given));
            note(bench, "disturbing", if slow(&after) { after } else { before });
            bench.note_ours("B9", &["disturbing", "standstill"], "%", still);
        }
        return Ok(false);
    }
    for (series, time) in ranks(taken(&given)) {
        let sample = Sample { value: time, ..load };
        bench.note("B9", &[series], server.name(), "ms", sample);
    }
    bench.note("B9", &["load"], server.name(), "/s", load);
    if ours {
        bench.note_ours("B9", &["standstill"], "%", still);
        note(bench, "disk", after);
        sink(bench, half)?;
    }
    Ok(true)
}

/// Percent of that time in which the machine stood still; 0 where it cannot be told.
fn still(pulse: Outcome<Pulse>, took: Duration) -> f64 {
    match pulse.and_then(Pulse::end) {
        Ok(still) => still.as_secs_f64() / took.as_secs_f64() * 100.0,
        Err(error) => {
            eprintln!("      whether the machine stood still is not known: {error}");
            0.0
        }
    }
}

/// The bare group commit of the messages of so many seconds.
fn disk(bench: &Bench, pace: f64, seconds: f64) -> Outcome<Vec<Duration>> {
    group_commits(bench.folder.path(), pace, count(pace, seconds), SIZE)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "thousands"
)]
fn count(pace: f64, seconds: f64) -> u64 {
    (pace * seconds) as u64
}

fn p99(times: &[Duration]) -> f64 {
    per_mille(&mut times.to_vec(), 990).as_secs_f64() * 1_000.0
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
