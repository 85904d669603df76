//! Policies on the pod's volume, so that a restart forgets none: who can block the fetch could else wait for one.
//!
//! One file per domain, and per set of authorities that vouched for it, in a folder of the spool's, replaced as a whole. It says nothing about messages, and is not handed
//! over: another pod fetches for itself. Blocks on the disk.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use postroad_verify::mta_sts::{Kept, Policy};
use serde::{Deserialize, Serialize};

use super::whose::Whose;

/// The folder.
#[derive(Clone, Debug)]
pub(super) struct Store(PathBuf);

/// What a file holds.
#[derive(Serialize, Deserialize)]
struct Text {
    domain: String,
    /// Absent: the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    authorities: Option<String>,
    id: String,
    fetched: u64,
    policy: String,
}

impl Store {
    /// The folder in that of the spool; it may be absent.
    pub(super) fn within(spool: &Path) -> Self {
        Self(spool.join(FOLDER))
    }

    /// What is kept. Errors: it cannot be read, or is no policy.
    pub(super) fn load(&self, whose: &Whose) -> io::Result<Option<Kept>> {
        let octets = match std::fs::read(self.file(whose)) {
            Ok(octets) => octets,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let text: Text = serde_json::from_slice(&octets).map_err(io::Error::other)?;
        if text.domain != whose.domain || text.authorities != whose.authorities {
            return Err(io::Error::other(
                "it is of another domain, or others vouched for it",
            ));
        }
        let policy = Policy::parse(text.policy.as_bytes()).map_err(io::Error::other)?;
        Ok(Some(Kept {
            id: text.id,
            policy,
            fetched: text.fetched,
        }))
    }

    /// Keeps a policy; durable when this returns without an error.
    pub(super) fn save(&self, whose: &Whose, kept: &Kept) -> io::Result<()> {
        std::fs::create_dir_all(&self.0)?;
        self.make_room()?;
        let text = Text {
            domain: whose.domain.clone(),
            authorities: whose.authorities.clone(),
            id: kept.id.clone(),
            fetched: kept.fetched,
            policy: kept.policy.to_string(),
        };
        let (place, temporary) = (self.file(whose), self.file(whose).with_extension("tmp"));
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(&text).map_err(io::Error::other)?)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &place)?;
        File::open(&self.0)?.sync_all()
    }

    fn file(&self, whose: &Whose) -> PathBuf {
        self.0.join(whose.file_name()).with_extension("json")
    }

    fn make_room(&self) -> io::Result<()> {
        let mut files = vec![];
        for entry in std::fs::read_dir(&self.0)? {
            let entry = entry?;
            let known = entry.metadata();
            files.push(Held {
                written: known.as_ref().map_or(SystemTime::UNIX_EPOCH, |known| {
                    known.modified().unwrap_or(SystemTime::UNIX_EPOCH)
                }),
                octets: known.map_or(0, |known| known.len()),
                path: entry.path(),
            });
        }
        surplus(files)
            .into_iter()
            .try_for_each(|file| std::fs::remove_file(file.path))
    }
}

/// A file of the folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    written: SystemTime,
    octets: u64,
    path: PathBuf,
}

/// What goes. Where all of them are too large, the largest: a policy has a few hundred octets, and who publishes large ones pushes out
/// large ones. Where they are too many, the oldest half.
fn surplus(mut files: Vec<Held>) -> Vec<Held> {
    let mut gone = Vec::new();
    let mut octets: u64 = files.iter().map(|file| file.octets).sum();
    if octets > MOST_OCTETS {
        files.sort_unstable_by_key(|file| file.octets);
        while octets > MOST_OCTETS
            && let Some(largest) = files.pop()
        {
            octets -= largest.octets;
            gone.push(largest);
        }
    }
    if files.len() >= MOST_FILES {
        files.sort_unstable();
        gone.extend(files.drain(..MOST_FILES / 2));
    }
    gone
}

const FOLDER: &str = "mta-sts";
/// Domains with a policy are few beside those that get mail; whoever makes many up pushes out his own as well.
const MOST_FILES: usize = 10_000;
/// Of all files together.
const MOST_OCTETS: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn kept(id: &str) -> Kept {
        Kept {
            id: id.into(),
            policy: Policy::parse(b"version: STSv1\nmode: enforce\nmx: *.a.example\nmax_age: 60\n").unwrap(),
            fetched: 1_700_000_000,
        }
    }

    fn public(domain: &str) -> Whose {
        Whose::new(domain, None)
    }

    #[test]
    fn a_policy_is_kept_by_domain_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::within(folder.path());
        assert_eq!(store.load(&public("a.example")).unwrap(), None);
        for domain in ["a.example", "../b", &"x".repeat(300)] {
            store.save(&public(domain), &kept("1")).unwrap();
            store.save(&public(domain), &kept("2")).unwrap();
            let other = Store::within(folder.path());
            assert_eq!(other.load(&public(domain)).unwrap(), Some(kept("2")), "{domain}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(std::fs::read_dir(folder.path().join(FOLDER)).unwrap().count(), 3);
        assert_eq!(store.load(&public("b.example")).unwrap(), None);
    }

    #[test]
    fn what_others_vouched_for_is_kept_apart() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::within(folder.path());
        let own = Whose::new("a.example", Some("authorities of one's own"));
        store.save(&own, &kept("1")).unwrap();
        assert_eq!(store.load(&public("a.example")).unwrap(), None);
        store.save(&public("a.example"), &kept("2")).unwrap();
        assert_eq!(store.load(&own).unwrap(), Some(kept("1")));
        std::fs::copy(store.file(&own), store.file(&public("a.example"))).unwrap();
        assert!(store.load(&public("a.example")).is_err(), "others vouched for it");
    }

    /// Of files with these octets, the first the oldest: how many go, and the sizes of those that stay.
    fn after(octets: impl Iterator<Item = u64>) -> (usize, Vec<u64>) {
        let files: Vec<Held> = octets
            .enumerate()
            .map(|(age, octets)| Held {
                written: SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(age as u64),
                octets,
                path: PathBuf::from(format!("{age}.json")),
            })
            .collect();
        let gone: BTreeSet<Held> = surplus(files.clone()).into_iter().collect();
        let stay = files.into_iter().filter(|file| !gone.contains(file));
        (gone.len(), stay.map(|file| file.octets).collect())
    }

    #[test]
    fn large_policies_push_out_large_ones_and_many_the_older_half() {
        let (small, large) = (400, 64 << 10);
        let fit = usize::try_from(MOST_OCTETS / large).unwrap();
        assert_eq!(after([large, small].into_iter()).0, 0);
        let usual = std::iter::repeat_n(small, 100);
        let (gone, stay) = after(usual.clone().chain(std::iter::repeat_n(large, fit)));
        assert_eq!(
            (gone, stay.iter().filter(|octets| **octets == small).count()),
            (1, 100)
        );
        let (gone, stay) = after(usual.chain(std::iter::repeat_n(large, 3 * fit)));
        assert_eq!(gone, 2 * fit + 1);
        assert_eq!(stay[..100], [small; 100]);
        assert!(stay.iter().sum::<u64>() <= MOST_OCTETS);
        let many = u64::try_from(MOST_FILES).unwrap();
        assert_eq!(after(1..many).0, 0);
        let (gone, stay) = after(1..=many);
        assert_eq!((gone, stay[0]), (MOST_FILES / 2, many / 2 + 1));
    }

    /// The folder is read as it is: what is written anew finds its room.
    #[test]
    fn a_full_folder_takes_one_more() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::within(folder.path());
        store.save(&public("a.example"), &kept("1")).unwrap();
        // Of no octets on the disk.
        let sparse = File::create(folder.path().join(FOLDER).join("large.json")).unwrap();
        sparse.set_len(MOST_OCTETS).unwrap();
        store.save(&public("b.example"), &kept("2")).unwrap();
        let left = std::fs::read_dir(folder.path().join(FOLDER)).unwrap().count();
        assert_eq!(left, 2);
        assert_eq!(store.load(&public("a.example")).unwrap(), Some(kept("1")));
    }

    #[test]
    fn a_file_that_is_none_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::within(folder.path());
        store.save(&public("a.example"), &kept("1")).unwrap();
        std::fs::copy(store.file(&public("a.example")), store.file(&public("b.example"))).unwrap();
        assert!(
            store.load(&public("b.example")).is_err(),
            "it is of another domain"
        );
        std::fs::write(store.file(&public("a.example")), "{").unwrap();
        assert!(store.load(&public("a.example")).is_err());
    }
}
