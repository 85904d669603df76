//! A durable mail queue store: segmented log, group commit, recovery, hand-over.

mod completion;
pub mod handover;
mod spool;
pub mod types;

pub use completion::Completion;
pub use spool::{Answered, Body, Drained, Hold, Incoming, Item, Message, Requested, Spool, Standing};
pub use types::*;
