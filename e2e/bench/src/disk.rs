//! What the disk can write in sequence, made durable at the end.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

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
