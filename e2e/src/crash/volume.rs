//! Volumes that can fail: file systems in a file on a loop device, and in memory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::kubectl::{Failure, Outcome, until};
use crate::shell::Shell;

/// A mounted volume; it is unmounted and gone when this is dropped.
#[derive(Debug)]
pub(super) struct Volume {
    home: tempfile::TempDir,
    mounted: bool,
    kind: &'static str,
}

/// Whether a program is installed.
pub(super) fn is_there(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    path.split(':')
        .any(|folder| Path::new(folder).join(program).exists())
}

impl Volume {
    /// A file system in a file. `make`: mkfs and its arguments, without the file.
    pub(super) fn on_loop(kind: &'static str, megabytes: u64, make: &[&str]) -> Outcome<Self> {
        let volume = Self {
            home: tempfile::tempdir()?,
            mounted: false,
            kind,
        };
        std::fs::File::create(volume.image())?.set_len(megabytes << 20)?;
        std::fs::create_dir(volume.path())?;
        let (program, args) = make.split_first().unwrap_or((&"mkfs.ext4", &[]));
        tool(program).args(args).args([volume.image()]).run()?;
        volume.mount(&[])
    }

    /// A file system in memory: small, so that segments are.
    pub(super) fn in_memory(megabytes: u64) -> Outcome<Self> {
        let mut volume = Self {
            home: tempfile::tempdir()?,
            mounted: false,
            kind: "tmpfs",
        };
        std::fs::create_dir(volume.path())?;
        let size = format!("size={megabytes}m");
        tool("mount")
            .args(["-t", "tmpfs", "-o", &size, "postroad-crash"])
            .args([volume.path()])
            .run()?;
        volume.mounted = true;
        Ok(volume)
    }

    /// Mounts it with these options more.
    pub(super) fn mount(mut self, options: &[&str]) -> Outcome<Self> {
        let options = [&["loop"], options].concat().join(",");
        tool("mount")
            .args(["-t", self.kind, "-o", &options])
            .args([self.image(), self.path()])
            .run()?;
        self.mounted = true;
        Ok(self)
    }

    /// Where it is mounted.
    pub(super) fn path(&self) -> PathBuf {
        self.home.path().join("volume")
    }

    /// The file system forgets all that is not on the device, and takes nothing any more: what a power cut does
    /// (`FS_IOC_SHUTDOWN` without flushing the log).
    pub(super) fn cut_power(&self) -> Outcome {
        let script =
            "open(my $d, '<', $ARGV[0]) or die $!; my $f = pack('I', 2); ioctl($d, 0x8004587d, $f) or die $!";
        tool("perl").args(["-e", script]).args([self.path()]).run()?;
        Ok(())
    }

    /// The file system finds an error in itself, and does what it was made to do then (`mkfs.ext4 -e remount-ro`).
    pub(super) fn turn_read_only(&self) -> Outcome {
        let device = tool("findmnt")
            .args(["--noheadings", "--output", "SOURCE"])
            .args([self.path()])
            .read()?;
        let name = device.trim_start_matches("/dev/");
        Ok(std::fs::write(
            format!("/sys/fs/{}/{name}/trigger_fs_error", self.kind),
            "by the crash proof",
        )?)
    }

    /// Unmounts it: the process that used it is gone. Waits until nobody has it mounted any more: a copy of the mount in
    /// another mount namespace would keep the dead file system alive, and the next mount would be the same one.
    pub(super) fn unmount(mut self) -> Outcome<Self> {
        tool("umount").args([self.path()]).run()?;
        self.mounted = false;
        let freed = until(Duration::from_secs(30), || {
            let devices = tool("losetup")
                .args(["--associated"])
                .args([self.image()])
                .read()?;
            Ok(devices.is_empty())
        });
        freed.map_err(|_| Failure::wrong("another mount namespace keeps the volume mounted"))?;
        Ok(self)
    }

    fn image(&self) -> PathBuf {
        self.home.path().join("image")
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.mounted {
            let _ = tool("umount").args(["--lazy"]).args([self.path()]).run();
        }
    }
}

fn tool(program: &str) -> Shell {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    Shell::new(program).env("PATH", path)
}
