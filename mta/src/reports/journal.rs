//! Rows of reports, kept over a restart: a file of changes beside the spool, one JSON object a line.
//!
//! ```text
//!   store ─► changes, every few seconds and at the end ─► append ─┬─► reports.log     at the start all of it is summed up
//!                                                                 └─► much of it is old: written anew, renamed
//! ```
//!
//! Nothing waits for it and nothing is synced but the file that is written anew: what a kill or a power cut takes are the counts of
//! the last seconds. A line that is not whole is skipped.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::store::{Entry, Store, Subject};

/// Its name in the directory of the spool.
pub const FILE: &str = "reports.log";

/// The file.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// The last write went well.
    works: bool,
    /// This run has written: what an earlier one may have left at the end, without an end of line, is behind us.
    begun: bool,
    /// Octets from which on it is written anew.
    rewrite_at: u64,
}

impl Journal {
    /// In this directory.
    pub fn within(directory: &Path) -> Self {
        Self {
            path: directory.join(FILE),
            works: true,
            begun: false,
            rewrite_at: LEAST_REWRITTEN,
        }
    }

    /// Reads what an earlier run kept into the store; nothing where there is no file. Blocks.
    pub fn read(&self, store: &Mutex<Store>) -> io::Result<()> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut sums: HashMap<(Subject, String), i64> = HashMap::new();
        for line in BufReader::new(file).split(b'\n') {
            if let Ok(entry) = serde_json::from_slice::<Entry>(&line?) {
                let key = (entry.of, entry.row);
                let sum = sums.get(&key).copied().unwrap_or(0).saturating_add(entry.count);
                if sum == 0 {
                    sums.remove(&key);
                } else {
                    sums.insert(key, sum);
                }
            }
        }
        let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
        for ((of, row), sum) in sums {
            if let Ok(count) = u64::try_from(sum)
                && count > 0
            {
                store.restore(&of, &row, count);
            }
        }
        Ok(())
    }

    /// Writes what has changed. Blocks. A failure costs no more than what the next start knows, and is told once.
    pub fn write(&mut self, store: &Mutex<Store>) {
        let changes = locked(store).changes();
        if changes.is_empty() {
            return;
        }
        match self.append(&changes, store) {
            Ok(()) => self.works = true,
            Err(error) if self.works => {
                self.works = false;
                tracing::warn!(%error, "rows of reports cannot be kept: a restart forgets some");
            }
            Err(_) => {}
        }
    }

    fn append(&mut self, changes: &[Entry], store: &Mutex<Store>) -> io::Result<()> {
        let mut text = Vec::new();
        if !self.begun {
            text.push(b'\n');
        }
        for change in changes {
            line(&mut text, change)?;
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        file.write_all(&text)?;
        self.begun = true;
        if file.metadata()?.len() < self.rewrite_at {
            return Ok(());
        }
        let whole = locked(store).whole();
        if let Some(whole) = whole {
            let length = write_anew(&self.path, &whole)?;
            self.rewrite_at = LEAST_REWRITTEN.max(2 * length);
        }
        Ok(())
    }
}

/// Gives its length.
fn write_anew(path: &Path, entries: &[Entry]) -> io::Result<u64> {
    let new = path.with_extension("new");
    let mut file = BufWriter::new(File::create(&new)?);
    for entry in entries {
        line(&mut file, entry)?;
    }
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    Ok(file.metadata()?.len())
}

fn line(to: &mut impl Write, entry: &Entry) -> io::Result<()> {
    serde_json::to_writer(&mut *to, entry)?;
    to.write_all(b"\n")
}

fn locked(store: &Mutex<Store>) -> std::sync::MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Below this length nobody minds what is old.
const LEAST_REWRITTEN: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    fn of(domain: &str) -> Subject {
        Subject {
            kind: Kind::Tls,
            domain: domain.to_owned(),
            day: 3,
        }
    }

    fn again(journal: &Journal) -> Vec<Entry> {
        let store = Mutex::new(Store::default());
        journal.read(&store).unwrap();
        let mut whole = locked(&store).whole().unwrap();
        whole.sort_by(|one, other| (&one.of, &one.row).cmp(&(&other.of, &other.row)));
        whole
    }

    #[test]
    fn what_was_written_is_there_again_and_what_was_settled_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = Journal::within(directory.path());
        assert!(again(&journal).is_empty(), "there is no file yet");
        let store = Mutex::new(Store::default());
        for (domain, row) in [("a.example", "x"), ("a.example", "x"), ("b.example", "\"\n")] {
            locked(&store).add(&of(domain), row, 1);
        }
        journal.write(&store);
        locked(&store).add(&of("a.example"), "x", 1);
        journal.write(&store);
        let text = fs::read_to_string(directory.path().join(FILE)).unwrap();
        fs::write(directory.path().join(FILE), text + "{\"kind\":\"Tls\",\"dom").unwrap();
        let known = again(&journal);
        let shown: Vec<_> = known.iter().map(|entry| (&*entry.row, entry.count)).collect();
        assert_eq!(shown, [("x", 3), ("\"\n", 1)]);
        let mut journal = Journal::within(directory.path());
        let taken = locked(&store).take(&of("a.example"));
        locked(&store).settle(&taken);
        locked(&store).add(&of("c.example"), "y", 1);
        journal.write(&store);
        let domains: Vec<_> = again(&journal).into_iter().map(|entry| entry.of.domain).collect();
        assert_eq!(domains, ["b.example", "c.example"]);
    }

    #[test]
    fn a_file_that_is_mostly_old_is_written_anew() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = Journal::within(directory.path());
        let store = Mutex::new(Store::default());
        let row = "x".repeat(10_000);
        let mut length = 0;
        let mut shrunk = 0;
        for number in 0..1_000 {
            locked(&store).add(&of("a.example"), &row, number % 3 + 1);
            journal.write(&store);
            let now = fs::metadata(directory.path().join(FILE)).unwrap().len();
            shrunk += u32::from(now < length);
            length = now;
        }
        assert!((1..=3).contains(&shrunk), "{shrunk}");
        assert_eq!(again(&journal)[0].count, 1_999);
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_it_panic(octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join(FILE), octets).unwrap();
            let _ = Journal::within(directory.path()).read(&Mutex::new(Store::default()));
        }
    }
}
