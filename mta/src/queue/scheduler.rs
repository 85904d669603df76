//! The one task that owns the index: takes events in, starts sorts and jobs, ends when told.
//!
//! ```text
//!   commands ─┐
//!   timers ───┼─► index ─► sort tasks, job tasks ─► events ─┐
//!   settings ─┘      ▲                                      │
//!                    └──────────────────────────────────────┘
//! ```

use std::collections::{HashMap, HashSet};
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use postroad_config::Retry;
use postroad_spool::{EntryId, Ownership, Spool};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::hot::Hot;
use super::index::Index;
use super::job::{Ended, Job, Sorted};
use super::orders::{HELD, Order, Waiting};
use super::owed::due_at;
use super::sort::{self, Sorter};
use super::suspended::Names;
use super::withdrawal::{Late, Withdrawal};
use super::worker::Worker;
use super::{Command, Parts, Queue, clock};
use crate::deliver::lanes::Lanes;
use crate::logins::Logins;
use crate::settings::{Live, Settings};

pub(super) struct Scheduler {
    index: Index,
    inbox: mpsc::UnboundedReceiver<Command>,
    tasks: JoinSet<Event>,
    open: HashMap<Id, Open>,
    /// Those of `open` that sort.
    sorting: usize,
    leaving: Vec<Withdrawal>,
    late: Vec<Late>,
    orders: Vec<Waiting>,
    queue: Queue,
    worker: Arc<Worker>,
    spool: Spool,
    live: Live,
    /// What entries were sorted by.
    sorted_by: Arc<Settings>,
    sorter: Sorter,
    lanes: Lanes,
    logins: Logins,
    /// When a person last wanted mail to be tried.
    asked: u64,
    running: Arc<AtomicUsize>,
    /// The spool takes no outcomes any more.
    at_rest: bool,
    shutdown: CancellationToken,
}

enum Event {
    Sorted(Vec<(EntryId, Option<Sorted>)>),
    Ended(Box<Ended>),
}

/// What a task is for, should it end without saying so.
enum Open {
    Sort(Vec<EntryId>),
    Job(Job, CancellationToken),
}

impl Scheduler {
    pub(super) fn new(
        parts: Parts,
        queue: &Queue,
        inbox: mpsc::UnboundedReceiver<Command>,
        suspended: Names,
    ) -> Self {
        let mut index = Index::new(MOST_RUNNING, clock::now());
        index.suspend(suspended);
        let own = || Logins::new(parts.dns.clone(), parts.tls.clone());
        let logins = parts.logins.clone().unwrap_or_else(own);
        let sorter = Sorter {
            spool: parts.spool.clone(),
            live: parts.live.clone(),
            sites: queue.0.sites.clone(),
            hot: Hot::new(MOST_HOT),
            moved: queue.0.moved.clone(),
            holds: parts.metrics.lanes.holds().clone(),
            keys: RandomState::new(),
        };
        Self {
            index,
            inbox,
            tasks: JoinSet::new(),
            open: HashMap::new(),
            sorting: 0,
            leaving: vec![],
            late: vec![],
            orders: vec![],
            queue: queue.clone(),
            spool: parts.spool.clone(),
            live: parts.live.clone(),
            sorted_by: parts.live.current(),
            running: queue.0.running.clone(),
            lanes: parts.metrics.lanes.clone(),
            logins: logins.clone(),
            asked: 0,
            at_rest: false,
            shutdown: parts.shutdown.clone(),
            worker: Arc::new(Worker::new(parts, logins, sorter.clone(), queue.clone())),
            sorter,
        }
    }

    pub(super) async fn run(mut self) {
        self.load();
        let mut changed = self.live.changed();
        let lanes = self.lanes.clone();
        loop {
            self.pump();
            let pause = self.pause();
            tokio::select! {
                () = self.shutdown.cancelled() => break,
                command = self.inbox.recv() => match command {
                    Some(command) => self.command(command),
                    None => break,
                },
                Some(ended) = self.tasks.join_next_with_id() => self.event(ended),
                Ok(()) = changed.changed() => self.follow_settings(),
                () = lanes.woken() => self.index.open_resting(),
                () = tokio::time::sleep(pause) => {}
            }
            self.answer_leaving();
            self.carry_out_orders();
        }
        self.end().await;
    }

    /// What waits is sorted anew where it may go elsewhere now: a million messages are not read for a new user.
    fn follow_settings(&mut self) {
        let settings = self.live.current();
        let resumes = self.lanes.follow(&self.sorted_by.set.file, &settings.set.file);
        let is_led_anew = !sort::leads_alike(&self.sorted_by.set.file, &settings.set.file);
        if is_led_anew {
            self.index.resort(clock::now());
        }
        // What was to be mended may be mended.
        if resumes || is_led_anew {
            self.index.open_resting();
        }
        if sort::may_expire_sooner(&self.sorted_by.set.file, &settings.set.file) {
            self.index.look_again(clock::now());
        }
        self.sorted_by = settings;
    }

    /// Everything that the spool owns; what was finished but for its end is ended.
    fn load(&mut self) {
        let now = clock::now();
        let latest = now.saturating_add(self.longest_wait());
        for id in self.spool.ids_behind(None, usize::MAX) {
            let Some(entry) = self.spool.summary(id) else {
                continue;
            };
            if entry.ownership != Ownership::Owned {
                continue;
            }
            if entry.pending == 0 {
                self.worker.finish_if_done(entry.id);
            } else {
                self.index
                    .add(entry.id, looked_at(due_at(entry.next_attempt), now, latest));
            }
        }
    }

    /// The longest that any recipient waits by today's policies.
    fn longest_wait(&self) -> u64 {
        let settings = self.live.current();
        let policies = settings.set.file.policies.iter();
        let longest = policies
            .map(|policy| policy.retry.max)
            .chain([Retry::default().max]);
        let longest = longest.map(clock::milliseconds).max().unwrap_or(0);
        longest.saturating_add(longest / 10)
    }

    /// Starts what may start now; nothing while the spool cannot say what became of it, as the next start would send all of
    /// that again.
    fn pump(&mut self) {
        if self.spool.is_read_only() {
            return self.rest();
        }
        if self.spool.is_stalled() {
            return;
        }
        let now = clock::now();
        while self.sorting == 0 || self.sorting < MOST_SORTING && self.index.has_many_due(now, MOST_AT_ONCE) {
            let due = self.index.due(now, MOST_AT_ONCE);
            if due.is_empty() {
                break;
            }
            let (sorter, entries) = (self.sorter.clone(), due.clone());
            let eager = self.index.take_eager(&due);
            let task = async move { Event::Sorted(sorter.sort(entries, eager, now).await) };
            let id = self.tasks.spawn(task).id();
            self.open.insert(id, Open::Sort(due));
            self.sorting += 1;
        }
        while let Some(job) = self.index.start(now) {
            let stop = CancellationToken::new();
            let (worker, task_job, task_stop) = (self.worker.clone(), job.clone(), stop.clone());
            let run = async move { Event::Ended(Box::new(worker.run(task_job, &task_stop).await)) };
            let id = self.tasks.spawn(run).id();
            self.open.insert(id, Open::Job(job, stop));
        }
        self.running.store(self.index.count().1, Ordering::Relaxed);
    }

    /// Attempts end at their next safe point, and none starts until the next start of the process.
    fn rest(&mut self) {
        if !std::mem::replace(&mut self.at_rest, true) {
            tracing::error!("nothing is delivered any more: the spool cannot record what became of it");
            self.stop_all();
        }
        self.running.store(self.index.count().1, Ordering::Relaxed);
    }

    fn stop_all(&self) {
        for open in self.open.values() {
            if let Open::Job(_, stop) = open {
                stop.cancel();
            }
        }
    }

    fn pause(&self) -> Duration {
        let now = clock::now();
        let leaving = self.leaving.iter().map(Withdrawal::until);
        let late = self.late.iter().map(Late::until);
        // Of those whose time has come something is still busy: the end of that wakes us.
        let leaving = leaving.chain(late).filter(|at| *at > now);
        let wakes_at = if self.at_rest {
            None
        } else if self.spool.is_stalled() {
            Some(now.saturating_add(STALLED_PAUSE))
        } else {
            self.index.wakes_at()
        };
        let next = leaving.chain(wakes_at).min();
        let until = next.map(|at| Duration::from_millis(at.saturating_sub(now)));
        match until {
            // Entries that are due wait for a sort to end; its event wakes us.
            Some(Duration::ZERO) if self.sorting > 0 => LONGEST_PAUSE,
            Some(until) => until.clamp(SHORTEST_PAUSE, LONGEST_PAUSE),
            None => LONGEST_PAUSE,
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Accepted(entries) => {
                for entry in entries {
                    let next = self
                        .spool
                        .summary(entry)
                        .map_or(0, |summary| due_at(summary.next_attempt));
                    let now = clock::now();
                    if next <= now {
                        self.index.accept(entry);
                    } else {
                        self.index.add(entry, next);
                    }
                }
            }
            // Who asked may have gone.
            Command::Sites(after, most, answer) => {
                drop(answer.send(self.index.sites(after.as_deref(), most)));
            }
            Command::Views(names, answer) => {
                drop(answer.send(self.index.views(&names)));
            }
            Command::Standing(most, answer) => {
                let _ = answer.send((self.index.tally(clock::now()), self.index.busiest(most)));
            }
            Command::Suspend(names) => self.index.suspend(names),
            Command::Order(order) => {
                if matches!(order.order, Order::Release | Order::Retry) {
                    self.asked = clock::now();
                    self.lanes.probe(self.asked);
                }
                self.stop_attempts(&order.entries);
                self.orders.push(order);
            }
            Command::Concluded(order, durable) => order.conclude(durable, &mut self.index, &self.spool),
            Command::Withdraw(entries, answer) => {
                self.stop_attempts(&entries);
                let asked = entries.iter().copied().collect();
                self.late.iter_mut().for_each(|late| late.forget(&asked));
                self.leaving.push(Withdrawal::new(entries, answer, clock::now()));
            }
        }
    }

    fn event(&mut self, ended: Result<(Id, Event), JoinError>) {
        let now = clock::now();
        match ended {
            Ok((id, event)) => {
                self.close(id);
                match event {
                    Event::Sorted(sorted) => {
                        for (entry, found) in sorted {
                            if self.index.is_probed(entry) {
                                let groups = found.iter().flat_map(|found| &found.groups);
                                groups.for_each(|group| self.logins.probe(&group.site, self.asked));
                            }
                            self.index.sorted(entry, found);
                        }
                    }
                    Event::Ended(ended) => self.index.ended(*ended, now, clock::draw()),
                }
            }
            Err(error) => {
                tracing::error!(%error, "a task of the queue failed; what it was for is tried again");
                match self.close(error.id()) {
                    Some(Open::Sort(entries)) => {
                        for entry in entries {
                            let again = Sorted {
                                next: Some(now.saturating_add(AFTER_A_FAULT)),
                                ..Sorted::default()
                            };
                            self.index.sorted(entry, Some(again));
                        }
                    }
                    Some(Open::Job(job, _)) => {
                        let ended = Ended::interrupted(job, now.saturating_add(AFTER_A_FAULT));
                        self.index.ended(ended, now, clock::draw());
                    }
                    None => {}
                }
            }
        }
    }

    fn close(&mut self, id: Id) -> Option<Open> {
        let open = self.open.remove(&id);
        self.sorting -= usize::from(matches!(open, Some(Open::Sort(_))));
        open
    }

    /// Attempts for these entries end at their next safe point.
    fn stop_attempts(&self, entries: &[EntryId]) {
        let entries: HashSet<&EntryId> = entries.iter().collect();
        for open in self.open.values() {
            if let Open::Job(job, stop) = open
                && entries.contains(&job.entry)
            {
                stop.cancel();
            }
        }
    }

    /// Carries out orders, as far as attempts have ended.
    fn carry_out_orders(&mut self) {
        for mut order in std::mem::take(&mut self.orders) {
            if order.proceed(&mut self.index, &self.sorter.hot, &self.spool) {
                order.settle(self.spool.clone(), self.queue.clone());
            } else {
                self.orders.push(order);
            }
        }
    }

    /// Answers withdrawals whose entries are quiet, once their outcomes are durable.
    fn answer_leaving(&mut self) {
        let now = clock::now();
        for mut leaving in std::mem::take(&mut self.leaving) {
            if leaving.proceed(&mut self.index, &self.sorter.hot, now) {
                self.late.push(leaving.late(now));
                leaving.answer(self.spool.clone(), self.queue.clone());
            } else {
                self.leaving.push(leaving);
            }
        }
        for late in &mut self.late {
            for entry in late.take(&mut self.index, now) {
                self.index.accept(entry);
            }
        }
        self.late.retain(|late| !late.is_empty());
    }

    /// Attempts end at their next safe point; what has no outcome stays pending.
    async fn end(mut self) {
        self.stop_all();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            tracing::warn!("attempts were still open at the end; their recipients may get a message twice");
        }
        self.tasks.shutdown().await;
        if let Err(error) = self.spool.flush().await {
            tracing::error!(%error, "the last outcomes could not be made durable");
        }
    }
}

/// When an entry that was found in the spool is looked at. What would wait longer than anything waits is looked at now:
/// the clock may have been set back since its time was written, which the sort can tell.
fn looked_at(next_attempt: u64, now: u64, latest: u64) -> u64 {
    if next_attempt > latest && next_attempt != HELD {
        now
    } else {
        next_attempt.max(now)
    }
}

/// Attempts that run at once, over all sites.
const MOST_RUNNING: usize = 256;
/// Threads that read entries; while they read, more become due and are read together.
const MOST_SORTING: usize = 2;
/// Entries that one of them reads in one go.
const MOST_AT_ONCE: usize = 64;
/// Octets of messages that are kept between sorting and the attempt.
const MOST_HOT: usize = 32 << 20;
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// While the volume hangs, in milliseconds.
const STALLED_PAUSE: u64 = 1_000;
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// How long attempts may take to end when the queue ends.
const GRACE: Duration = Duration::from_secs(20);
/// Wait after a fault of our own, in milliseconds.
const AFTER_A_FAULT: u64 = 60_000;
