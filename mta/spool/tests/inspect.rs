//! A spool that nobody runs is looked at without being changed, and repaired with copies of what was damaged.

#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use postroad_spool::inspect::{Inspector, repair};
use postroad_spool::{EntryId, Envelope, FromCheckpoint, OpenError, Options, ReadError, Recipient, Spool};

fn options() -> Options {
    Options {
        segment_size: Some(256 * 1024),
        inline_limit: 64 * 1024,
        ..Options::default()
    }
}

fn fill(dir: &Path, messages: usize) -> Vec<EntryId> {
    let (spool, _) = Spool::open(dir, &options()).unwrap();
    let put = |n: usize| {
        let mut incoming = spool.begin();
        incoming
            .write(format!("body {n} ").repeat(500).as_bytes())
            .unwrap();
        let envelope = Envelope {
            reverse_path: format!("sender{n}@example.org"),
            recipients: vec![Recipient {
                forward_path: format!("one{n}@example.net"),
                ..Recipient::default()
            }],
            ..Envelope::default()
        };
        incoming
            .commit(envelope, b"Received: x\r\n".to_vec())
            .wait()
            .unwrap()
    };
    (0..messages).map(put).collect()
}

fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for folder in ["segments", "blobs", "."] {
        for entry in std::fs::read_dir(dir.join(folder)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
                all.insert(name, std::fs::read(entry.path()).unwrap());
            }
        }
    }
    all
}

/// Breaks one octet in the body of a message.
fn damage(dir: &Path, needle: &[u8]) -> u32 {
    for entry in std::fs::read_dir(dir.join("segments")).unwrap() {
        let path = entry.unwrap().path();
        let mut octets = std::fs::read(&path).unwrap();
        if let Some(at) = octets.windows(needle.len()).position(|window| window == needle) {
            octets[at] ^= 0xff;
            std::fs::write(&path, octets).unwrap();
            return path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        }
    }
    panic!("nothing to damage");
}

#[test]
fn looking_changes_nothing_and_shows_every_message() {
    let dir = tempfile::tempdir().unwrap();
    let ids = fill(dir.path(), 20);
    let before = contents(dir.path());
    {
        let seen = Inspector::open(dir.path()).unwrap();
        assert_eq!(
            seen.entries().iter().map(|entry| entry.id).collect::<Vec<_>>(),
            ids
        );
        for id in &ids {
            seen.verify(*id).unwrap();
        }
        let mut body = String::new();
        seen.read(ids[3]).unwrap().body.read_to_string(&mut body).unwrap();
        assert!(body.starts_with("body 3 "));
        assert_eq!((seen.report().damaged, seen.report().entries), (0, 20));
        assert_eq!(seen.checkpoint(), FromCheckpoint::Used);
        assert!(
            matches!(Spool::open(dir.path(), &options()), Err(OpenError::Locked(_))),
            "nobody writes while we look"
        );
    }
    assert_eq!(contents(dir.path()), before);
}

#[test]
fn a_spool_in_use_and_a_folder_without_one_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Inspector::open(dir.path()), Err(OpenError::Io(_))));
    assert!(!dir.path().join("lock").exists(), "nothing was made");
    let (_spool, _) = Spool::open(dir.path(), &options()).unwrap();
    assert!(matches!(Inspector::open(dir.path()), Err(OpenError::Locked(_))));
    assert!(matches!(
        repair(dir.path(), &options()),
        Err(OpenError::Locked(_))
    ));
}

#[test]
fn damage_is_shown_with_its_place_and_repaired_with_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let ids = fill(dir.path(), 100);
    let segment = damage(dir.path(), b"body 10 body 10 ");
    let broken = contents(dir.path());
    {
        let seen = Inspector::open(dir.path()).unwrap();
        assert_eq!(seen.report().damaged, 1);
        assert_eq!(seen.report().damage[0].segment, segment);
        assert!(matches!(seen.read(ids[10]), Err(ReadError::NoSuchEntry)));
        assert_eq!(seen.entries().len(), 99);
    }
    let done = repair(dir.path(), &options()).unwrap();
    assert_eq!((done.kept, done.copies.len()), (99, 1));
    let name = format!("segments/{segment:08}.seg");
    assert_eq!(
        std::fs::read(&done.copies[0]).unwrap(),
        broken[&name],
        "the copy is what it was"
    );

    let seen = Inspector::open(dir.path()).unwrap();
    assert_eq!(
        (seen.report().damaged, seen.entries().len()),
        (0, 99),
        "whole now"
    );
    for id in ids.iter().filter(|id| **id != ids[10]) {
        seen.verify(*id).unwrap();
    }
    drop(seen);
    assert_eq!(
        repair(dir.path(), &options()).unwrap().copies,
        Vec::<std::path::PathBuf>::new()
    );
}
