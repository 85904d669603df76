//! A real process is killed (SIGKILL) again and again while it commits; what it called committed is there.

#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use postroad_spool::{EntryId, Options, Spool};

const ROUNDS: u64 = 20;

/// Cargo builds the examples of a package before its integration tests, beside the tests' directory.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent()
        .and_then(|deps| deps.parent())
        .unwrap()
        .join("examples/kill_target")
}

#[test]
fn what_a_killed_process_committed_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut must: BTreeMap<EntryId, usize> = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(program())
            .arg(dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("kill_target runs");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let hear = |line: &str, must: &mut BTreeMap<EntryId, usize>| {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["committed", id, len] => drop(must.insert(id.parse().unwrap(), len.parse().unwrap())),
                ["finishing", id] => drop(must.remove(&id.parse::<EntryId>().unwrap())),
                _ => panic!("unexpected line {line}"),
            }
        };
        for line in lines.by_ref().take(usize::try_from(10 + round * 7 % 60).unwrap()) {
            hear(&line.unwrap(), &mut must);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it still said before it died counts as well; a last line cut short says nothing.
        for line in lines.map_while(Result::ok) {
            if line.starts_with("finishing") && line.len() == 26 || line.split(' ').count() == 3 {
                hear(&line, &mut must);
            }
        }
        let options = Options {
            segment_size: Some(128 * 1024),
            inline_limit: 8 * 1024,
            ..Options::default()
        };
        let (spool, recovery) = Spool::open(dir.path(), &options).unwrap();
        assert_eq!((recovery.damaged, recovery.lost), (0, 0), "round {round}");
        assert_eq!(recovery.vanished, [], "round {round}");
        for (id, len) in &must {
            let mut message = spool
                .read(*id)
                .unwrap_or_else(|e| panic!("round {round}: {id}: {e}"));
            assert_eq!(message.item.envelope.reverse_path, format!("{id}@example.org"));
            let mut body = Vec::new();
            message.body.read_to_end(&mut body).unwrap();
            assert_eq!(body, id.to_string().repeat(*len).as_bytes()[..*len]);
        }
        // Entries whose end was announced and not durable are ended now, so that rounds do not pile up.
        for summary in spool.entries() {
            if !must.contains_key(&summary.id) {
                spool.finish(summary.id).unwrap();
            }
        }
    }
    assert!(!must.is_empty());
}
