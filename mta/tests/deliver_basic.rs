//! Delivery to a next hop: what it takes, what it refuses, what it takes later.

mod deliver_support;
mod sink;

use deliver_support::{Bench, SOON, Setup, envelope, message, to_hosts, to_store};
use postroad_spool::{BodyKind, Notify};
use sink::{Script, Sink, eventually};

fn hosts(sinks: &[&Sink], tls: &str) -> Setup {
    let addresses: Vec<_> = sinks.iter().map(|sink| sink.address).collect();
    Setup {
        policies: to_hosts(&addresses, tls, SOON),
        ..Setup::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_arrives_with_envelope_and_octets_unchanged() {
    let sink = Sink::start(Script::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), hosts(&[&sink], "Opportunistic"));
    bench
        .submit(envelope("a@from.example", &["b@to.example"]), message("one"))
        .await;
    let taken = sink.wait_for(1).await;
    assert!(
        taken[0].mail.starts_with("MAIL FROM:<a@from.example> SIZE="),
        "{}",
        taken[0].mail
    );
    assert_eq!(
        taken[0]
            .rcpt
            .iter()
            .map(|line| sink::address(line))
            .collect::<Vec<_>>(),
        ["b@to.example"]
    );
    assert_eq!(
        taken[0].body,
        [&b"Received: by mail.test.example\r\n"[..], &message("one")].concat()
    );
    bench.empty().await;
    assert_eq!(bench.figure("deliveries_total{outcome=\"Delivered\"}"), 1);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_address_is_noted_as_the_next_hop_prints_it() {
    let script = Script {
        greeting: "220 sink.example hello [192.0.2.7]",
        ..Script::default()
    };
    let sink = Sink::start(script).await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), hosts(&[&sink], "Opportunistic"));
    bench
        .submit(envelope("a@from.example", &["b@to.example"]), message("one"))
        .await;
    sink.wait_for(1).await;
    bench.empty().await;
    let seen = bench.metrics.seen.state();
    let egress: Vec<_> = seen
        .egress
        .iter()
        .map(|seen| (seen.host.clone(), seen.address.to_string()))
        .collect();
    assert_eq!(egress, [("127.0.0.1".to_owned(), "192.0.2.7".to_owned())]);
    assert_eq!(
        seen.port25,
        postroad_config::admin::Port25State::default(),
        "it was another port"
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_may_be_delivered_bounced_and_deferred_at_once() {
    let script = Script {
        rcpt: Box::new(|address, before| match address {
            "no@to.example" => "550 5.1.1 no such user".into(),
            "later@to.example" if before == 0 => "451 4.2.0 later".into(),
            _ => "250 2.1.5 ok".into(),
        }),
        ..Script::default()
    };
    let sink = Sink::start(script).await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), hosts(&[&sink], "Opportunistic"));
    let to = ["yes@to.example", "no@to.example", "later@to.example"];
    bench
        .submit(envelope("a@from.example", &to), message("mix"))
        .await;
    let taken = sink.wait_for(3).await;
    bench.empty().await;
    let to: Vec<Vec<String>> = taken
        .iter()
        .map(|taken| taken.rcpt.iter().map(|line| sink::address(line)).collect())
        .collect();
    assert!(to.contains(&vec!["yes@to.example".to_owned()]), "{to:?}");
    assert!(to.contains(&vec!["later@to.example".to_owned()]), "{to:?}");
    let notice = taken
        .iter()
        .find(|taken| sink::address(&taken.rcpt[0]) == "a@from.example")
        .unwrap();
    assert!(notice.mail.starts_with("MAIL FROM:<>"), "{}", notice.mail);
    for line in [
        "Action: failed",
        "Status: 5.1.1",
        "Final-Recipient: rfc822; no@to.example",
        "Auto-Submitted: auto-replied",
    ] {
        assert!(
            notice.text().lines().any(|found| found == line),
            "{line}\n{}",
            notice.text()
        );
    }
    assert_eq!(
        sink.asked()
            .iter()
            .filter(|asked| *asked == "yes@to.example")
            .count(),
        1
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_answers_for_each_recipient_of_lmtp() {
    let store = Sink::start(Script {
        lmtp: true,
        end: Box::new(|address, before| match address {
            "full@here.example" if before == 0 => "452 4.2.2 full".into(),
            "gone@here.example" => "550 5.1.1 gone".into(),
            _ => "250 2.1.5 stored".into(),
        }),
        ..Script::default()
    })
    .await;
    let notices = Sink::start(Script::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let policies = to_hosts(&[notices.address], "Disabled", SOON);
    let setup = Setup {
        policies: format!("{}{policies}", to_store("here.example", store.address)),
        ..Setup::default()
    };
    let bench = Bench::start(dir.path(), setup);
    let to = ["ok@here.example", "full@here.example", "gone@here.example"];
    bench
        .submit(envelope("a@from.example", &to), message("lmtp"))
        .await;
    assert!(
        notices.wait_for(1).await[0]
            .text()
            .contains("Final-Recipient: rfc822; gone@here.example")
    );
    // The one that is full is tried again after a minute; nobody else is.
    eventually("one is left", || {
        bench
            .spool
            .entries()
            .iter()
            .map(|entry| entry.pending)
            .sum::<usize>()
            == 1
    })
    .await;
    assert_eq!(bench.figure("deliveries_total{outcome=\"Deferred\"}"), 1);
    assert_eq!(bench.figure("deliveries_total{outcome=\"Delivered\"}"), 2);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn success_is_reported_by_us_when_the_next_hop_does_not() {
    let silent = Sink::start(Script {
        extensions: vec!["PIPELINING"],
        ..Script::default()
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), hosts(&[&silent], "Disabled"));
    let mut asked = envelope("a@from.example", &["b@to.example"]);
    asked.recipients[0].notify = Notify::SUCCESS;
    asked.envid = Some("my+2Bid".into());
    bench.submit(asked, message("tell me")).await;
    let taken = silent.wait_for(2).await;
    bench.empty().await;
    let notice = taken
        .iter()
        .find(|taken| taken.mail.starts_with("MAIL FROM:<>"))
        .unwrap()
        .text();
    assert!(
        notice.contains("Action: relayed\r\n") && notice.contains("Original-Envelope-Id: my+id\r\n"),
        "{notice}"
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_next_hop_that_reports_gets_the_request_and_we_stay_silent() {
    let sink = Sink::start(Script::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), hosts(&[&sink], "Disabled"));
    let mut asked = envelope("a@from.example", &["b@to.example"]);
    asked.recipients[0].notify = Notify::SUCCESS.with(Notify::FAILURE);
    asked.recipients[0].orcpt = Some("rfc822;x+2By@to.example".into());
    bench.submit(asked, message("pass it on")).await;
    let taken = sink.wait_for(1).await;
    bench.empty().await;
    assert!(
        taken[0].rcpt[0].contains("NOTIFY=SUCCESS,FAILURE"),
        "{}",
        taken[0].rcpt[0]
    );
    assert!(
        taken[0].rcpt[0].contains("ORCPT=rfc822;x+2By@to.example"),
        "{}",
        taken[0].rcpt[0]
    );
    assert_eq!(bench.figure("notices_total"), 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_international_message_is_bounced_by_a_hop_that_cannot_take_it() {
    let plain = Sink::start(Script {
        extensions: vec!["8BITMIME"],
        ..Script::default()
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), hosts(&[&plain], "Disabled"));
    let mut international = envelope("a@from.example", &["b\u{fc}@to.example"]);
    international.smtputf8 = true;
    international.body = BodyKind::EightBitMime;
    bench.submit(international, message("plain")).await;
    eventually("it failed", || {
        bench.figure("deliveries_total{outcome=\"Failed\"}") >= 1
    })
    .await;
    assert!(!sink_saw(&plain, "b\u{fc}@to.example"));
    bench.stop().await;
}

fn sink_saw(sink: &Sink, address: &str) -> bool {
    sink.asked().iter().any(|asked| asked == address)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_null_sender_is_never_answered() {
    let sink = Sink::start(Script {
        rcpt: Box::new(|_, _| "550 5.1.1 no".into()),
        ..Script::default()
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), hosts(&[&sink], "Disabled"));
    bench
        .submit(envelope("", &["b@to.example"]), message("bounce"))
        .await;
    bench.empty().await;
    assert_eq!((bench.figure("notices_total"), sink.asked().len()), (0, 1));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_message_arrives_octet_by_octet() {
    let sink = Sink::start(Script::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), hosts(&[&sink], "Disabled"));
    let mut body = b"Subject: large\r\n\r\n".to_vec();
    let mut line = 0u64;
    while body.len() < 20 << 20 {
        line += 1;
        body.extend_from_slice(
            format!(".{line} {:x}\r\n", line.wrapping_mul(0x9e37_79b9_7f4a_7c15)).as_bytes(),
        );
    }
    bench
        .submit(envelope("a@from.example", &["b@to.example"]), body.clone())
        .await;
    let taken = sink.wait_for(1).await;
    assert!(
        taken[0].body.ends_with(&body),
        "{} octets came, {} were sent",
        taken[0].body.len(),
        body.len()
    );
    bench.empty().await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_messages_to_one_host_share_connections() {
    let sink = Sink::start(Script::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), hosts(&[&sink], "Disabled"));
    for number in 0..60 {
        bench
            .submit(
                envelope("a@from.example", &["b@to.example"]),
                message(&format!("n{number}")),
            )
            .await;
    }
    let taken = sink.wait_for(60).await;
    bench.empty().await;
    assert_eq!(taken.len(), 60);
    assert!(
        sink.connections() < 40,
        "{} connections for 60 messages",
        sink.connections()
    );
    bench.stop().await;
}
