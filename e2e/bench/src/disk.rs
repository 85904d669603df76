//! What the disk can write in sequence, made durable at the end; and how long a bare group commit takes on it.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use postroad_e2e::kubectl::{Failure, Outcome};
use postroad_e2e::rootfs::Rootfs;

use crate::figures::rate;

const MIB: u64 = 1 << 20;
const SIZE: u64 = 1_000 * MIB;

/// Octets per second in that folder, and who says so: `fio` from its Debian package, otherwise a probe of our own.
pub fn bandwidth(folder: &Path) -> Outcome<(f64, &'static str)> {
    match fio(folder) {
        Ok(speed) => Ok((speed, "fio")),
        Err(error) => {
            eprintln!("    fio cannot be used ({error}); an own probe writes instead");
            Ok((probe(folder)?, "an own probe"))
        }
    }
}

fn fio(folder: &Path) -> Outcome<f64> {
    let layer = folder.join("fio-layer");
    std::fs::create_dir_all(&layer)?;
    let jail = Rootfs::cached("fio", &["fio"])?.enter(&layer, &[(folder, "/bench")])?;
    let said = jail.run(
        "fio",
        [
            "--name=bench",
            "--filename=/bench/fio",
            "--rw=write",
            "--bs=1M",
            "--size=1000M",
            "--end_fsync=1",
            "--unlink=1",
            "--output-format=json",
        ],
    )?;
    drop(jail);
    std::fs::remove_dir_all(&layer)?;
    let json = said.find('{').map_or("", |at| &said[at..]);
    let report: serde_json::Value =
        serde_json::from_str(json).map_err(|error| Failure::wrong(format!("fio's report: {error}")))?;
    report["jobs"][0]["write"]["bw_bytes"]
        .as_f64()
        .ok_or_else(|| Failure::wrong("fio's report has no bandwidth"))
}

fn probe(folder: &Path) -> Outcome<f64> {
    let path = folder.join("probe");
    let mut file = std::fs::File::create(&path)?;
    let block = vec![0x55; 1 << 20];
    let start = Instant::now();
    for _ in 0..SIZE / MIB {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    let speed = rate(SIZE, start.elapsed());
    std::fs::remove_file(path)?;
    Ok(speed)
}

/// How long messages of that size wait for the disk alone: they come at that pace (per second), all that came while the last
/// ones were written are written and synced together, into a file that is there already. No server does less.
pub fn group_commits(folder: &Path, pace: f64, messages: u64, size: usize) -> Outcome<Vec<Duration>> {
    let path = folder.join("commits");
    let mut file = std::fs::File::create(&path)?;
    file.write_all(&vec![0; FILE])?;
    file.sync_all()?;
    let block = vec![0x55; size * MOST];
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let due = |number: usize| Duration::from_secs_f64(number as f64 / pace);
    let (start, mut times, mut at) = (Instant::now(), Vec::new(), 0);
    while (times.len() as u64) < messages {
        std::thread::sleep(due(times.len()).saturating_sub(start.elapsed()));
        let now = start.elapsed();
        let came = (0..MOST)
            .take_while(|more| due(times.len() + more) <= now)
            .count()
            .max(1);
        if at + came * size > FILE {
            at = 0;
        }
        file.write_all_at(&block[..came * size], at as u64)?;
        file.sync_data()?;
        at += came * size;
        let done = start.elapsed();
        let first = times.len();
        times.extend((first..first + came).map(|number| done.saturating_sub(due(number))));
    }
    std::fs::remove_file(path)?;
    Ok(times)
}

/// Messages in one commit at most, and the file that they are written to.
const MOST: usize = 256;
const FILE: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_waits_for_the_commit_that_took_it() {
        let folder = tempfile::tempdir().unwrap();
        let times = group_commits(folder.path(), 100_000.0, 1_000, 64).unwrap();
        assert!(times.len() >= 1_000);
        assert!(times.iter().all(|time| !time.is_zero()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
