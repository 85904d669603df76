//! One attempt under way: who has a verdict already, what the servers before said, and what follows when it is over.
//!
//! Decisions only; the attempt itself tells it what happened.

use std::time::Duration;

use postroad_config::provider::{Kind, Reaction};
use postroad_smtp::client::Stage;
use tokio::time::Instant;

use super::link::{Target, Trouble};
use super::plan::Protocol;
use super::setback::Setback;
use super::{Attempted, reply};
use crate::dsn::text::{Charset, one_line};
use crate::outcome::Outcome;
use crate::queue::clock;
use crate::queue::window::Feedback;

/// An attempt under way.
#[derive(Debug)]
pub(super) struct Course {
    /// Recipients without a verdict.
    pub(super) left: Vec<u32>,
    /// When it ends at the latest, unless a server has asked for the data by then.
    pub(super) until: Instant,
    pub(super) outcomes: Vec<(u32, Outcome)>,
    pub(super) feedback: Option<Feedback>,
    pub(super) store: bool,
    /// Why those that are left are left: the last reason, or a hold.
    pub(super) setback: Option<Setback>,
    /// A way that can never work does not hide one that may work later.
    pub(super) may_work_later: bool,
    /// Trying on could deliver twice, or is of no use.
    pub(super) closed: bool,
    pub(super) doubtful: u64,
    pub(super) transaction: Duration,
    pub(super) way: Taking,
    /// Why those that are left went none of the ways before it.
    ways: Vec<String>,
    /// How many ways rest, and until when the first of them does.
    pub(super) rested: usize,
    pub(super) rests_until: Option<u64>,
}

/// For how long nobody can be talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dead {
    /// It may come back by itself.
    Away,
    /// Until somebody mends something.
    Broken,
}

/// The way that is taken now.
#[derive(Debug, Default)]
pub(super) struct Taking {
    /// It rests since it was taken.
    pub(super) resting: bool,
    /// A server of it took part.
    pub(super) heard: bool,
    /// One of it could not be talked to.
    pub(super) dead: Option<Dead>,
    /// Why those that are left are left: the last reason.
    pub(super) why: String,
    /// The same with its status and who said so.
    shown: String,
}

impl Course {
    pub(super) fn new(recipients: Vec<u32>, within: Duration) -> Self {
        Self {
            left: recipients,
            until: Instant::now() + within,
            outcomes: vec![],
            feedback: None,
            store: false,
            setback: None,
            may_work_later: false,
            closed: false,
            doubtful: 0,
            transaction: Duration::ZERO,
            way: Taking::default(),
            ways: vec![],
            rested: 0,
            rests_until: None,
        }
    }

    pub(super) fn takes_way(&mut self) {
        let before = std::mem::take(&mut self.way);
        self.ways.extend(Some(before.shown).filter(|why| !why.is_empty()));
    }

    /// Nobody of the way that was taken could be talked to.
    pub(super) fn dead_way(&self) -> Option<Dead> {
        self.way.dead.filter(|_| !self.way.heard)
    }

    /// The way that is taken rests: those that are left go the next one, or wait for the end of it.
    pub(super) fn rests(&mut self, until: u64, outcome: Outcome) {
        if !std::mem::replace(&mut self.way.resting, true) {
            self.rested = self.rested.saturating_add(1);
            self.rests_until = Some(self.rests_until.map_or(until, |first| first.min(until)));
        }
        // A moment is waited for; the other ways are for more than that.
        let is_short = until.saturating_sub(clock::now()) <= SHORT_REST;
        if is_short && outcome.reaction == Some(Kind::Throttle) {
            (self.closed, self.rested) = (true, usize::MAX);
        }
        let setback = Setback::resting(outcome, self.setback.as_ref());
        self.set_back(setback);
    }

    /// Its time is over, in vain. What the servers before said is no longer of use; `at`: the one that it ended with.
    pub(super) fn is_late(&mut self, at: Option<&Target<'_>>) {
        self.closed = true;
        let setback = Setback::tardy();
        self.set_back(match at {
            Some(target) => setback.at(target.hop()),
            None => setback,
        });
    }

    /// Gives a recipient its verdict.
    pub(super) fn settle(&mut self, recipient: u32, outcome: Outcome) {
        self.left.retain(|left| *left != recipient);
        self.outcomes.push((recipient, outcome));
    }

    /// A server took part: the site lives, or asks to slow down.
    pub(super) fn heard(&mut self, feedback: Feedback, protocol: Protocol) {
        self.way.heard = true;
        self.store = protocol == Protocol::Lmtp;
        if self.feedback != Some(Feedback::Busy) {
            self.feedback = Some(feedback);
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.closed || self.left.is_empty() || Instant::now() >= self.until
    }

    pub(super) fn untouched(&self) -> bool {
        self.outcomes.is_empty()
    }

    pub(super) fn trouble(&mut self, target: &Target<'_>, trouble: Trouble) {
        self.closed |= !trouble.is_repeatable();
        self.may_work_later &= !trouble.is_damage();
        if trouble.is_doubtful() {
            self.doubtful += self.left.len() as u64;
        }
        let judged = trouble.refusal().and_then(|(stage, reply)| {
            let lane = target.lane?;
            // Refused logins pause by themselves; some say in their place that the quota is used up.
            if stage == Stage::Auth && !matches!(lane.reaction(stage, reply), Reaction::Quota(_)) {
                return None;
            }
            let (reaction, until) = lane.judge(stage, reply, clock::now())?;
            let outcome = reply::by_reaction(reaction, reply, &target.hop());
            Some((reaction, until, outcome))
        });
        match judged {
            Some((_, Some(until), outcome)) => self.rests(until, outcome),
            Some((Reaction::Concurrency, None, outcome)) => self.set_back(Setback {
                outcome,
                feedback: Some(Feedback::Busy),
            }),
            // Some say so with a 421, behind which they close: what has to be mended is the same.
            Some((Reaction::Sender, None, outcome)) => {
                let feedback = trouble.setback(target).feedback;
                self.set_back(Setback { outcome, feedback });
            }
            _ => {
                let is_insecure = trouble.is_of_the_routes_tls(target);
                let setback = trouble.setback(target);
                if let Some(lane) = target.lane.filter(|_| is_insecure) {
                    lane.is_insecure(setback.outcome.source.text(), clock::now());
                }
                self.set_back(setback);
            }
        }
    }

    pub(super) fn set_back(&mut self, setback: Setback) {
        if setback.feedback == Some(Feedback::Dead) && !self.way.resting {
            let is_broken = setback.outcome.is_on_hold() || self.way.dead == Some(Dead::Broken);
            self.way.dead = Some(if is_broken { Dead::Broken } else { Dead::Away });
        }
        let permanent = setback.outcome.verdict == crate::outcome::Verdict::Failed;
        if permanent && self.may_work_later {
            return;
        }
        self.may_work_later |= !permanent;
        setback.outcome.source.text().clone_into(&mut self.way.why);
        self.way.shown = setback.outcome.kept();
        // What has to be mended says more than the trouble of others.
        match &mut self.setback {
            Some(known) if known.outcome.is_on_hold() && !setback.outcome.is_on_hold() => {
                known.feedback = setback.feedback.or(known.feedback);
            }
            last => *last = Some(setback),
        }
    }

    /// `ways`: how many there are.
    pub(super) fn end(mut self, stopped: bool, ways: usize) -> Attempted {
        if stopped {
            // What was not tried to the end stays as it was.
            self.left.clear();
        }
        let setback = self.setback.take();
        let all_rest = self.rests_until.filter(|_| self.rested >= ways);
        let feedback = all_rest.map(resting_until).or(self.feedback);
        let feedback = feedback.or_else(|| setback.as_ref().and_then(|setback| setback.feedback));
        let mut others = None;
        if !self.left.is_empty() {
            let outcome = setback.map_or_else(
                || Setback::ours("no server was tried").outcome,
                |setback| setback.outcome,
            );
            if ways > 1 {
                self.takes_way();
                others = others_than(&outcome.kept(), &self.ways).map(|why| (self.left.clone(), why));
            }
            for recipient in std::mem::take(&mut self.left) {
                self.outcomes.push((recipient, outcome.clone()));
            }
        }
        Attempted {
            outcomes: self.outcomes,
            feedback: if stopped { None } else { feedback },
            store: self.store,
            others,
            doubtful: self.doubtful,
            transaction: self.transaction,
        }
    }
}

/// What is wrong with the other ways, shortly.
fn others_than(told: &str, ways: &[String]) -> Option<String> {
    let others = ways.iter().filter(|why| *why != told);
    let others: Vec<_> = others
        .map(|why| one_line(why, Charset::Unicode, LONGEST_WHY))
        .collect();
    (!others.is_empty()).then(|| others.join("; "))
}

/// Of one of the other ways.
const LONGEST_WHY: usize = 160;
/// In milliseconds.
const SHORT_REST: u64 = 60_000;
/// `until`: in milliseconds.
fn resting_until(until: u64) -> Feedback {
    Feedback::Resting(u32::try_from(until.div_ceil(1_000)).unwrap_or(u32::MAX))
}
