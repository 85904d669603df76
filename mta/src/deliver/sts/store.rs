//! Policies on the pod's volume, so that a restart forgets none: who can block the fetch could else wait for one.
//!
//! One file per domain in a folder of the spool's, replaced as a whole. It says nothing about messages, and is not handed
//! over: another pod fetches for itself. Blocks on the disk.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::digest;
use postroad_verify::mta_sts::{Kept, Policy};
use serde::{Deserialize, Serialize};

/// The folder.
#[derive(Clone, Debug)]
pub(super) struct Store(PathBuf);

/// What a file holds.
#[derive(Serialize, Deserialize)]
struct Text {
    domain: String,
    id: String,
    fetched: u64,
    policy: String,
}

impl Store {
    /// The folder in that of the spool; it may be absent.
    pub(super) fn within(spool: &Path) -> Self {
        Self(spool.join(FOLDER))
    }

    /// What is kept of a domain. Errors: it cannot be read, or is no policy.
    pub(super) fn load(&self, domain: &str) -> io::Result<Option<Kept>> {
        let octets = match std::fs::read(self.file(domain)) {
            Ok(octets) => octets,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let text: Text = serde_json::from_slice(&octets).map_err(io::Error::other)?;
        if text.domain != domain {
            return Err(io::Error::other("it is of another domain"));
        }
        let policy = Policy::parse(text.policy.as_bytes()).map_err(io::Error::other)?;
        Ok(Some(Kept {
            id: text.id,
            policy,
            fetched: text.fetched,
        }))
    }

    /// Keeps a policy; durable when this returns without an error.
    pub(super) fn save(&self, domain: &str, kept: &Kept) -> io::Result<()> {
        std::fs::create_dir_all(&self.0)?;
        self.make_room()?;
        let text = Text {
            domain: domain.to_owned(),
            id: kept.id.clone(),
            fetched: kept.fetched,
            policy: kept.policy.to_string(),
        };
        let (place, temporary) = (self.file(domain), self.file(domain).with_extension("tmp"));
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(&text).map_err(io::Error::other)?)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &place)?;
        File::open(&self.0)?.sync_all()
    }

    /// A name of fixed form, whatever octets the domain has.
    fn file(&self, domain: &str) -> PathBuf {
        let digest = digest::digest(&digest::SHA256, domain.as_bytes());
        let mut name = String::new();
        for octet in digest.as_ref() {
            for nibble in [octet >> 4, octet & 15] {
                name.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
            }
        }
        self.0.join(name).with_extension("json")
    }

    /// The oldest half goes where there are too many.
    fn make_room(&self) -> io::Result<()> {
        let mut files: Vec<(SystemTime, PathBuf)> = vec![];
        for entry in std::fs::read_dir(&self.0)? {
            let entry = entry?;
            let written = entry.metadata().and_then(|known| known.modified());
            files.push((written.unwrap_or(SystemTime::UNIX_EPOCH), entry.path()));
        }
        if files.len() < MOST_FILES {
            return Ok(());
        }
        files.sort_unstable();
        files.truncate(MOST_FILES / 2);
        files
            .into_iter()
            .try_for_each(|(_, path)| std::fs::remove_file(path))
    }
}

const FOLDER: &str = "mta-sts";
/// Domains with a policy are few beside those that get mail; whoever makes many up pushes out his own as well.
const MOST_FILES: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(id: &str) -> Kept {
        Kept {
            id: id.into(),
            policy: Policy::parse(b"version: STSv1\nmode: enforce\nmx: *.a.example\nmax_age: 60\n").unwrap(),
            fetched: 1_700_000_000,
        }
    }

    #[test]
    fn a_policy_is_kept_by_domain_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::within(folder.path());
        assert_eq!(store.load("a.example").unwrap(), None);
        for domain in ["a.example", "../b", &"x".repeat(300)] {
            store.save(domain, &kept("1")).unwrap();
            store.save(domain, &kept("2")).unwrap();
            let other = Store::within(folder.path());
            assert_eq!(other.load(domain).unwrap(), Some(kept("2")), "{domain}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(std::fs::read_dir(folder.path().join(FOLDER)).unwrap().count(), 3);
        assert_eq!(store.load("b.example").unwrap(), None);
    }

    #[test]
    fn a_file_that_is_none_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::within(folder.path());
        store.save("a.example", &kept("1")).unwrap();
        std::fs::copy(store.file("a.example"), store.file("b.example")).unwrap();
        assert!(store.load("b.example").is_err(), "it is of another domain");
        std::fs::write(store.file("a.example"), "{").unwrap();
        assert!(store.load("a.example").is_err());
    }
}
