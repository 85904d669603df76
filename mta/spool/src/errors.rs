//! Why something was not done, one type for each kind of call.

use crate::format::{NEWEST, OLDEST};

/// The spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the spool {0} is in use by another process")]
    Locked(String),
    /// The format is newer than this program, or older than all that it reads.
    #[error("{}", unknown_format(*.found))]
    Format {
        /// Format in the file.
        found: u32,
    },
    /// The directory holds something else.
    #[error("{0}")]
    Foreign(String),
    /// An option has a value that cannot be used.
    #[error("{0}")]
    Options(&'static str),
    /// The volume has no room for the first segment.
    #[error("the volume of the spool is full")]
    Full,
    /// The device or the file system failed.
    #[error("spool: {0}")]
    Io(#[from] std::io::Error),
}

/// Names both sides, and what to do.
fn unknown_format(found: u32) -> String {
    let start =
        format!("the spool has format {found}, this version of the program reads {OLDEST} to {NEWEST}");
    if found > NEWEST {
        format!(
            "{start}: start a newer version, or let the newer one write format {NEWEST} (spool.writeFormat) until it \
             has rewritten the spool"
        )
    } else {
        format!("{start}: start an older version first, which reads {found} and writes {OLDEST}")
    }
}

/// The message was not taken. Each case is one SMTP reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// No space now; the spool stays usable when space returns: `452 4.3.1`.
    #[error("the spool is full")]
    Full,
    /// A write or sync failed, nothing more is taken until a restart: `451 4.3.0`.
    #[error("the spool is read-only: {0}")]
    ReadOnly(String),
    /// The message can never fit: `552 5.3.4`.
    #[error("the message is too large for the spool")]
    TooLarge,
    /// The format that is written cannot say the envelope: `451 4.3.3`. It would lose a promise.
    #[error("the spool writes an older format, which cannot keep what the message asks for")]
    Format,
    /// The spool is sealed and has reported itself empty: `421 4.3.2`.
    #[error("the spool is sealed and empty")]
    Sealed,
    /// The spool is being closed: `421 4.3.2`.
    #[error("the spool is being closed")]
    Closed,
}

impl CommitError {
    /// The SMTP reply for this error: code and enhanced code (RFC 5321 section 4.2, RFC 3463).
    pub const fn reply(&self) -> (u16, &'static str) {
        match self {
            Self::Full => (452, "4.3.1"),
            Self::ReadOnly(_) => (451, "4.3.0"),
            Self::TooLarge => (552, "5.3.4"),
            Self::Format => (451, "4.3.3"),
            Self::Sealed | Self::Closed => (421, "4.3.2"),
        }
    }
}

/// An outcome was not recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// No such entry (finished, handed over, or never there).
    #[error("no such entry")]
    NoSuchEntry,
    /// The entry is offered, given or held: not ours to deliver.
    #[error("the entry is part of a hand-over")]
    NotOwned,
    /// There is no recipient at this position.
    #[error("the entry has no recipient {0}")]
    NoSuchRecipient(u32),
    /// Nothing can be recorded any more.
    #[error("the spool is read-only: {0}")]
    ReadOnly(String),
}

/// An entry cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No such entry (finished, handed over, or never there).
    #[error("no such entry")]
    NoSuchEntry,
    /// The bytes on disk do not have their checksum.
    #[error("the entry is damaged on disk")]
    Damaged,
    /// The device or the file system failed.
    #[error("spool: {0}")]
    Io(#[from] std::io::Error),
}

/// A step of a hand-over was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandoverError {
    /// No such entry.
    #[error("no such entry")]
    NoSuchEntry,
    /// An offer of this entry stands already, or it is held for another.
    #[error("the entry is part of a hand-over already")]
    NotOwned,
    /// A sealed spool holds nothing for others.
    #[error("the spool is sealed")]
    Sealed,
    /// The source of the offer was declared drained with this seal or a later one.
    #[error("the source of the offer is drained")]
    Drained,
    /// The other spool was declared lost.
    #[error("the other spool is declared lost")]
    Lost,
    /// The step could not be made durable.
    #[error(transparent)]
    Commit(#[from] CommitError),
}
