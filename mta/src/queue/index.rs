//! Which entry waits for what: timers of entries, and for each site the jobs that wait for its window.
//!
//! Pure: no IO, no clock; the scheduler (`scheduler.rs`) passes events in and carries out what is asked of it.
//!
//! ```text
//!   add ─► timer ─► due ─► [sort: the scheduler reads the entry] ─► sorted ─► ready jobs per site ─► start
//!             ▲                                                        ▲                                │
//!             └──── recipients whose retry is later ◄──── ended ◄──────┼──── the site is dead ◄─────────┘
//! ```
//!
//! An entry costs a few dozen octets while it waits; envelopes stay on disk. A recipient is in one job at most.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use postroad_spool::EntryId;

use super::busy::Busy;
use super::fair::{Fair, Kind, Share};
use super::job::{Ended, Group, Job, NO_SITE, Pace, SiteView, Sorted};
use super::rate::Limiter;
use super::suspended::Names;
use super::waiting::Waiting;
use super::window::{Feedback, Window};
use crate::outcome::{Outcome, Status, Verdict};

/// The index. All times are milliseconds since 1970.
#[derive(Debug)]
pub struct Index {
    entries: HashMap<EntryId, Known>,
    timers: BinaryHeap<Reverse<(u64, EntryId, u64)>>,
    sites: HashMap<Arc<str>, Site>,
    /// Sites that may have a job to start.
    lively: VecDeque<Arc<str>>,
    /// Sites that are closed until then.
    closed: BinaryHeap<Reverse<(u64, Arc<str>)>>,
    impatient: VecDeque<Job>,
    /// Rates of routes that have some.
    limiters: HashMap<Arc<str>, Limiter>,
    /// Sites where nothing is tried.
    suspended: Names,
    stays: u64,
    running: usize,
    most_running: usize,
}

#[derive(Debug)]
struct Known {
    stay: u64,
    /// When its timer goes off; [`NEVER`]: it has none.
    timer: u64,
    sorting: bool,
    busy: Busy,
    running: u32,
    leaving: bool,
}

#[derive(Debug, Default)]
struct Site {
    window: Window,
    ready: Fair<Waiting>,
    lively: bool,
    /// Most recipients of a transaction, by the route's own limit.
    recipients: Option<u32>,
    /// The route with rates that it belongs to.
    limiter: Option<Arc<str>>,
    /// When the jobs behind a rate were last asked for their patience.
    looked_at: u64,
    /// A timer of [`Index::closed`] stands at this time.
    alarm: u64,
    last_trouble: Option<Arc<Outcome>>,
}

impl Site {
    fn push(&mut self, job: Job) {
        self.ready
            .push(job.share, job.recipients.len(), Waiting::new(job));
    }

    /// Messages that a job counts as.
    fn messages(&self, job: &Waiting) -> u64 {
        let most = self.recipients.unwrap_or(u32::MAX).max(1);
        u64::try_from(job.recipients().len())
            .unwrap_or(1)
            .div_ceil(u64::from(most))
            .max(1)
    }
}

impl Index {
    /// An empty index that runs at most so many jobs at once.
    pub fn new(most_running: usize) -> Self {
        Self {
            entries: HashMap::new(),
            timers: BinaryHeap::new(),
            sites: HashMap::new(),
            lively: VecDeque::new(),
            closed: BinaryHeap::new(),
            impatient: VecDeque::new(),
            limiters: HashMap::new(),
            suspended: Names::new(),
            stays: 0,
            running: 0,
            most_running,
        }
    }

    /// Takes an entry in, due at `at`. One that is here already stays as it is.
    pub fn add(&mut self, entry: EntryId, at: u64) {
        if self.entries.contains_key(&entry) {
            return;
        }
        self.stays += 1;
        let known = Known {
            stay: self.stays,
            timer: NEVER,
            sorting: false,
            busy: Busy::default(),
            running: 0,
            leaving: false,
        };
        self.entries.insert(entry, known);
        self.arm(entry, at);
    }

    /// Forgets an entry: nothing of it starts from now on. False while a job of it runs or it is being sorted: ask again
    /// when that ended.
    pub fn remove(&mut self, entry: EntryId) -> bool {
        match self.entries.get_mut(&entry) {
            Some(known) if known.running > 0 || known.sorting => {
                known.leaving = true;
                known.stay = 0;
                false
            }
            _ => {
                self.entries.remove(&entry);
                true
            }
        }
    }

    /// Whether the entry is here.
    pub fn contains(&self, entry: EntryId) -> bool {
        self.entries.contains_key(&entry)
    }

    /// Gives recipients of an entry this outcome at once, whatever their sites do.
    pub fn settle_instead(&mut self, entry: EntryId, recipients: Vec<u32>, outcome: &Arc<Outcome>) {
        let Some(known) = self.entries.get_mut(&entry) else {
            return;
        };
        for recipient in &recipients {
            known.busy.insert(*recipient);
        }
        self.impatient.push_back(Job {
            entry,
            stay: known.stay,
            site: NO_SITE.into(),
            share: Share::default(),
            recipients,
            patience: u64::MAX,
            instead: Some(outcome.clone()),
        });
    }

    /// Opens every site that is closed because it was dead: somebody wants to know now.
    pub fn open_sites(&mut self) {
        let names: Vec<Arc<str>> = self.sites.keys().cloned().collect();
        for name in names {
            if let Some(site) = self.sites.get_mut(&name) {
                site.window.open();
            }
            Self::enliven(&mut self.sites, &mut self.lively, &name);
        }
    }

    /// Entries, and jobs that run.
    pub fn count(&self) -> (usize, usize) {
        (self.entries.len(), self.running)
    }

    /// Entries whose time has come; each is to be sorted, then [`Index::sorted`] is to be called.
    pub fn due(&mut self, now: u64, most: usize) -> Vec<EntryId> {
        let mut due = vec![];
        while due.len() < most {
            match self.timers.peek() {
                Some(Reverse((at, ..))) if *at <= now => {}
                _ => break,
            }
            let Some(Reverse((at, entry, stay))) = self.timers.pop() else {
                break;
            };
            let Some(known) = self.entries.get_mut(&entry) else {
                continue;
            };
            if known.stay != stay || known.timer != at || known.sorting {
                continue;
            }
            known.timer = NEVER;
            known.sorting = true;
            due.push(entry);
        }
        if self.timers.len().max(ROOM) < self.timers.capacity() / 4 {
            // A million were due at once: their room is not needed again soon.
            self.timers.shrink_to(self.timers.len() * 2);
        }
        due
    }

    /// Takes in what reading an entry showed. `None`: the entry is gone, or cannot be read; it is forgotten.
    pub fn sorted(&mut self, entry: EntryId, found: Option<Sorted>) {
        let Some(known) = self.entries.get_mut(&entry) else {
            return;
        };
        known.sorting = false;
        if known.leaving {
            return;
        }
        let Some(found) = found else {
            self.drop_if_idle(entry);
            return;
        };
        let stay = known.stay;
        for group in found.groups {
            let Group {
                site,
                mut recipients,
                patience,
                pace,
            } = group;
            recipients.retain(|recipient| known.busy.insert(*recipient));
            if recipients.is_empty() {
                continue;
            }
            let site: Arc<str> = match self.sites.get_key_value(site.as_str()) {
                Some((known, _)) => known.clone(),
                None => site.into(),
            };
            let job = Job {
                entry,
                stay,
                site: site.clone(),
                share: found.share,
                recipients,
                patience,
                instead: None,
            };
            let limiter = Self::limiter(&mut self.limiters, pace.as_ref());
            let place = self.sites.entry(site.clone()).or_default();
            place.push(job);
            let most = pace.as_ref().and_then(|pace| pace.limits.connections);
            place.window.set_cap(most);
            place.recipients = pace
                .as_ref()
                .and_then(|pace| pace.limits.recipients_per_transaction);
            place.limiter = limiter;
            Self::enliven(&mut self.sites, &mut self.lively, &site);
        }
        if let Some(next) = found.next {
            self.arm(entry, next);
        }
        self.drop_if_idle(entry);
    }

    /// The next job that may start now; it counts as running until [`Index::ended`].
    pub fn start(&mut self, now: u64) -> Option<Job> {
        self.reopen(now);
        if self.running >= self.most_running {
            return None;
        }
        if let Some(job) = self.start_impatient() {
            return Some(job);
        }
        while let Some(name) = self.lively.pop_front() {
            let Some(site) = self.sites.get_mut(&name) else {
                continue;
            };
            site.lively = false;
            if !site.window.is_open(now) {
                // Woken by the end of a job, or by the timer of a closed site.
                continue;
            }
            let mut limiter = match &site.limiter {
                Some(route) => self.limiters.get_mut(route),
                None => None,
            };
            let opens = limiter.as_ref().map_or(0, |limiter| limiter.next_at());
            let shut = if self.suspended.contains(&*name) {
                Some((u64::MAX, stopped as fn() -> Outcome))
            } else {
                (opens > now).then_some((opens, slow as fn() -> Outcome))
            };
            if let Some((opens, why)) = shut.filter(|_| !site.ready.is_empty()) {
                if now >= site.looked_at.saturating_add(LOOKS) {
                    site.looked_at = now;
                    let over = site.ready.take_if(|job| job.patience <= now);
                    self.give_up_waiting(&name, over, &Arc::new(why()));
                }
                self.set_alarm(&name, opens.min(now.saturating_add(LOOKS)));
                continue;
            }
            let Some(job) = site.ready.pop() else {
                self.forget_idle(&name, now);
                continue;
            };
            let messages = site.messages(&job);
            let job = job.into_job(&name);
            let known = self.entries.get(&job.entry);
            let starts = known.is_some_and(|known| known.stay == job.stay);
            if let Some(limiter) = limiter.as_mut().filter(|_| starts) {
                limiter.take(now, messages);
            }
            // Sites take turns.
            Self::enliven(&mut self.sites, &mut self.lively, &name);
            if self.begin(&job) {
                if let Some(site) = self.sites.get_mut(&name) {
                    site.window.start();
                }
                return Some(job);
            }
        }
        self.start_impatient()
    }

    fn start_impatient(&mut self) -> Option<Job> {
        while let Some(job) = self.impatient.pop_front() {
            if self.begin(&job) {
                return Some(job);
            }
        }
        None
    }

    fn give_up_waiting(&mut self, site: &Arc<str>, over: Vec<Waiting>, why: &Arc<Outcome>) {
        self.impatient.extend(over.into_iter().map(|waiting| Job {
            instead: Some(why.clone()),
            ..waiting.into_job(site)
        }));
    }

    /// A job ended. `draw` is random.
    pub fn ended(&mut self, ended: Ended, now: u64, draw: u64) {
        self.running = self.running.saturating_sub(1);
        let Ended {
            job,
            feedback,
            why,
            retry,
            pending,
            next,
            patience,
        } = ended;
        if job.instead.is_none() {
            self.feed_back(&job.site, feedback, why, now, retry, draw);
        }
        let Some(known) = self.entries.get_mut(&job.entry) else {
            return;
        };
        known.running -= 1;
        if known.leaving {
            return;
        }
        // A failure that does not close the site is one of the message: it keeps its schedule.
        let closed = |site: &Site| site.window.opens_at() > now;
        let is_closed = self.sites.get(&job.site).is_some_and(closed);
        let waits_for_site =
            !pending.is_empty() && (job.instead.is_some() || (feedback == Some(Feedback::Dead) && is_closed));
        if waits_for_site {
            for recipient in job.recipients.iter().filter(|one| !pending.contains(one)) {
                known.busy.remove(*recipient);
            }
            let job = Job {
                recipients: pending,
                patience,
                share: Share {
                    kind: Kind::Again,
                    ..job.share
                },
                instead: None,
                ..job
            };
            let site = self.sites.entry(job.site.clone()).or_default();
            let name = job.site.clone();
            site.push(job);
            Self::enliven(&mut self.sites, &mut self.lively, &name);
        } else {
            for recipient in &job.recipients {
                known.busy.remove(*recipient);
            }
            if let (Some(next), false) = (next, pending.is_empty()) {
                self.arm(job.entry, next);
            }
            self.drop_if_idle(job.entry);
        }
    }

    /// Sends all that waits for a site back to be sorted: the settings changed, and with them perhaps the sites.
    pub fn resort(&mut self, now: u64) {
        self.limiters.retain(|_, limiter| !limiter.is_idle(now));
        let waiting: Vec<Waiting> = self
            .sites
            .values_mut()
            .flat_map(|site| site.ready.take_if(|_| true))
            .collect();
        for job in waiting {
            let Some(known) = self
                .entries
                .get_mut(&job.entry)
                .filter(|known| known.stay == job.stay)
            else {
                continue;
            };
            for recipient in job.recipients() {
                known.busy.remove(*recipient);
            }
            self.arm(job.entry, now);
        }
    }

    /// The sites that are known now: those that are in use, closed, or waited for.
    pub fn sites(&self) -> Vec<SiteView> {
        let view = |(name, site): (&Arc<str>, &Site)| SiteView {
            name: name.clone(),
            waiting: site.ready.len(),
            running: site.window.running(),
            window: site.window.allowed(),
            opens_at: site.window.opens_at().max(self.rate_opens_at(site)),
            last_trouble: site.last_trouble.clone(),
            suspended: self.suspended.contains(&**name),
        };
        let idle = self
            .suspended
            .iter()
            .filter(|name| !self.sites.contains_key(name.as_str()));
        let suspended = |name: &String| SiteView {
            name: name.as_str().into(),
            waiting: 0,
            running: 0,
            window: Window::default().allowed(),
            opens_at: 0,
            last_trouble: None,
            suspended: true,
        };
        self.sites.iter().map(view).chain(idle.map(suspended)).collect()
    }

    /// Nothing is tried at these sites from now on, and again at those that are not among them any more. What waits there
    /// keeps its patience: its sender is told of the delay, and it expires.
    pub fn suspend(&mut self, names: Names) {
        let before = std::mem::replace(&mut self.suspended, names);
        for name in before.difference(&self.suspended) {
            let name = Arc::from(name.as_str());
            Self::enliven(&mut self.sites, &mut self.lively, &name);
        }
    }

    fn rate_opens_at(&self, site: &Site) -> u64 {
        let limiter = site.limiter.as_ref().and_then(|route| self.limiters.get(route));
        limiter.map_or(0, Limiter::next_at)
    }

    /// When something can happen next without an event from outside.
    pub fn wakes_at(&self) -> Option<u64> {
        let timer = self.timers.peek().map(|Reverse((at, ..))| *at);
        let site = self.closed.peek().map(|Reverse((at, _))| *at);
        timer.into_iter().chain(site).min()
    }

    /// The limiter of a route, made or renewed where its rates are new.
    fn limiter(limiters: &mut HashMap<Arc<str>, Limiter>, pace: Option<&Pace>) -> Option<Arc<str>> {
        let pace = pace.filter(|pace| !pace.limits.messages.is_empty())?;
        let rates = &pace.limits.messages;
        let route = match limiters.get_key_value(pace.route.as_str()) {
            Some((route, limiter)) if limiter.is_for(rates) => return Some(route.clone()),
            Some((route, _)) => route.clone(),
            None => pace.route.as_str().into(),
        };
        limiters.insert(route.clone(), Limiter::new(rates));
        Some(route)
    }

    fn begin(&mut self, job: &Job) -> bool {
        match self.entries.get_mut(&job.entry) {
            Some(known) if known.stay == job.stay => {
                known.running += 1;
                self.running += 1;
                true
            }
            _ => false,
        }
    }

    fn feed_back(
        &mut self,
        name: &Arc<str>,
        feedback: Option<Feedback>,
        why: Option<Arc<Outcome>>,
        now: u64,
        retry: (Duration, Duration),
        draw: u64,
    ) {
        let site = self.sites.entry(name.clone()).or_default();
        match feedback {
            None => site.window.end(),
            Some(feedback) => site.window.end_with(feedback, now, retry.0, retry.1, draw),
        }
        if let Some(why) = &why {
            site.last_trouble = Some(why.clone());
        }
        let opens_at = site.window.opens_at();
        if opens_at > now {
            // Whoever waits for a dead site may not wait for ever.
            let why = why.unwrap_or_else(|| Arc::new(unreachable()));
            let over = site.ready.take_if(|job| job.patience <= now);
            self.give_up_waiting(name, over, &why);
            self.set_alarm(name, opens_at);
        }
        Self::enliven(&mut self.sites, &mut self.lively, name);
    }

    /// Has the site looked at again at that time; one timer for each time, however many ask.
    fn set_alarm(&mut self, name: &Arc<str>, at: u64) {
        if let Some(site) = self.sites.get_mut(name).filter(|site| site.alarm != at) {
            site.alarm = at;
            self.closed.push(Reverse((at, name.clone())));
        }
    }

    fn reopen(&mut self, now: u64) {
        while let Some(Reverse((at, _))) = self.closed.peek() {
            if *at > now {
                break;
            }
            if let Some(Reverse((_, name))) = self.closed.pop() {
                Self::enliven(&mut self.sites, &mut self.lively, &name);
            }
        }
    }

    fn enliven(sites: &mut HashMap<Arc<str>, Site>, lively: &mut VecDeque<Arc<str>>, name: &Arc<str>) {
        if let Some(site) = sites.get_mut(name).filter(|site| !site.lively) {
            site.lively = true;
            lively.push_back(name.clone());
        }
    }

    /// A site without jobs is forgotten once it would start afresh anyway.
    fn forget_idle(&mut self, name: &Arc<str>, now: u64) {
        let idle = |site: &Site| {
            site.ready.is_empty() && site.window.running() == 0 && site.window.opens_at() <= now
        };
        if self.sites.get(name).is_some_and(idle) {
            self.sites.remove(name);
        }
    }

    fn arm(&mut self, entry: EntryId, at: u64) {
        let at = at.min(NEVER - 1);
        if let Some(known) = self.entries.get_mut(&entry)
            && at < known.timer
        {
            known.timer = at;
            self.timers.push(Reverse((at, entry, known.stay)));
        }
    }

    /// Nothing runs, nothing waits, no timer: the entry is finished.
    fn drop_if_idle(&mut self, entry: EntryId) {
        let idle = |known: &Known| {
            known.timer == NEVER && !known.sorting && known.busy.is_empty() && known.running == 0
        };
        if self.entries.get(&entry).is_some_and(idle) {
            self.entries.remove(&entry);
        }
    }
}

fn unreachable() -> Outcome {
    Outcome::ours(
        Verdict::Deferred,
        Status::new(4, 4, 1),
        "the next hop cannot be reached",
    )
}

/// RFC 3463 section 3.5: congestion.
fn slow() -> Outcome {
    Outcome::ours(
        Verdict::Deferred,
        Status::new(4, 4, 5),
        "more mail waits for this route than its rate lets through",
    )
}

/// RFC 3463 section 3.3: the system, here ours, does not take part for now.
fn stopped() -> Outcome {
    Outcome::ours(
        Verdict::Deferred,
        Status::new(4, 3, 2),
        "the operator of the mail system has suspended this destination",
    )
}

/// Timers for which there is always room.
const ROOM: usize = 1024;

/// No timer; nothing is ever due so late.
const NEVER: u64 = u64::MAX;

/// Jobs behind a rate are asked for their patience so often, in milliseconds.
const LOOKS: u64 = 60_000;

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
