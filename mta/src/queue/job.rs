//! What goes into the index and comes out of it (`index.rs`): plain values, all times in milliseconds since 1970.
//!
//! ```text
//!   Sorted { Group { Pace } } ─► Index ─► Job ─► Ended ─► Index        SiteView: what people are shown
//! ```

use std::sync::Arc;
use std::time::Duration;

use postroad_config::RouteLimits;
use postroad_spool::EntryId;

use super::fair::Share;
use super::window::Feedback;
use crate::outcome::Outcome;

/// Recipients of one entry whose mail goes to one site, to be tried together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The entry.
    pub entry: EntryId,
    /// Tells this stay of the entry in the queue from an earlier one.
    pub(super) stay: u32,
    /// Its site has not shown yet that mail leaves by it.
    pub(super) trial: bool,
    /// Where to.
    pub site: Arc<str>,
    /// Whose turn it takes.
    pub share: Share,
    /// Positions in the envelope.
    pub recipients: Vec<u32>,
    /// When waiting in vain has to be dealt with all the same: a notice of delay, or the end of the lifetime.
    pub patience: u64,
    /// Do not connect: the site is dead, for this reason, and patience is over.
    pub instead: Option<Arc<Outcome>>,
}

/// Recipients of one entry that are due and whose mail goes to one site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Where to.
    pub site: String,
    /// Positions in the envelope.
    pub recipients: Vec<u32>,
    /// See [`Job::patience`].
    pub patience: u64,
    /// Its patience is a time that the sender gave, and is kept to the second.
    pub urgent: bool,
    /// How fast the route is used, where it is limited.
    pub pace: Option<Pace>,
}

/// How fast a route is used. All sites of the route share its rates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Name of the route.
    pub route: String,
    /// Its limits.
    pub limits: RouteLimits,
}

/// What reading an entry showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sorted {
    /// Recipients that are due, by site.
    pub groups: Vec<Group>,
    /// Whose turns they take.
    pub share: Share,
    /// Recipients whose notice alone is due, see `owed.rs`; those of one policy together.
    pub owed: Vec<Vec<u32>>,
    /// When the earliest of the others is due.
    pub next: Option<u64>,
}

/// What is known of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteView {
    /// Its name, see [`crate::deliver::plan::Plan::site`].
    pub name: Arc<str>,
    /// Jobs that wait for it.
    pub waiting: usize,
    /// Attempts that run.
    pub running: u32,
    /// Attempts that may run at once.
    pub window: u32,
    /// Closed until then, because it is dead or by a rate; a time that is over means open.
    pub opens_at: u64,
    /// Closed until then because it is dead.
    pub dead_until: u64,
    /// Why the last attempt that failed as a whole did so.
    pub last_trouble: Option<Arc<Outcome>>,
    /// A person wants nothing to be tried there.
    pub suspended: bool,
}

/// How a job ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The job.
    pub job: Job,
    /// What it says of the site; none when no server was asked.
    pub feedback: Option<Feedback>,
    /// Why the site is dead, where it is.
    pub why: Option<Arc<Outcome>>,
    /// Shortest and longest wait of the retry schedule.
    pub retry: (Duration, Duration),
    /// Recipients that are still pending.
    pub pending: Vec<u32>,
    /// When the earliest of them is due by its own schedule.
    pub next: Option<u64>,
    /// When the notice about others, which are not pending any more, is tried again.
    pub notice_at: Option<u64>,
    /// Patience of the pending ones.
    pub patience: u64,
    /// See [`Group::urgent`].
    pub urgent: bool,
}

/// The site of a job that is settled without one.
pub const NO_SITE: &str = "";
