//! Body files: written as the bytes arrive, durable before the record that refers to them.

use std::sync::Arc;

use crate::errors::CommitError;
use crate::io::File;
use crate::shared::{Shared, blobs_dir};
use crate::types::EntryId;

/// How often the volume is asked whether there is still room.
const CHECK_EVERY: u64 = 4 << 20;

/// How much may wait in memory before the device is set to work on it.
const BEHIND: u64 = 1 << 20;

/// A body file that no record refers to yet; dropping it removes it.
#[derive(Debug)]
pub struct BlobFile {
    shared: Arc<Shared>,
    id: EntryId,
    file: Arc<dyn File>,
    len: u64,
    crc: u32,
    checked: u64,
    /// Up to here the device was set to work.
    handed: u64,
    keep: bool,
}

impl BlobFile {
    /// Makes an empty body file.
    pub fn create(shared: &Arc<Shared>, id: EntryId) -> Result<Self, CommitError> {
        room(shared)?;
        let file = shared.io.create(&shared.blob_path(id)).map_err(|e| error(&e))?;
        Ok(Self {
            shared: Arc::clone(shared),
            id,
            file,
            len: 0,
            crc: 0,
            checked: 0,
            handed: 0,
            keep: false,
        })
    }

    /// Appends.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), CommitError> {
        if self.len - self.checked >= CHECK_EVERY {
            room(&self.shared)?;
            self.checked = self.len;
        }
        self.file.write_at(bytes, self.len).map_err(|e| error(&e))?;
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        self.len += bytes.len() as u64;
        if self.len - self.handed >= BEHIND {
            self.file.write_behind(self.handed, self.len - self.handed);
            self.handed = self.len;
        }
        Ok(())
    }

    /// Makes content and name durable. Returns length and checksum.
    pub fn sync(&self) -> Result<(u64, u32), CommitError> {
        let synced = self
            .file
            .sync()
            .and_then(|()| self.shared.io.sync_dir(&blobs_dir(&self.shared.dir)));
        match synced {
            Ok(()) => Ok((self.len, self.crc)),
            Err(e) if is_full(&e) => Err(CommitError::Full),
            Err(e) => {
                self.shared.fail("sync of a body file", &e);
                Err(error(&e))
            }
        }
    }

    pub const fn len(&self) -> u64 {
        self.len
    }

    /// The file, to be read while it is written.
    pub fn file(&self) -> Arc<dyn File> {
        Arc::clone(&self.file)
    }

    /// Is the body of another entry from now on.
    pub fn rename(&mut self, id: EntryId) -> Result<(), CommitError> {
        let (from, to) = (self.shared.blob_path(self.id), self.shared.blob_path(id));
        self.shared.io.rename(&from, &to).map_err(|e| error(&e))?;
        self.id = id;
        Ok(())
    }

    /// A record may refer to it.
    pub fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for BlobFile {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = self.shared.io.remove(&self.shared.blob_path(self.id))
        {
            tracing::warn!(entry = %self.id, %error, "a body file could not be removed");
        }
    }
}

/// Space that the log needs to go on is not for bodies.
fn room(shared: &Shared) -> Result<(), CommitError> {
    let space = shared.io.space(&shared.dir).map_err(|e| error(&e))?;
    if space.available < shared.keep_free + CHECK_EVERY.min(space.total / 64) {
        shared.poke();
        return Err(CommitError::Full);
    }
    Ok(())
}

fn error(error: &std::io::Error) -> CommitError {
    if is_full(error) {
        CommitError::Full
    } else {
        CommitError::ReadOnly(error.to_string())
    }
}

/// The error means that the volume is full.
pub fn is_full(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
    )
}
