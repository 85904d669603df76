//! Two whole daemons: one is sealed over its admin API while its next hop defers everything, the other delivers.

#![allow(clippy::unwrap_used, reason = "a test may end so, its helpers too")]

mod fleet;
mod sink;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fleet::{Fleet, http, processes};
use postroad_config::admin::State;
use postroad_mta::daemon::Daemon;
use postroad_mta::lifecycle::Patience;
use postroad_spool::Summary;
use sink::{Script, Sink, eventually};

const MAIL: u64 = 60;
const AT_ONCE: Patience = Patience {
    leave: Duration::ZERO,
    sessions: Duration::ZERO,
};

/// A daemon's configuration and the mail that an earlier run of it accepted.
fn configure(fleet: &Fleet, name: &str, next_hop: SocketAddr) -> PathBuf {
    let directory = fleet.directory.path().join(name);
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("base.yaml");
    let file = processes::configuration(fleet, &directory, "127.0.0.1:0".parse().unwrap(), next_hop);
    processes::write(&path, &file);
    path
}

async fn call(fleet: &Fleet, daemon: &Daemon, method: &str, path: &str, body: &str) -> State {
    let address = daemon.admin().api.unwrap();
    let (status, text) = http::api(fleet, address, method, path, Some(&fleet.operator()), body).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn attempts(daemon: &Daemon, entry: &Summary) -> u32 {
    let message = daemon.handles().spool.read(entry.id);
    message.map_or(0, |message| message.item.recipients[0].attempts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_daemon_hands_over_in_mid_delivery_and_each_message_arrives_once() {
    let fleet = Fleet::new();
    let open = Arc::new(AtomicBool::new(false));
    let asked = open.clone();
    let next_hop = Sink::start(Script {
        rcpt: Box::new(move |_, _| {
            let reply = if asked.load(Ordering::SeqCst) {
                "250 2.1.5 ok"
            } else {
                "450 4.2.0 later"
            };
            reply.to_owned()
        }),
        ..Script::default()
    })
    .await;
    let (two, one) = (
        configure(&fleet, "two", next_hop.address),
        configure(&fleet, "one", next_hop.address),
    );
    processes::fill(two.parent().unwrap(), 0..MAIL, 60).await;
    let (leaving, staying) = (
        Daemon::start(&two).await.unwrap(),
        Daemon::start(&one).await.unwrap(),
    );
    let all = usize::try_from(MAIL).unwrap();
    let tried = |daemon: &Daemon| {
        let entries = daemon.handles().spool.entries();
        entries.len() == all && entries.iter().all(|entry| attempts(daemon, entry) > 0)
    };
    eventually("each was tried", || tried(&leaving)).await;

    let target = staying.admin().api.unwrap();
    let request = format!(r#"{{"targets":["{target}"]}}"#);
    let mut state = call(&fleet, &leaving, "POST", "/v1/seal", &request).await;
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while !state.seal.as_ref().unwrap().empty {
        assert!(std::time::Instant::now() < end, "it drains: {state:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        state = call(&fleet, &leaving, "GET", "/v1/state", "").await;
    }
    assert!(!state.accepting);
    assert_eq!((state.queue.messages, state.seal.unwrap().remaining), (0, 0));
    assert!(tried(&staying), "attempts are kept");
    assert!(next_hop.taken().is_empty());

    open.store(true, Ordering::SeqCst);
    let mut arrived: Vec<String> = next_hop
        .wait_for(all)
        .await
        .into_iter()
        .flat_map(|taken| taken.rcpt)
        .collect();
    eventually("the staying daemon has nothing left", || {
        staying.handles().spool.entries().is_empty()
    })
    .await;
    arrived.sort_unstable();
    let mut wanted: Vec<String> = (0..MAIL)
        .map(|tag| format!("RCPT TO:<u{tag}@example.net>"))
        .collect();
    wanted.sort_unstable();
    assert_eq!(arrived, wanted);
    leaving.stop(AT_ONCE).await;
    staying.stop(AT_ONCE).await;
    assert_eq!(next_hop.taken().len(), all, "nothing comes twice");
}

/// Another format to write, as the operator renders it; waits until the daemon says that it writes it.
async fn turn(fleet: &Fleet, daemon: &Daemon, config: &std::path::Path, format: Option<u32>) -> State {
    let text = std::fs::read_to_string(config).unwrap();
    let set = postroad_config::assemble(&text, &std::collections::BTreeMap::new()).unwrap();
    let mut file = set.file;
    file.generation += 1;
    file.spool.write_format = format;
    let next = config.with_file_name("next.yaml");
    std::fs::write(&next, postroad_config::render(&file).unwrap()).unwrap();
    std::fs::rename(&next, config).unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let state = call(fleet, daemon, "GET", "/v1/state", "").await;
        let wanted = format.unwrap_or(postroad_config::OLDEST_SPOOL_FORMAT);
        if state.spool_format.writes == wanted && state.spool_format.on_disk == wanted {
            return state;
        }
        assert!(std::time::Instant::now() < end, "it follows: {state:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_format_of_the_spool_follows_the_configuration_without_a_restart() {
    let fleet = Fleet::new();
    let next_hop = Sink::start(Script::default()).await;
    let config = configure(&fleet, "one", next_hop.address);
    let daemon = Daemon::start(&config).await.unwrap();
    let state = call(&fleet, &daemon, "GET", "/v1/state", "").await;
    assert_eq!(
        (
            state.spool_format.reads,
            state.spool_format.writes,
            state.spool_format.on_disk
        ),
        (2, 1, 1),
        "the older one until something else is said"
    );
    assert!(!daemon.handles().spool.keeps_extensions());
    let newer = turn(&fleet, &daemon, &config, Some(2)).await;
    assert!(daemon.handles().spool.keeps_extensions());
    let older = turn(&fleet, &daemon, &config, None).await;
    assert!(!daemon.handles().spool.keeps_extensions());
    assert_eq!(newer.boot_id, older.boot_id, "the same process");
    daemon.stop(AT_ONCE).await;
}

#[test]
fn the_configuration_and_the_spool_name_the_same_formats() {
    assert_eq!(
        (
            postroad_config::OLDEST_SPOOL_FORMAT,
            postroad_config::NEWEST_SPOOL_FORMAT
        ),
        (postroad_spool::OLDEST_FORMAT, postroad_spool::NEWEST_FORMAT)
    );
}
