//! The tests, by their numbers.

mod accept;
mod drain;
mod idle;
mod judged;
mod large;
mod latency;
mod million;
mod relay;
mod slow;
mod submit;
mod throttled;

use postroad_e2e::kubectl::{Failure, Outcome};

use crate::bench::Bench;
use crate::servers::{Running, Server};

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
        "B3",
        "submission in TLS 1.3 by users who log in, signed by RSA-2048 and by Ed25519, sessions kept open",
        submit::run,
    ),
    test(
        "B4",
        "incoming mail judged by SPF, DKIM (RSA-2048) and DMARC, DNS warm",
        judged::run,
    ),
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
        "B10",
        "durable accept on a device held to 3,000 operations and 125 MB a second, by our generator",
        throttled::run,
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

/// Measures with servers that are set for one test: ours, and Postfix if it is among those of this run.
fn of_test(
    bench: &mut Bench,
    test: &'static str,
    ours: Box<dyn Server>,
    postfix: Box<dyn Server>,
    measure: impl FnOnce(&mut Bench) -> Outcome,
) -> Outcome {
    let mut servers = vec![ours];
    if bench.servers.iter().any(|server| server.name() == postfix.name()) {
        servers.push(postfix);
    }
    with_servers(bench, test, servers, measure)
}

/// Measures with these servers in place of those of the run, and tells how they are set.
fn with_servers(
    bench: &mut Bench,
    test: &'static str,
    servers: Vec<Box<dyn Server>>,
    measure: impl FnOnce(&mut Bench) -> Outcome,
) -> Outcome {
    for server in &servers {
        let told = format!(
            "{test}, {} {}: {}",
            server.name(),
            server.version()?,
            server.settings()
        );
        eprintln!("    {told}");
        if !bench.settings.contains(&told) {
            bench.settings.push(told);
        }
    }
    let usual = std::mem::replace(&mut bench.servers, servers);
    let measured = measure(bench);
    bench.servers = usual;
    measured
}

/// The queue must hold exactly what was acknowledged.
fn count_queue(server: &dyn Server, running: &Running, sent: u64) -> Outcome {
    let queued = server.queued(running)?;
    if queued == sent {
        Ok(())
    } else {
        Err(Failure::wrong(format!(
            "{sent} messages were acknowledged, {queued} are in the queue"
        )))
    }
}

const fn test(name: &'static str, about: &'static str, run: fn(&mut Bench) -> Outcome) -> Test {
    Test { name, about, run }
}
