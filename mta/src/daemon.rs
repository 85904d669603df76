//! The whole: joins the parts, starts them in order, ends them in reverse order.
//!
//! ```text
//!   start   settings ─► spool (sealed where this pod leaves) ─► queue ─► admin ─► ports ─► Serving
//!   stop    unready, a moment ─► 421, sessions and attempts end ─► ports close ─► admin, watchers ─► spool
//! ```
//!
//! Nothing is accepted before everything that must follow an acceptance runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use postroad_spool::{CommitError, Durability, OpenError, Options, Recovery, Spool};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::Intake;
use crate::access::{self, Guard};
use crate::admin::{self, Admin, AdminError};
use crate::auth::{Authenticator, NotMade};
use crate::deliver::callout::Callout;
use crate::deliver::https::Https;
use crate::deliver::probe::Prober;
use crate::deliver::tls::ClientTls;
use crate::dns::Dns;
use crate::dns::resolver::{Resolver, Source};
use crate::fenced;
use crate::filter::Filters;
use crate::handover::{self, Handover};
use crate::lifecycle::{Lifecycle, Patience, Phase};
use crate::logins::Logins;
use crate::metrics::Metrics;
use crate::net::{BindError, Budget, Ports, Pressure, raise_descriptors};
use crate::queue::{self, Queue};
use crate::reload::{self, LoadError};
use crate::reports::dmarc::DmarcWriter;
use crate::reports::tls::TlsWriter;
use crate::reports::{self, Reports};
use crate::session::{self, Shared};
use crate::settings::{Live, Settings};
use crate::verify::Verifier;

/// Why the daemon could not start: one clear sentence each.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// The spool cannot be opened.
    #[error("spool {}: {error}", directory.display())]
    Spool {
        /// Where it should be.
        directory: PathBuf,
        /// Why not.
        error: OpenError,
    },
    /// The configuration says that this pod leaves, and it could not be sealed.
    #[error("this pod leaves, and its spool cannot be sealed: {0}")]
    Seal(CommitError),
    /// A port cannot be served.
    #[error(transparent)]
    Port(#[from] BindError),
    /// The system refused something that everything needs.
    #[error("cannot start the runtime: {0}")]
    Runtime(#[from] std::io::Error),
    /// The admin endpoints cannot be served.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// Next hops could not be judged.
    #[error("the authorities for next hops cannot be used: {0}")]
    Trust(#[from] rustls::Error),
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness,
}

impl From<NotMade> for StartError {
    fn from(_: NotMade) -> Self {
        Self::Randomness
    }
}

/// What the parts of a running daemon share. Cheap to clone.
#[derive(Clone)]
pub struct Handles {
    /// Drawn at this start.
    pub boot_id: String,
    /// The settings.
    pub live: Live,
    /// Accepted mail.
    pub spool: Spool,
    /// Damage that was found at this start; the spool counts what is found later.
    pub damaged: u64,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Phases and ends.
    pub lifecycle: Lifecycle,
}

/// A daemon that serves.
pub struct Daemon {
    handles: Handles,
    ports: Ports,
    admin: Admin,
    queue: Queue,
    queue_stop: CancellationToken,
    background: TaskTracker,
}

/// Serves until SIGTERM or SIGINT.
pub fn run(config: &Path) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        let started = tokio::select! {
            started = Daemon::start(config) => started?,
            () = signals.next() => return Ok(()),
        };
        tokio::select! {
            () = signals.next() => tracing::info!("asked to stop"),
            // Started again, it waits before it opens its spool.
            () = fenced::ordered(started.handles().live.clone()) => {}
        }
        // A second signal does not wait for the sessions.
        tokio::select! {
            () = started.stop(Patience::of_this_process()) => {}
            () = signals.next() => tracing::warn!("stopped without waiting for sessions"),
        }
        Ok(())
    })
}

impl Daemon {
    /// Starts everything. Waits while the configuration is incomplete.
    pub async fn start(config: &Path) -> Result<Self, StartError> {
        raise_descriptors();
        let first = fenced::wait(config, reload::first(config).await?).await?;
        let (spool, recovery) = open_spool(&first).await?;
        tell(&recovery);
        handover::seal_if_leaving(&spool, &first.set.file.peers)
            .await
            .map_err(StartError::Seal)?;
        let handles = Handles {
            boot_id: draw_boot_id()?,
            live: Live::new(first),
            spool,
            damaged: recovery.damaged + recovery.lost + recovery.vanished.len() as u64,
            metrics: Arc::new(Metrics::new()),
            lifecycle: Lifecycle::new(),
        };
        let background = TaskTracker::new();
        let stop = handles.lifecycle.background().clone();
        let queue_stop = CancellationToken::new();
        let dns = handles.dns();
        let tls = ClientTls::public()?;
        let logins = Logins::new(dns.clone(), tls.clone());
        let reports = handles.reports();
        let writers = writers(&dns, &tls);
        let guard = handles.guard(dns.clone());
        let queue = handles.queue(
            dns.clone(),
            (logins.clone(), guard.clone()),
            &reports,
            queue_stop.clone(),
        )?;
        let lanes = handles.metrics.lanes.clone();
        let prober = Prober::new(dns.clone(), tls, logins).with_lanes(lanes);
        let handover = handles.handover(&queue, &guard, &background, &stop);
        let directory = handles.live.current().set.file.spool.directory.clone();
        guard
            .start(&directory, handover.sealed(), &background, &stop)
            .await;
        let intake = handles.intake(&queue);
        reports
            .start(
                &directory,
                writers,
                (intake.clone(), handover.sealed()),
                &background,
                &stop,
            )
            .await;
        let ports = Ports::new(handles.sessions(intake, dns, (guard.clone(), reports.clone()))?);
        let told = handles.admin_parts(handover, queue.clone(), ports.clone(), (prober, guard, reports));
        let admin = admin::start(told, &background, &stop).await?;
        ports.start()?;
        background.spawn(ports.clone().follow());
        background.spawn(follow_spool(
            handles.spool.clone(),
            handles.live.clone(),
            stop.clone(),
        ));
        let refused = handles.metrics.config_refused.clone();
        background.spawn(reload::follow(
            config.to_owned(),
            handles.live.clone(),
            refused,
            stop,
        ));
        handles.lifecycle.enter(Phase::Serving);
        let settings = handles.live.current();
        tracing::info!(
            hostname = settings.hostname(),
            boot = handles.boot_id,
            version = env!("CARGO_PKG_VERSION"),
            "serving"
        );
        Ok(Self {
            handles,
            ports,
            admin,
            queue,
            queue_stop,
            background,
        })
    }

    /// What the parts share.
    pub fn handles(&self) -> &Handles {
        &self.handles
    }

    /// Where the admin endpoints listen.
    pub fn admin(&self) -> Admin {
        self.admin
    }

    /// The ports.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Ends everything in order: first unready, then 421 to sessions, then the rest.
    pub async fn stop(self, patience: Patience) {
        let life = &self.handles.lifecycle;
        life.enter(Phase::Leaving);
        tokio::time::sleep(patience.leave).await;
        life.enter(Phase::Closing);
        // Attempts end while sessions do: what is accepted from now on waits for the next start.
        self.queue_stop.cancel();
        let left = patience.sessions.saturating_sub(patience.leave);
        if tokio::time::timeout(left, self.ports.drained()).await.is_err() {
            tracing::warn!("sessions that did not end are cut");
            life.cut().cancel();
            let _ = tokio::time::timeout(CUT, self.ports.drained()).await;
        }
        self.ports.close();
        life.background().cancel();
        self.background.close();
        // The queue has its own limit for attempts that do not end.
        self.queue.stopped().await;
        if tokio::time::timeout(BACKGROUND_END, self.background.wait())
            .await
            .is_err()
        {
            tracing::warn!("some background work did not end in time");
        }
        if let Err(error) = self.handles.spool.flush().await {
            tracing::error!(%error, "the last outcomes may not be on disk");
        }
        tracing::info!("stopped");
    }
}

impl Handles {
    fn dns(&self) -> Dns {
        let live = self.live.clone();
        Dns::new(Resolver::of(move || {
            let settings = live.current();
            let file = &settings.set.file;
            Source {
                servers: file.resolvers.clone(),
                anchors: (file.dnssec == postroad_config::Dnssec::Validated)
                    .then(|| file.trust_anchors.clone()),
            }
        }))
    }

    fn queue(
        &self,
        dns: Dns,
        (logins, guard): (Logins, Guard),
        reports: &Reports,
        stop: CancellationToken,
    ) -> Result<Queue, rustls::Error> {
        let metrics = Arc::clone(&self.metrics);
        let parts = queue::Parts::new(self.spool.clone(), self.live.clone(), dns, metrics, stop)?;
        Ok(Queue::start_with(queue::Parts {
            logins: Some(logins),
            tls_sessions: Some(reports::tls::counter(self.live.clone(), reports.clone())),
            turns: Some(Arc::new(guard)),
            ..parts
        }))
    }

    fn guard(&self, dns: Dns) -> Guard {
        let (live, metrics) = (self.live.clone(), Arc::clone(&self.metrics));
        // Names of pods are the cluster's, whatever `resolvers` of the settings know.
        let system = Dns::new(Resolver::new(Vec::new));
        let patience = access::Patience::default();
        Guard::new(live, (dns, system), metrics, self.spool.uuid(), patience)
    }

    fn reports(&self) -> Reports {
        let system = Dns::new(Resolver::new(Vec::new));
        Reports::new(
            self.live.clone(),
            system,
            Arc::clone(&self.metrics),
            self.spool.uuid(),
            (access::Patience::default(), reports::Timing::default()),
        )
    }

    fn intake(&self, queue: &Queue) -> Intake {
        let queue = queue.clone();
        Intake::new(
            self.spool.clone(),
            self.live.clone(),
            Arc::clone(&self.metrics),
            move |entry| queue.accepted(entry),
        )
    }

    fn handover(
        &self,
        queue: &Queue,
        guard: &Guard,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> Handover {
        let parts = handover::Parts {
            spool: self.spool.clone(),
            schedule: Arc::new(queue.clone()),
            live: self.live.clone(),
            metrics: Arc::clone(&self.metrics),
            moving: Some((guard.moving(), Arc::new(guard.clone()))),
            timing: handover::Timing::default(),
            fault: None,
        };
        Handover::start(parts, tracker, stop)
    }

    fn admin_parts(
        &self,
        handover: Handover,
        queue: Queue,
        ports: Ports,
        (prober, guard, reports): (Prober, Guard, Reports),
    ) -> admin::Parts {
        admin::Parts {
            boot_id: self.boot_id.clone(),
            live: self.live.clone(),
            lifecycle: self.lifecycle.clone(),
            spool: self.spool.clone(),
            handover,
            guard: Some(guard),
            reports: Some(reports),
            queue: Some(queue),
            ports: Some(ports),
            prober: Some(prober),
            metrics: Arc::clone(&self.metrics),
            damaged: self.damaged,
        }
    }

    fn sessions(
        &self,
        intake: Intake,
        dns: Dns,
        (guard, reports): (Guard, Reports),
    ) -> Result<Shared, StartError> {
        let budget = Budget::new(&self.metrics);
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Ok(Shared {
            live: self.live.clone(),
            lifecycle: self.lifecycle.clone(),
            intake,
            auth: Authenticator::new(2 * cores)?,
            verifier: Verifier::new(dns.clone(), Arc::clone(&self.metrics)),
            filters: Filters::new(dns.clone(), Arc::clone(&self.metrics)),
            guard,
            reports,
            callout: Callout::new(dns, ClientTls::public()?, budget.clone()),
            pressure: Pressure::of_this_process(),
            budget,
            metrics: Arc::clone(&self.metrics),
            patience: session::Patience::default(),
        })
    }
}

/// Who makes reports to other domains.
fn writers(dns: &Dns, tls: &ClientTls) -> Vec<Arc<dyn reports::Writer>> {
    let https = Https::new(dns.clone(), tls);
    vec![
        Arc::new(DmarcWriter::new(dns.clone())),
        Arc::new(TlsWriter::new(dns.clone(), https)),
    ]
}

async fn open_spool(settings: &Settings) -> Result<(Spool, Recovery), StartError> {
    let file = &settings.set.file;
    let directory = file.spool.directory.clone();
    let options = Options {
        high_water_percent: file.spool.high_water_percent,
        durability: durability(settings),
        write_format: file.spool.format(),
        ..Options::default()
    };
    let shown = directory.clone();
    let opened = tokio::task::spawn_blocking(move || open_patiently(&directory, &options)).await;
    opened
        .map_err(std::io::Error::other)?
        .map_err(|error| StartError::Spool {
            directory: shown,
            error,
        })
}

/// When a message counts as stored. A mail server that may forget what it has confirmed says so.
fn durability(settings: &Settings) -> Durability {
    match settings.set.file.queue.durability {
        postroad_config::Durability::Durable => Durability::Durable,
        postroad_config::Durability::Relaxed => {
            tracing::warn!(
                "queue.durability is Relaxed: a power cut may lose confirmed mail of the last second"
            );
            Durability::Relaxed
        }
    }
}

/// Keeps the spool as the settings want it.
async fn follow_spool(spool: Spool, live: Live, stop: CancellationToken) {
    let mut changed = live.changed();
    while let Some(Ok(())) = stop.run_until_cancelled(changed.changed()).await {
        let settings = live.current();
        let wanted = durability(&settings);
        if wanted != spool.durability() {
            tracing::info!(durability = ?wanted, "queue.durability has changed");
            spool.set_durability(wanted);
        }
        let percent = settings.set.file.spool.high_water_percent;
        if percent != spool.high_water_percent() {
            tracing::info!(percent, "spool.highWaterPercent has changed");
            spool.set_high_water_percent(percent);
        }
        let format = settings.set.file.spool.format();
        if format != spool.write_format() {
            tracing::info!(format, "spool.writeFormat has changed");
            if let Err(error) = spool.set_write_format(format).await {
                tracing::error!(format, %error, "the spool does not turn to another format");
            }
        }
    }
}

/// Opens the spool, waiting for a process that is about to end: a pod that was killed by force may still be there for
/// a few seconds when its successor starts.
fn open_patiently(directory: &Path, options: &Options) -> Result<(Spool, Recovery), OpenError> {
    let started = std::time::Instant::now();
    loop {
        match Spool::open(directory, options) {
            Err(OpenError::Locked(held)) if started.elapsed() < LOCK_PATIENCE => {
                tracing::warn!(
                    spool = held,
                    "another process has the spool; waiting for it to end"
                );
                std::thread::sleep(Duration::from_secs(1));
            }
            opened => return opened,
        }
    }
}

/// How long another process may hold the spool at a start.
const LOCK_PATIENCE: Duration = Duration::from_secs(20);

fn tell(recovery: &Recovery) {
    if recovery.damaged > 0 || recovery.lost > 0 {
        tracing::error!(
            damaged = recovery.damaged,
            lost = recovery.lost,
            "the spool has damage that a crash does not explain: check the device"
        );
    }
    if !recovery.vanished.is_empty() {
        tracing::error!(
            messages = recovery.vanished.len(),
            "messages that were accepted are in no segment of the spool any more: its files were removed, cut off or replaced by \
             older ones; put them back before anything else is tried"
        );
    }
    tracing::info!(
        entries = recovery.entries,
        torn_tail = recovery.torn_tail,
        checkpoint = recovery.checkpoint.name(),
        segments = recovery.segments,
        read = recovery.read,
        "spool is open"
    );
}

/// Drawn at every start, so that a restart is seen.
fn draw_boot_id() -> Result<String, StartError> {
    let mut octets = [0; 8];
    aws_lc_rs::rand::fill(&mut octets).map_err(|_| StartError::Randomness)?;
    Ok(format!("{:016x}", u64::from_be_bytes(octets)))
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// For the last 421 of each session.
const CUT: Duration = Duration::from_secs(3);
const BACKGROUND_END: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_waits_for_the_process_that_is_about_to_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let (first, _) = Spool::open(&path, &Options::default()).unwrap();
        assert!(matches!(
            Spool::open(&path, &Options::default()),
            Err(OpenError::Locked(_))
        ));
        let second = std::thread::spawn(move || open_patiently(&path, &Options::default()).map(drop));
        drop(first);
        assert!(second.join().unwrap().is_ok());
    }
}
