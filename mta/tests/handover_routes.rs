//! Mail of a route that belongs to fewer pods than there are goes to these while all pods serve, and nothing is lost or doubled when
//! one of them dies between any two steps, or is killed.

#![allow(clippy::unwrap_used, reason = "a test may end so, its helpers too")]

mod fleet;
mod sink;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fleet::processes::{self, LONG, Process};
use fleet::{Fleet, Pod, Start, until};
use postroad_config::{ConfigFile, Endpoint, FleetPod};
use postroad_mta::deliver::Turns as _;
use postroad_mta::handover::{Fault, Step};
use postroad_mta::settings::Settings;
use postroad_spool::{EntryId, Options, Ownership, Spool};
use sink::{Script, Sink};

const MAIL: u64 = 60;
const SIZE: usize = 700;

/// Tells the pods that they are the fleet.
fn tell(fleet: &Fleet, pods: &[&Pod]) {
    for pod in pods {
        let mut set = fleet.set(pod.address(), vec![]);
        let member = |member: &&Pod| FleetPod {
            name: member.spool.uuid().to_string(),
            admin: Endpoint {
                host: member.address().ip().to_string(),
                port: member.address().port(),
            },
        };
        set.file.peers.fleet = pods.iter().map(member).collect();
        pod.live.swap(Settings::new(set).unwrap());
    }
}

async fn fill(pod: &Pod, tags: std::ops::Range<u64>) {
    for tag in tags {
        pod.accept(tag, if tag % 20 == 0 { 300 << 10 } else { SIZE })
            .await;
    }
}

/// Everything that the pod owns is due, as the queue would find. True: some of it goes to another pod.
fn is_due(pod: &Pod, route: &str) -> bool {
    let entries = pod.spool.entries().into_iter();
    let owned = entries.filter(|entry| entry.ownership == Ownership::Owned);
    let wanted = owned.map(|entry| pod.guard.moves(route, 1, entry.id));
    wanted.fold(false, |any, one| any | one)
}

/// A route that belongs to this pod, of those from this number on.
fn route_of(pod: &Pod, from: usize) -> String {
    let mut routes = (from..).map(|number| format!("mail/p{number}#0"));
    routes
        .find(|route| !pod.guard.moves(route, 1, EntryId::from_u64(0)))
        .unwrap()
}

/// Ends the pod the `nth` time that it comes to this step. The second value tells how often it has.
fn fault(step: Step, nth: usize) -> (Fault, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let fault = move |now: Step| now == step && counted.fetch_add(1, Ordering::SeqCst) + 1 == nth;
    (Arc::new(fault), count)
}

fn tags(pod: &Pod) -> Vec<u64> {
    pod.mail().into_iter().map(|(tag, _)| tag).collect()
}

async fn assert_gone(from: &Pod, to: &Pod, all: u64) {
    until("the owner has all", || {
        to.book.queued() == usize::try_from(all).unwrap()
    })
    .await;
    assert_eq!(tags(to), (0..all).collect::<Vec<_>>());
    until("every transfer is confirmed", || {
        to.spool.holds().is_empty() && from.spool.standing().is_empty()
    })
    .await;
    assert!(tags(from).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_of_a_route_go_to_the_pod_that_it_belongs_to_while_all_serve() {
    let fleet = Fleet::new();
    let start = async |name: &str| fleet.start(name, Start::default()).await;
    let (one, two, three) = (start("one").await, start("two").await, start("three").await);
    let all = [&one, &two, &three];
    tell(&fleet, &all);
    for (pod, first) in all.iter().zip([0, MAIL, 2 * MAIL]) {
        fill(pod, first..first + MAIL).await;
    }
    let route = route_of(&two, 0);
    assert!(!is_due(&two, &route), "its own stays");
    assert!(is_due(&one, &route) && is_due(&three, &route));
    until("the owner has all", || two.book.queued() == 180).await;
    assert_gone(&one, &two, 3 * MAIL).await;
    assert_gone(&three, &two, 3 * MAIL).await;
    assert!(all.iter().all(|pod| !pod.spool.seal_state().sealed));
    // They take mail, and it goes again.
    fill(&one, 3 * MAIL..3 * MAIL + 1).await;
    assert!(is_due(&one, &route));
    assert_gone(&one, &two, 3 * MAIL + 1).await;
    // Afterwards one leaves for good: what it gave before is not taken for something else.
    two.seal(&[one.address()]).await;
    until("the sealed pod is empty", || two.is_drained()).await;
    assert_eq!(tags(&one), (0..=3 * MAIL).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_pods_of_a_route_are_away_or_full_its_entries_are_tried_here() {
    let fleet = Fleet::new();
    let source = fleet.start("source", Start::default()).await;
    let owner = fleet.start("owner", Start::default()).await;
    tell(&fleet, &[&source, &owner]);
    fill(&source, 0..3).await;
    let (sealed, away) = (route_of(&owner, 0), route_of(&owner, 1_000));
    owner.seal(&[]).await;
    assert!(is_due(&source, &sealed));
    until("a sealed pod takes none", || !is_due(&source, &sealed)).await;
    owner.end().await;
    assert!(is_due(&source, &away));
    until("nobody is there to take them", || !is_due(&source, &away)).await;
    assert_eq!(tags(&source), [0, 1, 2], "all are here, and queued");
    source.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_dies_at_any_step_comes_back_and_nothing_is_lost_or_doubled() {
    let of_source = [Step::Offered, Step::Answered, Step::Given].map(|step| (step, true));
    let of_owner = [Step::Received, Step::Stored].map(|step| (step, false));
    for (step, at_source) in of_source.into_iter().chain(of_owner) {
        for nth in [1, 2] {
            let fleet = Fleet::new();
            let (fault, count) = fault(step, nth);
            let (mut faults, fault) = ([None, None], Some(fault));
            faults[usize::from(!at_source)] = fault;
            let [of_source, of_owner] = faults;
            let start = |fault, address| Start {
                fault,
                address,
                ..Start::default()
            };
            let source = fleet.start("source", start(of_source, None)).await;
            let owner = fleet.start("owner", start(of_owner, None)).await;
            tell(&fleet, &[&source, &owner]);
            fill(&source, 0..MAIL).await;
            let route = route_of(&owner, 0);
            is_due(&source, &route);
            until("one dies, or all went", || {
                count.load(Ordering::SeqCst) >= nth || owner.book.queued() == usize::try_from(MAIL).unwrap()
            })
            .await;
            // Either of them may be the one; the other one waits meanwhile.
            let (source, owner) = if at_source {
                let address = source.address();
                source.end().await;
                (fleet.start("source", start(None, Some(address))).await, owner)
            } else {
                let address = owner.address();
                owner.end().await;
                (source, fleet.start("owner", start(None, Some(address))).await)
            };
            tell(&fleet, &[&source, &owner]);
            // A route that nothing went wrong with, so that nobody waits before trying it again.
            let again = route_of(&owner, 1_000);
            until("nothing stands between them", || {
                source.spool.standing().is_empty()
            })
            .await;
            until("all are here or there", || {
                is_due(&source, &again);
                owner.book.queued() == usize::try_from(MAIL).unwrap()
            })
            .await;
            assert_gone(&source, &owner, MAIL).await;
            source.end().await;
            owner.end().await;
        }
    }
}

/// A next hop that takes nothing before it is opened.
async fn next_hop() -> (Sink, Arc<AtomicBool>) {
    let open = Arc::new(AtomicBool::new(false));
    let asked = open.clone();
    let reply = move |_: &str, _: usize| {
        let open = asked.load(Ordering::SeqCst);
        if open { "250 2.1.5 ok" } else { "450 4.2.0 later" }.to_owned()
    };
    let script = Script {
        rcpt: Box::new(reply),
        ..Script::default()
    };
    (Sink::start(script).await, open)
}

fn member(daemon: &Process) -> FleetPod {
    let (spool, _) = Spool::open(&daemon.directory().join("spool"), &Options::default()).unwrap();
    FleetPod {
        name: spool.uuid().to_string(),
        admin: Endpoint {
            host: daemon.address.ip().to_string(),
            port: daemon.address.port(),
        },
    }
}

/// Three daemons with mail, one of which the route belongs to. `killed`: these are killed in the middle, and started again.
async fn daemons(killed: &[usize]) {
    let (sink, open) = next_hop().await;
    let fleet = Fleet::new();
    let mut daemons = ["zero", "one", "two"].map(|name| Process::new(&fleet, name, sink.address));
    for (number, daemon) in (0_u64..).zip(&daemons) {
        processes::fill(daemon.directory(), number * 100..number * 100 + 100, 500).await;
    }
    let members = [&daemons[0], &daemons[1], &daemons[2]].map(member);
    for daemon in &mut daemons {
        let mut file: ConfigFile =
            processes::configuration(&fleet, daemon.directory(), daemon.address, sink.address);
        file.peers.fleet = members.to_vec();
        file.policies[0].routes[0].limits.connections = Some(1);
        file.policies[0].routes[0].limits.pods = Some(1);
        processes::write(&daemon.config, &file);
        daemon.start();
    }
    for daemon in &daemons {
        daemon.ready(&fleet).await;
    }
    for number in killed {
        tokio::time::sleep(Duration::from_millis(150)).await;
        daemons[*number].kill();
        daemons[*number].start();
    }
    let end = Instant::now() + LONG;
    loop {
        let mut waiting = Vec::new();
        for daemon in &daemons {
            waiting.push(daemon.state(&fleet).await.map(|state| state.queue.messages));
        }
        let mut sorted = waiting.clone();
        sorted.sort_unstable();
        if sorted == [Some(0), Some(0), Some(300)] {
            break;
        }
        assert!(Instant::now() < end, "never: one has all, and not {waiting:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    open.store(true, Ordering::SeqCst);
    let mut got: Vec<String> = sink
        .wait_for(300)
        .await
        .iter()
        .flat_map(|taken| taken.rcpt.iter().map(|line| sink::address(line)))
        .collect();
    got.sort_unstable();
    let mut expected: Vec<String> = (0..300).map(|tag| format!("u{tag}@example.net")).collect();
    expected.sort_unstable();
    assert_eq!(got, expected, "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_give_the_mail_of_a_route_to_the_one_that_may_use_it() {
    daemons(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_that_are_killed_meanwhile_lose_and_double_nothing() {
    daemons(&[0, 1, 2, 1, 0]).await;
}
