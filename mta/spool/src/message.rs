//! Reading an entry back.
//!
//! An inline message is read whole and checked before anything of it is handed out. A body file is streamed; its
//! checksum is checked at its end, and a wrong one is an error instead of the end.

use std::io::{self, Read};
use std::sync::Arc;

use crate::errors::ReadError;
use crate::format::frame::{FRAME, Frame};
use crate::format::message;
use crate::handover::TransferId;
use crate::index::Place;
use crate::io::File;
use crate::shared::Shared;
use crate::spool::Item;
use crate::types::{EntryId, Ownership, RecipientState};

/// An entry read back.
#[derive(Debug)]
pub struct Message {
    /// The entry.
    pub id: EntryId,
    /// Who is responsible for it.
    pub ownership: Ownership,
    /// The transfer that brought it from another spool, where it had another id.
    pub origin: Option<TransferId>,
    /// Everything but the body.
    pub item: Item,
    /// The body, from its first byte.
    pub body: Body,
}

/// The bytes of a body. Reading blocks; a damaged body ends with [`io::ErrorKind::InvalidData`], never short.
#[derive(Debug)]
pub struct Body {
    source: Source,
    len: u64,
    at: u64,
}

#[derive(Debug)]
enum Source {
    /// The payload of the record; the body is its end.
    Inline(Vec<u8>),
    /// A file, the checksum so far and the one expected.
    File(Arc<dyn File>, u32, u32),
    /// The file is missing or too short, or the body within the record is damaged.
    Lost,
}

impl Body {
    /// Bytes of the whole body.
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// The body has no bytes.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The volume does not give it back any more, a fault of the device; nothing of it is read.
    pub const fn is_lost(&self) -> bool {
        matches!(self.source, Source::Lost)
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len - self.at).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let buffer = &mut buffer[..most];
        match &mut self.source {
            Source::Inline(payload) => {
                let start = payload.len() - left;
                buffer.copy_from_slice(&payload[start..start + most]);
                self.at += most as u64;
                Ok(most)
            }
            Source::File(file, crc, expected) => {
                let read = file.read_at(buffer, self.at)?;
                if read == 0 {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                *crc = crc32c::crc32c_append(*crc, &buffer[..read]);
                self.at += read as u64;
                if self.at == self.len && crc != expected {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "the body is damaged on disk",
                    ));
                }
                Ok(read)
            }
            Source::Lost => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the body is missing or damaged on disk",
            )),
        }
    }
}

/// What the index knows for reading.
struct Found {
    place: Place,
    file: Arc<dyn File>,
    blob: bool,
    ownership: Ownership,
    states: Vec<RecipientState>,
}

/// Reads an entry. Its record may move while it is read: then it is read again at its new place.
pub fn read(shared: &Shared, id: EntryId) -> Result<Message, ReadError> {
    let mut found = find(shared, id)?;
    loop {
        let record = record(&found, id).inspect_err(|_| shared.found_damaged(id, UNREADABLE))?;
        if !matches!(record, Record::Whole(_)) {
            let again = find(shared, id)?;
            if again.place != found.place {
                found = again;
                continue;
            }
        }
        let message = message(shared, id, found, record)?;
        if message.as_ref().is_none_or(|message| message.body.is_lost()) {
            // What there is of it goes with its entry, which may have ended meanwhile.
            find(shared, id)?;
            let what = if message.is_some() { NO_BODY } else { UNREADABLE };
            shared.found_damaged(id, what);
        }
        return message.ok_or(ReadError::Damaged);
    }
}

/// What the record says; `None`: nothing that can be believed.
fn message(shared: &Shared, id: EntryId, found: Found, record: Record) -> io::Result<Option<Message>> {
    let (payload, is_whole) = match record {
        Record::Whole(payload) => (payload, true),
        Record::NoBody(payload) => (payload, false),
        Record::Damaged => return Ok(None),
    };
    let Some(parts) = message::decode(&payload) else {
        return Ok(None);
    };
    let origin = parts.origin;
    let item = Item {
        envelope: parts.envelope,
        recipients: found.states,
        prefix: parts.prefix.to_vec(),
    };
    let (len, crc) = (parts.body_len, parts.body_crc);
    let source = match (found.blob, is_whole) {
        (true, _) => body_file(shared, id, len, crc)?,
        (false, true) => Source::Inline(payload),
        (false, false) => Source::Lost,
    };
    Ok(Some(Message {
        id,
        ownership: found.ownership,
        origin,
        item,
        body: Body { source, len, at: 0 },
    }))
}

fn body_file(shared: &Shared, id: EntryId, len: u64, crc: u32) -> io::Result<Source> {
    match shared.io.open(&shared.blob_path(id)) {
        Ok(file) if file.len()? >= len => Ok(Source::File(file, 0, crc)),
        Ok(_) => Ok(Source::Lost),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Source::Lost),
        Err(error) => Err(error),
    }
}

fn find(shared: &Shared, id: EntryId) -> Result<Found, ReadError> {
    let index = shared.index();
    let entry = index
        .entries
        .get(id)
        .filter(|e| !e.finished)
        .ok_or(ReadError::NoSuchEntry)?;
    let segment = index.segments.get(&entry.home.epoch).ok_or(ReadError::Damaged)?;
    Ok(Found {
        place: entry.home,
        file: Arc::clone(&segment.file),
        blob: entry.blob,
        ownership: entry.ownership(),
        states: entry.states.to_vec(),
    })
}

/// A record of a message as the device gives it back.
enum Record {
    /// Its payload.
    Whole(Vec<u8>),
    /// Its payload, of which all but the body is whole.
    NoBody(Vec<u8>),
    /// Nothing of it can be believed.
    Damaged,
}

fn record(found: &Found, id: EntryId) -> io::Result<Record> {
    let mut bytes = vec![0; usize::try_from(found.place.len).unwrap_or(0)];
    let read = found.file.read_at(&mut bytes, u64::from(found.place.offset))?;
    bytes.truncate(read);
    let frame = Frame::decode(&bytes);
    let frame = frame.filter(|frame| frame.epoch == u64::from(found.place.epoch) && frame.entry == id);
    let len = frame.and_then(|frame| usize::try_from(frame.len).ok());
    let (Some(frame), Some(len)) = (frame, len.filter(|len| *len <= bytes.len().saturating_sub(FRAME)))
    else {
        return Ok(Record::Damaged);
    };
    bytes.drain(..FRAME);
    bytes.truncate(len);
    Ok(if crc32c::crc32c(&bytes) == frame.crc {
        Record::Whole(bytes)
    } else if is_whole_but_body(&bytes, frame.crc) {
        Record::NoBody(bytes)
    } else {
        Record::Damaged
    })
}

/// Whether the damage of a payload, which has another checksum than this, lies in its body alone. The checksum of the body is
/// part of what stands in front of it: with that, if it is whole, the checksum of the payload comes out. (Versions before wrote
/// none for a body that is inline: then it does not.)
fn is_whole_but_body(payload: &[u8], crc: u32) -> bool {
    message::decode(payload).is_some_and(|parts| {
        let body = parts.inline.len();
        let head = crc32c::crc32c(&payload[..payload.len() - body]);
        parts.body_len == body as u64 && crc32c::crc32c_combine(head, parts.body_crc, body) == crc
    })
}

const UNREADABLE: &str = "its record cannot be read";
const NO_BODY: &str = "its body is missing or damaged";
