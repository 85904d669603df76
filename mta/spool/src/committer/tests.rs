//! Batches that fail while more is put behind them, on a volume in memory. The test is the only one that writes: the
//! committer of the spool gets no jobs.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::*;
use crate::format::record::MessageInfo;
use crate::format::{OLDEST, message};
use crate::handover::{ToSource, TransferId};
use crate::index::Free;
use crate::io::memory::Memory;
use crate::keeper;
use crate::plan::globals;
use crate::shared::{NewMessage, segment_name};
use crate::spool::Spool;
use crate::types::{Durability, Envelope, Options, RecipientState, RecipientUpdate, SealState, SpoolUuid};

fn open(durability: Durability) -> (Memory, Spool, Committer) {
    let volume = Memory::new(64 << 20);
    let options = Options {
        segment_size: Some(1 << 20),
        checkpoint_segments: 0,
        durability,
        ..Options::default()
    };
    let (spool, _) = Spool::open_on(Arc::new(volume.clone()), Path::new("/s"), &options).unwrap();
    let committer = Committer::new(Arc::clone(spool.shared()));
    (volume, spool, committer)
}

/// Until the keeper of the spool has tried to have enough free segments.
fn provided(spool: &Spool) {
    let asked = spool.shared().request_space();
    while !spool.shared().answered(asked) {
        std::thread::yield_now();
    }
}

/// Drafts that any segment takes.
fn drafts(committer: &Committer, count: usize) -> Vec<Draft> {
    let seal = committer.shared.index().seal;
    (0..count).map(|_| globals(&committer.shared, seal)).collect()
}

/// Writes so many records of one job; where its answer comes.
fn write(committer: &mut Committer, count: usize) -> Receiver<Result<(), CommitError>> {
    let drafts = drafts(committer, count);
    put(committer, drafts, false)
}

/// Writes a record as one of new mail. `prompt`: another one ends in its place.
fn write_mail(committer: &mut Committer, prompt: bool) -> Receiver<Result<(), CommitError>> {
    let mut drafts = drafts(committer, 1);
    drafts[0].prompt = prompt;
    put(committer, drafts, true)
}

fn put(committer: &mut Committer, drafts: Vec<Draft>, message: bool) -> Receiver<Result<(), CommitError>> {
    let (tell, told) = channel();
    let notify = move |result| drop(tell.send(result));
    committer.write(drafts, Some(Box::new(notify)), message);
    told
}

/// A committer with a batch that takes not one record more.
fn with_a_full_batch(committer: &mut Committer) -> Receiver<Result<(), CommitError>> {
    drop(write(committer, 1));
    let left = BATCH_RECORDS - committer.records.len();
    let told = write(committer, left);
    assert_eq!(committer.records.len(), BATCH_RECORDS);
    told
}

#[test]
fn what_is_put_behind_a_batch_whose_sync_failed_is_not_believed() {
    let (volume, _spool, mut committer) = open(Durability::Durable);
    let first = with_a_full_batch(&mut committer);
    volume.fail_syncs(true);
    let second = write(&mut committer, 1);
    volume.fail_syncs(false);
    committer.commit();
    for told in [first, second] {
        let answer = told.try_recv().unwrap();
        assert!(matches!(answer, Err(CommitError::ReadOnly(_))), "{answer:?}");
    }
}

#[test]
fn nothing_that_waits_is_written_once_the_spool_is_read_only() {
    let (_volume, spool, mut committer) = open(Durability::Durable);
    let told = write(&mut committer, 1);
    spool.shared().fail("a test", &std::io::Error::other("injected"));
    let used = |committer: &Committer| committer.active.as_ref().unwrap().used;
    let before = used(&committer);
    committer.commit();
    let answer = told.try_recv().unwrap();
    assert!(matches!(answer, Err(CommitError::ReadOnly(_))), "{answer:?}");
    assert!(committer.records.is_empty() && committer.buffer.is_empty());
    assert_eq!(used(&committer), before);
}

#[test]
fn of_what_spans_two_batches_a_lost_first_part_is_told_though_the_second_is_written() {
    let (volume, spool, mut committer) = open(Durability::Durable);
    drop(write(&mut committer, 1));
    committer.commit();
    // Its first batch is refused; from then on there is room again.
    let healed = volume.clone();
    committer
        .notifies
        .push(Box::new(move |_| healed.refuse_writes(false)));
    volume.refuse_writes(true);
    let told = write(&mut committer, BATCH_RECORDS + 10);
    committer.commit();
    assert_eq!(told.try_recv().unwrap(), Err(CommitError::Full));
    assert_eq!(spool.shared().read_only(), None);
    let later = write(&mut committer, 1);
    committer.commit();
    assert_eq!(later.try_recv().unwrap(), Ok(()), "there is room again");
}

#[test]
fn no_segment_is_begun_behind_a_late_sync_that_failed() {
    let (volume, spool, mut committer) = open(Durability::Relaxed);
    drop(write(&mut committer, 1));
    committer.commit();
    committer.unsynced = Some(Instant::now());
    let before = committer.active.as_ref().unwrap().epoch;
    provided(&spool);
    assert!(!spool.shared().index().free.is_empty(), "there is one to begin");
    volume.fail_syncs(true);
    assert!(!committer.roll(0));
    assert!(spool.shared().read_only().is_some());
    assert_eq!(committer.active.as_ref().unwrap().epoch, before);
}

#[test]
fn a_flush_does_not_say_durable_while_outcomes_find_no_room() {
    let (volume, spool, mut committer) = open(Durability::Durable);
    let outcome = || Job::States(EntryId::from_u64(7), Vec::new());
    let _only = spool.shared().keeping();
    let free = without_room(&volume, &spool);
    committer.job(outcome());
    let (reply, mut told) = oneshot::channel();
    committer.job(Job::Flush(reply));
    committer.commit();
    assert!(told.try_recv().is_err(), "it waits as the outcome does");
    tried(&mut committer);
    assert_eq!(told.try_recv().unwrap(), Err(CommitError::Full));

    spool.shared().index().free = free;
    committer.unpark();
    let (reply, mut told) = oneshot::channel();
    committer.job(Job::Flush(reply));
    committer.commit();
    assert_eq!(told.try_recv().unwrap(), Ok(()));
    assert!(committer.waiting.parked.is_empty());
}

#[test]
fn a_slow_header_of_a_segment_holds_up_nobody_who_looks_at_the_index() {
    /// Far more than anything here takes.
    const DEADLINE: Duration = Duration::from_mins(1);
    let (volume, spool, mut committer) = open(Durability::Durable);
    provided(&spool);
    // The keeper of the spool leaves them as they are.
    let _only = spool.shared().keeping();
    committer.format = OLDEST;
    let before = spool.shared().index().formats();
    let number = spool.shared().index().free[0].number;
    let path = spool.shared().segments_dir().join(segment_name(number));
    volume.hold_syncs(Some(&path));
    let rolling = std::thread::spawn(move || committer.roll(0));
    assert!(volume.holds_a_sync(DEADLINE), "its header is being written");

    let (tell, told) = channel();
    let reader = spool.clone();
    std::thread::spawn(move || {
        let formats = reader.shared().index().formats();
        let made = keeper::create(reader.shared()).map(|free| free.number);
        drop(tell.send((formats, reader.usage().segments, made)));
    });
    let seen = told.recv_timeout(DEADLINE);
    volume.hold_syncs(None);
    assert!(rolling.join().unwrap());
    let (formats, segments, made) = seen.expect("the index is not locked meanwhile");
    assert_eq!(formats, before, "it counts, and as what it may still be");
    assert_eq!(segments, before.values().sum::<usize>());
    assert_ne!(made.unwrap(), number, "its name is not given away");
    let index = spool.shared().index();
    assert!(index.taken.is_empty());
    assert_eq!(
        index.active.map(|epoch| index.segments[&epoch].number),
        Some(number)
    );
}

/// A committer of a spool without any room; the segments to give back. The keeper of the spool makes none while it is held
/// back; the test says that it has tried.
fn without_room(volume: &Memory, spool: &Spool) -> Vec<Free> {
    volume.set_capacity(0);
    std::mem::take(&mut spool.shared().index().free)
}

/// The same with what outcomes are kept free for; what was free beside it.
fn down_to_the_reserve(volume: &Memory, spool: &Spool) -> Vec<Free> {
    provided(spool);
    let mut free = without_room(volume, spool);
    spool.shared().index().free = free.split_off(free.len() - RESERVE);
    provided(spool);
    free
}

/// The keeper has tried for what waits.
fn tried(committer: &mut Committer) {
    committer.shared.answer(committer.waiting.request);
    committer.unpark();
    committer.commit();
}

#[test]
fn mail_does_not_fill_up_what_an_outcome_has_begun_of_the_reserve() {
    let (volume, spool, mut committer) = open(Durability::Durable);
    let mut more = down_to_the_reserve(&volume, &spool);
    let _only = spool.shared().keeping();
    assert!(committer.roll(0), "an outcome may");
    committer.commit();
    let told = write_mail(&mut committer, false);
    assert!(
        committer.records.is_empty(),
        "there is room for it in the segment"
    );
    tried(&mut committer);
    assert_eq!(told.try_recv().unwrap(), Err(CommitError::Full));
    let outcome = write(&mut committer, 1);
    committer.commit();
    assert_eq!(outcome.try_recv().unwrap(), Ok(()));

    spool.shared().index().free.append(&mut more);
    let told = write_mail(&mut committer, false);
    committer.commit();
    assert_eq!(told.try_recv().unwrap(), Ok(()));
}

#[test]
fn a_notice_gets_of_the_reserve_what_the_outcomes_can_do_without() {
    let (volume, spool, mut committer) = open(Durability::Durable);
    drop(down_to_the_reserve(&volume, &spool));
    let _only = spool.shared().keeping();
    committer.active = None;
    let notice = |committer: &mut Committer, prompt: bool| {
        let told = write_mail(committer, prompt);
        tried(committer);
        told.try_recv().unwrap()
    };
    assert_eq!(notice(&mut committer, false), Err(CommitError::Full));
    assert_eq!(notice(&mut committer, true), Ok(()));
    assert_eq!(spool.shared().index().free.len(), RESERVE - LEFT_BY_NOTICES);
    // Mail gets nothing of what it has begun, and another one does.
    assert_eq!(notice(&mut committer, false), Err(CommitError::Full));
    assert_eq!(notice(&mut committer, true), Ok(()));
    committer.active = None;
    assert_eq!(notice(&mut committer, true), Err(CommitError::Full));
    assert!(committer.roll(0), "an outcome may");
}

/// The log holds them in their order: at the next start the last one of an entry counts.
#[test]
fn an_outcome_does_not_overtake_one_that_waits_for_room() {
    let (volume, spool, mut committer) = open(Durability::Durable);
    let _only = spool.shared().keeping();
    let free = without_room(&volume, &spool);
    let outcome = |attempts| {
        let state = RecipientState {
            attempts,
            ..RecipientState::default()
        };
        Job::States(EntryId::from_u64(7), vec![RecipientUpdate { index: 0, state }])
    };
    committer.job(outcome(1));
    spool.shared().index().free = free;
    committer.job(outcome(2));
    assert!(committer.records.is_empty(), "the first has waited for longer");
    committer.shared.answer(committer.waiting.request);
    committer.unpark();
    let written = committer
        .records
        .iter()
        .filter_map(|written| match &written.record {
            Record::States(updates) => Some(updates[0].state.attempts),
            _ => None,
        });
    assert_eq!(written.collect::<Vec<_>>(), [1, 2]);
    committer.commit();
}

#[test]
fn steps_wait_for_the_keeper_as_new_mail_does_and_in_their_order() {
    let (volume, spool, mut committer) = open(Durability::Durable);
    let _only = spool.shared().keeping();
    let free = without_room(&volume, &spool);
    let seal = |committer: &mut Committer, on| {
        let (reply, told) = oneshot::channel();
        committer.job(Job::Seal(on, reply));
        committer.commit();
        told
    };
    let mut refused = seal(&mut committer, true);
    assert_eq!(refused.try_recv(), Err(TryRecvError::Empty), "it waits");
    tried(&mut committer);
    assert_eq!(refused.try_recv().unwrap(), Err(CommitError::Full));

    let mut sealed = seal(&mut committer, true);
    spool.shared().index().free = free;
    let mut unsealed = seal(&mut committer, false);
    assert_eq!(
        unsealed.try_recv(),
        Err(TryRecvError::Empty),
        "not before the first"
    );
    tried(&mut committer);
    let state = |sealed| SealState { sealed, number: 1 };
    assert_eq!(sealed.try_recv().unwrap(), Ok(state(true)));
    assert_eq!(unsealed.try_recv().unwrap(), Ok(state(false)));
    let mut again = seal(&mut committer, true);
    assert!(matches!(again.try_recv(), Ok(Ok(_))), "nothing waits any more");
}

#[test]
fn what_is_offered_twice_while_there_is_no_room_is_held_once() {
    let (volume, spool, mut committer) = open(Durability::Durable);
    provided(&spool);
    let _only = spool.shared().keeping();
    let free = without_room(&volume, &spool);
    let transfer = TransferId {
        source: SpoolUuid([7; 16]),
        seal: 1,
        entry: EntryId::from_u64(1),
        generation: 1,
    };
    let hold = |committer: &mut Committer| {
        let (reply, told) = oneshot::channel();
        let message = held_message(&spool, transfer);
        committer.job(Job::Hold(Box::new(message), transfer, reply));
        committer.commit();
        told
    };
    let (mut first, mut second) = (hold(&mut committer), hold(&mut committer));
    assert_eq!(first.try_recv(), Err(TryRecvError::Empty));
    spool.shared().index().free = free;
    tried(&mut committer);
    let answer = first.try_recv().unwrap();
    assert!(matches!(answer, Ok(ToSource::Held { .. })), "{answer:?}");
    assert_eq!(second.try_recv().unwrap(), answer);
    assert_eq!(spool.shared().index().entries.len(), 1);
}

/// The message of an offer.
fn held_message(spool: &Spool, transfer: TransferId) -> NewMessage {
    let shared = spool.shared();
    let head = message::encode(Some(&transfer), &Envelope::default(), &[], b"", (0, 0));
    NewMessage {
        id: EntryId::from_u64(shared.next_entry.fetch_add(1, Ordering::Relaxed)),
        record: Record::Message(MessageInfo {
            format: FIRST,
            blob: false,
            prefix_len: 0,
            body_len: 0,
            arrived: 0,
            expires: 0,
            states: Vec::new(),
            origin: Some(transfer),
        }),
        crc: crc32c::crc32c(&head),
        head,
        body: Vec::new(),
        blob: None,
        open: shared.open_message().unwrap(),
        prompt: false,
    }
}
