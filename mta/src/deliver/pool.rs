//! Connections that are kept for a moment, so that the next message to the same server needs no new one.
//!
//! Only connections between two transactions are here. One is used for a bounded number of messages, and closed when
//! nobody asks for it in time.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::link::{Link, Target};
use super::plan::Protocol;
use super::protection::Protection;
use crate::logins::Id;

/// Warm connections. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool(Arc<Mutex<HashMap<Key, Vec<Warm>>>>);

/// Connections are shared only where every promise about them is the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    host: String,
    address: SocketAddr,
    protocol: Protocol,
    tls: Protection,
    hostname: String,
    login: Option<Id>,
    /// A route of a policy shares with nobody: the peer may know it by more than its address.
    route: Option<String>,
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
        let (surplus, is_first) = {
            let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let is_first = held.is_empty();
            let warm = held.entry(Key::of(target)).or_default();
            warm.push(Warm {
                link,
                since: Instant::now(),
            });
            ((warm.len() > MOST_PER_SERVER).then(|| warm.remove(0)), is_first)
        };
        if let Some(surplus) = surplus {
            tokio::spawn(surplus.link.quit());
        }
        if is_first {
            tokio::spawn(self.clone().sweep());
        }
    }

    /// Closes what nobody asked for in time, until nothing is left.
    async fn sweep(self) {
        loop {
            tokio::time::sleep(SWEEP).await;
            let mut cold = vec![];
            let is_empty = {
                let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                held.retain(|_, warm| {
                    cold.extend(warm.extract_if(.., |warm| warm.since.elapsed() >= IDLE));
                    !warm.is_empty()
                });
                held.is_empty()
            };
            for warm in cold {
                tokio::spawn(Warm::quit(warm));
            }
            if is_empty {
                return;
            }
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
            tls: target.tls.clone(),
            hostname: target.hostname.to_owned(),
            login: target.login.map(|key| key.id),
            route: target.lane.map(|lane| lane.name.to_owned()),
        }
    }
}

/// A connection that was idle for so long is closed.
const IDLE: Duration = Duration::from_secs(5);
/// How often idle ones are looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// Warm connections per server: as many as may be in use at once without a limit of the route, and some more.
const MOST_PER_SERVER: usize = 32;
