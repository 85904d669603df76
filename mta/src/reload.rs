//! From files to settings: at start, and again whenever they change.
//!
//! ```text
//!   directory event or 5 s ─► gather texts ─► same as before? stop : load ─► complete and valid ─► Live::swap
//!                                                                       └─► else keep the old, Live says why
//! ```
//!
//! A projected Secret is changed by swapping the link `..data`: the directory is watched, not the file.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use postroad_config::{
    AssembleError, Explained, KeySource, SHARDS, TlsSource, assemble, explain, shard_file_name,
};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::settings::{Live, Settings, SettingsError};

/// Why no settings came out of the files.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The base file cannot be read.
    #[error("{}: {}", path.display(), unreadable(error))]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The texts make no set, or not yet.
    #[error("{}: {error}", path.display())]
    Set {
        /// The base file.
        path: PathBuf,
        /// Why.
        error: AssembleError,
    },
    /// The texts have mistakes: each with file, place and field.
    #[error("{}", told(path, mistakes))]
    Wrong {
        /// The base file.
        path: PathBuf,
        /// One or more.
        mistakes: Vec<Explained>,
    },
    /// The set cannot be used.
    #[error("{}: {error}", path.display())]
    Settings {
        /// The base file.
        path: PathBuf,
        /// Why.
        error: SettingsError,
    },
}

/// Why a file cannot be read, as a sentence.
pub(crate) fn unreadable(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::PermissionDenied => "this user may not read it".to_owned(),
        ErrorKind::IsADirectory => "is a directory; name the file in it".to_owned(),
        ErrorKind::InvalidData => "is not text in UTF-8".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

/// The first mistakes; a file may have many, and this is one line of a log.
fn told(path: &Path, mistakes: &[Explained]) -> String {
    let first: Vec<String> = mistakes.iter().take(MOST_TOLD).map(ToString::to_string).collect();
    let more = match mistakes.len().saturating_sub(MOST_TOLD) {
        0 => String::new(),
        more => format!(
            "; and {more} more, which `postroad-mta check {}` tells",
            path.display()
        ),
    };
    format!("{}{more}", first.join("; "))
}

impl LoadError {
    /// Whether waiting mends it: files of a projected volume may arrive one after the other.
    pub fn is_incomplete(&self) -> bool {
        let incomplete = |error: &AssembleError| matches!(error, AssembleError::Incomplete(_));
        matches!(self, Self::Set { error, .. } if incomplete(error))
    }
}

/// Loads the base file and the shards beside it. Blocking.
pub fn load(path: &Path) -> Result<Settings, LoadError> {
    build(path, &gather(path, &[])?, None)
}

/// The texts of the base file and of the shards beside it, by number. Blocking.
pub(crate) fn texts(path: &Path) -> Result<(String, BTreeMap<u8, String>), LoadError> {
    gather(path, &[]).map(|texts| (texts.base, texts.shards))
}

/// Waits until the files are complete. Errors: those that waiting does not mend.
pub async fn first(path: &Path) -> Result<Settings, LoadError> {
    let mut told = false;
    loop {
        match blocking(path, load).await? {
            Err(error) if error.is_incomplete() => {
                if !told {
                    tracing::warn!(%error, "configuration is incomplete; not serving until it is complete");
                    told = true;
                }
            }
            done => return done,
        }
        tokio::time::sleep(FIRST_POLL).await;
    }
}

/// Follows the files until `shutdown`; `refused` counts what could not be used.
pub async fn follow(path: PathBuf, live: Live, refused: Counter, shutdown: CancellationToken) {
    let wake = Arc::new(Notify::new());
    let mut watched = Watched::start(&wake);
    let mut poll = tokio::time::interval(POLL);
    let mut seen = None;
    loop {
        watched.cover(&path, &live);
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = poll.tick() => {}
            () = wake.notified() => tokio::time::sleep(SETTLE).await,
        }
        let files = named_files(&live.current());
        if let Ok(next) = blocking(&path, move |path| gather(path, &files)).await {
            step(&path, next, &mut seen, &live, &refused).await;
        }
    }
}

/// Uses newly gathered texts where they differ from those seen last.
async fn step(
    path: &Path,
    next: Result<Texts, LoadError>,
    seen: &mut Option<Texts>,
    live: &Live,
    refused: &Counter,
) {
    let next = match next {
        Ok(next) => next,
        Err(error) => {
            *seen = None;
            return refuse(live, &error, refused);
        }
    };
    if seen.as_ref() == Some(&next) {
        return;
    }
    let unchanged = seen.is_none() && live.current().set.hash == postroad_config::hash(&next.base);
    *seen = Some(next.clone());
    let before = live.current();
    let path = path.to_owned();
    let built = tokio::task::spawn_blocking(move || build(&path, &next, Some(&*before))).await;
    match built {
        Ok(Ok(settings)) if unchanged && is_same(&settings, &live.current()) => {
            live.set_file_error(None);
        }
        Ok(Ok(settings)) => {
            tracing::info!(
                generation = settings.set.file.generation,
                hash = settings.set.hash,
                "configuration is in use"
            );
            let settings = settings.following(&live.current());
            live.swap(settings);
        }
        Ok(Err(error)) => {
            if matches!(error, LoadError::Settings { .. }) {
                // A file that the new texts name may come later, and is not watched yet: tried again at the next look.
                *seen = None;
            }
            refuse(live, &error, refused);
        }
        Err(error) => tracing::error!(%error, "reading the configuration was cut short"),
    }
}

fn refuse(live: &Live, error: &LoadError, refused: &Counter) {
    let sentence = error.to_string();
    if live.state().error.as_ref() != Some(&sentence) {
        refused.inc();
        tracing::warn!(
            error = sentence,
            "newer configuration is not used; the one that runs stays"
        );
    }
    live.set_file_error(Some(sentence));
}

/// Everything that makes a set, as text. Secrets: no Debug.
#[derive(Clone, PartialEq)]
struct Texts {
    base: String,
    shards: BTreeMap<u8, String>,
    /// Texts of the files that the base names (certificate, signing keys); part of what changes.
    named: Vec<Option<String>>,
}

fn gather(path: &Path, named: &[PathBuf]) -> Result<Texts, LoadError> {
    let base = std::fs::read_to_string(path).map_err(|error| LoadError::Unreadable {
        path: path.to_owned(),
        error,
    })?;
    let directory = directory(path);
    let shards = (0..SHARDS)
        .filter_map(|number| {
            let text = std::fs::read_to_string(directory.join(shard_file_name(number))).ok()?;
            Some((number, text))
        })
        .collect();
    let named = named
        .iter()
        .map(|path| std::fs::read_to_string(path).ok())
        .collect();
    Ok(Texts { base, shards, named })
}

/// Files of the certificate and the keys in use: their texts are part of what changes.
fn named_files(settings: &Settings) -> Vec<PathBuf> {
    let file = &settings.set.file;
    let mut named = match file.tls.as_ref().map(|tls| &tls.source) {
        Some(TlsSource::Files {
            certificate_file,
            key_file,
        }) => vec![certificate_file.clone(), key_file.clone()],
        _ => Vec::new(),
    };
    let keys = file.domains.iter().flat_map(|domain| &domain.dkim.keys);
    named.extend(keys.filter_map(|key| match &key.source {
        KeySource::File(path) => Some(path.clone()),
        KeySource::Inline(_) => None,
    }));
    named
}

/// Whether the files that two settings of one text name say the same.
fn is_same(one: &Settings, other: &Settings) -> bool {
    one.certificate() == other.certificate() && one.signers().are_as(other.signers())
}

fn build(path: &Path, texts: &Texts, before: Option<&Settings>) -> Result<Settings, LoadError> {
    let set = assemble(&texts.base, &texts.shards).map_err(|error| refusal(path, texts, error))?;
    Settings::after(set, before).map_err(|error| LoadError::Settings {
        path: path.to_owned(),
        error,
    })
}

/// Why the texts make no set: each mistake with its place, as far as they are short enough to be read again for each of them.
fn refusal(path: &Path, texts: &Texts, error: AssembleError) -> LoadError {
    let octets = texts.base.len() + texts.shards.values().map(String::len).sum::<usize>();
    let path = path.to_owned();
    if matches!(error, AssembleError::Incomplete(_)) || octets > MOST_EXPLAINED {
        return LoadError::Set { path, error };
    }
    let mistakes = explain(&path.display().to_string(), &texts.base, &texts.shards);
    LoadError::Wrong { path, mistakes }
}

async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> Result<T, LoadError> + Send + 'static,
) -> Result<Result<T, LoadError>, LoadError> {
    let path = path.to_owned();
    let shown = path.clone();
    tokio::task::spawn_blocking(move || work(&path))
        .await
        .map_err(|error| LoadError::Unreadable {
            path: shown,
            error: std::io::Error::other(error),
        })
}

fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Directories under watch. Where the system gives no watch, the poll alone does.
struct Watched {
    watcher: Option<notify::RecommendedWatcher>,
    directories: Vec<PathBuf>,
    names: Names,
}

/// Names of the files that make a set. A log that is written beside them must not have them read again and again.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<HashSet<OsString>>>);

impl Names {
    fn set(&self, files: impl Iterator<Item = PathBuf>) {
        let shards = (0..SHARDS).map(|number| OsString::from(shard_file_name(number)));
        let named = files.filter_map(|file| file.file_name().map(OsString::from));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = named.chain(shards).collect();
    }

    /// Whether what happened to `path` may change the texts: its name is one of theirs, or one of those by which a projected
    /// volume changes them all (`..data`).
    fn concerns(&self, path: &Path) -> bool {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        path.file_name()
            .is_some_and(|name| names.contains(name) || name.as_encoded_bytes().starts_with(b".."))
    }
}

impl Watched {
    fn start(wake: &Arc<Notify>) -> Self {
        let (wake, names) = (Arc::clone(wake), Names::default());
        let known = names.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own reading is an access, and must not wake us again. An event without a path (too many at once) may be any.
            if event.is_ok_and(|event| {
                let paths = &event.paths;
                !event.kind.is_access() && (paths.is_empty() || paths.iter().any(|path| known.concerns(path)))
            }) {
                wake.notify_one();
            }
        });
        Self {
            watcher: watcher
                .inspect_err(|error| tracing::warn!(%error, "no file events; polling alone"))
                .ok(),
            directories: Vec::new(),
            names,
        }
    }

    fn cover(&mut self, path: &Path, live: &Live) {
        let files = named_files(&live.current());
        self.names.set(files.iter().cloned().chain([path.to_owned()]));
        let mut wanted = vec![directory(path)];
        wanted.extend(files.iter().map(|file| directory(file)));
        for directory in wanted {
            if self.directories.contains(&directory) {
                continue;
            }
            if let Some(watcher) = &mut self.watcher
                && let Err(error) = watcher.watch(&directory, RecursiveMode::NonRecursive)
            {
                tracing::warn!(%error, directory = %directory.display(), "no file events here; polling alone");
            }
            self.directories.push(directory);
        }
    }
}

/// Mistakes that one line of the log tells.
const MOST_TOLD: usize = 3;
/// Octets of a configuration whose mistakes are looked for one by one.
const MOST_EXPLAINED: usize = 1 << 20;
/// Fall-back for file systems without events.
const POLL: Duration = Duration::from_secs(5);
/// Files of one change arrive together within this time.
const SETTLE: Duration = Duration::from_millis(100);
const FIRST_POLL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_fails_names_file_and_field() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("postroad.yaml");
        let good = "format: 1\nhostname: mail.example.com\nspool: {directory: /tmp/x}\n";
        for (text, words) in [
            ("", ":1:1:"),
            (
                "ports: [{name: a, address: '127.0.0.1:1', role: Transfer, tls: Verified}]\n",
                ":4:59: ports[0].tls: Verified is for routes",
            ),
            (
                "queue: {lifetime: 5 days}\n",
                ":4:19: queue.lifetime: `5 days` is not a duration",
            ),
            (
                "tls: {certificateFile: /nowhere/c, keyFile: /nowhere/k}\n",
                ": tls.certificateFile: /nowhere/c cannot be read",
            ),
            (
                "a: 1\nb: 1\nc: 1\nd: 1\ne: 1\n",
                "; and 2 more, which `postroad-mta check",
            ),
        ] {
            let whole = if text.is_empty() {
                "[".to_owned()
            } else {
                format!("{good}{text}")
            };
            std::fs::write(&path, whole).unwrap();
            let told = load(&path).unwrap_err().to_string();
            assert!(
                told.starts_with(&path.display().to_string()) && told.contains(words),
                "{told}"
            );
            assert!(!told.contains('\n'), "{told}");
        }
        let missing = load(Path::new("/nowhere/postroad.yaml")).unwrap_err().to_string();
        assert_eq!(missing, "/nowhere/postroad.yaml: there is no such file");
    }

    #[test]
    fn only_files_of_the_set_have_it_read_again() {
        let names = Names::default();
        names.set(
            [
                PathBuf::from("/etc/postroad/tls.crt"),
                PathBuf::from("postroad.yaml"),
            ]
            .into_iter(),
        );
        for path in [
            "./postroad.yaml",
            "/etc/postroad/tls.crt",
            "/etc/postroad/domains-00.yaml",
            "/etc/postroad/..data",
        ] {
            assert!(names.concerns(Path::new(path)), "{path}");
        }
        for path in ["/etc/postroad/log", "/etc/postroad/postroad.yaml.swp", "/"] {
            assert!(!names.concerns(Path::new(path)), "{path}");
        }
    }
}
