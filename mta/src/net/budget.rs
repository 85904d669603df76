//! How much memory sessions may hold at once for what is under way: bodies that are collected, pieces that are read, TLS
//! records, questions to mail stores.
//!
//! ```text
//!   a message begins ─► Budget::begin ─┬─► Room ─► Room::collect ─┬─► true: more of the body stays in memory
//!                                      └─► none: 452              └─► false: the body is a file from now on
//! ```
//!
//! Nobody waits for room, so nobody can hold some and wait for more. Writers of body files do wait for each other, and hold
//! nothing that another of them needs. What is short first: collecting, then messages of strangers, of known peers, of users.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use postroad_config::Octets;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::pressure::Rank;
use crate::metrics::Metrics;

/// Octets for all sessions together. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    // The figures are the metrics themselves, so that what is counted is what is shown.
    used: Figure,
    limit: Figure,
    highest: Figure,
    writers: Arc<Semaphore>,
}

type Figure = Gauge<u64, AtomicU64>;

/// What one message, or one question to a mail store, may hold; it goes back when this is dropped.
#[derive(Debug)]
pub struct Room {
    budget: Budget,
    base: u64,
    collected: u64,
    kept: u64,
    aside: u64,
    sealed: u64,
    /// Percent of all up to which something may be kept.
    percent: u64,
}

impl Budget {
    /// Shown by these metrics. Tell [`Budget::follow`] how much there is.
    pub fn new(metrics: &Metrics) -> Self {
        let budget = Self(Arc::new(Inner {
            used: metrics.buffers.clone(),
            limit: metrics.buffer_limit.clone(),
            highest: metrics.buffers_highest.clone(),
            writers: Arc::new(Semaphore::new(WRITERS)),
        }));
        budget.follow(None, None);
        budget
    }

    /// Takes over `limits.bufferMemory`; without it, a fifth of the memory that there is. Room that was given stays given.
    pub fn follow(&self, wanted: Option<Octets>, memory: Option<u64>) {
        let usual = (memory.unwrap_or(0) / 5).max(LEAST);
        self.0.limit.set(wanted.map_or(usual, |wanted| wanted.0));
    }

    /// Room for one message of a client of that rank: a read, a piece, and a TLS record each way.
    pub fn begin(&self, rank: Rank, tls: bool) -> Option<Room> {
        self.room(base(tls), rank.buffers())
    }

    /// Room for the recipients of a transaction, which need none of the rest yet.
    pub fn recipients(&self, rank: Rank) -> Option<Room> {
        self.room(0, rank.buffers())
    }

    /// Room for one question to a mail store.
    pub fn ask(&self) -> Option<Room> {
        self.room(base(true), Rank::Known.buffers())
    }

    /// Whether such a message could not begin now.
    pub fn is_short(&self, rank: Rank, tls: bool) -> bool {
        self.0.used.get() + base(tls) > self.part(rank.buffers())
    }

    fn room(&self, base: u64, percent: u64) -> Option<Room> {
        self.take(base, percent).then(|| Room {
            budget: self.clone(),
            base,
            collected: 0,
            kept: 0,
            aside: 0,
            sealed: 0,
            percent,
        })
    }

    /// Counts these octets, unless more than this part of all would be in use then.
    fn take(&self, octets: u64, percent: u64) -> bool {
        let most = self.part(percent);
        let sum = |used: u64| used.checked_add(octets).filter(|sum| *sum <= most);
        let taken = self
            .0
            .used
            .inner()
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, sum);
        if let Ok(before) = taken {
            self.0
                .highest
                .inner()
                .fetch_max(before + octets, Ordering::AcqRel);
        }
        taken.is_ok()
    }

    fn give_back(&self, octets: u64) {
        self.0.used.dec_by(octets);
    }

    fn part(&self, percent: u64) -> u64 {
        self.0.limit.get() / 100 * percent
    }
}

impl Room {
    /// Room to collect so many octets in all. `false`: there is none, and what was there stays.
    pub fn collect(&mut self, octets: usize) -> bool {
        let more = (octets as u64).saturating_sub(self.collected);
        let there = more == 0 || self.budget.take(more, COLLECT);
        if there {
            self.collected += more;
        }
        there
    }

    /// Room to keep so many octets in all beside what is collected, such as a header. `false`: there is none, and the message
    /// cannot go on.
    pub fn keep(&mut self, octets: usize) -> bool {
        let kept = self.resize(self.kept, octets);
        self.kept = kept.unwrap_or(self.kept);
        kept.is_some()
    }

    /// The same beside what is kept, for filters.
    pub fn set_aside(&mut self, octets: usize) -> bool {
        let aside = self.resize(self.aside, octets);
        self.aside = aside.unwrap_or(self.aside);
        aside.is_some()
    }

    /// The same for a header that is sealed, beside the one that is judged.
    pub fn keep_to_seal(&mut self, octets: usize) -> bool {
        let sealed = self.resize(self.sealed, octets);
        self.sealed = sealed.unwrap_or(self.sealed);
        sealed.is_some()
    }

    fn resize(&self, has: u64, wanted: usize) -> Option<u64> {
        let wanted = wanted as u64;
        let there = wanted <= has || self.budget.take(wanted - has, self.percent);
        there.then(|| {
            self.budget.give_back(has.saturating_sub(wanted));
            wanted
        })
    }

    /// Nothing is collected any more.
    pub fn release(&mut self) {
        self.budget.give_back(std::mem::take(&mut self.collected));
    }

    /// A turn to write to a body file; a bounded number writes at once. `None`: never.
    pub async fn writer(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.budget.0.writers).acquire_owned().await.ok()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.budget
            .give_back(self.base + self.collected + self.kept + self.aside + self.sealed);
    }
}

fn base(tls: bool) -> u64 {
    if tls { PIECES + RECORDS } else { PIECES }
}

/// Percent up to which bodies are collected; the rest is for messages that begin.
const COLLECT: u64 = 50;
/// A read that is not used up yet, and the piece that is worked on.
const PIECES: u64 = 32 << 10;
/// A TLS record each way.
const RECORDS: u64 = 32 << 10;
/// However small the machine is.
const LEAST: u64 = 16 << 20;
/// Body files that are written at once.
const WRITERS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn budget(limit: u64) -> (Budget, Metrics) {
        let metrics = Metrics::new();
        let budget = Budget::new(&metrics);
        budget.follow(Some(Octets(limit)), None);
        (budget, metrics)
    }

    #[test]
    fn collecting_stops_first_then_strangers_then_known_peers_then_users() {
        let (budget, metrics) = budget(100 * MIB);
        let mut one = budget.begin(Rank::Stranger, false).unwrap();
        assert!(one.collect(usize::try_from(40 * MIB).unwrap()));
        let mut two = budget.begin(Rank::User, true).unwrap();
        assert!(!two.collect(usize::try_from(11 * MIB).unwrap()), "above the half");
        assert!(two.collect(usize::try_from(9 * MIB).unwrap()));
        let mut rooms = Vec::new();
        for (rank, percent) in [(Rank::Stranger, 80), (Rank::Known, 90), (Rank::User, 100)] {
            while let Some(room) = budget.begin(rank, false) {
                assert!(!budget.is_short(Rank::User, true) || rank == Rank::User);
                rooms.push(room);
            }
            assert!(budget.is_short(rank, false));
            let used = metrics.buffers.get();
            assert!(
                used <= percent * MIB && used > (percent - 1) * MIB,
                "{rank:?} {used}"
            );
        }
        assert!(budget.ask().is_none());
        assert_eq!(metrics.buffers_highest.get(), metrics.buffers.get());
        drop((one, two, rooms));
        assert_eq!(metrics.buffers.get(), 0);
        assert!(!budget.is_short(Rank::Stranger, true) && budget.ask().is_some());
    }

    #[test]
    fn what_is_released_is_there_for_others_and_no_octet_is_given_back_twice() {
        let (budget, metrics) = budget(100 * MIB);
        let half = usize::try_from(49 * MIB).unwrap();
        let mut one = budget.begin(Rank::Stranger, false).unwrap();
        let mut two = budget.begin(Rank::Stranger, false).unwrap();
        assert!(one.collect(half) && one.collect(half) && !two.collect(half));
        one.release();
        one.release();
        assert!(two.collect(half));
        assert_eq!(metrics.buffers.get(), 49 * MIB + 2 * PIECES);
        drop((one, two));
        assert_eq!(metrics.buffers.get(), 0);
    }

    #[test]
    fn what_is_kept_goes_up_and_down_beside_what_is_collected() {
        let (budget, metrics) = budget(100 * MIB);
        let mib = usize::try_from(MIB).unwrap();
        let mut one = budget.begin(Rank::Stranger, false).unwrap();
        assert!(one.collect(50 * mib - 65_536) && one.keep(29 * mib) && !one.keep(31 * mib));
        one.release();
        assert_eq!(metrics.buffers.get(), 29 * MIB + PIECES);
        assert!(one.keep(mib) && one.keep(mib));
        assert_eq!(metrics.buffers.get(), MIB + PIECES);
        assert!(one.keep(0) && one.keep(2 * mib));
        assert!(one.set_aside(3 * mib) && one.keep(mib) && !one.set_aside(80 * mib));
        assert_eq!(metrics.buffers.get(), 4 * MIB + PIECES);
        drop(one);
        assert_eq!(metrics.buffers.get(), 0);
    }

    #[test]
    fn a_smaller_limit_holds_for_what_comes() {
        let (budget, metrics) = budget(100 * MIB);
        let mut room = budget.begin(Rank::User, false).unwrap();
        assert!(room.collect(usize::try_from(40 * MIB).unwrap()));
        budget.follow(Some(Octets(20 * MIB)), Some(1_000 * MIB));
        assert_eq!(metrics.buffer_limit.get(), 20 * MIB);
        assert!(budget.begin(Rank::User, false).is_none());
        room.release();
        assert!(budget.begin(Rank::User, false).is_some());
        for (memory, limit) in [
            (Some(500 * MIB), 100 * MIB),
            (Some(10 * MIB), LEAST),
            (None, LEAST),
        ] {
            budget.follow(None, memory);
            assert_eq!(metrics.buffer_limit.get(), limit, "a fifth, and never too little");
        }
    }

    /// Many threads at once: the count never goes over, and comes back to nothing.
    #[test]
    fn the_count_holds_under_contention() {
        let (budget, metrics) = budget(10 * MIB);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for turn in 0..2_000_usize {
                        if let Some(mut room) = budget.begin(Rank::User, turn % 2 == 0) {
                            let _ = room.collect(turn * 1_000);
                            assert!(metrics.buffers.get() <= 10 * MIB);
                        }
                    }
                });
            }
        });
        assert!(metrics.buffers_highest.get() <= 10 * MIB && metrics.buffers_highest.get() > 0);
        assert_eq!(metrics.buffers.get(), 0);
    }
}
