//! The bytes on disk, formats 1 and 2. Pure: bytes in, values out, and the other way round.
//!
//! ```text
//! segment file   4 KiB header | batch | batch | ... | zeros (or an earlier use of the segment)
//! batch          record | record | ... | zeros up to the next 4 KiB boundary      one write, one sync
//! record         48-byte frame | payload | zeros up to a multiple of 8
//! ```
//!
//! Numbers are little-endian; strings and byte strings have a 32-bit length in front.
//!
//! The header of a segment says the format of its records; segments of both formats make one spool. Format 2 adds
//! [`extensions`] of envelopes; all else is the same in both.

pub mod codec;
pub mod extensions;
pub mod frame;
pub mod header;
pub mod message;
pub mod record;

/// The format without extensions.
pub const FIRST: u32 = 1;

/// The newest format, that can say all that this version knows. The feature `next-format` makes a version of the format
/// behind it, for tests of two versions with each other; nothing that is shipped has it.
pub const NEWEST: u32 = if cfg!(feature = "next-format") { 3 } else { 2 };

/// The oldest format that is read and written: the one before.
pub const OLDEST: u32 = NEWEST - 1;

/// Whether this version reads, and can write, a format.
pub const fn is_known(format: u32) -> bool {
    OLDEST <= format && format <= NEWEST
}

/// Batches begin at multiples of this.
pub const BLOCK: usize = 4096;

/// [`BLOCK`] as offsets on disk are kept.
pub const BLOCK_U32: u32 = 4096;

#[cfg(test)]
mod tests;
