//! `OpenSMTPD`: it never syncs before 250, and has no setting for it. Its figures are not those of a durable accept.

use std::collections::HashSet;

use postroad_e2e::kubectl::Outcome;
use postroad_e2e::place::free_address;
use postroad_e2e::rootfs::Rootfs;

use super::{Running, Server, Task, names};
use crate::folder::Folder;

#[derive(Debug)]
pub(super) struct OpenSmtpd;

fn root() -> Outcome<Rootfs> {
    Rootfs::cached("opensmtpd", &["opensmtpd"])
}

impl Server for OpenSmtpd {
    fn name(&self) -> &'static str {
        "opensmtpd"
    }

    fn settings(&self) -> &'static str {
        "NOT DURABLE: it has no setting for a sync before 250; no limit of messages per session; accept tests: \
         `smtpctl pause mta`"
    }

    fn version(&self) -> Outcome<String> {
        root()?.version("opensmtpd")
    }

    fn start(&self, folder: Folder, task: Task) -> Outcome<Running> {
        let (queue, layer) = (folder.path().join("queue"), folder.path().join("layer"));
        std::fs::create_dir_all(&queue)?;
        std::fs::create_dir_all(&layer)?;
        let jail = root()?.enter(&layer, &[(&queue, "/var/spool/smtpd")])?;
        let address = free_address()?;
        jail.write("/etc/smtpd.conf", configuration(address.port(), task))?;
        jail.run("sh", ["-c", "chmod 711 /var/spool/smtpd"])?;
        // It logs each session; a pipe that nobody reads would stop it.
        let program = jail.spawn("sh", ["-c", "exec smtpd -d >/dev/null 2>&1"])?;
        let running = Running::new(address, Some(program), jail, folder)?;
        if task == Task::Keep {
            running.jail.run("smtpctl", ["pause", "mta"])?;
        }
        Ok(running)
    }

    fn queued(&self, running: &Running) -> Outcome<u64> {
        // An envelope's name begins with its message's; each of ours has one.
        let queue = running.folder.path().join("queue/queue");
        let mut found = HashSet::new();
        names(&queue, &|name| name != "message", &mut found)?;
        Ok(found.len() as u64)
    }
}

fn configuration(port: u16, task: Task) -> String {
    let sink = match task {
        Task::Keep => port, // no delivery is made while the mail transfer agent is paused
        Task::Relay(to) => to.port(),
    };
    format!(
        "smtp max-message-size \"100M\"
smtp limit max-mails 10000000
smtp limit max-rcpt 1000
listen on 127.0.0.1 port {port} hostname opensmtpd.bench.example
action sink relay host \"smtp://127.0.0.1:{sink}\"
match from any for any action sink
"
    )
}
