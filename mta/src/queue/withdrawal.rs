//! Entries that leave the queue for a hand-over.
//!
//! ```text
//!   withdraw ─► attempts of the entries end ─► out of the index ─► durable ─► answered: theirs now
//!                                                                 └► not:     taken in again, answered with none
//! ```

use postroad_spool::{EntryId, Ownership, Spool};
use tokio::sync::oneshot;

use super::Queue;
use super::hot::Hot;
use super::index::Index;

/// A withdrawal that waits for attempts to end.
pub(super) struct Withdrawal {
    waiting: Vec<EntryId>,
    all: Vec<EntryId>,
    answer: oneshot::Sender<Vec<EntryId>>,
}

impl Withdrawal {
    pub(super) fn new(entries: Vec<EntryId>, answer: oneshot::Sender<Vec<EntryId>>) -> Self {
        Self {
            waiting: entries.clone(),
            all: entries,
            answer,
        }
    }

    /// Takes out what is quiet. True: all of them are.
    pub(super) fn proceed(&mut self, index: &mut Index, hot: &Hot) -> bool {
        self.waiting.retain(|entry| !index.remove(*entry));
        self.all.iter().for_each(|entry| hot.forget(*entry));
        self.waiting.is_empty()
    }

    /// Answers once the outcomes are durable. What could not be made durable is not handed over, and nobody else would
    /// deliver it: the queue has it again.
    pub(super) fn answer(self, spool: Spool, queue: Queue) {
        tokio::spawn(async move {
            let durable = spool.flush().await.is_ok();
            let left = self
                .all
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

fn is_undelivered(spool: &Spool, entry: EntryId) -> bool {
    let summary = spool.summary(entry);
    summary.is_some_and(|summary| summary.pending > 0 && summary.ownership == Ownership::Owned)
}

#[cfg(test)]
mod tests {
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
    use crate::queue::orders::HELD;
    use crate::settings::{Live, Settings};

    async fn commit(spool: &Spool) -> Option<EntryId> {
        let envelope = Envelope {
            recipients: vec![Recipient::default()],
            expires: u64::MAX / 2,
            ..Envelope::default()
        };
        spool.begin().commit(envelope, b"x\r\n".to_vec()).await.ok()
    }

    fn queue(spool: &Spool, shutdown: &CancellationToken) -> Queue {
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
