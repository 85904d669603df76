//! Where things are: the tree, the cache outside of it, the build's folder, the cluster's state, free addresses.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::kubectl::{Failure, Outcome};

/// The root of the working tree.
pub fn tree() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map(PathBuf::from).unwrap_or(manifest)
}

/// What is kept between runs: `$POSTROAD_CACHE`, or `postroad` in the user's cache folder.
pub fn cache() -> PathBuf {
    let given = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    given("POSTROAD_CACHE").unwrap_or_else(|| {
        let caches = given("XDG_CACHE_HOME").or_else(|| Some(given("HOME")?.join(".cache")));
        caches
            .unwrap_or_else(|| PathBuf::from("/var/cache"))
            .join("postroad")
    })
}

/// The folder that cargo builds into.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| tree().join("target"), PathBuf::from)
}

/// The cargo that runs us, so that the same toolchain is used for everything.
pub fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// An address on loopback that nothing listens on, outside of the range that the system gives to clients: between here and the
/// start of its server nobody gets it.
pub fn free_address() -> Outcome<SocketAddr> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..PORTS {
        let step = std::process::id()
            .wrapping_mul(97)
            .wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST_PORT + step % PORTS).unwrap_or_default();
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener.local_addr()?);
        }
    }
    Err(Failure::wrong("no port is free"))
}

const FIRST_PORT: u32 = 10_000;
const PORTS: u32 = 20_000;
