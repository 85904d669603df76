//! Entries that leave the queue for a hand-over.
//!
//! ```text
//!   withdraw ─► attempts of the entries end ─► out of the index ─► durable ─► answered: theirs now
//!                    │ not soon                                  └► not:     taken in again, answered with none
//!                    └─► answered without these: they are late ─► asked for again, or taken in again after a while
//! ```
//!
//! An attempt that has sent the end of the data is waited for, as nobody else knows what became of it; the other entries of
//! the withdrawal do not wait for it. One that is late is not tried again meanwhile: it will be asked for again.

use std::collections::HashSet;

use postroad_spool::{EntryId, Ownership, Spool};
use tokio::sync::oneshot;

use super::Queue;
use super::hot::Hot;
use super::index::Index;

/// A withdrawal that waits for attempts to end.
pub(super) struct Withdrawal {
    waiting: Vec<EntryId>,
    quiet: Vec<EntryId>,
    /// When it is answered without the others, in milliseconds since 1970.
    until: u64,
    answer: oneshot::Sender<Vec<EntryId>>,
}

/// Entries that were to leave and were busy for too long.
#[derive(Debug)]
pub(super) struct Late {
    entries: Vec<EntryId>,
    until: u64,
}

impl Withdrawal {
    pub(super) fn new(entries: Vec<EntryId>, answer: oneshot::Sender<Vec<EntryId>>, now: u64) -> Self {
        Self {
            waiting: entries,
            quiet: Vec::new(),
            until: now.saturating_add(SOON),
            answer,
        }
    }

    /// When it is to be looked at again, should nothing happen before.
    pub(super) fn until(&self) -> u64 {
        self.until
    }

    /// Takes out what is quiet. True: all of them are, or those that are have waited long enough for the others.
    pub(super) fn proceed(&mut self, index: &mut Index, hot: &Hot, now: u64) -> bool {
        let quiet = &mut self.quiet;
        self.waiting.retain(|entry| {
            hot.forget(*entry);
            let is_quiet = index.remove(*entry);
            quiet.extend(is_quiet.then_some(*entry));
            !is_quiet
        });
        self.waiting.is_empty() || (now >= self.until && !self.quiet.is_empty())
    }

    /// Those that are not quiet yet.
    pub(super) fn late(&mut self, now: u64) -> Late {
        Late {
            entries: std::mem::take(&mut self.waiting),
            until: now.saturating_add(ASKED_AGAIN),
        }
    }

    /// Answers once the outcomes are durable. What could not be made durable is not handed over, and nobody else would
    /// deliver it: the queue has it again.
    pub(super) fn answer(self, spool: Spool, queue: Queue) {
        tokio::spawn(async move {
            let durable = spool.flush().await.is_ok();
            let left = self
                .quiet
                .into_iter()
                .filter(|entry| is_undelivered(&spool, *entry));
            let left: Vec<EntryId> = left.collect();
            let answer = if durable {
                left
            } else {
                queue.give_back(left);
                Vec::new()
            };
            // Who asked may have gone.
            if let Err(unheard) = self.answer.send(answer) {
                queue.give_back(unheard);
            }
        });
    }
}

impl Late {
    /// These were asked for again.
    pub(super) fn forget(&mut self, asked: &HashSet<EntryId>) {
        self.entries.retain(|entry| !asked.contains(entry));
    }

    /// Nobody has asked for these again, and they are quiet: the queue is to have them again.
    pub(super) fn take(&mut self, index: &mut Index, now: u64) -> Vec<EntryId> {
        if now < self.until {
            return Vec::new();
        }
        let entries = std::mem::take(&mut self.entries).into_iter();
        let (quiet, busy) = entries.partition(|entry| index.remove(*entry));
        self.entries = busy;
        quiet
    }

    pub(super) fn until(&self) -> u64 {
        self.until
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn is_undelivered(spool: &Spool, entry: EntryId) -> bool {
    let summary = spool.summary(entry);
    summary.is_some_and(|summary| summary.pending > 0 && summary.ownership == Ownership::Owned)
}

/// Those that are quiet wait so long for the others, in milliseconds.
const SOON: u64 = 300;
/// A late one is asked for again within this time, in milliseconds, or else nobody wants it.
const ASKED_AGAIN: u64 = 60_000;

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::Arc;

    use postroad_spool::io::memory::Memory;
    use postroad_spool::{Envelope, Options, Recipient, RecipientState, RecipientUpdate};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::dns::Dns;
    use crate::dns::table::Table;
    use crate::metrics::Metrics;
    use crate::queue::job::{Ended, Group, Job, Sorted};
    use crate::queue::orders::HELD;
    use crate::settings::{Live, Settings};

    pub(in crate::queue) async fn commit(spool: &Spool) -> Option<EntryId> {
        let envelope = Envelope {
            recipients: vec![Recipient::default()],
            arrived: crate::queue::clock::now(),
            expires: u64::MAX / 2,
            ..Envelope::default()
        };
        spool.begin().commit(envelope, b"x\r\n".to_vec()).await.ok()
    }

    pub(in crate::queue) fn queue(spool: &Spool, shutdown: &CancellationToken) -> Queue {
        let text = "format: 1\nhostname: mail.example.com\nspool: {directory: /unused}\n";
        let set = postroad_config::assemble(text, &BTreeMap::new()).unwrap();
        let live = Live::new(Settings::new(set).unwrap());
        let dns = Dns::new(Table::default());
        Queue::start(
            spool.clone(),
            live,
            dns,
            Arc::new(Metrics::new()),
            shutdown.clone(),
        )
        .unwrap()
    }

    fn id(number: u64) -> EntryId {
        EntryId::from_u64(number)
    }

    /// An index in which a job of this entry runs.
    fn busy(entry: EntryId) -> (Index, Job) {
        let mut index = Index::new(8, 0);
        index.add(entry, 0);
        index.due(0, 1);
        let group = Group {
            site: "tarpit".to_owned(),
            recipients: vec![0],
            patience: u64::MAX,
            urgent: false,
            pace: None,
        };
        let found = Sorted {
            groups: vec![group],
            ..Sorted::default()
        };
        index.sorted(entry, Some(found));
        let job = index.start(0).unwrap();
        (index, job)
    }

    #[test]
    fn one_that_is_busy_holds_up_no_other_and_is_not_lost() {
        let (mut index, job) = busy(id(1));
        index.add(id(2), 1 << 40);
        let hot = Hot::new(0);
        let ask = |entries: &[u64], now| {
            let entries = entries.iter().copied().map(id).collect();
            Withdrawal::new(entries, oneshot::channel().0, now)
        };
        let mut both = ask(&[1, 2], 0);
        assert!(!both.proceed(&mut index, &hot, 0), "it may be done at once");
        assert!(both.proceed(&mut index, &hot, both.until()));
        assert_eq!(both.quiet, [id(2)]);
        let mut late = both.late(300);
        let mut alone = ask(&[1], 300);
        assert!(
            !alone.proceed(&mut index, &hot, 10_000),
            "nothing else waits for it"
        );
        assert!(late.take(&mut index, 10_000).is_empty());
        assert!(late.take(&mut index, late.until()).is_empty(), "it is busy");
        index.ended(Ended::interrupted(job, 20_000), 20_000, 0);
        assert_eq!(index.start(1 << 41), None, "it is not tried again meanwhile");
        assert!(alone.proceed(&mut index, &hot, 20_000));
        assert_eq!(alone.quiet, [id(1)]);
        late.forget(&[id(1)].into());
        assert!(late.is_empty(), "it is theirs now");

        let (mut index, job) = busy(id(3));
        index.add(id(4), 1 << 40);
        let mut both = ask(&[3, 4], 0);
        assert!(!both.proceed(&mut index, &hot, 0) && both.proceed(&mut index, &hot, 300));
        let mut late = both.late(300);
        index.ended(Ended::interrupted(job, 1_000), 1_000, 0);
        assert!(late.take(&mut index, 1_000).is_empty(), "it may be asked for");
        assert_eq!(late.take(&mut index, late.until()), [id(3)]);
        assert!(late.is_empty());
    }

    /// How many entries the queue has; none of them is ever due.
    async fn held(queue: &Queue) -> usize {
        queue.standing(0).await.unwrap().0.held
    }

    #[tokio::test]
    async fn what_cannot_be_made_durable_stays_in_the_queue() {
        let memory = Memory::new(64 << 20);
        let options = Options {
            segment_size: Some(1 << 20),
            ..Options::default()
        };
        let (spool, _) = Spool::open_on(Arc::new(memory.clone()), Path::new("/spool"), &options).unwrap();
        let mut entries = Vec::new();
        for _ in 0..2 {
            let entry = commit(&spool).await.unwrap();
            let state = RecipientState {
                next_attempt: HELD,
                ..RecipientState::default()
            };
            spool
                .record(entry, &[RecipientUpdate { index: 0, state }])
                .unwrap();
            entries.push(entry);
        }
        let shutdown = CancellationToken::new();
        let queue = queue(&spool, &shutdown);
        assert_eq!(held(&queue).await, 2);
        assert_eq!(queue.withdraw(vec![entries[0]]).await, [entries[0]]);
        assert_eq!(held(&queue).await, 1, "it is out");
        queue.give_back(vec![entries[0]]);
        assert_eq!(held(&queue).await, 2);
        memory.fail_syncs(true);
        assert_eq!(commit(&spool).await, None, "the volume fails");
        assert!(queue.withdraw(entries.clone()).await.is_empty());
        assert_eq!(held(&queue).await, 2, "nobody else delivers them");
        shutdown.cancel();
        queue.stopped().await;
    }
}
