//! The order of the jobs that wait for one site, and of the sites that may start one: urgent kinds more often, within a kind
//! tenant after tenant.
//!
//! Pure. Two steps choose the next job, and neither looks at how long a queue is:
//!
//! ```text
//!   kinds     smooth weighted round robin     8 : 4 : 2 : 1, so that even retries get each fifteenth place
//!   tenants   deficit round robin             one recipient costs one, list mail costs what it is
//! ```
//!
//! So a tenant with a hundred thousand messages delays the single message of another by one turn of [`QUANTUM`], not
//! by a hundred thousand, and a small job overtakes list mail. Jobs of one tenant and kind keep their order.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use postroad_spool::Item;

use super::chain::Chain;

/// How urgent a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// First attempt at mail to a few that a person or a program of ours submitted.
    Submitted,
    /// First attempt at other mail to a few.
    #[default]
    Passing,
    /// First attempt at mail to many.
    Bulk,
    /// It was tried before.
    Again,
}

impl Kind {
    /// Turns out of fifteen when jobs of all kinds wait.
    const fn weight(self) -> i32 {
        match self {
            Self::Submitted => 8,
            Self::Passing => 4,
            Self::Bulk => 2,
            Self::Again => 1,
        }
    }
}

/// On whose account a job is, and how urgent. Tenants are numbers: two may share one, and then share its turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Whose.
    pub tenant: u32,
    /// How urgent.
    pub kind: Kind,
}

impl Share {
    /// The share of a message: its tenant is who has authenticated, or else the domain of the sender. `keys` keep
    /// strangers from choosing whose turns they share.
    pub fn of(item: &Item, keys: &RandomState) -> Self {
        let envelope = &item.envelope;
        let sender = envelope.reverse_path.rsplit_once('@');
        let domain = sender.map_or("", |(_, domain)| domain).to_ascii_lowercase();
        let name = envelope.identity.as_deref().unwrap_or(&domain);
        let [one, two, three, four, ..] = keys.hash_one(name).to_le_bytes();
        let kind = if item.recipients.iter().any(|state| state.attempts > 0) {
            Kind::Again
        } else if envelope.recipients.len() > A_FEW {
            Kind::Bulk
        } else if envelope.identity.is_some() {
            Kind::Submitted
        } else {
            Kind::Passing
        };
        Self {
            tenant: u32::from_le_bytes([one, two, three, four]),
            kind,
        }
    }
}

/// What waits.
#[derive(Debug)]
pub struct Fair<T> {
    /// Kinds that have something; at most four.
    lanes: Vec<Lane<T>>,
    len: usize,
    /// What a tenant may spend in one turn.
    quantum: u32,
    /// What one that comes may spend in its first.
    credit: u32,
}

#[derive(Debug)]
struct Lane<T> {
    kind: Kind,
    credit: i32,
    /// The tenant, while there is but one, as at most sites: of those there may be many.
    only: Option<(u32, Backlog<T>)>,
    tenants: HashMap<u32, Backlog<T>>,
    /// Each tenant once.
    turns: VecDeque<u32>,
}

#[derive(Debug)]
struct Backlog<T> {
    /// What the tenant may still spend in this turn.
    deficit: u32,
    jobs: Chain<T>,
}

impl<T> Backlog<T> {
    fn with(credit: u32) -> Self {
        Self {
            deficit: credit,
            jobs: Chain::default(),
        }
    }
}

impl<T> Default for Fair<T> {
    fn default() -> Self {
        Self {
            lanes: Vec::new(),
            len: 0,
            quantum: QUANTUM,
            credit: 0,
        }
    }
}

impl<T> Fair<T> {
    /// Tenants take turns one by one, not by [`QUANTUM`].
    pub fn one_by_one() -> Self {
        Self {
            quantum: 1,
            // It comes anew after each turn.
            credit: 1,
            ..Self::default()
        }
    }

    /// Whose jobs wait, so many of each kind: those whose turn comes next.
    pub fn shares(&self, most: usize) -> impl Iterator<Item = Share> {
        self.lanes.iter().flat_map(move |lane| {
            let only = lane.only.as_ref().map(|(tenant, _)| *tenant);
            let tenants = only.into_iter().chain(lane.turns.iter().copied());
            tenants.take(most).map(|tenant| Share {
                tenant,
                kind: lane.kind,
            })
        })
    }

    /// What waits.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Nothing waits.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a job behind the others of its tenant.
    pub fn push(&mut self, share: Share, job: T) {
        let at = self.lanes.iter().position(|lane| lane.kind == share.kind);
        let at = at.unwrap_or_else(|| {
            // Most sites have one kind, and there may be many sites.
            self.lanes.reserve_exact(1);
            self.lanes.push(Lane {
                kind: share.kind,
                credit: 0,
                only: None,
                tenants: HashMap::new(),
                turns: VecDeque::new(),
            });
            self.lanes.len() - 1
        });
        if let Some(lane) = self.lanes.get_mut(at) {
            lane.push(share.tenant, job, self.credit);
            self.len += 1;
        }
    }

    /// The next job, and whose turn it takes. `recipients`: what a job costs.
    pub fn pop(&mut self, recipients: impl Fn(&T) -> usize) -> Option<(Share, T)> {
        let total: i32 = self.lanes.iter().map(|lane| lane.kind.weight()).sum();
        for lane in &mut self.lanes {
            lane.credit += lane.kind.weight();
        }
        let (at, lane) = self
            .lanes
            .iter_mut()
            .enumerate()
            .max_by_key(|(_, lane)| (lane.credit, lane.kind.weight()))?;
        lane.credit -= total;
        let kind = lane.kind;
        let job = lane.pop(self.quantum, recipients);
        if lane.is_empty() {
            self.lanes.swap_remove(at);
        }
        self.len -= usize::from(job.is_some());
        job.map(|(tenant, job)| (Share { tenant, kind }, job))
    }

    /// Takes out what `wanted` says, in no order.
    pub fn take_if(&mut self, wanted: impl Fn(&T) -> bool) -> Vec<(Share, T)> {
        let mut taken = Vec::new();
        for lane in &mut self.lanes {
            let kind = lane.kind;
            let only = lane.only.as_mut().map(|(tenant, backlog)| (&*tenant, backlog));
            for (tenant, backlog) in only.into_iter().chain(&mut lane.tenants) {
                let share = Share {
                    tenant: *tenant,
                    kind,
                };
                backlog.jobs.take_if(&wanted, |job| taken.push((share, job)));
            }
            lane.only.take_if(|(_, backlog)| backlog.jobs.is_empty());
            lane.tenants.retain(|_, backlog| !backlog.jobs.is_empty());
            let tenants = &lane.tenants;
            lane.turns.retain(|tenant| tenants.contains_key(tenant));
        }
        self.lanes.retain(|lane| !lane.is_empty());
        self.len -= taken.len();
        taken
    }
}

impl<T> Lane<T> {
    fn is_empty(&self) -> bool {
        self.only.is_none() && self.turns.is_empty()
    }

    fn push(&mut self, tenant: u32, job: T, credit: u32) {
        if self.turns.is_empty() {
            let only = self.only.get_or_insert_with(|| (tenant, Backlog::with(credit)));
            if only.0 == tenant {
                return only.1.jobs.push(job);
            }
        }
        if let Some((first, backlog)) = self.only.take() {
            self.turns.push_back(first);
            self.tenants.insert(first, backlog);
        }
        let turns = &mut self.turns;
        let backlog = self.tenants.entry(tenant).or_insert_with(|| {
            turns.push_back(tenant);
            Backlog::with(credit)
        });
        backlog.jobs.push(job);
    }

    /// After Shreedhar and Varghese: a tenant whose next job costs more than it may spend waits for its next turn.
    fn pop(&mut self, quantum: u32, recipients: impl Fn(&T) -> usize) -> Option<(u32, T)> {
        if let Some((tenant, backlog)) = &mut self.only {
            let job = backlog.jobs.pop().map(|job| (*tenant, job));
            if backlog.jobs.is_empty() {
                self.only = None;
            }
            return job;
        }
        loop {
            let tenant = *self.turns.front()?;
            let Some(backlog) = self.tenants.get_mut(&tenant) else {
                self.turns.pop_front();
                continue;
            };
            let cost = backlog.jobs.front().map_or(0, &recipients);
            let cost = u32::try_from(cost).unwrap_or(u32::MAX).clamp(1, DEAREST);
            if cost > backlog.deficit && !backlog.jobs.is_empty() {
                backlog.deficit += quantum;
                self.turns.rotate_left(1);
                continue;
            }
            backlog.deficit = backlog.deficit.saturating_sub(cost);
            let job = backlog.jobs.pop();
            if backlog.jobs.is_empty() {
                self.tenants.remove(&tenant);
                self.turns.pop_front();
            }
            if let Some(job) = job {
                return Some((tenant, job));
            }
        }
    }
}

/// Recipients that a tenant may send to in one turn at a site.
const QUANTUM: u32 = 4;
/// What a job costs at most, so that a turn comes after few rounds.
const DEAREST: u32 = 64;
/// More recipients than these are list mail.
const A_FEW: usize = 10;

#[cfg(test)]
#[path = "fair_tests.rs"]
mod tests;
