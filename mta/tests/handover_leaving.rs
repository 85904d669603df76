//! A pod that the configuration calls leaving takes no mail at all: not between its start and the operator's seal either.

#![allow(clippy::unwrap_used, reason = "a test may end so, its helpers too")]

mod fleet;
mod sink;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fleet::processes::{self, LONG, Process, configuration};
use fleet::{Fleet, Start, until};
use postroad_config::Peers;
use postroad_mta::settings::Settings;
use postroad_spool::{Options, Spool};
use sink::{Script, Sink};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

const MAIL: u64 = 100;

/// Knocks at a port without pause, and keeps the first line of every answer.
struct Knocking {
    lines: Arc<Mutex<Vec<String>>>,
    end: Arc<AtomicBool>,
}

impl Knocking {
    fn at(port: SocketAddr) -> Self {
        let knocking = Self {
            lines: Arc::default(),
            end: Arc::default(),
        };
        for _ in 0..4 {
            let (lines, end) = (knocking.lines.clone(), knocking.end.clone());
            tokio::spawn(async move {
                while !end.load(Ordering::SeqCst) {
                    match greeting(port).await {
                        Some(line) => lines.lock().unwrap().push(line),
                        // Nobody listens yet.
                        None => tokio::time::sleep(Duration::from_millis(1)).await,
                    }
                }
            });
        }
        knocking
    }

    fn heard(&self) -> usize {
        self.lines.lock().unwrap().len()
    }

    fn stop(&self) -> Vec<String> {
        self.end.store(true, Ordering::SeqCst);
        std::mem::take(&mut *self.lines.lock().unwrap())
    }
}

async fn greeting(port: SocketAddr) -> Option<String> {
    let stream = TcpStream::connect(port).await.ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await.ok()?;
    (!line.is_empty()).then_some(line)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spool_without_a_serving_pod_is_handed_over_and_nothing_is_taken_meanwhile() {
    let fleet = Fleet::new();
    let later = Script {
        rcpt: Box::new(|_, _| "450 4.2.0 later".to_owned()),
        ..Script::default()
    };
    let sink = Sink::start(later).await;
    let mut staying = Process::new(&fleet, "staying", sink.address);
    staying.start();
    staying.ready(&fleet).await;
    let mut orphan = Process::new(&fleet, "orphan", sink.address);
    processes::fill(orphan.directory(), 0..MAIL, 500).await;
    let spool = {
        let directory = orphan.directory().join("spool");
        let (spool, _) = Spool::open(&directory, &Options::default()).unwrap();
        assert!(!spool.seal_state().sealed);
        spool.uuid().to_string()
    };
    let port = processes::address(18_025);
    let mut file = configuration(&fleet, orphan.directory(), orphan.address, sink.address);
    let ports = format!(
        "format: 1\nhostname: mail.example.com\nspool: {{directory: /unused}}\n\
         ports:\n  - {{name: smtp, address: '{port}', role: Transfer, tls: Disabled}}\n"
    );
    let set = postroad_config::assemble(&ports, &std::collections::BTreeMap::new()).unwrap();
    file.ports = set.file.ports;
    file.peers.sealed = vec!["another-pod-1".into(), spool];
    processes::write(&orphan.config, &file);

    let knocking = Knocking::at(port);
    orphan.start();
    let state = orphan.ready(&fleet).await;
    let seal = state.seal.expect("sealed before anybody could say so");
    assert!(!state.accepting && !seal.empty && seal.number == 1);
    let end = Instant::now() + LONG;
    loop {
        let state = orphan.seal(&fleet, &[staying.address]).await.unwrap();
        if state.seal.unwrap().empty {
            break;
        }
        assert!(Instant::now() < end, "it ends empty");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(staying.state(&fleet).await.unwrap().queue.messages, MAIL);
    // A restart in the middle of its leaving changes nothing.
    orphan.kill();
    orphan.start();
    assert!(orphan.ready(&fleet).await.seal.unwrap().empty);
    // The ports open a moment after the admin endpoint.
    let end = Instant::now() + LONG;
    let first = loop {
        if let Some(line) = greeting(port).await {
            break line;
        }
        assert!(Instant::now() < end, "it listens again");
    };
    until("it was knocked at", || knocking.heard() > 10).await;
    let lines = knocking.stop();
    for line in lines.iter().chain([&first]) {
        assert!(line.starts_with("421 "), "{line}");
    }

    // Wanted again: it is no longer named, and unsealed.
    file.peers.sealed.clear();
    processes::write(&orphan.config, &file);
    let serves = async || {
        orphan.call(&fleet, "POST", "/v1/unseal", "").await;
        greeting(port).await.is_some_and(|line| line.starts_with("220 "))
    };
    let end = Instant::now() + LONG;
    while !serves().await {
        assert!(Instant::now() < end, "it serves again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_runs_seals_itself_when_the_configuration_says_that_it_leaves() {
    let fleet = Fleet::new();
    let pod = fleet.start("pod", Start::default()).await;
    pod.accept(1, 100).await;
    let sealed = pod.handover.sealed();
    let name = |name: String| {
        let mut set = fleet.set(pod.address(), Vec::new());
        set.file.peers = Peers {
            sealed: vec![name],
            ..Peers::default()
        };
        pod.live.swap(Settings::new(set).unwrap());
    };
    name(pod.spool.uuid().to_string());
    until("it is sealed", || *sealed.borrow()).await;
    assert_eq!(pod.spool.seal_state().number, 1);
    // The operator names the targets, and reloads do not take them away.
    let other = fleet.start("other", Start::default()).await;
    pod.seal(&[other.address()]).await;
    name(pod.spool.uuid().to_string());
    until("it is drained", || pod.is_drained()).await;
    assert_eq!((pod.spool.seal_state().number, other.book.queued()), (1, 1));
}
