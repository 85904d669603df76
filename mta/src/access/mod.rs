//! Who is let in (`access` of the settings): allow and deny lists, lists in the DNS, names of clients, greylisting, rates.
//!
//! ```text
//!   RCPT of a stranger ─► rules ─► name and lists (DNS) ─┬─► callout, SPF ─► greylist ─► rates ─► 250
//!   RCPT of a user ──────────────────────────────────────┴──────────────────────────────► rates ─► 250
//!                                                                               │ owner of the key: this pod or another
//!   message accepted ─► greylist: passed ──────────────────────────────────────┘
//! ```
//!
//! The decisions are pure and stand in files of their own; this one asks the DNS and keeps what is known.

pub mod blocklist;
mod departure;
pub mod greylist;
mod journal;
mod moving;
mod owners;
pub mod rates;
pub mod reverse;
pub(crate) mod room;
mod routes;
pub mod rules;
mod serve;
mod shared;
mod turns;
pub mod verdict;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use postroad_config::{Access, DnsBlocklist, FleetPod, SendingRates};
use postroad_spool::SpoolUuid;
use postroad_verify::dns::{Answer, Question as Asked};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::blocklist::Word;
use self::greylist::{Fact, Greylist, Key, Tuple};
use self::rates::{Counted, Counts, Excess};
use self::shared::{MOST_FACTS, Question, Said};
use self::turns::Turns;
use self::verdict::Facts;
use crate::dns::Dns;
use crate::handover::{Moving, host_name};
use crate::metrics::{Answered, Metrics};
use crate::settings::Live;

pub(crate) use departure::{Departure, LEAVE, SOON};
pub(crate) use owners::owner;
pub use serve::router;
pub(crate) use shared::Others;
pub use shared::{Patience, Whose};

/// Keeps what `access` has to remember, and asks what it has to know. Cheap to clone.
#[derive(Clone)]
pub struct Guard(Arc<Inner>);

struct Inner {
    live: Live,
    dns: Dns,
    metrics: Arc<Metrics>,
    departure: Departure,
    others: Others,
    greylist: Arc<Mutex<Greylist>>,
    counts: Mutex<Counts>,
    /// Turns at routes that belong to this pod.
    turns: Mutex<Turns>,
    /// Turns that this pod has, and until when.
    own_turns: Mutex<HashMap<String, u64>>,
    /// Entries of routes that belong to other pods.
    moving: Moving,
    /// Lists by zone and address family.
    sound: Mutex<HashMap<(String, bool), Sound>>,
    journal: mpsc::Sender<Fact>,
    kept: Mutex<Option<mpsc::Receiver<Fact>>>,
}

/// Whether a list is what it should be, and until when that is known.
type Sound = (Option<bool>, Instant);

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guard(…)")
    }
}

impl Guard {
    /// A guard that knows nothing yet. `dns` is asked about clients, `system` for the addresses of other pods.
    pub fn new(
        live: Live,
        (dns, system): (Dns, Dns),
        metrics: Arc<Metrics>,
        spool: SpoolUuid,
        patience: Patience,
    ) -> Self {
        let (journal, kept) = mpsc::channel(JOURNAL);
        Self(Arc::new(Inner {
            others: Others::new(live.clone(), system, spool, patience),
            live,
            dns,
            metrics,
            departure: Departure::new([host_name(), spool.to_string()]),
            greylist: Arc::default(),
            counts: Mutex::default(),
            turns: Mutex::default(),
            own_turns: Mutex::default(),
            moving: Moving::default(),
            sound: Mutex::default(),
            journal,
            kept: Mutex::new(Some(kept)),
        }))
    }

    /// Reads what an earlier run kept in this directory, and keeps what comes there, on `tracker` until `stop`. While the spool is
    /// `sealed`, this pod leaves.
    pub async fn start(
        &self,
        directory: &Path,
        sealed: watch::Receiver<bool>,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) {
        self.0.departure.follow(sealed.clone());
        let path = directory.join(journal::FILE);
        let (from, list) = (path.clone(), Arc::clone(&self.0.greylist));
        let read = tokio::task::spawn_blocking(move || journal::read(&from, &mut locked(&list))).await;
        if let Err(error) = read.map_err(std::io::Error::other).flatten() {
            tracing::warn!(path = %path.display(), %error, "what greylisting knew cannot be read: senders wait once more");
        }
        self.show_size();
        if let Some(kept) = locked(&self.0.kept).take() {
            let list = Arc::clone(&self.0.greylist);
            tracker.spawn(journal::keep(path, list, kept, stop.clone()));
        }
        tracker.spawn(stop.clone().run_until_cancelled_owned(self.clone().tidy(sealed)));
        tracker.spawn(stop.clone().run_until_cancelled_owned(self.clone().tell_routes()));
    }

    /// What the DNS says of a client. Waits [`TIME`] at most; what has no answer until then is unknown.
    pub async fn facts(&self, access: &Access, client: IpAddr) -> Facts {
        let deadline = Instant::now() + TIME;
        let lists = access.dns_blocklists.iter();
        let words = join_all(lists.map(|list| self.word(list, client, deadline)));
        let name = reverse::look(access.reverse_dns.mode, client, |question| {
            self.ask(question, deadline)
        });
        let (standing, words) = tokio::join!(name, words);
        Facts {
            standing,
            tally: blocklist::tally(&access.dns_blocklists, &words),
        }
    }

    /// How many seconds this mail has to wait; 0 = none, or its pod does not answer.
    pub async fn waits(&self, tuple: Tuple) -> u64 {
        self.of_owner(tuple.client, Question::Wait(tuple)).await.wait
    }

    /// A message with these tuples was accepted. Nobody waits for the pods that they belong to.
    pub fn passed(&self, tuples: Vec<Tuple>) {
        let settings = self.0.live.current();
        let fleet = &settings.set.file.peers.fleet;
        let is_ours = |tuple: &Tuple| owners::owner(fleet, tuple.client).is_none_or(|pod| self.is_this(pod));
        let (ours, others): (Vec<_>, Vec<_>) = tuples.into_iter().partition(is_ours);
        for tuple in ours {
            self.answer(Question::Passed(tuple));
        }
        if !others.is_empty() {
            let guard = self.clone();
            tokio::spawn(async move {
                for tuple in others {
                    guard.of_owner(tuple.client, Question::Passed(tuple)).await;
                }
            });
        }
    }

    /// Counts a message (where this is its first recipient) and a recipient of a client or user.
    pub async fn count(&self, counted: Counted, whose: Whose, is_first: bool) -> Result<(), Excess> {
        let Counted { of, site } = counted;
        let question = Question::Count {
            of,
            site: Some(site),
            whose,
            messages: u32::from(is_first),
            recipients: 1,
        };
        let said = self.of_owner(of, question).await;
        match said.of {
            Some(what) if said.wait > 0 => Err(Excess {
                what,
                wait: said.wait,
            }),
            _ => Ok(()),
        }
    }

    /// Answers a question out of what this pod knows.
    fn answer(&self, question: Question) -> Said {
        let settings = self.0.live.current();
        let access = &settings.set.file.access;
        let seconds = now() / 1_000;
        match question {
            Question::Wait(tuple) => {
                let Some(terms) = &access.greylisting else {
                    return Said::default();
                };
                let (wait, fact) = locked(&self.0.greylist).look(terms, tuple, seconds);
                self.keep(fact);
                Said { wait, of: None }
            }
            Question::Passed(tuple) => {
                let facts = locked(&self.0.greylist).passed(tuple, seconds);
                self.keep(facts);
                Said::default()
            }
            Question::Count {
                of,
                site,
                whose,
                messages,
                recipients,
            } => {
                let rates = of_whom(access, whose);
                let site = site.unwrap_or(of);
                let counted = Counted { of, site };
                match locked(&self.0.counts).take(rates, counted, (messages, recipients), now()) {
                    Ok(()) => Said::default(),
                    Err(excess) => Said {
                        wait: excess.wait,
                        of: Some(excess.what),
                    },
                }
            }
            Question::Adopt { facts } => {
                let facts: Vec<Fact> = facts.iter().filter_map(|line| journal::fact(line)).collect();
                let mut list = locked(&self.0.greylist);
                for fact in &facts {
                    list.adopt(*fact);
                }
                drop(list);
                self.keep(facts);
                Said::default()
            }
            Question::Turn { route, most, pod } => Said {
                wait: self.give_turn(&route, &pod, most),
                of: None,
            },
            Question::Routes(told) => {
                self.hear_of_routes(told);
                Said::default()
            }
        }
    }

    /// The answer of the pod that the key belongs to. Without one the mail goes on.
    async fn of_owner(&self, key: Key, question: Question) -> Said {
        let settings = self.0.live.current();
        let owner = owners::owner(&settings.set.file.peers.fleet, key);
        let Some(pod) = owner.filter(|pod| !self.is_this(pod)) else {
            self.0.metrics.access.asked(Answered::Here);
            return self.answer(question);
        };
        let said = self.0.others.ask(pod, &question).await;
        self.0.metrics.access.asked(match said {
            Some(_) => Answered::Peer,
            None => Answered::Nobody,
        });
        said.unwrap_or_default()
    }

    fn is_this(&self, pod: &FleetPod) -> bool {
        self.0.departure.is_this(pod)
    }

    fn keep(&self, facts: impl IntoIterator<Item = Fact>) {
        let mut any = false;
        for fact in facts {
            any = true;
            // A volume that does not keep up costs a wait after the next start, and no more.
            let _ = self.0.journal.try_send(fact);
        }
        if any {
            self.show_size();
        }
    }

    fn show_size(&self) {
        let known = locked(&self.0.greylist).tuples();
        self.0
            .metrics
            .access
            .tuples
            .set(i64::try_from(known).unwrap_or(i64::MAX));
    }

    /// Gives what belongs to other pods to them, whenever the fleet changes or this pod leaves, and lets go of what is over.
    async fn tidy(self, mut sealed: watch::Receiver<bool>) {
        let mut changed = self.0.live.changed();
        loop {
            let settings = self.0.live.current();
            let peers = &settings.set.file.peers;
            self.0.others.follow(&peers.fleet);
            let settled = self.hand_over(&self.0.departure.staying(peers)).await;
            if let Some(terms) = &settings.set.file.access.greylisting {
                locked(&self.0.greylist).forget(terms, now() / 1_000);
            }
            self.show_size();
            let pause = match (settled, self.0.departure.leaves(&peers.fleet)) {
                (_, true) => SOON,
                (true, false) => TIDY,
                (false, false) => AGAIN,
            };
            tokio::select! {
                changed = changed.changed() => if changed.is_err() { return },
                changed = sealed.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Whether a pod that leaves has nothing any more that another one would know.
    pub fn is_given(&self) -> bool {
        let settings = self.0.live.current();
        let is_held = !locked(&self.0.greylist).is_empty();
        self.0.departure.is_over(&settings.set.file.peers, is_held, LEAVE)
    }

    /// Whether nothing of others is left here.
    async fn hand_over(&self, fleet: &[FleetPod]) -> bool {
        let mut settled = true;
        for pod in fleet.iter().filter(|pod| !self.is_this(pod)) {
            let theirs = |client| owners::owner(fleet, client).is_some_and(|owner| owner.name == pod.name);
            let facts = locked(&self.0.greylist).facts(theirs);
            for some in facts.chunks(MOST_FACTS) {
                let question = Question::Adopt {
                    facts: some.iter().map(journal::line).collect(),
                };
                if self.0.others.ask(pod, &question).await.is_none() {
                    settled = false;
                    break;
                }
                locked(&self.0.greylist).release(some);
            }
        }
        settled
    }

    async fn ask(&self, question: Asked, deadline: Instant) -> Answer {
        let answer = timeout_at(deadline, self.0.dns.answer(&question)).await;
        answer.unwrap_or(Answer::Failure)
    }

    async fn word(&self, list: &DnsBlocklist, client: IpAddr, deadline: Instant) -> Word {
        let (answer, sound) = tokio::join!(
            self.ask(blocklist::question(list, client), deadline),
            self.is_sound(list, client, deadline),
        );
        let word = match (blocklist::word(list, &answer), sound) {
            // Nothing that is no list is believed.
            (Word::Listed(_) | Word::NotListed, Some(false)) => Word::Broken,
            (Word::Listed(_), None) => Word::Unknown,
            (word, _) => word,
        };
        self.0.metrics.access.listed(list.shown(), &word);
        word
    }

    /// Whether the list passes its test (RFC 5782 section 5), which is made now and then.
    async fn is_sound(&self, list: &DnsBlocklist, client: IpAddr, deadline: Instant) -> Option<bool> {
        let key = (list.zone.as_str().to_owned(), client.to_canonical().is_ipv4());
        let before = locked(&self.0.sound).get(&key).copied();
        if let Some((sound, until)) = before
            && Instant::now() < until
        {
            return sound;
        }
        let [listed, not_listed] = blocklist::test_questions(list, client);
        let (listed, not_listed) = tokio::join!(self.ask(listed, deadline), self.ask(not_listed, deadline));
        let sound = blocklist::is_sound(&listed, &not_listed);
        if sound == Some(false) && before.is_none_or(|(before, _)| before != sound) {
            tracing::warn!(
                list = list.shown(),
                "this DNS list is not believed: 127.0.0.2 must be on it and 127.0.0.1 must not (RFC 5782 section 5)"
            );
        }
        let until = Instant::now() + if sound.is_some() { SOUND_FOR } else { UNKNOWN_FOR };
        let mut known = locked(&self.0.sound);
        if known.len() >= MOST_LISTS {
            known.clear();
        }
        known.insert(key, (sound, until));
        sound
    }
}

fn of_whom(access: &Access, whose: Whose) -> &SendingRates {
    match whose {
        Whose::Client => &access.rates.client,
        Whose::User => &access.rates.user,
    }
}

/// Milliseconds since 1970, by the wall clock: what is kept outlives the process.
fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Longest time that a recipient waits for the DNS.
const TIME: Duration = Duration::from_secs(10);
/// Facts that wait for the volume.
const JOURNAL: usize = 4_096;
const TIDY: Duration = Duration::from_mins(10);
/// After a pod that could not be given what is its own.
const AGAIN: Duration = Duration::from_secs(5);
const SOUND_FOR: Duration = Duration::from_hours(1);
const UNKNOWN_FOR: Duration = Duration::from_mins(1);
const MOST_LISTS: usize = 128;
