//! What greylisting knows, kept over a restart: a file of facts beside the spool, one line each, the newest of a key last.
//!
//! ```text
//!   greylist ─► channel ─► append ─┬─► greylist.log          at the start all of it is read
//!                                  └─► much of it is old: written anew, renamed
//! ```
//!
//! Nothing waits for it and nothing is synced but the file that is written anew: what a power cut takes is waited for once
//! more. A line that is not whole is skipped.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::greylist::{Fact, Greylist, Key, Tuple};

/// Its name in the directory of the spool.
pub const FILE: &str = "greylist.log";

/// A fact as a line, without its end.
pub fn line(fact: &Fact) -> String {
    match fact {
        Fact::Seen { of, first, passed } => {
            format!(
                "s {:032x} {:032x} {first:016x} {passed:016x}",
                of.tuple.0, of.client.0
            )
        }
        Fact::Known { client, passed, last } => format!("c {:032x} {passed:08x} {last:016x}", client.0),
    }
}

/// The fact in a line; `None` where the line is not whole.
pub fn fact(line: &str) -> Option<Fact> {
    let (kind, rest) = line.split_once(' ')?;
    let mut words = rest.split(' ');
    let mut number = |digits: usize| {
        let word = words.next()?;
        let whole = word.len() == digits && word.bytes().all(|octet| octet.is_ascii_hexdigit());
        whole.then(|| u128::from_str_radix(word, 16).ok()).flatten()
    };
    let fact = match kind {
        "s" => Fact::Seen {
            of: Tuple {
                tuple: Key(number(32)?),
                client: Key(number(32)?),
                site: None,
            },
            first: u64::try_from(number(16)?).ok()?,
            passed: u64::try_from(number(16)?).ok()?,
        },
        "c" => Fact::Known {
            client: Key(number(32)?),
            passed: u32::try_from(number(8)?).ok()?,
            last: u64::try_from(number(16)?).ok()?,
        },
        _ => return None,
    };
    words.next().is_none().then_some(fact)
}

/// Reads what an earlier run kept into the list; nothing where there is no file.
pub fn read(path: &Path, list: &mut Greylist) -> io::Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for line in BufReader::new(file).split(b'\n') {
        let line = line?;
        if let Some(fact) = std::str::from_utf8(&line).ok().and_then(fact) {
            list.adopt(fact);
        }
    }
    Ok(())
}

/// Writes what comes until `stop`, and then what is left.
pub async fn keep(
    path: PathBuf,
    list: Arc<Mutex<Greylist>>,
    mut facts: mpsc::Receiver<Fact>,
    stop: CancellationToken,
) {
    let mut works = true;
    let mut closing = false;
    loop {
        let mut some = Vec::new();
        let count = tokio::select! {
            biased;
            count = facts.recv_many(&mut some, AT_ONCE) => count,
            () = stop.cancelled(), if !closing => {
                facts.close();
                closing = true;
                continue;
            }
        };
        if count == 0 {
            return;
        }
        let (path, list) = (path.clone(), Arc::clone(&list));
        let kept = tokio::task::spawn_blocking(move || append(&path, &some, &list)).await;
        match kept.map_err(io::Error::other).flatten() {
            Ok(()) => works = true,
            Err(error) if works => {
                works = false;
                tracing::warn!(%error, "what greylisting knows cannot be kept: after a restart senders wait once more");
            }
            Err(_) => {}
        }
    }
}

fn append(path: &Path, facts: &[Fact], list: &Mutex<Greylist>) -> io::Result<()> {
    let mut text = String::new();
    for fact in facts {
        text.extend([line(fact).as_str(), "\n"]);
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(text.as_bytes())?;
    let length = file.metadata()?.len();
    if length < LEAST_REWRITTEN {
        return Ok(());
    }
    let known = list
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .facts(|_| true);
    if length / LONGEST_LINE < 2 * known.len() as u64 {
        return Ok(());
    }
    write_anew(path, &known)
}

fn write_anew(path: &Path, facts: &[Fact]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = io::BufWriter::new(File::create(&new)?);
    for fact in facts {
        writeln!(file, "{}", line(fact))?;
    }
    file.into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()?;
    fs::rename(&new, path)
}

/// Facts of one write.
const AT_ONCE: usize = 1_000;
/// Below this length nobody minds what is old.
const LEAST_REWRITTEN: u64 = 4 << 20;
/// Octets, with its end.
const LONGEST_LINE: u64 = 102;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn seen(number: u128, first: u64) -> Fact {
        Fact::Seen {
            of: Tuple {
                tuple: Key(number),
                client: Key(u128::MAX - number),
                site: None,
            },
            first,
            passed: 0,
        }
    }

    #[test]
    fn a_fact_reads_back_and_a_torn_line_is_none() {
        let known = Fact::Known {
            client: Key(7),
            passed: 3,
            last: 1_700_000_000,
        };
        for whole in [seen(1, 2), known] {
            let text = line(&whole);
            assert_eq!(fact(&text), Some(whole));
            for cut in 0..text.len() {
                assert_eq!(fact(&text[..cut]), None, "{}", &text[..cut]);
            }
            assert_eq!(fact(&format!("{text} 0")), None);
            assert_eq!(fact(&text.replace('0', "+")), None);
        }
        assert_eq!(line(&seen(1, 2)).len() as u64 + 1, LONGEST_LINE);
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_it_panic(text in ".{0,200}") {
            let _ = fact(&text);
        }
    }

    #[tokio::test]
    async fn what_was_kept_is_there_after_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let list = Arc::new(Mutex::new(Greylist::default()));
        read(&path, &mut list.lock().unwrap()).unwrap();
        let (send, receive) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let keeper = tokio::spawn(keep(path.clone(), Arc::clone(&list), receive, stop.clone()));
        for number in 0..10 {
            send.send(seen(number, 5)).await.unwrap();
        }
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(30), keeper)
            .await
            .unwrap()
            .unwrap();
        fs::write(&path, fs::read_to_string(&path).unwrap() + "s 0123").unwrap();
        let mut again = Greylist::default();
        read(&path, &mut again).unwrap();
        assert_eq!(again.tuples(), 10);
    }

    #[test]
    fn a_file_that_is_mostly_old_is_written_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let mut list = Greylist::default();
        list.adopt(seen(1, 5));
        let list = Mutex::new(list);
        let old: Vec<Fact> = vec![seen(1, 5); usize::try_from(LEAST_REWRITTEN / LONGEST_LINE).unwrap() - 10];
        append(&path, &old, &list).unwrap();
        assert!(fs::metadata(&path).unwrap().len() > LEAST_REWRITTEN / 2);
        append(&path, &[seen(1, 5); 20], &list).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), LONGEST_LINE);
    }
}
