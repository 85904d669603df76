//! What this pod says of itself: one value for the admin API, for readiness and for the figures of a scrape.

use std::sync::Arc;

use postroad_config::admin::{QueueState, RouteState, SealState, SpoolFormatState, State};
use postroad_spool::{NEWEST_FORMAT, Spool, Usage};

use super::Parts;
use crate::access::Guard;
use crate::deliver::lanes::Lanes;
use crate::handover::Handover;
use crate::lifecycle::Lifecycle;
use crate::logins::Logins;
use crate::reports::Reports;
use crate::settings::Live;

/// The process is ending, or the thread that looked at the spool failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the spool could not be looked at")]
pub struct Unknown;

/// Gathers the state. Cheap to clone.
#[derive(Clone)]
pub struct Status {
    boot_id: Arc<str>,
    damaged: u64,
    live: Live,
    lifecycle: Lifecycle,
    spool: Spool,
    handover: Handover,
    lanes: Lanes,
    logins: Option<Logins>,
    reports: Option<Reports>,
    guard: Option<Guard>,
}

impl Status {
    /// Over these parts.
    pub fn new(parts: &Parts) -> Self {
        Self {
            boot_id: parts.boot_id.as_str().into(),
            damaged: parts.damaged,
            live: parts.live.clone(),
            lifecycle: parts.lifecycle.clone(),
            spool: parts.spool.clone(),
            handover: parts.handover.clone(),
            lanes: parts.metrics.lanes.clone(),
            logins: parts.prober.as_ref().map(|prober| prober.logins().clone()),
            reports: parts.reports.clone(),
            guard: parts.guard.clone(),
        }
    }

    /// The state now. Asks the file system, off the reactor.
    pub async fn state(&self) -> Result<State, Unknown> {
        let looked = self.look(Looked::at).await?;
        let mut reasons = reasons(&self.lifecycle.not_serving(), looked.seal, &looked.usage);
        if self.spool.is_stalled() {
            reasons.push(STALLED.to_owned());
        }
        Ok(State {
            boot_id: self.boot_id.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            spool: self.spool.uuid().to_string(),
            spool_format: SpoolFormatState {
                reads: NEWEST_FORMAT,
                writes: self.spool.write_format(),
                on_disk: looked.on_disk,
            },
            config: self.live.state(),
            certificate: self.live.current().certificate().cloned(),
            queue: queue(&looked, self.damaged),
            seal: self.seal(&looked),
            accepting: reasons.is_empty(),
            not_accepting: reasons.join("; "),
            lost: self.handover.lost(),
            routes: self.routes(),
        })
    }

    /// Routes that something is the matter with: that rest, and where nobody is let in.
    fn routes(&self) -> Vec<RouteState> {
        let mut routes = self.lanes.view(crate::queue::clock::now());
        if let Some(logins) = &self.logins {
            routes.extend(logins.refusals(&self.live.current().set.file));
        }
        routes
    }

    /// Why no new session is served; empty while one is. Cheaper than the whole state: asked often.
    pub async fn not_ready(&self) -> Vec<String> {
        // Asking a volume that hangs how full it is may hang as well.
        if self.spool.is_stalled() {
            return vec![STALLED.to_owned()];
        }
        let look = self.look(|spool| (spool.usage(), spool.seal_state()));
        let Ok((usage, seal)) = look.await else {
            return vec![Unknown.to_string()];
        };
        let number = seal.sealed.then_some(seal.number);
        reasons(&self.lifecycle.not_serving(), number, &usage)
    }

    /// Looks at the spool on a thread where waiting for the disk is allowed.
    async fn look<T: Send + 'static>(&self, look: fn(&Spool) -> T) -> Result<T, Unknown> {
        let spool = self.spool.clone();
        let looked = tokio::task::spawn_blocking(move || look(&spool)).await;
        looked.map_err(|_| Unknown)
    }

    fn seal(&self, looked: &Looked) -> Option<SealState> {
        let number = looked.seal?;
        // What belongs to all pods goes to those that stay, like its mail.
        let is_given = self.reports.as_ref().is_none_or(Reports::is_given)
            && self.guard.as_ref().is_none_or(Guard::is_given);
        let empty = looked.empty && is_given;
        let waits = (looked.empty && !is_given).then(|| NOT_GIVEN.to_owned());
        Some(SealState {
            number,
            empty,
            remaining: if empty { 0 } else { looked.messages() },
            stuck: waits.or_else(|| self.handover.stuck()),
        })
    }
}

/// What the spool says, at one moment.
struct Looked {
    usage: Usage,
    oldest: Option<u64>,
    seal: Option<u64>,
    empty: bool,
    unconfirmed: usize,
    on_disk: u32,
}

impl Looked {
    fn at(spool: &Spool) -> Self {
        let seal = spool.seal_state();
        let (_, oldest) = spool.census();
        Self {
            usage: spool.usage(),
            oldest,
            seal: seal.sealed.then_some(seal.number),
            // A promise, so it is asked of a sealed spool only, and once the last outcomes are durable.
            empty: seal.sealed && spool.flush().wait().is_ok() && spool.is_empty(),
            unconfirmed: spool.holds().len(),
            on_disk: spool.format_on_disk(),
        }
    }

    /// Entries, and what another pod may still ask about when its entry is gone already.
    fn messages(&self) -> u64 {
        self.usage.entries.max(self.unconfirmed).max(1) as u64
    }
}

fn queue(looked: &Looked, damaged: u64) -> QueueState {
    QueueState {
        messages: looked.usage.entries as u64,
        oldest: looked
            .oldest
            .and_then(|millis| i64::try_from(millis / 1_000).ok()),
        free_bytes: looked.usage.available_bytes,
        below_high_water: !looked.usage.above_high_water,
        damaged: damaged.saturating_add(looked.usage.damaged),
        error: looked.usage.read_only.clone(),
    }
}

const NOT_GIVEN: &str =
    "its counts for reports, or what greylisting knows, are on their way to the other pods";
const STALLED: &str = "the volume of the spool does not answer";

/// Why no new session is served; empty while one is.
fn reasons(not_serving: &str, seal: Option<u64>, usage: &Usage) -> Vec<String> {
    let mut reasons = Vec::new();
    if !not_serving.is_empty() {
        reasons.push(not_serving.to_owned());
    }
    if let Some(number) = seal {
        reasons.push(format!("the spool is sealed (seal {number})"));
    }
    if let Some(error) = &usage.read_only {
        reasons.push(format!("the spool is read-only: {error}"));
    }
    reasons
}
