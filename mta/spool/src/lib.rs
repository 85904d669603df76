//! A durable mail queue store: segmented log, group commit, recovery, hand-over.
//!
//! Promise: a message whose commit succeeded is there after any crash, whole, once, until it is finished or given
//! away. Assumes: one process per directory (a lock file sees to it), a device that keeps what it synced, and
//! callers that do not finish what they have not delivered.
//!
//! ```text
//! Spool::begin ─► Incoming ──┐                     ┌► segments/*.seg   records, bodies up to 256 KiB
//! record, finish, hand-over ─┴► committer (1 sync) ┤
//!                               keeper (space)     └► blobs/*.blob     larger bodies
//! Spool::open  ─► recovery ─► index in memory ─► Spool::entries, Spool::read
//! ```

mod blob;
mod checkpoint;
mod committer;
mod completion;
mod declared;
mod errors;
mod format;
pub mod handover;
mod incoming;
mod index;
pub mod inspect;
pub mod io;
mod keeper;
mod message;
mod plan;
mod recovery;
mod scan;
mod shared;
mod spool;
pub mod table;
mod turn;
pub mod types;
mod window;

pub use completion::Completion;
pub use declared::{Drained, Orphan, Settled};
pub use errors::{CommitError, HandoverError, OpenError, ReadError, RecordError};
pub use format::{NEWEST as NEWEST_FORMAT, OLDEST as OLDEST_FORMAT};
pub use incoming::{Incoming, Written};
pub use message::{Body, Message};
pub use spool::{Answered, Hold, Item, Requested, Spool, Standing};
pub use types::*;
