//! Sites that a person has suspended: nothing is tried there until they are resumed, also after a restart.
//!
//! A file of its own in the spool's folder, replaced as a whole: it says nothing about messages, and losing it would only
//! mean that mail flows. It belongs to this pod's volume and is not handed over.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// Names of sites.
pub type Names = BTreeSet<String>;

/// Why a site is not suspended, or not resumed.
#[derive(Debug, thiserror::Error)]
pub enum SuspendError {
    /// The list is full.
    #[error("{MOST} sites are suspended, which is the most; resume some first")]
    TooMany,
    /// The list cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Puts a site on the list, or takes it off. Gives whether that changed it.
pub fn set(names: &mut Names, site: String, suspended: bool) -> Result<bool, SuspendError> {
    if !suspended {
        return Ok(names.remove(&site));
    }
    if names.len() >= MOST && !names.contains(&site) {
        return Err(SuspendError::TooMany);
    }
    Ok(names.insert(site))
}

/// The file.
#[derive(Clone, Debug)]
pub struct Store(PathBuf);

impl Store {
    /// The file in that folder; it may be absent.
    pub fn within(spool: &Path) -> Self {
        Self(spool.join(FILE))
    }

    /// The names. Errors: it cannot be read, or is not a list of names.
    pub fn load(&self) -> io::Result<Names> {
        match std::fs::read(&self.0) {
            Ok(octets) => serde_json::from_slice(&octets).map_err(io::Error::other),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Names::new()),
            Err(error) => Err(error),
        }
    }

    /// Keeps the names; durable when this returns without an error.
    pub fn save(&self, names: &Names) -> io::Result<()> {
        let temporary = self.0.with_extension("tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(names).map_err(io::Error::other)?)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &self.0)?;
        let folder = self.0.parent().unwrap_or_else(|| Path::new("."));
        File::open(folder)?.sync_all()
    }
}

/// Names on the list: it is written as a whole at each change, and answered as a whole.
const MOST: usize = 1_000;
const FILE: &str = "suspended-sites.json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_an_end_and_what_is_on_it_is_no_trouble() {
        let mut names: Names = (1..MOST).map(|number| format!("mx:{number}")).collect();
        assert!(set(&mut names, "mx:last".to_owned(), true).unwrap());
        assert!(!set(&mut names, "mx:1".to_owned(), true).unwrap());
        let refused = set(&mut names, "mx:more".to_owned(), true).unwrap_err();
        assert!(matches!(refused, SuspendError::TooMany));
        assert_eq!(
            refused.to_string(),
            "1000 sites are suspended, which is the most; resume some first"
        );
        assert_eq!(names.len(), MOST);
        assert!(set(&mut names, "mx:1".to_owned(), false).unwrap());
        assert!(set(&mut names, "mx:more".to_owned(), true).unwrap());
    }

    #[test]
    fn names_are_kept_and_a_file_that_is_none_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::within(folder.path());
        assert_eq!(store.load().unwrap(), Names::new());
        let names = Names::from(["mx:a,b".to_owned(), "näme \"x\"".to_owned()]);
        store.save(&names).unwrap();
        assert_eq!(store.load().unwrap(), names);
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(store.load().is_err());
    }
}
