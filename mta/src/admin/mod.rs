//! Health, metrics and the admin API.
//!
//! ```text
//!   health (plain HTTP)   /livez  /readyz  /metrics
//!   api (HTTPS, tokens)   GET /v1/state, /v1/certificates, /v1/network   POST /v1/relay-test, /v1/seal, /v1/unseal, /v1/handover/…, /v1/shared   /v1/queue…   /v1/sites
//!   socket (mode 0600)    /v1/queue…   /v1/sites
//! ```
//!
//! Certificate and key set follow the configuration without a restart; a set that cannot be used leaves the old one
//! in place. Assumes that the ports of mail are served by others: this module only says whether they are.

mod access;
mod api;
mod health;
mod queue;
mod serve;
pub mod socket;
mod status;

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use postroad_config::{AdminApi, TlsVersion};
use postroad_spool::Spool;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::Guard;
use crate::deliver::probe::Prober;
use crate::handover::Handover;
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::net::Ports;
use crate::queue::Queue;
use crate::reports::Reports;
use crate::settings::Live;
use crate::tls::{self, TlsError};
use crate::tokens::{Authenticator, KeySetError};

pub use access::{Gate, NotAdmitted, refuse};
pub use serve::{BindError, Client};
use serve::{Endpoint, Named, Tls};
pub use status::Status;

/// What the endpoints speak of.
#[derive(Clone)]
pub struct Parts {
    /// Drawn at this start of the process.
    pub boot_id: String,
    /// Entries or places that were found damaged when the spool was opened.
    pub damaged: u64,
    /// Settings.
    pub live: Live,
    /// Phase of the process.
    pub lifecycle: Lifecycle,
    /// The spool.
    pub spool: Spool,
    /// Seal and hand-over.
    pub handover: Handover,
    /// What pods of a fleet ask each other, where that is served.
    pub guard: Option<Guard>,
    /// Rows of reports.
    pub reports: Option<Reports>,
    /// The queue, where its verbs are served.
    pub queue: Option<Queue>,
    /// The ports of mail, where they are served.
    pub ports: Option<Ports>,
    /// What tries smart hosts, where that can be asked for.
    pub prober: Option<Prober>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// Where the endpoints listen, with the ports that the system chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    /// Health and metrics.
    pub health: Option<SocketAddr>,
    /// The admin API.
    pub api: Option<SocketAddr>,
}

/// Why the endpoints cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// An address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// `admin.api.certificate` or `key`.
    #[error("admin.api: {0}")]
    Tls(#[from] TlsError),
    /// `admin.api.tokens`.
    #[error("admin.api.tokens.keySet {0}")]
    Keys(#[from] KeySetError),
}

/// Binds and serves what the configuration names, on `tracker`, until `stop`.
pub async fn start(
    parts: Parts,
    tracker: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Admin, AdminError> {
    let settings = parts.live.current();
    let section = &settings.set.file.admin;
    let status = Status::new(&parts);
    let mut admin = Admin::default();
    let verbs = parts
        .queue
        .clone()
        .map(|queue| queue::router(queue, parts.spool.clone()));
    if let Some(verbs) = verbs.clone() {
        local(&settings.set.file.spool.directory, verbs, tracker, stop);
    }
    if let Some(address) = section.health {
        let endpoint = Endpoint::bind(address, HEALTH).await?;
        admin.health = Some(endpoint.address);
        let router = health::router(status.clone(), parts.metrics.clone(), parts.queue.clone());
        tracker.spawn(endpoint.serve(router, None, stop.clone()));
    }
    if let Some(api) = &section.api {
        let tls: Tls = Arc::new(ArcSwap::new(served(api)?));
        let gate = Gate::new(Authenticator::new(&api.tokens)?, parts.metrics.clone());
        let endpoint = Endpoint::bind(api.address, API).await?;
        admin.api = Some(endpoint.address);
        parts.handover.listening_on(endpoint.address);
        let metrics = parts.metrics.clone();
        let served = api::Served {
            status,
            handover: parts.handover.clone(),
            ports: parts.ports,
            prober: parts.prober.map(|prober| (prober, parts.live.clone())),
            metrics,
        };
        let among_pods = crate::handover::router(&parts.handover).merge(
            parts
                .guard
                .as_ref()
                .map(crate::access::router)
                .unwrap_or_default(),
        );
        let among_pods = among_pods.merge(
            parts
                .reports
                .as_ref()
                .map(crate::reports::router)
                .unwrap_or_default(),
        );
        let router = api::router(served, verbs, among_pods, gate.clone());
        tracker.spawn(endpoint.serve(router, Some(tls.clone()), stop.clone()));
        let follow = follow(parts.live.clone(), api.clone(), tls, gate);
        tracker.spawn(stop.clone().run_until_cancelled_owned(follow));
    }
    Ok(admin)
}

/// Health alone, of a process that does nothing else: it is alive, and not ready for this reason. On `tracker`, until `stop`.
pub async fn idle(
    address: SocketAddr,
    reason: &'static str,
    tracker: &TaskTracker,
    stop: &CancellationToken,
) -> Result<SocketAddr, AdminError> {
    let endpoint = Endpoint::bind(address, HEALTH).await?;
    let bound = endpoint.address;
    tracker.spawn(endpoint.serve(health::idle(reason), None, stop.clone()));
    Ok(bound)
}

/// Serves the queue's verbs at the spool's socket. Without it the mail server serves all the same.
fn local(spool: &std::path::Path, verbs: axum::Router, tracker: &TaskTracker, stop: &CancellationToken) {
    match socket::bind(spool) {
        Ok(listener) => {
            let by = axum::Extension(queue::By("the spool's socket".to_owned()));
            tracker.spawn(socket::serve(listener, verbs.layer(by), stop.clone()));
        }
        Err(error) => {
            tracing::warn!(%error, "the socket for `postroad-mta queue` is not served");
        }
    }
}

/// Takes over certificate and key set of newer configurations.
async fn follow(live: Live, mut used: AdminApi, tls: Tls, gate: Gate) {
    let mut changed = live.changed();
    while changed.changed().await.is_ok() {
        let settings = live.current();
        let Some(api) = settings.set.file.admin.api.as_ref().filter(|api| **api != used) else {
            continue;
        };
        if api.address != used.address {
            tracing::warn!(address = %api.address, "admin.api.address is used after the next start");
        }
        match usable(api) {
            Ok((config, authenticator)) => {
                tls.store(config);
                gate.replace(authenticator);
                used = api.clone();
                tracing::info!("the admin API uses its new certificate and key set");
            }
            Err(error) => tracing::error!(%error, "the admin API keeps its old certificate and key set"),
        }
    }
}

fn usable(api: &AdminApi) -> Result<(Arc<rustls::ServerConfig>, Authenticator), AdminError> {
    Ok((served(api)?, Authenticator::new(&api.tokens)?))
}

/// For the admin endpoint the version is ours to choose at both ends: rustls takes the newest.
fn served(api: &AdminApi) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let served = tls::serve(&api.certificate, &api.key, TlsVersion::Tls12)?;
    Ok(Arc::clone(served.config(tls::Service::Admin)))
}

/// Seconds since 1970, by the wall clock.
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

const HEALTH: Named = Named {
    what: "health and metrics",
    field: "health",
};
const API: Named = Named {
    what: "the admin API",
    field: "api.address",
};
