//! Which id a message had at the pod that it came from: said in the log when it becomes ours, as it has another one here.

use postroad_spool::EntryId;
use postroad_spool::handover::TransferId;

use crate::log::clean;

/// An entry that became ours, and the transfer that brought it.
pub(super) type Brought = (TransferId, EntryId);

/// Tells of each. `pod`: where they came from, by its host name; empty where that is not known.
pub(super) fn tell(pod: &str, brought: &[Brought]) {
    let pod = clean(pod);
    for (transfer, entry) in brought {
        tracing::info!(
            event = "taken-over",
            queue_id = %entry,
            origin = %transfer.entry,
            origin_spool = %transfer.source,
            pod,
            "taken-over"
        );
    }
}
