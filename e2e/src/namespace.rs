//! A network namespace of this run, with its own loopback, ports and packet filter.
//!
//! What a thread starts lives where the thread does; the rest of this program stays where it is. Assumes: root, iproute2.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::kubectl::{Failure, Outcome};
use crate::shell::Shell;

/// Plays on a thread in a new namespace, which goes with the end of the play.
pub fn inside<T: Send>(play: impl FnOnce() -> Outcome<T> + Send) -> Outcome<T> {
    let namespace = Namespace::new()?;
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            namespace.enter()?;
            play()
        });
        let early = |_| Err(Failure::wrong("the thread in the namespace ended early"));
        inside.join().unwrap_or_else(early)
    })
}

struct Namespace(String);

impl Namespace {
    fn new() -> Outcome<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("postroad-{}-{number}", std::process::id());
        Shell::new("ip").args(["netns", "add", &name]).run()?;
        Ok(Self(name))
    }

    /// Moves this thread there.
    fn enter(&self) -> Outcome {
        let link = File::open(format!("/run/netns/{}", self.0))?;
        move_into_link_name_space(link.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(std::io::Error::from)?;
        Shell::new("ip").args(["link", "set", "lo", "up"]).run()?;
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Shell::new("ip").args(["netns", "delete", &self.0]).run();
    }
}
