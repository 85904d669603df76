//! Routes to providers: what their replies ask for, routes that rest, and the header fields that are theirs.

#![allow(clippy::unwrap_used, reason = "tests and their parts")]

mod deliver_support;
mod sink;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deliver_support::{Bench, Setup, certificate, envelope, message, settings};
use postroad_mta::deliver::tls::ClientTls;
use postroad_mta::queue::orders::Order;
use sink::{Script, Sink, eventually};

/// One policy with these routes: address and what else is said of each.
fn routes(routes: &[(SocketAddr, &str)]) -> String {
    let lines = routes.iter().map(|(host, rest)| {
        let (ip, port) = (host.ip(), host.port());
        format!("      - {{to: {{smartHosts: [{{host: {ip}, port: {port}}}]}}, {rest}}}\n")
    });
    format!(
        "policies:\n  - name: test/all\n    retry: {{first: 1s, max: 2s}}\n    routes:\n{}",
        lines.collect::<String>()
    )
}

fn setup(policies: String) -> Setup {
    Setup {
        policies,
        ..Setup::default()
    }
}

/// A next hop that says this to the end of the data while the switch is on.
async fn refusing(reply: &'static str) -> (Sink, Arc<AtomicBool>) {
    let refuses = Arc::new(AtomicBool::new(true));
    let asked = refuses.clone();
    let script = Script {
        end: Box::new(move |_, _| {
            let refuses = asked.load(Ordering::SeqCst);
            if refuses { reply } else { "250 2.0.0 ok" }.to_owned()
        }),
        ..Script::default()
    };
    (Sink::start(script).await, refuses)
}

async fn submit(bench: &Bench, from: &str, subject: &str) {
    bench
        .submit(envelope(from, &["b@to.example"]), message(subject))
        .await;
}

fn reasons(bench: &Bench) -> Vec<(String, String)> {
    let view = bench.queue.lanes().view(postroad_mta::queue::clock::now());
    view.into_iter()
        .map(|state| (state.route, state.reason))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_is_used_up_sends_mail_by_the_next_route_and_asks_the_first_no_more() {
    // Final by its code, and a quota all the same.
    let (first, _) = refusing("550 5.4.5 Daily user sending limit exceeded.").await;
    let second = Sink::start(Script::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let policies = routes(&[
        (first.address, "tls: Disabled, provider: Gmail"),
        (second.address, "tls: Disabled"),
    ]);
    let bench = Bench::start(dir.path(), setup(policies));
    submit(&bench, "a@from.example", "one").await;
    second.wait_for(1).await;
    bench.empty().await;
    for _ in 0..5 {
        submit(&bench, "a@from.example", "more").await;
    }
    second.wait_for(6).await;
    bench.empty().await;
    assert_eq!(first.connections(), 1, "the first route rests");
    assert_eq!(reasons(&bench), [("test/all#0".to_owned(), "Quota".to_owned())]);
    assert_eq!(bench.figure("deliveries_total{outcome=\"Failed\"}"), 0);
    let text = bench.metrics.text().unwrap();
    assert!(
        text.contains("postroad_mta_route_trouble{route=\"test/all#0\",reason=\"Quota\"} 1"),
        "{text}"
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_waits_for_a_quota_also_over_a_restart_until_the_route_is_configured_anew() {
    let (sink, refuses) = refusing("454 Throttling failure: Daily message quota exceeded.").await;
    let dir = tempfile::tempdir().unwrap();
    let policies = routes(&[(sink.address, "tls: Disabled, provider: AmazonSES")]);
    let bench = Bench::start(dir.path(), setup(policies.clone()));
    submit(&bench, "a@from.example", "one").await;
    eventually("the route rests", || !reasons(&bench).is_empty()).await;
    for _ in 0..5 {
        submit(&bench, "a@from.example", "more").await;
    }
    eventually("all wait", || bench.queue.totals().running == 0).await;
    let kept = dir.path().join("resting-routes.json");
    eventually("the rest is kept", || kept.exists()).await;
    let connections = sink.connections();
    let spool = bench.spool.clone();
    bench.stop().await;
    drop(spool);

    refuses.store(false, Ordering::SeqCst);
    let bench = Bench::start(dir.path(), setup(policies));
    assert_eq!(reasons(&bench), [("test/all#0".to_owned(), "Quota".to_owned())]);
    submit(&bench, "a@from.example", "after the restart").await;
    let mut closed = false;
    for _ in 0..1_000 {
        let sites = bench.queue.sites(None, 10).await;
        closed = sites.iter().any(|site| {
            let hour = postroad_mta::queue::clock::now() + 3_000_000;
            site.opens_at > hour
                && site
                    .last_trouble
                    .as_ref()
                    .is_some_and(|why| why.source.text().contains("quota"))
        });
        if closed {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(closed, "the site says until when, and why");
    assert_eq!(sink.connections(), connections, "nobody is asked meanwhile");
    assert_eq!(bench.spool.entries().len(), 7);

    let anew = routes(&[(
        sink.address,
        "tls: Disabled, provider: AmazonSES, helloName: other.example",
    )]);
    bench.live.swap(settings(dir.path(), &anew));
    sink.wait_for(7).await;
    bench.empty().await;
    assert!(reasons(&bench).is_empty());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_window_of_a_quota_ends_by_itself_and_the_mail_goes() {
    let sink = Sink::start(Script::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("resting-routes.json");
    // As it was kept an hour ago, less three seconds.
    let now = postroad_mta::queue::clock::now();
    let until = now + 3_000;
    let rest = serde_json::json!({"test/all#0": {
        "reason": "Quota", "since": until - 3_600_000, "until": until, "times": 0,
        "reply": "454 Throttling failure: Daily message quota exceeded.",
    }});
    std::fs::write(&kept, rest.to_string()).unwrap();
    let policies = routes(&[(sink.address, "tls: Disabled, provider: AmazonSES")]);
    let bench = Bench::start(dir.path(), setup(policies));
    for _ in 0..3 {
        submit(&bench, "a@from.example", "one").await;
    }
    sink.wait_for(1).await;
    assert!(
        postroad_mta::queue::clock::now() >= until,
        "nobody is asked before"
    );
    sink.wait_for(3).await;
    bench.empty().await;
    assert!(reasons(&bench).is_empty());
    eventually("nothing is kept of it", || {
        std::fs::read_to_string(&kept).unwrap() == "{}"
    })
    .await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_cannot_be_reached_gives_way_to_the_next_and_is_not_tried_for_each_message() {
    // It takes connections, and says goodbye at once.
    let first = Sink::start(Script {
        greeting: "421 down for repairs",
        ..Script::default()
    })
    .await;
    let second = Sink::start(Script::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let policies = routes(&[
        (first.address, "tls: Disabled"),
        (second.address, "tls: Disabled"),
    ]);
    let bench = Bench::start(dir.path(), setup(policies));
    submit(&bench, "a@from.example", "one").await;
    second.wait_for(1).await;
    let asked = first.connections();
    for _ in 0..10 {
        submit(&bench, "a@from.example", "more").await;
    }
    second.wait_for(11).await;
    bench.empty().await;
    assert_eq!(first.connections(), asked);
    assert_eq!(
        reasons(&bench),
        [("test/all#0".to_owned(), "Unreachable".to_owned())]
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_wants_it_tried_now_is_not_told_to_wait() {
    let (sink, refuses) = refusing("554 5.2.0 SubmissionQuotaExceededException").await;
    let dir = tempfile::tempdir().unwrap();
    let policies = routes(&[(sink.address, "tls: Disabled, provider: Microsoft365")]);
    let bench = Bench::start(dir.path(), setup(policies));
    let to = envelope("a@from.example", &["b@to.example"]);
    let entry = bench.submit(to, message("one")).await;
    eventually("the route rests", || !reasons(&bench).is_empty()).await;
    eventually("it waits", || bench.queue.totals().running == 0).await;
    refuses.store(false, Ordering::SeqCst);
    bench.queue.order(Order::Retry, vec![entry]).await.unwrap();
    sink.wait_for(1).await;
    bench.empty().await;
    assert!(reasons(&bench).is_empty());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_the_configuration_returns_nothing() {
    let refuses = Script {
        rcpt: Box::new(|_, _| "550 5.7.0 Mail relay denied [192.0.2.1].".to_owned()),
        ..Script::default()
    };
    let sink = Sink::start(refuses).await;
    let dir = tempfile::tempdir().unwrap();
    let policies = routes(&[(sink.address, "tls: Disabled, provider: GoogleWorkspaceRelay")]);
    let bench = Bench::start(dir.path(), setup(policies));
    submit(&bench, "a@from.example", "one").await;
    eventually("it was asked", || {
        bench.figure("deliveries_total{outcome=\"Deferred\"}") >= 1
    })
    .await;
    assert_eq!(
        reasons(&bench),
        [("test/all#0".to_owned(), "Configuration".to_owned())]
    );
    assert_eq!(bench.figure("deliveries_total{outcome=\"Failed\"}"), 0);
    assert_eq!(bench.spool.entries().len(), 1);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_is_not_verified_waits_alone() {
    let sink = Sink::start(Script {
        rcpt: Box::new(|address, _| {
            if address == "unverified@to.example" {
                "554 Message rejected: Email address is not verified.".to_owned()
            } else {
                "250 ok".to_owned()
            }
        }),
        ..Script::default()
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(
        dir.path(),
        setup(routes(&[(sink.address, "tls: Disabled, provider: AmazonSES")])),
    );
    let refused = envelope("a@from.example", &["unverified@to.example"]);
    bench.submit(refused, message("refused")).await;
    eventually("it was refused", || !reasons(&bench).is_empty()).await;
    for _ in 0..3 {
        submit(&bench, "c@from.example", "others").await;
    }
    sink.wait_for(3).await;
    eventually("one waits", || bench.spool.entries().len() == 1).await;
    assert_eq!(reasons(&bench), [("test/all#0".to_owned(), "Sender".to_owned())]);
    assert_eq!(bench.figure("deliveries_total{outcome=\"Failed\"}"), 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_of_an_account_that_is_paused_outlives_its_lifetime_and_goes_when_the_account_does() {
    for (provider, reply) in [
        (
            "AmazonSES",
            "554 Message rejected: Sending paused for this account.",
        ),
        // Behind a 421 the connection is over.
        (
            "Mailgun",
            "421 Domain from.example is not allowed to send: Account disabled",
        ),
    ] {
        let (sink, refuses) = refusing(reply).await;
        let dir = tempfile::tempdir().unwrap();
        let route = format!("tls: Disabled, provider: {provider}");
        let policies = routes(&[(sink.address, route.as_str())]).replace("max: 2s", "max: 1s, lifetime: 1s");
        let bench = Bench::start(dir.path(), setup(policies));
        let mut submitted = envelope("a@from.example", &["b@to.example"]);
        submitted.identity = Some("alice".into());
        let arrived = submitted.arrived;
        bench.submit(submitted, message("one")).await;
        // The third attempt begins more than a second after the first.
        eventually("it was refused after its lifetime", || {
            postroad_mta::queue::clock::now() > arrived + 1_000
                && bench.figure("deliveries_total{outcome=\"Deferred\"}") >= 3
        })
        .await;
        for over in ["Failed", "Expired"] {
            let figure = format!("deliveries_total{{outcome=\"{over}\"}}");
            assert_eq!(bench.figure(&figure), 0, "{provider} {over}");
        }
        assert_eq!(bench.spool.entries().len(), 1, "it waits, and there is no notice");
        assert_eq!(reasons(&bench), [("test/all#0".to_owned(), "Sender".to_owned())]);
        refuses.store(false, Ordering::SeqCst);
        let taken = sink.wait_for(1).await;
        assert!(taken[0].text().contains("Subject: one"), "{}", taken[0].text());
        bench.empty().await;
        bench.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_steer_a_provider_reach_it_and_no_other() {
    let (first, refuses) = refusing("451 Authentication failed: Maximum credits exceeded").await;
    refuses.store(false, Ordering::SeqCst);
    let second = Sink::start(Script::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let policies = routes(&[
        (first.address, "tls: Disabled, provider: SendGrid"),
        (second.address, "tls: Disabled, provider: Mandrill"),
    ]);
    let bench = Bench::start(dir.path(), setup(policies));
    let fields = b"X-SMTPAPI: {\"category\":\r\n \"x\"}\r\nX-MC-Tags: y\r\n".to_vec();
    let body = [fields, message("z"), b"X-SMTPAPI: in the body\r\n".repeat(20_000)].concat();
    let submitted = |identity: Option<&str>| {
        let mut envelope = envelope("a@from.example", &["b@to.example"]);
        envelope.identity = identity.map(Into::into);
        envelope
    };
    bench.submit(submitted(Some("alice")), body.clone()).await;
    let taken = first.wait_for(1).await;
    assert!(taken[0].text().contains("X-SMTPAPI: {") && !taken[0].text().contains("X-MC-Tags"));
    refuses.store(true, Ordering::SeqCst);
    bench.submit(submitted(Some("alice")), body.clone()).await;
    let taken = second.wait_for(1).await;
    let text = taken[0].text();
    assert!(text.contains("X-MC-Tags: y") && !text.contains("category") && !text.contains(" \"x\"}"));
    assert_eq!(text.matches("X-SMTPAPI: in the body").count(), 20_000);
    // What strangers sent stays as they sent it.
    bench.submit(submitted(None), body).await;
    let taken = second.wait_for(2).await;
    assert!(taken[1].text().contains("category"));
    bench.empty().await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_for_a_route_takes_the_next_one() {
    let small = Sink::start(Script::default()).await;
    let large = Sink::start(Script::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let limit = "tls: Disabled, limits: {messageSize: 64Ki}";
    let both = routes(&[(small.address, limit), (large.address, "tls: Disabled")]);
    let bench = Bench::start(dir.path(), setup(both));
    let body = [message("large"), b"x\r\n".repeat(40_000)].concat();
    bench
        .submit(envelope("a@from.example", &["b@to.example"]), body.clone())
        .await;
    large.wait_for(1).await;
    submit(&bench, "a@from.example", "small").await;
    small.wait_for(1).await;
    bench.empty().await;
    // Where there is no other, it comes back.
    bench
        .live
        .swap(settings(dir.path(), &routes(&[(small.address, limit)])));
    bench.submit(envelope("", &["b@to.example"]), body).await;
    eventually("it failed", || {
        bench.figure("deliveries_total{outcome=\"Failed\"}") == 1
    })
    .await;
    assert_eq!(small.taken().len(), 1);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_may_come_first_and_a_route_has_its_own_name_in_ehlo() {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    let (acceptor, certificate) = certificate();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(acceptor.accept(stream).await.unwrap());
        stream.write_all(b"220 first.example\r\n").await.unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        line
    });
    let dir = tempfile::tempdir().unwrap();
    let route = "tls: Verified, implicitTls: true, helloName: out.example";
    let bench = Bench::start(
        dir.path(),
        Setup {
            tls: Some(ClientTls::trusting(roots).unwrap()),
            ..setup(routes(&[(address, route)]))
        },
    );
    submit(&bench, "a@from.example", "x").await;
    assert_eq!(server.await.unwrap(), "EHLO out.example\r\n");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_changes_leaves_so_and_is_stored_as_it_was() {
    let sink = Sink::start(Script::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let policies = routes(&[(
        sink.address,
        "tls: Disabled, limits: {recipientsPerTransaction: 2}",
    )]) + "    rewrite: {add: {X-Sent-By: shop}, remove: [x-internal], sender: bounces@shop.example}\n";
    let bench = Bench::start(dir.path(), setup(policies));
    let small = b"X-Internal: 1\r\n 2\r\nSubject: small\r\n\r\nX-Internal: body\r\n".to_vec();
    // More than is kept in memory between sorting and the attempt.
    let mut large = b"X-Internal: 1\r\nSubject: large\r\n\r\n".to_vec();
    large.extend(b"a line of a long message\r\n".repeat(8 << 10));
    let to = ["b@to.example", "c@to.example", "d@to.example"];
    bench.submit(envelope("a@from.example", &to), small).await;
    sink.wait_for(2).await;
    bench.empty().await;
    bench
        .submit(envelope("a@from.example", &to[..1]), large.clone())
        .await;
    sink.wait_for(3).await;
    bench.empty().await;
    bench.submit(envelope("", &to[..1]), message("a notice")).await;
    let taken = sink.wait_for(4).await;
    bench.empty().await;
    let rcpt: Vec<usize> = taken.iter().map(|taken| taken.rcpt.len()).collect();
    assert_eq!(rcpt, [2, 1, 1, 1], "by recipientsPerTransaction");
    for (number, sender) in [
        (0, "<bounces@shop.example>"),
        (2, "<bounces@shop.example>"),
        (3, "<>"),
    ] {
        assert!(taken[number].mail.contains(sender), "{}", taken[number].mail);
    }
    let text = taken[0].text();
    assert!(text.starts_with("X-Sent-By: shop\r\nReceived: "), "{text}");
    assert!(
        text.ends_with("Subject: small\r\n\r\nX-Internal: body\r\n"),
        "{text}"
    );
    assert!(!text.contains(" 2\r\n"), "{text}");
    let head = "X-Sent-By: shop\r\nReceived: by mail.test.example\r\nSubject: large\r\n\r\n";
    assert!(taken[2].body.starts_with(head.as_bytes()));
    assert_eq!(
        taken[2].body.len(),
        head.len() + large.len() - b"X-Internal: 1\r\nSubject: large\r\n\r\n".len()
    );
    bench.stop().await;
}
