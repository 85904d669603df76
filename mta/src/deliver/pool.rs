//! Connections that are kept for a moment, so that the next message to the same server needs no new one.
//!
//! Only connections between two transactions are here. One is used for a bounded number of messages, and closed when
//! nobody asks for it in time.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use postroad_config::TlsMode;

use super::link::{Link, Target};
use super::plan::Protocol;

/// Warm connections. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool(Arc<Mutex<HashMap<Key, Vec<Warm>>>>);

/// Connections are shared only where every promise about them is the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    host: String,
    address: SocketAddr,
    protocol: Protocol,
    tls: u8,
    hostname: String,
}

#[derive(Debug)]
struct Warm {
    link: Link,
    since: Instant,
}

impl Pool {
    /// A warm connection to a server, the one used last.
    pub(super) fn take(&self, target: &Target<'_>) -> Option<Link> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let warm = held.get_mut(&Key::of(target))?;
        warm.retain(|warm| warm.since.elapsed() < IDLE);
        warm.pop().map(|warm| warm.link)
    }

    /// Whether there is a warm connection to a server.
    pub(super) fn is_warm(&self, target: &Target<'_>) -> bool {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(&Key::of(target))
            .is_some_and(|warm| warm.iter().any(|warm| warm.since.elapsed() < IDLE))
    }

    /// Keeps a connection after a transaction.
    pub(super) fn give(&self, target: &Target<'_>, link: Link) {
        if link.is_worn() {
            tokio::spawn(link.quit());
            return;
        }
        let key = Key::of(target);
        let surplus = {
            let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let warm = held.entry(key.clone()).or_default();
            warm.push(Warm {
                link,
                since: Instant::now(),
            });
            (warm.len() > MOST_PER_SERVER).then(|| warm.remove(0))
        };
        if let Some(surplus) = surplus {
            tokio::spawn(surplus.link.quit());
        }
        let pool = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(IDLE).await;
            pool.cool(&key);
        });
    }

    /// Closes what nobody asked for in time.
    fn cool(&self, key: &Key) {
        let mut cold = vec![];
        {
            let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(warm) = held.get_mut(key) {
                let (old, young) = std::mem::take(warm)
                    .into_iter()
                    .partition(|warm| warm.since.elapsed() >= IDLE);
                *warm = young;
                cold = old;
                if warm.is_empty() {
                    held.remove(key);
                }
            }
        }
        for warm in cold {
            tokio::spawn(Warm::quit(warm));
        }
    }
}

impl Warm {
    async fn quit(self) {
        self.link.quit().await;
    }
}

impl Key {
    fn of(target: &Target<'_>) -> Self {
        Self {
            host: target.server.host.clone(),
            address: target.address,
            protocol: target.server.protocol,
            tls: match target.tls {
                TlsMode::Disabled => 0,
                TlsMode::Verified => 2,
                TlsMode::Encrypted => 3,
                _ => 1,
            },
            hostname: target.hostname.to_owned(),
        }
    }
}

/// A connection that was idle for so long is closed.
const IDLE: Duration = Duration::from_secs(5);
/// Warm connections per server.
const MOST_PER_SERVER: usize = 5;
