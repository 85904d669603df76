//! One job from its start to its last record.
//!
//! ```text
//!   read ─► plan ─► attempt ─► settle ─► record ─► notices ─► record ─► log ─► finish
//!                                                     └─ one that cannot be queued: owed (owed.rs), tried again without an attempt
//! ```
//!
//! Order matters: what was delivered is recorded first, so that a crash repeats as little as possible; what failed is
//! recorded after its notice is committed, so that a crash never loses a notice.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use postroad_config::Dnssec;
use postroad_spool::{EntryId, Item, Ownership, ReadError, RecipientState, Spool, Status as State};
use tokio_util::sync::CancellationToken;

use super::hot::{Fresh, Hot};
use super::job::{Ended, Job, NO_SITE};
use super::ledger::Ledger;
use super::moved::Moved;
use super::owed::{self, is_owed, owing, owing_expansion};
use super::retry::Schedule;
use super::settle::{self, Attempt, Due, Settled, settle};
use super::sort::Sorter;
use super::window::Feedback;
use super::{Parts, Queue, clock, sort};
use crate::accept::Intake;
use crate::deliver::plan::Plan;
use crate::deliver::sites::{self, Sites};
use crate::deliver::{Answers, Attempted, Deliverer, Load};
use crate::dsn::flood::Flood;
use crate::dsn::{self, compose::Action};
use crate::logins::Logins;
use crate::metrics::{Doubt, Metrics};
use crate::outcome::{self, Delays, Outcome, Verdict};
use crate::settings::{Live, Settings};

pub(super) struct Worker {
    spool: Spool,
    live: Live,
    metrics: Arc<Metrics>,
    deliverer: Deliverer,
    sites: Sites,
    hot: Hot,
    moved: Moved,
    intake: Intake,
    ledger: Ledger,
    flood: Mutex<Flood>,
}

/// A job under way.
struct Work<'a> {
    job: &'a Job,
    settings: &'a Settings,
    item: &'a Item,
    size: u64,
    octets: Option<&'a [u8]>,
    plan: Plan,
    schedule: Schedule,
    pending: Vec<u32>,
    /// When it began: by the wall clock in milliseconds, and to measure.
    began: (u64, Instant),
    /// No attempt is made: this is the outcome.
    instead: Option<Outcome>,
}

impl Work<'_> {
    /// In milliseconds.
    fn delay_notice(&self) -> u64 {
        clock::milliseconds(self.settings.set.file.queue.delay_notice)
    }

    /// Where the time of the attempt went, now that it is over.
    fn delays(&self, attempted: &Attempted) -> Delays {
        let queued = self.began.0.saturating_sub(self.item.envelope.arrived);
        Delays {
            queue: Duration::from_millis(queued),
            connect: self.began.1.elapsed().saturating_sub(attempted.transaction),
            transaction: attempted.transaction,
        }
    }
}

impl Worker {
    pub(super) fn new(parts: Parts, logins: Logins, sorter: Sorter, queue: Queue) -> Self {
        let stored = move |entry| queue.accepted(entry);
        Self {
            intake: Intake::new(
                parts.spool.clone(),
                parts.live.clone(),
                parts.metrics.clone(),
                stored,
            ),
            deliverer: Deliverer::new(
                parts.spool.clone(),
                parts.dns,
                parts.tls,
                sorter.sites.clone(),
                parts.mx_port,
            )
            .with_policy_port(parts.policy_port)
            .with_tls_sessions(parts.tls_sessions)
            .with_seen(parts.metrics.seen.clone())
            .with_logins(logins)
            .with_lanes(parts.metrics.lanes.clone())
            .with_turns(parts.turns),
            sites: sorter.sites,
            ledger: Ledger::new(
                parts.spool.clone(),
                sorter.hot.clone(),
                sorter.moved.clone(),
                parts.metrics.clone(),
            ),
            hot: sorter.hot,
            moved: sorter.moved,
            spool: parts.spool,
            live: parts.live,
            metrics: parts.metrics,
            flood: Mutex::default(),
        }
    }

    /// How long a message has been on hold under its policy.
    fn held(&self, plan: &Plan, item: &Item) -> u64 {
        let holds = self.metrics.lanes.holds();
        holds.held(&plan.name, item.envelope.arrived, clock::now())
    }

    /// Tells how an attempt went, and has the message live longer by the time on hold, that of the attempt included.
    fn learnt<'a>(&self, work: Work<'a>, attempted: &Attempted) -> Work<'a> {
        if work.instead.is_none() {
            let outcomes = attempted.outcomes.iter().map(|(_, outcome)| outcome);
            let holds = self.metrics.lanes.holds();
            holds.learn(&work.plan.name, outcomes, clock::now());
        }
        let held = self.held(&work.plan, work.item);
        let schedule = Schedule::new(
            &work.plan.retry,
            settle::age(work.item, &work.settings.set.file.queue, held),
        );
        Work { schedule, ..work }
    }

    /// See [`Ledger::finish_if_done`].
    pub(super) fn finish_if_done(&self, entry: EntryId) {
        self.ledger.finish_if_done(entry);
    }

    /// Runs a job. `stop` ends its attempt at the next safe point.
    pub(super) async fn run(&self, job: Job, stop: &CancellationToken) -> Ended {
        let began = (clock::now(), Instant::now());
        let settings = self.live.current();
        let message = match self.read(job.entry).await {
            Ok(Some(message)) => message,
            Ok(None) => return Ended::over(job),
            Err(again) => return Ended::interrupted(job, again),
        };
        let pending: Vec<u32> = job
            .recipients
            .iter()
            .copied()
            .filter(|index| {
                waits_for(&message.item, *index, &job) && !self.ledger.is_unrecorded(job.entry, *index)
            })
            .collect();
        let Some(first) = pending.first() else {
            self.ledger.finish_if_done(job.entry);
            return Ended::over(job);
        };
        let by = self.moved.of(job.entry);
        let plan = sort::plan(&settings.set.file, &message.item, *first, by.as_deref());
        let held = self.held(&plan, &message.item);
        let schedule = Schedule::new(
            &plan.retry,
            settle::age(&message.item, &settings.set.file.queue, held),
        );
        let lost = message.lost.then(Outcome::body_lost);
        let why = lost.or_else(|| job.instead.as_deref().cloned());
        let instead = why.or_else(|| schedule.is_late(clock::now()).then(Outcome::late));
        if instead.is_none() && by.is_none() && self.moves(&plan, job.entry, pending.len()) {
            // Gone by then, or tried here.
            let again = clock::now().saturating_add(AFTER_A_MOVE);
            return Ended {
                pending,
                ..Ended::interrupted(job, again)
            };
        }
        let answers = self.ask(&plan, &settings, &message.item, &job, stop).await;
        let Some(answers) = answers else {
            // The settings changed since it was sorted, or the DNS names other servers now.
            let again = clock::now();
            return Ended {
                pending,
                ..Ended::interrupted(job, again)
            };
        };
        let is_silent = answers.are_silent();
        let work = Work {
            schedule,
            instead,
            job: &job,
            settings: &settings,
            item: &message.item,
            size: message.size,
            octets: message.octets.as_deref(),
            plan,
            pending,
            began,
        };
        let attempted = self.attempt(&work, answers, stop).await;
        let work = self.learnt(work, &attempted);
        self.metrics.doubt(Doubt::NoReply, attempted.doubtful);
        let Left {
            pending: left,
            next,
            notice_at,
        } = self.carry_out(&work, &attempted).await;
        if !left.is_empty() || notice_at.is_some() {
            // Their states are others now.
            self.hot.forget(job.entry);
        }
        let closes = attempted.feedback.is_some_and(Feedback::closes);
        // Silence about one domain says nothing of servers that it shares with others.
        let feedback = attempted
            .feedback
            .filter(|_| !is_silent || !job.site.starts_with(sites::SHARED));
        let mut outcomes = attempted.outcomes.into_iter().map(|(_, outcome)| outcome);
        let why = outcomes.find(|outcome| outcome.verdict == Verdict::Deferred);
        let why = why.map(Arc::new);
        Ended {
            feedback,
            why: why.filter(|_| closes),
            retry: (work.plan.retry.first.get(), work.plan.retry.max.get()),
            patience: patience(&work, &left, clock::now()),
            urgent: schedule.deadline(clock::now()).is_some(),
            pending: left,
            next,
            notice_at,
            job,
        }
    }

    /// Whether the entry goes to another pod, which its route belongs to. One that is for other routes as well is delivered here:
    /// pods of two routes would give it back and forth.
    fn moves(&self, plan: &Plan, entry: EntryId, pending: usize) -> bool {
        let summary = self.spool.summary(entry);
        let is_whole = summary.is_some_and(|summary| summary.pending == pending);
        is_whole && self.deliverer.moves(plan, entry)
    }

    /// `Ok(None)`: the entry is gone or not ours. `Err`: when to look again.
    async fn read(&self, entry: EntryId) -> Result<Option<Arc<Fresh>>, u64> {
        if let Some(message) = self.hot.get(entry) {
            let summary = self.spool.summary(entry);
            let is_ours = summary.is_some_and(|summary| summary.ownership == Ownership::Owned);
            return Ok(is_ours.then_some(message));
        }
        let spool = self.spool.clone();
        let read = move || {
            let message = spool.read(entry)?;
            if message.ownership != Ownership::Owned {
                return Err(ReadError::NoSuchEntry);
            }
            let message = Fresh::read(message)?;
            if message.lost {
                spool.found_damaged(entry);
            }
            Ok(message)
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok(message)) => Ok(Some(Arc::new(message))),
            Ok(Err(ReadError::NoSuchEntry)) => Ok(None),
            Ok(Err(ReadError::Damaged)) | Err(_) => Err(clock::now().saturating_add(AGAIN_AFTER_TROUBLE)),
            Ok(Err(error)) => {
                tracing::error!(queue_id = %entry, %error, "an entry cannot be read; it stays in the spool");
                Err(clock::now().saturating_add(AGAIN_AFTER_TROUBLE))
            }
        }
    }

    /// Asks where the plan leads. `None`: not all of the job's recipients belong to its site (any more).
    async fn ask(
        &self,
        plan: &Plan,
        settings: &Settings,
        item: &Item,
        job: &Job,
        stop: &CancellationToken,
    ) -> Option<Answers> {
        let mut answers = Answers::default();
        if job.instead.is_none() {
            let asked = async {
                let others = match job.recipients.as_slice() {
                    // Its plan is the one that is asked for below.
                    [_] => vec![],
                    many => {
                        let by = self.moved.of(job.entry);
                        sort::plans(&settings.set.file, item, many, by.as_deref())
                    }
                };
                for other in others.iter().filter(|other| *other != plan) {
                    self.deliverer.ask(other, settings.hostname()).await;
                }
                let answers = self.deliverer.ask(plan, settings.hostname()).await;
                let strays = others.iter().any(|other| other.site(&self.sites) != *job.site);
                (!strays).then_some(answers)
            };
            answers = tokio::select! {
                asked = asked => asked?,
                () = stop.cancelled() => return None,
            };
        }
        let fits = *job.site == *NO_SITE || plan.site(&self.sites) == *job.site;
        fits.then_some(answers)
    }

    async fn attempt(&self, work: &Work<'_>, answers: Answers, stop: &CancellationToken) -> Attempted {
        if let Some(why) = &work.instead {
            let outcome = |index: &u32| match state(work.item, *index).filter(|state| is_owed(state)) {
                Some(state) => (*index, owed::verdict(state)),
                None => (*index, why.clone()),
            };
            return Attempted {
                outcomes: work.pending.iter().map(outcome).collect(),
                feedback: work.job.instead.as_ref().map(|_| Feedback::Dead),
                store: work.plan.is_store(),
                ..Attempted::default()
            };
        }
        let load = Load {
            entry: work.job.entry,
            item: work.item,
            size: work.size,
            octets: work.octets,
            recipients: &work.pending,
            hostname: work.settings.hostname(),
            validated: work.settings.set.file.dnssec != Dnssec::Ignored,
            submitted: was_submitted(work),
        };
        self.deliverer.attempt(&work.plan, answers, &load, stop).await
    }

    /// Records, sends notices, logs. Returns who is still pending, and what is due when.
    async fn carry_out(&self, work: &Work<'_>, attempted: &Attempted) -> Left {
        let entry = work.job.entry;
        let now = clock::now();
        let delays = work.delays(attempted);
        let attempt = Attempt {
            made: work.instead.is_none(),
            final_store: attempted.store,
            submitted: was_submitted(work),
            delay_notice: work.delay_notice(),
            now,
            draw: clock::draw(),
        };
        let mut settled = settle(work.item, &attempted.outcomes, &work.schedule, attempt);
        if let Some((recipients, why)) = &attempted.others {
            settled.tell_besides(recipients, why);
        }
        if self.ledger.finish_at_once(entry, work.item, &settled) {
            self.log(work, &attempted.outcomes, &settled, delays, now);
            return Left::default();
        }
        self.ledger.record(entry, &settled.first);
        let is_owing = self.tell(work, attempted, &settled, now).await;
        let mut left = left_alone(work, attempted);
        let mut next = settled.next;
        left.extend(&settled.pending);
        if settled.pending.len() < left.len() && next.is_none() {
            next = Some(now);
        }
        self.log(work, &attempted.outcomes, &settled, delays, now);
        self.ledger.finish_if_done(entry);
        Left {
            pending: left,
            next,
            notice_at: is_owing.then(|| now.saturating_add(AGAIN_AFTER_TROUBLE)),
        }
    }

    /// Sends notices, and records what is recorded after them. True: some are to be tried again, without another attempt.
    async fn tell(&self, work: &Work<'_>, attempted: &Attempted, settled: &Settled, now: u64) -> bool {
        let entry = work.job.entry;
        let mut untold = Vec::new();
        for due in &settled.notices {
            let notice = self.notify(work, due, &attempted.outcomes, now).await;
            let is_told = match due.action {
                Action::Failed => notice == Notice::Queued,
                // One that is left out is never sent.
                _ => notice != Notice::Postponed,
            };
            if !is_told {
                untold.push(due.action);
            }
        }
        let told = |action| !untold.contains(&action);
        let (delays, expansions) = (told(Action::Delayed), told(Action::Expanded));
        let successes = told(Action::Delivered) && told(Action::Relayed);
        if expansions {
            self.ledger.record(entry, &settled.after_expansions);
            // Behind those, as they count the attempt.
            if delays {
                self.ledger.record(entry, &settled.after_delays);
            }
        }
        if successes {
            self.ledger.record(entry, &settled.after_successes);
        }
        let failures = told(Action::Failed);
        let failed = settled.after_failures.iter().map(|update| {
            if !expansions && settled.is_expanded(update.index) {
                owing_expansion(update)
            } else if failures {
                update.clone()
            } else {
                owing(update)
            }
        });
        self.ledger.record(entry, &failed.collect::<Vec<_>>());
        !(failures && successes && expansions)
    }

    /// Who has logged in is who the notice goes to, and who may relay is trusted by its network; any other sender may be
    /// forged, see [`Flood`].
    fn may_notify(&self, work: &Work<'_>, now: u64) -> bool {
        let envelope = &work.item.envelope;
        let may_relay = |client: IpAddr| work.settings.may_relay(client);
        let mut flood = self.flood.lock().unwrap_or_else(PoisonError::into_inner);
        envelope.identity.is_some()
            || envelope.client.parse().is_ok_and(may_relay)
            || flood.may_notify(&envelope.reverse_path, now)
    }

    /// Queues a notice.
    async fn notify(&self, work: &Work<'_>, due: &Due, outcomes: &[(u32, Outcome)], now: u64) -> Notice {
        let entry = work.job.entry;
        if !self.may_notify(work, now) {
            tracing::warn!(
                event = "notice-held",
                queue_id = %entry,
                action = ?due.action,
                "too many notices to this sender in an hour"
            );
            return Notice::LeftOut;
        }
        let (spool, action, size) = (self.spool.clone(), due.action, work.size);
        let read = tokio::task::spawn_blocking(move || {
            let mut message = spool.read(entry).map_err(|error| error.to_string())?;
            dsn::read_returned(&message.item, action, size, &mut message.body)
                .map_err(|error| error.to_string())
        });
        let returned = match read.await.map_err(|error| error.to_string()).flatten() {
            Ok(returned) => returned,
            Err(error) => {
                // The notice matters more than what it returns.
                tracing::error!(queue_id = %entry, error, "the message cannot be returned with its notice");
                dsn::Returned::Headers(work.item.prefix.clone())
            }
        };
        let token = clock::token();
        let context = dsn::Context {
            hostname: work.settings.hostname(),
            id: entry,
            now,
            retry_until: work.schedule.expires(),
            lifetime: clock::milliseconds(work.settings.set.file.queue.null_sender_lifetime),
            keeps_extensions: self.spool.keeps_extensions(),
            token: &token,
        };
        let (envelope, message) = dsn::write(work.item, due, outcomes, &returned, context);
        match self.intake.own(envelope, message).await {
            Ok(notice) => {
                self.metrics.notices.inc();
                tracing::info!(event = "notice", queue_id = %entry, notice = %notice, action = ?due.action, "notice");
                Notice::Queued
            }
            Err(error) => {
                tracing::error!(queue_id = %entry, %error, "a notice cannot be queued; it is tried again");
                Notice::Postponed
            }
        }
    }

    fn log(&self, work: &Work<'_>, outcomes: &[(u32, Outcome)], settled: &Settled, delays: Delays, now: u64) {
        let queue_id = work.job.entry.to_string();
        let counted = settled.after_expansions.iter();
        let updates = || {
            counted
                .clone()
                .chain(&settled.first)
                .chain(&settled.after_failures)
        };
        for (index, outcome) in outcomes {
            // An order gives a verdict; what the queue comes back to has one.
            let why = work.job.instead.as_ref();
            let is_new = why.is_none_or(|why| why.verdict == Verdict::Failed);
            if !is_new && state(work.item, *index).is_some_and(is_owed) {
                // It was said when it was known.
                continue;
            }
            let recipient = usize::try_from(*index)
                .ok()
                .and_then(|at| work.item.envelope.recipients.get(at));
            let (Some(recipient), Some(update)) =
                (recipient, updates().find(|update| update.index == *index))
            else {
                continue;
            };
            let line = outcome::Line {
                queue_id: &queue_id,
                sender: &work.item.envelope.reverse_path,
                recipient: &recipient.forward_path,
                site: &work.job.site,
                route: &work.plan.name,
                attempts: update.state.attempts,
                delay_seconds: now.saturating_sub(work.item.envelope.arrived) / 1_000,
                delays,
                next_attempt: (outcome.verdict == Verdict::Deferred && !settled.expired.contains(index))
                    .then_some(update.state.next_attempt),
            };
            outcome::tell(&line, outcome, settled.expired.contains(index), &self.metrics);
        }
    }
}

/// What a job leaves.
#[derive(Debug, Default)]
struct Left {
    /// Who is to be tried again.
    pending: Vec<u32>,
    /// When the earliest of them is due.
    next: Option<u64>,
    /// When notices are tried again.
    notice_at: Option<u64>,
}

/// What became of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notice {
    /// It is on its way.
    Queued,
    /// Its sender has had too many.
    LeftOut,
    /// It could not be queued.
    Postponed,
}

/// Recipients for whom the attempt ended before there was an outcome: they stay as they were.
fn left_alone(work: &Work<'_>, attempted: &Attempted) -> Vec<u32> {
    let known = |index: &u32| attempted.outcomes.iter().any(|(of, _)| of == index);
    work.pending
        .iter()
        .copied()
        .filter(|index| !known(index))
        .collect()
}

/// Patience of those that are left: who was told of the delay by now is not told again.
fn patience(work: &Work<'_>, left: &[u32], now: u64) -> u64 {
    settle::patience(work.item, left, &work.schedule, work.delay_notice(), now)
}

impl Ended {
    /// Nothing is left of the job.
    fn over(job: Job) -> Self {
        Self {
            pending: vec![],
            next: None,
            ..Self::interrupted(job, 0)
        }
    }

    /// The job ended without an attempt; it is looked at again at `again`.
    pub(super) fn interrupted(job: Job, again: u64) -> Self {
        Self {
            feedback: None,
            why: None,
            retry: (Duration::ZERO, Duration::ZERO),
            pending: job.recipients.clone(),
            next: Some(again),
            notice_at: None,
            patience: job.patience,
            urgent: false,
            job,
        }
    }
}

/// Whether its sender is one of ours: who logged in, or comes from a network that may relay.
fn was_submitted(work: &Work<'_>) -> bool {
    let envelope = &work.item.envelope;
    let may_relay = |client: IpAddr| work.settings.may_relay(client);
    envelope.identity.is_some() || envelope.client.parse().is_ok_and(may_relay)
}

fn state(item: &Item, index: u32) -> Option<&RecipientState> {
    usize::try_from(index).ok().and_then(|at| item.recipients.get(at))
}

/// Whether the job is for this recipient: whose verdict is known is tried at no site.
fn waits_for(item: &Item, index: u32, job: &Job) -> bool {
    let is_told_only = *job.site == *NO_SITE;
    state(item, index).is_some_and(|state| state.status == State::Pending && is_owed(state) == is_told_only)
}

/// Wait after trouble with the spool, in milliseconds.
const AGAIN_AFTER_TROUBLE: u64 = 300_000;
/// One that is to be handed over and is here still is looked at again, in milliseconds.
const AFTER_A_MOVE: u64 = 10_000;
