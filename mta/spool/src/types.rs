//! What the spool stores: entries, their envelopes, the state of each recipient.
//!
//! Plain values, no IO. Times are milliseconds since the Unix epoch, UTC; the spool never reads a clock of its own.

mod envelope;

use std::fmt;
use std::str::FromStr;

pub use envelope::{BodyKind, ByMode, DeliverBy, Envelope, Notify, Recipient, Ret};

/// Identifies one entry within one spool; never used twice by the same spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(u64);

impl EntryId {
    /// The id with this number.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number of this id.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The text is not an id of the expected form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: hexadecimal digits expected")]
pub struct IdError;

impl FromStr for EntryId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() != 16 {
            return Err(IdError);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| IdError)
    }
}

/// Identifies one spool directory, drawn at random when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpoolUuid(pub [u8; 16]);

impl fmt::Display for SpoolUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for SpoolUuid {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut bytes = [0; 16];
        let mut digits = text
            .bytes()
            .filter(|b| *b != b'-')
            .map(|b| (b as char).to_digit(16));
        for byte in &mut bytes {
            let high = digits.next().flatten().ok_or(IdError)?;
            let low = digits.next().flatten().ok_or(IdError)?;
            *byte = u8::try_from(high << 4 | low).map_err(|_| IdError)?;
        }
        if digits.next().is_some() {
            Err(IdError)
        } else {
            Ok(Self(bytes))
        }
    }
}

/// How far the delivery to one recipient is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Status {
    /// Still to be delivered.
    #[default]
    Pending,
    /// The next server took it.
    Delivered,
    /// Given up: a permanent reply.
    Failed,
    /// Given up: too old.
    Expired,
}

impl Status {
    /// In one word, as people and programs are told.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }
}

/// State of one recipient: changes with each attempt.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RecipientState {
    /// How far the delivery is.
    pub status: Status,
    /// Attempts made so far.
    pub attempts: u32,
    /// When to try next; 0 is "at once".
    pub next_attempt: u64,
    /// A notice of delay was sent.
    pub delay_notified: bool,
    /// A notice that the time of [`Envelope::deliver_by`] is over was sent.
    pub by_notified: bool,
    /// Text of the last reply; the spool keeps the first 512 bytes.
    pub reply: String,
}

/// A new state for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientUpdate {
    /// Position in [`Envelope::recipients`].
    pub index: u32,
    /// The state from now on, whole.
    pub state: RecipientState,
}

/// Who is responsible for an entry of this spool (see [`crate::handover`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ownership {
    /// This spool's daemon delivers it.
    Owned,
    /// Offered to another spool: neither delivered nor expired here.
    Offered,
    /// Given to another spool: neither delivered nor expired here.
    Given,
    /// Held for another spool: not (yet) ours.
    Held,
}

/// What the spool knows of an entry without reading the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The entry.
    pub id: EntryId,
    /// Who is responsible. Only [`Ownership::Owned`] entries may be delivered or expired.
    pub ownership: Ownership,
    /// When the message was first accepted.
    pub arrived: u64,
    /// When to give up.
    pub expires: u64,
    /// Bytes of prefix and body.
    pub size: u64,
    /// Number of recipients, and how many of them are [`Status::Pending`].
    pub recipients: usize,
    /// How many recipients are [`Status::Pending`].
    pub pending: usize,
    /// The earliest next attempt among the pending recipients; 0 if none was made.
    pub next_attempt: u64,
    /// The oldest format that can say its envelope.
    pub format: u32,
}

/// A place of a segment that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Number of the segment: its file name.
    pub segment: u32,
    /// First octet.
    pub from: u32,
    /// The octet behind it, where something can be read again.
    pub to: u32,
}

/// Whether a checkpoint of the index helped to open the spool. If not, all segments were read; nothing is lost by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FromCheckpoint {
    /// There was none.
    #[default]
    Missing,
    /// It did: only what was written since was read.
    Used,
    /// It did not have its checksums: a fault of the device.
    Damaged,
    /// It was of another spool, or of a version that this program does not know.
    Foreign,
    /// It did not fit the log: one of the two is from another time.
    Stale,
}

impl FromCheckpoint {
    /// In one word, as people and programs are told.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Used => "used",
            Self::Damaged => "damaged",
            Self::Foreign => "foreign",
            Self::Stale => "stale",
        }
    }
}

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Entries in the spool now, of any ownership.
    pub entries: usize,
    /// Segment files read.
    pub segments: usize,
    /// An unfinished last write was discarded (it was never acknowledged).
    pub torn_tail: bool,
    /// Damaged places in the middle of the log that had to be skipped: a fault of the device. Alert on it.
    pub damaged: u64,
    /// Where they are, but for segments of which nothing at all could be read.
    pub damage: Vec<Damage>,
    /// Entries whose body file is missing or short: a fault of the device. Alert on it. They are there, see
    /// [`crate::Body::is_lost`], but for those that are held for another spool.
    pub lost: u64,
    /// Entries that the checkpoint of the index has, and that are in no segment: files were removed, cut off or replaced by older
    /// ones. They are not there any more. Alert on it.
    pub vanished: Vec<EntryId>,
    /// Segments whose first block is damaged; they count in `damaged`.
    pub headless: Vec<u32>,
    /// Body files removed that no acknowledged message refers to.
    pub orphans: u64,
    /// What became of the checkpoint of the index.
    pub checkpoint: FromCheckpoint,
    /// Segments of which the records were read: all that are in use, unless there was a checkpoint.
    pub read: usize,
}

/// Space and health of the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Entries of any ownership.
    pub entries: usize,
    /// Segment files, free ones included.
    pub segments: usize,
    /// Free segment files.
    pub free_segments: usize,
    /// Bytes of all segment files.
    pub segment_bytes: u64,
    /// Bytes of the inline messages that are alive.
    pub live_bytes: u64,
    /// Bytes of body files.
    pub blob_bytes: u64,
    /// Size of the volume.
    pub volume_bytes: u64,
    /// Bytes of it that are in use, by whatever; free segments are not.
    pub used_bytes: u64,
    /// Bytes that a new message may use: free on the volume or in free segments, reserves taken off.
    pub available_bytes: u64,
    /// Less than the configured share of the volume is available, or what waits takes the memory that it may: take no
    /// hand-over, refuse new mail softly.
    pub above_high_water: bool,
    /// Bytes of memory that entries take.
    pub memory_bytes: u64,
    /// Bytes of memory that they may take before [`Usage::above_high_water`] is set.
    pub most_memory: u64,
    /// Entries that were found damaged since the spool was opened, those that are gone meanwhile included; what opening found
    /// is not counted again.
    pub damaged: u64,
    /// The reason why the spool is read-only, if it is (a failed sync).
    pub read_only: Option<String>,
}

/// Whether the spool is sealed; kept on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SealState {
    /// Sealed now.
    pub sealed: bool,
    /// How often it was sealed so far: part of every transfer id.
    pub number: u64,
}

impl SealState {
    /// The seal that offers made now belong to: before it is sealed, the one to come. What is said of an earlier seal, that the
    /// spool was drained then, is not said of them.
    pub const fn of_offers(self) -> u64 {
        if self.sealed {
            self.number
        } else {
            self.number.saturating_add(1)
        }
    }
}

/// When a new message counts as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// When it is on stable storage.
    #[default]
    Durable,
    /// When the operating system has it; it is on stable storage within a second. A power cut may lose what came in that
    /// second. Seals, hand-overs and body files are on stable storage at once all the same.
    Relaxed,
}

/// How to open a spool.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of a segment file, a multiple of 4096, 32 KiB at least; `None`: a 64th of the volume, from 1 MiB
    /// to 64 MiB.
    pub segment_size: Option<u32>,
    /// Bodies up to this many bytes live in the log, larger ones in a file of their own.
    pub inline_limit: usize,
    /// Share of the volume, in percent, that may be used before [`Usage::above_high_water`] is set.
    pub high_water_percent: u8,
    /// How long [`crate::Spool::record`] may stay in memory only, in milliseconds.
    pub lazy_ms: u64,
    /// When a new message counts as stored.
    pub durability: Durability,
    /// Largest body in bytes; more is [`crate::CommitError::TooLarge`].
    pub max_body: u64,
    /// The format of segments that are begun, [`crate::OLDEST_FORMAT`] to [`crate::NEWEST_FORMAT`]. With an older one, an
    /// envelope that it cannot say is [`crate::CommitError::Format`].
    pub write_format: u32,
    /// A checkpoint of the index is written after so many segments; 0 is never, not even at the end.
    pub checkpoint_segments: u64,
    /// And when nothing was committed for so long, in milliseconds.
    pub checkpoint_idle_ms: u64,
    /// How long a batch may take, its sync included, before [`crate::Spool::is_stalled`] says that the volume hangs, in
    /// milliseconds.
    pub stall_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_size: None,
            inline_limit: 256 * 1024,
            high_water_percent: 80,
            lazy_ms: 50,
            durability: Durability::Durable,
            max_body: 4 << 30,
            write_format: crate::NEWEST_FORMAT,
            checkpoint_segments: 8,
            checkpoint_idle_ms: 30_000,
            stall_ms: 30_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_what_they_print() {
        let id = EntryId::from_u64(0xfedc_0123);
        assert_eq!(id.to_string().parse(), Ok(id));
        let uuid = SpoolUuid([7; 16]);
        assert_eq!(uuid.to_string().parse(), Ok(uuid));
        assert_eq!("07".parse::<SpoolUuid>(), Err(IdError));
        assert_eq!("xyz".parse::<EntryId>(), Err(IdError));
    }
}
