//! Volumes that a person declares lost: what waits for them is settled without them, counted and told; nothing that a pod
//! has is given up.

#![allow(clippy::unwrap_used, reason = "a test may end so, its helpers too")]

mod fleet;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fleet::{Fleet, PEER, Pod, Start, http, until};
use postroad_config::Peers;
use postroad_config::admin::{LostSpool, State};
use postroad_mta::handover::{Fault, Step};
use postroad_mta::settings::Settings;
use postroad_spool::Ownership;

const MAIL: u64 = 150;
const ALL: usize = 150;

/// Ends the pod at its first coming to this step.
fn fault(step: Step) -> (Fault, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let fault = move |now: Step| now == step && counted.fetch_add(1, Ordering::SeqCst) == 0;
    (Arc::new(fault), count)
}

async fn with_fault(fleet: &Fleet, name: &str, step: Step) -> (Pod, Arc<AtomicUsize>) {
    let (fault, count) = fault(step);
    let start = Start {
        fault: Some(fault),
        ..Start::default()
    };
    (fleet.start(name, start).await, count)
}

/// The configuration says so.
fn declare(fleet: &Fleet, pod: &Pod, lost: &str) {
    configure(fleet, pod, &[lost]);
}

fn configure(fleet: &Fleet, pod: &Pod, lost: &[&str]) {
    let mut set = fleet.set(pod.address(), Vec::new());
    set.file.peers = Peers {
        lost: lost.iter().map(|spool| (*spool).to_owned()).collect(),
        ..Peers::default()
    };
    pod.live.swap(Settings::new(set).unwrap());
}

fn tags(pod: &Pod) -> Vec<u64> {
    pod.mail().into_iter().map(|(tag, _)| tag).collect()
}

fn figure(pod: &Pod) -> u64 {
    pod.metrics.perhaps_twice.get()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_for_a_source_whose_volume_is_lost_is_delivered_by_its_holder() {
    let fleet = Fleet::new();
    // The target's answer is durable as GIVEN, and the release is never sent.
    let (leaving, died) = with_fault(&fleet, "leaving", Step::Given).await;
    let staying = fleet.start("staying", Start::default()).await;
    for tag in 0..MAIL {
        leaving.accept(tag, 400).await;
    }
    leaving.seal(&[staying.address()]).await;
    until("the source dies", || died.load(Ordering::SeqCst) > 0).await;
    let lost = leaving.spool.uuid().to_string();
    leaving.end().await;
    let held = staying.spool.holds().len();
    assert!(held > 0 && staying.book.queued() == 0);

    declare(&fleet, &staying, &lost);
    until("what was held is delivered", || staying.book.queued() == held).await;
    assert!(staying.spool.holds().is_empty());
    assert_eq!(tags(&staying), (0..held as u64).collect::<Vec<_>>());
    let expected = LostSpool {
        spool: lost.clone(),
        released: held as u64,
        taken_back: 0,
        perhaps_twice: held as u64,
    };
    assert_eq!(staying.handover.lost(), [expected]);
    assert_eq!(figure(&staying), held as u64);
    // Again it says nothing new; and the pod itself can be drained, as nobody is waited for.
    declare(&fleet, &staying, &lost);
    let other = fleet.start("other", Start::default()).await;
    staying.seal(&[other.address()]).await;
    until("the holder is empty", || staying.is_drained()).await;
    assert_eq!(figure(&staying), held as u64);
    assert_eq!(tags(&other).len(), held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_with_a_target_whose_volume_is_lost_goes_to_another() {
    let fleet = Fleet::new();
    let leaving = fleet.start("leaving", Start::default()).await;
    let (first, died) = with_fault(&fleet, "first", Step::Stored).await;
    let second = fleet.start("second", Start::default()).await;
    for tag in 0..MAIL {
        leaving.accept(tag, 400).await;
    }
    leaving.seal(&[first.address()]).await;
    until("the target dies", || died.load(Ordering::SeqCst) > 0).await;
    let lost = first.spool.uuid().to_string();
    first.end().await;
    let standing = leaving.spool.standing().len();
    leaving.seal(&[second.address()]).await;
    let stands = || leaving.spool.standing().len();
    assert!(standing > 0);
    until("only what stands with the first waits", || {
        second.book.queued() == ALL - standing && stands() == standing
    })
    .await;
    let standing = standing as u64;

    let request = format!(r#"{{"spool":"{lost}"}}"#);
    let verb = async |token: String, body: &str| {
        http::api(&fleet, leaving.address(), "POST", "/v1/lost", Some(&token), body).await
    };
    let peer = fleet.token(PEER, "edge-mta", "https://issuer.example");
    assert_eq!(verb(peer, &request).await.0, 403);
    let own = format!(r#"{{"spool":"{}"}}"#, leaving.spool.uuid());
    for wrong in [own.as_str(), r#"{"spool":"2"}"#] {
        assert_eq!(verb(fleet.operator(), wrong).await.0, 400);
    }
    assert_eq!(stands() as u64, standing);
    let (status, text) = verb(fleet.operator(), &request).await;
    assert_eq!(status, 200, "{text}");
    let state: State = serde_json::from_str(&text).unwrap();
    let expected = LostSpool {
        spool: lost,
        released: 0,
        taken_back: standing,
        // It was offered and never given: nobody can have delivered it.
        perhaps_twice: 0,
    };
    assert_eq!(state.lost, [expected]);
    until("the leaving pod is empty", || leaving.is_drained()).await;
    assert_eq!(tags(&second), (0..MAIL).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_returns_hands_over_to_pods_that_the_verb_had_told() {
    const OTHER: &str = "01020304-0506-4708-890a-0b0c0d0e0f10";
    let fleet = Fleet::new();
    let staying = fleet.start("staying", Start::default()).await;
    let back = fleet.start("back", Start::default()).await;
    for tag in 0..MAIL {
        back.accept(tag, 400).await;
    }
    let lost = back.spool.uuid().to_string();
    // The verb is sooner; then the configuration says it, and the verb again.
    staying.handover.declare_lost(&lost).await.unwrap();
    configure(&fleet, &staying, &[&lost, OTHER]);
    until("the configuration is read", || {
        staying.handover.lost().iter().any(|known| known.spool == OTHER)
    })
    .await;
    staying.handover.declare_lost(&lost).await.unwrap();
    back.seal(&[staying.address()]).await;
    until("it is refused", || back.handover.stuck().is_some()).await;
    assert_eq!(staying.book.queued(), 0);
    // Its pod answers: the operator takes both away.
    configure(&fleet, &staying, &[]);
    until("what it has is handed over", || back.is_drained()).await;
    assert_eq!(tags(&staying), (0..MAIL).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_middle_of_a_chain_is_lost_and_both_neighbours_keep_what_they_have() {
    for step in [Step::Offered, Step::Answered, Step::Given, Step::Stored] {
        let fleet = Fleet::new();
        let zero = fleet.start("zero", Start::default()).await;
        let (middle, died) = with_fault(&fleet, "one", step).await;
        let first = fleet.start("two", Start::default()).await;
        for tag in 0..MAIL {
            first.accept(tag, 400).await;
        }
        first.seal(&[middle.address()]).await;
        let gone = || died.load(Ordering::SeqCst) > 0;
        until("the middle has some", || middle.book.queued() > 0 || gone()).await;
        middle.seal(&[zero.address()]).await;
        until("the middle dies", gone).await;
        // What only its volume has goes with it; not what the last one holds already.
        let held = zero.tags(|owner| owner == Ownership::Held);
        let mut only_there = middle.tags(|owner| owner != Ownership::Held);
        only_there.retain(|tag| !held.contains(tag));
        let lost = middle.spool.uuid().to_string();
        middle.end().await;
        first.seal(&[zero.address()]).await;
        declare(&fleet, &zero, &lost);
        declare(&fleet, &first, &lost);
        until("the first is empty", || first.is_drained()).await;
        until("nothing is held for the lost one", || {
            zero.spool.holds().is_empty()
        })
        .await;
        until("what the last one owns is queued", || {
            zero.tags(|owner| owner == Ownership::Owned).len() == zero.book.queued()
        })
        .await;
        let mut arrived = tags(&zero);
        let twice = arrived.len();
        arrived.dedup();
        let twice = (twice - arrived.len()) as u64;
        assert!(
            twice <= figure(&zero) + figure(&first),
            "{step:?}: more than was told"
        );
        arrived.append(&mut only_there);
        arrived.sort_unstable();
        arrived.dedup();
        let missing: Vec<u64> = (0..MAIL).filter(|tag| !arrived.contains(tag)).collect();
        assert!(missing.is_empty(), "{step:?}: {missing:?}");
    }
}
