//! Messages that are being received, and the promise that a sealed spool is empty.

use std::sync::Arc;

use super::{Shared, lock};

#[derive(Debug, Default)]
pub(super) struct Gate {
    pub(super) open: usize,
    /// "Empty" was said of a sealed spool.
    pub(super) latched: bool,
}

impl Shared {
    /// Counts a message being received; `None` if "empty" was said of the sealed spool.
    pub fn open_message(self: &Arc<Self>) -> Option<OpenGuard> {
        let mut gate = lock(&self.gate);
        if gate.latched {
            return None;
        }
        gate.open += 1;
        Some(OpenGuard(Arc::clone(self)))
    }

    /// Nothing here and nothing coming in. Of a sealed spool this is a promise.
    pub fn is_empty(&self) -> bool {
        // In this order: a guard may be dropped while the index is locked.
        let index = self.index();
        let mut gate = lock(&self.gate);
        let empty = gate.open == 0 && index.is_empty();
        gate.latched |= empty && index.seal.sealed;
        empty
    }

    /// Takes messages again.
    pub fn unlatch(&self) {
        lock(&self.gate).latched = false;
    }
}

/// A message being received, or committed and not yet in the index.
#[derive(Debug)]
pub struct OpenGuard(Arc<Shared>);

impl Drop for OpenGuard {
    fn drop(&mut self) {
        lock(&self.0.gate).open -= 1;
    }
}
