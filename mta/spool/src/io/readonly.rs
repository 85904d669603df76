//! A file system that is looked at and never changed: writes are taken and forgotten.
//!
//! Opening a spool repairs what a crash left (torn ends, orphans). On this, a look at a spool sees it as it would be
//! after that, and changes nothing.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Disk, File, Io, Lock, Space};

/// The file system of the machine, to be looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOnly;

#[derive(Debug)]
struct Seen(fs::File);

/// A file that is said to be made, and is not.
#[derive(Debug)]
struct Nothing;

impl File for Seen {
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        super::read_fully(&self.0, buffer, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

impl File for Nothing {
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Ok(())
    }

    fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        Ok(0)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(0)
    }
}

impl Io for ReadOnly {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>> {
        Disk.list(dir)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(Seen(fs::File::open(path)?)))
    }

    fn create(&self, _: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(Nothing))
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    /// The real lock: nobody writes while we look.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        Disk.lock(path)
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        Disk.space(dir)
    }
}
