//! MTA-STS policies of recipients' domains: asked for, fetched, kept.
//!
//! ```text
//!   policy(domain) ─► TXT _mta-sts ─► verify::mta_sts::step ─┬─ what is kept (memory, then volume)
//!                                                            └─ fetch.rs, once per place at a time ─► store.rs
//! ```
//!
//! A policy is kept for those who vouched for its host: what a route's own authorities let in says nothing on another route
//! (`whose.rs`).
//!
//! A version is fetched again after five minutes at the earliest (RFC 8461 section 3.3): one that could not be had, one that is
//! old, and one that names none of the servers that mail is about to go to.

mod fetch;
mod store;
mod whose;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use postroad_verify::mta_sts::{self, Kept, Policy, Record, Step};

pub use self::fetch::NoPolicy;

use self::fetch::Fetcher;
use self::store::Store;
use self::whose::Whose;
use super::https::{Bounds, Https};
use super::tls::ClientTls;
use crate::dns::Dns;
use crate::queue::clock;

/// The policies. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sts(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dns: Dns,
    fetcher: Fetcher,
    store: Store,
    places: Mutex<HashMap<Whose, Arc<Place>>>,
}

/// What is known of a domain on the word of the same authorities.
#[derive(Debug, Default)]
struct Place {
    kept: Mutex<Known>,
    /// Held by the one who fetches, with the version that was tried last.
    tried: tokio::sync::Mutex<Option<(String, Instant)>>,
    /// Why that failed.
    trouble: Mutex<Option<NoPolicy>>,
}

#[derive(Clone, Debug, Default)]
enum Known {
    /// The volume was not looked at yet.
    #[default]
    Unread,
    Read(Option<Arc<Kept>>),
}

impl Place {
    fn known(&self) -> Known {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Memory of what is kept.
    fn octets(&self) -> usize {
        match self.known() {
            Known::Read(Some(kept)) => kept.policy.octets() + kept.id.len(),
            Known::Read(None) | Known::Unread => 0,
        }
    }

    fn set(&self, kept: Option<Arc<Kept>>) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Known::Read(kept);
    }

    fn trouble(&self) -> Option<NoPolicy> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn ended(&self, trouble: Option<NoPolicy>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

impl Sts {
    /// Policies that are kept within the spool's folder, and fetched from that port.
    pub fn new(dns: Dns, tls: &ClientTls, spool: &Path, port: u16) -> Self {
        Self(Arc::new(Inner {
            fetcher: Fetcher {
                https: Https::new(dns.clone(), tls),
                port,
            },
            dns,
            store: Store::within(spool),
            places: Mutex::default(),
        }))
    }

    /// The policy of a domain that holds now; `Ok(None)`: it has none. Errors: it says that it has one, which is not to be had, so that there is none as well.
    pub async fn policy(&self, domain: &str, bounds: Bounds<'_>) -> Result<Option<Policy>, NoPolicy> {
        let Some(question) = mta_sts::question(domain) else {
            return Ok(None);
        };
        let record = Record::of(&self.0.dns.answer(&question).await);
        let whose = Whose::new(domain, bounds.authorities);
        let place = self.place(&whose);
        let kept = self.kept(&whose, &place).await;
        let mut trouble = None;
        let kept = match mta_sts::step(kept.as_deref(), &record, seconds()) {
            Step::Nothing => None,
            Step::Use => kept,
            Step::UseAndFetch(id) => {
                let (sts, whose) = (self.clone(), whose.clone());
                let (allowed, named) = (bounds.allowed.to_vec(), bounds.authorities.map(str::to_owned));
                tokio::spawn(async move {
                    let bounds = Bounds {
                        allowed: &allowed,
                        authorities: named.as_deref(),
                    };
                    sts.renew(&whose, &id, &place, bounds).await;
                });
                kept
            }
            Step::Fetch(id) => {
                self.renew(&whose, &id, &place, bounds).await;
                trouble = place.trouble();
                self.kept(&whose, &self.place(&whose)).await
            }
        };
        match (kept.filter(|kept| kept.holds(seconds())), trouble) {
            (Some(kept), _) => Ok(Some(kept.policy.clone())),
            (None, Some(trouble)) => Err(trouble),
            (None, None) => Ok(None),
        }
    }

    /// The policy of a domain once more, before mail waits for what it says: whoever corrects its text may leave the id as it
    /// was, and mail is not to fail for good by a policy that is no longer theirs (RFC 8461 section 5.1). Another id was seen
    /// by [`Sts::policy`] already. `None`: there is none that holds.
    pub async fn again(&self, domain: &str, bounds: Bounds<'_>) -> Option<Policy> {
        let whose = Whose::new(domain, bounds.authorities);
        let place = self.place(&whose);
        let kept = self.kept(&whose, &place).await?;
        self.renew(&whose, &kept.id, &place, bounds).await;
        let kept = self.kept(&whose, &place).await?;
        kept.holds(seconds()).then(|| kept.policy.clone())
    }

    fn place(&self, whose: &Whose) -> Arc<Place> {
        let mut places = self.0.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(whose) {
            return place.clone();
        }
        make_room(&mut places);
        places.entry(whose.clone()).or_default().clone()
    }

    async fn kept(&self, whose: &Whose, place: &Place) -> Option<Arc<Kept>> {
        if let Known::Read(known) = place.known() {
            return known;
        }
        let (store, of) = (self.0.store.clone(), whose.clone());
        let found = match tokio::task::spawn_blocking(move || store.load(&of)).await {
            Ok(Ok(found)) => found.map(Arc::new),
            Ok(Err(error)) => {
                tracing::warn!(event = "sts_unreadable", domain = crate::log::clean(&whose.domain), %error, "an MTA-STS policy on the volume cannot be read; it is fetched anew");
                None
            }
            Err(_) => None,
        };
        place.set(found.clone());
        found
    }

    /// Fetches a version, unless that was tried a moment ago.
    async fn renew(&self, whose: &Whose, id: &str, place: &Place, bounds: Bounds<'_>) {
        let domain = whose.domain.as_str();
        let mut tried = place.tried.lock().await;
        let again = |(last, at): &(String, Instant)| last == id && at.elapsed() < PAUSE;
        if tried.as_ref().is_some_and(again) {
            return;
        }
        // Noted before: a fetch that is given up was tried too.
        *tried = Some((id.to_owned(), Instant::now()));
        match self.0.fetcher.fetch(domain, bounds).await {
            Ok(policy) => {
                tracing::info!(event = "sts_fetched", domain = crate::log::clean(domain), id, mode = %policy.mode, max_age = policy.max_age, "an MTA-STS policy was fetched");
                let kept = Kept {
                    id: id.to_owned(),
                    policy,
                    fetched: seconds(),
                };
                place.set(Some(Arc::new(kept.clone())));
                place.ended(None);
                self.save(whose, kept).await;
            }
            Err(trouble) => {
                tracing::warn!(
                    event = "sts_failed",
                    domain = crate::log::clean(domain),
                    id,
                    reason = crate::log::clean(&trouble.reason),
                    "an MTA-STS policy cannot be fetched; one that is kept goes on"
                );
                place.ended(Some(trouble));
            }
        }
    }

    async fn save(&self, whose: &Whose, kept: Kept) {
        let (store, of) = (self.0.store.clone(), whose.clone());
        let saved = tokio::task::spawn_blocking(move || store.save(&of, &kept)).await;
        if let Ok(Err(error)) = saved {
            tracing::warn!(event = "sts_unsaved", domain = crate::log::clean(&whose.domain), %error, "an MTA-STS policy cannot be kept on the volume; a restart forgets it");
        }
    }
}

/// Before one more is held: what is on the volume is found again. Where it is octets that are too many, those go who have most.
fn make_room(places: &mut HashMap<Whose, Arc<Place>>) {
    let is_used = |place: &Arc<Place>| Arc::strong_count(place) > 1;
    if places.len() >= MOST_PLACES {
        places.retain(|_, place| is_used(place));
    } else if places.values().map(|place| place.octets()).sum::<usize>() > MOST_OCTETS {
        places.retain(|_, place| is_used(place) || place.octets() <= USUAL);
    }
}

/// Since 1970, by the wall clock: a policy holds over restarts.
fn seconds() -> u64 {
    clock::now() / 1_000
}

/// Between two fetches of the same version at one place. RFC 8461 section 3.3 names this time.
const PAUSE: Duration = Duration::from_mins(5);
/// Places of which something is held in memory; the rest is found on the volume.
const MOST_PLACES: usize = 1_024;
/// Of all policies in memory together.
const MOST_OCTETS: usize = 16 << 20;
/// A policy of this size is nobody's attack: a thousand of them are far below [`MOST_OCTETS`].
const USUAL: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn place(servers: usize) -> Arc<Place> {
        let mx = (0..servers).fold(String::new(), |mx, at| {
            format!("{mx}mx: mx{at}.{}.example\n", "x".repeat(40))
        });
        let policy = format!("version: STSv1\nmode: enforce\nmax_age: 86400\n{mx}");
        let place = Place::default();
        place.set(Some(Arc::new(Kept {
            id: "1".to_owned(),
            policy: Policy::parse(policy.as_bytes()).unwrap(),
            fetched: 0,
        })));
        Arc::new(place)
    }

    fn whose(number: usize) -> Whose {
        Whose::new(&format!("d{number}.example"), None)
    }

    /// Large policies push out large policies, and no place that is in use.
    #[test]
    fn policies_are_held_within_octets_and_not_by_their_number_alone() {
        let (small, large) = (place(2), place(1_000));
        let each = large.octets();
        assert!(small.octets() < USUAL && each > USUAL && each < 100 << 10);
        let of = |place: &Place| match place.known() {
            Known::Read(kept) => kept,
            Known::Unread => None,
        };
        let copy = |of_this: &Place| {
            let place = Place::default();
            place.set(of(of_this));
            Arc::new(place)
        };
        let mut places = HashMap::from([(whose(0), copy(&small)), (whose(1), copy(&large))]);
        let used = Arc::clone(&places[&whose(1)]);
        let mut highest = 0_usize;
        for number in 2..MOST_PLACES - 1 {
            make_room(&mut places);
            places.insert(whose(number), copy(&large));
            highest = highest.max(places.values().map(|place| place.octets()).sum::<usize>());
        }
        assert!(
            highest > MOST_OCTETS / 2 && highest <= MOST_OCTETS + 2 * each,
            "{highest}"
        );
        assert!(places.contains_key(&whose(0)) && places.contains_key(&whose(1)));
        drop(used);
    }

    #[test]
    fn places_are_bounded_in_number() {
        let mut places: HashMap<Whose, Arc<Place>> =
            (0..MOST_PLACES).map(|at| (whose(at), Arc::default())).collect();
        let used: Arc<Place> = Arc::clone(&places[&whose(7)]);
        make_room(&mut places);
        assert!(places.len() == 1 && Arc::ptr_eq(&places[&whose(7)], &used));
    }
}
