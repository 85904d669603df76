//! The sites that the index knows, by number and by name, with what waits there.
//!
//! Pure. A number is four octets in each entry that waits, where a name would be sixteen and a count.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use super::entries::{Entries, SiteNumber};
use super::fair::{Fair, Share};
use super::rate::Load;
use super::waiting::Waiting;
use super::wheel::Timer;
use super::window::Window;
use crate::outcome::Outcome;

/// One site.
#[derive(Debug)]
pub struct Site {
    pub name: Arc<str>,
    pub window: Window,
    pub ready: Fair<Waiting>,
    /// Jobs in `ready` that are void, because their entries left.
    void: usize,
    /// For whose turns it is in line to start a job, see `index/line.rs`.
    pub lined: Vec<Share>,
    /// Tells its present places in the line from earlier ones, which are void.
    pub epoch: u32,
    /// Most recipients of a transaction, by the route's own limit.
    pub recipients: Option<u32>,
    /// The route with rates that it belongs to.
    pub limiter: Option<Arc<str>>,
    /// When the jobs behind a rate were last asked for their patience.
    pub looked_at: u64,
    /// When patience that is kept to the second is next over, see [`super::job::Group::urgent`].
    pub urgent_at: Option<u64>,
    /// When it is looked at again by itself.
    pub alarm: Option<Timer>,
    pub last_trouble: Option<Arc<Outcome>>,
}

impl Site {
    fn new(name: Arc<str>) -> Self {
        Self {
            name,
            window: Window::default(),
            ready: Fair::default(),
            void: 0,
            lined: Vec::new(),
            epoch: 0,
            recipients: None,
            limiter: None,
            looked_at: 0,
            urgent_at: None,
            alarm: None,
            last_trouble: None,
        }
    }

    /// Jobs that wait.
    pub const fn waiting(&self) -> usize {
        self.ready.len().saturating_sub(self.void)
    }

    /// Its places in the lines are void from now on.
    pub fn leave_all_lines(&mut self) {
        self.lined.clear();
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// The next job that is not void.
    pub fn pop(&mut self, entries: &Entries) -> Option<(Share, Waiting)> {
        loop {
            let (share, job) = self.ready.pop(|job| job.recipients().len())?;
            if entries.is_of(job.entry(), job.stay()) {
                return Some((share, job));
            }
            self.void = self.void.saturating_sub(1);
        }
    }

    /// Takes out the jobs that `wanted` says; void ones go as well.
    pub fn take_if(&mut self, entries: &Entries, wanted: impl Fn(&Waiting) -> bool) -> Vec<(Share, Waiting)> {
        let is_void = |job: &Waiting| !entries.is_of(job.entry(), job.stay());
        let mut taken = self.ready.take_if(|job| wanted(job) || is_void(job));
        self.void = 0;
        taken.retain(|(_, job)| !is_void(job));
        taken
    }

    /// A job here became void. Once most are, they are swept out, so that they cost no more than what waits.
    pub fn void(&mut self, entries: &Entries) {
        self.void += 1;
        let len = self.ready.len();
        if self.void == len || self.void > len / 2 + FEW {
            self.take_if(entries, |_| false);
        }
    }

    /// What a job counts as.
    pub fn load(&self, job: &Waiting) -> Load {
        let most = self.recipients.unwrap_or(u32::MAX).max(1);
        let recipients = u64::try_from(job.recipients().len()).unwrap_or(1);
        Load {
            messages: recipients.div_ceil(u64::from(most)).max(1),
            recipients,
        }
    }
}

/// All sites.
#[derive(Debug, Default)]
pub struct Places {
    sites: HashMap<SiteNumber, Site>,
    /// In order, so that a page of them is found without a look at all.
    numbers: BTreeMap<Arc<str>, SiteNumber>,
    last: SiteNumber,
}

impl Places {
    /// The number of a site, made where it is new.
    pub fn number(&mut self, name: &str) -> SiteNumber {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        loop {
            self.last = self.last.wrapping_add(1).max(1);
            if !self.sites.contains_key(&self.last) {
                break;
            }
        }
        let name: Arc<str> = name.into();
        self.numbers.insert(name.clone(), self.last);
        self.sites.insert(self.last, Site::new(name));
        self.last
    }

    /// The number of a site that is known.
    pub fn known(&self, name: &str) -> Option<SiteNumber> {
        self.numbers.get(name).copied()
    }

    /// The site.
    pub fn get(&self, number: SiteNumber) -> Option<&Site> {
        self.sites.get(&number)
    }

    /// The site, to be changed.
    pub fn get_mut(&mut self, number: SiteNumber) -> Option<&mut Site> {
        self.sites.get_mut(&number)
    }

    /// Forgets a site.
    pub fn remove(&mut self, number: SiteNumber) -> Option<Site> {
        let site = self.sites.remove(&number)?;
        self.numbers.remove(&site.name);
        Some(site)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Site> {
        self.sites.values()
    }

    /// Those whose names are behind this one, or all, in order of their names.
    pub fn behind(&self, after: Option<&str>) -> impl Iterator<Item = &Site> {
        let first = after.map_or(Bound::Unbounded, Bound::Excluded);
        let numbers = self.numbers.range::<str, _>((first, Bound::Unbounded));
        numbers.filter_map(|(_, number)| self.sites.get(number))
    }

    /// All numbers.
    pub fn all(&self) -> Vec<SiteNumber> {
        self.sites.keys().copied().collect()
    }
}

/// So many void jobs are let be.
const FEW: usize = 16;
