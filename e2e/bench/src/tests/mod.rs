//! The tests, by their numbers.

mod accept;
mod drain;
mod idle;
mod large;
mod latency;
mod million;
mod relay;
mod slow;

use postroad_e2e::kubectl::Outcome;

use crate::bench::Bench;

/// One test.
#[derive(Clone, Copy)]
pub struct Test {
    /// `B1` to `B12`.
    pub name: &'static str,
    /// What it measures.
    pub about: &'static str,
    /// Measures it.
    pub run: fn(&mut Bench) -> Outcome,
}

/// All tests.
pub const ALL: &[Test] = &[
    test(
        "B1",
        "durable accept: 1, 10 and 50 sessions by smtp-source, pipelined by our generator",
        accept::run,
    ),
    test("B2", "relay to a sink, end to end", relay::run),
    test(
        "B5",
        "20 messages of 50 MB at once, against the disk's own bandwidth",
        large::run,
    ),
    test("B6", "10,000 idle TLS sessions", idle::run),
    test(
        "B7",
        "1,000,000 messages queued, kill -9, restart",
        million::restart,
    ),
    test(
        "B8",
        "1,000,000 messages parked for a dead domain beside healthy traffic",
        million::parked,
    ),
    test(
        "B9",
        "99th percentile of the accept latency at half load",
        latency::run,
    ),
    test(
        "B11",
        "drain of 100,000 messages from one daemon to another",
        drain::run,
    ),
    test(
        "B12",
        "accept beside 500 clients that send an octet every ten seconds",
        slow::run,
    ),
];

const fn test(name: &'static str, about: &'static str, run: fn(&mut Bench) -> Outcome) -> Test {
    Test { name, about, run }
}
