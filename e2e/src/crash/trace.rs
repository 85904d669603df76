//! The tracer in front of the server: counts the calls that change the disk over all threads, and kills behind the N-th.
//!
//! strace holds a thread for a few milliseconds at the end of such a call (`delay_exit`), so that the signal comes before
//! the next call of that thread. Its own `when=N` counts for each thread and would never reach the keeper's or a body
//! file's calls, because the committer comes to N first.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, PipeReader};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process_group};

use super::daemon::Daemon;
use crate::kubectl::{Failure, Outcome};

/// Calls after which the disk is in another state; of `openat` those that may create.
const CHANGES: &str = "pwrite64,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,ftruncate,fallocate,\
                       mkdir,mkdirat,openat";

/// Microseconds that a call is held.
const HELD: &str = "4000";

/// What the tracer saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Calls that changed the disk.
    pub(super) calls: u64,
    /// Calls that were made to fail.
    pub(super) injected: Vec<String>,
    /// The server, or who loads it, said something on standard error.
    words: bool,
    /// The last lines: calls, and what the server said on standard error.
    last: VecDeque<String>,
}

impl Seen {
    /// The last calls, for people.
    pub(super) fn last(&self) -> String {
        self.last.iter().cloned().collect::<Vec<_>>().join("\n")
    }

    /// Something was said on standard error.
    pub(super) fn has_words(&self) -> bool {
        self.words
    }

    /// Takes a line of the tracer; whether it is a call that changed the disk.
    fn take(&mut self, line: String) -> bool {
        if line.contains("(INJECTED)") {
            self.injected.push(line.clone());
        }
        let again = fills(&line) && self.last.back().is_some_and(|last| fills(last));
        let counts = changes(&line) && !again;
        self.words |= !is_of_the_tracer(&line);
        self.calls += u64::from(counts);
        if self.last.len() == SHOWN {
            self.last.pop_front();
        }
        self.last.push_back(line);
        counts
    }
}

/// A tracer at work.
pub(super) struct Tracer(JoinHandle<Seen>);

impl Tracer {
    /// Starts the server; SIGKILL to it behind the N-th change of the disk.
    pub(super) fn kill_behind(daemon: &mut Daemon, n: u64) -> Outcome<Self> {
        let hold = format!("inject={CHANGES}:delay_exit={HELD}");
        Self::start(daemon, CHANGES, &hold, Some(n))
    }

    /// Starts the server; some calls fail. `when` is strace's, and counts for each thread.
    pub(super) fn fail(daemon: &mut Daemon, calls: &str, error: &str, when: &str) -> Outcome<Self> {
        let fault = format!("inject={calls}:error={error}:when={when}");
        Self::start(daemon, calls, &fault, None)
    }

    fn start(daemon: &mut Daemon, calls: &str, inject: &str, kill: Option<u64>) -> Outcome<Self> {
        let (reader, writer) = std::io::pipe()?;
        let trace = format!("trace={calls}");
        let words = [
            "strace",
            "-f",
            "--seccomp-bpf",
            "-qq",
            "-y",
            "-s",
            "0",
            "-e",
            &trace,
            "-e",
            inject,
        ];
        let group = daemon.spawn_traced(&words, writer)?;
        Ok(Self(std::thread::spawn(move || follow(reader, group, kill))))
    }

    /// What was seen until the server ended.
    pub(super) fn end(self, daemon: &mut Daemon) -> Outcome<Seen> {
        daemon.kill();
        self.0
            .join()
            .map_err(|_| Failure::wrong("the tracer's reader ended early"))
    }
}

fn follow(reader: PipeReader, group: Pid, kill: Option<u64>) -> Seen {
    let mut seen = Seen::default();
    for line in BufReader::new(reader).lines() {
        let Ok(line) = line else { break };
        if seen.take(line) && Some(seen.calls) == kill {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
    seen
}

/// A call that ended and may have changed the disk.
fn changes(line: &str) -> bool {
    let line = line.split_once("] ").map_or(line, |(_, call)| call);
    let call = line.strip_prefix("<... ").unwrap_or(line);
    let name: &str = call.split(['(', ' ']).next().unwrap_or_default();
    line.contains(" = ")
        && !line.contains("<unfinished")
        && CHANGES.split(',').any(|change| change == name)
        && (name != "openat" || line.contains("O_CREAT"))
}

/// A call, a signal or an end, as the tracer writes them; all else was said by the server.
fn is_of_the_tracer(line: &str) -> bool {
    let line = line.split_once("] ").map_or(line, |(_, rest)| rest);
    line.starts_with("<... ")
        || line.starts_with("---")
        || line.starts_with("+++")
        || line.contains("<unfinished")
        || line.contains(") =")
        || line.starts_with("strace:")
}

/// A piece of the zeros that a new segment is filled with: what is between two pieces is not a state of its own.
fn fills(line: &str) -> bool {
    line.contains("new.tmp>, ") && line.contains("pwrite64(")
}

const SHOWN: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_calls_count_once_and_zeros_as_one() {
        let mut seen = Seen::default();
        for line in [
            "fdatasync(9</s/segments/00000001.seg>) = 0 (DELAYED)",
            "[pid    12] pwrite64(9</s/segments/new.tmp>, \"\"..., 262144, 0) = 262144 (DELAYED)",
            "[pid    12] pwrite64(9</s/segments/new.tmp>, \"\"..., 262144, 262144) = 262144 (DELAYED)",
            "[pid    13] fsync(3</s> <unfinished ...>",
            "[pid    13] <... fsync resumed>)        = 0 (DELAYED)",
            "openat(AT_FDCWD, \"/s/uuid\", O_RDWR|O_CLOEXEC) = -1 ENOENT (No such file or directory)",
            "[pid 7] openat(AT_FDCWD, \"/s/a\", O_RDWR|O_CREAT, 0666) = 9</s/a>",
            "thread panicked = at",
        ] {
            seen.take(line.to_owned());
        }
        assert_eq!(seen.calls, 4, "{seen:?}");
        assert!(seen.has_words(), "it panicked");
    }

    #[test]
    fn calls_that_were_made_to_fail_are_known() {
        let mut seen = Seen::default();
        seen.take("fdatasync(9</s>) = -1 EIO (Input/output error) (INJECTED)".to_owned());
        assert_eq!(seen.injected.len(), 1);
    }
}
