//! Postfix's `smtp-source`: the generator that everybody can check.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use postroad_e2e::kubectl::{Failure, Outcome};
use postroad_e2e::rootfs::Jail;

/// Sends so many messages over so many sessions that stay open, and gives the time it took. Whatever it complains of is
/// an error.
pub fn run(
    tools: &Jail,
    to: SocketAddr,
    sessions: &str,
    (messages, size): (u64, usize),
    domain: &str,
) -> Outcome<Duration> {
    let (messages, size) = (messages.to_string(), size.to_string());
    let recipient = format!("all@{domain}");
    let flags = ["-d", "-s", sessions, "-m", &messages, "-l", &size];
    let addresses = ["-f", "bench@source.example", "-t", &recipient];
    let start = Instant::now();
    let said = tools
        .shell("smtp-source")
        .args(flags)
        .args(addresses)
        .args([to.to_string()])
        .limit(Duration::from_mins(10))
        .run()?;
    let took = start.elapsed();
    let complaint = format!("{}{}", said.text(), said.err);
    if complaint.trim().is_empty() {
        Ok(took)
    } else {
        Err(Failure::wrong(format!("smtp-source: {}", complaint.trim())))
    }
}
