//! What waits for a segment: parked until the keeper has tried once to make room, and then placed in its order, or told that
//! the spool is full.

use std::collections::VecDeque;

use super::Committer;
use super::room::leaves;
use crate::errors::CommitError;
use crate::format::frame::Frame;
use crate::format::record::Record;
use crate::format::{BLOCK, FIRST};
use crate::plan::{Draft, Notify};
use crate::shared::Job;
use crate::types::EntryId;

/// What waits for a segment.
pub(super) enum Parked {
    /// New mail: its record does not depend on the index.
    Mail(Vec<Draft>, Option<Notify>),
    /// Still to be decided, or to be decided again.
    Job(Job),
}

/// All that waits, in its order.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) parked: VecDeque<Parked>,
    /// What the keeper was asked for them; 0 is nothing.
    pub(super) request: u64,
    /// The keeper has tried for what is being placed: no room now is "full".
    pub(super) tried: bool,
    /// Steps are among them: those that come later wait behind them.
    pub(super) steps: bool,
    /// The same of outcomes: in the log the last one of an entry is the one that holds.
    pub(super) outcomes: bool,
}

impl Committer {
    pub(super) fn unpark(&mut self) {
        if !self.waiting.parked.is_empty()
            && (self.waiting.request == 0 || self.shared.answered(self.waiting.request))
        {
            self.place_parked();
        }
    }

    /// Nobody waits for the keeper any more: what there is room for now is written, mail that nobody may have heard of is not.
    pub(super) fn unpark_at_the_end(&mut self) {
        let (mail, jobs): (VecDeque<Parked>, VecDeque<Parked>) = std::mem::take(&mut self.waiting.parked)
            .into_iter()
            .partition(|parked| matches!(parked, Parked::Mail(..)));
        self.waiting.parked = jobs;
        self.place_parked();
        for parked in mail {
            if let Parked::Mail(_, Some(notify)) = parked {
                notify(Err(CommitError::Closed));
            }
        }
    }

    fn place_parked(&mut self) {
        self.waiting.request = 0;
        self.waiting.tried = true;
        self.waiting.steps = false;
        self.waiting.outcomes = false;
        for parked in std::mem::take(&mut self.waiting.parked) {
            match parked {
                Parked::Mail(drafts, notify) => self.write(drafts, notify, true),
                Parked::Job(job) => self.job(job),
            }
        }
        self.waiting.tried = false;
    }

    /// A step is decided from the index, so it is not decided before there is room for it: what came in between would not be
    /// taken into account. Steps stay in their order.
    pub(super) fn waits_for_room(&mut self, job: &Job) -> bool {
        let Some((space, message)) = step_space(job) else {
            return false;
        };
        if self.waiting.tried || self.refusal().is_some() {
            return false;
        }
        self.waiting.steps
            || !(self.make_room(space, leaves(message, false), FIRST) || self.refusal().is_some())
    }

    /// New mail, which is one record, waits, and so do outcomes; steps have waited before they were decided, and the keeper
    /// does not wait for itself.
    pub(super) fn no_room(&mut self, drafts: Vec<Draft>, notify: Option<Notify>, message: bool) {
        if let Some(error) = self.refusal() {
            if let Some(notify) = notify {
                notify(Err(error));
            }
            return;
        }
        match notify {
            Some(notify) if self.waiting.tried || !message => notify(Err(CommitError::Full)),
            Some(notify) => self.waiting.parked.push_back(Parked::Mail(drafts, Some(notify))),
            None => self.park_outcomes(drafts.into_iter().map(|draft| (draft.entry, draft.record))),
        }
        self.ask_for_space();
    }

    pub(super) fn park_outcomes(&mut self, records: impl Iterator<Item = (EntryId, Record)>) {
        let before = self.waiting.parked.len();
        self.waiting
            .parked
            .extend(records.filter_map(|(entry, record)| again(entry, record)));
        self.waiting.outcomes |= self.waiting.parked.len() > before;
    }

    pub(super) fn ask_for_space(&mut self) {
        if self.waiting.request == 0 && !self.waiting.tried {
            self.waiting.request = self.shared.request_space();
        }
    }
}

/// Octets that the record of a step takes at most, but where its entry was in hundreds of segments or it is about many
/// entries; and whether they come with a message. `None`: the job is none.
fn step_space(job: &Job) -> Option<(usize, bool)> {
    match job {
        Job::Hold(message, ..) => Some((Frame::space(message.head.len() + message.body.len()), true)),
        Job::Offer(..)
        | Job::Answered(..)
        | Job::Requested(..)
        | Job::Drained(..)
        | Job::Orphan(..)
        | Job::Seal(..) => Some((BLOCK, false)),
        Job::Message(..)
        | Job::States(..)
        | Job::Finish(_)
        | Job::Flush(_)
        | Job::Turn(_)
        | Job::Settle(_)
        | Job::Evacuate(..) => None,
    }
}

/// The job that led to a lazily written record; nothing for others, their callers were told.
fn again(entry: EntryId, record: Record) -> Option<Parked> {
    match record {
        Record::States(updates) => Some(Parked::Job(Job::States(entry, updates))),
        Record::Done { .. } => Some(Parked::Job(Job::Finish(entry))),
        _ => None,
    }
}
