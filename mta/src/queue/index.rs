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
//! An entry that waits costs some 50 octets: 24 in `entries.rs`, 24 as a job (`waiting.rs`); it has a timer or a job,
//! and one that waits for a dead site has no timer. Envelopes stay on disk. A recipient is in one job at most.

mod line;
mod told;
mod turns;
mod urgent;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use postroad_spool::EntryId;

use super::entries::{Entries, SiteNumber};
use super::fair::{Fair, Kind, Share};
use super::job::{Ended, Group, Job, NO_SITE, Sorted};
use super::places::Places;
use super::proven::Proven;
use super::rate::Limiter;
use super::suspended::Names;
use super::waiting::Waiting;
use super::wheel::Wheel;
use super::window::Feedback;
use crate::outcome::Outcome;
use line::Place;

pub use told::{Busiest, Load, Tally};

/// The index. All times are milliseconds since 1970.
#[derive(Debug)]
pub struct Index {
    entries: Entries,
    /// Mail that was just accepted. May name entries that have gone on meanwhile.
    fresh: VecDeque<EntryId>,
    timers: Wheel<EntryId>,
    places: Places,
    /// Sites that may have a job to start.
    lively: Fair<Place>,
    /// Those of them that have not shown yet that mail leaves by them, when enough of those are being tried.
    aside: Fair<Place>,
    /// Jobs that run at such sites.
    trials: usize,
    proven: Proven,
    /// When sites are looked at again: closed ones, and those behind a rate.
    alarms: Wheel<SiteNumber>,
    /// Jobs that get their outcome without an attempt; those that came together take turns with the others.
    impatient: VecDeque<Impatient>,
    /// Those of them that run.
    settling: usize,
    /// What is said of those whose notice alone is due; each has an outcome of its own.
    owed: Arc<Outcome>,
    /// Rates of routes that have some.
    limiters: HashMap<Arc<str>, Limiter>,
    /// Entries whose sites are to be opened.
    probing: HashSet<EntryId>,
    /// Entries that are due at once, whatever their schedules say.
    eager: HashSet<EntryId>,
    /// Sites where nothing is tried.
    suspended: Names,
    held: usize,
    running: usize,
    most_running: usize,
}

/// Jobs that do not wait for their site any more.
#[derive(Debug)]
struct Impatient {
    site: Arc<str>,
    why: Arc<Outcome>,
    jobs: std::vec::IntoIter<(Share, Waiting)>,
}

impl Index {
    /// An empty index that runs at most so many jobs at once.
    pub fn new(most_running: usize, now: u64) -> Self {
        Self {
            entries: Entries::default(),
            fresh: VecDeque::new(),
            timers: Wheel::new(now),
            places: Places::default(),
            lively: Fair::one_by_one(),
            aside: Fair::one_by_one(),
            trials: 0,
            proven: Proven::default(),
            alarms: Wheel::new(now),
            impatient: VecDeque::new(),
            settling: 0,
            owed: Arc::new(turns::told_later()),
            limiters: HashMap::new(),
            probing: HashSet::new(),
            eager: HashSet::new(),
            suspended: Names::new(),
            held: 0,
            running: 0,
            most_running,
        }
    }

    /// Takes an entry in, due at `at`; [`NEVER`]: it is held. One that is here already stays as it is.
    pub fn add(&mut self, entry: EntryId, at: u64) {
        if self.entries.add(entry) {
            self.arm(entry, at);
        }
    }

    /// Takes in an entry that was just accepted: due at once, before all that waited for its time.
    pub fn accept(&mut self, entry: EntryId) {
        if self.entries.add(entry) {
            self.fresh.push_back(entry);
        }
    }

    /// Forgets an entry: nothing of it starts from now on. False while a job of it runs or it is being sorted: ask again
    /// when that ended.
    pub fn remove(&mut self, entry: EntryId) -> bool {
        self.probing.remove(&entry);
        self.eager.remove(&entry);
        for site in self.entries.void(entry) {
            if let Some(place) = self.places.get_mut(site) {
                place.void(&self.entries);
                // One that is empty now may be forgotten.
                self.enliven(site);
            }
        }
        let Some(known) = self.entries.get_mut(entry) else {
            return true;
        };
        if let Some(timer) = known.timer.take() {
            self.timers.end(timer);
        }
        self.held -= usize::from(std::mem::take(&mut known.held));
        if known.running > 0 || known.sorting {
            return false;
        }
        self.entries.remove(entry);
        true
    }

    /// Whether the entry is here.
    pub fn contains(&self, entry: EntryId) -> bool {
        self.entries.get(entry).is_some()
    }

    /// Whether the entry is here and held.
    pub fn is_held(&self, entry: EntryId) -> bool {
        self.entries.get(entry).is_some_and(|known| known.held)
    }

    /// Gives recipients of an entry this outcome at once, whatever their sites do. Takes the entry in where it is not here.
    pub fn settle_instead(&mut self, entry: EntryId, mut recipients: Vec<u32>, outcome: &Arc<Outcome>) {
        self.entries.add(entry);
        let Some(stay) = self.entries.get(entry).map(|known| known.stay) else {
            return;
        };
        recipients.retain(|recipient| self.entries.occupy(entry, *recipient));
        if recipients.is_empty() {
            return;
        }
        let job = Waiting::new(Job {
            entry,
            stay,
            trial: false,
            site: NO_SITE.into(),
            share: Share::default(),
            recipients,
            patience: u64::MAX,
            instead: None,
        });
        self.impatient.push_back(Impatient {
            site: NO_SITE.into(),
            why: outcome.clone(),
            jobs: vec![(Share::default(), job)].into_iter(),
        });
    }

    /// Takes an entry in, due at once; a site that it turns out to wait for is opened, should it be closed because it was
    /// dead: somebody wants to know now.
    pub fn retry(&mut self, entry: EntryId, now: u64) {
        self.add(entry, now);
        self.probing.insert(entry);
    }

    /// Those of these entries that are due whatever their schedules say; it is told once.
    pub fn take_eager(&mut self, entries: &[EntryId]) -> HashSet<EntryId> {
        let eager = entries.iter().filter_map(|entry| self.eager.take(entry));
        eager.collect()
    }

    /// Whether a person wants the sites of this entry opened.
    pub fn is_probed(&self, entry: EntryId) -> bool {
        self.probing.contains(&entry)
    }

    /// Entries, and jobs that run.
    pub fn count(&self) -> (usize, usize) {
        (self.entries.len(), self.running)
    }

    /// Entries whose time has come; each is to be sorted, then [`Index::sorted`] is to be called.
    pub fn due(&mut self, now: u64, most: usize) -> Vec<EntryId> {
        let mut due = vec![];
        // After a start, or new settings, a million may be due: fresh mail is not behind them, nor they behind it.
        self.take_fresh(&mut due, most - most / 4);
        self.take_due(&mut due, now, most);
        self.take_fresh(&mut due, most);
        due
    }

    /// Whether so much is due that another thread is worth its waking: fresh mail for a whole turn, or mail that waited.
    pub fn has_many_due(&self, now: u64, turn: usize) -> bool {
        self.fresh.len() >= turn || self.timers.next_at().is_some_and(|at| at <= now)
    }

    fn take_fresh(&mut self, due: &mut Vec<EntryId>, most: usize) {
        while due.len() < most {
            let Some(entry) = self.fresh.pop_front() else {
                return;
            };
            // One that an order took out and in again is sorted once more, and goes on as it was.
            if let Some(known) = self.entries.get_mut(entry).filter(|known| !known.sorting) {
                known.sorting = true;
                due.push(entry);
            }
        }
    }

    fn take_due(&mut self, due: &mut Vec<EntryId>, now: u64, most: usize) {
        while due.len() < most {
            let Some(entry) = self.timers.pop(now) else {
                return;
            };
            let Some(known) = self.entries.get_mut(entry) else {
                continue;
            };
            known.timer = None;
            if known.sorting {
                // What is read now may be older than what set the timer.
                known.timer = Some(self.timers.set(entry, now.saturating_add(AFTER_SORTING)));
                continue;
            }
            known.sorting = true;
            due.push(entry);
        }
    }

    /// Takes in what reading an entry showed. `None`: the entry is gone, or cannot be read; it is forgotten.
    pub fn sorted(&mut self, entry: EntryId, found: Option<Sorted>) {
        let Some(known) = self.entries.get_mut(entry) else {
            return;
        };
        known.sorting = false;
        if known.is_leaving() {
            return;
        }
        let Some(found) = found else {
            self.probing.remove(&entry);
            self.drop_if_idle(entry);
            return;
        };
        let stay = known.stay;
        let probes = self.probing.remove(&entry);
        for group in found.groups {
            if probes {
                let number = self.places.number(&group.site);
                self.open(number);
            }
            self.wait(entry, stay, found.share, group);
        }
        for recipients in found.owed {
            self.settle_instead(entry, recipients, &self.owed.clone());
        }
        if let Some(next) = found.next {
            self.arm(entry, next);
        }
        self.drop_if_idle(entry);
    }

    fn wait(&mut self, entry: EntryId, stay: u32, share: Share, group: Group) {
        let Group {
            site,
            mut recipients,
            patience,
            urgent,
            pace,
        } = group;
        recipients.retain(|recipient| self.entries.occupy(entry, *recipient));
        if recipients.is_empty() {
            return;
        }
        let limiter = Self::limiter(&mut self.limiters, pace.as_ref());
        let number = self.places.number(&site);
        if let Some(place) = self.places.get_mut(number) {
            let limits = pace.as_ref().map(|pace| &pace.limits);
            place.window.set_cap(limits.and_then(|limits| limits.connections));
            place.recipients = limits.and_then(|limits| limits.recipients_per_transaction);
            place.limiter = limiter;
            let site = place.name.clone();
            let at_once = limits.and_then(|limits| Limiter::most_recipients(&limits.recipients));
            for some in recipients.chunks(at_once.unwrap_or(recipients.len())) {
                let job = Job {
                    entry,
                    stay,
                    trial: false,
                    site: site.clone(),
                    share,
                    recipients: some.to_vec(),
                    patience,
                    instead: None,
                };
                self.push(number, job);
            }
            if urgent {
                self.hurry(number, patience);
            }
        }
    }

    fn push(&mut self, number: SiteNumber, job: Job) {
        if let Some(place) = self.places.get_mut(number) {
            self.entries.waits(job.entry, number);
            let share = job.share;
            place.ready.push(share, Waiting::new(job));
            self.line_up(number, share);
        }
    }

    /// The next job that may start now; it counts as running until [`Index::ended`].
    pub fn start(&mut self, now: u64) -> Option<Job> {
        while let Some(number) = self.alarms.pop(now) {
            let Some(site) = self.places.get_mut(number) else {
                continue;
            };
            site.alarm = None;
            self.keep_time(number, now);
            self.enliven(number);
        }
        if self.running >= self.most_running {
            return None;
        }
        // A million may run out of patience with one site at once: other sites go on meanwhile.
        if self.settling < self.most_running.div_ceil(SETTLING)
            && let Some(job) = self.start_impatient()
        {
            return Some(job);
        }
        while let Some((share, place)) = self.next_in_line() {
            if let Some(job) = self.start_at(share, place, now) {
                return Some(job);
            }
        }
        self.start_impatient()
    }

    fn start_impatient(&mut self) -> Option<Job> {
        while let Some(mut group) = self.impatient.pop_front() {
            let Some((share, job)) = group.jobs.next() else {
                continue;
            };
            let job = Job {
                instead: Some(group.why.clone()),
                ..job.into_job(&group.site, share)
            };
            self.impatient.push_back(group);
            if self.begin(&job) {
                self.settling += 1;
                return Some(job);
            }
        }
        None
    }

    /// A job ended. `draw` is random.
    pub fn ended(&mut self, ended: Ended, now: u64, draw: u64) {
        self.running = self.running.saturating_sub(1);
        self.trials -= usize::from(ended.job.trial);
        let Ended {
            job,
            feedback,
            why,
            retry,
            pending,
            next,
            notice_at,
            patience,
            urgent,
        } = ended;
        if job.instead.is_some() {
            self.settling = self.settling.saturating_sub(1);
        } else {
            self.feed_back(&job.site, feedback, why, now, retry, draw);
        }
        let Some(known) = self.entries.get_mut(job.entry) else {
            return;
        };
        known.running = known.running.saturating_sub(1);
        if known.is_leaving() {
            return;
        }
        if let Some(at) = notice_at {
            self.arm(job.entry, at);
        }
        // A failure that does not close the site is one of the message: it keeps its schedule.
        let site = self
            .places
            .known(&job.site)
            .and_then(|number| self.places.get(number));
        let is_closed = site.is_some_and(|site| site.window.opens_at() > now);
        let waits_for_site = !pending.is_empty()
            && *job.site != *NO_SITE
            && (job.instead.is_some() || (feedback.is_some_and(Feedback::closes) && is_closed));
        if waits_for_site {
            let over: Vec<u32> = job
                .recipients
                .iter()
                .copied()
                .filter(|one| !pending.contains(one))
                .collect();
            self.entries.release(job.entry, &over);
            let share = Share {
                kind: Kind::Again,
                ..job.share
            };
            let number = self.places.number(&job.site);
            // Its time is over and that could not be told: not before its schedule says, instead of at once and for ever.
            let patience = if patience > now {
                patience
            } else {
                next.unwrap_or(0).max(now.saturating_add(OVERDUE))
            };
            let job = Job {
                recipients: pending,
                patience,
                share,
                trial: false,
                instead: None,
                ..job
            };
            self.push(number, job);
            if urgent {
                self.hurry(number, patience);
            }
        } else {
            self.entries.release(job.entry, &job.recipients);
            if let (Some(next), false) = (next, pending.is_empty()) {
                self.arm(job.entry, next);
            }
            self.drop_if_idle(job.entry);
        }
    }

    /// Sends all that waits for a site back to be sorted: the settings changed, and with them perhaps the sites. What waited for somebody to
    /// mend something is due then: it may be mended.
    pub fn resort(&mut self, now: u64) {
        self.limiters.retain(|_, limiter| !limiter.is_idle(now));
        // Who waits with few others is not sorted behind a million.
        let mut all = self.places.all();
        all.sort_by_cached_key(|number| self.places.get(*number).map(super::places::Site::waiting));
        for number in all {
            let Some(site) = self.places.get_mut(number) else {
                continue;
            };
            let is_on_hold = site.last_trouble.as_ref().is_some_and(|why| why.is_on_hold());
            let is_eager = is_on_hold && site.window.opens_at() > now;
            for (_, job) in site.take_if(&self.entries, |_| true) {
                self.entries.waits_no_more(job.entry(), number);
                self.entries.release(job.entry(), job.recipients());
                if is_eager {
                    self.eager.insert(job.entry());
                }
                self.arm(job.entry(), now);
            }
            self.enliven(number);
        }
    }

    /// All that waits for its time is sorted now: it may be over sooner than it seemed.
    pub fn look_again(&mut self, now: u64) {
        for entry in self.entries.with_timer() {
            self.arm(entry, now);
        }
    }

    /// When something can happen next without an event from outside.
    pub fn wakes_at(&self) -> Option<u64> {
        let fresh = (!self.fresh.is_empty()).then_some(0);
        let next = [fresh, self.timers.next_at(), self.alarms.next_at()];
        next.into_iter().flatten().min()
    }

    fn begin(&mut self, job: &Job) -> bool {
        match self.entries.get_mut(job.entry) {
            Some(known) if known.stay == job.stay => {
                known.running += 1;
                self.running += 1;
                true
            }
            _ => false,
        }
    }

    /// Sets the timer of an entry, unless it goes off before; [`NEVER`]: somebody has to release it.
    fn arm(&mut self, entry: EntryId, at: u64) {
        let Some(known) = self.entries.get_mut(entry) else {
            return;
        };
        if at == NEVER {
            self.held += usize::from(!std::mem::replace(&mut known.held, true));
            return;
        }
        if let Some(set) = known.timer {
            if self.timers.due_at(set).is_some_and(|set| set <= at) {
                return;
            }
            self.timers.end(set);
        }
        known.timer = Some(self.timers.set(entry, at));
    }

    /// Nothing runs, nothing waits, no timer: the entry is finished.
    fn drop_if_idle(&mut self, entry: EntryId) {
        if self
            .entries
            .get(entry)
            .is_some_and(super::entries::Known::is_idle)
        {
            self.entries.remove(entry);
        }
    }
}

/// When a held entry is due.
pub const NEVER: u64 = u64::MAX;

/// Of so many that run, one may settle mail that is not tried any more while other mail can start.
const SETTLING: usize = 4;
/// An entry that is due while it is being read is looked at again after this time.
const AFTER_SORTING: u64 = 100;
/// What is overdue and cannot be settled is looked at again after so long, in milliseconds.
const OVERDUE: u64 = 60_000;

#[cfg(test)]
#[path = "index_model.rs"]
mod model;
#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
