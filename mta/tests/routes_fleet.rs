//! What one daemon learns of a provider's quota holds for the other one too, and so does the end of it.

#![allow(clippy::unwrap_used, reason = "a test may end so, its helpers too")]

mod fleet;
mod sink;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use fleet::processes::{self, LONG, Process};
use fleet::{Fleet, http};
use postroad_config::admin::{RouteState, State};
use postroad_config::provider::Provider;
use postroad_config::{ConfigFile, Endpoint, FleetPod};
use postroad_spool::{Options, Spool};
use sink::{Script, Sink};

/// A next hop whose quota is used up until it is not.
async fn provider() -> (Sink, Arc<AtomicBool>) {
    let open = Arc::new(AtomicBool::new(false));
    let asked = open.clone();
    let script = Script {
        end: Box::new(move |_, _| {
            let open = asked.load(Ordering::SeqCst);
            if open {
                "250 Ok 0100"
            } else {
                "454 Throttling failure: Daily message quota exceeded."
            }
            .to_owned()
        }),
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

fn tell(fleet: &Fleet, daemon: &Process, sink: &Sink, members: &[FleetPod]) {
    let mut file: ConfigFile =
        processes::configuration(fleet, daemon.directory(), daemon.address, sink.address);
    file.policies[0].routes[0].provider = Some(Provider::AmazonSes);
    file.peers.fleet = members.to_vec();
    processes::write(&daemon.config, &file);
}

async fn until(fleet: &Fleet, daemon: &Process, what: &str, holds: impl Fn(&State) -> bool) -> State {
    let end = Instant::now() + LONG;
    loop {
        let state = daemon.state(fleet).await;
        if let Some(state) = state.filter(|state| holds(state)) {
            return state;
        }
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn quota(state: &State) -> Option<&RouteState> {
    state.routes.iter().find(|route| route.reason == "Quota")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_that_one_daemon_meets_lets_the_other_rest_and_both_go_on_together() {
    let (sink, open) = provider().await;
    let fleet = Fleet::new();
    let mut daemons = ["one", "two"].map(|name| Process::new(&fleet, name, sink.address));
    processes::fill(daemons[0].directory(), 0..1, 500).await;
    processes::fill(daemons[1].directory(), 1..1, 500).await;
    let members = [member(&daemons[0]), member(&daemons[1])];
    for daemon in &daemons {
        tell(&fleet, daemon, &sink, &members);
    }
    // The second is there first, so that it is told; and never asks the provider itself.
    let [one, two] = &mut daemons;
    two.start();
    two.ready(&fleet).await;
    one.start();
    let learnt = until(&fleet, one, "the first is refused", |state| {
        quota(state).is_some()
    })
    .await;
    let told = until(&fleet, two, "the second is told", |state| quota(state).is_some()).await;
    let (learnt, told) = (quota(&learnt).unwrap(), quota(&told).unwrap());
    assert_eq!(learnt, told, "both say the same");
    let asked = sink.connections();
    // Mail that it has by now waits without a word to the provider, also after a restart.
    two.kill();
    processes::fill(two.directory(), 1..4, 500).await;
    two.start();
    two.ready(&fleet).await;
    let end = Instant::now() + LONG;
    loop {
        let token = fleet.operator();
        let sites = http::attempt(&fleet, two.address, "GET", "/v1/sites", Some(&token), "").await;
        let (_, text) = sites.unwrap();
        let page: postroad_config::admin::SitesPage = serde_json::from_str(&text).unwrap();
        if page.sites.iter().any(|site| site.waiting == 3) {
            break;
        }
        assert!(Instant::now() < end, "its mail waits for the route: {text}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(sink.connections(), asked, "nobody asks meanwhile");
    open.store(true, Ordering::SeqCst);
    // A person has the first try again.
    let (token, all) = (fleet.operator(), r#"{"all": {}}"#);
    let answer = http::attempt(&fleet, one.address, "POST", "/v1/queue/retry", Some(&token), all).await;
    assert_eq!(answer.unwrap().0, 200);
    sink.wait_for(4).await;
    for daemon in [&*one, &*two] {
        until(&fleet, daemon, "nothing rests and nothing waits", |state| {
            state.routes.is_empty() && state.queue.messages == 0
        })
        .await;
    }
}
