//! Reads the records of one segment out of its bytes. Pure.
//!
//! Batches begin at block boundaries and follow each other without a gap. Where a record is expected and none is
//! whole, the rest up to the next boundary that has one is skipped: behind the end of the log there is none; in
//! the middle it is damage. Which of the two the end of the *last* batch of a log is, [`crate::recovery`] decides.

use crate::format::BLOCK;
use crate::format::frame::{FRAME, Frame};
use crate::format::record::Record;
use crate::types::EntryId;
use crate::window::Bytes;

/// One whole record and where it is.
#[derive(Clone, Debug)]
pub struct Found {
    pub entry: EntryId,
    pub batch: u64,
    pub ordinal: u32,
    pub offset: u32,
    pub len: u32,
    pub record: Record,
    /// From here up to it something could not be read.
    pub gap: Option<u32>,
}

/// What a segment holds.
#[derive(Debug, Default)]
pub struct Scan {
    pub records: Vec<Found>,
    /// The block of the last record goes on with something unreadable.
    pub torn: bool,
    /// Block boundary behind the last record.
    pub end: usize,
}

/// Reads the records of this use of the segment.
#[cfg(test)]
pub fn scan(bytes: &mut impl Bytes, epoch: u64) -> Scan {
    scan_from(bytes, epoch, BLOCK, 0)
}

/// Reads the records of this use of the segment from this block boundary on, of this batch and later ones.
pub fn scan_from(bytes: &mut impl Bytes, epoch: u64, from: usize, batch: u64) -> Scan {
    let mut scan = Scan {
        end: from,
        ..Scan::default()
    };
    let mut at = from;
    let mut batch = batch;
    let mut skipped = None;
    while at + FRAME <= bytes.len() {
        let Some((frame, record, space)) = read(bytes, at, epoch, batch) else {
            let boundary = (at + 1).next_multiple_of(BLOCK);
            let inside = !at.is_multiple_of(BLOCK);
            let padding = inside && bytes.piece(at, boundary - at).iter().all(|b| *b == 0);
            if !padding {
                skipped.get_or_insert(u32::try_from(at).unwrap_or(u32::MAX));
            }
            scan.torn |= inside && !padding;
            at = boundary;
            continue;
        };
        batch = frame.batch;
        let (Ok(offset), Ok(len)) = (u32::try_from(at), u32::try_from(space)) else {
            break;
        };
        scan.records.push(Found {
            entry: frame.entry,
            batch,
            ordinal: frame.ordinal,
            offset,
            len,
            record,
            gap: skipped.take(),
        });
        scan.torn = false;
        at += space;
        scan.end = at.next_multiple_of(BLOCK);
    }
    scan
}

/// The epoch of the newest use of a segment whose header is damaged.
pub fn newest_epoch(bytes: &mut impl Bytes) -> Option<u64> {
    let starts = (BLOCK..bytes.len()).step_by(BLOCK);
    starts
        .filter_map(|at| Frame::decode(bytes.piece(at, FRAME)))
        .map(|frame| frame.epoch)
        .max()
}

/// A batch with a lower number than an earlier one is left over from a write that failed.
fn read(bytes: &mut impl Bytes, at: usize, epoch: u64, batch: u64) -> Option<(Frame, Record, usize)> {
    let frame = Frame::decode(bytes.piece(at, FRAME))?;
    if frame.epoch != epoch || frame.batch < batch {
        return None;
    }
    let len = usize::try_from(frame.len).ok()?;
    let (frame, payload) = Frame::read(bytes.piece(at, FRAME.checked_add(len)?))?;
    let record = Record::decode(frame.kind, payload)?;
    Some((frame, record, Frame::space(payload.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block with one record.
    fn block(entry: u64, batch: u64) -> Vec<u8> {
        let payload = Record::States(Vec::new()).encode(0);
        let frame = Frame {
            kind: Record::States(Vec::new()).kind(),
            len: u32::try_from(payload.len()).unwrap(),
            crc: crc32c::crc32c(&payload),
            ordinal: 0,
            entry: EntryId::from_u64(entry),
            epoch: 3,
            batch,
        };
        let mut bytes = frame.encode().to_vec();
        bytes.extend_from_slice(&payload);
        bytes.resize(BLOCK, 0);
        bytes
    }

    #[test]
    fn a_frame_with_a_number_that_is_never_reached_is_none() {
        for (entry, batch) in [(1, u64::MAX), (u64::MAX, 8), (1, u64::MAX / 2)] {
            // Such a frame in the place of a damaged block; what comes behind it counts.
            let bytes = [vec![0; BLOCK], block(1, 7), block(entry, batch), block(2, 9)].concat();
            let found = scan(&mut bytes.as_slice(), 3).records;
            let found: Vec<_> = found.iter().map(|one| (one.entry.as_u64(), one.batch)).collect();
            assert_eq!(found, [(1, 7), (2, 9)], "{entry} {batch}");
        }
    }
}
