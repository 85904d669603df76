//! Verdicts whose notice cannot be queued: the notice is tried again, the next hop is not asked a second time.

#![allow(clippy::unwrap_used, reason = "tests and their parts")]

mod deliver_support;
mod sink;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use deliver_support::{Bench, SOON, Setup, envelope, message, store, to_hosts};
use postroad_mta::queue::owed;
use postroad_spool::io::memory::Memory;
use postroad_spool::{EntryId, Envelope, Notify, Options, Spool};
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
    eventually("each is counted", || {
        bench.figure("deliveries_total{outcome=\"Failed\"}") == MANY as u64
    })
    .await;
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

#[tokio::test(flavor = "multi_thread")]
async fn notices_of_success_expansion_and_failure_outlast_a_full_spool() {
    let sink = hop().await;
    let options = Options {
        segment_size: Some(64 << 10),
        high_water_percent: 99,
        ..Options::default()
    };
    let volume = Memory::new(4 << 20);
    let (spool, _) = Spool::open_on(Arc::new(volume.clone()), Path::new("/spool"), &options).unwrap();
    let to = |to: &str| envelope("a@from.example", &[to]);
    let mut asked: Envelope = to("yes@to.example");
    asked.recipients[0].notify = Notify::SUCCESS;
    let delivered = store(&spool, asked, message("yes")).await;
    let refused = store(&spool, to("no@to.example"), message("no")).await;
    let mut team = envelope("a@from.example", &["one@to.example", "two@to.example"]);
    for recipient in &mut team.recipients {
        recipient.original = Some("team@to.example".to_owned());
        recipient.notify = Notify::SUCCESS;
    }
    let expanded = store(&spool, team, message("team")).await;
    volume.refuse_writes(true);
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::on(spool.clone(), dir.path(), setup(&sink, ""));
    eventually("both verdicts are known and not told", || {
        let states = spool.states(expanded);
        let is_expanded = states.is_some_and(|states| owed::is_expansion_owed(&states[0]));
        is_owed(&spool, delivered) && is_owed(&spool, refused) && is_expanded
    })
    .await;
    assert_eq!(sink.taken().len(), 2);
    bench.stop().await;
    volume.refuse_writes(false);
    let room = async {
        loop {
            let mut incoming = spool.begin();
            let written = incoming.write(&[b'x'; 10_000]).is_ok();
            let entry = incoming.commit(to("b@to.example"), Vec::new()).await;
            if written && entry.is_ok_and(|entry| spool.finish(entry).is_ok()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(sink::LONGEST_WAIT, room).await.unwrap();
    let bench = Bench::on(spool.clone(), dir.path(), setup(&sink, ""));
    bench.empty().await;
    let mut asked = sink.asked();
    asked.sort();
    let notice = "a@from.example";
    let to = [
        "no@to.example",
        "one@to.example",
        "two@to.example",
        "yes@to.example",
    ];
    assert_eq!(asked, [&[notice; 3][..], &to].concat());
    let texts: Vec<String> = sink.taken().iter().map(sink::Taken::text).collect();
    for action in ["Action: relayed", "Action: expanded", "Action: failed"] {
        let count = texts.iter().filter(|text| text.contains(action)).count();
        assert_eq!(count, 1, "{action}");
    }
    bench.stop().await;
}
