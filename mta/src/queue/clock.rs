//! The time and the chance that the pure parts get passed in.
//!
//! The queue's time is the machine's clock as it was at the first look, plus what passed since then by a clock that nobody
//! sets (it goes on while the machine sleeps). So a step of the machine's clock moves no timer and ends no lifetime of a
//! server that runs; the next start believes the clock again.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use postroad_config::Period;
use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since 1970.
pub fn now() -> u64 {
    static BOOT: OnceLock<u64> = OnceLock::new();
    let passed = since_boot();
    let boot = BOOT.get_or_init(|| machine().saturating_sub(passed));
    boot.saturating_add(passed)
}

/// A time that was reckoned by the machine's clock, as the queue counts.
pub fn reckoned(milliseconds: u64) -> u64 {
    moved(milliseconds, machine(), now())
}

/// `at` on the clock that says `from`, on the one that says `to` in the same moment.
fn moved(at: u64, from: u64, to: u64) -> u64 {
    if at >= from {
        to.saturating_add(at - from)
    } else {
        to.saturating_sub(from - at)
    }
}

/// What the machine's clock says; 0 on a clock before 1970.
fn machine() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Time since the machine started, sleep included. The call cannot fail for this clock.
fn since_boot() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let part = u64::try_from(time.tv_nsec / 1_000_000).unwrap_or(0);
    seconds.saturating_mul(1_000).saturating_add(part)
}

/// A length of time of the configuration in milliseconds.
pub fn milliseconds(period: Period) -> u64 {
    u64::try_from(period.get().as_millis()).unwrap_or(u64::MAX)
}

/// A random number.
pub fn draw() -> u64 {
    u64::from_ne_bytes(octets())
}

/// 128 random bits in hex: a boundary and a Message-ID that nobody can guess.
pub fn token() -> String {
    format!("{:032x}", u128::from_ne_bytes(octets()))
}

fn octets<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    if rand::fill(&mut octets).is_err() {
        // The system's generator does not fail once it has worked; the time is better than a constant.
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        for (octet, time) in octets.iter_mut().zip(now.to_ne_bytes()) {
            *octet = time;
        }
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_counts_from_the_machines_clock() {
        let (before, queue, after) = (machine(), now(), machine());
        assert!(
            before.abs_diff(queue) <= after - before + 1_000,
            "{before} {queue} {after}"
        );
    }

    #[test]
    fn a_time_keeps_its_distance_when_it_is_reckoned_anew() {
        assert_eq!(moved(1_500, 1_000, 90_000), 90_500);
        assert_eq!(moved(900, 1_000, 90_000), 89_900);
        assert_eq!(moved(900, 1_000, 50), 0);
    }
}
