//! SIGKILL at random moments under load; the same spool through all rounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::daemon::Daemon;
use super::load::Ledger;
use super::sink::Sink;
use super::{Choice, Draw, Figures, judge};
use crate::kubectl::Outcome;

/// Rounds of an exhaustive run.
const ROUNDS: usize = 200;

/// Plays the method.
pub(super) fn play(choice: &Choice) -> Outcome<Figures> {
    let spool = tempfile::tempdir()?;
    let sink = Sink::start()?;
    let ledger = Ledger::default();
    let mut draw = Draw::new(choice.seed);
    let mut daemon = Daemon::new(&choice.program, &spool.path().join("spool"), sink.address())?;
    let rounds = if choice.exhaustive { ROUNDS } else { choice.sample };
    for round in 1..=rounds {
        daemon = daemon.restart()?;
        // In every third round nothing leaves, so that the next ones find a queue.
        if round % 3 == 0 {
            sink.close();
        } else {
            sink.open();
        }
        let stop = Arc::new(AtomicBool::new(false));
        let senders = ledger.storm(daemon.smtp(), 4, &stop);
        std::thread::sleep(Duration::from_millis(draw.between(10, 500)));
        daemon.kill();
        stop.store(true, Ordering::Relaxed);
        for sender in senders {
            let _ = sender.join();
        }
        if round % 20 == 0 {
            eprintln!(
                "    {round} of {rounds} rounds, {} acknowledged",
                ledger.acknowledged()
            );
        }
    }
    let figures = judge(daemon, &ledger, &sink, "after the last round")?;
    Ok(Figures {
        points: rounds as u64,
        ..figures
    })
}
