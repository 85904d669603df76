//! The keeper's decisions, on a volume in memory. It is driven by the test; the one of the spool is held back where it would
//! do the same.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::format::BLOCK_U32;
use crate::io::memory::Memory;
use crate::spool::Spool;
use crate::types::{EntryId, Envelope, Options, Recipient, RecipientState, RecipientUpdate};

/// A volume, and a spool on it that writes no checkpoints by itself, with small segments.
fn open() -> (Memory, Spool) {
    open_with(&Options {
        checkpoint_segments: 0,
        ..Options::default()
    })
}

fn open_with(options: &Options) -> (Memory, Spool) {
    let volume = Memory::new(64 << 20);
    let options = Options {
        segment_size: Some(64 << 10),
        ..options.clone()
    };
    let (spool, _) = Spool::open_on(Arc::new(volume.clone()), Path::new("/s"), &options).unwrap();
    (volume, spool)
}

/// Until so many segments were begun, with messages that are over at once.
fn roll(spool: &Spool, rolls: u64) {
    while spool.shared().index().rolled < rolls {
        let id = put(spool, 10 << 10);
        spool.finish(id).unwrap();
    }
}

fn put(spool: &Spool, len: usize) -> EntryId {
    let mut incoming = spool.begin();
    incoming.write(&vec![b'x'; len]).unwrap();
    incoming.commit(Envelope::default(), Vec::new()).wait().unwrap()
}

/// Until the keeper of the spool has tried to have enough free segments.
fn provided(spool: &Spool) {
    let asked = spool.shared().request_space();
    while !spool.shared().answered(asked) {
        std::thread::yield_now();
    }
}

#[test]
fn a_full_spool_without_a_segment_to_write_outcomes_to_gets_room_again() {
    let (volume, spool) = open();
    let large = put(&spool, 4 << 20);
    let waits = {
        let envelope = Envelope {
            recipients: vec![Recipient::default()],
            ..Envelope::default()
        };
        spool.begin().commit(envelope, Vec::new()).wait().unwrap()
    };
    provided(&spool);
    let segment = u64::from(spool.shared().segment_size);
    {
        // Outcomes have used up what new mail had left them, and the volume has less to give than is kept free.
        let _only = spool.shared().keeping();
        spool.shared().index().free.clear();
        let space = spool.shared().io.space(Path::new("/s")).unwrap();
        volume.set_capacity(space.total - space.available + segment);
        assert!(spool.shared().keep_free > segment);
    }
    for attempts in 1..=u32::try_from(segment).unwrap() / BLOCK_U32 {
        let state = RecipientState {
            attempts,
            ..RecipientState::default()
        };
        spool
            .record(waits, &[RecipientUpdate { index: 0, state }])
            .unwrap();
        assert_eq!(spool.flush().wait(), Ok(()), "{:?}", spool.usage());
    }
    let refused = spool.begin().write(&vec![b'x'; 4 << 20]);
    assert_eq!(
        refused,
        Err(CommitError::Full),
        "what is kept free is not for mail"
    );
    spool.finish(large).unwrap();
    assert_eq!(spool.flush().wait(), Ok(()));
    provided(&spool);
    put(&spool, 100);
}

#[test]
fn of_a_read_only_spool_it_looks_no_more_often_than_of_another() {
    let (_volume, spool) = open_with(&Options {
        checkpoint_idle_ms: 0,
        ..Options::default()
    });
    let mut keeper = Keeper::new(Arc::clone(spool.shared()));
    spool.shared().fail("a test", &io::Error::other("injected"));
    let next = keeper.due.look();
    while Instant::now() < next {
        std::thread::yield_now();
    }
    keeper.checkpoint();
    assert!(keeper.due.look() > next, "else it never waits again");
}

#[test]
fn a_checkpoint_for_which_there_is_no_room_is_not_begun_again_at_each_poke() {
    let (volume, spool) = open();
    let mut keeper = Keeper::new(Arc::clone(spool.shared()));
    keeper.due = Due::after(1, 30_000, Instant::now());
    while spool.shared().index().rolled < 2 {
        put(&spool, 10 << 10);
    }
    volume.set_capacity(0);
    assert!(keeper.due.is_due(spool.shared(), Instant::now()));
    keeper.checkpoint();
    assert!(!keeper.due.is_due(spool.shared(), Instant::now()));
}

#[test]
fn nothing_is_used_again_once_the_spool_is_read_only() {
    let (_volume, spool) = open();
    provided(&spool);
    // The spool's own keeper does not do it either.
    let _only = spool.shared().keeping();
    roll(&spool, 2);
    spool.flush().wait().unwrap();
    let epoch = spool.shared().index().recyclable().unwrap();
    let keeper = Keeper::new(Arc::clone(spool.shared()));
    spool.shared().fail("a test", &io::Error::other("injected"));
    keeper.recycle_all();
    assert_eq!(spool.shared().index().recyclable(), Some(epoch));
}

#[test]
fn a_segment_that_cannot_be_read_through_does_not_keep_others_from_being_emptied() {
    let (volume, spool) = open();
    // A message stays in each of two closed segments; in the first one less, so that it comes first.
    let mut stay = Vec::new();
    for (rolls, len) in [(2, 1 << 10), (3, 8 << 10)] {
        stay.push(put(&spool, len));
        roll(&spool, rolls);
    }
    spool.flush().wait().unwrap();
    provided(&spool);
    let _only = spool.shared().keeping();
    let home = |id: &EntryId| spool.shared().index().entries.get(*id).unwrap().home;
    let (damaged, other) = (home(&stay[0]), home(&stay[1]));
    assert_ne!(damaged.epoch, other.epoch);
    let number = spool.shared().index().segments[&damaged.epoch].number;
    let path = Path::new("/s/segments").join(segment_name(number));
    volume.damage(&path, damaged.offset as usize + 500);
    let mut keeper = Keeper::new(Arc::clone(spool.shared()));
    assert!(!keeper.empty_sparse(75), "its message cannot be copied");
    assert_eq!(keeper.stuck, HashSet::from([damaged.epoch]));
    assert!(keeper.empty_sparse(75));
    let index = spool.shared().index();
    assert!(index.exists(damaged.epoch) && !index.exists(other.epoch));
}

/// Somebody waits, and the volume is slow: what can reserve a range would do that with the rest of the segment.
#[test]
fn where_nothing_can_be_reserved_a_segment_is_written_to_its_end() {
    const SIZE: u32 = 8 << 20;
    let volume = Memory::new(64 << 20);
    let options = Options {
        segment_size: Some(SIZE),
        checkpoint_segments: 0,
        ..Options::default()
    };
    let (spool, _) = Spool::open_on(Arc::new(volume.clone()), Path::new("/s"), &options).unwrap();
    provided(&spool);
    let _only = spool.shared().keeping();
    let before = volume.reserves();
    spool.shared().request_space();
    volume.slow_writes(Duration::from_millis(10));
    let made = create(spool.shared()).unwrap();
    volume.slow_writes(Duration::ZERO);
    assert_eq!(volume.reserves() - before, 1, "it is asked once");
    assert_eq!((made.size, made.file.len().unwrap()), (SIZE, u64::from(SIZE)));
}
