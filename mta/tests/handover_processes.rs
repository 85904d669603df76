//! Chained drains with whole daemons, each a process that may be killed at any moment: three have mail for a next hop
//! that takes nothing; two is drained into one and zero, and while that runs one is sealed too. Then the next hop opens.

#![allow(clippy::unwrap_used, reason = "a test may end so, its helpers too")]

mod fleet;
mod sink;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fleet::processes::{self, LONG, Process};
use fleet::{Fleet, now};
use postroad_config::admin::State;
use postroad_spool::{Options, Spool};
use sink::{Script, Sink};

/// Messages of daemon zero, one and two at the start.
const MAIL: [u64; 3] = [40, 120, 600];
const ALL: usize = 760;
const SIZE: usize = 1_500;

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

/// What happens while the drains run.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Nothing,
    /// This daemon is killed so long after the second seal, and started again.
    Kill(usize, Duration),
    /// All three, one after the other.
    KillEach(Duration),
    /// One is turned round, and sealed again.
    TurnRound,
}

struct Three {
    fleet: Fleet,
    daemons: [Process; 3],
}

impl Three {
    async fn start(sink: &Sink) -> Self {
        let fleet = Fleet::new();
        let mut daemons = ["zero", "one", "two"].map(|name| Process::new(&fleet, name, sink.address));
        let mut first = 0;
        for (daemon, count) in daemons.iter_mut().zip(MAIL) {
            processes::fill(daemon.directory(), first..first + count, SIZE).await;
            first += count;
            daemon.start();
        }
        for daemon in &daemons {
            daemon.ready(&fleet).await;
        }
        Self { fleet, daemons }
    }

    /// What the operator does at each look: who leaves is sealed (again), with the targets that stay and the others that leave.
    async fn operate(&self, staying: usize) -> [Option<State>; 3] {
        let mut states = [None, None, None];
        for (number, state) in states.iter_mut().enumerate() {
            let daemon = &self.daemons[number];
            let all = self.daemons.iter().map(|one| one.address);
            let others: Vec<_> = all.filter(|other| *other != daemon.address).collect();
            *state = if number < staying {
                daemon.state(&self.fleet).await
            } else {
                daemon.seal(&self.fleet, &others).await
            };
        }
        states
    }

    async fn until(&self, what: &str, staying: usize, holds: impl Fn(&[Option<State>; 3]) -> bool) {
        let end = Instant::now() + LONG;
        loop {
            let states = self.operate(staying).await;
            if holds(&states) {
                return;
            }
            assert!(Instant::now() < end, "in vain: {what}: {states:?}");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    async fn suffer(&mut self, trouble: Trouble) {
        let mut restart = async |number: usize, after: Duration| {
            tokio::time::sleep(after).await;
            self.daemons[number].kill();
            self.daemons[number].start();
            self.daemons[number].ready(&self.fleet).await;
            self.operate(1).await;
        };
        match trouble {
            Trouble::Nothing => {}
            Trouble::Kill(number, after) => restart(number, after).await,
            Trouble::KillEach(after) => {
                for number in [1, 0, 2] {
                    restart(number, after).await;
                }
            }
            Trouble::TurnRound => {
                let end = Instant::now() + LONG;
                let unseal = async || self.daemons[1].call(&self.fleet, "POST", "/v1/unseal", "").await;
                while unseal().await.is_none() {
                    assert!(Instant::now() < end, "it is turned round");
                }
                self.operate(2).await;
            }
        }
    }
}

fn is_empty(state: Option<&State>) -> bool {
    state
        .and_then(|state| state.seal.as_ref())
        .is_some_and(|seal| seal.empty)
}

async fn chain(trouble: Trouble) {
    let (sink, open) = next_hop().await;
    let mut three = Three::start(&sink).await;
    // Two to one alone at first: one must have something to give on.
    let only_one = [three.daemons[1].address];
    three.daemons[2].seal(&three.fleet, &only_one).await.unwrap();
    let queued = |state: Option<&State>| state.map_or(0, |state| state.queue.messages);
    let end = Instant::now() + LONG;
    while queued(three.daemons[1].state(&three.fleet).await.as_ref()) <= MAIL[1] {
        assert!(Instant::now() < end, "one takes what two gives");
    }
    three.operate(1).await;
    three.suffer(trouble).await;
    three
        .until("one and two are empty", 1, |states| {
            is_empty(states[1].as_ref()) && is_empty(states[2].as_ref())
        })
        .await;
    assert!(sink.taken().is_empty(), "nothing was delivered so far");
    open.store(true, Ordering::SeqCst);
    let end = Instant::now() + LONG;
    while sink.taken().len() < ALL {
        let state = three.daemons[0].state(&three.fleet).await;
        let arrived = sink.taken().len();
        assert!(
            Instant::now() < end,
            "{trouble:?}: {arrived} of {ALL} arrived, zero says {state:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Sealed as well, zero says so only once the last outcomes are durable and no source is owed a word.
    three
        .until("nothing is left anywhere", 0, |states| {
            states.iter().all(|state| is_empty(state.as_ref()))
        })
        .await;
    for daemon in &mut three.daemons {
        daemon.kill();
        let (spool, _) = Spool::open(&daemon.directory().join("spool"), &Options::default()).unwrap();
        assert!(spool.entries().is_empty() && spool.holds().is_empty() && spool.standing().is_empty());
    }
    let taken = sink.taken().into_iter().flat_map(|taken| taken.rcpt);
    let mut arrived: Vec<String> = taken.map(|line| sink::address(&line)).collect();
    let mut wanted: Vec<String> = (0..ALL).map(|tag| format!("u{tag}@example.net")).collect();
    arrived.sort_unstable();
    wanted.sort_unstable();
    assert!(arrived == wanted, "{trouble:?}: {} arrived", arrived.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_of_drains_ends_at_zero_and_each_message_arrives_once() {
    chain(Trouble::Nothing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_is_turned_round_in_the_middle_loses_and_doubles_nothing() {
    chain(Trouble::TurnRound).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_whose_daemons_are_killed_loses_and_doubles_nothing() {
    let all = std::env::var_os("POSTROAD_EXHAUSTIVE").is_some();
    // Moments from the first batch to behind the last one, drawn anew in each whole run.
    let mut random = if all { now() | 1 } else { 0x5eed };
    let mut moment = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        Duration::from_millis(random % 400)
    };
    for round in 0..if all { 12 } else { 1 } {
        for victim in 0..3 {
            let after = moment();
            println!("round {round}: daemon {victim} is killed after {after:?}");
            chain(Trouble::Kill(victim, after)).await;
        }
        if all {
            chain(Trouble::KillEach(moment() / 4)).await;
        }
    }
}
