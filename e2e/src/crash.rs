//! The crash proof: the real mail server is killed, its disk fails, its power is cut, and every mail that it had confirmed
//! is delivered or returned afterwards.
//!
//! ```text
//!   client ─ numbered mails ─► postroad-mta ─► sink        who got 250, and what arrived, whole or broken
//!                                   ▲
//!                     kill, error, cut ─► start again ─► wait ─► judge
//! ```
//!
//! The rule: every recipient that got 2xx after the end of data is delivered, or its sender is told; no part of a body is
//! ever delivered; nothing in the spool stops the start. Duplicates are allowed for what was under way; they are counted.

pub mod clock;
mod daemon;
mod errors;
mod fleet;
mod full;
mod handover;
mod kill_at_call;
mod kill_loop;
mod load;
mod memory;
mod network;
mod power;
mod remount;
mod removed;
mod sink;
mod trace;
mod volume;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::checks;
use crate::kubectl::{Failure, Outcome};
use crate::report::{Count, seconds};
use daemon::Daemon;
use load::Ledger;
use sink::Sink;

/// What a run is to do.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The mail server.
    pub program: PathBuf,
    /// Which points are taken where not all are.
    pub seed: u64,
    /// Every point of every method.
    pub exhaustive: bool,
    /// Points of a method, where not all are taken.
    pub sample: usize,
}

/// One way of crashing.
pub struct Method {
    /// Its name.
    pub name: &'static str,
    /// What it shows.
    pub shows: &'static str,
    /// Programs that it needs; all methods need root.
    pub needs: &'static [&'static str],
    play: fn(&Choice) -> Outcome<Figures>,
}

/// What a method found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Crashes.
    pub points: u64,
    /// Mails that were confirmed.
    pub acknowledged: u64,
    /// Of those: neither delivered nor returned.
    pub lost: u64,
    /// Deliveries more than one.
    pub duplicates: u64,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.points += other.points;
        self.acknowledged += other.acknowledged;
        self.lost += other.lost;
        self.duplicates += other.duplicates;
    }
}

/// All methods.
pub const METHODS: &[Method] = &[
    Method {
        name: "kill-loop",
        shows: "SIGKILL at random moments under load, one spool through all rounds",
        needs: &[],
        play: kill_loop::play,
    },
    Method {
        name: "kill-at-call",
        shows: "SIGKILL behind the N-th call that changes the disk, counted over all threads",
        needs: &["strace"],
        play: kill_at_call::play,
    },
    Method {
        name: "power-at-call",
        shows: "power cut behind the N-th such call, on ext4 and on XFS",
        needs: &["strace", "mkfs.ext4", "mkfs.xfs", "perl"],
        play: kill_at_call::power,
    },
    Method {
        name: "power-ext4",
        shows: "power cut: ext4 loses all that was not synced",
        needs: &["mkfs.ext4", "perl"],
        play: power::ext4,
    },
    Method {
        name: "power-xfs",
        shows: "power cut: XFS loses all that was not synced",
        needs: &["mkfs.xfs", "perl"],
        play: power::xfs,
    },
    Method {
        name: "control",
        shows: "the same power cut without the sync: here mail must be lost, or the proof proves nothing",
        needs: &["mkfs.ext4", "perl"],
        play: power::control,
    },
    Method {
        name: "errors",
        shows: "EIO, ENOSPC, EMFILE, EINTR, ENOMEM from the N-th call on",
        needs: &["strace"],
        play: errors::play,
    },
    Method {
        name: "remount",
        shows: "ext4 finds an error and turns read-only under load",
        needs: &["mkfs.ext4"],
        play: remount::play,
    },
    Method {
        name: "removed",
        shows: "the spool's directory is deleted, or moved away, under load",
        needs: &[],
        play: removed::play,
    },
    Method {
        name: "memory",
        shows: "too little memory under load: sheds, or is killed by the kernel",
        needs: &[memory::NEEDED],
        play: memory::play,
    },
    Method {
        name: "clock",
        shows: "the clock is set by days, forward and back, under load and while the server is away",
        needs: &["cc"],
        play: clock::play,
    },
    Method {
        name: "handover",
        shows: "SIGKILL of the giving or the taking server in the middle of a hand-over, again and again",
        needs: &["openssl", "curl"],
        play: handover::play,
    },
    Method {
        name: "network",
        shows: "the way to the next hop loses packets, is slow, is cut, breaks its connections",
        needs: &["ip", "nft"],
        play: network::play,
    },
    Method {
        name: "full",
        shows: "volume full, no inodes left, volume read-only",
        needs: &["mkfs.ext4"],
        play: full::play,
    },
];

/// Plays methods and counts them: a method that lost nothing passed.
pub fn play(choice: &Choice, only: &[String]) -> Count {
    let mut count = Count::default();
    for method in METHODS {
        if !only.is_empty() && !only.iter().any(|name| name == method.name) {
            continue;
        }
        if let Some(missing) = missing(method) {
            count += checks::skip(&format!("crash {}", method.name), 1, &missing);
            continue;
        }
        eprintln!("==> crash {}: {}", method.name, method.shows);
        let start = Instant::now();
        count += match (method.play)(choice) {
            Ok(figures) => {
                let Figures {
                    points,
                    acknowledged,
                    lost,
                    duplicates,
                } = figures;
                println!(
                    "crash {}: {points} points, {acknowledged} acknowledged, {lost} lost, {duplicates} duplicates, {}",
                    method.name,
                    seconds(start.elapsed())
                );
                checks::pass()
            }
            Err(error) => checks::fail(&format!("crash {}", method.name), &error.to_string()),
        };
    }
    count
}

/// A server whose storage is gone confirms nothing, tells clients to come back, says why, leaves service, and lives on:
/// killed by its probes it would only start again, and again.
fn refuses(daemon: &mut Daemon, ledger: &Ledger, what: &str) -> Outcome {
    let told = ledger.deferred.load(Ordering::Relaxed);
    let deadline = Instant::now() + PATIENCE;
    let holds = |daemon: &Daemon| {
        daemon.is_ready() == Some(false)
            && ledger.deferred.load(Ordering::Relaxed) > told
            && daemon.log().contains("read-only")
    };
    while !holds(daemon) && daemon.runs() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let lives = daemon.is_alive() == Some(true);
    if holds(daemon) && lives && daemon.runs() {
        return Ok(());
    }
    Err(Failure::wrong(format!(
        "{what}: ready {:?}, alive {:?}, {} told to come back\n{}",
        daemon.is_ready(),
        daemon.is_alive(),
        ledger.deferred.load(Ordering::Relaxed) - told,
        daemon.log()
    )))
}

/// Waits until the load has brought so many mails more.
fn brings(ledger: &Ledger, mails: u64) -> Outcome {
    let (wanted, deadline) = (ledger.acknowledged() + mails, Instant::now() + PATIENCE);
    while ledger.acknowledged() < wanted {
        if Instant::now() > deadline {
            return Err(Failure::wrong("the load does not get its mail confirmed"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Ends a load.
fn stop(senders: Vec<std::thread::JoinHandle<()>>, end: &AtomicBool) {
    end.store(true, Ordering::Relaxed);
    for sender in senders {
        let _ = sender.join();
    }
}

fn missing(method: &Method) -> Option<String> {
    if !is_root() {
        return Some("mounts and traces need root".to_owned());
    }
    let is_there = |need: &str| match need {
        memory::NEEDED => memory::is_there(),
        program => volume::is_there(program),
    };
    let absent = method.needs.iter().find(|need| !is_there(need));
    absent.map(|need| format!("{need}: not here"))
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|of| of.uid() == 0)
}

/// Starts the mail server again, waits until all that was confirmed is accounted for, and gives the account.
fn judge(daemon: Daemon, ledger: &Ledger, sink: &Sink, what: &str) -> Outcome<Figures> {
    let mut daemon = daemon.restart()?;
    sink.open();
    accounted_for(&mut daemon, ledger, sink, what)
}

/// Waits until all that was confirmed is accounted for by a mail server that runs, and gives the account.
fn accounted_for(daemon: &mut Daemon, ledger: &Ledger, sink: &Sink, what: &str) -> Outcome<Figures> {
    let deadline = Instant::now() + PATIENCE;
    while !ledger.missing(sink).is_empty() && daemon.runs() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let lost = ledger.missing(sink);
    let broken = sink.broken();
    let odd = ledger.odd();
    if lost.is_empty() && broken.is_empty() && odd.is_empty() {
        return Ok(Figures {
            points: 1,
            acknowledged: ledger.acknowledged(),
            lost: 0,
            duplicates: sink.duplicates(),
        });
    }
    Err(Failure::wrong(format!(
        "{what}: lost {lost:?}, broken {broken:?}, odd replies {odd:?}; kept for a look: {}\n{}",
        daemon.keep().display(),
        daemon.log()
    )))
}

/// How long a mail server that was started again may take to deliver all it has.
const PATIENCE: Duration = Duration::from_mins(1);

/// Numbers that are the same for the same seed.
#[derive(Clone, Copy, Debug)]
struct Draw(u64);

impl Draw {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number from `low` up to and without `high`.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        low + self.0 % (high - low).max(1)
    }
}
