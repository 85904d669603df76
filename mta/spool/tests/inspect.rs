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
use std::path::{Path, PathBuf};

use postroad_spool::inspect::{Inspector, repair};
use postroad_spool::{EntryId, Envelope, FromCheckpoint, OpenError, Options, Recipient, Spool};

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
        assert!(seen.verify(ids[10]).is_err());
        assert_eq!(seen.entries().len(), 100, "the checkpoint knows it by name");
    }
    let done = repair(dir.path(), &options()).unwrap();
    assert_eq!((done.kept, done.copies.len()), (99, 1));
    assert_eq!(done.lost, [ids[10]]);
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

/// The segment files, in order of their numbers, with the messages that are in them.
fn homes(dir: &Path, ids: &[EntryId]) -> Vec<(PathBuf, Vec<EntryId>)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir.join("segments"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let has = |octets: &[u8], n: usize| {
        let needle = format!("sender{n}@example.org");
        octets
            .windows(needle.len())
            .any(|window| window == needle.as_bytes())
    };
    let one = |file: PathBuf| {
        let octets = std::fs::read(&file).unwrap();
        let here = (0..ids.len()).filter(|n| has(&octets, *n)).map(|n| ids[n]);
        let here = here.collect();
        (file, here)
    };
    files.into_iter().map(one).collect()
}

#[test]
fn messages_whose_segment_somebody_removed_or_cut_off_are_told_one_by_one() {
    for what in ["the first", "one in the middle", "the last", "cut off"] {
        let dir = tempfile::tempdir().unwrap();
        let ids = fill(dir.path(), 150);
        let homes: Vec<_> = homes(dir.path(), &ids)
            .into_iter()
            .filter(|(_, here)| !here.is_empty())
            .collect();
        let (file, here) = match what {
            "the first" => homes.first(),
            "one in the middle" => homes.get(homes.len() / 2),
            _ => homes.last(),
        }
        .unwrap();
        assert!(homes.len() > 2 && here.len() > 2, "{what}");
        if what == "cut off" {
            std::fs::OpenOptions::new()
                .write(true)
                .open(file)
                .unwrap()
                .set_len(8192)
                .unwrap();
        } else {
            std::fs::remove_file(file).unwrap();
        }
        let seen = Inspector::open(dir.path()).unwrap();
        let vanished = seen.report().vanished.clone();
        if what == "cut off" {
            assert!(vanished.iter().all(|id| here.contains(id)) && vanished.len() + 2 >= here.len());
        } else {
            assert_eq!(&vanished, here, "{what}");
        }
        assert_eq!(seen.entries().len() + vanished.len(), 150, "{what}");
        drop(seen);
        let (spool, started) = Spool::open(dir.path(), &options()).unwrap();
        assert_eq!(started.vanished, vanished, "{what}: a start says the same");
        assert_eq!(spool.entries().len() + vanished.len(), 150, "{what}");
        let next = spool.begin().commit(Envelope::default(), Vec::new());
        next.wait().unwrap();
        drop(spool);
        let (_, again) = Spool::open(dir.path(), &options()).unwrap();
        assert_eq!(again.vanished, [], "{what}: not again, once the queue went on");
    }
}

#[test]
fn what_lies_behind_damage_is_kept_by_a_repair_as_a_start_would() {
    let dir = tempfile::tempdir().unwrap();
    let ids = fill(dir.path(), 100);
    // The frame of one record is hit: a reader of the log alone finds its way again at the next block only.
    let (file, here) = homes(dir.path(), &ids).remove(0);
    let mut octets = std::fs::read(&file).unwrap();
    let needle = b"sender30@example.org";
    let at = octets
        .windows(needle.len())
        .position(|window| window == needle)
        .unwrap();
    octets[at - 40..at + 40].fill(0xa5);
    std::fs::write(&file, octets).unwrap();
    assert!(here.contains(&ids[30]));
    let unreadable = {
        let seen = Inspector::open(dir.path()).unwrap();
        assert_eq!(seen.entries().len(), 100);
        let unreadable = ids.iter().copied().filter(|id| seen.verify(*id).is_err());
        unreadable.collect::<Vec<_>>()
    };
    assert!(
        unreadable.contains(&ids[30]) && unreadable.len() <= 2,
        "{unreadable:?}"
    );
    let done = repair(dir.path(), &options()).unwrap();
    assert_eq!((&done.lost, done.kept), (&unreadable, 100 - unreadable.len()));
    let seen = Inspector::open(dir.path()).unwrap();
    assert_eq!(seen.entries().len(), done.kept);
    for entry in seen.entries() {
        seen.verify(entry.id).unwrap();
    }
}

#[test]
fn a_segment_of_which_nothing_can_be_had_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 10);
    let stray = dir.path().join("segments/00000077.seg");
    std::fs::write(&stray, vec![0; 64 * 1024]).unwrap();
    assert_eq!(Inspector::open(dir.path()).unwrap().report().headless, [77]);
    let done = repair(dir.path(), &options()).unwrap();
    assert_eq!((done.kept, done.copies.len()), (10, 1));
    assert!(!stray.exists());
    let seen = Inspector::open(dir.path()).unwrap();
    assert_eq!(
        (seen.report().damaged, seen.entries().len()),
        (0, 10),
        "whole now"
    );
}
