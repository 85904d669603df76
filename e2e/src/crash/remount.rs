//! The file system finds an error in itself under load and turns read-only (`errors=remount-ro`): the server confirms
//! nothing more, says why, leaves service without dying, and has everything when the volume is mounted again.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::daemon::Daemon;
use super::load::Ledger;
use super::sink::Sink;
use super::volume::Volume;
use super::{Choice, Draw, Figures, brings, judge, refuses, stop};
use crate::kubectl::Outcome;

/// Rounds of an exhaustive run.
const ROUNDS: usize = 20;

/// Plays the method.
pub(super) fn play(choice: &Choice) -> Outcome<Figures> {
    let mut draw = Draw::new(choice.seed);
    let rounds = if choice.exhaustive { ROUNDS } else { 2 };
    let mut sum = Figures::default();
    for _ in 0..rounds {
        sum += round(choice, draw.between(20, 500))?;
    }
    Ok(sum)
}

fn round(choice: &Choice, after: u64) -> Outcome<Figures> {
    let what = format!("read-only after {after} ms");
    let volume = Volume::on_loop("ext4", 192, &["mkfs.ext4", "-q", "-F", "-e", "remount-ro"])?;
    let sink = Sink::start()?;
    sink.close();
    let ledger = Ledger::default();
    let mut daemon = Daemon::new(&choice.program, &volume.path().join("spool"), sink.address())?.start()?;
    let end = Arc::new(AtomicBool::new(false));
    let senders = ledger.storm(daemon.smtp(), 4, &end);
    let began = brings(&ledger, 20);
    std::thread::sleep(Duration::from_millis(after));
    let refused = began
        .and_then(|()| volume.turn_read_only())
        .and_then(|()| refuses(&mut daemon, &ledger, &what));
    stop(senders, &end);
    refused?;
    daemon.kill();
    let volume = volume.unmount()?.mount(&[])?;
    let figures = judge(daemon, &ledger, &sink, &what)?;
    drop(volume);
    Ok(figures)
}
