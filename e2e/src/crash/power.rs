//! The power goes: the file system loses every write and every name that was not synced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::daemon::Daemon;
use super::load::Ledger;
use super::sink::Sink;
use super::volume::Volume;
use super::{Choice, Draw, Figures, judge};
use crate::kubectl::{Failure, Outcome};

/// Cuts of an exhaustive run.
const CUTS: usize = 40;

/// Cuts on ext4.
pub(super) fn ext4(choice: &Choice) -> Outcome<Figures> {
    cuts(choice, "ext4", 192, &["mkfs.ext4", "-q", "-F"])
}

/// Cuts on XFS.
pub(super) fn xfs(choice: &Choice) -> Outcome<Figures> {
    cuts(choice, "xfs", 320, &["mkfs.xfs", "-q", "-f"])
}

/// The same cut of a server that confirms before it syncs (`queue.durability: Relaxed`) must lose mail, and be seen to: a
/// proof that could not fail would be none.
pub(super) fn control(choice: &Choice) -> Outcome<Figures> {
    let volume = Volume::on_loop("ext4", 192, &["mkfs.ext4", "-q", "-F"])?;
    let sink = Sink::start()?;
    sink.close();
    let ledger = Ledger::default();
    let mut daemon = Daemon::new(&choice.program, &volume.path().join("spool"), sink.address())?;
    daemon.configure("queue: {durability: Relaxed}\n")?;
    let (daemon, volume) = run_until_cut(daemon, &ledger, volume, 700)?;
    let _daemon = daemon.restart()?;
    sink.open();
    let deadline = Instant::now() + Duration::from_secs(5);
    while !ledger.missing(&sink).is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let lost = ledger.missing(&sink).len() as u64;
    drop(volume);
    if lost == 0 {
        return Err(Failure::wrong(
            "a server that confirms before it syncs lost nothing in a power cut: this test cannot see a loss",
        ));
    }
    Ok(Figures {
        points: 1,
        acknowledged: ledger.acknowledged(),
        lost,
        duplicates: sink.duplicates(),
    })
}

fn cuts(choice: &Choice, kind: &'static str, megabytes: u64, make: &[&str]) -> Outcome<Figures> {
    let mut draw = Draw::new(choice.seed);
    let mut sum = Figures::default();
    let cuts = if choice.exhaustive {
        CUTS
    } else {
        choice.sample.div_ceil(3)
    };
    for number in 1..=cuts {
        let volume = Volume::on_loop(kind, megabytes, make)?;
        sum += cut(choice, volume, draw.between(20, 700), number % 2 == 0)?;
        if number % 10 == 0 {
            eprintln!("    {number} of {cuts} cuts, {} acknowledged", sum.acknowledged);
        }
    }
    if sum.acknowledged == 0 {
        return Err(Failure::wrong(
            "nothing was ever confirmed: the cuts proved nothing",
        ));
    }
    Ok(sum)
}

fn cut(choice: &Choice, volume: Volume, after: u64, queue: bool) -> Outcome<Figures> {
    let sink = Sink::start()?;
    if queue {
        sink.close();
    }
    let ledger = Ledger::default();
    let daemon = Daemon::new(&choice.program, &volume.path().join("spool"), sink.address())?;
    let (daemon, volume) = run_until_cut(daemon, &ledger, volume, after)?;
    let figures = judge(daemon, &ledger, &sink, &format!("power cut after {after} ms"));
    drop(volume);
    figures
}

/// Load, the cut, and the volume as the next start finds it.
fn run_until_cut(daemon: Daemon, ledger: &Ledger, volume: Volume, after: u64) -> Outcome<(Daemon, Volume)> {
    let mut daemon = daemon.start()?;
    let stop = Arc::new(AtomicBool::new(false));
    let senders = ledger.storm(daemon.smtp(), 4, &stop);
    std::thread::sleep(Duration::from_millis(after));
    volume.cut_power()?;
    // What is confirmed from now on would be a lie; the process may notice in its own time.
    std::thread::sleep(Duration::from_millis(50));
    daemon.kill();
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        let _ = sender.join();
    }
    Ok((daemon, volume.unmount()?.mount(&[])?))
}
