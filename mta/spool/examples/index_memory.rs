//! How much memory the index takes: a spool with many entries of one recipient, opened, and what the process has then.
//!
//! ```text
//! cargo run --release -p postroad-spool --example index_memory -- /path/on/a/volume [entries] [octets of a body]
//! ```
//!
//! Fills the directory on the first run; prints the time and the memory of each opening.

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use postroad_spool::{Envelope, Options, Recipient, Spool};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("a directory is expected")?;
    let entries: u64 = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let octets: usize = arguments.next().map_or(Ok(1024), |text| text.parse())?;
    let directory = Path::new(&directory);
    let mut out = std::io::stdout();

    let before = resident()?;
    let started = Instant::now();
    let (spool, recovery) = Spool::open(directory, &Options::default())?;
    let taken = started.elapsed();
    let grown = resident()?.saturating_sub(before);
    if recovery.entries > 0 {
        let each = grown / recovery.entries as u64;
        writeln!(out, "opened in {taken:.1?}: {recovery:?}")?;
        writeln!(
            out,
            "{grown} octets more than before, {each} for each entry; at most {} KiB",
            peak()?
        )?;
        return Ok(());
    }
    let started = Instant::now();
    for first in (0..entries).step_by(1024) {
        let last = entries.min(first + 1024);
        let commits: Vec<_> = (first..last)
            .map(|n| put(&spool, n, octets))
            .collect::<Result<_, _>>()?;
        for commit in commits {
            commit.wait()?;
        }
    }
    writeln!(
        out,
        "{entries} entries written in {:.1?}; run it again to open them",
        started.elapsed()
    )?;
    Ok(())
}

fn put(
    spool: &Spool,
    n: u64,
    octets: usize,
) -> Result<postroad_spool::Completion<postroad_spool::EntryId>, Box<dyn Error>> {
    let mut incoming = spool.begin();
    incoming.write(&vec![b'x'; octets])?;
    let recipient = Recipient {
        forward_path: format!("recipient{n}@dead.example.net"),
        ..Recipient::default()
    };
    let envelope = Envelope {
        reverse_path: "sender@example.org".to_owned(),
        recipients: vec![recipient],
        arrived: 1_700_000_000_000 + n,
        expires: 1_700_432_000_000 + n,
        ..Envelope::default()
    };
    Ok(incoming.commit(envelope, b"Received: from client\r\n".to_vec()))
}

/// Octets of memory this process has now (Linux).
fn resident() -> Result<u64, Box<dyn Error>> {
    status("VmRSS:").map(|kib| kib * 1024)
}

/// KiB of memory it had at most.
fn peak() -> Result<u64, Box<dyn Error>> {
    status("VmHWM:")
}

fn status(field: &str) -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let number = line
        .and_then(|line| line.split_whitespace().next())
        .ok_or("not told")?;
    Ok(number.parse()?)
}
