//! A segment's bytes as they are asked for, piece by piece: opening a spool costs a megabyte, not a segment.

use std::io;
use std::sync::Arc;

use crate::io::File;

/// Bytes that are read in order of their place, mostly forward.
pub trait Bytes {
    /// How many there are.
    fn len(&self) -> usize;
    /// Those at `from`, as many as asked for; fewer where the end, or an unreadable place, comes first.
    fn piece(&mut self, from: usize, count: usize) -> &[u8];
}

impl Bytes for &[u8] {
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    fn piece(&mut self, from: usize, count: usize) -> &[u8] {
        let end = from.saturating_add(count).min(<[u8]>::len(self));
        <[u8]>::get(self, from..end).unwrap_or_default()
    }
}

/// A window over a file that moves forward.
#[derive(Debug)]
pub struct Window {
    file: Arc<dyn File>,
    len: usize,
    /// Where the buffer is from.
    start: usize,
    buffer: Vec<u8>,
    error: Option<io::Error>,
}

impl Window {
    /// A window at the beginning of the file. Errors: its length cannot be known.
    pub fn new(file: Arc<dyn File>) -> io::Result<Self> {
        let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
        Ok(Self {
            file,
            len,
            start: 0,
            buffer: Vec::new(),
            error: None,
        })
    }

    /// Errors: a place could not be read; what was given for it was too short.
    pub fn finish(self) -> io::Result<()> {
        self.error.map_or(Ok(()), Err)
    }

    fn holds(&self, from: usize, end: usize) -> bool {
        self.start <= from && end <= self.start + self.buffer.len()
    }

    fn load(&mut self, from: usize, count: usize) {
        self.buffer.resize(count.max(PIECE).min(self.len - from), 0);
        self.start = from;
        match self.file.read_at(&mut self.buffer, from as u64) {
            Ok(read) => self.buffer.truncate(read),
            Err(error) => {
                self.buffer.clear();
                self.error.get_or_insert(error);
            }
        }
    }
}

impl Bytes for Window {
    fn len(&self) -> usize {
        self.len
    }

    fn piece(&mut self, from: usize, count: usize) -> &[u8] {
        let end = from.saturating_add(count).min(self.len);
        if from >= end {
            return &[];
        }
        if !self.holds(from, end) {
            self.load(from, end - from);
        }
        let (at, to) = (from - self.start, (end - self.start).min(self.buffer.len()));
        self.buffer.get(at..to).unwrap_or_default()
    }
}

/// Larger than most records, and than any run of small ones that is read at once.
const PIECE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::io::Io;
    use crate::io::memory::Memory;

    #[test]
    fn a_window_gives_what_a_slice_gives() {
        let octets: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let disk = Memory::new(1 << 30);
        let file = disk.create(Path::new("f")).unwrap();
        file.write_at(&octets, 0).unwrap();
        let mut window = Window::new(file).unwrap();
        let mut whole = octets.as_slice();
        for (from, count) in [
            (0, 48),
            (1_048_570, 100),
            (5, 2_000_000),
            (2_999_990, 100),
            (3_000_000, 1),
            (4_000_000, 1),
            (0, usize::MAX),
            (700, 0),
        ] {
            assert_eq!(
                window.piece(from, count),
                whole.piece(from, count),
                "{count} at {from}"
            );
        }
        window.finish().unwrap();
    }
}
