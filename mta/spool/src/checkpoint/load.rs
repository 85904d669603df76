//! Reading a checkpoint back into an index.

use std::io;
use std::path::Path;

use super::blocks::{BlockReader, Kind};
use super::head::HeadError;
use super::{FILE, Head, TEMPORARY, content};
use crate::format::codec::Reader;
use crate::format::record::Owner;
use crate::handover::target::Target;
use crate::index::{Entry, Epoch, Index, Transfer};
use crate::io::Io;
use crate::types::{EntryId, FromCheckpoint, SpoolUuid};

/// A checkpoint whose head was read.
#[derive(Debug)]
pub struct Checkpoint {
    pub head: Head,
    blocks: BlockReader,
}

/// Opens the checkpoint of a spool. Errors: why there is none that can be used.
pub fn open(io: &dyn Io, dir: &Path, uuid: Option<SpoolUuid>) -> Result<Checkpoint, FromCheckpoint> {
    let file = io.open(&dir.join(FILE)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => FromCheckpoint::Missing,
        _ => FromCheckpoint::Damaged,
    })?;
    let mut blocks = BlockReader::new(file).map_err(|_| FromCheckpoint::Damaged)?;
    let Some((Kind::Head, payload)) = blocks.next() else {
        return Err(FromCheckpoint::Damaged);
    };
    let head = Head::decode(payload).map_err(|error| match error {
        HeadError::Damaged => FromCheckpoint::Damaged,
        HeadError::Version => FromCheckpoint::Foreign,
    })?;
    if Some(head.uuid) == uuid {
        Ok(Checkpoint { head, blocks })
    } else {
        Err(FromCheckpoint::Foreign)
    }
}

/// Removes what must not be used later, and what was left half written.
pub fn remove(io: &dyn Io, dir: &Path) -> io::Result<()> {
    for name in [TEMPORARY, FILE] {
        match io.remove(&dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    io.sync_dir(dir)
}

impl Checkpoint {
    /// The entries that it has; `None`: it is not whole.
    pub fn ids(mut self) -> Option<Vec<EntryId>> {
        let mut ids = Vec::new();
        loop {
            match self.blocks.next()? {
                (Kind::Head, _) => return None,
                (Kind::Entries, payload) => {
                    ids.extend(content::entries(payload)?.into_iter().map(|(id, _)| id));
                }
                (Kind::Releases | Kind::Tombs, _) => {}
                (Kind::End, payload) => return (Reader(payload).u64()? == ids.len() as u64).then_some(ids),
            }
        }
    }

    /// Puts everything into an index that has the segments already. `None`: it is not whole; the index is of no use then.
    pub fn fill(mut self, index: &mut Index) -> Option<()> {
        index.seal = self.head.seal;
        index.next_entry = self.head.next_entry;
        index.tail = Some(self.head.tail);
        let mut count = 0_u64;
        loop {
            let (kind, payload) = self.blocks.next()?;
            match kind {
                Kind::Head => return None,
                Kind::Entries => count += entries(index, payload)?,
                Kind::Releases => releases(index, payload)?,
                Kind::Tombs => tombs(index, payload)?,
                Kind::End => return (Reader(payload).u64()? == count).then_some(()),
            }
        }
    }
}

fn entries(index: &mut Index, payload: &[u8]) -> Option<u64> {
    let entries = content::entries(payload)?;
    let count = entries.len() as u64;
    for (id, mut kept) in entries {
        kept.noted.retain(|epoch| index.exists(*epoch));
        for epoch in &kept.noted {
            pin(index, *epoch);
        }
        if let Owner::Held(transfer) = kept.owner {
            let held = Transfer {
                state: Target::Held { hold: id },
                homes: Vec::new(),
            };
            index.transfers.entry(transfer).or_insert(held);
        }
        let entry = Entry::restore(kept, &mut index.replies);
        index.add(id, entry);
    }
    Some(count)
}

fn releases(index: &mut Index, payload: &[u8]) -> Option<()> {
    for release in content::releases(payload)? {
        if let Some(last) = release.homes.last() {
            pin(index, *last);
        }
        let known = Transfer {
            state: Target::Released { hold: release.hold },
            homes: release.homes,
        };
        index.transfers.insert(release.transfer, known);
    }
    Some(())
}

fn tombs(index: &mut Index, payload: &[u8]) -> Option<()> {
    let (epoch, tombs) = content::tombs(payload)?;
    let mut needed: Vec<_> = tombs.iter().filter_map(|tomb| index.needed(tomb)).collect();
    if let Some(segment) = index.segments.get_mut(&epoch) {
        segment.tombs.append(&mut needed);
    }
    Some(())
}

fn pin(index: &mut Index, epoch: Epoch) {
    if let Some(segment) = index.segments.get_mut(&epoch) {
        segment.pins += 1;
    }
}
