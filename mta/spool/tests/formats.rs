//! Spools with segments of both formats, in one process.

#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postroad_spool::io::memory::Memory;
use postroad_spool::{
    ByMode, CommitError, DeliverBy, EntryId, Envelope, NEWEST_FORMAT, OLDEST_FORMAT, OpenError, Options,
    Recipient, RecipientState, RecipientUpdate, Spool,
};

fn writing(format: u32) -> Options {
    Options {
        segment_size: Some(32 << 10),
        write_format: format,
        ..Options::default()
    }
}

fn open(dir: &Path, format: u32) -> Spool {
    Spool::open(dir, &writing(format)).unwrap().0
}

fn plain() -> Envelope {
    Envelope {
        recipients: vec![Recipient::default()],
        ..Envelope::default()
    }
}

fn extended() -> Envelope {
    Envelope {
        require_tls: true,
        deliver_by: Some(DeliverBy {
            deadline: 1_700_000_000_000,
            mode: ByMode::Notify,
            trace: true,
        }),
        ..plain()
    }
}

fn put(spool: &Spool, envelope: Envelope) -> Result<EntryId, CommitError> {
    let mut incoming = spool.begin();
    incoming.write(b"Subject: x\r\n\r\n").unwrap();
    incoming.commit(envelope, Vec::new()).wait()
}

fn envelope(spool: &Spool, id: EntryId) -> Envelope {
    spool.read(id).unwrap().item.envelope
}

/// What the headers of the segments say.
fn formats(dir: &Path) -> BTreeSet<u32> {
    let files = std::fs::read_dir(dir.join("segments")).unwrap();
    let segments = files.map(|file| file.unwrap().path());
    let segments = segments.filter(|path| path.extension().is_some_and(|e| e == "seg"));
    segments
        .filter_map(|path| {
            let octets = std::fs::read(path).unwrap();
            // One that is just being made has none yet.
            let format = octets.get(8..12)?;
            Some(u32::from_le_bytes(format.try_into().unwrap()))
        })
        .collect()
}

#[test]
fn extensions_of_an_envelope_are_there_after_a_restart_and_with_their_states() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), NEWEST_FORMAT);
    let id = put(&spool, extended()).unwrap();
    let state = RecipientState {
        by_notified: true,
        attempts: 1,
        ..RecipientState::default()
    };
    let update = RecipientUpdate {
        index: 0,
        state: state.clone(),
    };
    spool.record(id, &[update]).unwrap();
    drop(spool);
    for format in [NEWEST_FORMAT, OLDEST_FORMAT] {
        let spool = open(dir.path(), format);
        assert_eq!(envelope(&spool, id), extended());
        assert_eq!(spool.states(id).unwrap(), std::slice::from_ref(&state));
        assert_eq!(spool.summary(id).unwrap().format, 2);
    }
}

#[test]
fn while_the_first_format_is_written_extensions_are_refused_and_not_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), 1);
    assert!(!spool.keeps_extensions());
    assert_eq!(put(&spool, extended()), Err(CommitError::Format));
    let old = put(&spool, plain()).unwrap();
    drop(spool);
    assert_eq!(formats(dir.path()), BTreeSet::from([1]));
    let spool = open(dir.path(), 2);
    assert!(spool.keeps_extensions());
    let new = put(&spool, extended()).unwrap();
    assert_eq!(envelope(&spool, old), plain());
    drop(spool);
    assert!(formats(dir.path()).contains(&2));
    let spool = open(dir.path(), 1);
    assert_eq!(
        (envelope(&spool, old), envelope(&spool, new)),
        (plain(), extended())
    );
    assert_eq!(put(&spool, extended()), Err(CommitError::Format));
    let again = put(&spool, plain()).unwrap();
    drop(spool);
    let spool = open(dir.path(), 2);
    assert_eq!(spool.entries().len(), 3);
    assert_eq!(envelope(&spool, again), plain());
}

/// Waits until nothing newer than this is on disk.
fn until_on_disk(spool: &Spool, format: u32) {
    let begun = Instant::now();
    while spool.format_on_disk() > format {
        assert!(begun.elapsed() < Duration::from_mins(1));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The version behind the next one does not read the first format, and mail may wait for days.
#[test]
fn what_waits_in_the_older_format_is_brought_to_the_newer_one_once_that_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), OLDEST_FORMAT);
    let waits: Vec<EntryId> = (0..200).map(|_| put(&spool, plain()).unwrap()).collect();
    assert_eq!(formats(dir.path()), BTreeSet::from([OLDEST_FORMAT]));
    spool.set_write_format(NEWEST_FORMAT).wait().unwrap();
    let begun = Instant::now();
    while formats(dir.path()) != BTreeSet::from([NEWEST_FORMAT]) {
        assert!(
            begun.elapsed() < Duration::from_mins(1),
            "{:?}",
            formats(dir.path())
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(spool);
    let spool = open(dir.path(), NEWEST_FORMAT);
    assert!(waits.iter().all(|id| envelope(&spool, *id) == plain()));
    assert_eq!(spool.entries().len(), waits.len());
}

#[test]
fn the_format_turns_both_ways_while_mail_comes_in_and_the_disk_follows() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), 1);
    let mut plains = vec![put(&spool, plain()).unwrap()];
    spool.set_write_format(2).wait().unwrap();
    let promise = put(&spool, extended()).unwrap();
    plains.push(put(&spool, plain()).unwrap());
    spool.set_write_format(1).wait().unwrap();
    assert_eq!(put(&spool, extended()), Err(CommitError::Format));
    plains.push(put(&spool, plain()).unwrap());
    // What only format 2 can say holds it on disk, and nothing else does.
    assert_eq!(spool.format_on_disk(), 2);
    assert_eq!(envelope(&spool, promise), extended());
    spool.finish(promise).unwrap();
    spool.flush().wait().unwrap();
    until_on_disk(&spool, 1);
    for id in &plains {
        assert_eq!(envelope(&spool, *id), plain());
    }
    drop(spool);
    assert_eq!(formats(dir.path()), BTreeSet::from([1]));
    assert_eq!(open(dir.path(), 1).entries().len(), 3);
}

#[test]
fn a_restart_with_the_older_format_is_enough_without_any_mail() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), 2);
    let id = put(&spool, plain()).unwrap();
    drop(spool);
    let spool = open(dir.path(), 1);
    until_on_disk(&spool, 1);
    assert_eq!(envelope(&spool, id), plain());
    drop(spool);
    assert_eq!(formats(dir.path()), BTreeSet::from([1]));
}

#[test]
fn an_empty_sealed_spool_keeps_its_seal_through_turns_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), 2);
    let id = put(&spool, plain()).unwrap();
    spool.finish(id).unwrap();
    let seal = spool.seal().wait().unwrap();
    drop(spool);
    for format in [1, 2, 1] {
        let spool = open(dir.path(), format);
        if format == 1 {
            until_on_disk(&spool, 1);
        }
        assert_eq!((spool.seal_state(), spool.entries().len()), (seal, 0));
        drop(spool);
    }
    assert_eq!(formats(dir.path()), BTreeSet::from([1]));
    assert_eq!(open(dir.path(), 1).seal_state(), seal);
}

#[test]
fn a_full_volume_opens_with_either_format_and_gets_room_again() {
    for (before, after) in [(1, 2), (2, 1)] {
        let volume = Memory::new(1 << 20);
        let on = |format| {
            let io = Arc::new(volume.clone());
            Spool::open_on(io, Path::new("/spool"), &writing(format))
                .unwrap()
                .0
        };
        let large = |spool: &Spool| {
            let mut incoming = spool.begin();
            incoming.write(&[b'x'; 5_000])?;
            incoming.commit(plain(), Vec::new()).wait()
        };
        let spool = on(before);
        let mut ids = Vec::new();
        let error = loop {
            match large(&spool) {
                Ok(id) => ids.push(id),
                Err(error) => break error,
            }
        };
        assert_eq!(error, CommitError::Full);
        drop(spool);
        let spool = on(after);
        for id in ids.drain(..ids.len() / 2) {
            spool.finish(id).unwrap();
        }
        spool.flush().wait().unwrap();
        assert!(
            (0..200).any(|_| large(&spool).is_ok()),
            "{before} to {after}: {:?}",
            spool.usage()
        );
        for id in ids {
            assert_eq!(envelope(&spool, id), plain());
        }
    }
}

#[test]
fn a_turn_to_a_format_that_is_not_known_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), 2);
    assert_eq!(
        spool.set_write_format(NEWEST_FORMAT + 1).wait(),
        Err(CommitError::Format)
    );
    assert_eq!(spool.write_format(), 2);
}

#[test]
fn a_format_that_is_not_known_is_refused_with_a_sentence_that_says_what_to_do() {
    for (found, sentence) in [
        (
            NEWEST_FORMAT + 1,
            format!(
                "the spool has format {}, this version of the program reads {OLDEST_FORMAT} to {NEWEST_FORMAT}: start \
                 a newer version, or let the newer one write format {NEWEST_FORMAT} (spool.writeFormat) until it has \
                 rewritten the spool",
                NEWEST_FORMAT + 1
            ),
        ),
        (
            OLDEST_FORMAT - 1,
            format!(
                "the spool has format {0}, this version of the program reads {OLDEST_FORMAT} to {NEWEST_FORMAT}: start \
                 an older version first, which reads {0} and writes {OLDEST_FORMAT}",
                OLDEST_FORMAT - 1
            ),
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path(), NEWEST_FORMAT));
        let header = dir.path().join("segments/00000001.seg");
        let mut bytes = std::fs::read(&header).unwrap();
        bytes[8..12].copy_from_slice(&found.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..52]);
        bytes[52..56].copy_from_slice(&crc.to_le_bytes());
        std::fs::write(&header, &bytes).unwrap();
        let error = Spool::open(dir.path(), &writing(NEWEST_FORMAT)).unwrap_err();
        assert_eq!(error.to_string(), sentence);
        assert_eq!(std::fs::read(&header).unwrap(), bytes, "and nothing is changed");
    }
}

#[test]
fn a_directory_of_another_form_is_refused_and_so_is_a_wish_to_write_an_unknown_format() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("uuid"), "postroad-spool 7\nwhatever\n").unwrap();
    let error = Spool::open(dir.path(), &writing(NEWEST_FORMAT)).unwrap_err();
    assert!(matches!(error, OpenError::Format { found: 7 }), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let error = Spool::open(dir.path(), &writing(NEWEST_FORMAT + 1)).unwrap_err();
    assert!(matches!(error, OpenError::Options(_)), "{error}");
}
