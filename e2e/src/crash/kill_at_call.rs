//! SIGKILL at the N-th call that changes the disk, for every kind of call and every N until the load ends before it.
//!
//! The tracer counts for each thread and kind: at N the thread that comes to its N-th call first dies with the process.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::daemon::Daemon;
use super::load::Ledger;
use super::sink::Sink;
use super::volume::Volume;
use super::{Choice, Draw, Figures, judge};
use crate::kubectl::{Failure, Outcome};

/// Calls after which the disk is in another state, by kind.
const KINDS: &[&str] = &[
    "fdatasync",
    "pwrite64",
    "fsync",
    "rename,renameat,renameat2",
    "unlink,unlinkat",
];
/// Mails of the load: small ones, some with a body file, some that are returned.
const MAILS: u64 = 30;
/// Beyond any number of calls of the load.
const MOST: u64 = 2_000;
/// Points at once.
const LANES: usize = 4;

/// Plays the method.
pub(super) fn play(choice: &Choice) -> Outcome<Figures> {
    let mut sum = Figures::default();
    if !choice.exhaustive {
        let mut draw = Draw::new(choice.seed);
        let mut points = Vec::new();
        for _ in 0..choice.sample {
            let kind = usize::try_from(draw.between(0, KINDS.len() as u64)).unwrap_or(0);
            // Names are changed a few times, contents with every batch.
            let most = if kind < 2 { 40 } else { 8 };
            points.push((KINDS[kind], draw.between(1, most)));
        }
        for lane in points.chunks(LANES) {
            for (figures, _) in together(choice, lane)? {
                sum += figures;
            }
        }
        return Ok(sum);
    }
    for kind in KINDS {
        sum += all(choice, kind)?;
        eprintln!(
            "    {kind}: {} points, {} acknowledged",
            sum.points, sum.acknowledged
        );
    }
    Ok(sum)
}

/// Every N of one kind.
fn all(choice: &Choice, kind: &'static str) -> Outcome<Figures> {
    let mut sum = Figures::default();
    for first in (1..MOST).step_by(LANES) {
        let lane: Vec<_> = (first..first + LANES as u64).map(|n| (kind, n)).collect();
        let mut reached = false;
        for (figures, killed) in together(choice, &lane)? {
            sum += figures;
            reached |= killed;
        }
        if !reached {
            return Ok(sum);
        }
    }
    Err(Failure::wrong(format!(
        "the load never ended before the N-th {kind}"
    )))
}

fn together(choice: &Choice, points: &[(&'static str, u64)]) -> Outcome<Vec<(Figures, bool)>> {
    std::thread::scope(|scope| {
        let runs: Vec<_> = points
            .iter()
            .map(|(kind, n)| scope.spawn(move || point(choice, kind, *n)))
            .collect();
        runs.into_iter()
            .map(|run| run.join().map_err(|_| Failure::wrong("a point ended early"))?)
            .collect()
    })
}

/// One point; whether the process was killed before the load was through.
fn point(choice: &Choice, kind: &str, n: u64) -> Outcome<(Figures, bool)> {
    let volume = Volume::in_memory(64)?;
    let sink = Sink::start()?;
    let ledger = Ledger::default();
    let mut daemon = Daemon::new(&choice.program, &volume.path().join("spool"), sink.address())?;
    daemon.spawn_traced(kind, &format!("signal=SIGKILL:when={n}"))?;
    if daemon.becomes_ready(Duration::from_secs(30)) {
        // It breaks off where the process dies.
        let _ = ledger.send(daemon.smtp(), MAILS, &AtomicBool::new(false));
        let deadline = Instant::now() + SETTLE;
        while daemon.runs() && Instant::now() < deadline && !settled(&ledger, &sink) {
            std::thread::sleep(Duration::from_millis(5));
        }
        // Outcomes are written lazily: their calls come after the deliveries.
        let lazy = Instant::now() + Duration::from_millis(300);
        while daemon.runs() && Instant::now() < lazy {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let killed = !daemon.runs();
    let figures = judge(daemon, &ledger, &sink, &format!("killed at {kind} {n}"))?;
    Ok((figures, killed))
}

fn settled(ledger: &Ledger, sink: &Sink) -> bool {
    ledger.missing(sink).is_empty()
}

const SETTLE: Duration = Duration::from_secs(20);
