//! Pods of one fleet know a greylist tuple and a client's count once, and give them on when the fleet changes.

#![allow(clippy::unwrap_used, reason = "a test may end so, its helpers too")]

mod fleet;

use std::time::{Duration, Instant};

use fleet::{Fleet, Pod, Start};
use postroad_config::{Endpoint, FleetPod};
use postroad_mta::access::Whose;
use postroad_mta::access::greylist::{Key, Tuple};
use postroad_mta::access::rates::Counted;
use postroad_mta::deliver::Turns as _;
use postroad_mta::settings::Settings;

const ACCESS: &str = "{greylisting: {delay: 1s}, rates: {client: {messages: [{count: 5, per: 1d}]}}}";
const TUPLES: u8 = 30;

/// Tells each of the first pods, and the last of them too where it leaves, that these are the fleet.
fn tell(fleet: &Fleet, pods: &[&Pod], members: &[&Pod]) {
    for pod in pods {
        let mut set = fleet.set(pod.address(), vec![]);
        set.file.access = serde_saphyr::from_str(ACCESS).unwrap();
        let member = |member: &&Pod| FleetPod {
            name: member.spool.uuid().to_string(),
            admin: Endpoint {
                host: member.address().ip().to_string(),
                port: member.address().port(),
            },
        };
        set.file.peers.fleet = members.iter().map(member).collect();
        pod.live.swap(Settings::new(set).unwrap());
    }
}

fn tuple(number: u8) -> Tuple {
    Tuple::new([192, 0, number, 1].into(), "ann@else.example", "bob@example.com")
}

fn known(pod: &Pod) -> u32 {
    let text = pod.metrics.text().unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("postroad_mta_greylist_tuples "));
    line.unwrap().parse().unwrap()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_mins(1);
    while !holds().await {
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_pods_delay_a_sender_once_and_one_that_leaves_gives_its_tuples_on() {
    let fleet = Fleet::new();
    let start = async |name: &str| fleet.start(name, Start::default()).await;
    let (one, two, three) = (start("one").await, start("two").await, start("three").await);
    let all = [&one, &two, &three];
    tell(&fleet, &all, &all);
    let pod = |number: u8| all[usize::from(number) % 3];
    for number in 0..TUPLES {
        assert!(pod(number).guard.waits(tuple(number)).await > 0);
    }
    let counts = all.map(known);
    assert_eq!(
        counts.iter().sum::<u32>(),
        u32::from(TUPLES),
        "each is known once: {counts:?}"
    );
    assert!(
        counts.iter().all(|count| *count > 0),
        "each pod has its share: {counts:?}"
    );
    // Another pod than that of the first try knows that the delay is over.
    for number in 0..TUPLES {
        until("it passes", async || {
            pod(number + 1).guard.waits(tuple(number)).await == 0
        })
        .await;
        pod(number + 2).guard.passed(vec![tuple(number)]);
    }
    let counts = all.map(known);
    assert_eq!(counts.iter().sum::<u32>(), u32::from(TUPLES), "{counts:?}");
    tell(&fleet, &all, &[&one, &two]);
    until("the third has given all away", async || known(&three) == 0).await;
    assert_eq!(known(&one) + known(&two), u32::from(TUPLES));
    three.end().await;
    for number in 0..TUPLES {
        for pod in [&one, &two] {
            assert_eq!(pod.guard.waits(tuple(number)).await, 0, "it passed before");
        }
    }
    one.end().await;
    two.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_pod_gives_its_tuples_on_before_anybody_tells_it_of_another_fleet() {
    let fleet = Fleet::new();
    let start = async |name: &str| fleet.start(name, Start::default()).await;
    let (one, two) = (start("one").await, start("two").await);
    tell(&fleet, &[&one, &two], &[&one, &two]);
    for number in 0..TUPLES {
        assert!(one.guard.waits(tuple(number)).await > 0);
    }
    assert!(known(&one) > 0 && one.guard.is_given(), "it stays");
    one.seal(&[]).await;
    until("all is given", async || one.guard.is_given()).await;
    one.end().await;
    assert_eq!(known(&two), u32::from(TUPLES));
    two.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_counted_once_for_all_pods_and_goes_on_where_its_pod_is_away() {
    let fleet = Fleet::new();
    let start = async |name: &str| fleet.start(name, Start::default()).await;
    let (one, two) = (start("one").await, start("two").await);
    tell(&fleet, &[&one, &two], &[&one, &two]);
    let keys: Vec<Counted> = (0..20)
        .map(|number: u8| Key::of(&["client", &number.to_string()]))
        .map(|of| Counted { of, site: of })
        .collect();
    for key in &keys {
        let mut taken = 0;
        for _ in 0..4 {
            for pod in [&one, &two] {
                taken += u8::from(pod.guard.count(*key, Whose::Client, true).await.is_ok());
            }
        }
        assert_eq!(taken, 5);
    }
    two.end().await;
    let mut refused = 0;
    for key in &keys {
        refused += u8::from(one.guard.count(*key, Whose::Client, true).await.is_err());
    }
    assert!(
        (1..20).contains(&refused),
        "{refused}: those of the pod that is left, and no others"
    );
    one.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_pod_knows_outlives_it() {
    let fleet = Fleet::new();
    let pod = fleet.start("one", Start::default()).await;
    tell(&fleet, &[&pod], &[]);
    for number in 0..TUPLES {
        assert!(pod.guard.waits(tuple(number)).await > 0);
    }
    pod.end().await;
    let pod = fleet.start("one", Start::default()).await;
    assert_eq!(known(&pod), u32::from(TUPLES));
    pod.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_pods_as_may_have_a_turn_at_a_route_and_none_waits_for_one_that_is_away() {
    let fleet = Fleet::new();
    let start = async |name: &str| fleet.start(name, Start::default()).await;
    let (one, two, three) = (start("one").await, start("two").await, start("three").await);
    let all = [&one, &two, &three];
    tell(&fleet, &all, &all);
    let routes: Vec<String> = (0..12).map(|number| format!("mail/p#{number}")).collect();
    for (number, route) in routes.iter().enumerate() {
        let most = u32::try_from(number % 3).unwrap() + 1;
        let mut begun = 0;
        for pod in all {
            let wait = pod.guard.wait_for(route, most).await;
            begun += u32::from(wait.is_none());
            // Whoever has a turn has it for more than one message.
            assert_eq!(pod.guard.wait_for(route, most).await.is_none(), wait.is_none());
        }
        assert_eq!(begun, most, "{route}");
    }
    three.end().await;
    let mut waits = 0;
    for number in 0..40 {
        let route = format!("other/p#{number}");
        assert_eq!(one.guard.wait_for(&route, 2).await, None, "two of three may");
        for pod in [&one, &two] {
            waits += u32::from(pod.guard.wait_for(&format!("alone/{number}"), 1).await.is_some());
        }
    }
    // The first always may; the second where the owner is away.
    assert!((1..40).contains(&waits), "{waits} of forty");
    one.end().await;
    two.end().await;
}
