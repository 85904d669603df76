//! Root file systems of Debian packages that cannot be installed side by side, and jails that run programs in them.
//!
//!   Rootfs  ~/.cache/postroad/rootfs/NAME-HASH   made once (`make.rs`), never written again
//!   Jail    Rootfs + a scratch layer, in mount and process namespaces of its own, on the host's network
//!
//! The first process of a jail waits for the end of a pipe that this process holds. However this process ends, the kernel
//! then ends every process of the jail and takes its mounts away: nothing leaks. What was written stays in the scratch
//! folder, which is the caller's.
//!
//! Assumes: root, Linux with overlayfs, mmdebstrap, `unshare` and `nsenter` of util-linux, perl (in every Debian).

mod make;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::kubectl::{Failure, Outcome};
use crate::shell::{Background, Shell};

/// Debian's release where nothing else is said.
const SUITE: &str = "bookworm";

const ENTER: &str = include_str!("../peers/jail.sh");

/// An unpacked and configured root file system in the cache. It is read by jails and never written.
#[derive(Clone, Debug)]
pub struct Rootfs {
    path: PathBuf,
}

impl Rootfs {
    /// The root file system with these packages of Debian 12; `name` only helps people to recognise the folder.
    pub fn cached(name: &str, packages: &[&str]) -> Outcome<Self> {
        Self::of(SUITE, name, packages)
    }

    /// The same of another release of Debian, by its code name.
    pub fn of(suite: &str, name: &str, packages: &[&str]) -> Outcome<Self> {
        make::made(suite, name, packages, "")
    }

    /// The same as [`Rootfs::cached`] with Python packages on top, which need `python3-pip` among the others. `wheels` are
    /// pip's requirements, each with its version and hash: what the index serves is that or nothing.
    pub fn with_wheels(name: &str, packages: &[&str], wheels: &str) -> Outcome<Self> {
        make::made(SUITE, name, packages, wheels)
    }

    /// A jail with this root. `scratch` is an empty folder of the caller for what is written; each bind puts a folder of
    /// the host at a path inside (made if it is not there).
    pub fn enter(&self, scratch: &Path, binds: &[(&Path, &str)]) -> Outcome<Jail> {
        Jail::start(&self.path, scratch, binds)
    }

    /// Version of one of its packages.
    pub fn version(&self, package: &str) -> Outcome<String> {
        let admin = format!("--admindir={}/var/lib/dpkg", self.path.display());
        let query = ["--show", "--showformat=${Version}", package];
        Ok(Shell::new("dpkg-query").args([&admin]).args(query).read()?)
    }
}

/// Namespaces with programs in them, until this is dropped.
#[derive(Debug)]
pub struct Jail {
    holder: Child,
    init: u32,
    inside: bool,
}

impl Jail {
    /// A jail with the host's own root: only its processes and mounts are apart.
    pub fn on_host() -> Outcome<Self> {
        Self::start(Path::new("/"), Path::new("/"), &[])
    }

    fn start(root: &Path, scratch: &Path, binds: &[(&Path, &str)]) -> Outcome<Self> {
        let flags = [
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child",
        ];
        let mut holder = Command::new("unshare")
            .args(flags)
            .args(["--", "sh", "-c", ENTER, "jail"])
            .args([root, scratch])
            .args(
                binds
                    .iter()
                    .flat_map(|(host, inside)| [host.as_os_str(), inside.as_ref()]),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::wrong(format!("`unshare` cannot be started: {error}")))?;
        let mut line = String::new();
        if let Some(out) = holder.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        if let Ok(init) = line.trim().parse() {
            lock().insert(init);
            return Ok(Self {
                holder,
                init,
                inside: root != Path::new("/"),
            });
        }
        let mut said = String::new();
        if let Some(mut err) = holder.stderr.take() {
            err.read_to_string(&mut said)?;
        }
        holder.wait()?;
        Err(Failure::wrong(format!(
            "no jail on {}: {}",
            root.display(),
            said.trim()
        )))
    }

    /// A file of the jail as this process reaches it. Absolute symbolic links in it would lead to the host's files.
    pub fn file(&self, inside: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.init));
        root.join(inside.trim_start_matches('/'))
    }

    /// Writes a file of the jail, with the folders above it.
    pub fn write(&self, inside: &str, text: impl AsRef<[u8]>) -> Outcome {
        let file = self.file(inside);
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(std::fs::write(file, text)?)
    }

    /// A program inside, to be given arguments and run. It ends with the jail at the latest.
    pub fn shell(&self, program: &str) -> Shell {
        let target = format!("--target={}", self.init);
        let shell = Shell::new("nsenter").args([&target, "--mount", "--pid"]);
        let shell = if self.inside {
            shell
                .args(["--root", "--wd"])
                .env(
                    "PATH",
                    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                )
                .env("HOME", "/root")
                .env("LC_ALL", "C.UTF-8")
        } else {
            shell
        };
        shell.args(["--", program])
    }

    /// Processor time used so far by everything inside, with what has ended and was waited for.
    pub fn cpu_time(&self) -> Outcome<Duration> {
        let mut all = self.processes()?;
        all.push(self.init);
        Ok(all.into_iter().filter_map(cpu_time_of).sum())
    }

    /// Runs a program inside to its end. A failure is an error.
    pub fn run<S: Into<OsString>>(
        &self,
        program: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Outcome<String> {
        Ok(self
            .shell(program)
            .args(args.into_iter().map(Into::into))
            .read()?)
    }

    /// Starts a program inside; it is killed when the handle or the jail is dropped.
    pub fn spawn<S: Into<OsString>>(
        &self,
        program: &str,
        args: impl IntoIterator<Item = S>,
    ) -> Outcome<Background> {
        Ok(self
            .shell(program)
            .args(args.into_iter().map(Into::into))
            .spawn()?)
    }

    /// Numbers, as the host counts, of the processes inside, without the reaper.
    pub fn processes(&self) -> Outcome<Vec<u32>> {
        let ours = namespace_of(self.init)?;
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A process may end while we look.
            if pid != self.init && namespace_of(pid).is_ok_and(|inode| inode == ours) {
                found.push(pid);
            }
        }
        Ok(found)
    }
}

/// Ends every jail of this process at once; for a signal handler, after which this process ends.
pub fn end_all() {
    for init in std::mem::take(&mut *lock()) {
        let _ = Command::new("kill").args(["-KILL", &init.to_string()]).status();
    }
}

/// Reapers of the jails that run.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn lock() -> MutexGuard<'static, BTreeSet<u32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Processor time of a process and of its children that it waited for; nothing if it has just ended.
pub fn cpu_time_of(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in brackets that may hold anything; utime is the twelfth after it.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Some(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
}

/// What `/proc` counts in, whatever the kernel's own clock: `USER_HZ`.
const TICKS_PER_SECOND: u64 = 100;

/// The process namespace of a process.
fn namespace_of(pid: u32) -> std::io::Result<u64> {
    std::fs::metadata(format!("/proc/{pid}/ns/pid")).map(|file| file.ino())
}

impl Drop for Jail {
    fn drop(&mut self) {
        lock().remove(&self.init);
        drop(self.holder.stdin.take());
        // The reaper ends with its input, the namespace with the reaper.
        let _ = self.holder.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_in_a_jail_ends_with_it() {
        let Ok(jail) = Jail::on_host() else {
            eprintln!("skipped: 1 case (no namespaces without root)");
            return;
        };
        let mut sleeper = jail.spawn("sleep", ["600"]).unwrap();
        while jail.processes().unwrap().is_empty() {
            assert!(sleeper.runs());
            std::thread::yield_now();
        }
        drop(jail);
        while sleeper.runs() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_jail_that_cannot_be_made_says_why() {
        let nowhere = Path::new("/nowhere/at/all");
        let error = Rootfs {
            path: nowhere.to_owned(),
        }
        .enter(nowhere, &[])
        .unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
