//! Sites take turns: which one starts its next job, and what keeps one from it.
//!
//! ```text
//!   line.rs ─► window open? ─► suspended, rate? ─► the next job that is not void ─► in line again
//!                  └──────────────┴─► an alarm, and whoever ran out of patience meanwhile gives up waiting
//! ```
//!
//! A site is on trial until a server of it has taken part in a transaction, and again when it is dead. A server that says
//! nothing, or an octet now and then, holds an attempt for minutes; so that a crowd of those does not hold all, sites on
//! trial have a quarter of the places together.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::super::entries::SiteNumber;
use super::super::fair::Share;
use super::super::job::{Job, Pace};
use super::super::rate::Limiter;
use super::super::window::Feedback;
use super::line::Place;
use super::{Impatient, Index};
use crate::outcome::{Outcome, Status, Verdict};

impl Index {
    pub(super) fn start_at(&mut self, turn: Share, place: Place, now: u64) -> Option<Job> {
        let number = self.leave_line(turn, place)?;
        let has_room = self.has_room_for_trials();
        self.keep_time(number, now);
        let site = self.places.get_mut(number)?;
        if !site.window.is_open(now) {
            // Woken by the end of a job, or by an alarm that was for those who wait.
            let opens_at = site.window.opens_at();
            if opens_at > now {
                self.set_alarm(number, opens_at);
            }
            return None;
        }
        let limiter = site
            .limiter
            .as_ref()
            .and_then(|route| self.limiters.get_mut(route));
        let opens = limiter.as_ref().map_or(0, |limiter| limiter.next_at());
        let shut = if self.suspended.contains(&*site.name) {
            Some((u64::MAX, stopped as fn() -> Outcome))
        } else {
            (opens > now).then_some((opens, slow as fn() -> Outcome))
        };
        if let Some((opens, why)) = shut.filter(|_| !site.ready.is_empty()) {
            if now >= site.looked_at.saturating_add(LOOKS) {
                site.looked_at = now;
                self.give_up_waiting(number, now, &Arc::new(why()));
            }
            self.set_alarm(number, opens.min(now.saturating_add(LOOKS)));
            return None;
        }
        let trial = !self.proven.contains(&site.name);
        if trial && !has_room && site.waiting() > 0 {
            site.lined.push(turn);
            self.aside.push(turn, place);
            return None;
        }
        let Some((share, job)) = site.pop(&self.entries) else {
            self.forget_idle(number, now);
            return None;
        };
        if let Some(limiter) = limiter {
            limiter.take(now, site.load(&job));
        }
        site.window.start();
        let job = Job {
            trial,
            ..job.into_job(&site.name, share)
        };
        self.entries.waits_no_more(job.entry, number);
        // Sites take turns.
        self.enliven(number);
        let begins = self.begin(&job);
        self.trials += usize::from(begins && trial);
        begins.then_some(job)
    }

    /// Whether another site that has not proven itself may be tried.
    pub(super) const fn has_room_for_trials(&self) -> bool {
        self.trials < self.most_running.div_ceil(TRIALS)
    }

    /// Whoever waits for a site that is shut may not wait for ever.
    pub(super) fn give_up_waiting(&mut self, number: SiteNumber, now: u64, why: &Arc<Outcome>) {
        let Some(site) = self.places.get_mut(number) else {
            return;
        };
        let over = site.take_if(&self.entries, |job| job.patience() <= now);
        for (_, job) in &over {
            self.entries.waits_no_more(job.entry(), number);
        }
        if !over.is_empty() {
            self.impatient.push_back(Impatient {
                site: site.name.clone(),
                why: why.clone(),
                jobs: over.into_iter(),
            });
        }
    }

    /// The limiter of a route, made or renewed where its rates are new.
    pub(super) fn limiter(
        limiters: &mut HashMap<Arc<str>, Limiter>,
        pace: Option<&Pace>,
    ) -> Option<Arc<str>> {
        let (messages, recipients) = pace.map(|pace| (&pace.limits.messages, &pace.limits.recipients))?;
        let pace = pace.filter(|_| !messages.is_empty() || !recipients.is_empty())?;
        let route = match limiters.get_key_value(pace.route.as_str()) {
            Some((route, limiter)) if limiter.is_for(messages, recipients) => return Some(route.clone()),
            Some((route, _)) => route.clone(),
            None => pace.route.as_str().into(),
        };
        limiters.insert(route.clone(), Limiter::new(messages, recipients));
        Some(route)
    }

    pub(super) fn feed_back(
        &mut self,
        name: &str,
        feedback: Option<Feedback>,
        why: Option<Arc<Outcome>>,
        now: u64,
        retry: (Duration, Duration),
        draw: u64,
    ) {
        let number = self.places.number(name);
        let Some(site) = self.places.get_mut(number) else {
            return;
        };
        match feedback {
            None => site.window.end(),
            Some(feedback) => site.window.end_with(feedback, now, retry.0, retry.1, draw),
        }
        if feedback == Some(Feedback::Good) && self.proven.add(&site.name) {
            site.leave_all_lines();
        }
        if let Some(why) = &why {
            site.last_trouble = Some(why.clone());
        }
        let opens_at = site.window.opens_at();
        if opens_at > now {
            self.proven.remove(name);
            let why = why.unwrap_or_else(|| Arc::new(unreachable()));
            self.give_up_waiting(number, now, &why);
            self.set_alarm(number, opens_at);
        }
        self.enliven(number);
    }

    /// Has the site looked at again at that time, or before where it is to be then anyway.
    pub(super) fn set_alarm(&mut self, number: SiteNumber, at: u64) {
        let Some(site) = self.places.get_mut(number) else {
            return;
        };
        if let Some(set) = site.alarm {
            if self.alarms.due_at(set).is_some_and(|set| set <= at) {
                return;
            }
            self.alarms.end(set);
        }
        site.alarm = Some(self.alarms.set(number, at));
    }

    /// Has a closed site probed now.
    pub(super) fn open(&mut self, number: SiteNumber) {
        if let Some(site) = self.places.get_mut(number) {
            site.window.open();
        }
        self.enliven(number);
    }

    /// Has the sites probed now that are closed because a route rests.
    pub fn open_resting(&mut self) {
        for number in self.places.all() {
            let trouble = self
                .places
                .get(number)
                .and_then(|site| site.last_trouble.as_ref());
            if trouble.is_some_and(|why| why.reaction.is_some()) {
                self.open(number);
            }
        }
    }

    /// A site without jobs is forgotten once it would start afresh anyway.
    fn forget_idle(&mut self, number: SiteNumber, now: u64) {
        let Some(site) = self.places.get(number) else {
            return;
        };
        if !site.ready.is_empty() || site.window.running() > 0 || site.window.opens_at() > now {
            return;
        }
        if let Some(alarm) = self.places.remove(number).and_then(|site| site.alarm) {
            self.alarms.end(alarm);
        }
    }
}

pub(super) fn unreachable() -> Outcome {
    Outcome::ours(
        Verdict::Deferred,
        Status::new(4, 4, 1),
        "the next hop cannot be reached",
    )
}

/// RFC 3463 section 3.4: other or undefined mail system status, here ours.
pub(super) fn told_later() -> Outcome {
    Outcome::ours(
        Verdict::Deferred,
        Status::new(4, 3, 0),
        "the sender is still to be told",
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

/// Of so many that run, one may be at a site on trial.
const TRIALS: usize = 4;
/// Jobs behind a rate are asked for their patience so often, in milliseconds.
const LOOKS: u64 = 60_000;
