//! Where mail shows up behind a peer: at the sink that it relays to, or in the mailboxes of a store.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::sink::Sink;

/// One message for one recipient.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    /// An address at a sink, a user's name in a store.
    pub(super) recipient: String,
    pub(super) content: Vec<u8>,
}

/// The place.
#[derive(Clone, Debug)]
pub(super) enum Inbox {
    Sink(Sink),
    /// A folder with a Maildir for each user: `USER/Maildir/new/FILE`.
    Maildirs(PathBuf),
}

impl Inbox {
    /// All that is there now.
    pub(super) fn all(&self) -> Vec<Arrived> {
        match self {
            Self::Sink(sink) => sink.all(),
            Self::Maildirs(folder) => users(folder),
        }
    }

    /// Waits for a message that fits.
    pub(super) fn wait(&self, limit: Duration, fits: impl Fn(&Arrived) -> bool) -> Option<Arrived> {
        let deadline = Instant::now() + limit;
        loop {
            let found = self.all().into_iter().find(&fits);
            if found.is_some() || Instant::now() >= deadline {
                return found;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn users(folder: &Path) -> Vec<Arrived> {
    let mut found = Vec::new();
    for user in names(folder) {
        let new = folder.join(&user).join("Maildir/new");
        for file in names(&new) {
            // A file in `new` is whole: it is written in `tmp` and renamed.
            if let Ok(content) = std::fs::read(new.join(file)) {
                found.push(Arrived {
                    recipient: user.clone(),
                    content,
                });
            }
        }
    }
    found
}

/// Names in a folder; none if it is not there yet.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}
