//! Verdicts whose notice cannot be queued: the notice is tried again, the next hop is not asked a second time.

#![allow(clippy::unwrap_used, reason = "tests and their parts")]

mod deliver_support;
mod sink;

use deliver_support::{Bench, SOON, Setup, envelope, message, to_hosts};
use postroad_mta::queue::owed;
use postroad_spool::{EntryId, Spool};
use sink::{Script, Sink, eventually};

/// A next hop that refuses those whose name begins with `no` and reports nothing itself.
async fn hop() -> Sink {
    Sink::start(Script {
        extensions: vec!["PIPELINING"],
        rcpt: Box::new(|address, _| match address {
            refused if refused.starts_with("no") => "550 5.1.1 nobody".to_owned(),
            _ => "250 2.1.5 ok".to_owned(),
        }),
        ..Script::default()
    })
    .await
}

fn setup(sink: &Sink, more: &str) -> Setup {
    Setup {
        policies: format!("{more}{}", to_hosts(&[sink.address], "Disabled", SOON)),
        ..Setup::default()
    }
}

/// More than the notices that one sender gets at once.
const MANY: usize = 40;

async fn submit_many(bench: &Bench) {
    for number in 0..MANY {
        let to = format!("no{number}@to.example");
        bench
            .submit(envelope("a@from.example", &[&to]), message("flood"))
            .await;
    }
}

fn all(spool: &Spool) -> Vec<EntryId> {
    spool.ids_behind(None, usize::MAX)
}

fn is_owed(spool: &Spool, entry: EntryId) -> bool {
    let states = spool.states(entry);
    states.is_some_and(|states| states.iter().all(owed::is_owed))
}

fn assert_asked_once(sink: &Sink) {
    let mut asked = sink.asked();
    asked.retain(|address| address.starts_with("no"));
    let count = asked.len();
    asked.sort();
    asked.dedup();
    assert_eq!((asked.len(), count), (MANY, MANY));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_whose_notice_has_to_wait_is_final_also_after_a_restart() {
    let sink = hop().await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), setup(&sink, ""));
    submit_many(&bench).await;
    eventually("what is left waits for its notice", || {
        let all = all(&bench.spool);
        sink.asked().iter().filter(|one| one.starts_with("no")).count() >= MANY
            && all.iter().all(|entry| is_owed(&bench.spool, *entry))
    })
    .await;
    assert!(all(&bench.spool).len() >= 5, "more notices than are sent at once");
    assert_eq!(bench.figure("deliveries_total{outcome=\"Failed\"}"), MANY as u64);
    bench.stop().await;
    let bench = Bench::start(dir.path(), setup(&sink, ""));
    bench.empty().await;
    assert_asked_once(&sink);
    let notices = sink.taken();
    assert_eq!(notices.len(), MANY);
    for line in [
        "Action: failed",
        "Status: 5.1.1",
        "Diagnostic-Code: smtp; 550 5.1.1 nobody",
    ] {
        assert!(
            notices
                .iter()
                .all(|notice| notice.text().lines().any(|found| found == line)),
            "{line}"
        );
    }
    assert_eq!(
        bench.figure("deliveries_total{outcome=\"Failed\"}"),
        0,
        "it was counted when it was known"
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_relay_gets_all_notices_at_once() {
    let sink = hop().await;
    let dir = tempfile::tempdir().unwrap();
    // `envelope` says that it came from 192.0.2.1.
    let bench = Bench::start(dir.path(), setup(&sink, "relayFrom: [192.0.2.0/24]\n"));
    submit_many(&bench).await;
    bench.empty().await;
    assert_asked_once(&sink);
    assert_eq!(sink.taken().len(), MANY);
    bench.stop().await;
}
