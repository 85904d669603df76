//! SIGKILL, or a power cut, behind the N-th call that changes the disk, for every N until the load is through before it.
//!
//! The load: small mails, some with a body file, some that come back to their sender. Points run beside each other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::daemon::Daemon;
use super::load::Ledger;
use super::sink::Sink;
use super::trace::Tracer;
use super::volume::Volume;
use super::{Choice, Draw, Figures, judge};
use crate::kubectl::{Failure, Outcome};

/// Where the spool is, and whether its power is cut as well.
#[derive(Clone, Copy, Debug)]
enum Disk {
    Memory,
    Ext4,
    Xfs,
}

impl Disk {
    fn volume(self) -> Outcome<Volume> {
        match self {
            Self::Memory => Volume::in_memory(64),
            Self::Ext4 => Volume::on_loop("ext4", 64, &["mkfs.ext4", "-q", "-F"]),
            Self::Xfs => Volume::on_loop("xfs", 320, &["mkfs.xfs", "-q", "-f"]),
        }
    }
}

/// Mails of the load.
const MAILS: u64 = 24;
/// Beyond any number of calls of the load.
const MOST: u64 = 5_000;
/// Points at once.
const LANES: usize = 4;
/// How long a load that is through may take to be delivered.
const SETTLE: Duration = Duration::from_secs(20);

/// SIGKILL only.
pub(super) fn play(choice: &Choice) -> Outcome<Figures> {
    points(choice, Disk::Memory, choice.sample)
}

/// SIGKILL and a power cut in the same moment.
pub(super) fn power(choice: &Choice) -> Outcome<Figures> {
    let mut sum = points(choice, Disk::Ext4, choice.sample.div_ceil(2))?;
    sum += points(choice, Disk::Xfs, choice.sample.div_ceil(2))?;
    Ok(sum)
}

/// Every point, or so many that a draw names.
fn points(choice: &Choice, disk: Disk, sample: usize) -> Outcome<Figures> {
    let whole = point(choice, disk, MOST)?;
    if whole.killed || whole.figures.acknowledged != MAILS {
        return Err(Failure::wrong("without a crash the load does not come through"));
    }
    eprintln!("    {disk:?}: {} calls change the disk", whole.calls);
    let mut draw = Draw::new(choice.seed);
    let wanted: Vec<u64> = if choice.exhaustive {
        (1..MOST).collect()
    } else {
        (0..sample).map(|_| draw.between(1, whole.calls + 1)).collect()
    };
    let run = Run {
        next: AtomicU64::new(0),
        through: AtomicBool::new(false),
        sum: Mutex::new(Figures::default()),
    };
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|_| scope.spawn(|| run.lane(choice, disk, &wanted)))
            .collect();
        for lane in lanes {
            lane.join().map_err(|_| Failure::wrong("a lane ended early"))??;
        }
        Ok::<_, Failure>(())
    })?;
    Ok(run.sum.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// What the lanes share.
struct Run {
    next: AtomicU64,
    /// A load came through before its point: there are no more.
    through: AtomicBool,
    sum: Mutex<Figures>,
}

impl Run {
    fn lane(&self, choice: &Choice, disk: Disk, wanted: &[u64]) -> Outcome {
        loop {
            let at = usize::try_from(self.next.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX);
            let Some(n) = wanted.get(at) else { return Ok(()) };
            if choice.exhaustive && self.through.load(Ordering::Relaxed) {
                return Ok(());
            }
            let point =
                point(choice, disk, *n).inspect_err(|_| self.through.store(true, Ordering::Relaxed))?;
            if !point.killed {
                self.through.store(true, Ordering::Relaxed);
            }
            let mut sum = self.sum.lock().unwrap_or_else(PoisonError::into_inner);
            *sum += point.figures;
            if sum.points.is_multiple_of(100) {
                eprintln!("    {} points, {} acknowledged", sum.points, sum.acknowledged);
            }
        }
    }
}

struct Point {
    figures: Figures,
    /// The load did not come through.
    killed: bool,
    calls: u64,
}

fn point(choice: &Choice, disk: Disk, n: u64) -> Outcome<Point> {
    let volume = disk.volume()?;
    let sink = Sink::start()?;
    let ledger = Ledger::default();
    let mut daemon = Daemon::new(&choice.program, &volume.path().join("spool"), sink.address())?;
    let tracer = Tracer::kill_behind(&mut daemon, n)?;
    if daemon.becomes_ready(Duration::from_mins(1)) {
        // It breaks off where the process dies.
        let _ = ledger.send(daemon.smtp(), MAILS, &AtomicBool::new(false));
        settle(&mut daemon, &ledger, &sink);
    }
    let killed = !daemon.runs();
    let seen = tracer.end(&mut daemon)?;
    let volume = match disk {
        Disk::Memory => volume,
        Disk::Ext4 | Disk::Xfs => {
            volume.cut_power()?;
            volume.unmount()?.mount(&[])?
        }
    };
    let what = format!("behind call {n} on {disk:?}");
    let figures = judge(daemon, &ledger, &sink, &what)
        .map_err(|error| Failure::wrong(format!("{error}\nthe last calls were\n{}", seen.last())))?;
    drop(volume);
    Ok(Point {
        figures,
        killed,
        calls: seen.calls,
    })
}

/// Waits for the deliveries, and for outcomes, which are written lazily behind them; less where the process dies.
fn settle(daemon: &mut Daemon, ledger: &Ledger, sink: &Sink) {
    let deadline = Instant::now() + SETTLE;
    while daemon.runs() && Instant::now() < deadline && !ledger.missing(sink).is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let lazy = Instant::now() + Duration::from_millis(300);
    while daemon.runs() && Instant::now() < lazy {
        std::thread::sleep(Duration::from_millis(5));
    }
}
