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
            sum += point(choice, fault, when)?;
        }
    }
    Ok(sum)
}

fn point(choice: &Choice, fault: &Fault, when: &str) -> Outcome<Figures> {
    let volume = Volume::in_memory(64)?;
    let sink = Sink::start()?;
    let ledger = Ledger::default();
    let mut daemon = Daemon::new(&choice.program, &volume.path().join("spool"), sink.address())?;
    let tracer = Tracer::fail(&mut daemon, fault.calls, fault.error, when)?;
    let name = format!("{} from {} at {when}", fault.error, fault.calls);
    if daemon.becomes_ready(Duration::from_secs(30)) {
        let stop = AtomicBool::new(false);
        for _ in 0..4 {
            // A server in trouble ends sessions; what it confirmed before counts.
            let _ = ledger.send(daemon.smtp(), 20, &stop);
        }
        if fault.leaves && !becomes_unready(&daemon) {
            return Err(Failure::wrong(format!(
                "{name}: it still says that it is ready\n{}",
                daemon.log()
            )));
        }
        if fault.leaves && ledger.deferred.load(Ordering::Relaxed) == 0 {
            return Err(Failure::wrong(format!(
                "{name}: no client was told to come back\n{}",
                daemon.log()
            )));
        }
    } else if daemon.log().is_empty() {
        return Err(Failure::wrong(format!(
            "{name}: it did not start, and did not say why"
        )));
    }
    let seen = tracer.end(&mut daemon)?;
    if seen.injected.is_empty() {
        return Err(Failure::wrong(format!(
            "{name}: no call was made to fail, which proves nothing\n{}",
            seen.last()
        )));
    }
    judge(daemon, &ledger, &sink, &name)
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
