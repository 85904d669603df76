//! The hand-over through two real spools: what is refused, taken back, ended by a drained record, and repeated.

#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postroad_spool::handover::{ToSource, ToTarget, TransferId};
use postroad_spool::io::memory::Memory;
use postroad_spool::{
    CommitError, EntryId, Envelope, HandoverError, Item, Options, Ownership, Recipient, RecipientState,
    RecipientUpdate, RecordError, Spool, SpoolUuid, Status,
};

const LARGE: usize = 20_000;

fn on(volume: &Memory) -> Spool {
    let options = Options {
        segment_size: Some(64 * 1024),
        inline_limit: 8 * 1024,
        ..Options::default()
    };
    Spool::open_on(Arc::new(volume.clone()), Path::new("/spool"), &options)
        .unwrap()
        .0
}

fn spool() -> Spool {
    on(&Memory::new(8 << 20))
}

fn put(spool: &Spool) -> EntryId {
    let mut incoming = spool.begin();
    incoming.write(&vec![b'x'; LARGE]).unwrap();
    let recipients = vec![Recipient::default(); 3];
    let envelope = Envelope {
        recipients,
        arrived: 5,
        ..Envelope::default()
    };
    incoming.commit(envelope, b"P: 1\r\n".to_vec()).wait().unwrap()
}

fn take(target: &Spool, transfer: TransferId, source: &Spool) -> Result<ToSource, HandoverError> {
    let mut message = source.read(transfer.entry).unwrap();
    let mut body = Vec::new();
    message.body.read_to_end(&mut body).unwrap();
    let mut incoming = target.begin();
    incoming.write(&body).unwrap();
    incoming.hold(transfer, message.item).wait()
}

fn offered(source: &Spool, entry: EntryId, to: SpoolUuid) -> TransferId {
    source.offer(entry, to).wait().unwrap().transfer()
}

#[test]
fn an_entry_goes_over_whole_with_the_states_of_its_recipients() {
    let (source, target) = (spool(), spool());
    let entry = put(&source);
    let deferred = RecipientState {
        attempts: 3,
        next_attempt: 99,
        reply: "451 later".into(),
        ..RecipientState::default()
    };
    let states = [
        RecipientUpdate {
            index: 0,
            state: RecipientState {
                status: Status::Delivered,
                ..RecipientState::default()
            },
        },
        RecipientUpdate {
            index: 2,
            state: deferred,
        },
    ];
    source.record(entry, &states).unwrap();
    source.seal().wait().unwrap();
    let before: Item = source.read(entry).unwrap().item;

    let transfer = offered(&source, entry, target.uuid());
    assert_eq!(source.finish(entry), Err(RecordError::NotOwned));
    assert_eq!(source.record(entry, &states), Err(RecordError::NotOwned));
    let answer = take(&target, transfer, &source).unwrap();
    assert_eq!(
        take(&target, transfer, &source).unwrap(),
        answer,
        "an offer twice is one hold"
    );
    let ToSource::Held { hold, .. } = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(target.finish(hold), Err(RecordError::NotOwned));
    assert_eq!(target.summary(hold).unwrap().ownership, Ownership::Held);

    let given = source.answered(target.uuid(), answer).wait().unwrap();
    let release = given.send.unwrap();
    assert_eq!(
        source.standing().first().map(|s| (s.given, s.send)),
        Some((true, release))
    );
    assert!(!source.is_empty(), "given is not empty");
    let released = target.requested(release).wait().unwrap();
    assert_eq!(released.released, Some(hold));
    assert_eq!(
        target.requested(release).wait().unwrap().released,
        None,
        "a release twice is one release"
    );
    let freed = source
        .answered(target.uuid(), released.send.unwrap())
        .wait()
        .unwrap();
    assert_eq!(freed.freed, Some(entry));
    assert!(source.is_empty());
    assert_eq!(source.begin().write(b"x"), Err(CommitError::Sealed));

    let mut message = target.read(hold).unwrap();
    assert_eq!(message.item, before);
    assert_eq!(message.ownership, Ownership::Owned);
    assert_eq!(message.origin, Some(transfer), "its id there is known here");
    let mut body = Vec::new();
    message.body.read_to_end(&mut body).unwrap();
    assert_eq!(body, vec![b'x'; LARGE]);

    target.finish(hold).unwrap();
    target.flush().wait().unwrap();
    assert!(!target.is_empty(), "the source has not confirmed");
    assert_eq!(
        target.requested(release).wait().unwrap().send,
        Some(ToSource::Released(transfer))
    );
    target.requested(freed.send.unwrap()).wait().unwrap();
    assert!(target.is_empty());
}

#[test]
fn an_offer_that_never_arrived_is_taken_back_and_a_late_hold_of_it_is_dropped() {
    let (source, target) = (spool(), spool());
    let entry = put(&source);
    source.seal().wait().unwrap();
    let first = offered(&source, entry, target.uuid());
    assert_eq!(
        source.offer(entry, target.uuid()).wait(),
        Err(HandoverError::NotOwned)
    );
    let query = source.standing().first().unwrap().send;
    assert_eq!(query, ToTarget::Query(first));
    let unknown = target.requested(query).wait().unwrap().send.unwrap();
    assert_eq!(unknown, ToSource::Unknown(first));
    // The offer arrives after all, late.
    let late = take(&target, first, &source).unwrap();
    let stranger = source.answered(SpoolUuid([9; 16]), unknown).wait().unwrap();
    assert_eq!(stranger.taken_back, None, "only the target's word counts");
    let back = source.answered(target.uuid(), unknown).wait().unwrap();
    assert_eq!(back.taken_back, Some(entry));
    let second = offered(&source, entry, target.uuid());
    assert_eq!((first.generation, second.generation), (0, 1));
    let abort = source.answered(target.uuid(), late).wait().unwrap().send.unwrap();
    assert_eq!(abort, ToTarget::Abort(first));
    target.requested(abort).wait().unwrap();
    assert!(target.is_empty());
    assert_eq!(source.summary(entry).unwrap().ownership, Ownership::Offered);
}

#[test]
fn a_hand_over_goes_on_after_both_sides_were_restarted() {
    let (here, there) = (Memory::new(8 << 20), Memory::new(8 << 20));
    let (source, target) = (on(&here), on(&there));
    let entry = put(&source);
    source.seal().wait().unwrap();
    let transfer = offered(&source, entry, target.uuid());
    take(&target, transfer, &source).unwrap();
    drop((source, target));

    let (source, target) = (on(&here), on(&there));
    let query = source.standing().first().unwrap().send;
    let answer = target.requested(query).wait().unwrap().send.unwrap();
    source.answered(target.uuid(), answer).wait().unwrap();
    drop((source, target));

    let (source, target) = (on(&here), on(&there));
    let release = source.standing().first().unwrap().send;
    let released = target.requested(release).wait().unwrap();
    drop(target);
    let target = on(&there);
    let ask = target.holds().first().copied().unwrap();
    assert!(ask.released);
    let freed = source.answered(target.uuid(), ask.ask).wait().unwrap();
    assert_eq!(freed.send, Some(ToTarget::Freed(transfer)));
    assert!(source.is_empty());
    assert_eq!(
        target.summary(released.released.unwrap()).unwrap().ownership,
        Ownership::Owned
    );
}

#[test]
fn a_drained_record_drops_holds_and_frees_releases_of_its_seal_and_earlier() {
    let (source, target) = (spool(), spool());
    let (held_only, released, later) = (put(&source), put(&source), put(&source));
    let seal = source.seal().wait().unwrap().number;
    take(&target, offered(&source, held_only, target.uuid()), &source).unwrap();
    let answer = take(&target, offered(&source, released, target.uuid()), &source).unwrap();
    let release = source
        .answered(target.uuid(), answer)
        .wait()
        .unwrap()
        .send
        .unwrap();
    let ours = target.requested(release).wait().unwrap().released.unwrap();
    source.unseal().wait().unwrap();
    assert_eq!(source.seal().wait().unwrap().number, seal + 1);
    let next = offered(&source, later, target.uuid());
    take(&target, next, &source).unwrap();

    let drained = target.drained(source.uuid(), seal).wait().unwrap();
    assert_eq!((drained.aborted, drained.freed), (1, 1));
    let left: Vec<_> = target.holds().iter().map(|h| h.transfer).collect();
    assert_eq!(left, [next], "a later seal is not spoken for");
    assert_eq!(target.summary(ours).unwrap().ownership, Ownership::Owned);
    assert_eq!(target.entries().len(), 2);
    let repeated = TransferId {
        seal,
        generation: 7,
        ..next
    };
    assert_eq!(take(&target, repeated, &source), Err(HandoverError::Drained));
}

#[test]
fn a_sealed_spool_holds_nothing_for_others() {
    let (source, target) = (spool(), spool());
    let entry = put(&source);
    source.seal().wait().unwrap();
    put(&target);
    target.seal().wait().unwrap();
    let transfer = offered(&source, entry, target.uuid());
    assert_eq!(take(&target, transfer, &source), Err(HandoverError::Sealed));
    assert!(target.holds().is_empty());
}

/// The keeper works behind: waits until there are fewer segments than this.
fn fewer_segments(spool: &Spool, than: usize) {
    let end = Instant::now() + Duration::from_secs(30);
    while spool.usage().segments >= than {
        assert!(Instant::now() < end, "{:?}", spool.usage());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Mail that comes and goes until every segment was used again several times.
fn churn(spool: &Spool) {
    let before = spool.usage().segments;
    for _ in 0..600 {
        let mut incoming = spool.begin();
        incoming.write(&[b'y'; 5000]).unwrap();
        let id = incoming.commit(Envelope::default(), Vec::new()).wait().unwrap();
        spool.finish(id).unwrap();
    }
    spool.flush().wait().unwrap();
    fewer_segments(spool, before + 20);
}

#[test]
fn states_of_a_hand_over_are_carried_along_when_segments_are_used_again() {
    let (here, there) = (Memory::new(8 << 20), Memory::new(8 << 20));
    let (source, target) = (on(&here), on(&there));
    let (offered_only, given, over) = (put(&source), put(&source), put(&source));
    source.seal().wait().unwrap();
    let first = offered(&source, offered_only, target.uuid());
    let second = offered(&source, given, target.uuid());
    let third = offered(&source, over, target.uuid());
    let answer = take(&target, second, &source).unwrap();
    source.answered(target.uuid(), answer).wait().unwrap();
    let answer = take(&target, third, &source).unwrap();
    let release = source
        .answered(target.uuid(), answer)
        .wait()
        .unwrap()
        .send
        .unwrap();
    let released = target.requested(release).wait().unwrap();
    let ours = released.released.unwrap();
    churn(&source);
    churn(&target);
    drop((source, target));

    let (source, target) = (on(&here), on(&there));
    let mut standing: Vec<_> = source.standing().iter().map(|s| (s.transfer, s.given)).collect();
    standing.sort();
    assert_eq!(standing, [(first, false), (second, true), (third, true)]);
    let mut holds: Vec<_> = target.holds().iter().map(|h| (h.transfer, h.released)).collect();
    holds.sort();
    assert_eq!(holds, [(second, false), (third, true)]);
    let freed = source
        .answered(target.uuid(), released.send.unwrap())
        .wait()
        .unwrap();
    target.requested(freed.send.unwrap()).wait().unwrap();
    churn(&source);
    churn(&target);
    drop((source, target));

    let (source, target) = (on(&here), on(&there));
    assert!(
        source.summary(over).is_none(),
        "what was freed does not come back"
    );
    assert_eq!(target.holds().len(), 1, "what was forgotten does not come back");
    assert_eq!(target.summary(ours).unwrap().ownership, Ownership::Owned);
    target.finish(ours).unwrap();
    churn(&target);
    drop(target);
    let target = on(&there);
    assert!(target.summary(ours).is_none());
    assert_eq!(target.entries().len(), 1);
}
