//! Too little memory: the server runs in a control group with a limit while large and small mails come over many
//! connections. Either it turns clients away in time, or the kernel kills it; neither loses a mail.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::daemon::Daemon;
use super::load::Ledger;
use super::sink::Sink;
use super::{Choice, Figures, judge, stop};
use crate::kubectl::{Failure, Outcome};

/// What the method needs, as the list of methods says it.
pub(super) const NEEDED: &str = "control groups with a memory controller";

/// MiB that the server may grow by, once it is ready: from what kills it to what leaves room. With very little it may turn
/// everybody away in time, so that a sample goes on until it has seen both sides.
const ROOM: &[u64] = &[6, 64, 8, 4, 3, 2, 1, 12, 16, 24, 32, 48];
/// Connections with small mails, and with large ones.
const CONNECTIONS: usize = 12;
/// How long the load lasts where nobody is killed.
const LOAD: Duration = Duration::from_secs(4);

/// Whether there are such groups, and we may make one.
pub(super) fn is_there() -> bool {
    Group::new().is_ok()
}

/// Plays the method.
pub(super) fn play(choice: &Choice) -> Outcome<Figures> {
    let (mut sum, mut kills, mut survived) = (Figures::default(), 0, 0);
    for room in ROOM {
        if !choice.exhaustive && kills > 0 && survived > 0 {
            break;
        }
        let point = point(choice, *room)?;
        sum += point.figures;
        kills += u64::from(point.killed);
        survived += u64::from(!point.killed);
        eprintln!(
            "    room for {room} MiB: {}, {} told to come back, {} acknowledged",
            if point.killed { "killed" } else { "lived" },
            point.deferred,
            point.figures.acknowledged
        );
    }
    if kills == 0 || survived == 0 {
        return Err(Failure::wrong(format!(
            "{kills} of {} were killed by the kernel: that shows one side only",
            ROOM.len()
        )));
    }
    Ok(sum)
}

struct Point {
    figures: Figures,
    killed: bool,
    deferred: u64,
}

fn point(choice: &Choice, megabytes: u64) -> Outcome<Point> {
    let what = format!("room for {megabytes} MiB of memory");
    let spool = tempfile::tempdir()?;
    let sink = Sink::start()?;
    sink.close();
    let ledger = Ledger::default();
    let group = Group::new()?;
    let mut daemon = Daemon::new(&choice.program, &spool.path().join("spool"), sink.address())?;
    let words = group.words();
    daemon.spawn(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
    if daemon.becomes_ready(Duration::from_secs(30)) {
        group.limit(megabytes << 20)?;
        let end = Arc::new(AtomicBool::new(false));
        let mut senders = ledger.storm(daemon.smtp(), CONNECTIONS, &end);
        senders.extend(ledger.storm_sized(daemon.smtp(), CONNECTIONS, Some(3_000_000), &end));
        let limit = Instant::now() + LOAD;
        while daemon.runs() && Instant::now() < limit {
            std::thread::sleep(Duration::from_millis(5));
        }
        stop(senders, &end);
    }
    let killed = !daemon.runs();
    if killed && group.kills()? == 0 {
        return Err(Failure::wrong(format!(
            "{what}: it ended, and not by the kernel's hand\n{}",
            daemon.log()
        )));
    }
    Ok(Point {
        figures: judge(daemon, &ledger, &sink, &what)?,
        killed,
        deferred: ledger.deferred.load(Ordering::Relaxed),
    })
}

/// A control group with a memory limit, of version 2 or 1; gone when this is dropped.
struct Group {
    folder: PathBuf,
    files: &'static Files,
}

/// How a version names things.
struct Files {
    root: &'static str,
    limit: &'static str,
    /// In `memory.stat`: what cannot be dropped.
    in_use: &'static str,
    /// Says how often the kernel killed somebody.
    events: &'static str,
}

const SECOND: Files = Files {
    root: "/sys/fs/cgroup",
    limit: "memory.max",
    in_use: "anon",
    events: "memory.events",
};
const FIRST: Files = Files {
    root: "/sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    in_use: "total_rss",
    events: "memory.oom_control",
};

impl Group {
    fn new() -> Outcome<Self> {
        let controllers = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers");
        let files = if controllers.is_ok_and(|list| list.contains("memory")) {
            std::fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory")?;
            &SECOND
        } else {
            &FIRST
        };
        let folder = PathBuf::from(files.root).join(format!("postroad-crash-{}", std::process::id()));
        std::fs::create_dir(&folder)?;
        Ok(Self { folder, files })
    }

    /// Allows so many octets more than are in use now.
    fn limit(&self, room: u64) -> Outcome {
        let limit = self.number("memory.stat", self.files.in_use)? + room;
        // Version 1 refuses a limit that it cannot come down to at once.
        for more in 0..64 {
            let octets = (limit + (more << 20)).to_string();
            if std::fs::write(self.folder.join(self.files.limit), octets).is_ok() {
                return Ok(());
            }
        }
        Err(Failure::wrong("no memory limit can be set"))
    }

    /// What is put in front of a command line, so that the program runs in the group.
    fn words(&self) -> [String; 4] {
        let list = self.folder.join("cgroup.procs").display().to_string();
        let script = "echo $$ > \"$0\" && exec \"$@\"".to_owned();
        ["sh".to_owned(), "-c".to_owned(), script, list]
    }

    /// How often the kernel killed somebody in it.
    fn kills(&self) -> Outcome<u64> {
        self.number(self.files.events, "oom_kill")
    }

    /// The number behind a word in one of its files.
    fn number(&self, file: &str, word: &str) -> Outcome<u64> {
        let text = std::fs::read_to_string(self.folder.join(file))?;
        let found = text.lines().find_map(|line| {
            let (name, number) = line.split_once(' ')?;
            (name == word).then(|| number.trim().parse().ok())?
        });
        found.ok_or_else(|| Failure::wrong(format!("{file} has no {word}: {text}")))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Processes that were killed a moment ago may still be listed.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
