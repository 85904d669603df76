//! A file of blocks, each with its kind, its number and a checksum, written and read front to back.

use std::io;
use std::sync::Arc;

use crate::format::codec::{Reader, Writer};
use crate::io::File;
use crate::window::{Bytes as _, Window};

const MAGIC: u32 = 0x4b43_5250;

/// Octets in front of the payload.
const HEAD: usize = 28;

/// So much is written and synced at once: a commit waits for one step at most.
const STEP: usize = 1 << 20;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Head,
    Entries,
    Releases,
    Tombs,
    End,
}

const KINDS: [Kind; 5] = [Kind::Head, Kind::Entries, Kind::Releases, Kind::Tombs, Kind::End];

/// Appends blocks.
#[derive(Debug)]
pub struct BlockWriter {
    file: Arc<dyn File>,
    at: u64,
    buffer: Vec<u8>,
    count: u32,
    /// In every block, so that a block of another file is not taken for one of this.
    stamp: u64,
}

impl BlockWriter {
    pub const fn new(file: Arc<dyn File>, stamp: u64) -> Self {
        Self {
            file,
            at: 0,
            buffer: Vec::new(),
            count: 0,
            stamp,
        }
    }

    /// Appends a block. On disk once [`BlockWriter::sync`] was called.
    pub fn put(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        let mut head = Writer::default();
        head.u32(MAGIC);
        head.u32(KINDS.iter().position(|known| *known == kind).map_or(0, number));
        head.u32(self.count);
        head.u32(number(payload.len()));
        head.u64(self.stamp);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&head.0), payload);
        head.u32(crc);
        self.count += 1;
        self.buffer.extend_from_slice(&head.0);
        self.buffer.extend_from_slice(payload);
        if self.buffer.len() >= STEP {
            self.sync()?;
        }
        Ok(())
    }

    /// Makes all blocks so far durable.
    pub fn sync(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.at)?;
        self.file.sync()?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Gives the blocks of a file.
#[derive(Debug)]
pub struct BlockReader {
    bytes: Window,
    at: usize,
    count: u32,
    stamp: Option<u64>,
}

impl BlockReader {
    pub fn new(file: Arc<dyn File>) -> io::Result<Self> {
        Ok(Self {
            bytes: Window::new(file)?,
            at: 0,
            count: 0,
            stamp: None,
        })
    }

    /// The next block; `None` if it is not whole, or not the next one of this file.
    pub fn next(&mut self) -> Option<(Kind, &[u8])> {
        let (kind, len, stamp) = self.head()?;
        if *self.stamp.get_or_insert(stamp) != stamp {
            return None;
        }
        let end = self.at.checked_add(HEAD)?.checked_add(len)?;
        if end > self.bytes.len() {
            return None;
        }
        let block = self.bytes.piece(self.at, HEAD + len);
        let (head, payload) = block.split_at_checked(HEAD)?;
        let (fields, crc) = head.split_at(HEAD - 4);
        let sound = crc32c::crc32c_append(crc32c::crc32c(fields), payload).to_le_bytes();
        if payload.len() != len || crc != sound {
            return None;
        }
        self.at = end;
        self.count += 1;
        Some((kind, payload))
    }

    fn head(&mut self) -> Option<(Kind, usize, u64)> {
        let mut input = Reader(self.bytes.piece(self.at, HEAD));
        let (magic, kind) = (input.u32()?, input.u32()?);
        let kind = KINDS.get(usize::try_from(kind).ok()?)?;
        let (count, len, stamp) = (input.u32()?, input.u32()?, input.u64()?);
        let len = usize::try_from(len).ok()?;
        (magic == MAGIC && count == self.count).then_some((*kind, len, stamp))
    }
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::io::Io as _;
    use crate::io::memory::Memory;

    fn file(stamp: u64) -> (Memory, Arc<dyn File>) {
        let disk = Memory::new(1 << 30);
        let file = disk.create(Path::new("f")).unwrap();
        let mut writer = BlockWriter::new(Arc::clone(&file), stamp);
        writer.put(Kind::Head, b"first").unwrap();
        writer.put(Kind::Entries, &vec![7; 3 << 20]).unwrap();
        writer.put(Kind::End, b"").unwrap();
        writer.sync().unwrap();
        (disk, file)
    }

    fn blocks(file: &Arc<dyn File>) -> Vec<(Kind, usize)> {
        let mut reader = BlockReader::new(Arc::clone(file)).unwrap();
        std::iter::from_fn(|| reader.next().map(|(kind, payload)| (kind, payload.len()))).collect()
    }

    #[test]
    fn blocks_come_back_in_order() {
        let (_disk, file) = file(5);
        assert_eq!(
            blocks(&file),
            [(Kind::Head, 5), (Kind::Entries, 3 << 20), (Kind::End, 0)]
        );
    }

    #[test]
    fn a_changed_octet_anywhere_ends_the_reading_there() {
        let len = file(5).1.len().unwrap();
        for (at, whole) in [
            (0, 0),
            (9, 0),
            (27, 0),
            (30, 0),
            (40, 1),
            (2 << 20, 1),
            (len - 2, 2),
            (len - 9, 2),
        ] {
            let (disk, file) = file(5);
            disk.damage(Path::new("f"), usize::try_from(at).unwrap());
            assert_eq!(blocks(&file).len(), whole, "octet {at}");
        }
    }

    #[test]
    fn a_block_of_another_file_is_not_one_of_this() {
        let (_disk, one) = file(5);
        let (_disk, other) = file(6);
        let mut end = vec![0; HEAD];
        let at = one.len().unwrap() - HEAD as u64;
        other.read_at(&mut end, at).unwrap();
        one.write_at(&end, at).unwrap();
        assert_eq!(blocks(&one).len(), 2);
    }
}
