//! Exim: durable as it comes (three syncs per message before 250).

use std::collections::HashSet;

use postroad_e2e::kubectl::Outcome;
use postroad_e2e::place::free_address;
use postroad_e2e::rootfs::Rootfs;

use super::{Running, Server, Task, names};
use crate::folder::Folder;

#[derive(Debug)]
pub(super) struct Exim;

fn root() -> Outcome<Rootfs> {
    Rootfs::cached("exim", &["exim4-daemon-heavy"])
}

impl Server for Exim {
    fn name(&self) -> &'static str {
        "exim"
    }

    fn settings(&self) -> &'static str {
        "no limit of connections or of messages in one; split spool directory; PIPELINING without its synchronisation \
         check; accept tests: queue_only"
    }

    fn version(&self) -> Outcome<String> {
        root()?.version("exim4-daemon-heavy")
    }

    fn start(&self, folder: Folder, task: Task) -> Outcome<Running> {
        let (queue, layer) = (folder.path().join("queue"), folder.path().join("layer"));
        std::fs::create_dir_all(&queue)?;
        std::fs::create_dir_all(&layer)?;
        let jail = root()?.enter(&layer, &[(&queue, "/var/spool/exim4")])?;
        let address = free_address()?;
        jail.write("/etc/exim4/exim4.conf", configuration(address.port(), task))?;
        jail.run("sh", ["-c", "chown Debian-exim:Debian-exim /var/spool/exim4"])?;
        let program = jail.spawn("sh", ["-c", "exec exim4 -bdf >/dev/null 2>&1"])?;
        Running::new(address, Some(program), jail, folder)
    }

    fn queued(&self, running: &Running) -> Outcome<u64> {
        let input = running.folder.path().join("queue/input");
        let mut found = HashSet::new();
        names(&input, &|name| name.ends_with("-H"), &mut found)?;
        Ok(found.len() as u64)
    }
}

fn configuration(port: u16, task: Task) -> String {
    let (queue_only, sink) = match task {
        Task::Keep => ("queue_only = true", port), // no delivery is ever started
        Task::Relay(to) => ("queue_only = false", to.port()),
    };
    format!(
        "primary_hostname = exim.bench.example
exim_user = Debian-exim
exim_group = Debian-exim
spool_directory = /var/spool/exim4
log_file_path = /var/log/exim4/%slog
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
tls_advertise_hosts =
pipelining_advertise_hosts = *
chunking_advertise_hosts = *
acl_smtp_rcpt = accept
acl_smtp_data = accept
host_lookup =
rfc1413_query_timeout = 0s
message_size_limit = 100M
smtp_accept_max = 0
smtp_accept_max_per_connection = 0
smtp_accept_queue_per_connection = 0
smtp_connect_backlog = 1000
smtp_enforce_sync = false
split_spool_directory = true
check_spool_space = 0
check_spool_inodes = 0
remote_max_parallel = 100
keep_environment =
{queue_only}

begin acl

begin routers
sink:
  driver = manualroute
  route_list = * 127.0.0.1 byname
  transport = sink
  self = send

begin transports
sink:
  driver = smtp
  port = {sink}
  hosts_try_dane =
  connection_max_messages = 0
"
    )
}
