//! What has to be read behind a checkpoint: see [`crate::checkpoint`].

use std::io;
use std::sync::Arc;

use super::files::SegmentFile;
use super::{Part, read};
use crate::checkpoint::{Head, Named};
use crate::format::BLOCK;
use crate::format::frame::{FRAME, Frame};
use crate::index::{Epoch, Tail};
use crate::window::{Bytes as _, Window};

/// A segment in use has a record in its first so many octets, unless all of them are damaged.
const FIRST_LOOK: usize = 1 << 20;

/// The segments as a checkpoint sees them.
#[derive(Debug, Default)]
pub struct Since {
    /// Nothing was written to them since.
    pub closed: Vec<SegmentFile>,
    /// To be read, with what is to be read of them; in order.
    pub open: Vec<(SegmentFile, Part)>,
    pub free: Vec<SegmentFile>,
    /// Uses of segments that the checkpoint has, and whose file is not there, or is of an earlier use.
    pub gone: Vec<Epoch>,
}

/// Sorts the segments. `None`: the checkpoint is not of this state of the log. Errors: a segment cannot be read.
pub fn since(head: &Head, files: &[SegmentFile]) -> io::Result<Option<Since>> {
    let tail = head.tail;
    let mut since = Since::default();
    let mut hidden = Vec::new();
    let mut found = false;
    for file in files {
        if file.epoch == tail.epoch {
            if !holds(file, &tail)? {
                return Ok(None);
            }
            found = true;
            let part = Part {
                epoch: file.epoch,
                from: tail.used as usize,
                first: tail.batch,
            };
            since.open.push((file.clone(), part));
        } else if head.closed.iter().any(|named| named.epoch == file.epoch)
            && file.first.is_none_or(|first| first <= tail.batch)
        {
            since.closed.push(file.clone());
        } else if let Some(first) = file.first {
            since.open.push((file.clone(), whole(file, first)));
        } else {
            hidden.push(file);
        }
    }
    hidden.sort_by_key(|file| file.epoch);
    hidden_ones(&mut since, &tail, hidden)?;
    since.open.sort_by_key(|(_, part)| part.first);
    let older = since
        .open
        .iter()
        .any(|(_, part)| part.first < tail.batch || (part.first == tail.batch && part.epoch != tail.epoch));
    // The tail may have been used again since, but only once there was a later batch behind it.
    let later = since
        .open
        .iter()
        .any(|(file, part)| file.epoch > tail.epoch && part.first > tail.batch);
    since.gone = head
        .named()
        .filter(|named| is_gone(*named, files))
        .map(|named| named.epoch)
        .collect();
    Ok(((found || later) && !older).then_some(since))
}

/// Such a file is neither removed nor used again without a later use of it to show: somebody else took it, or the disk lost it.
fn is_gone(named: Named, files: &[SegmentFile]) -> bool {
    let is_there = |file: &SegmentFile| file.epoch == named.epoch;
    let used_again = |file: &SegmentFile| file.number == named.number && file.epoch > named.epoch;
    named.number != 0 && !files.iter().any(|file| is_there(file) || used_again(file))
}

/// Segments that do not begin with a record: free, unless that record is damaged.
fn hidden_ones(since: &mut Since, tail: &Tail, files: Vec<&SegmentFile>) -> io::Result<()> {
    let mut next_is_free = false;
    for file in files {
        let next = !next_is_free && file.epoch > tail.epoch;
        let first = if next || file.header.is_none() || shows_records(file)? {
            let scanned = read(&file.file, file.epoch, BLOCK, 0)?;
            scanned.records.first().map(|found| found.batch)
        } else {
            None
        };
        if let Some(first) = first {
            since.open.push((file.clone(), whole(file, first)));
        } else {
            next_is_free |= next;
            since.free.push(file.clone());
        }
    }
    Ok(())
}

const fn whole(file: &SegmentFile, first: u64) -> Part {
    Part {
        epoch: file.epoch,
        from: BLOCK,
        first,
    }
}

/// The last batch is where the tail says.
fn holds(file: &SegmentFile, tail: &Tail) -> io::Result<bool> {
    let mut bytes = [0; FRAME];
    let read = file.file.read_at(&mut bytes, u64::from(tail.last))?;
    let frame = bytes.get(..read).and_then(Frame::decode);
    Ok(frame.is_some_and(|frame| frame.epoch == u64::from(tail.epoch) && frame.batch == tail.batch))
}

fn shows_records(file: &SegmentFile) -> io::Result<bool> {
    let mut bytes = Window::new(Arc::clone(&file.file))?;
    let end = bytes.len().min(FIRST_LOOK);
    let mut starts = (BLOCK..end).step_by(BLOCK);
    let shows = starts.any(|at| {
        Frame::decode(bytes.piece(at, FRAME)).is_some_and(|frame| frame.epoch == u64::from(file.epoch))
    });
    bytes.finish().map(|()| shows)
}
