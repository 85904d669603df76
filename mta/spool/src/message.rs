//! Reading an entry back.
//!
//! An inline message is read whole and checked before anything of it is handed out. A body file is streamed; its
//! checksum is checked at its end, and a wrong one is an error instead of the end.

use std::io::{self, Read};
use std::sync::Arc;

use crate::errors::ReadError;
use crate::format::frame::Frame;
use crate::format::message::{self, Parts};
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
    /// The file is missing or too short.
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

    /// It is not on the volume any more, a fault of the device; nothing of it is read.
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
                "the body is missing on disk",
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
        let payload = payload(&found, id)?;
        let parts = payload.as_deref().and_then(message::decode);
        if let Some(parts) = parts {
            let Parts {
                envelope,
                prefix,
                body_len,
                body_crc,
                ..
            } = parts;
            let item = Item {
                envelope,
                recipients: found.states,
                prefix: prefix.to_vec(),
            };
            let source = if found.blob {
                let source = body_file(shared, id, body_len, body_crc)?;
                // It goes with its entry, which may have ended meanwhile.
                if matches!(source, Source::Lost) {
                    find(shared, id)?;
                }
                source
            } else {
                Source::Inline(payload.unwrap_or_default())
            };
            let body = Body {
                source,
                len: body_len,
                at: 0,
            };
            return Ok(Message {
                id,
                ownership: found.ownership,
                item,
                body,
            });
        }
        let again = find(shared, id)?;
        if again.place == found.place {
            return Err(ReadError::Damaged);
        }
        found = again;
    }
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

fn payload(found: &Found, id: EntryId) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; usize::try_from(found.place.len).unwrap_or(0)];
    let read = found.file.read_at(&mut bytes, u64::from(found.place.offset))?;
    bytes.truncate(read);
    let whole = Frame::read(&bytes).filter(|(f, _)| f.epoch == u64::from(found.place.epoch) && f.entry == id);
    let Some(len) = whole.map(|(_, payload)| payload.len()) else {
        return Ok(None);
    };
    bytes.drain(..crate::format::frame::FRAME);
    bytes.truncate(len);
    Ok(Some(bytes))
}
