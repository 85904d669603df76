//! The file system as the spool uses it: positioned writes, syncs of files and of directories.
//!
//! Everything that can be lost in a crash goes through [`Io`], so that a test can record, tear, drop and refuse it.
//! [`Disk`] is the real one, [`memory::Memory`] the one for tests.

pub mod memory;
pub mod readonly;

use std::fmt::Debug;
use std::fs;
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt as _, FileExt, MetadataExt, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, OFlags, StatxFlags};

use crate::format::BLOCK;

/// One open file.
pub trait File: Send + Sync + Debug {
    /// Writes all bytes at this offset. Durable only after [`File::sync`].
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Reads up to the end of the buffer or of the file; returns how many bytes.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Makes the content durable (fdatasync); a file that has no name any more is an error. After an error nothing may be
    /// believed about earlier writes.
    fn sync(&self) -> io::Result<()>;
    /// A range that was written is to go to the device now, without waiting for it: less is left for [`File::sync`].
    /// A hint; nothing is durable by it.
    fn write_behind(&self, _offset: u64, _len: u64) {}
    /// Fills a range with zeros, as [`File::write_at`] would, and leaves next to nothing of them to [`File::sync`]; both
    /// ends lie on [`BLOCK`]s. Nobody else uses the file meanwhile.
    fn fill_with_zeros(&self, offset: u64, len: u64) -> io::Result<()> {
        zeros(offset, len, |zeros, at| self.write_at(zeros, at))
    }
    /// The range reads as zeros and has its place on the device, without having to be written; the sync of what is written
    /// there later is dearer, as the file system then notes that it was. The file ends before the range. False: the file system
    /// cannot, and nothing was done.
    fn reserve(&self, _offset: u64, _len: u64) -> io::Result<bool> {
        Ok(false)
    }
    /// Bytes of the file.
    fn len(&self) -> io::Result<u64>;
    /// The file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Space of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes of the volume that are in use, or that a process without privileges can still use; what is kept for root is
    /// neither.
    pub total: u64,
    /// Bytes a process without privileges can still use.
    pub available: u64,
}

/// Zeros where a device can fetch them by itself: aligned to its blocks.
#[repr(align(4096))]
struct Zeros([u8; 64 * BLOCK]);
static ZEROS: Zeros = Zeros([0; 64 * BLOCK]);

fn zeros(
    mut offset: u64,
    mut len: u64,
    mut write: impl FnMut(&[u8], u64) -> io::Result<()>,
) -> io::Result<()> {
    while len > 0 {
        let piece = usize::try_from(len).map_or(ZEROS.0.len(), |len| len.min(ZEROS.0.len()));
        write(&ZEROS.0[..piece], offset)?;
        offset += piece as u64;
        len -= piece as u64;
    }
    Ok(())
}

/// Held as long as the lock is.
pub trait Lock: Send + Sync + Debug {}

/// A file system.
pub trait Io: Send + Sync + Debug {
    /// Makes a directory with its parents; it may be there already.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Names and sizes of the files in a directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>>;
    /// Opens a file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Makes an empty file, in the place of one that was there.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Renames a file, over one that was there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the lock file; `None` if another process has it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;
    /// Space of the volume that holds this directory.
    fn space(&self, dir: &Path) -> io::Result<Space>;
}

/// The file system of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

#[derive(Debug)]
struct DiskFile(fs::File);

impl File for DiskFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        read_fully(&self.0, buffer, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()?;
        // Somebody deleted it under us: what is in it is found by no later start.
        if links(&self.0)? == 0 {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the file was deleted"));
        }
        Ok(())
    }

    fn write_behind(&self, offset: u64, len: u64) {
        // Linux begins to write dirty pages of the range that it is told nobody needs, and keeps them until they are
        // written; sync_file_range(2) does no more, and has no safe interface. What is refused was a hint.
        if let Some(len) = NonZeroU64::new(len) {
            let _ = rustix::fs::fadvise(&self.0, offset, Some(len), rustix::fs::Advice::DontNeed);
        }
    }

    fn fill_with_zeros(&self, offset: u64, len: u64) -> io::Result<()> {
        // Past the page cache (O_DIRECT): no core copies the zeros, and they push nothing out of memory that is read again.
        let usual = rustix::fs::fcntl_getfl(&self.0)?;
        if rustix::fs::fcntl_setfl(&self.0, usual | OFlags::DIRECT).is_ok() {
            let filled = zeros(offset, len, |zeros, at| self.write_at(zeros, at));
            rustix::fs::fcntl_setfl(&self.0, usual)?;
            match filled {
                // The file system, or the device below it, wants larger blocks.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                filled => return filled,
            }
        }
        zeros(offset, len, |zeros, at| self.write_at(zeros, at))?;
        self.sync()
    }

    fn reserve(&self, offset: u64, len: u64) -> io::Result<bool> {
        let flags = rustix::fs::FallocateFlags::empty();
        // A signal may end it early (tmpfs): what it did by then it does again.
        match rustix::io::retry_on_intr(|| rustix::fs::fallocate(&self.0, flags, offset, len)) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(false),
            done => Ok(done.map(|()| true)?),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// How many names the file has. Nothing else is asked for: once the times of a file have been looked at, Linux (from 6.13)
/// gives the next write a time of its own, and the sync after it then writes the inode as well as the data.
fn links(file: &fs::File) -> io::Result<u64> {
    match rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::NLINK) {
        Ok(seen) if StatxFlags::from_bits_retain(seen.stx_mask).contains(StatxFlags::NLINK) => {
            Ok(u64::from(seen.stx_nlink))
        }
        // A file system that does not tell, a kernel or a sandbox without the call.
        Ok(_) | Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => Ok(file.metadata()?.nlink()),
        Err(error) => Err(error.into()),
    }
}

fn read_fully(file: &fs::File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

#[derive(Debug)]
struct DiskLock {
    /// The lock lives as long as this descriptor.
    _file: fs::File,
}

impl Lock for DiskLock {}

impl Io for Disk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        // Mail is nobody else's business: none but its owner (and the volume's group, where Kubernetes sets one) reads it.
        fs::DirBuilder::new().recursive(true).mode(0o770).create(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string()
                && entry.file_type()?.is_file()
            {
                names.push((name, entry.metadata()?.len()));
            }
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(DiskFile(
            fs::File::options().read(true).write(true).open(path)?,
        )))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let file = fs::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o660)
            .open(path)?;
        Ok(Arc::new(DiskFile(file)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let file = fs::File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o660)
            .open(path)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(DiskLock { _file: file }))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let volume = rustix::fs::statvfs(dir)?;
        let in_use = volume.f_blocks.saturating_sub(volume.f_bfree);
        Ok(Space {
            // As df(1) counts it: blocks that nobody but root gets would make an empty volume look half full.
            total: in_use
                .saturating_add(volume.f_bavail)
                .saturating_mul(volume.f_frsize),
            available: volume.f_bavail.saturating_mul(volume.f_frsize),
        })
    }
}

/// Writes a small file so that it is there whole or not at all.
pub(crate) fn write_whole(io: &dyn Io, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary: PathBuf = dir.join(format!("{name}.tmp"));
    let file = io.create(&temporary)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    io.rename(&temporary, &dir.join(name))?;
    io.sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECES: u64 = 3 * 64 + 5;

    #[test]
    fn nobody_else_reads_what_is_written() {
        let above = tempfile::tempdir().unwrap();
        let dir = above.path().join("spool").join("segments");
        Disk.create_dir(&dir).unwrap();
        Disk.create(&dir.join("a")).unwrap();
        let _lock = Disk.lock(&dir.join("lock")).unwrap().unwrap();
        for made in [dir.clone(), dir.join("a"), dir.join("lock")] {
            let mode = fs::metadata(&made).unwrap().mode();
            assert_eq!(mode & 0o007, 0, "{}: {mode:o}", made.display());
        }
    }

    /// `/dev/shm` is a tmpfs, which older kernels do not write past the page cache.
    #[test]
    fn a_range_is_filled_with_zeros_and_the_file_stays_usable() {
        for parent in ["/var/tmp", "/dev/shm"].map(Path::new) {
            let dir = tempfile::tempdir_in(parent).unwrap();
            let file = Disk.create(&dir.path().join("a")).unwrap();
            let block = BLOCK as u64;
            file.write_at(&[7; 3 * BLOCK], 0).unwrap();
            file.fill_with_zeros(block, PIECES * block).unwrap();
            assert!(file.reserve((PIECES + 1) * block, block).unwrap());
            assert_eq!(file.len().unwrap(), (PIECES + 2) * block, "{}", parent.display());
            let mut all = vec![1; usize::try_from(file.len().unwrap()).unwrap() + 1];
            assert_eq!(file.read_at(&mut all, 0).unwrap(), all.len() - 1);
            let (kept, filled) = all[..all.len() - 1].split_at(BLOCK);
            assert!(kept.iter().all(|octet| *octet == 7) && filled.iter().all(|octet| *octet == 0));
            // What follows is not aligned, and must not need to be.
            file.write_at(b"abc", 5).unwrap();
            file.sync().unwrap();
            assert_eq!(file.read_at(&mut all[..3], 5).unwrap(), 3);
            assert_eq!(&all[..3], b"abc");
        }
    }

    /// A file of procfs is written as any other, and has no places on a device: Linux refuses with EOPNOTSUPP.
    #[test]
    fn a_file_system_that_reserves_nothing_says_so_and_it_is_no_error() {
        let file = fs::OpenOptions::new()
            .write(true)
            .open("/proc/self/comm")
            .unwrap();
        assert!(!DiskFile(file).reserve(0, BLOCK as u64).unwrap());
    }
}
