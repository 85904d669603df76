//! When there is no room: the share of the volume and the memory that waiting mail may take, both while it runs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postroad_spool::io::memory::Memory;
use postroad_spool::{CommitError, EntryId, Envelope, Options, Recipient, Spool};

fn open(volume: &Memory) -> Spool {
    let options = Options {
        segment_size: Some(64 << 10),
        high_water_percent: 90,
        ..Options::default()
    };
    let (spool, _) = Spool::open_on(Arc::new(volume.clone()), Path::new("/spool"), &options).unwrap();
    spool
}

fn put(spool: &Spool, recipients: usize) -> EntryId {
    let mut incoming = spool.begin();
    incoming.write(b"Subject: x\r\n\r\nx\r\n").unwrap();
    let envelope = Envelope {
        recipients: vec![Recipient::default(); recipients],
        ..Envelope::default()
    };
    incoming.commit(envelope, Vec::new()).wait().unwrap()
}

/// What is said of a new message changes within a moment.
fn becomes(spool: &Spool, unable: Option<&CommitError>) {
    let end = Instant::now() + Duration::from_secs(30);
    while spool.unable().as_ref() != unable {
        assert!(Instant::now() < end, "{:?}", spool.usage());
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn waiting_mail_is_bounded_by_memory_and_taken_again_when_some_has_gone() {
    let volume = Memory::new(64 << 20);
    let spool = open(&volume);
    for _ in 0..100 {
        put(&spool, 1);
    }
    assert!(!spool.usage().above_high_water, "without a bound");
    // About 320 octets each.
    spool.set_most_memory(50_000);
    assert!(!spool.usage().above_high_water);
    let list = put(&spool, 1_000);
    assert!(spool.usage().above_high_water, "recipients count");
    becomes(&spool, Some(&CommitError::Full));
    assert_eq!(CommitError::Full.reply(), (452, "4.3.1"));
    spool.finish(list).unwrap();
    becomes(&spool, None);
    for _ in 0..100 {
        put(&spool, 1);
    }
    assert!(spool.usage().above_high_water, "entries count");
    // The same after a start, before the first message.
    drop(spool);
    let spool = open(&volume);
    spool.set_most_memory(50_000);
    assert!(spool.usage().above_high_water);
    spool.set_most_memory(u64::MAX);
    assert!(!spool.usage().above_high_water);
}

#[test]
fn the_share_of_the_volume_can_be_changed_while_it_runs() {
    let spool = open(&Memory::new(4 << 20));
    while spool.usage().available_bytes > 1 << 20 {
        put(&spool, 1);
        let mut incoming = spool.begin();
        incoming.write(&vec![b'x'; 32 << 10]).unwrap();
        let envelope = Envelope {
            recipients: vec![Recipient::default()],
            ..Envelope::default()
        };
        incoming.commit(envelope, Vec::new()).wait().unwrap();
    }
    let full_at = (1..=99)
        .rev()
        .find(|percent| {
            spool.set_high_water_percent(*percent);
            spool.usage().above_high_water
        })
        .unwrap();
    assert!((50..99).contains(&full_at), "{full_at}");
    becomes(&spool, Some(&CommitError::Full));
    spool.set_high_water_percent(full_at + 1);
    assert_eq!(spool.high_water_percent(), full_at + 1);
    becomes(&spool, None);
}

#[test]
fn a_message_that_is_larger_than_what_is_free_is_known_before_it_comes() {
    let spool = open(&Memory::new(16 << 20));
    let free = spool.usage().available_bytes;
    assert!(free > 2 << 20, "{free}");
    assert!(spool.has_room(free) && spool.has_room(0));
    assert!(!spool.has_room(free + (1 << 20)));
}
