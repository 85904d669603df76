//! Which entry is tried when: from the commit of a message to its last outcome.
//!
//! ```text
//!   accepted ─► scheduler ─┬─► index     who waits for what (pure)
//!                 ▲        ├─► sort      reads an entry, groups its recipients by site
//!                 │        └─► worker    one job: route, attempt, settle, record, notices
//!                 └──────────── ended ◄──┘
//! ```
//!
//! The index is rebuilt from the spool at each start; the spool is the truth. A [`Queue`] is a handle to the one
//! scheduler task.

mod chain;
pub mod clock;
mod entries;
pub mod fair;
pub mod hot;
pub mod index;
pub mod job;
mod ledger;
pub mod moved;
pub mod orders;
pub mod owed;
mod pages;
mod places;
mod proven;
pub mod rate;
pub mod retry;
mod scheduler;
pub mod settle;
pub mod shown;
mod sort;
pub mod suspended;
mod waiting;
pub mod wheel;
pub mod window;
mod withdrawal;
mod worker;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use postroad_spool::{CommitError, EntryId, Spool};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::index::{Busiest, Tally};
use self::job::SiteView;
use self::suspended::SuspendError;
use crate::deliver::Turns;
use crate::deliver::lanes::Lanes;
use crate::deliver::sites::Sites;
use crate::deliver::telling::Counter;
use crate::deliver::tls::ClientTls;
use crate::dns::Dns;
use crate::handover;
use crate::logins::Logins;
use crate::metrics::Metrics;
use crate::settings::Live;

/// A handle to the queue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    commands: mpsc::UnboundedSender<Command>,
    spool: Spool,
    running: Arc<AtomicUsize>,
    stopped: CancellationToken,
    suspended: tokio::sync::Mutex<(suspended::Store, suspended::Names)>,
    live: Live,
    sites: Sites,
    lanes: Lanes,
    moved: moved::Moved,
}

/// What is queued now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Entries of the spool, in whatever state.
    pub messages: u64,
    /// Arrival of the oldest, in milliseconds since 1970.
    pub oldest: Option<u64>,
    /// Attempts that run.
    pub running: u64,
}

/// What the queue is made of; all but the first five have their usual value in [`Parts::new`].
#[derive(Clone, Debug)]
pub struct Parts {
    /// Where entries are.
    pub spool: Spool,
    /// Routes and schedules.
    pub live: Live,
    /// Whom to ask for next hops.
    pub dns: Dns,
    /// Where outcomes are counted.
    pub metrics: Arc<Metrics>,
    /// Ends the queue.
    pub shutdown: CancellationToken,
    /// Trust in next hops.
    pub tls: ClientTls,
    /// Tokens and pauses of logins, where others use them as well.
    pub logins: Option<Logins>,
    /// Who says whose turn it is, where there are other pods.
    pub turns: Option<Arc<dyn Turns>>,
    /// Port of servers that are found by MX; 25.
    pub mx_port: u16,
    /// Port that MTA-STS policies are fetched from; 443.
    pub policy_port: u16,
    /// Who counts sessions for reports about TLS, where any are sent.
    pub tls_sessions: Option<Counter>,
}

impl Parts {
    /// The usual parts: the public authorities, port 25. Errors: as [`ClientTls::public`].
    pub fn new(
        spool: Spool,
        live: Live,
        dns: Dns,
        metrics: Arc<Metrics>,
        shutdown: CancellationToken,
    ) -> Result<Self, rustls::Error> {
        Ok(Self {
            spool,
            live,
            dns,
            metrics,
            shutdown,
            tls: ClientTls::public()?,
            logins: None,
            turns: None,
            mx_port: 25,
            policy_port: 443,
            tls_sessions: None,
        })
    }
}

enum Command {
    Accepted(Vec<EntryId>),
    Withdraw(Vec<EntryId>, oneshot::Sender<Vec<EntryId>>),
    Sites(Option<String>, usize, oneshot::Sender<Vec<SiteView>>),
    Views(Vec<String>, oneshot::Sender<Vec<SiteView>>),
    Standing(usize, oneshot::Sender<(Tally, Busiest)>),
    Order(orders::Waiting),
    /// What was recorded for it is durable, or is not.
    Concluded(orders::Waiting, Result<(), CommitError>),
    Suspend(suspended::Names),
}

impl handover::Schedule for Queue {
    fn withdraw(&self, entries: Vec<EntryId>) -> Pin<Box<dyn Future<Output = Vec<EntryId>> + Send + '_>> {
        Box::pin(Self::withdraw(self, entries))
    }

    fn give_back(&self, entries: Vec<EntryId>) {
        Self::give_back(self, entries);
    }

    fn accepted(&self, entries: Vec<EntryId>) {
        self.send(Command::Accepted(entries));
    }
}

impl Queue {
    /// Starts the queue with what the spool holds. Runs until `shutdown` is cancelled; see [`Queue::stopped`].
    ///
    /// Errors: none in practice, see [`ClientTls::public`].
    pub fn start(
        spool: Spool,
        live: Live,
        dns: Dns,
        metrics: Arc<Metrics>,
        shutdown: CancellationToken,
    ) -> Result<Self, rustls::Error> {
        Ok(Self::start_with(Parts::new(spool, live, dns, metrics, shutdown)?))
    }

    /// Starts the queue out of these parts.
    pub fn start_with(parts: Parts) -> Self {
        let (commands, inbox) = mpsc::unbounded_channel();
        let store = suspended::Store::within(parts.spool.directory());
        let suspended = store.load().unwrap_or_else(|error| {
            tracing::error!(%error, "the list of suspended sites cannot be read: no site is suspended");
            suspended::Names::new()
        });
        parts.metrics.lanes.keep_within(parts.spool.directory());
        let moved = moved::Moved::within(parts.spool.directory(), |entry| {
            parts.spool.summary(entry).is_some()
        });
        let queue = Self(Arc::new(Shared {
            commands,
            spool: parts.spool.clone(),
            running: Arc::default(),
            stopped: CancellationToken::new(),
            suspended: (store, suspended.clone()).into(),
            live: parts.live.clone(),
            sites: Sites::default(),
            lanes: parts.metrics.lanes.clone(),
            moved,
        }));
        let scheduler = scheduler::Scheduler::new(parts, &queue, inbox, suspended);
        let stopped = queue.0.stopped.clone();
        tokio::spawn(async move {
            scheduler.run().await;
            stopped.cancel();
        });
        queue
    }

    /// A message became durable here: after a commit, and after a hand-over released an entry to this spool.
    pub fn accepted(&self, entry: EntryId) {
        self.send(Command::Accepted(vec![entry]));
    }

    /// Takes entries out for a hand-over: ends their attempts, waits until the outcomes are durable, and touches them no
    /// more. Returns those that still have undelivered recipients.
    pub async fn withdraw(&self, entries: Vec<EntryId>) -> Vec<EntryId> {
        let (answer, done) = oneshot::channel();
        self.send(Command::Withdraw(entries, answer));
        // A queue that has stopped touches nothing, and hands nothing over.
        done.await.unwrap_or_default()
    }

    /// Takes entries back that were withdrawn and not handed over.
    pub fn give_back(&self, entries: Vec<EntryId>) {
        self.send(Command::Accepted(entries));
    }

    /// The sites that are in use, closed, waited for or suspended, in order of their names: those behind `after`, or all,
    /// `most` of them at most.
    pub async fn sites(&self, after: Option<String>, most: usize) -> Vec<SiteView> {
        let (answer, sites) = oneshot::channel();
        self.send(Command::Sites(after, most, answer));
        sites.await.unwrap_or_default()
    }

    /// These sites as they are now; those that nothing waits for are left out.
    pub async fn views(&self, names: Vec<String>) -> Vec<SiteView> {
        let (answer, sites) = oneshot::channel();
        self.send(Command::Views(names, answer));
        sites.await.unwrap_or_default()
    }

    /// How much waits for what, and the sites with the most, so many of them. `None`: the queue has stopped.
    pub async fn standing(&self, most: usize) -> Option<(Tally, Busiest)> {
        let (answer, standing) = oneshot::channel();
        self.send(Command::Standing(most, answer));
        standing.await.ok()
    }

    /// Suspends a site, or resumes it. Returns all that are suspended then, once that is durable. A caller that goes away
    /// does not cut it off between the disk and the scheduler.
    ///
    /// Errors: the list is full, or cannot be written; nothing has changed then.
    pub async fn suspend(&self, site: &str, suspended: bool) -> Result<suspended::Names, SuspendError> {
        let (queue, site) = (self.clone(), site.to_owned());
        let set = tokio::spawn(async move { queue.set_suspended(site, suspended).await });
        set.await.map_err(std::io::Error::from)?
    }

    async fn set_suspended(&self, site: String, suspended: bool) -> Result<suspended::Names, SuspendError> {
        let mut known = self.0.suspended.lock().await;
        let (store, mut names) = known.clone();
        if suspended::set(&mut names, site, suspended)? {
            let kept = names.clone();
            let save = tokio::task::spawn_blocking(move || store.save(&kept));
            save.await.map_err(std::io::Error::from)??;
            known.1.clone_from(&names);
            self.send(Command::Suspend(names.clone()));
        }
        Ok(names)
    }

    /// Routes that rest.
    pub fn lanes(&self) -> &Lanes {
        &self.0.lanes
    }

    /// What is queued now.
    pub fn totals(&self) -> Totals {
        let (messages, oldest) = self.0.spool.census();
        Totals {
            messages: messages as u64,
            oldest,
            running: self.0.running.load(Ordering::Relaxed) as u64,
        }
    }

    /// Ready when the queue has ended: no attempt runs, outcomes are durable.
    pub async fn stopped(&self) {
        self.0.stopped.cancelled().await;
    }

    fn send(&self, command: Command) {
        // After the end the spool is the truth: the next start reads it.
        let _ = self.0.commands.send(command);
    }
}
