//! The body of a message that waits for its filters: read piece by piece, as often as there are filters. And another one that a
//! filter wants in its place.

use bytes::Bytes;
use postroad_filter::milter::CHUNK;
use postroad_spool::{Incoming, Spool, Written};

use super::Failure;

/// A body, in memory or in its file.
#[derive(Clone, Debug)]
pub struct Body(Source);

#[derive(Clone, Debug)]
enum Source {
    Memory(Bytes),
    File(Written),
}

impl Body {
    /// The body that was written so far. What is in memory is copied; the caller has counted it.
    pub fn of(incoming: &Incoming) -> Self {
        let in_memory = || Bytes::copy_from_slice(incoming.in_memory().unwrap_or_default());
        Self(
            incoming
                .in_file()
                .map_or_else(|| Source::Memory(in_memory()), Source::File),
        )
    }

    /// Octets of it.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Source::Memory(octets) => octets.len() as u64,
            Source::File(written) => written.len(),
        }
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next octets from there, at most [`CHUNK`]; none at its end.
    pub async fn piece(&self, from: u64) -> Result<Bytes, Failure> {
        match &self.0 {
            Source::Memory(octets) => {
                let from = usize::try_from(from).unwrap_or(usize::MAX).min(octets.len());
                let to = from.saturating_add(CHUNK).min(octets.len());
                Ok(octets.slice(from..to))
            }
            Source::File(written) => {
                let written = written.clone();
                let read = tokio::task::spawn_blocking(move || {
                    let mut piece = vec![0; CHUNK];
                    let read = written.read_at(&mut piece, from)?;
                    piece.truncate(read);
                    Ok::<_, std::io::Error>(Bytes::from(piece))
                });
                let read = read.await.map_err(|_| storage("reading was cut short"))?;
                let piece = read.map_err(|error| storage(&error))?;
                if piece.is_empty() && from < self.len() {
                    return Err(storage("the body file is too short"));
                }
                Ok(piece)
            }
        }
    }
}

/// A body that a filter wants, as it comes. It must be text as SMTP carries it: nobody else would look at it any more.
#[derive(Debug)]
pub struct NewBody {
    spool: Spool,
    largest: u64,
    incoming: Option<Incoming>,
    /// The last octet.
    last: u8,
    eight_bit: bool,
}

/// The whole of it.
#[derive(Debug)]
pub struct Wanted {
    /// Its octets.
    pub incoming: Incoming,
    /// Some of them are above 127.
    pub eight_bit: bool,
}

impl NewBody {
    /// Before the first octet.
    pub fn new(spool: Spool, largest: u64) -> Self {
        Self {
            spool,
            largest,
            incoming: None,
            last: 0,
            eight_bit: false,
        }
    }

    /// Takes the next octets.
    pub async fn write(&mut self, octets: Vec<u8>) -> Result<(), Failure> {
        for octet in &octets {
            // RFC 5321 section 2.3.8: CR and LF stand together, or not at all.
            if *octet == 0 || (*octet == b'\n') != (self.last == b'\r') {
                return Err(Failure::Body("is no text"));
            }
            self.last = *octet;
        }
        self.eight_bit |= !octets.is_ascii();
        let mut incoming = self.incoming.take().unwrap_or_else(|| self.spool.begin());
        if incoming.len() + octets.len() as u64 > self.largest {
            return Err(Failure::Body("is larger than a message may be"));
        }
        let small = incoming.in_memory().is_some() && incoming.len() + octets.len() as u64 <= IN_MEMORY;
        if small && !incoming.blocks(octets.len()) {
            incoming.write(&octets).map_err(|error| storage(&error))?;
            self.incoming = Some(incoming);
            return Ok(());
        }
        let work = tokio::task::spawn_blocking(move || {
            let written = incoming.write_to_file(&octets);
            (incoming, written)
        });
        let (incoming, written) = work.await.map_err(|_| storage("writing was cut short"))?;
        written.map_err(|error| storage(&error))?;
        self.incoming = Some(incoming);
        Ok(())
    }

    /// The whole of it; an empty one where nothing came.
    pub fn finish(self) -> Result<Wanted, Failure> {
        if self.last == b'\r' {
            return Err(Failure::Body("is no text"));
        }
        Ok(Wanted {
            incoming: self.incoming.unwrap_or_else(|| self.spool.begin()),
            eight_bit: self.eight_bit,
        })
    }
}

fn storage(error: &(impl ToString + ?Sized)) -> Failure {
    Failure::Storage(error.to_string())
}

/// A small body stays in memory.
const IN_MEMORY: u64 = CHUNK as u64;
