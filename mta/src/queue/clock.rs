//! The time and the chance that the pure parts get passed in.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use postroad_config::Period;

/// Milliseconds since 1970; 0 on a clock before that.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
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
