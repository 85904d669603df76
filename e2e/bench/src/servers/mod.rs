//! The servers that are measured: ours and the peers, each in a jail of its own, its queue in the run's folder.

mod exim;
mod opensmtpd;
pub mod postfix;
pub mod postfix_judging;
pub mod postfix_signing;
pub mod postroad;
pub mod postroad_judging;
pub mod postroad_signing;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use postroad_e2e::kubectl::{Failure, Outcome};
use postroad_e2e::rootfs::Jail;
use postroad_e2e::shell::Background;

use crate::folder::Folder;
use crate::load::entrance;

/// What a server does with the mail that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Keeps it.
    Keep,
    /// Relays it to this address.
    Relay(SocketAddr),
}

/// A server that can be started.
pub trait Server: std::fmt::Debug {
    /// Name in figures.
    fn name(&self) -> &'static str;

    /// How it is set, for the report.
    fn settings(&self) -> &'static str;

    /// Version, for the report. Also makes sure that it is there.
    fn version(&self) -> Outcome<String>;

    /// Starts it in an empty folder; it listens when this returns.
    fn start(&self, folder: Folder, task: Task) -> Outcome<Running>;

    /// Messages that are in its queue.
    fn queued(&self, running: &Running) -> Outcome<u64>;
}

/// The servers of that name; `None` for a name that nobody has.
pub fn named(name: &str) -> Option<Box<dyn Server>> {
    match name {
        "postroad" => Some(Box::new(postroad::Postroad)),
        "postfix" => Some(Box::new(postfix::Postfix)),
        "exim" => Some(Box::new(exim::Exim)),
        "opensmtpd" => Some(Box::new(opensmtpd::OpenSmtpd)),
        _ => None,
    }
}

/// Names of the peers.
pub const PEERS: [&str; 3] = ["postfix", "exim", "opensmtpd"];

/// A server that runs, until this is dropped; its folder goes with it.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// A handle of the program in the foreground, where it has one.
    program: Option<Background>,
    /// Its processes. Dropped before the folder.
    pub jail: Jail,
    /// Its queue and whatever else it writes.
    pub folder: Folder,
}

/// When a server that listens says so.
#[derive(Clone, Copy, Debug)]
enum Greets {
    /// By its banner, at once.
    AtOnce,
    /// By its banner, when it was told who is behind the load balancer.
    Proxied,
    /// Only in TLS: that it takes connections must do.
    InTls,
}

impl Running {
    fn new(address: SocketAddr, program: Option<Background>, jail: Jail, folder: Folder) -> Outcome<Self> {
        Self::that(Greets::AtOnce, address, program, jail, folder)
    }

    fn that(
        greets: Greets,
        address: SocketAddr,
        program: Option<Background>,
        jail: Jail,
        folder: Folder,
    ) -> Outcome<Self> {
        let mut running = Self {
            address,
            program,
            jail,
            folder,
        };
        running.listens(greets)?;
        Ok(running)
    }

    /// Kills its processes as they stand, and gives the folder back.
    pub fn kill(self) -> Folder {
        self.folder
    }

    /// Waits for the banner.
    fn listens(&mut self, greets: Greets) -> Outcome {
        let end = Instant::now() + Duration::from_mins(3);
        loop {
            if banner(self.address, greets).is_ok() {
                return Ok(());
            }
            let ended = self.program.as_mut().is_some_and(|program| !program.runs());
            if ended || Instant::now() > end {
                return Err(Failure::wrong(format!("nobody greets at {}", self.address)));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn banner(address: SocketAddr, greets: Greets) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    match greets {
        Greets::AtOnce => {}
        Greets::Proxied => stream.write_all(entrance::proxy_header(address.port()).as_bytes())?,
        Greets::InTls => return Ok(()),
    }
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.read_exact(&mut [0; 4])
}

/// Names of the files below a folder that fit. A file that moves on meanwhile, from a folder that was read to one that is
/// read later, is one name.
fn names(folder: &Path, fits: &dyn Fn(&str) -> bool, found: &mut HashSet<PathBuf>) -> Outcome {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names(&entry.path(), fits, found)?;
        } else if entry.file_name().to_str().is_some_and(fits) {
            found.insert(entry.file_name().into());
        }
    }
    Ok(())
}
