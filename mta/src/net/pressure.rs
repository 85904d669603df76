//! Who is turned away first when room runs out: strangers, then known peers, and users last.
//!
//! Room is connections (`limits.connections`) and the memory of our control group: what is in use without the page cache of
//! files, which the kernel takes back when it needs it, against its limit. That cache is mostly the spool's, and grows with it.
//! What is not on a disk yet counts: it has to be written first. The groups around it count as well: the kernel
//! ends processes of whichever is full first. Without a limit there is no pressure.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use postroad_config::Role;

use crate::settings::Settings;

/// How much a session is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// Any other server.
    Stranger,
    /// A client of `relayFrom` or `access.trustedPeers`.
    Known,
    /// A user who submits.
    User,
}

impl Rank {
    /// Of a client at a port of that role.
    pub fn of(settings: &Settings, role: Role, client: IpAddr) -> Self {
        if role == Role::Submission {
            Self::User
        } else if settings.may_relay(client) || settings.may_stand_in(client) {
            Self::Known
        } else {
            Self::Stranger
        }
    }

    /// Connections that this rank may fill up, out of `most`.
    pub fn connections(self, most: u32) -> u32 {
        match self {
            Self::Stranger => most - most / 10,
            Self::Known => most - most / 20,
            Self::User => most,
        }
    }

    /// Percent of the buffers that messages of this rank may fill up.
    pub(super) fn buffers(self) -> u64 {
        match self {
            Self::Stranger => 80,
            Self::Known => 90,
            Self::User => 100,
        }
    }

    /// Percent of the memory at which this rank is turned away.
    fn memory(self) -> u64 {
        match self {
            Self::Stranger => 80,
            Self::Known => 88,
            Self::User => 95,
        }
    }
}

/// Watches the memory. Cheap to clone.
#[derive(Clone)]
pub struct Pressure(Arc<Inner>);

struct Inner {
    /// Ours, and those around it.
    groups: Vec<Group>,
    /// The last look, and the percent in use that it saw.
    seen: Mutex<Option<(Instant, u64)>>,
}

/// Files of the control group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    used: PathBuf,
    limit: PathBuf,
    statistics: PathBuf,
    /// Page cache of files, as `memory.stat` calls its two halves; without what is locked or of no file.
    cached: [&'static str; 2],
    /// What of that is not on a disk yet.
    unwritten: [&'static str; 2],
}

impl Pressure {
    /// Of the control group of this process.
    pub fn of_this_process() -> Self {
        let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mut groups = groups(&membership);
        groups.retain(|group| group.limit.exists());
        Self::new(groups)
    }

    fn new(groups: Vec<Group>) -> Self {
        Self(Arc::new(Inner {
            groups,
            seen: Mutex::default(),
        }))
    }

    /// The memory that this process may take, in octets: of its group, or of the machine.
    pub fn memory(&self) -> Option<u64> {
        let of_groups = self.0.groups.iter().filter_map(Group::most).min();
        of_groups.or_else(|| all_memory(&fs::read_to_string("/proc/meminfo").ok()?))
    }

    /// Whether sessions and messages of this rank are turned away now.
    pub fn sheds(&self, rank: Rank) -> bool {
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let percent = match *seen {
            Some((at, percent)) if at.elapsed() < LOOK => percent,
            _ => {
                let percent = self.0.groups.iter().filter_map(Group::percent).max().unwrap_or(0);
                *seen = Some((Instant::now(), percent));
                percent
            }
        };
        percent >= rank.memory()
    }
}

impl Group {
    /// Its limit.
    fn most(&self) -> Option<u64> {
        // "max" in version 2; a number beyond all memory in version 1.
        number(&self.limit).filter(|limit| (1..1 << 50).contains(limit))
    }

    fn percent(&self) -> Option<u64> {
        let limit = self.most()?;
        let statistics = fs::read_to_string(&self.statistics).ok()?;
        let sum = |names: [&str; 2]| -> u64 { names.iter().map(|name| field(&statistics, name)).sum() };
        let reclaimable = sum(self.cached).saturating_sub(sum(self.unwritten));
        let used = number(&self.used)?.saturating_sub(reclaimable);
        Some(used.saturating_mul(100) / limit)
    }
}

/// Of the machine, by `/proc/meminfo`.
fn all_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1_024)
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn field(statistics: &str, name: &str) -> u64 {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    statistics.lines().find_map(value).unwrap_or(0)
}

/// Where the files may be, by `/proc/self/cgroup`; inside a container the group is the root of what is mounted.
fn groups(membership: &str) -> Vec<Group> {
    let second = |path: &str| Group {
        used: place("/sys/fs/cgroup", path, "memory.current"),
        limit: place("/sys/fs/cgroup", path, "memory.max"),
        statistics: place("/sys/fs/cgroup", path, "memory.stat"),
        cached: ["inactive_file", "active_file"],
        unwritten: ["file_dirty", "file_writeback"],
    };
    let first = |path: &str| Group {
        used: place("/sys/fs/cgroup/memory", path, "memory.usage_in_bytes"),
        limit: place("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes"),
        statistics: place("/sys/fs/cgroup/memory", path, "memory.stat"),
        cached: ["total_inactive_file", "total_active_file"],
        unwritten: ["total_dirty", "total_writeback"],
    };
    let mut found = Vec::new();
    for line in membership.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        match (parts.next(), parts.next()) {
            (Some(""), Some(path)) => found.extend(around(path).map(second)),
            (Some(controllers), Some(path)) if controllers.split(',').any(|name| name == "memory") => {
                found.extend(around(path).map(first));
            }
            _ => {}
        }
    }
    found
}

/// This group and those around it, `/` last.
fn around(path: &str) -> impl Iterator<Item = &str> {
    Path::new(path).ancestors().filter_map(Path::to_str)
}

fn place(root: &str, path: &str, file: &str) -> PathBuf {
    Path::new(root).join(path.trim_start_matches('/')).join(file)
}

/// How old a look may be.
const LOOK: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn pressure(used: &str, limit: &str) -> Pressure {
        Pressure::new(vec![group(used, limit)])
    }

    fn group(used: &str, limit: &str) -> Group {
        let directory = tempfile::tempdir().unwrap().keep();
        let file = |name: &str, text: &str| {
            fs::write(directory.join(name), text).unwrap();
            directory.join(name)
        };
        Group {
            used: file("current", used),
            limit: file("max", limit),
            statistics: file(
                "stat",
                "file 199\ninactive_file 60\nactive_file 52\nfile_dirty 5\nfile_writeback 7\nshmem 80\n",
            ),
            cached: ["inactive_file", "active_file"],
            unwritten: ["file_dirty", "file_writeback"],
        }
    }

    #[test]
    fn strangers_go_first_users_last_and_the_cache_of_files_does_not_count() {
        for (used, limit, shed) in [
            ("899\n", "1000\n", [false, false, false]),
            ("900\n", "1000\n", [true, false, false]),
            ("980\n", "1000\n", [true, true, false]),
            ("1050\n", "1000\n", [true, true, true]),
            ("1050\n", "max\n", [false, false, false]),
            ("1050\n", "9223372036854771712\n", [false, false, false]),
            ("", "1000\n", [false, false, false]),
        ] {
            let pressure = pressure(used, limit);
            let found = [Rank::Stranger, Rank::Known, Rank::User].map(|rank| pressure.sheds(rank));
            assert_eq!(found, shed, "{used} of {limit}");
        }
        assert!(!Pressure::new(Vec::new()).sheds(Rank::Stranger));
    }

    #[test]
    fn the_fullest_of_the_groups_around_counts_and_the_least_limit() {
        let groups = |list: &[(&str, &str)]| {
            Pressure::new(list.iter().map(|(used, limit)| group(used, limit)).collect())
        };
        let inner = groups(&[("950", "1000"), ("1100", "9000")]);
        assert!(inner.sheds(Rank::Stranger) && inner.memory() == Some(1_000));
        let outer = groups(&[("150", "max"), ("1080", "1100")]);
        assert!(outer.sheds(Rank::Stranger) && outer.memory() == Some(1_100));
        let machine = all_memory(&fs::read_to_string("/proc/meminfo").unwrap());
        assert!(machine.is_some());
        assert_eq!(groups(&[("1", "max")]).memory(), machine);
        assert_eq!(
            all_memory("MemFree: 1 kB\nMemTotal:       2048 kB\n"),
            Some(2 << 20)
        );
        assert_eq!(all_memory("MemTotal: much\n"), None);
    }

    #[test]
    fn a_part_of_the_connections_is_for_those_who_matter_more() {
        let shares = |most| [Rank::Stranger, Rank::Known, Rank::User].map(|rank| rank.connections(most));
        assert_eq!(shares(100), [90, 95, 100]);
        assert_eq!(shares(1), [1, 1, 1]);
    }

    #[test]
    fn the_group_is_found_in_both_versions() {
        let limits = |text| {
            groups(text)
                .into_iter()
                .map(|group| group.limit)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            limits("4:memory:/pod/x\n0::/y\n"),
            [
                "/sys/fs/cgroup/memory/pod/x/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/pod/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/y/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
            .map(PathBuf::from)
        );
        assert!(limits("nonsense\n1:cpu:/\n").is_empty());
    }
}
