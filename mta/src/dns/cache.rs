//! What the DNS has said lately, and what is being asked: the same question is under way once, whoever waits for it.
//!
//! ```text
//!   get ─┬─ known, in its time ─► answer
//!        └─ not known ─► under way? wait for it : ask ─► keep, for its time to live; the oldest go where octets run short
//! ```
//!
//! Bounded by octets, as one answer may hold 64 KiB and strangers choose what is asked. No answer at all is not kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, FutureExt, Shared, WeakShared};
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::DnsError;

/// A question.
pub(super) type Key = (Name, RecordType);

/// What one question came to.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// The records, or why there are none.
    pub found: Result<Arc<[RData]>, DnsError>,
    /// Until when it may be said again; absent: not at all.
    pub until: Option<Instant>,
}

/// Answers and questions. See the module.
pub(super) struct Cache {
    state: Mutex<State>,
    /// Octets.
    most: usize,
}

type Flight = Shared<BoxFuture<'static, Said>>;

#[derive(Default)]
struct State {
    known: HashMap<Key, Kept>,
    /// By age.
    order: BTreeMap<u64, Key>,
    next: u64,
    octets: usize,
    under_way: HashMap<Key, WeakShared<BoxFuture<'static, Said>>>,
}

struct Kept {
    found: Result<Arc<[RData]>, DnsError>,
    until: Instant,
    octets: usize,
    number: u64,
}

impl Cache {
    pub(super) fn new(most: usize) -> Self {
        Self {
            state: Mutex::default(),
            most,
        }
    }

    /// The answer to a question; `ask` is called where nobody asks it already.
    pub(super) async fn get(
        &self,
        key: Key,
        ask: impl FnOnce() -> BoxFuture<'static, Said>,
    ) -> Result<Arc<[RData]>, DnsError> {
        let flight = match self.known_or_flight(&key, ask) {
            Ok(found) => return found,
            Err(flight) => flight,
        };
        let said = flight.await;
        self.keep(key, &said, Instant::now());
        said.found
    }

    fn known_or_flight(
        &self,
        key: &Key,
        ask: impl FnOnce() -> BoxFuture<'static, Said>,
    ) -> Result<Result<Arc<[RData]>, DnsError>, Flight> {
        let mut state = self.lock();
        if let Some(kept) = state.known.get(key).filter(|kept| kept.until > Instant::now()) {
            return Ok(kept.found.clone());
        }
        if let Some(flight) = state.under_way.get(key).and_then(WeakShared::upgrade) {
            return Err(flight);
        }
        let flight = ask().shared();
        // Questions that everybody has given up are left behind.
        if state.under_way.len() >= MOST_LEFT {
            state.under_way.retain(|_, flight| flight.upgrade().is_some());
        }
        if let Some(weak) = flight.downgrade() {
            state.under_way.insert(key.clone(), weak);
        }
        Err(flight)
    }

    fn keep(&self, key: Key, said: &Said, now: Instant) {
        let mut state = self.lock();
        state.under_way.remove(&key);
        let Some(until) = said.until.map(|until| until.min(now + LONGEST)) else {
            return;
        };
        let octets = weight(said);
        // Each of those who waited comes here.
        let known = state.known.get(&key).is_some_and(|kept| kept.until >= until);
        if known || until <= now || octets > self.most / 8 {
            return;
        }
        state.remove(&key);
        while state.octets + octets > self.most {
            let Some((_, oldest)) = state.order.pop_first() else {
                break;
            };
            state.remove(&oldest);
        }
        let number = state.next;
        state.next += 1;
        state.octets += octets;
        state.order.insert(number, key.clone());
        let found = said.found.clone();
        let kept = Kept {
            found,
            until,
            octets,
            number,
        };
        state.known.insert(key, kept);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remove(&mut self, key: &Key) {
        if let Some(kept) = self.known.remove(key) {
            self.octets -= kept.octets;
            self.order.remove(&kept.number);
        }
    }
}

/// About the octets of memory that it takes.
fn weight(said: &Said) -> usize {
    let records = said.found.as_deref().unwrap_or_default();
    let record = |data: &RData| match data {
        RData::TXT(txt) => txt.txt_data.iter().map(|piece| piece.len() + 32).sum(),
        _ => 128,
    };
    ENTRY + records.iter().map(|data| RECORD + record(data)).sum::<usize>()
}

/// Longest that an answer is kept.
const LONGEST: Duration = Duration::from_hours(24);
/// Questions under way before those that nobody waits for are cleared away.
const MOST_LEFT: usize = 4_096;
/// Octets of an entry without its records.
const ENTRY: usize = 384;
/// Octets of a record without what it holds.
const RECORD: usize = 128;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hickory_resolver::proto::rr::rdata::TXT;
    use tokio::sync::Semaphore;

    use super::*;

    fn key(number: usize) -> Key {
        (
            Name::from_ascii(format!("n{number}.test.")).unwrap(),
            RecordType::TXT,
        )
    }

    fn said(octets: usize, until: Option<Duration>) -> Said {
        let text = RData::TXT(TXT::from_bytes(vec![
            vec![b'x'; octets.min(255)].as_slice();
            octets / 255 + 1
        ]));
        Said {
            found: Ok(Arc::from([text])),
            until: until.map(|time| Instant::now() + time),
        }
    }

    async fn get(cache: &Cache, number: usize, asked: &AtomicUsize, said: Said) {
        let ask = || {
            asked.fetch_add(1, Ordering::Relaxed);
            async move { said }.boxed()
        };
        let _ = cache.get(key(number), ask).await;
    }

    const HOUR: Option<Duration> = Some(Duration::from_hours(1));

    #[tokio::test]
    async fn what_is_known_is_not_asked_again_within_its_time() {
        let (cache, asked) = (Cache::new(1 << 20), AtomicUsize::new(0));
        for _ in 0..3 {
            get(&cache, 1, &asked, said(10, HOUR)).await;
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let upper = (Name::from_ascii("N1.TEST.").unwrap(), RecordType::TXT);
        cache
            .get(upper, || unreachable!("it is the same name"))
            .await
            .unwrap();
        // Neither a time to live of zero nor a missing answer is kept.
        for until in [Some(Duration::ZERO), None] {
            asked.store(0, Ordering::Relaxed);
            for _ in 0..3 {
                get(&cache, 2, &asked, said(10, until)).await;
            }
            assert_eq!(asked.load(Ordering::Relaxed), 3, "{until:?}");
        }
        // That there is nothing is an answer too.
        let none = Said {
            found: Err(DnsError::NxDomain),
            until: Some(Instant::now() + Duration::from_hours(1)),
        };
        get(&cache, 3, &asked, none).await;
        let found = cache.get(key(3), || unreachable!("it is known")).await;
        assert_eq!(found.err(), Some(DnsError::NxDomain));
    }

    #[tokio::test]
    async fn one_question_is_under_way_once_and_outlives_the_first_who_asked() {
        let (cache, gate) = (Arc::new(Cache::new(1 << 20)), Arc::new(Semaphore::new(0)));
        let asked = Arc::new(AtomicUsize::new(0));
        let mut waiting = Vec::new();
        for _ in 0..10 {
            let (cache, gate, asked) = (Arc::clone(&cache), Arc::clone(&gate), Arc::clone(&asked));
            waiting.push(tokio::spawn(async move {
                let ask = || {
                    asked.fetch_add(1, Ordering::Relaxed);
                    async move {
                        let _open = gate.acquire().await;
                        said(10, None)
                    }
                    .boxed()
                };
                cache.get(key(1), ask).await.map(|found| found.len())
            }));
        }
        while asked.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let first = waiting.remove(0);
        first.abort();
        let _ = first.await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(10);
        for one in waiting {
            assert_eq!(one.await.unwrap(), Ok(1));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert!(cache.lock().under_way.is_empty());
    }

    #[tokio::test]
    async fn octets_are_bounded_and_the_oldest_go_first() {
        let (cache, asked) = (Cache::new(256 << 10), AtomicUsize::new(0));
        for number in 0..200 {
            get(&cache, number, &asked, said(10_000, HOUR)).await;
            let state = cache.lock();
            assert!(state.octets <= 256 << 10, "{}", state.octets);
            assert_eq!(state.known.len(), state.order.len());
        }
        assert!(cache.lock().known.len() > 10);
        asked.store(0, Ordering::Relaxed);
        get(&cache, 199, &asked, said(10, HOUR)).await;
        assert_eq!(asked.load(Ordering::Relaxed), 0, "the newest is there");
        get(&cache, 0, &asked, said(10, HOUR)).await;
        assert_eq!(asked.load(Ordering::Relaxed), 1, "the oldest is not");
        // One that would take an eighth of all is not kept.
        get(&cache, 500, &asked, said(60_000, HOUR)).await;
        assert!(!cache.lock().known.contains_key(&key(500)));
    }
}
