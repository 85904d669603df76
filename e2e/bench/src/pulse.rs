//! When the whole machine stood still: a virtual machine's processors are its host's, which gives them to others for
//! milliseconds now and then.
//!
//! A process of the highest scheduling class sleeps for half a millisecond, again and again. The load of this machine does not
//! keep it from waking in time, so where it is late, nothing ran. It is this program under chrt(1) of util-linux, which wants
//! root.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use postroad_e2e::kubectl::{Failure, Outcome};

/// What this program is asked with.
pub const OPTION: &str = "--pulse";

const BEAT: Duration = Duration::from_micros(500);
/// Wakes late by less are not counted: interrupts take that.
const COUNTED: Duration = Duration::from_millis(1);

/// It beats until it is asked.
pub struct Pulse(Child);

impl Pulse {
    /// Starts it.
    pub fn start() -> Outcome<Self> {
        let child = Command::new("chrt")
            .args(["--fifo", "50"])
            .arg(std::env::current_exe()?)
            .arg(OPTION)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self(child))
    }

    /// For how long the machine stood still since the start, all in all.
    pub fn end(mut self) -> Outcome<Duration> {
        drop(self.0.stdin.take());
        let mut said = String::new();
        if let Some(mut out) = self.0.stdout.take() {
            out.read_to_string(&mut said)?;
        }
        let micros = said.trim().parse();
        let micros = micros.map_err(|_| Failure::wrong(format!("the pulse said `{said}`")))?;
        Ok(Duration::from_micros(micros))
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// What the process does: beats until its input ends, then prints the microseconds.
pub fn beat() -> Outcome {
    static ENDED: AtomicBool = AtomicBool::new(false);
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        ENDED.store(true, Ordering::Relaxed);
    });
    let mut still = Duration::ZERO;
    while !ENDED.load(Ordering::Relaxed) {
        let before = Instant::now();
        std::thread::sleep(BEAT);
        still += counted(before.elapsed());
    }
    writeln!(std::io::stdout(), "{}", still.as_micros())?;
    Ok(())
}

fn counted(slept: Duration) -> Duration {
    let late = slept.saturating_sub(BEAT);
    if late >= COUNTED { late } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_interrupts_take_is_no_standstill() {
        assert_eq!(counted(BEAT), Duration::ZERO);
        assert_eq!(counted(BEAT + COUNTED / 2), Duration::ZERO);
        assert_eq!(counted(BEAT + COUNTED * 7), COUNTED * 7);
        assert_eq!(counted(Duration::ZERO), Duration::ZERO);
    }
}
