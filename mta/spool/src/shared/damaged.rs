//! Entries that were found damaged since the spool was opened: each is counted and told once.

use std::collections::BTreeSet;

use super::{Shared, lock};
use crate::types::EntryId;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Damaged {
    /// Told when the spool was opened: not counted again.
    before: BTreeSet<EntryId>,
    found: BTreeSet<EntryId>,
}

impl Shared {
    /// These were known to be damaged when the spool was opened.
    pub fn known_damaged(&self, entries: Vec<EntryId>) {
        lock(&self.damaged).before.extend(entries);
    }

    /// The device does not give back what was written of an entry.
    pub fn found_damaged(&self, entry: EntryId, what: &str) {
        let is_new = {
            let mut damaged = lock(&self.damaged);
            !damaged.before.contains(&entry) && damaged.found.insert(entry)
        };
        if is_new {
            tracing::error!(
                event = "damaged",
                queue_id = %entry,
                reason = what,
                "a message is damaged on disk: check the device"
            );
        }
    }

    /// How many were found, those that have left the queue since then included.
    pub fn damaged(&self) -> u64 {
        lock(&self.damaged).found.len() as u64
    }
}
