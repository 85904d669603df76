//! `Durability::Relaxed`: a power cut may take what came last and was not synced yet, and nothing else, whatever is packed,
//! removed and used again meanwhile. Each test cuts the power behind every recorded change, with several draws of what an
//! unsynced one leaves behind.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postroad_spool::io::memory::{Memory, Op};
use postroad_spool::{Durability, EntryId, Envelope, Incoming, Options, Recipient, Spool};

fn open(volume: &Memory) -> Spool {
    let options = Options {
        segment_size: Some(32 * 1024),
        inline_limit: 4 * 1024,
        lazy_ms: 5,
        checkpoint_segments: 0,
        durability: Durability::Relaxed,
        ..Options::default()
    };
    let (spool, recovery) = Spool::open_on(Arc::new(volume.clone()), Path::new("/spool"), &options).unwrap();
    assert_eq!(recovery.lost, 0, "no body file went before its entry");
    spool
}

fn body(len: usize) -> Vec<u8> {
    vec![b'x'; len]
}

fn put(spool: &Spool, len: usize) -> EntryId {
    commit(spool.begin(), len)
}

fn commit(mut incoming: Incoming, len: usize) -> EntryId {
    let envelope = Envelope {
        recipients: vec![Recipient::default()],
        ..Envelope::default()
    };
    incoming.write(&body(len)).unwrap();
    incoming.commit(envelope, Vec::new()).wait().unwrap()
}

/// What was confirmed before is on the disk: a seal is never late, and what is behind it in the log is not either.
fn sync(spool: &Spool) {
    spool.seal().wait().unwrap();
    spool.unseal().wait().unwrap();
}

/// The keeper works behind.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Segments that hold something.
fn in_use(spool: &Spool) -> usize {
    let usage = spool.usage();
    usage.segments - usage.free_segments
}

fn is_whole(spool: &Spool, entry: EntryId, len: usize) -> bool {
    let Ok(mut message) = spool.read(entry) else {
        return false;
    };
    let mut octets = Vec::new();
    message.body.read_to_end(&mut octets).is_ok() && octets == body(len)
}

/// Opens what each cut behind change `from` leaves.
fn at_every_cut(log: &[Op], from: usize, check: impl Fn(&Spool, &str)) {
    for ops in from..=log.len() {
        for seed in 0..4 {
            let volume = Memory::crash(log, ops, (ops as u64) << 8 | seed << 1 | 1);
            check(&open(&volume), &format!("cut behind change {ops}, draw {seed}"));
        }
    }
}

#[test]
fn mail_of_long_ago_survives_the_packing_of_its_segment() {
    let volume = Memory::new(8 << 20);
    let spool = open(&volume);
    let (mut old, mut over) = (Vec::new(), Vec::new());
    for _ in 0..12 {
        old.push(put(&spool, 300));
        over.extend((0..9).map(|_| put(&spool, 2_900)));
    }
    sync(&spool);
    let from = volume.log().len();
    for entry in over {
        spool.finish(entry).unwrap();
    }
    wait_until("sparse segments are packed", || in_use(&spool) <= 6);
    at_every_cut(&volume.log(), from, |spool, at| {
        for entry in &old {
            assert!(is_whole(spool, *entry, 300), "{at}: {entry}");
        }
    });
}

#[test]
fn of_a_message_and_the_notice_in_its_place_one_is_there() {
    for len in [2_900, 9_000] {
        let volume = Memory::new(8 << 20);
        let spool = open(&volume);
        let original = put(&spool, len);
        let behind: Vec<EntryId> = (0..24).map(|_| put(&spool, 2_900)).collect();
        for entry in behind {
            spool.finish(entry).unwrap();
        }
        sync(&spool);
        wait_until("only its segment and the last one are in use", || {
            in_use(&spool) <= 2
        });
        let from = volume.log().len();
        let notice = commit(spool.begin().promptly(), 200);
        spool.finish(original).unwrap();
        spool.flush().wait().unwrap();
        wait_until("the place of the original is free", || {
            let removed = |op: &Op| matches!(op, Op::Remove(_));
            in_use(&spool) == 1 && (len < 4_096 || volume.log()[from..].iter().any(removed))
        });
        at_every_cut(&volume.log(), from, |spool, at| {
            let original = is_whole(spool, original, len);
            assert!(original || is_whole(spool, notice, 200), "{len}, {at}");
        });
    }
}
