//! Messages that a person has moved to a policy: which, and to which.
//!
//! A journal of its own in the spool's folder, a line of JSON for each order:
//!
//! ```text
//!   {"to":"mail/backup","ids":["000000000000002a"]}     from now on by that policy
//!   {"ids":["000000000000002a"]}                        as the configuration says, again
//! ```
//!
//! A line that was cut off is an order that was never confirmed: it is passed over. The journal says nothing that mail
//! depends on: losing it means the usual route. It belongs to this pod's volume; an entry that is handed over goes by
//! the routes of the pod that takes it.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use postroad_spool::EntryId;
use serde::{Deserialize, Serialize};

/// The moves. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Moved(Arc<Moves>);

#[derive(Debug)]
struct Moves {
    by_entry: RwLock<HashMap<EntryId, Arc<str>>>,
    journal: Mutex<Journal>,
}

#[derive(Debug)]
struct Journal {
    path: PathBuf,
    /// Ids in its lines.
    ids: usize,
}

#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    ids: Vec<String>,
}

impl Moved {
    /// Reads the journal in that folder; it may be absent. Entries that are not there (any more) are left out.
    pub fn within(spool: &Path, is_there: impl Fn(EntryId) -> bool) -> Self {
        let path = spool.join(FILE);
        let by_entry = read(&path).unwrap_or_else(|error| {
            tracing::error!(%error, "the journal of moved messages cannot be read: they go by their usual routes");
            HashMap::new()
        });
        let by_entry: HashMap<_, _> = by_entry
            .into_iter()
            .filter(|(entry, _)| is_there(*entry))
            .collect();
        // Until it was written anew nobody knows what is in it.
        let mut journal = Journal {
            path,
            ids: usize::MAX,
        };
        if let Err(error) = journal.tidy(&by_entry) {
            tracing::warn!(%error, "the journal of moved messages cannot be written anew; it stays as it is");
        }
        Self(Arc::new(Moves {
            by_entry: by_entry.into(),
            journal: journal.into(),
        }))
    }

    /// The policy that an entry was moved to.
    pub fn of(&self, entry: EntryId) -> Option<Arc<str>> {
        let by_entry = self.0.by_entry.read().unwrap_or_else(PoisonError::into_inner);
        by_entry.get(&entry).cloned()
    }

    /// Moves entries to a policy, or back to their usual routes. Durable, and in force, when this returns without an error;
    /// otherwise nothing has changed. Blocks.
    pub fn set(&self, entries: &[EntryId], to: Option<&str>) -> io::Result<()> {
        let mut journal = self.0.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.append(&Line {
            to: to.map(str::to_owned),
            ids: entries.iter().map(EntryId::to_string).collect(),
        })?;
        let mut by_entry = self.0.by_entry.write().unwrap_or_else(PoisonError::into_inner);
        let to: Option<Arc<str>> = to.map(Into::into);
        for entry in entries {
            match &to {
                Some(to) => by_entry.insert(*entry, to.clone()),
                None => by_entry.remove(entry),
            };
        }
        let now = journal.is_untidy(by_entry.len()).then(|| by_entry.clone());
        drop(by_entry);
        if let Some(Err(error)) = now.map(|now| journal.tidy(&now)) {
            tracing::warn!(%error, "the journal of moved messages cannot be written anew; it stays as it is");
        }
        Ok(())
    }

    /// An entry has ended.
    pub fn forget(&self, entry: EntryId) {
        if self.of(entry).is_some() {
            let mut by_entry = self.0.by_entry.write().unwrap_or_else(PoisonError::into_inner);
            by_entry.remove(&entry);
        }
    }
}

impl Journal {
    fn append(&mut self, line: &Line) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        let before = file.metadata()?.len();
        let written = write(&mut file, std::slice::from_ref(line)).and_then(|()| file.sync_all());
        if written.is_err() {
            // Best effort: a piece of a line is passed over.
            let _ = file.set_len(before);
        }
        written?;
        if before == 0 {
            sync_folder(&self.path)?;
        }
        self.ids = self.ids.saturating_add(line.ids.len());
        Ok(())
    }

    /// Most of it is of the past.
    const fn is_untidy(&self, moved: usize) -> bool {
        self.ids > moved * 2 + FEW
    }

    /// Writes the journal anew.
    fn tidy(&mut self, now: &HashMap<EntryId, Arc<str>>) -> io::Result<()> {
        let mut lines: BTreeMap<&Arc<str>, Line> = BTreeMap::new();
        for (entry, to) in now {
            let line = lines.entry(to).or_insert_with(|| Line {
                to: Some(to.to_string()),
                ids: Vec::new(),
            });
            line.ids.push(entry.to_string());
        }
        let lines: Vec<Line> = lines.into_values().collect();
        if lines.is_empty() && !self.path.exists() {
            self.ids = 0;
            return Ok(());
        }
        let temporary = self.path.with_extension("tmp");
        let mut file = File::create(&temporary)?;
        write(&mut file, &lines)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &self.path)?;
        sync_folder(&self.path)?;
        self.ids = now.len();
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<HashMap<EntryId, Arc<str>>> {
    let text = match std::fs::read(path) {
        Ok(octets) => String::from_utf8_lossy(&octets).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(error) => return Err(error),
    };
    let mut by_entry = HashMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let Ok(line) = serde_json::from_str::<Line>(line) else {
            tracing::warn!(
                "a line of the journal of moved messages was cut off: that order was never confirmed"
            );
            continue;
        };
        let to: Option<Arc<str>> = line.to.map(Into::into);
        for entry in line.ids.iter().filter_map(|id| id.parse().ok()) {
            match &to {
                Some(to) => by_entry.insert(entry, to.clone()),
                None => by_entry.remove(&entry),
            };
        }
    }
    Ok(by_entry)
}

/// A line feed before and after each line: a piece of one that was cut off before stays a line of its own.
fn write(file: &mut File, lines: &[Line]) -> io::Result<()> {
    let mut octets = Vec::new();
    for line in lines {
        octets.push(b'\n');
        serde_json::to_writer(&mut octets, line).map_err(io::Error::other)?;
        octets.push(b'\n');
    }
    file.write_all(&octets)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    File::open(folder)?.sync_all()
}

const FILE: &str = "moved-messages.jsonl";

/// So many ids of the past are let be.
const FEW: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> EntryId {
        EntryId::from_u64(number)
    }

    fn reopened(folder: &Path) -> Moved {
        Moved::within(folder, |_| true)
    }

    #[test]
    fn moves_are_kept_until_they_are_undone_or_the_entry_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let moved = reopened(folder.path());
        moved.set(&[id(1), id(2), id(3)], Some("mail/backup")).unwrap();
        moved.set(&[id(2)], None).unwrap();
        moved.set(&[id(3)], Some("mail/other")).unwrap();
        for moved in [moved, reopened(folder.path())] {
            assert_eq!(moved.of(id(1)).as_deref(), Some("mail/backup"));
            assert_eq!(moved.of(id(2)), None);
            assert_eq!(moved.of(id(3)).as_deref(), Some("mail/other"));
            moved.forget(id(3));
            assert_eq!(moved.of(id(3)), None);
        }
        let later = Moved::within(folder.path(), |entry| entry == id(1));
        assert_eq!((later.of(id(1)).is_some(), later.of(id(3))), (true, None));
    }

    #[test]
    fn an_order_that_was_cut_off_anywhere_changes_nothing_before_or_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        reopened(folder.path()).set(&[id(1)], Some("a")).unwrap();
        let before = std::fs::read(&path).unwrap();
        reopened(folder.path()).set(&[id(1), id(2)], Some("b")).unwrap();
        let whole = std::fs::read(&path).unwrap();
        // The last octet is the line feed: without it the line is whole all the same.
        for cut in before.len()..whole.len() - 1 {
            std::fs::write(&path, &whole[..cut]).unwrap();
            // The journal as it was found, not tidied.
            assert_eq!(
                read(&path).unwrap(),
                HashMap::from([(id(1), "a".into())]),
                "{cut}"
            );
            let mut file = OpenOptions::new().append(true).open(&path).unwrap();
            let line = Line {
                to: Some("c".into()),
                ids: vec![id(3).to_string()],
            };
            write(&mut file, &[line]).unwrap();
            let found = read(&path).unwrap();
            assert_eq!((found.len(), found[&id(3)].as_ref()), (2, "c"), "{cut}");
        }
    }

    #[test]
    fn the_journal_does_not_grow_with_orders_that_are_over() {
        let folder = tempfile::tempdir().unwrap();
        let moved = reopened(folder.path());
        let all: Vec<EntryId> = (0..1_000).map(id).collect();
        for _ in 0..50 {
            moved.set(&all, Some("a")).unwrap();
            moved.set(&all, None).unwrap();
        }
        moved.set(&all, Some("b")).unwrap();
        let journal = moved.0.journal.lock().unwrap();
        assert!(journal.ids <= 2 * all.len() + FEW, "{}", journal.ids);
        let octets = std::fs::metadata(&journal.path).unwrap().len();
        assert!(octets < 30 * u64::try_from(journal.ids).unwrap(), "{octets}");
        assert_eq!(reopened(folder.path()).of(id(999)).as_deref(), Some("b"));
    }
}
