//! The bytes on disk, format version 1. Pure: bytes in, values out, and the other way round.
//!
//! ```text
//! segment file   4 KiB header | batch | batch | ... | zeros (or an earlier use of the segment)
//! batch          record | record | ... | zeros up to the next 4 KiB boundary      one write, one sync
//! record         48-byte frame | payload | zeros up to a multiple of 8
//! ```
//!
//! Numbers are little-endian; strings and byte strings have a 32-bit length in front.

pub mod codec;
pub mod frame;
pub mod header;
pub mod message;
pub mod record;

/// Version of everything below the spool directory.
pub const VERSION: u32 = 1;

/// Batches begin at multiples of this.
pub const BLOCK: usize = 4096;

/// [`BLOCK`] as offsets on disk are kept.
pub const BLOCK_U32: u32 = 4096;

#[cfg(test)]
mod tests;
