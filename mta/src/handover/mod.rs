//! Hand-over of the queue to other pods while this one is sealed, and of entries whose route belongs to other pods while it is
//! not: the messages and their order. What is durable when, and who owns an entry, is [`postroad_spool::handover`].
//!
//! ```text
//!   POST /v1/seal ─► Handover::seal ─► source: probe targets ─► withdraw ─► OFFER… RELEASE… FREED ─► exchange ─┐
//!                                        ▲    one round trip carries a batch of each step                     │ HTTPS
//!   keeper (held for a minute: asks) ────┼────────────────────────────────────────────────────────────────────┤
//!                                        │                                                                     ▼
//!                       queue ◄─ accepted ◄─ target: hold, release, forget, answer
//! ```
//!
//! Assumes: every pod of the fleet proves `serverName` by `authorities`, and its token has the role `Peer`. Peers are
//! addressed by IP and port; nothing is looked up.

mod client;
mod keeper;
mod lane;
mod leaving;
mod lost;
mod moving;
mod origins;
mod source;
mod stream;
mod target;
mod targets;
mod waiting;
pub mod wire;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postroad_config::admin::LostSpool;
use postroad_spool::{CommitError, EntryId, Spool, SpoolUuid};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;
use crate::settings::Live;

pub use client::PeerError;
pub(crate) use client::{Ourselves, Peer};
pub(crate) use leaving::host_name;
pub use leaving::seal_if_leaving;
pub use lost::LostError;
pub use moving::{Moving, Pods};
pub use target::router;

/// What the hand-over needs of the queue.
pub trait Schedule: Send + Sync + 'static {
    /// Ends open attempts on these entries, waits until their outcomes are durable, and leaves them alone from then
    /// on. Gives those that are still undelivered.
    fn withdraw(&self, entries: Vec<EntryId>) -> Pin<Box<dyn Future<Output = Vec<EntryId>> + Send + '_>>;
    /// These are to be delivered again, on their schedule.
    fn give_back(&self, entries: Vec<EntryId>);
    /// These are ours now: another pod gave them.
    fn accepted(&self, entries: Vec<EntryId>);
}

/// How long things may take, and how often they are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A target that has held an entry for this long asks the source.
    pub ask_after: Duration,
    /// How often the target looks for such entries.
    pub ask_every: Duration,
    /// Pause of the source after a round in which nothing could be done.
    pub pause: Duration,
    /// Longest silence of the other side.
    pub patience: Duration,
    /// How long `unseal` waits for entries that are on their way.
    pub turn_round: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            ask_after: Duration::from_mins(1),
            ask_every: Duration::from_secs(15),
            pause: Duration::from_secs(2),
            patience: Duration::from_secs(30),
            turn_round: Duration::from_secs(10),
        }
    }
}

/// A moment between two steps, for tests that end a pod there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Source: the offers are durable, nothing was sent.
    Offered,
    /// Source: the target's answers came, nothing of them is durable.
    Answered,
    /// Source: what was given or freed is durable, the target does not know.
    Given,
    /// Target: a request came, nothing of it is durable.
    Received,
    /// Target: all of a request is durable, nothing was answered.
    Stored,
}

/// Called at each [`Step`]; `true` ends this pod's part in the hand-over there, as a crash would.
pub type Fault = Arc<dyn Fn(Step) -> bool + Send + Sync>;

/// Parts that the hand-over is made of.
pub struct Parts {
    /// The spool that is handed over, or taken into.
    pub spool: Spool,
    /// The queue.
    pub schedule: Arc<dyn Schedule>,
    /// Authorities, name and token of peers; drained records.
    pub live: Live,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What goes to other pods while this one serves, and to which.
    pub moving: Option<(Moving, Arc<dyn Pods>)>,
    /// Usually the default.
    pub timing: Timing,
    /// `None` outside tests.
    pub fault: Option<Fault>,
}

/// The hand-over of one pod. Cheap to clone.
#[derive(Clone)]
pub struct Handover(Arc<Inner>);

struct Inner {
    spool: Spool,
    schedule: Arc<dyn Schedule>,
    live: Live,
    metrics: Arc<Metrics>,
    moving: Option<(Moving, Arc<dyn Pods>)>,
    timing: Timing,
    fault: Option<Fault>,
    dead: AtomicBool,
    targets: Mutex<Vec<String>>,
    /// Unseal was asked for: no new offers.
    turning: AtomicBool,
    wake: Notify,
    stuck: Mutex<Option<String>>,
    sealed: watch::Sender<bool>,
    /// Where our admin endpoint listens.
    address: Mutex<Option<SocketAddr>>,
    /// Where the endpoints of other spools were last seen.
    seen: Mutex<HashMap<SpoolUuid, SocketAddr>>,
    /// Lost spools, and what was done because of them.
    lost: Mutex<lost::Lost>,
}

/// Why the seal stays on.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// Entries are given and not yet freed.
    #[error("{0} entries are given to another pod and not yet confirmed; try again when it answers")]
    Given(usize),
    /// The volume.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl Handover {
    /// Starts source and keeper on `tracker`, until `stop`.
    pub fn start(parts: Parts, tracker: &TaskTracker, stop: &CancellationToken) -> Self {
        let sealed = parts.spool.seal_state().sealed;
        let handover = Self(Arc::new(Inner {
            spool: parts.spool,
            schedule: parts.schedule,
            live: parts.live,
            metrics: parts.metrics,
            moving: parts.moving,
            timing: parts.timing,
            fault: parts.fault,
            dead: AtomicBool::new(false),
            targets: Mutex::default(),
            turning: AtomicBool::new(false),
            wake: Notify::new(),
            stuck: Mutex::default(),
            sealed: watch::Sender::new(sealed),
            address: Mutex::default(),
            seen: Mutex::default(),
            lost: Mutex::default(),
        }));
        lost::declare(&handover.0);
        let (source, keeper) = (handover.0.clone(), handover.0.clone());
        tracker.spawn(
            stop.clone()
                .run_until_cancelled_owned(async move { source::run(&source).await }),
        );
        tracker.spawn(
            stop.clone()
                .run_until_cancelled_owned(async move { keeper::run(&keeper).await }),
        );
        handover
    }

    /// Where our admin endpoint listens: told to targets, so that they can ask.
    pub fn listening_on(&self, address: SocketAddr) {
        *locked(&self.0.address) = Some(address);
    }

    /// Seals the spool (again), and names the targets. Ends when the seal is durable; gives its number.
    pub async fn seal(&self, targets: Vec<String>) -> Result<u64, CommitError> {
        self.0.turning.store(false, Ordering::SeqCst);
        *locked(&self.0.targets) = targets;
        let seal = self.0.spool.seal().await?;
        self.0.sealed.send_replace(true);
        self.0.wake.notify_one();
        Ok(seal.number)
    }

    /// Takes the seal off. What is offered is taken back; what is given must be confirmed first.
    pub async fn unseal(&self) -> Result<(), UnsealError> {
        let inner = &self.0;
        inner.turning.store(true, Ordering::SeqCst);
        inner.wake.notify_one();
        let settled = async {
            while !inner.spool.standing().is_empty() {
                inner.wake.notify_one();
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let _ = tokio::time::timeout(inner.timing.turn_round, settled).await;
        let outgoing = inner.spool.standing().len();
        if outgoing > 0 {
            return Err(UnsealError::Given(outgoing));
        }
        inner.spool.unseal().await?;
        inner.sealed.send_replace(false);
        inner.say(None);
        Ok(())
    }

    /// Follows the seal: sessions end when it becomes true.
    pub fn sealed(&self) -> watch::Receiver<bool> {
        self.0.sealed.subscribe()
    }

    /// A person says that the volume of this spool is lost. Ends when what that means here is durable.
    pub async fn declare_lost(&self, spool: &str) -> Result<(), LostError> {
        lost::said(&self.0, spool).await
    }

    /// What was done since the start because spools were declared lost.
    pub fn lost(&self) -> Vec<LostSpool> {
        locked(&self.0.lost).done()
    }

    /// Why nothing moves while sealed.
    pub fn stuck(&self) -> Option<String> {
        locked(&self.0.stuck).clone()
    }
}

impl Inner {
    fn say(&self, stuck: Option<String>) {
        let mut said = locked(&self.stuck);
        if *said != stuck {
            if let Some(reason) = &stuck {
                tracing::warn!(%reason, "the hand-over does not move");
            }
            *said = stuck;
        }
    }

    fn is_turning(&self) -> bool {
        self.turning.load(Ordering::SeqCst)
    }

    /// A step of the protocol: where a test wants this pod to end here, it takes no part any more.
    fn pass(&self, step: Step) -> Result<(), Ended> {
        if self.fault.as_ref().is_some_and(|fault| fault(step)) {
            self.dead.store(true, Ordering::SeqCst);
        }
        if self.dead.load(Ordering::SeqCst) {
            Err(Ended)
        } else {
            Ok(())
        }
    }

    fn see(&self, spool: SpoolUuid, address: SocketAddr) {
        let mut seen = locked(&self.seen);
        if seen.len() < MOST_SEEN || seen.contains_key(&spool) {
            seen.insert(spool, address);
        }
    }
}

/// This pod ended its part, see [`Fault`].
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("this pod takes no part in the hand-over any more")]
struct Ended;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const LOOK_AGAIN: Duration = Duration::from_millis(20);
const MOST_SEEN: usize = 1_000;
