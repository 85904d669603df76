//! A device that does less for some processes than it can: the block controller of the first version of control groups.
//!
//! What a program writes and syncs itself is held back; what the kernel writes on its own (the journal of a file system) is
//! not, which is the same for all servers.

use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};

use postroad_e2e::kubectl::{Failure, Outcome};
use postroad_e2e::rootfs::Jail;

/// Operations and octets of writing in a second.
pub const OPERATIONS: u64 = 3_000;
/// See [`OPERATIONS`].
pub const OCTETS: u64 = 125_000_000;

const CONTROLLER: &str = "/sys/fs/cgroup/blkio";

/// Processes that are held back, until this is dropped.
#[derive(Debug)]
pub struct Throttle(PathBuf);

impl Throttle {
    /// Holds the writing of these processes, and of what they start, to the device with that folder.
    pub fn on(jail: &Jail, folder: &Path) -> Outcome<Self> {
        let controller = Path::new(CONTROLLER);
        if !controller.join("blkio.throttle.write_bps_device").exists() {
            return Err(Failure::wrong(format!("no block controller at {CONTROLLER}")));
        }
        let group = Self(controller.join(format!("postroad-bench-{}", std::process::id())));
        std::fs::create_dir_all(&group.0)?;
        let device = std::fs::metadata(folder)?.st_dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        for (file, most) in [("write_bps", OCTETS), ("write_iops", OPERATIONS)] {
            let path = group.0.join(format!("blkio.throttle.{file}_device"));
            std::fs::write(path, format!("{major}:{minor} {most}"))?;
        }
        for process in jail.processes()? {
            std::fs::write(group.0.join("cgroup.procs"), process.to_string())?;
        }
        Ok(group)
    }

    /// What was written so far by the processes, in octets.
    pub fn written(&self) -> Outcome<u64> {
        let text = std::fs::read_to_string(self.0.join("blkio.throttle.io_service_bytes"))?;
        Ok(text
            .lines()
            .filter_map(|line| line.split_once(" Write ")?.1.parse::<u64>().ok())
            .sum())
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        // Its processes go back to the root, so that the group can be removed.
        let members = std::fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        for process in members.lines() {
            let _ = std::fs::write(Path::new(CONTROLLER).join("cgroup.procs"), process);
        }
        if let Err(error) = std::fs::remove_dir(&self.0) {
            eprintln!("    {} stays: {error}", self.0.display());
        }
    }
}
