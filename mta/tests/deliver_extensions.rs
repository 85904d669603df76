//! Extensions are used where the next hop offers them, and what needs one that it lacks is refused before any data.

#![allow(clippy::unwrap_used, reason = "tests and their parts")]

mod deliver_support;
mod sink;

use deliver_support::{Bench, SOON, Setup, certificate, envelope, message, to_hosts};
use postroad_spool::{BodyKind, Envelope};
use sink::{Script, Sink, Taken, eventually};

fn setup(sink: &Sink, tls: &str) -> Setup {
    Setup {
        policies: to_hosts(&[sink.address], tls, SOON),
        ..Setup::default()
    }
}

fn offering(extensions: &[&'static str]) -> Script {
    Script {
        extensions: extensions.to_vec(),
        ..Script::default()
    }
}

/// With the null reverse-path, so that a failure leaves nothing behind.
fn of_nobody() -> Envelope {
    envelope("", &["b@to.example"])
}

/// Sends one message to a hop that offers these; what it took, or the status of the failure by the log of the hop.
async fn send(extensions: &[&'static str], envelope: Envelope, body: &[u8]) -> (Vec<Taken>, usize, u64) {
    let sink = Sink::start(offering(extensions)).await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), setup(&sink, "Disabled"));
    bench.submit(envelope, body.to_vec()).await;
    bench.empty().await;
    let failed = bench.figure("deliveries_total{outcome=\"Failed\"}");
    bench.stop().await;
    (sink.taken(), sink.asked().len(), failed)
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_bits_go_where_they_are_taken_and_nothing_is_rewritten() {
    let body = "Subject: x\r\n\r\ncaf\u{e9}\r\n".as_bytes();
    let mut declared = of_nobody();
    declared.body = BodyKind::EightBitMime;
    let (taken, ..) = send(&["8BITMIME"], declared.clone(), body).await;
    assert!(taken[0].mail.contains("BODY=8BITMIME"), "{}", taken[0].mail);
    assert!(taken[0].body.ends_with(body));
    // RFC 6152 section 3: bounced, not rewritten.
    let (taken, asked, failed) = send(&["PIPELINING"], declared.clone(), body).await;
    assert_eq!((taken.len(), asked, failed), (0, 0, 1));
    // Declared, and yet of 7 bits: it goes.
    let (taken, ..) = send(&["PIPELINING"], declared, b"Subject: x\r\n\r\ncafe\r\n").await;
    assert!(!taken[0].mail.contains("BODY="), "{}", taken[0].mail);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_is_not_even_offered() {
    let body = message("large");
    let (taken, asked, failed) = send(&["SIZE 50"], of_nobody(), &body).await;
    assert_eq!((taken.len(), asked, failed), (0, 0, 1));
    let (taken, ..) = send(&["SIZE 100000"], of_nobody(), &body).await;
    let size = format!("SIZE={}", taken[0].body.len());
    assert!(taken[0].mail.contains(&size), "{} {size}", taken[0].mail);
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_carry_the_message_as_it_is() {
    let body = b"Subject: dots\r\n\r\n.\r\n..\r\n.end\r\n";
    for extensions in [&["CHUNKING"][..], &["CHUNKING", "PIPELINING"]] {
        let (taken, ..) = send(extensions, of_nobody(), body).await;
        assert!(taken[0].chunked && taken[0].body.ends_with(body));
    }
    let (taken, ..) = send(&["PIPELINING"], of_nobody(), body).await;
    assert!(!taken[0].chunked && taken[0].body.ends_with(body));
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_to_nobody_leave_the_connection_in_order() {
    let sink = Sink::start(Script {
        rcpt: Box::new(|address, _| match address {
            "no@to.example" => "550 5.1.1 no".into(),
            _ => "250 ok".into(),
        }),
        ..offering(&["CHUNKING", "PIPELINING"])
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), setup(&sink, "Disabled"));
    bench
        .submit(envelope("", &["no@to.example"]), message("no"))
        .await;
    bench.empty().await;
    bench
        .submit(envelope("", &["yes@to.example"]), message("yes"))
        .await;
    bench.empty().await;
    assert_eq!(sink.taken().len(), 1);
    assert_eq!(sink.connections(), 1);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_offered_in_clear_counts_for_nothing_inside_tls() {
    let (acceptor, _) = certificate();
    let sink = Sink::start(Script {
        tls: Some(acceptor),
        inside: Some(vec!["PIPELINING"]),
        ..offering(&["CHUNKING", "SIZE 10", "DSN", "SMTPUTF8", "8BITMIME"])
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), setup(&sink, "Encrypted"));
    bench
        .submit(envelope("a@from.example", &["b@to.example"]), message("x"))
        .await;
    let taken = sink.wait_for(1).await;
    assert!(taken[0].tls && !taken[0].chunked);
    assert_eq!(taken[0].mail, "MAIL FROM:<a@from.example>");
    bench.empty().await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_connection_goes_on_with_the_session_of_the_last() {
    let (acceptor, _) = certificate();
    let extensions = vec!["LIMITS MAILMAX=1"];
    let sink = Sink::start(Script {
        tls: Some(acceptor),
        ..offering(&extensions)
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), setup(&sink, "Encrypted"));
    for messages in 1..=3 {
        bench.submit(of_nobody(), message("x")).await;
        sink.wait_for(messages).await;
        bench.empty().await;
    }
    assert_eq!(sink.connections(), 3, "one message each, as the hop says");
    eventually("sessions were resumed", || sink.resumed() == 2).await;
    bench.stop().await;
}

/// RFC 9422 section 4.3: the hop takes recipients of one domain at a time.
#[tokio::test(flavor = "multi_thread")]
async fn a_hop_that_limits_domains_gets_a_transaction_for_each() {
    let to = ["a@one.example", "b@two.example", "c@ONE.example"];
    for (extensions, transactions) in [(&["LIMITS RCPTDOMAINMAX=1"][..], 2), (&["PIPELINING"], 1)] {
        let (taken, ..) = send(extensions, envelope("", &to), &message("x")).await;
        let mut sizes: Vec<usize> = taken.iter().map(|taken| taken.rcpt.len()).collect();
        sizes.sort_unstable();
        assert_eq!(sizes.len(), transactions, "{extensions:?}: {taken:?}");
        assert_eq!(sizes.iter().sum::<usize>(), to.len());
    }
}
