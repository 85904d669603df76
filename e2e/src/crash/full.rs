//! A volume without room: the server says "later" before it is responsible, loses nothing, and goes on when there is room.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::daemon::Daemon;
use super::load::Ledger;
use super::sink::Sink;
use super::volume::Volume;
use super::{Choice, Figures, judge};
use crate::kubectl::{Failure, Outcome};

/// Plays the method.
pub(super) fn play(choice: &Choice) -> Outcome<Figures> {
    let mut sum = no_room(choice, 48, &["mkfs.ext4", "-q", "-F"], 100_000)?;
    // So few inodes that the body files of large mails run out of names.
    sum += no_room(choice, 96, &["mkfs.ext4", "-q", "-F", "-N", "64"], 400_000)?;
    sum += read_only(choice)?;
    Ok(sum)
}

/// Fills the volume with mail that cannot leave, then lets it leave.
fn no_room(choice: &Choice, megabytes: u64, make: &[&str], octets: usize) -> Outcome<Figures> {
    let volume = Volume::on_loop("ext4", megabytes, make)?;
    let sink = Sink::start()?;
    sink.close();
    let ledger = Ledger::default();
    let daemon = Daemon::new(&choice.program, &volume.path().join("spool"), sink.address())?.start()?;
    let stop = AtomicBool::new(false);
    let what = format!("{make:?} with {megabytes} MB");
    for _ in 0..MOST {
        if ledger.deferred.load(Ordering::Relaxed) > 0 {
            break;
        }
        ledger.send_sized(daemon.smtp(), 10, Some(octets), &stop)?;
    }
    if ledger.deferred.load(Ordering::Relaxed) == 0 {
        return Err(Failure::wrong(format!(
            "{what}: it took everything\n{}",
            daemon.log()
        )));
    }
    // Killed while it is full: it must start, deliver, and then take mail again.
    let figures = judge(daemon, &ledger, &sink, &what)?;
    drop(volume);
    Ok(figures)
}

/// A volume that came up read-only: the start is refused with a reason, and nothing is lost by it.
fn read_only(choice: &Choice) -> Outcome<Figures> {
    let volume = Volume::on_loop("ext4", 192, &["mkfs.ext4", "-q", "-F"])?;
    let sink = Sink::start()?;
    sink.close();
    let ledger = Ledger::default();
    let mut daemon = Daemon::new(&choice.program, &volume.path().join("spool"), sink.address())?.start()?;
    ledger.send(daemon.smtp(), 30, &AtomicBool::new(false))?;
    daemon.kill();
    let volume = volume.unmount()?.mount(&["ro"])?;
    daemon.spawn(&[])?;
    if daemon.becomes_ready(Duration::from_secs(10)) {
        return Err(Failure::wrong("it says that it is ready on a read-only volume"));
    }
    if !daemon.log().contains("ead-only") {
        return Err(Failure::wrong(format!(
            "it does not say why it cannot serve:\n{}",
            daemon.log()
        )));
    }
    daemon.kill();
    let volume = volume.unmount()?.mount(&[])?;
    let figures = judge(daemon, &ledger, &sink, "after a read-only volume")?;
    drop(volume);
    Ok(figures)
}

/// Batches of ten that fill any volume here.
const MOST: usize = 100;
