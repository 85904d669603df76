//! The index on disk, so that opening reads what was written since and not the whole log.
//!
//! ```text
//!   checkpoint      head │ entries … │ releases … │ tombs … │ end       each block with its CRC-32C
//!   head            the last batch in the index when the writing began (the tail), the segments that were closed then
//!   opening         checkpoint, then the tail segment from the tail on, and the segments that the head does not name
//! ```
//!
//! **When.** Every 8 segments, or 30 seconds after the last commit, or at a clean close ([`Options`]); by the keeper, who
//! looks after free segments in between. A temporary file, synced megabyte by megabyte, renamed over the old one, the
//! directory synced. It is a saving, nothing else: if it cannot be written, all goes on without.
//!
//! **While mail comes in.** Nothing is copied and the index is locked for some hundred entries at a time, so the file
//! holds each entry as it was at some moment after the tail. That is as good as all at one moment: opening applies every
//! record behind the tail in order, and a record that is applied again changes nothing ([`crate::index`]). States are in
//! the index before they are on disk, so before the rename the committer has to write and sync all it was given
//! ([`crate::shared::Job::Settle`]); if it cannot, there is no checkpoint.
//!
//! **Segments used again since.** A segment is used again only when no living entry or transfer has its message, its
//! release or a record about it there, and the records that end something outlive what they end (tombs). So after the
//! replay an entry whose message lies in a use that is no more has ended, and goes; and one that moved was moved by the
//! replay. Counts per segment are not stored but counted.
//!
//! **What is read.** Of a closed segment its header, and the number of its first batch. Of the tail segment what is behind
//! the tail. Every other segment with a record in its first megabyte whole; the others are free, of which the one that
//! would be used next is read whole all the same, in case that megabyte was damaged: segments are used in order.
//!
//! **Damage.** Damage that was found earlier is kept, and told again as long as its segment is in use. Damage that came
//! since to a closed segment is found when a message is read or copied, and by `spool check` and `spool repair`, which
//! always read everything. Body files are compared at each opening.
//!
//! **When it is not used.** It is missing, does not have its checksums, is of another spool or an unknown version, or the
//! tail is not where it says (an older or newer state of the log): then everything is read, and [`FromCheckpoint`] says
//! why. What cannot be used is removed, so that it is never mistaken for a newer one.
//!
//! [`Options`]: crate::types::Options
//! [`FromCheckpoint`]: crate::types::FromCheckpoint

mod blocks;
mod content;
mod head;
mod load;
#[cfg(test)]
mod tests;
mod write;

pub use head::{Head, Named};
pub use load::{Checkpoint, open, remove};
pub use write::{Marks, Writing, now};

/// Name of the file in the spool's directory.
const FILE: &str = "checkpoint";
/// The same until it is whole.
const TEMPORARY: &str = "checkpoint.tmp";
