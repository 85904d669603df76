//! What the thread of a test logs: a page of JSON lines.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "a part of tests, of which each file uses its share"
)]

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Level};

/// The lines so far. Clones are the same page.
#[derive(Clone, Default)]
pub struct Page(Arc<Mutex<Vec<u8>>>);

/// While it is there, the thread writes to the page.
pub struct Writing {
    _writes: DefaultGuard,
    /// Where there is one alone, the thread that first comes by a line decides for all whether it is written.
    _another: Dispatch,
}

impl Page {
    /// What this thread logs from now on.
    pub fn begin() -> (Self, Writing) {
        Self::begin_with(Level::INFO)
    }

    /// The same down to this level.
    pub fn begin_with(level: Level) -> (Self, Writing) {
        let page = Self::default();
        let to = page.clone();
        let another = Dispatch::new(tracing_subscriber::registry());
        let log = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_max_level(level)
            .with_writer(move || to.clone())
            .finish();
        let writing = Writing {
            _writes: tracing::subscriber::set_default(log),
            _another: another,
        };
        (page, writing)
    }

    pub fn text(&self) -> String {
        let page = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        String::from_utf8(page).unwrap()
    }

    /// The lines of this event.
    pub fn events(&self, event: &str) -> Vec<Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|line| line["event"] == event)
            .collect()
    }
}

impl Write for Page {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        let mut page = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        page.extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Each field of these lines is on the page that describes the log.
pub fn are_described<'a>(lines: impl IntoIterator<Item = &'a Value>) {
    let described = include_str!("../../../docs/reference/delivery-log.md");
    for line in lines {
        for name in line.as_object().unwrap().keys() {
            assert!(
                described.contains(&format!("`{name}`")),
                "{name} is not described: {line}"
            );
        }
    }
}
