//! A durable mail queue store: segmented log, group commit, recovery, hand-over.

mod blob;
mod committer;
mod completion;
mod format;
pub mod handover;
mod incoming;
mod index;
pub mod io;
mod keeper;
mod message;
mod plan;
mod recovery;
mod scan;
mod shared;
mod spool;
pub mod types;

pub use completion::Completion;
pub use incoming::Incoming;
pub use message::{Body, Message};
pub use spool::{Answered, Drained, Hold, Item, Requested, Spool, Standing};
pub use types::*;
