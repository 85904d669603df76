//! Frame of a record: says what follows, and whether it is whole and of the present use of its segment.

use crate::format::codec::BEYOND;
use crate::types::EntryId;

/// Bytes of a frame.
pub const FRAME: usize = 48;

const MAGIC: u16 = 0x5052;

/// Head of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Kind of the record.
    pub kind: u8,
    /// Bytes of the payload.
    pub len: u32,
    /// CRC-32C of the payload.
    pub crc: u32,
    /// Position in the batch.
    pub ordinal: u32,
    /// The entry it is about; 0 is none.
    pub entry: EntryId,
    /// Use of the segment it was written in.
    pub epoch: u64,
    /// The batch, counted over all segments.
    pub batch: u64,
}

impl Frame {
    /// Bytes that a record with this payload takes.
    pub const fn space(payload: usize) -> usize {
        (FRAME + payload).next_multiple_of(8)
    }

    /// The frame as bytes.
    pub fn encode(&self) -> [u8; FRAME] {
        let mut out = [0; FRAME];
        out[0..2].copy_from_slice(&MAGIC.to_le_bytes());
        out[2] = self.kind;
        out[4..8].copy_from_slice(&self.len.to_le_bytes());
        out[8..12].copy_from_slice(&self.crc.to_le_bytes());
        out[12..16].copy_from_slice(&self.ordinal.to_le_bytes());
        out[16..24].copy_from_slice(&self.entry.as_u64().to_le_bytes());
        out[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        out[32..40].copy_from_slice(&self.batch.to_le_bytes());
        let crc = crc32c::crc32c(&out[..40]);
        out[40..44].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a frame; `None` if it is none or damaged.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..FRAME)?;
        let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let u64_at = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        if bytes[..2] != MAGIC.to_le_bytes() || u32_at(40)? != crc32c::crc32c(&bytes[..40]) {
            return None;
        }
        let (entry, batch) = (u64_at(16)?, u64_at(32)?);
        (entry < BEYOND && batch < BEYOND).then_some(Self {
            kind: bytes[2],
            len: u32_at(4)?,
            crc: u32_at(8)?,
            ordinal: u32_at(12)?,
            entry: EntryId::from_u64(entry),
            epoch: u64_at(24)?,
            batch,
        })
    }

    /// The frame at the start of these bytes and its payload, if both are whole.
    pub fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let frame = Self::decode(bytes)?;
        let len = usize::try_from(frame.len).ok()?;
        let payload = bytes.get(FRAME..FRAME.checked_add(len)?)?;
        (crc32c::crc32c(payload) == frame.crc).then_some((frame, payload))
    }
}
