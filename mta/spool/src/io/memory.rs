//! A file system in memory that records every change, crashes at any of them, and fails on demand. For tests.
//!
//! [`Memory::crash`] builds what a disk may hold after a power cut behind any recorded operation: content is
//! certain once its file was synced, names once their directory was; what came later is kept, dropped or, for
//! content, kept in some of its 512-byte sectors, as a seeded draw decides.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{File, Io, Lock, Space};

const SECTOR: usize = 512;

/// One recorded change.
#[derive(Clone, Debug)]
pub enum Op {
    /// A new, empty file under this name.
    Create(PathBuf, u64),
    /// Bytes written to a file.
    Write(u64, u64, Arc<[u8]>),
    /// A file was synced.
    Sync(u64),
    /// A name was removed.
    Remove(PathBuf),
    /// A name was changed.
    Rename(PathBuf, PathBuf),
    /// A directory was synced.
    SyncDir(PathBuf),
    /// The test said so: what it knows to be acknowledged at this point.
    Mark(u64),
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<PathBuf, u64>,
    files: HashMap<u64, Vec<u8>>,
    next: u64,
    log: Vec<Op>,
    recording: bool,
    capacity: u64,
    fail_syncs: bool,
    refuse_writes: bool,
    /// Each write takes so long.
    slow: Duration,
    /// How often a file was to reserve a range.
    reserves: usize,
    /// Syncs of this file do not end.
    held: Option<u64>,
    /// How many wait for that.
    waiting: usize,
}

/// The file system. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Memory {
    state: Arc<Mutex<State>>,
    held: Arc<Condvar>,
}

impl Memory {
    /// An empty volume of this many bytes.
    pub fn new(capacity: u64) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                capacity,
                recording: true,
                next: 1,
                ..State::default()
            })),
            held: Arc::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records what the test knows at this point.
    pub fn mark(&self, what: u64) {
        self.state().log.push(Op::Mark(what));
    }

    /// The changes so far.
    pub fn log(&self) -> Vec<Op> {
        self.state().log.clone()
    }

    /// From now on every sync of a file fails, or none.
    pub fn fail_syncs(&self, fail: bool) {
        self.state().fail_syncs = fail;
    }

    /// From now on syncs of this file do not end, as on a device that hangs; with `None` they do again.
    pub fn hold_syncs(&self, path: Option<&Path>) {
        let mut state = self.state();
        state.held = path.and_then(|path| state.names.get(path).copied());
        self.held.notify_all();
    }

    /// Waits until a sync is held up, so long at most. False: none is.
    pub fn holds_a_sync(&self, most: Duration) -> bool {
        let waited = self
            .held
            .wait_timeout_while(self.state(), most, |state| state.waiting == 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.waiting > 0
    }

    /// From now on there is no room for any write, not even in place, as where each one takes new blocks; or there is again.
    pub fn refuse_writes(&self, refuse: bool) {
        self.state().refuse_writes = refuse;
    }

    /// From now on each write takes so long at least.
    pub fn slow_writes(&self, each: Duration) {
        self.state().slow = each;
    }

    /// How often a file was to reserve a range, which this file system cannot.
    pub fn reserves(&self) -> usize {
        self.state().reserves
    }

    /// Changes the size of the volume.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// Changes content behind the back of everybody: a fault of the device.
    pub fn damage(&self, path: &Path, offset: usize) {
        let mut state = self.state();
        let Some(file) = state.names.get(path).copied() else {
            return;
        };
        if let Some(byte) = state.files.get_mut(&file).and_then(|bytes| bytes.get_mut(offset)) {
            *byte ^= 0x55;
        }
    }

    /// A volume as a power cut behind the first `ops` changes of `log` may leave it. Records nothing.
    pub fn crash(log: &[Op], ops: usize, seed: u64) -> Self {
        let mut disk = Crash {
            random: seed | 1,
            ..Crash::default()
        };
        for op in log.iter().take(ops) {
            disk.apply(op);
        }
        disk.cut();
        let state = State {
            names: disk.names,
            files: disk.files,
            next: u64::MAX / 2,
            capacity: 1 << 40,
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            held: Arc::default(),
        }
    }
}

/// Bytes at an offset.
type Piece = (u64, Arc<[u8]>);

#[derive(Default)]
struct Crash {
    names: BTreeMap<PathBuf, u64>,
    files: HashMap<u64, Vec<u8>>,
    unsynced: BTreeMap<u64, Vec<Piece>>,
    unsynced_names: BTreeMap<PathBuf, Vec<Op>>,
    random: u64,
}

impl Crash {
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Create(path, _) | Op::Remove(path) | Op::Rename(path, _) => {
                let dir = path.parent().unwrap_or(path).to_path_buf();
                self.unsynced_names.entry(dir).or_default().push(op.clone());
            }
            Op::Write(file, offset, bytes) => {
                self.unsynced
                    .entry(*file)
                    .or_default()
                    .push((*offset, Arc::clone(bytes)));
            }
            Op::Sync(file) => {
                for (offset, bytes) in self.unsynced.remove(file).unwrap_or_default() {
                    put(self.files.entry(*file).or_default(), offset, &bytes);
                }
            }
            Op::SyncDir(dir) => {
                for op in self.unsynced_names.remove(dir).unwrap_or_default() {
                    self.rename(&op);
                }
            }
            Op::Mark(_) => {}
        }
    }

    fn rename(&mut self, op: &Op) {
        match op {
            Op::Create(path, file) => {
                self.names.insert(path.clone(), *file);
            }
            Op::Remove(path) => {
                self.names.remove(path);
            }
            Op::Rename(from, to) => {
                if let Some(file) = self.names.remove(from) {
                    self.names.insert(to.clone(), file);
                }
            }
            _ => {}
        }
    }

    /// Decides about everything that was not synced.
    fn cut(&mut self) {
        // A directory is journaled: its changes survive in order, up to some point.
        for ops in std::mem::take(&mut self.unsynced_names).into_values() {
            let kept = self.draw(ops.len() as u64 + 1);
            for op in ops.iter().take(usize::try_from(kept).unwrap_or(usize::MAX)) {
                self.rename(op);
            }
        }
        for (file, writes) in std::mem::take(&mut self.unsynced) {
            for (offset, bytes) in writes {
                let fate = self.draw(4);
                for (i, sector) in bytes.chunks(SECTOR).enumerate() {
                    if fate == 1 || (fate > 1 && self.draw(2) == 1) {
                        put(
                            self.files.entry(file).or_default(),
                            offset + (i * SECTOR) as u64,
                            sector,
                        );
                    }
                }
            }
        }
        for file in self.names.values() {
            self.files.entry(*file).or_default();
        }
    }

    /// xorshift64: a number below `bound`.
    fn draw(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % bound
    }
}

fn put(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = usize::try_from(offset).unwrap_or(usize::MAX / 2);
    let end = start + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[start..end].copy_from_slice(bytes);
}

#[derive(Debug)]
struct MemoryFile {
    volume: Memory,
    file: u64,
}

impl File for MemoryFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let slow = self.volume.state().slow;
        if !slow.is_zero() {
            std::thread::sleep(slow);
        }
        let mut state = self.volume.state();
        let used: usize = state.files.values().map(Vec::len).sum();
        let old = state.files.get(&self.file).map_or(0, Vec::len) as u64;
        let grown = (offset + bytes.len() as u64).saturating_sub(old);
        if state.refuse_writes || (grown > 0 && used as u64 + grown > state.capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        put(state.files.entry(self.file).or_default(), offset, bytes);
        if state.recording {
            state.log.push(Op::Write(self.file, offset, bytes.into()));
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.volume.state();
        let content = state.files.get(&self.file).map(Vec::as_slice).unwrap_or_default();
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|at| content.get(at..))
            .unwrap_or_default();
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.volume.state();
        if state.held == Some(self.file) {
            state.waiting += 1;
            self.volume.held.notify_all();
            let held = |state: &mut State| state.held == Some(self.file);
            let waited = self.volume.held.wait_while(state, held);
            state = waited.unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        if state.fail_syncs {
            return Err(io::Error::other("sync failed (injected)"));
        }
        if state.recording {
            state.log.push(Op::Sync(self.file));
        }
        Ok(())
    }

    fn reserve(&self, _: u64, _: u64) -> io::Result<bool> {
        self.volume.state().reserves += 1;
        Ok(false)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.volume.state().files.get(&self.file).map_or(0, Vec::len) as u64)
    }
}

#[derive(Debug)]
struct MemoryLock;

impl Lock for MemoryLock {}

impl Io for Memory {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>> {
        let state = self.state();
        let inside = state.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        Ok(inside
            .filter_map(|(path, file)| {
                let name = path.file_name()?.to_str()?.to_owned();
                Some((name, state.files.get(file).map_or(0, Vec::len) as u64))
            })
            .collect())
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let file = self
            .state()
            .names
            .get(path)
            .copied()
            .ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(MemoryFile {
            volume: self.clone(),
            file,
        }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        let file = state.next;
        state.next += 1;
        if let Some(old) = state.names.insert(path.to_path_buf(), file) {
            state.files.remove(&old);
        }
        state.files.insert(file, Vec::new());
        if state.recording {
            state.log.push(Op::Create(path.to_path_buf(), file));
        }
        Ok(Arc::new(MemoryFile {
            volume: self.clone(),
            file,
        }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let file = state.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        state.files.remove(&file);
        if state.recording {
            state.log.push(Op::Remove(path.to_path_buf()));
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let file = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        if let Some(old) = state.names.insert(to.to_path_buf(), file) {
            state.files.remove(&old);
        }
        if state.recording {
            state.log.push(Op::Rename(from.to_path_buf(), to.to_path_buf()));
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.recording {
            state.log.push(Op::SyncDir(dir.to_path_buf()));
        }
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        Ok(Some(Box::new(MemoryLock)))
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        let state = self.state();
        let used: usize = state.files.values().map(Vec::len).sum();
        Ok(Space {
            total: state.capacity,
            available: state.capacity.saturating_sub(used as u64),
        })
    }
}
