//! A volume that is full of mail whose time is over empties by itself. Each message ends with a notice to its sender, and the
//! notice needs room before its message gives any.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test file")]

mod deliver_support;
mod sink;

use std::collections::BTreeSet;
use std::sync::Arc;

use deliver_support::{Bench, Setup, envelope, options, to_hosts};
use postroad_spool::io::memory::Memory;
use postroad_spool::{CommitError, Options, Spool};
use sink::{Script, Sink};

/// Segments of a small volume.
const SEGMENTS: u64 = 12;
/// In milliseconds.
const DAY: u64 = 86_400_000;
/// More messages than fit on it.
const MANY: usize = 100_000;
/// Later than any of these tests ends: what is not over when it is first put off stays.
const LATE: &str = "{first: 1h, max: 1h}";

/// Puts messages with bodies of this size in until there is no room for one more. Their senders.
fn fill(spool: &Spool, size: usize) -> BTreeSet<String> {
    let mut senders = BTreeSet::new();
    for number in 0..MANY {
        let sender = format!("s{number}@from.example");
        let mut envelope = envelope(&sender, &["b@to.example"]);
        // Its lifetime (5d) is over, as of a pod that was away for long.
        envelope.arrived -= 6 * DAY;
        envelope.expires -= 6 * DAY;
        let mut incoming = spool.begin();
        let mut body = b"From: <s@from.example>\r\nSubject: x\r\n\r\n".to_vec();
        body.resize(body.len() + size, b'x');
        incoming.write(&body).unwrap();
        match incoming
            .commit(envelope, b"Received: by mail.test.example\r\n".to_vec())
            .wait()
        {
            Ok(_) => senders.insert(sender),
            Err(CommitError::Full) => return senders,
            Err(other) => panic!("{other}"),
        };
    }
    panic!("the volume is never full");
}

/// Puts off what is sent by people, and takes notices.
fn hop() -> Script {
    Script {
        rcpt: Box::new(|address, _| match address {
            "b@to.example" => "450 4.2.0 later".into(),
            _ => "250 2.1.5 ok".into(),
        }),
        ..Script::default()
    }
}

/// A volume with segments of this size, and messages with bodies of that one.
async fn empties(segment: u32, size: usize) {
    let sink = Sink::start(hop()).await;
    let directory = tempfile::tempdir().unwrap();
    let volume = Arc::new(Memory::new(SEGMENTS * u64::from(segment)));
    let options = Options {
        segment_size: Some(segment),
        ..options()
    };
    let (spool, _) = Spool::open_on(volume, directory.path(), &options).unwrap();
    let filled = spool.clone();
    let senders = tokio::task::spawn_blocking(move || fill(&filled, size))
        .await
        .unwrap();
    assert!(senders.len() > 5, "{} messages fill it", senders.len());
    let setup = Setup {
        policies: to_hosts(&[sink.address], "Opportunistic", LATE),
        ..Setup::default()
    };
    let bench = Bench::on(spool, directory.path(), setup);
    bench.empty().await;
    let mut told = Vec::new();
    for rcpt in sink.taken().into_iter().flat_map(|taken| taken.rcpt) {
        let address = rcpt.split(['<', '>']).nth(1).unwrap().to_owned();
        assert!(!told.contains(&address), "{address} is told once");
        told.push(address);
    }
    assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), senders);
    let expired = bench.figure("deliveries_total{outcome=\"Expired\"}");
    assert_eq!(expired, senders.len() as u64);
    // And mail is taken again.
    bench
        .submit(
            envelope("a@from.example", &["c@to.example"]),
            b"\r\nx\r\n".to_vec(),
        )
        .await;
    bench.empty().await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_full_of_large_messages_that_are_over_empties_and_each_sender_is_told() {
    empties(1 << 20, 100 << 10).await;
}

/// A notice is larger than what it is about.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_full_of_messages_smaller_than_their_notices_empties_as_well() {
    empties(64 << 10, 1 << 10).await;
}
