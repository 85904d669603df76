//! What is seen while a connection is opened, for those who report on it, however it ends.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use super::connect::NoTls;

/// Notes on one connection, and on a second one in the clear where TLS fails on the first.
#[derive(Debug, Default)]
pub(super) struct Witness(Mutex<Noted>);

/// What was noted.
#[derive(Clone, Debug, Default)]
pub(super) struct Noted {
    /// What the server called itself; empty: it said nothing.
    pub(super) helo: String,
    /// Our own address, as the server prints it or else as the socket has it.
    pub(super) ours: Option<IpAddr>,
    /// What is wrong with TLS, where that did not end it.
    pub(super) flaw: Option<NoTls>,
}

impl Witness {
    pub(super) fn note(&self, note: impl FnOnce(&mut Noted)) {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn noted(&self) -> Noted {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
