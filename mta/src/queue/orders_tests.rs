//! Orders that cannot be made durable: nothing of them holds.

use std::path::Path;

use postroad_spool::Options;
use postroad_spool::io::memory::Memory;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::queue::index::Tally;
use crate::queue::withdrawal::tests::{commit, queue};

fn open(memory: &Memory) -> Spool {
    open_at(memory, Path::new("/spool"))
}

fn open_at(memory: &Memory, path: &Path) -> Spool {
    let options = Options {
        segment_size: Some(1 << 20),
        ..Options::default()
    };
    let memory = Arc::new(memory.clone());
    Spool::open_on(memory, path, &options).unwrap().0
}

/// An entry that waits for so long that nothing is tried.
async fn waiting_entry(spool: &Spool) -> (EntryId, RecipientState) {
    let entry = commit(spool).await.unwrap();
    let state = RecipientState {
        next_attempt: clock::now() + 3_600_000,
        attempts: 3,
        reply: "451 later".to_owned(),
        ..RecipientState::default()
    };
    let update = RecipientUpdate {
        index: 0,
        state: state.clone(),
    };
    spool.record(entry, &[update]).unwrap();
    spool.flush().await.unwrap();
    (entry, state)
}

async fn tally(queue: &Queue) -> Tally {
    queue.standing(0).await.unwrap().0
}

const SCHEDULED: Tally = Tally {
    scheduled: 1,
    ready: 0,
    running: 0,
    held: 0,
    dead: 0,
    suspended: 0,
};

const ALL: [Order; 6] = [
    Order::Hold,
    Order::Release,
    Order::Retry,
    Order::Reroute,
    Order::Return,
    Order::Discard,
];

#[tokio::test]
async fn an_order_that_the_volume_fails_changes_nothing() {
    for order in ALL {
        let memory = Memory::new(64 << 20);
        let spool = open(&memory);
        let (entry, before) = waiting_entry(&spool).await;
        let shutdown = CancellationToken::new();
        let queue = queue(&spool, &shutdown);
        assert_eq!(tally(&queue).await, SCHEDULED);
        memory.fail_syncs(true);
        // Once while that shows, once when it is known.
        for _ in 0..2 {
            let answer = queue.order(order, vec![entry]).await;
            let refused = matches!(&answer, Err(OrderError::NotDurable(CommitError::ReadOnly(_))));
            assert!(refused, "{order:?}: {answer:?}");
            assert_eq!(
                spool.states(entry).unwrap(),
                std::slice::from_ref(&before),
                "{order:?}"
            );
            assert_eq!(tally(&queue).await, SCHEDULED, "{order:?}");
        }
        shutdown.cancel();
        queue.stopped().await;
    }
}

#[tokio::test]
async fn an_order_for_which_there_is_no_room_changes_nothing_and_is_given_again() {
    for order in ALL {
        let memory = Memory::new(64 << 20);
        let spool = open(&memory);
        let (entry, before) = waiting_entry(&spool).await;
        let shutdown = CancellationToken::new();
        let running = queue(&spool, &shutdown);
        assert_eq!(tally(&running).await, SCHEDULED);
        memory.refuse_writes(true);
        let answer = running.order(order, vec![entry]).await;
        let refused = matches!(&answer, Err(OrderError::NotDurable(CommitError::Full)));
        assert!(refused, "{order:?}: {answer:?}");
        assert_eq!(tally(&running).await, SCHEDULED, "{order:?}");
        memory.refuse_writes(false);
        shutdown.cancel();
        running.stopped().await;
        drop((running, spool));

        let spool = open(&memory);
        assert_eq!(spool.states(entry).unwrap(), [before], "{order:?}: after a start");
        let shutdown = CancellationToken::new();
        let queue = queue(&spool, &shutdown);
        assert_eq!(queue.order(order, vec![entry]).await.unwrap(), [entry]);
        shutdown.cancel();
        queue.stopped().await;
    }
}

#[tokio::test]
async fn an_order_holds_once_it_is_answered() {
    let memory = Memory::new(64 << 20);
    let spool = open(&memory);
    let (held, _) = waiting_entry(&spool).await;
    let (gone, _) = waiting_entry(&spool).await;
    let shutdown = CancellationToken::new();
    let queue = queue(&spool, &shutdown);
    assert_eq!(queue.order(Order::Hold, vec![held]).await.unwrap(), [held]);
    assert_eq!(queue.order(Order::Discard, vec![gone]).await.unwrap(), [gone]);
    assert_eq!((tally(&queue).await.held, tally(&queue).await.scheduled), (1, 0));
    assert_eq!(spool.states(gone), None);
    assert!(queue.order(Order::Hold, vec![gone]).await.unwrap().is_empty());
    assert_eq!(queue.order(Order::Retry, vec![held]).await.unwrap(), [held]);
    assert!(queue.is_held(held), "a retry is no release");
    assert_eq!(tally(&queue).await.held, 1);
    let crashed = open(&Memory::crash(&memory.log(), memory.log().len(), 7));
    assert_eq!(crashed.states(held).unwrap()[0].next_attempt, HELD);
    shutdown.cancel();
    queue.stopped().await;
}

#[tokio::test]
async fn a_move_that_cannot_be_made_durable_is_taken_back() {
    let memory = Memory::new(64 << 20);
    // Its journal is no part of the volume in memory.
    let folder = tempfile::tempdir().unwrap();
    let spool = open_at(&memory, folder.path());
    let (entry, before) = waiting_entry(&spool).await;
    let shutdown = CancellationToken::new();
    let queue = queue(&spool, &shutdown);
    memory.fail_syncs(true);
    let answer = queue.move_to(vec![entry], Some("mail/other".into())).await;
    assert!(matches!(&answer, Err(OrderError::NotDurable(_))), "{answer:?}");
    assert_eq!(queue.moved_to(entry), None);
    assert_eq!(spool.states(entry).unwrap(), [before]);
    shutdown.cancel();
    queue.stopped().await;
}
