//! The disk, or the system, says no: from the N-th call on, or for a few calls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::daemon::Daemon;
use super::load::Ledger;
use super::sink::Sink;
use super::trace::Tracer;
use super::volume::Volume;
use super::{Choice, Figures, judge};
use crate::kubectl::{Failure, Outcome};

/// A fault, and whether the server must leave service for it.
struct Fault {
    calls: &'static str,
    error: &'static str,
    when: &'static [&'static str],
    leaves: bool,
}

/// After a sync that failed nothing may be believed; a full volume and a lack of descriptors pass.
const FAULTS: &[Fault] = &[
    Fault {
        calls: "fdatasync,fsync",
        error: "EIO",
        when: &["8+", "9", "12", "20+"],
        leaves: true,
    },
    Fault {
        calls: "pwrite64",
        error: "EIO",
        when: &["25+", "30"],
        leaves: true,
    },
    Fault {
        calls: "pwrite64",
        error: "ENOSPC",
        when: &["22..24", "25+"],
        leaves: false,
    },
    Fault {
        calls: "accept4",
        error: "EMFILE",
        when: &["2..4"],
        leaves: false,
    },
    Fault {
        calls: "unlink,unlinkat",
        error: "EIO",
        when: &["1+"],
        leaves: false,
    },
    Fault {
        calls: "rename,renameat,renameat2",
        error: "EIO",
        when: &["3+", "1+"],
        leaves: false,
    },
    Fault {
        calls: "openat,openat2",
        error: "EMFILE",
        when: &["6..8", "20+"],
        leaves: false,
    },
    Fault {
        calls: "openat,openat2",
        error: "ENOSPC",
        when: &["6..8"],
        leaves: false,
    },
    // The standard library tries again.
    Fault {
        calls: "pwrite64,fdatasync",
        error: "EINTR",
        when: &["3..9"],
        leaves: false,
    },
    // At a start: no stack for a thread, no room for the allocator.
    Fault {
        calls: "mmap",
        error: "ENOMEM",
        when: &["4+", "2+"],
        leaves: false,
    },
];

/// Plays the method.
pub(super) fn play(choice: &Choice) -> Outcome<Figures> {
    let mut sum = Figures::default();
    for fault in FAULTS {
        let points = if choice.exhaustive {
            fault.when
        } else {
            &fault.when[..1]
        };
        for when in points {
            let found = point(choice, fault, when, fault.leaves)?;
            sum += found.ok_or_else(|| {
                let name = name(fault, when);
                Failure::wrong(format!("{name}: no call was made to fail, which proves nothing"))
            })?;
        }
        if choice.exhaustive {
            sum += every_call(choice, fault)?;
        }
    }
    Ok(sum)
}

/// One call alone fails, the N-th of a thread, for each N until there is no such call. Whether the server leaves for it is not
/// judged: what a single call was for differs. No mail is lost, and a server that does not start says why,
/// unless it had no memory to come that far.
fn every_call(choice: &Choice, fault: &Fault) -> Outcome<Figures> {
    let mut sum = Figures::default();
    for number in 1..=MOST_CALLS {
        match point(choice, fault, &number.to_string(), false)? {
            Some(figures) => sum += figures,
            None => break,
        }
    }
    Ok(sum)
}

fn name(fault: &Fault, when: &str) -> String {
    format!("{} from {} at {when}", fault.error, fault.calls)
}

/// `None`: there was no such call. `leaves`: the server must be seen to leave service.
fn point(choice: &Choice, fault: &Fault, when: &str, leaves: bool) -> Outcome<Option<Figures>> {
    let volume = Volume::in_memory(64)?;
    let sink = Sink::start()?;
    let ledger = Ledger::default();
    let mut daemon = Daemon::new(&choice.program, &volume.path().join("spool"), sink.address())?;
    let tracer = Tracer::fail(&mut daemon, fault.calls, fault.error, when)?;
    let name = name(fault, when);
    if daemon.becomes_ready(Duration::from_secs(30)) {
        let stop = AtomicBool::new(false);
        for _ in 0..4 {
            // A server in trouble ends sessions; what it confirmed before counts.
            let _ = ledger.send(daemon.smtp(), 20, &stop);
        }
        if leaves && !becomes_unready(&daemon) {
            return Err(Failure::wrong(format!(
                "{name}: it still says that it is ready\n{}",
                daemon.log()
            )));
        }
        if leaves && ledger.deferred.load(Ordering::Relaxed) == 0 {
            return Err(Failure::wrong(format!(
                "{name}: no client was told to come back\n{}",
                daemon.log()
            )));
        }
    }
    let started = daemon.is_ready().is_some() || ledger.acknowledged() > 0;
    let log = daemon.log();
    let seen = tracer.end(&mut daemon)?;
    if seen.injected.is_empty() {
        return Ok(None);
    }
    // Its own words, or those of the system's loader and of the run-time library, which the tracer sees.
    if !started && log.is_empty() && !seen.has_words() && !dies_in_loader(fault, &seen.last()) {
        return Err(Failure::wrong(format!(
            "{name}: it did not start, and did not say why\n{}",
            seen.last()
        )));
    }
    judge(daemon, &ledger, &sink, &name).map(Some)
}

/// Without its first mappings the loader of a program that is not static is killed before any code of the server runs.
fn dies_in_loader(fault: &Fault, last: &str) -> bool {
    fault.calls == "mmap" && last.contains("killed by SIGSEGV")
}

fn becomes_unready(daemon: &Daemon) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if daemon.is_ready() != Some(true) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// Calls of a thread that are made to fail one by one at most; those behind are like those before.
const MOST_CALLS: u32 = 60;
