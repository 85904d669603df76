//! Reports that we send to others about their own domains: rows are counted by day, kept over a restart, and sent once.
//!
//! ```text
//!   session, delivery ─► Reports::count(kind, domain, row) ─► store ◄─► reports.log, beside the spool
//!                                                               │ the day is over, or this pod leaves
//!                                          another pod's ◄──────┼──────► ours: at its time, Writer::write ─► letters ─► Intake::own
//!                                     POST /v1/reports          │                                                      (queue)
//!                                                               └─ older than a few days: forgotten
//! ```
//!
//! A kind of report brings three things and nothing more: rows (any value that serialises; the same text is the same row, and
//! counts up), a [`Writer`] that makes letters of a day, and its place in [`Kind`]. When, by which pod and how they leave is
//! decided here:
//!
//! * The report of a kind, a domain and a day belongs to one pod of the fleet, by rendezvous hash (`access::owner`). The others
//!   give it their rows once the day is over, or when they leave the fleet. So N pods report once.
//! * It is sent in the first four hours of the next day (UTC), at a time that differs from domain to domain (`clock::due`).
//! * A letter leaves by our own queue, from the null reverse-path, signed as its From's domain where that has keys.
//! * A report that is written twice (a crash between the queue and the record of it) has the same [`Day::id`], so that whoever
//!   gets it knows.
//!
//! Rows that come late, from a pod that could not be reached for hours, are a second report with an id of its own. A kill
//! costs the counts of the last seconds.

pub mod clock;
pub mod dmarc;
pub mod journal;
pub mod letter;
mod postponed;
pub mod reporter;
pub mod shared;
pub mod store;
pub mod tls;

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use postroad_config::FleetPod;
use postroad_spool::{CommitError, EntryId, SpoolUuid};
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::journal::Journal;
use self::postponed::Postponed;
use self::shared::{Batch, Known, Outgoing, Taken, VERB, batches, owner_of};
use self::store::{Entry, Store};
use crate::accept::Intake;
use crate::access::greylist::Key;
use crate::access::{Departure, LEAVE, Others, Patience, SOON};
use crate::dns::Dns;
use crate::handover::host_name;
use crate::metrics::Metrics;
use crate::metrics::reports::End;
use crate::settings::{Live, Settings};

pub use letter::{Letter, gzip};
pub use shared::router;
pub use store::{Kind, Subject};

/// Makes the reports of one kind.
pub trait Writer: Send + Sync + 'static {
    /// Which.
    fn kind(&self) -> Kind;
    /// Whether the settings want them sent. Where not, what was counted is dropped when its time comes.
    fn is_wanted(&self, settings: &Settings) -> bool;
    /// Makes what is to be sent about a day. May ask the DNS, and may send by other ways than mail. Called once at a time for a
    /// day, for several days at once.
    fn write<'a>(&'a self, day: &'a Day, settings: &'a Settings) -> Writing<'a>;
}

/// What a writer gives, later.
pub type Writing<'a> = Pin<Box<dyn Future<Output = Result<Written, NotNow>> + Send + 'a>>;

/// One report that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    /// Of what.
    pub of: Subject,
    /// Rows as they were counted and how often each came, in an order that does not change; at least one.
    pub rows: Vec<(String, u64)>,
    /// 32 hex digits: unique, and the same for the same rows of the same report.
    pub id: String,
}

/// What is to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// By mail.
    pub letters: Vec<Letter>,
    /// Where it went by other ways already, for the log.
    pub posted: Vec<String>,
    /// Why somebody does not get it, for the log: one sentence each.
    pub left_out: Vec<String>,
}

/// It cannot be written now; it is tried again in a while, for [`MOST_DAYS`] days. One sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotNow(pub String);

/// When things are done.
#[derive(Clone)]
pub struct Timing {
    /// Between two looks at what is due, or another pod's.
    pub look: Duration,
    /// Between two writes of the journal.
    pub keep: Duration,
    /// After a report that could not be written or queued for the first time; the pauses grow (`postponed.rs`).
    pub again: Duration,
    /// Longest that a pod which leaves is not empty because nobody takes its rows.
    pub leave: Duration,
    /// Seconds since 1970, by the machine's clock.
    pub now: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            look: Duration::from_secs(30),
            keep: Duration::from_secs(5),
            again: Duration::from_mins(15),
            leave: LEAVE,
            now: Arc::new(|| u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0)),
        }
    }
}

/// What counts rows and sends reports. Cheap to clone.
#[derive(Clone)]
pub struct Reports(Arc<Inner>);

struct Inner {
    live: Live,
    metrics: Arc<Metrics>,
    others: Others,
    timing: Timing,
    store: Mutex<Store>,
    known: Mutex<Known>,
    postponed: Mutex<Postponed>,
    departure: Departure,
}

impl Reports {
    /// Counts from now on. `system` is asked for the addresses of other pods.
    pub fn new(
        live: Live,
        system: Dns,
        metrics: Arc<Metrics>,
        spool: SpoolUuid,
        (patience, timing): (Patience, Timing),
    ) -> Self {
        Self(Arc::new(Inner {
            others: Others::new(live.clone(), system, spool, patience),
            live,
            metrics,
            timing,
            store: Mutex::default(),
            known: Mutex::default(),
            postponed: Mutex::default(),
            departure: Departure::new([host_name(), spool.to_string()]),
        }))
    }

    /// Counts a row of today's report to a domain. The caller asks the settings whether there is to be one.
    pub fn count(&self, kind: Kind, domain: &str, row: &impl Serialize) {
        let Ok(row) = serde_json::to_string(row) else {
            return;
        };
        let of = Subject {
            kind,
            domain: domain.to_ascii_lowercase(),
            day: clock::day_of(self.now()),
        };
        if !self.store().add(&of, &row, 1) {
            self.0.metrics.reports.left_out(kind, 1);
        }
    }

    /// Reads what an earlier run kept in this directory, keeps what comes there, and sends what is due, on `tracker` until
    /// `stop`. Without a writer of a kind nothing of that kind is sent. While the spool is `sealed`, this pod leaves.
    pub async fn start(
        &self,
        directory: &Path,
        writers: Vec<Arc<dyn Writer>>,
        (intake, sealed): (Intake, watch::Receiver<bool>),
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) {
        self.0.departure.follow(sealed.clone());
        let journal = Arc::new(Mutex::new(Journal::within(directory)));
        let (from, reports) = (Arc::clone(&journal), self.clone());
        let read = tokio::task::spawn_blocking(move || locked(&from).read(&reports.0.store));
        if let Err(error) = read.await.map_err(std::io::Error::other).flatten() {
            tracing::warn!(%error, "rows of reports cannot be read: days up to now are reported in part");
        }
        tracker.spawn(self.clone().run(journal, writers, (intake, sealed), stop.clone()));
    }

    /// Keeps and sends until `stop`; what was counted until then is kept last.
    async fn run(
        self,
        journal: Arc<Mutex<Journal>>,
        writers: Vec<Arc<dyn Writer>>,
        (intake, sealed): (Intake, watch::Receiver<bool>),
        stop: CancellationToken,
    ) {
        let keeping = async {
            loop {
                tokio::time::sleep(self.0.timing.keep).await;
                self.keep(&journal).await;
            }
        };
        tokio::select! {
            _ = stop.run_until_cancelled(self.look(&writers, &intake, sealed)) => {}
            () = keeping => {}
        }
        self.keep(&journal).await;
    }

    async fn keep(&self, journal: &Arc<Mutex<Journal>>) {
        let (journal, reports) = (Arc::clone(journal), self.clone());
        let _ = tokio::task::spawn_blocking(move || locked(&journal).write(&reports.0.store)).await;
    }

    /// Looks again and again at what is due, or another pod's.
    async fn look(&self, writers: &[Arc<dyn Writer>], intake: &Intake, mut sealed: watch::Receiver<bool>) {
        let mut changed = self.0.live.changed();
        let mut outgoing = Vec::new();
        loop {
            let settings = self.0.live.current();
            let peers = &settings.set.file.peers;
            self.0.others.follow(&peers.fleet);
            let sharing = self.0.departure.staying(peers);
            let leaves = self.0.departure.leaves(&peers.fleet);
            self.give(&sharing, leaves, &mut outgoing).await;
            self.forget();
            self.send(&settings, &sharing, writers, intake).await;
            let rows = self.store().rows();
            self.0
                .metrics
                .reports
                .rows
                .set(i64::try_from(rows).unwrap_or(i64::MAX));
            let pause = if leaves {
                self.0.timing.look.min(SOON)
            } else {
                self.0.timing.look
            };
            tokio::select! {
                changed = changed.changed() => if changed.is_err() { return },
                changed = sealed.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Gives rows to the pods that they belong to.
    async fn give(&self, fleet: &[FleetPod], leaves: bool, outgoing: &mut Vec<Outgoing>) {
        let today = clock::day_of(self.now());
        let is_old = |out: &Outgoing| out.batch.rows.iter().any(|row| is_old(&row.of, today));
        let is_of_fleet = |name: &str| fleet.iter().any(|pod| pod.name == name);
        for gone in outgoing.extract_if(.., |out| !is_of_fleet(&out.pod) || is_old(out)) {
            self.store().put_back(gone.batch.rows);
        }
        let mut subjects = self.store().subjects();
        subjects.retain(|of| (leaves || of.day < today) && !self::is_old(of, today));
        for of in &subjects {
            if let Some(pod) = owner_of(fleet, of).filter(|pod| !self.is_this(pod)) {
                let rows = self.store().take(of);
                outgoing.append(&mut batches(&pod.name, rows));
            }
        }
        for pod in fleet {
            for out in outgoing
                .extract_if(.., |out| out.pod == pod.name)
                .collect::<Vec<_>>()
            {
                if self.bring(pod, &out.batch).await {
                    self.store().settle(&out.batch.rows);
                } else {
                    outgoing.push(out);
                }
            }
        }
    }

    async fn bring(&self, pod: &FleetPod, batch: &Batch) -> bool {
        let Ok(body) = serde_json::to_vec(batch) else {
            return false;
        };
        let said = self.0.others.bring(pod, VERB, body).await;
        said.is_some_and(|said| serde_json::from_slice::<Taken>(&said).is_ok())
    }

    /// Takes over what another pod gives.
    fn adopt(&self, batch: &Batch) {
        if !locked(&self.0.known).is_new(&batch.id) {
            return;
        }
        let mut store = self.store();
        for entry in &batch.rows {
            let is_sound = entry.count > 0 && entry.of.domain.len() <= LONGEST_DOMAIN;
            if !is_sound || !store.add(&entry.of, &entry.row, entry.count.unsigned_abs()) {
                self.0.metrics.reports.left_out(entry.of.kind, 1);
            }
        }
    }

    /// Drops days that nobody could be told about for too long.
    fn forget(&self) {
        let today = clock::day_of(self.now());
        let subjects = self.store().subjects();
        for of in subjects.iter().filter(|of| is_old(of, today)) {
            self.drop_rows(of);
            self.0.metrics.reports.ended(of.kind, End::TooOld);
            left_out(of, "it could not be sent for days");
        }
        locked(&self.0.postponed).keep(|of| subjects.contains(of) && !is_old(of, today));
    }

    fn drop_rows(&self, of: &Subject) {
        let mut store = self.store();
        let rows = store.take(of);
        store.settle(&rows);
    }

    async fn send(
        &self,
        settings: &Settings,
        fleet: &[FleetPod],
        writers: &[Arc<dyn Writer>],
        intake: &Intake,
    ) {
        let now = self.now();
        let is_ours = |of: &Subject| owner_of(fleet, of).is_none_or(|pod| self.is_this(pod));
        let mut due = self.store().subjects();
        due.retain(|of| is_ours(of) && clock::due(of, settings.hostname()) <= now);
        {
            let postponed = locked(&self.0.postponed);
            due.retain(|of| !postponed.waits(of, now));
        }
        let mut sending = Vec::with_capacity(due.len());
        for of in &due {
            sending.push(self.send_one(of, settings, writers, intake));
        }
        futures::stream::iter(sending)
            .buffer_unordered(AT_ONCE)
            .collect::<()>()
            .await;
    }

    async fn send_one(
        &self,
        of: &Subject,
        settings: &Settings,
        writers: &[Arc<dyn Writer>],
        intake: &Intake,
    ) {
        let writer = writers.iter().find(|writer| writer.kind() == of.kind);
        let Some(writer) = writer.filter(|writer| writer.is_wanted(settings)) else {
            self.drop_rows(of);
            return;
        };
        let rows = self.store().take(of);
        if rows.is_empty() {
            return;
        }
        let day = day(of, &rows, settings.hostname());
        let sent = match writer.write(&day, settings).await {
            Ok(written) => self.queue(&day, &written, settings, intake).await,
            Err(NotNow(reason)) => Err(reason),
        };
        match sent {
            Ok(()) => {
                self.store().settle(&rows);
                locked(&self.0.postponed).sent(of);
            }
            Err(reason) => {
                tracing::info!(
                    event = "report-postponed",
                    kind = of.kind.as_str(),
                    domain = of.domain,
                    day = clock::date(of.day),
                    reason,
                    "report-postponed"
                );
                locked(&self.0.postponed).failed(of, self.0.timing.again, self.now());
                self.store().put_back(rows);
            }
        }
    }

    /// Queues the letters, and tells of all. Errors: one sentence.
    async fn queue(
        &self,
        day: &Day,
        written: &Written,
        settings: &Settings,
        intake: &Intake,
    ) -> Result<(), String> {
        let of = &day.of;
        for letter in &written.letters {
            let id = self
                .own(letter, settings, intake)
                .await
                .map_err(|error| error.to_string())?;
            self.0.metrics.reports.ended(of.kind, End::Queued);
            sent(day, &letter.to, &id.to_string());
        }
        for place in &written.posted {
            self.0.metrics.reports.ended(of.kind, End::Posted);
            sent(day, place, "");
        }
        for reason in &written.left_out {
            self.0.metrics.reports.ended(of.kind, End::LeftOut);
            left_out(of, reason);
        }
        Ok(())
    }

    async fn own(
        &self,
        letter: &Letter,
        settings: &Settings,
        intake: &Intake,
    ) -> Result<EntryId, CommitError> {
        let lifetime = crate::queue::clock::milliseconds(settings.set.file.queue.lifetime);
        let envelope = letter.envelope(crate::queue::clock::now(), lifetime);
        intake.own(envelope, letter.compose(self.now())).await
    }

    /// Whether a pod that leaves has nothing any more that another one would report.
    pub fn is_given(&self) -> bool {
        let settings = self.0.live.current();
        let peers = &settings.set.file.peers;
        let is_held = self.store().held() > 0;
        self.0.departure.is_over(peers, is_held, self.0.timing.leave)
    }

    fn is_this(&self, pod: &FleetPod) -> bool {
        self.0.departure.is_this(pod)
    }

    fn now(&self) -> u64 {
        (self.0.timing.now)()
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        locked(&self.0.store)
    }
}

/// The report as its writer sees it.
fn day(of: &Subject, rows: &[Entry], hostname: &str) -> Day {
    let day = of.day.to_string();
    let mut parts = vec![hostname, of.kind.as_str(), of.domain.as_str(), day.as_str()];
    let counts: Vec<String> = rows.iter().map(|entry| entry.count.to_string()).collect();
    for (entry, count) in rows.iter().zip(&counts) {
        parts.extend([entry.row.as_str(), count.as_str()]);
    }
    Day {
        of: of.clone(),
        rows: rows
            .iter()
            .map(|entry| (entry.row.clone(), entry.count.unsigned_abs()))
            .collect(),
        id: String::from(Key::of(&parts)),
    }
}

fn is_old(of: &Subject, today: u32) -> bool {
    of.day.saturating_add(MOST_DAYS) < today
}

fn sent(day: &Day, to: &str, queue_id: &str) {
    tracing::info!(
        event = "report",
        queue_id,
        kind = day.of.kind.as_str(),
        domain = day.of.domain,
        day = clock::date(day.of.day),
        report_id = day.id,
        to,
        rows = day.rows.len(),
        "report"
    );
}

fn left_out(of: &Subject, reason: &str) {
    tracing::info!(
        event = "report-left-out",
        kind = of.kind.as_str(),
        domain = of.domain,
        day = clock::date(of.day),
        reason,
        "report-left-out"
    );
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For so many days after its own a report is tried.
pub const MOST_DAYS: u32 = 3;
/// Reports that are written at once: each asks the DNS.
const AT_ONCE: usize = 8;
/// Octets of a name in the DNS.
const LONGEST_DOMAIN: usize = 255;
