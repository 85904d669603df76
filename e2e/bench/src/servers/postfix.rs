//! Postfix: durable as it comes (one fsync of the queue file before 250).

use std::collections::HashSet;
use std::net::SocketAddr;

use postroad_e2e::kubectl::Outcome;
use postroad_e2e::place::free_address;
use postroad_e2e::rootfs::{Jail, Rootfs};

use super::{Running, Server, Task, names};
use crate::folder::Folder;

#[derive(Debug)]
pub(super) struct Postfix;

/// Its root file system, where `smtp-source` and `smtp-sink` are too.
pub fn root() -> Outcome<Rootfs> {
    Rootfs::cached("postfix", &["postfix"])
}

/// The same with what signs and judges for it.
pub(super) fn milters() -> Outcome<Rootfs> {
    Rootfs::cached(
        "postfix-milters",
        &[
            "postfix",
            "opendkim",
            "opendmarc",
            "postfix-policyd-spf-python",
            "sasl2-bin",
            "libsasl2-modules",
        ],
    )
}

impl Server for Postfix {
    fn name(&self) -> &'static str {
        "postfix"
    }

    fn settings(&self) -> &'static str {
        "1,000 processes; no limit per client; no look-up of names; concurrency 100 to the sink, connections cached; no \
         input delay; accept tests: the next hop is down, as for ours; its log lines are dropped"
    }

    fn version(&self) -> Outcome<String> {
        root()?.version("postfix")
    }

    fn start(&self, folder: Folder, task: Task) -> Outcome<Running> {
        let jail = enter(&root()?, &folder)?;
        let address = free_address()?;
        jail.write("/etc/postfix/main.cf", main_cf(task, free_address()?))?;
        listen(&jail, address)?;
        jail.run("postfix", ["start"])?;
        Running::new(address, None, jail, folder)
    }

    fn queued(&self, running: &Running) -> Outcome<u64> {
        let queue = running.folder.path().join("queue");
        let mut found = HashSet::new();
        for state in ["incoming", "active", "deferred"] {
            names(&queue.join(state), &|_| true, &mut found)?;
        }
        Ok(found.len() as u64)
    }
}

/// Its root file system with a layer of its own, its queue in the folder that is measured.
pub(super) fn enter(root: &Rootfs, folder: &Folder) -> Outcome<Jail> {
    let (queue, layer) = (folder.path().join("queue"), folder.path().join("layer"));
    std::fs::create_dir_all(&queue)?;
    std::fs::create_dir_all(&layer)?;
    root.enter(&layer, &[(&queue, "/var/spool/postfix")])
}

/// Its only port, before it starts.
pub(super) fn listen(jail: &Jail, address: SocketAddr) -> Outcome<String> {
    jail.run("sh", ["-c", MASTER_CF, "master", &address.port().to_string()])
}

/// No service is chrooted within the jail, and smtpd listens on our port alone.
const MASTER_CF: &str = "postconf -F '*/*/chroot=n' && postconf -MX smtp/inet && \
    postconf -M \"$1/inet=$1 inet n - n - - smtpd\"";

pub(super) fn main_cf(task: Task, down: SocketAddr) -> String {
    let to = match task {
        Task::Keep => down,
        Task::Relay(to) => to,
    };
    format!(
        "compatibility_level = 3.6
myhostname = postfix.bench.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
local_recipient_maps =
message_size_limit = 104857600
mailbox_size_limit = 0
disable_dns_lookups = yes
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_message_rate_limit = 0
smtpd_client_recipient_rate_limit = 0
default_process_limit = 1000
in_flow_delay = 0
initial_destination_concurrency = 100
default_destination_concurrency_limit = 100
smtp_destination_concurrency_limit = 100
smtp_connection_cache_on_demand = yes
smtp_tls_security_level = none
smtpd_tls_security_level = none
relayhost = [{}]:{}
",
        to.ip(),
        to.port()
    )
}
