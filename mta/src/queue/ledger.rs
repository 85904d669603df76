//! What the queue writes into the spool: states of recipients, and the end of an entry.
//!
//! Writing is lazy in the spool. What cannot be written is remembered here, so that this process repeats nothing; a restart may.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use postroad_spool::{EntryId, Item, Ownership, RecipientUpdate, RecordError, Spool, Status as State};

use super::hot::Hot;
use super::moved::Moved;
use super::owed;
use super::settle::Settled;
use crate::metrics::{Doubt, Metrics};

pub(super) struct Ledger {
    spool: Spool,
    hot: Hot,
    moved: Moved,
    metrics: Arc<Metrics>,
    /// Recipients whose verdict is final and could not be recorded as such: never tried again by this process.
    unrecorded: Mutex<HashSet<(EntryId, u32)>>,
}

impl Ledger {
    pub(super) fn new(spool: Spool, hot: Hot, moved: Moved, metrics: Arc<Metrics>) -> Self {
        Self {
            spool,
            hot,
            moved,
            metrics,
            unrecorded: Mutex::default(),
        }
    }

    /// Ends an entry whose recipients are all final.
    pub(super) fn finish_if_done(&self, entry: EntryId) {
        let done =
            |summary: postroad_spool::Summary| summary.pending == 0 && summary.ownership == Ownership::Owned;
        if self.spool.summary(entry).is_some_and(done) {
            self.hot.forget(entry);
            self.moved.forget(entry);
            match self.spool.finish(entry) {
                // Two jobs of one entry may both have seen the last outcome.
                Ok(()) | Err(RecordError::NoSuchEntry) => {}
                Err(error) => tracing::error!(queue_id = %entry, %error, "an entry cannot be ended"),
            }
        }
    }

    /// The usual case: all that was pending is delivered now, and nobody is to be told. The end of the entry says it all,
    /// so that no state is recorded before it.
    pub(super) fn finish_at_once(&self, entry: EntryId, item: &Item, settled: &Settled) -> bool {
        let pending = item
            .recipients
            .iter()
            .filter(|state| state.status == State::Pending);
        let is_delivered = |update: &RecipientUpdate| update.state.status == State::Delivered;
        let is_over = settled.notices.is_empty()
            && settled.after_failures.is_empty()
            && settled.first.iter().all(is_delivered)
            && settled.first.len() == pending.count();
        if !is_over || self.spool.finish(entry).is_err() {
            return false;
        }
        self.hot.forget(entry);
        self.moved.forget(entry);
        true
    }

    /// Records new states; lazily durable.
    pub(super) fn record(&self, entry: EntryId, updates: &[RecipientUpdate]) {
        if updates.is_empty() {
            return;
        }
        if let Err(error) = self.spool.record(entry, updates) {
            tracing::error!(queue_id = %entry, %error, "an outcome cannot be recorded; a restart may repeat the attempt");
            let delivered = updates.iter().filter(|update| {
                update.state.status == State::Delivered || owed::is_delivered(&update.state)
            });
            // An entry that is gone is tried by nobody.
            if error != RecordError::NoSuchEntry {
                self.metrics.doubt(Doubt::Unrecorded, delivered.count() as u64);
            }
            let finals = updates
                .iter()
                .filter(|update| update.state.status != State::Pending || owed::is_owed(&update.state));
            let mut unrecorded = self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner);
            unrecorded.extend(finals.map(|update| (entry, update.index)));
        }
    }

    /// The recipient is final, and could not be recorded as such.
    pub(super) fn is_unrecorded(&self, entry: EntryId, recipient: u32) -> bool {
        let unrecorded = self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner);
        unrecorded.contains(&(entry, recipient))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use postroad_spool::io::memory::Memory;
    use postroad_spool::{Envelope, Options, Recipient, RecipientState};

    use super::*;

    fn commit(spool: &Spool) -> Option<EntryId> {
        let envelope = Envelope {
            recipients: vec![Recipient::default(); 2],
            ..Envelope::default()
        };
        spool.begin().commit(envelope, b"x\r\n".to_vec()).wait().ok()
    }

    #[test]
    fn a_delivery_that_cannot_be_recorded_is_counted_and_not_repeated_by_this_process() {
        let memory = Memory::new(64 << 20);
        let options = Options {
            segment_size: Some(1 << 20),
            ..Options::default()
        };
        let (spool, _) = Spool::open_on(Arc::new(memory.clone()), Path::new("/spool"), &options).unwrap();
        let entry = commit(&spool).unwrap();
        let metrics = Arc::new(Metrics::new());
        let folder = tempfile::tempdir().unwrap();
        let moved = Moved::within(folder.path(), |_| true);
        let ledger = Ledger::new(spool.clone(), Hot::new(0), moved, metrics.clone());
        let update = |index, status| RecipientUpdate {
            index,
            state: RecipientState {
                status,
                ..RecipientState::default()
            },
        };
        let updates = [update(0, State::Delivered), update(1, State::Pending)];
        ledger.record(entry, &updates);
        assert!(!ledger.is_unrecorded(entry, 0));
        memory.fail_syncs(true);
        assert_eq!(commit(&spool), None, "the volume fails");
        ledger.record(entry, &updates);
        assert!(ledger.is_unrecorded(entry, 0) && !ledger.is_unrecorded(entry, 1));
        let text = metrics.text().unwrap();
        let line = "postroad_mta_duplicates_possible_total{why=\"Unrecorded\"} 1";
        assert!(text.contains(line), "{text}");
    }
}
