//! Who used the processors while something was measured.

use std::time::{Duration, Instant};

use postroad_e2e::kubectl::Outcome;
use postroad_e2e::rootfs::{Jail, cpu_time_of};

use crate::figures::Sample;

/// Accounts at the start of a measurement.
#[derive(Debug)]
pub struct Watch<'a> {
    start: Instant,
    server: &'a Jail,
    servers: Duration,
    ours: Duration,
}

impl<'a> Watch<'a> {
    /// Starts the clock.
    pub fn start(server: &'a Jail) -> Outcome<Self> {
        Ok(Self {
            server,
            servers: server.cpu_time()?,
            ours: own(),
            start: Instant::now(),
        })
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// A sample with that value; the shares are those of the time until now.
    pub fn sample(&self, value: f64) -> Outcome<Sample> {
        let machine = self.start.elapsed().as_secs_f64() * processors();
        let share = |used: Duration| used.as_secs_f64() / machine.max(1e-9);
        Ok(Sample {
            value,
            generator: Some(share(own().saturating_sub(self.ours))),
            server: Some(share(self.server.cpu_time()?.saturating_sub(self.servers))),
        })
    }
}

/// This process with its generator and sink, and what it started and waited for (`smtp-source`).
fn own() -> Duration {
    cpu_time_of(std::process::id()).unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "a small number")]
fn processors() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64)
}

/// Resident memory of the processes of a jail in octets: now, and the sum of their peaks.
pub fn memory(jail: &Jail) -> Outcome<(u64, u64)> {
    let mut sum = (0, 0);
    for pid in jail.processes()? {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        sum.0 += kibibytes(&status, "VmRSS:") << 10;
        sum.1 += kibibytes(&status, "VmHWM:") << 10;
    }
    Ok(sum)
}

fn kibibytes(status: &str, field: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_by_field() {
        let status = "Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(kibibytes(status, "VmHWM:"), 2_048);
        assert_eq!(kibibytes(status, "VmRSS:"), 1_024);
        assert_eq!(kibibytes(status, "VmSwap:"), 0);
    }
}
