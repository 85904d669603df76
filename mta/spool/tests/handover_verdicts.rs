//! What is declared of other spools, through real spools: a drained record speaks after a restart too, a lost spool leaves
//! nothing behind that waits for it; and jobs that contradict each other are decided one after the other.

#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

use std::path::Path;
use std::sync::Arc;

use postroad_spool::handover::{ToSource, ToTarget, TransferId};
use postroad_spool::io::Io;
use postroad_spool::io::memory::Memory;
use postroad_spool::{
    CommitError, EntryId, Envelope, HandoverError, Options, Orphan, Ownership, Recipient, RecipientState,
    RecipientUpdate, Settled, Spool, SpoolUuid,
};

fn on(volume: &Memory) -> Spool {
    let options = Options {
        segment_size: Some(256 * 1024),
        lazy_ms: 60_000,
        ..Options::default()
    };
    Spool::open_on(Arc::new(volume.clone()), Path::new("/spool"), &options)
        .unwrap()
        .0
}

fn put(spool: &Spool) -> EntryId {
    let mut incoming = spool.begin();
    incoming.write(b"body").unwrap();
    let envelope = Envelope {
        recipients: vec![Recipient::default()],
        ..Envelope::default()
    };
    incoming.commit(envelope, Vec::new()).wait().unwrap()
}

fn offered(source: &Spool, entry: EntryId, to: SpoolUuid) -> TransferId {
    source.offer(entry, to).wait().unwrap().transfer()
}

fn take(target: &Spool, transfer: TransferId, source: &Spool) -> Result<ToSource, HandoverError> {
    let item = source.read(transfer.entry).unwrap().item;
    let mut incoming = target.begin();
    incoming.write(b"body").unwrap();
    incoming.hold(transfer, item).wait()
}

/// Takes and releases. Gives what the target calls it.
fn released(target: &Spool, transfer: TransferId, source: &Spool) -> EntryId {
    let answer = take(target, transfer, source).unwrap();
    let given = source.answered(target.uuid(), answer).wait().unwrap();
    let requested = target.requested(given.send.unwrap()).wait().unwrap();
    requested.released.unwrap()
}

#[test]
fn what_a_drained_record_refused_is_refused_after_a_restart_too() {
    let there = Memory::new(16 << 20);
    let (source, target) = (on(&Memory::new(16 << 20)), on(&there));
    let (dropped, forgotten) = (put(&source), put(&source));
    let seal = source.seal().wait().unwrap().number;
    let first = offered(&source, dropped, target.uuid());
    take(&target, first, &source).unwrap();
    let second = offered(&source, forgotten, target.uuid());
    let ours = released(&target, second, &source);
    let ended = target.drained(source.uuid(), seal).wait().unwrap();
    assert_eq!((ended.aborted, ended.freed), (1, 1));
    drop(target);

    // Nobody repeats the record: the offers that were answered for are refused all the same, when they come again.
    let target = on(&there);
    assert_eq!(take(&target, first, &source), Err(HandoverError::Drained));
    assert_eq!(take(&target, second, &source), Err(HandoverError::Drained));
    let query = target.requested(ToTarget::Query(first)).wait().unwrap();
    assert_eq!(query.send, Some(ToSource::Unknown(first)));
    assert_eq!(target.entries().len(), 1);
    assert_eq!(target.summary(ours).unwrap().ownership, Ownership::Owned);
    // An older record says nothing new; a later seal is another matter.
    target.drained(source.uuid(), seal - 1).wait().unwrap();
    let earlier = TransferId {
        generation: 5,
        ..first
    };
    assert_eq!(take(&target, earlier, &source), Err(HandoverError::Drained));
    let later = TransferId {
        seal: seal + 1,
        ..first
    };
    assert!(matches!(take(&target, later, &source), Ok(ToSource::Held { .. })));
}

#[test]
fn a_record_whose_consequences_a_crash_cut_off_is_carried_out_at_the_next_start() {
    let (here, there) = (Memory::new(16 << 20), Memory::new(16 << 20));
    let (source, target) = (on(&here), on(&there));
    let entry = put(&source);
    let seal = source.seal().wait().unwrap().number;
    let transfer = offered(&source, entry, target.uuid());
    take(&target, transfer, &source).unwrap();
    let before = there.log().len();
    target.drained(source.uuid(), seal).wait().unwrap();
    let log = there.log();
    let mut carried_out = 0;
    for ops in before..=log.len() {
        for seed in 0..8 {
            let again = on(&Memory::crash(&log, ops, seed));
            again.flush().wait().unwrap();
            // Either the record is not there at all, or it holds with all that follows from it.
            match take(&again, transfer, &source) {
                Err(HandoverError::Drained) => {
                    assert!(again.holds().is_empty(), "behind {ops} changes, draw {seed}");
                    assert!(again.entries().is_empty());
                    carried_out += 1;
                }
                Ok(ToSource::Held { .. }) => {
                    assert!(ops < log.len(), "what was answered is durable");
                    assert_eq!(again.holds().len(), 1);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(carried_out > 8, "the record was met before its consequences");
}

#[test]
fn a_damaged_file_of_records_is_told_and_keeps_no_spool_from_opening() {
    let volume = Memory::new(16 << 20);
    let spool = on(&volume);
    spool.drained(SpoolUuid([7; 16]), 3).wait().unwrap();
    drop(spool);
    volume.damage(Path::new("/spool/drained"), 25);
    let options = Options::default();
    let (_, report) = Spool::open_on(Arc::new(volume.clone()), Path::new("/spool"), &options).unwrap();
    assert_eq!(report.damaged, 1);
}

#[test]
fn a_record_that_cannot_be_kept_ends_nothing() {
    let there = Memory::new(16 << 20);
    let (source, target) = (on(&Memory::new(16 << 20)), on(&there));
    let entry = put(&source);
    let seal = source.seal().wait().unwrap().number;
    let transfer = offered(&source, entry, target.uuid());
    take(&target, transfer, &source).unwrap();
    there.set_capacity(0);
    assert!(matches!(
        target.drained(source.uuid(), seal).wait(),
        Err(CommitError::Full)
    ));
    assert_eq!(target.holds().len(), 1);
    there.set_capacity(16 << 20);
    assert_eq!(target.drained(source.uuid(), seal).wait().unwrap().aborted, 1);
    assert!(there.open(Path::new("/spool/drained")).is_ok());
}

/// Settles everything; gives what became of it.
fn settle(spool: &Spool) -> Vec<Settled> {
    let orphans = spool.orphans();
    orphans
        .into_iter()
        .map(|orphan| spool.settle(orphan).wait().unwrap())
        .collect()
}

#[test]
fn a_lost_source_leaves_what_is_held_for_it_to_its_holder() {
    let there = Memory::new(16 << 20);
    let (source, target) = (on(&Memory::new(16 << 20)), on(&there));
    let (held, ours, other) = (put(&source), put(&source), put(&source));
    source.seal().wait().unwrap();
    let first = offered(&source, held, target.uuid());
    take(&target, first, &source).unwrap();
    let second = offered(&source, ours, target.uuid());
    let mine = released(&target, second, &source);
    target.finish(mine).unwrap();
    target.seal().wait().unwrap();
    target.flush().wait().unwrap();
    assert!(target.orphans().is_empty(), "nobody was declared lost");

    target.declare_lost([source.uuid(), target.uuid()]);
    assert_eq!(target.orphans(), [Orphan::Held(first)]);
    let settled = settle(&target);
    let entry = settled[0].released.unwrap();
    assert!(settled.len() == 1 && settled[0].perhaps_twice);
    assert_eq!(target.summary(entry).unwrap().ownership, Ownership::Owned);
    assert!(target.orphans().is_empty() && target.holds().is_empty());
    assert_eq!(
        target.settle(Orphan::Held(first)).wait().unwrap(),
        Settled::default()
    );
    // It is durable.
    drop(target);
    let target = on(&there);
    assert_eq!(target.summary(entry).unwrap().ownership, Ownership::Owned);
    target.finish(entry).unwrap();
    target.flush().wait().unwrap();
    assert!(
        !target.is_empty(),
        "as far as is known now, the source may still ask"
    );
    target.declare_lost([source.uuid()]);
    assert!(target.is_empty(), "a lost source is not waited for");
    target.unseal().wait().unwrap();
    let third = offered(&source, other, target.uuid());
    assert_eq!(take(&target, third, &source), Err(HandoverError::Lost));
    // It was not lost after all: it is told what became of its mail, and keeps what nobody took.
    target.declare_lost([]);
    let said = target.requested(ToTarget::Query(first)).wait().unwrap();
    let freed = source.answered(target.uuid(), said.send.unwrap()).wait().unwrap();
    assert_eq!(
        (freed.freed, freed.send),
        (Some(held), Some(ToTarget::Freed(first)))
    );
}

#[test]
fn what_stands_with_a_lost_target_is_taken_back_and_offered_to_another() {
    let here = Memory::new(16 << 20);
    let (source, lost) = (on(&here), on(&Memory::new(16 << 20)));
    let (offered_only, given) = (put(&source), put(&source));
    source.seal().wait().unwrap();
    let first = offered(&source, offered_only, lost.uuid());
    let second = offered(&source, given, lost.uuid());
    let answer = take(&lost, second, &source).unwrap();
    let release = source.answered(lost.uuid(), answer).wait().unwrap().send.unwrap();
    drop(source);
    let source = on(&here);
    source.declare_lost([lost.uuid()]);
    let mut settled = settle(&source);
    settled.sort_unstable_by_key(|settled| settled.taken_back);
    let back: Vec<_> = settled
        .iter()
        .map(|settled| (settled.taken_back, settled.perhaps_twice))
        .collect();
    assert_eq!(back, [(Some(offered_only), false), (Some(given), true)]);
    assert!(source.standing().is_empty());
    assert_eq!(source.offer(given, lost.uuid()).wait(), Err(HandoverError::Lost));
    // Late answers of the lost one change nothing.
    let unknown = source
        .answered(lost.uuid(), ToSource::Unknown(first))
        .wait()
        .unwrap();
    assert_eq!(unknown.taken_back, None);
    let late = lost.requested(release).wait().unwrap().send.unwrap();
    let answer = source.answered(lost.uuid(), late).wait().unwrap();
    assert_eq!((answer.freed, answer.send), (None, Some(ToTarget::Freed(second))));
    let other = on(&Memory::new(16 << 20));
    for entry in [offered_only, given] {
        let transfer = offered(&source, entry, other.uuid());
        assert_eq!(transfer.generation, 1);
        let hold = released(&other, transfer, &source);
        assert_eq!(other.summary(hold).unwrap().ownership, Ownership::Owned);
    }
}

#[test]
fn answers_that_contradict_each_other_are_decided_in_turn_however_batches_end() {
    // A batch holds 1,024 records: the answers lie at its end, where one of them begins the next batch.
    for before in 1_018..1_026 {
        let (source, target) = (on(&Memory::new(64 << 20)), on(&Memory::new(16 << 20)));
        let (other, entry) = (put(&source), put(&source));
        source.seal().wait().unwrap();
        let transfer = offered(&source, entry, target.uuid());
        let update = RecipientUpdate {
            index: 0,
            state: RecipientState::default(),
        };
        for _ in 0..before {
            source.record(other, std::slice::from_ref(&update)).unwrap();
        }
        let hold = EntryId::from_u64(1);
        let first = source.answered(target.uuid(), ToSource::Held { transfer, hold });
        let second = source.answered(target.uuid(), ToSource::Unknown(transfer));
        let (first, second) = (first.wait().unwrap(), second.wait().unwrap());
        assert_eq!(first.send, Some(ToTarget::Release { transfer, hold }));
        assert_eq!(second.taken_back, None, "behind {before} records");
        assert_eq!(source.summary(entry).unwrap().ownership, Ownership::Given);
    }
}
