//! Header of a segment file: which format, which spool, and the epoch that makes records of earlier uses invalid.

use crate::format::codec::{Reader, Writer};
use crate::format::{BLOCK, is_known};
use crate::types::SpoolUuid;

const MAGIC: &[u8; 8] = b"PRSPOOL\n";

/// What the first block of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Format of the records of this use of the segment.
    pub format: u32,
    /// The spool it belongs to.
    pub uuid: SpoolUuid,
    /// The present use of the segment; no two uses of any segments of a spool have the same.
    pub epoch: u64,
    /// No batch at the time of writing had this number or a higher one.
    pub next_batch: u64,
    /// No entry at the time of writing had this number or a higher one.
    pub next_entry: u64,
}

/// Why a header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Not a header, or a damaged one.
    Damaged,
    /// Of this other format.
    Version(u32),
}

impl Header {
    /// The header as a whole block; its content fits in one sector, so it is written whole or not at all.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.0.extend_from_slice(MAGIC);
        out.u32(self.format);
        out.0.extend_from_slice(&self.uuid.0);
        out.u64(self.epoch);
        out.u64(self.next_batch);
        out.u64(self.next_entry);
        let crc = crc32c::crc32c(&out.0);
        out.u32(crc);
        out.0.resize(BLOCK, 0);
        out.0
    }

    /// Reads a header. The checksum covers the same bytes in every version, so a version is believed only whole.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut input = Reader(bytes);
        let magic = input.take(MAGIC.len()).ok_or(HeaderError::Damaged)?;
        let mut fields = || {
            let header = Self {
                format: input.u32()?,
                uuid: input.uuid()?,
                epoch: input.u64()?,
                next_batch: input.number()?,
                next_entry: input.number()?,
            };
            Some((header, input.u32()?))
        };
        let (header, crc) = fields().ok_or(HeaderError::Damaged)?;
        if magic != MAGIC || crc32c::crc32c(&bytes[..52]) != crc {
            return Err(HeaderError::Damaged);
        }
        if is_known(header.format) {
            Ok(header)
        } else {
            Err(HeaderError::Version(header.format))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::codec::BEYOND;
    use crate::format::{NEWEST, OLDEST};

    const HEADER: Header = Header {
        format: NEWEST,
        uuid: SpoolUuid([9; 16]),
        epoch: 3,
        next_batch: 44,
        next_entry: 555,
    };

    #[test]
    fn a_header_reads_back() {
        assert_eq!(HEADER.encode().len(), BLOCK);
        for format in OLDEST..=NEWEST {
            let header = Header { format, ..HEADER };
            assert_eq!(Header::decode(&header.encode()), Ok(header));
        }
    }

    #[test]
    fn an_unknown_version_is_named_and_a_changed_bit_is_damage() {
        for unknown in [OLDEST - 1, NEWEST + 1] {
            let mut bytes = HEADER.encode();
            bytes[8] = u8::try_from(unknown).unwrap();
            assert_eq!(Header::decode(&bytes), Err(HeaderError::Damaged));
            let crc = crc32c::crc32c(&bytes[..52]);
            bytes[52..56].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(Header::decode(&bytes), Err(HeaderError::Version(unknown)));
        }
        assert_eq!(Header::decode(&[]), Err(HeaderError::Damaged));
    }

    #[test]
    fn a_number_that_is_never_reached_is_damage() {
        for header in [
            Header {
                next_batch: BEYOND,
                ..HEADER
            },
            Header {
                next_entry: u64::MAX,
                ..HEADER
            },
        ] {
            assert_eq!(Header::decode(&header.encode()), Err(HeaderError::Damaged));
        }
    }
}
