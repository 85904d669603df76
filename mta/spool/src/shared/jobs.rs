//! What the committer is asked to do, and the queue of it.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{OpenGuard, Shared, lock};
use crate::blob::BlobFile;
use crate::declared::{Drained, Orphan, Settled};
use crate::errors::{CommitError, HandoverError};
use crate::format::record::Record;
use crate::handover::{ToSource, ToTarget, TransferId};
use crate::index::{Epoch, Tomb};
use crate::spool::{Answered, Requested};
use crate::types::{EntryId, RecipientUpdate, SealState, SpoolUuid};

/// Where the answer to a caller goes.
pub type Reply<T, E = CommitError> = oneshot::Sender<Result<T, E>>;

/// A message ready to be written.
#[derive(Debug)]
pub struct NewMessage {
    pub id: EntryId,
    pub record: Record,
    /// Payload up to the body.
    pub head: Vec<u8>,
    /// The inline body.
    pub body: Vec<u8>,
    /// Checksum of both.
    pub crc: u32,
    pub blob: Option<BlobFile>,
    pub open: OpenGuard,
    /// See [`crate::plan::Draft::prompt`].
    pub prompt: bool,
}

/// Something that has to be carried out of a segment.
#[derive(Debug)]
pub enum Survivor {
    /// A message with its payload.
    Message(EntryId, Vec<u8>),
    /// An entry whose message is elsewhere.
    State(EntryId),
    /// A released transfer.
    Release(TransferId),
    Tomb(Tomb),
}

/// A job for the committer.
#[derive(Debug)]
pub enum Job {
    Message(Box<NewMessage>, Reply<EntryId>),
    Hold(Box<NewMessage>, TransferId, Reply<ToSource, HandoverError>),
    States(EntryId, Vec<RecipientUpdate>),
    Finish(EntryId),
    Offer(EntryId, SpoolUuid, Reply<ToTarget, HandoverError>),
    Answered(SpoolUuid, ToSource, Reply<Answered, HandoverError>),
    Requested(ToTarget, Reply<Requested, HandoverError>),
    Drained(SpoolUuid, u64, Reply<Drained>),
    Orphan(Orphan, Reply<Settled, HandoverError>),
    Seal(bool, Reply<SealState>),
    Flush(Reply<()>),
    /// Go on in the format that is written now.
    Turn(Reply<()>),
    /// Everything given so far is written and synced, also what may be late; an error if it cannot be.
    Settle(Reply<()>),
    Evacuate(Epoch, Vec<Survivor>, Reply<()>),
}

impl Job {
    /// Written lazily: nobody waits for it.
    pub const fn is_outcome(&self) -> bool {
        matches!(self, Self::States(..) | Self::Finish(_))
    }
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    jobs: VecDeque<Job>,
    urgent: bool,
    lazy_since: Option<Instant>,
    pub(super) news: bool,
    closing: bool,
}

impl Shared {
    /// Hands a job to the committer; after closing it is dropped, and its caller told so.
    pub fn submit(&self, job: Job) {
        let mut queue = lock(&self.queue);
        if queue.closing {
            return;
        }
        if job.is_outcome() {
            queue.lazy_since.get_or_insert_with(Instant::now);
        } else {
            queue.urgent = true;
        }
        let wake = queue.urgent || queue.jobs.is_empty();
        queue.jobs.push_back(job);
        drop(queue);
        if wake {
            self.queue_wake.notify_one();
        }
    }

    /// Waits for jobs, until `latest` at most; all that are there. `None`: closing and nothing left.
    pub fn take(&self, latest: Option<Instant>) -> Option<VecDeque<Job>> {
        let mut queue = lock(&self.queue);
        loop {
            let lazy = Duration::from_millis(self.options.lazy_ms);
            let waited = queue.lazy_since.map(|since| since.elapsed());
            if queue.urgent || queue.news || queue.closing || waited.is_some_and(|w| w >= lazy) {
                if queue.closing && queue.jobs.is_empty() {
                    return None;
                }
                queue.urgent = false;
                queue.news = false;
                queue.lazy_since = None;
                return Some(std::mem::take(&mut queue.jobs));
            }
            let until = latest.map(|latest| latest.saturating_duration_since(Instant::now()));
            if until == Some(Duration::ZERO) {
                return Some(VecDeque::new());
            }
            let left = waited.map(|waited| lazy.saturating_sub(waited));
            queue = match left.into_iter().chain(until).min() {
                None => self
                    .queue_wake
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    self.queue_wake
                        .wait_timeout(queue, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
    }

    pub fn close_queue(&self) {
        lock(&self.queue).closing = true;
        self.queue_wake.notify_all();
    }
}
