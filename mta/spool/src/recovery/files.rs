//! The segment files of a spool: what their first blocks say.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::errors::OpenError;
use crate::format::frame::{FRAME, Frame};
use crate::format::header::{Header, HeaderError};
use crate::format::{BLOCK, BLOCK_U32};
use crate::index::{Epoch, Free};
use crate::io::{File, Io};
use crate::scan::newest_epoch;
use crate::window::Window;

/// A segment file of which only the beginning was read.
#[derive(Clone, Debug)]
pub struct SegmentFile {
    pub number: u32,
    pub size: u32,
    pub file: Arc<dyn File>,
    /// Its present use; 0 if nothing says so.
    pub epoch: Epoch,
    /// `None` if it is damaged.
    pub header: Option<Header>,
    /// The batch of the record at the beginning. There is one in each segment in use that is whole.
    pub first: Option<u64>,
}

impl SegmentFile {
    /// Opens a segment file. Errors: it cannot be read, or is of an unknown format.
    pub fn look(io: &dyn Io, path: &Path, number: u32) -> Result<Self, OpenError> {
        let file = io.open(path)?;
        let mut start = vec![0; BLOCK + FRAME];
        let read = file.read_at(&mut start, 0)?;
        start.truncate(read);
        let size = u32::try_from(file.len()?).unwrap_or(u32::MAX) / BLOCK_U32 * BLOCK_U32;
        let header = match Header::decode(start.get(..BLOCK).unwrap_or_default()) {
            Ok(header) => Some(header),
            Err(HeaderError::Version(found)) => {
                return Err(OpenError::Format { found });
            }
            Err(HeaderError::Damaged) => None,
        };
        let epoch = match &header {
            Some(header) => Some(header.epoch),
            None => newest(&file)?,
        };
        let epoch = epoch.and_then(|epoch| Epoch::try_from(epoch).ok()).unwrap_or(0);
        let frame = start.get(BLOCK..).and_then(Frame::decode);
        let first = frame.filter(|frame| frame.epoch == u64::from(epoch));
        Ok(Self {
            number,
            size,
            file,
            epoch,
            header,
            first: first.map(|frame| frame.batch),
        })
    }

    /// As a segment that may be used.
    pub fn free(self) -> Free {
        Free {
            number: self.number,
            // Of no format that is written if it is damaged: nothing is appended, and it is written anew before the next use.
            format: self.header.map_or(0, |header| header.format),
            size: self.size,
            file: self.file,
            epoch: self.epoch,
        }
    }
}

fn newest(file: &Arc<dyn File>) -> io::Result<Option<u64>> {
    let mut bytes = Window::new(Arc::clone(file))?;
    let newest = newest_epoch(&mut bytes);
    bytes.finish().map(|()| newest)
}
