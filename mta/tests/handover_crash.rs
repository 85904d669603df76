//! A pod that dies between any two steps of a hand-over and comes back on its volume: nothing is lost, nothing doubled.

#![allow(clippy::unwrap_used, reason = "a test may end so, its helpers too")]

mod fleet;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fleet::{Fleet, Pod, Start, until};
use postroad_config::Drained;
use postroad_mta::handover::{Fault, Step};

const MAIL: u64 = 150;

/// Ends the pod the `nth` time that it comes to this step. The second value tells whether it has.
fn fault(step: Step, nth: usize) -> (Fault, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let fault = move |now: Step| now == step && counted.fetch_add(1, Ordering::SeqCst) + 1 == nth;
    (Arc::new(fault), count)
}

async fn fill(pod: &Pod) {
    for tag in 0..MAIL {
        pod.accept(tag, if tag % 40 == 0 { 300 << 10 } else { 500 }).await;
    }
}

async fn assert_drained(leaving: &Pod, staying: &Pod) {
    until("the leaving pod is empty", || leaving.is_drained()).await;
    until("the staying pod owns all", || {
        staying.book.queued() == usize::try_from(MAIL).unwrap()
    })
    .await;
    let tags: Vec<u64> = staying.mail().into_iter().map(|(tag, _)| tag).collect();
    assert_eq!(tags, (0..MAIL).collect::<Vec<_>>());
    until("every transfer is confirmed", || staying.spool.holds().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_dies_at_any_step_comes_back_and_takes_the_rest() {
    for (step, nth) in [Step::Received, Step::Stored]
        .into_iter()
        .flat_map(|step| [1, 2, 3, 4].map(|nth| (step, nth)))
    {
        let fleet = Fleet::new();
        let leaving = fleet.start("leaving", Start::default()).await;
        let (fault, count) = fault(step, nth);
        let staying = fleet
            .start(
                "staying",
                Start {
                    fault: Some(fault),
                    ..Start::default()
                },
            )
            .await;
        let address = staying.address();
        fill(&leaving).await;
        leaving.seal(&[address]).await;
        until("the target dies", || count.load(Ordering::SeqCst) >= nth).await;
        staying.end().await;
        let staying = fleet
            .start(
                "staying",
                Start {
                    address: Some(address),
                    ..Start::default()
                },
            )
            .await;
        assert_drained(&leaving, &staying).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_dies_at_any_step_comes_back_and_goes_on_with_the_same_target() {
    let steps = [Step::Offered, Step::Answered, Step::Given];
    for (step, nth) in steps
        .into_iter()
        .flat_map(|step| [1, 2, 3, 4].map(|nth| (step, nth)))
    {
        let fleet = Fleet::new();
        let staying = fleet.start("staying", Start::default()).await;
        let (fault, count) = fault(step, nth);
        let leaving = fleet
            .start(
                "leaving",
                Start {
                    fault: Some(fault),
                    ..Start::default()
                },
            )
            .await;
        fill(&leaving).await;
        leaving.seal(&[staying.address()]).await;
        until("the source dies, or is done", || {
            count.load(Ordering::SeqCst) >= nth || leaving.is_drained()
        })
        .await;
        leaving.end().await;
        let leaving = fleet.start("leaving", Start::default()).await;
        assert!(leaving.spool.seal_state().sealed, "the seal outlives the process");
        leaving.seal(&[staying.address()]).await;
        assert_drained(&leaving, &staying).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_target_gets_nothing_that_stands_offered_to_the_first() {
    let fleet = Fleet::new();
    let leaving = fleet.start("leaving", Start::default()).await;
    let (fault, count) = fault(Step::Stored, 1);
    let first = fleet
        .start(
            "first",
            Start {
                fault: Some(fault),
                ..Start::default()
            },
        )
        .await;
    let address = first.address();
    fill(&leaving).await;
    leaving.seal(&[address]).await;
    until("the first target dies", || count.load(Ordering::SeqCst) >= 1).await;
    first.end().await;
    let offered = leaving.spool.standing().len();
    assert!(offered > 0);
    let second = fleet.start("second", Start::default()).await;
    leaving.seal(&[address, second.address()]).await;
    let all = usize::try_from(MAIL).unwrap();
    until("the second has the rest", || {
        second.book.queued() == all - offered
    })
    .await;
    until("only what stands with the first waits", || {
        leaving.spool.standing().len() == offered
    })
    .await;
    let says = || {
        leaving
            .handover
            .stuck()
            .is_some_and(|stuck| stuck.contains("does not answer"))
    };
    until("it says whom it waits for", says).await;
    let first = fleet
        .start(
            "first",
            Start {
                address: Some(address),
                ..Start::default()
            },
        )
        .await;
    until("the leaving pod is empty", || leaving.is_drained()).await;
    until("all have an owner", || {
        first.book.queued() + second.book.queued() == all
    })
    .await;
    let mut tags: Vec<u64> = [first.mail(), second.mail()]
        .concat()
        .into_iter()
        .map(|(tag, _)| tag)
        .collect();
    tags.sort_unstable();
    assert_eq!(tags, (0..MAIL).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_turned_round_source_took_back_is_dropped_by_its_holder() {
    let fleet = Fleet::new();
    let leaving = fleet.start("leaving", Start::default()).await;
    let (fault, count) = fault(Step::Answered, 1);
    let address = leaving.address();
    fill(&leaving).await;
    leaving.end().await;
    let leaving = fleet
        .start(
            "leaving",
            Start {
                fault: Some(fault),
                address: Some(address),
                ..Start::default()
            },
        )
        .await;
    let staying = fleet
        .start(
            "staying",
            Start {
                ask_after: Some(Duration::from_secs(1)),
                ..Start::default()
            },
        )
        .await;
    leaving.seal(&[staying.address()]).await;
    until("the target holds a batch", || count.load(Ordering::SeqCst) >= 1).await;
    assert!(!staying.spool.holds().is_empty());
    leaving.end().await;
    let leaving = fleet
        .start(
            "leaving",
            Start {
                address: Some(address),
                ..Start::default()
            },
        )
        .await;
    leaving.handover.unseal().await.unwrap();
    until("the source owns all", || {
        leaving.book.queued() == usize::try_from(MAIL).unwrap()
    })
    .await;
    until("the holder asked and dropped", || {
        staying.spool.holds().is_empty()
    })
    .await;
    assert!(staying.mail().is_empty());
    let tags: Vec<u64> = leaving.mail().into_iter().map(|(tag, _)| tag).collect();
    assert_eq!(tags, (0..MAIL).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_record_ends_what_waits_for_a_source_that_is_gone() {
    let fleet = Fleet::new();
    let (fault, count) = fault(Step::Given, 2);
    let leaving = fleet
        .start(
            "leaving",
            Start {
                fault: Some(fault),
                ..Start::default()
            },
        )
        .await;
    let staying = fleet.start("staying", Start::default()).await;
    for tag in 0..10 {
        leaving.accept(tag, 100).await;
    }
    leaving.seal(&[staying.address()]).await;
    // Freed is durable at the source and was never said.
    until("the source has freed all", || count.load(Ordering::SeqCst) >= 2).await;
    let record = Drained {
        spool: leaving.spool.uuid().to_string(),
        seal: leaving.spool.seal_state().number,
    };
    leaving.end().await;
    assert_eq!(staying.spool.holds().len(), 10);
    let set = fleet.set(staying.address(), vec![record]);
    staying
        .live
        .swap(postroad_mta::settings::Settings::new(set).unwrap());
    until("nothing is waited for any more", || {
        staying.spool.holds().is_empty()
    })
    .await;
    assert_eq!(staying.mail().len(), 10, "the mail is ours and stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_never_arrived_at_a_target_that_was_drained_and_went_goes_to_another() {
    let fleet = Fleet::new();
    let (fault, count) = fault(Step::Offered, 1);
    let start = Start {
        fault: Some(fault),
        ..Start::default()
    };
    let leaving = fleet.start("two", start).await;
    let (middle, staying) = (
        fleet.start("one", Start::default()).await,
        fleet.start("zero", Start::default()).await,
    );
    fill(&leaving).await;
    leaving.seal(&[middle.address()]).await;
    until("the offers are durable and were not sent", || {
        count.load(Ordering::SeqCst) >= 1
    })
    .await;
    leaving.end().await;
    // The middle leaves as well, is empty, and goes.
    middle.seal(&[]).await;
    assert!(middle.is_drained());
    let record = Drained {
        spool: middle.spool.uuid().to_string(),
        seal: middle.spool.seal_state().number,
    };
    middle.end().await;
    let start = Start {
        drained: vec![record],
        ..Start::default()
    };
    let leaving = fleet.start("two", start).await;
    assert!(!leaving.spool.standing().is_empty());
    leaving.seal(&[staying.address()]).await;
    assert_drained(&leaving, &staying).await;
}
