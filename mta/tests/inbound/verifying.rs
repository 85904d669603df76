//! Mail of strangers is judged by SPF, says so on top, and brings no verdict of its own in our name.

use postroad_verify::dns::{Answer, Kind, Question};

use crate::client::Client;
use crate::dns;
use crate::stage::{MAIL, Play, Stage};

/// `good.example` lets 192.0.2.7 send, `bad.example` nobody; `broken.example` has no answer.
fn names(question: &Question) -> dns::Said {
    let record = |text: &str| Answer::Txt(vec![text.as_bytes().to_vec()]);
    let answer = match (question.name.as_str(), question.kind) {
        ("good.example" | "mx.good.example", Kind::Txt) => record("v=spf1 ip4:192.0.2.7 -all"),
        ("bad.example" | "mx.bad.example", Kind::Txt) => record("v=spf1 -all"),
        ("shy.example", Kind::Txt) => record("v=spf1 -all exp=why.shy.example"),
        ("why.shy.example", Kind::Txt) => record("%{i} sends nothing for %{d}"),
        ("broken.example", _) => Answer::Failure,
        ("empty.example", _) => Answer::NoData,
        _ => Answer::NxDomain,
    };
    (Some(answer), Vec::new())
}

async fn stage(more: &str) -> Stage {
    let more = format!("proxyProtocol: {{mode: Optional, trustedSources: [127.0.0.0/8]}}\n{more}");
    Play {
        more,
        resolver: dns::serve(names).to_string(),
        ..Play::default()
    }
    .start()
    .await
}

/// A session of that client, after EHLO by that name.
async fn session(stage: &Stage, client: &str, helo: &str) -> Client {
    let mut wire = Client::connect(stage.port("smtp")).await;
    wire.send(format!("PROXY TCP4 {client} 192.0.2.1 40000 25\r\n").as_bytes())
        .await;
    assert_eq!(wire.reply().await.code, 220);
    assert_eq!(wire.say(&format!("EHLO {helo}")).await.code, 250);
    wire
}

const FORGED: &str = "Authentication-Results: MAIL.example.com; spf=pass smtp.mailfrom=boss@example.com\r\n\
    Authentication-Results: mx.example.net; spf=pass\r\n\
    authentication-results : \"mail.\\example.com\" 1;\r\n\tdkim=pass header.d=example.com\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_verdicts_stand_on_top_and_forged_ones_are_gone() {
    let stage = stage("").await;
    let mut client = session(&stage, "192.0.2.7", "mx.good.example").await;
    client
        .expect(&[
            ("MAIL FROM:<ann@good.example>", 250),
            ("RCPT TO:<alice@example.com>", 250),
        ])
        .await;
    assert_eq!(client.data(&format!("{FORGED}{MAIL}")).await.code, 250);
    let (message, body) = stage.only().await;
    let prefix = String::from_utf8(message.item.prefix).unwrap();
    let want = "Authentication-Results: mail.example.com;\r\n\tspf=pass smtp.mailfrom=ann@good.example;\r\n\
        \tspf=pass smtp.helo=mx.good.example;\r\n\tdkim=none;\r\n\tarc=none;\r\n\
        \tdmarc=none header.from=else.example\r\nReceived: from mx.good.example ([192.0.2.7])\r\n";
    assert!(prefix.starts_with(want), "{prefix}");
    assert_eq!(
        body,
        format!("Authentication-Results: mx.example.net; spf=pass\r\n{MAIL}")
    );
    let figures = stage.daemon.handles().metrics.text().unwrap();
    for figure in [
        "postroad_mta_spf_total{verdict=\"Pass\"} 1",
        "postroad_mta_forged_results_total 2",
    ] {
        assert!(figures.contains(figure), "{figures}");
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_a_verdict_refuses_nothing() {
    let stage = stage("").await;
    for (sender, verdict) in [
        ("ann@bad.example", "fail"),
        ("ann@broken.example", "temperror"),
        ("ann@empty.example", "none"),
        ("ann@gone.example", "none"),
    ] {
        let mut client = session(&stage, "192.0.2.8", "mx.bad.example").await;
        client
            .expect(&[
                (&format!("MAIL FROM:<{sender}>"), 250),
                ("RCPT TO:<alice@example.com>", 250),
            ])
            .await;
        assert_eq!(client.data(MAIL).await.code, 250);
        let id = stage.entries().pop().unwrap();
        let spool = stage.daemon.handles().spool.clone();
        let read = tokio::task::spawn_blocking(move || spool.read(id).unwrap().item.prefix);
        let prefix = String::from_utf8(read.await.unwrap())
            .unwrap()
            .replace("\r\n\t", " ");
        assert!(
            prefix.contains(&format!("; spf={verdict} ")),
            "{sender}: {prefix}"
        );
        assert!(
            prefix.contains("; spf=fail smtp.helo=mx.bad.example;"),
            "{prefix}"
        );
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fail_refuses_where_that_was_chosen() {
    let stage = stage("verification: {spf: {mode: Reject}}\n").await;
    let mut client = session(&stage, "192.0.2.8", "mx.else.example").await;
    client
        .expect(&[
            ("MAIL FROM:<ann@bad.example>", 250),
            ("RCPT TO:<nobody@example.com>", 550),
        ])
        .await;
    for recipient in ["alice", "bob"] {
        let refused = client.say(&format!("RCPT TO:<{recipient}@example.com>")).await;
        assert!(refused.code == 550 && refused.has("5.7.23"), "{refused:?}");
    }
    client
        .expect(&[("DATA", 503), ("RSET", 250), ("MAIL FROM:<ann@shy.example>", 250)])
        .await;
    // RFC 7208 section 8.4: the domain explains itself, and the reply says whose words these are.
    let refused = client.say("RCPT TO:<alice@example.com>").await;
    let lines = [
        "5.7.23 The sender's domain does not let this client send its mail (SPF)",
        "5.7.23 The domain's own words: 192.0.2.8 sends nothing for shy.example",
    ];
    assert!(refused.code == 550 && refused.lines == lines, "{refused:?}");
    client
        .expect(&[
            ("RSET", 250),
            ("MAIL FROM:<ann@broken.example>", 250),
            ("RCPT TO:<alice@example.com>", 250),
            ("RSET", 250),
            ("MAIL FROM:<ann@good.example>", 250),
            ("RCPT TO:<alice@example.com>", 550),
        ])
        .await;
    // The null reverse-path stands on the EHLO name alone.
    let mut notice = session(&stage, "192.0.2.8", "mx.bad.example").await;
    notice.expect(&[("MAIL FROM:<>", 250)]).await;
    let refused = notice.say("RCPT TO:<alice@example.com>").await;
    assert!(refused.code == 550 && refused.has("5.7.23"), "{refused:?}");
    let mut good = session(&stage, "192.0.2.7", "mx.good.example").await;
    good.expect(&[
        ("MAIL FROM:<ann@good.example>", 250),
        ("RCPT TO:<alice@example.com>", 250),
    ])
    .await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_defers_where_that_was_chosen_and_no_record_does_not() {
    let stage = stage("verification: {spf: {temporaryError: Defer}}\n").await;
    let mut client = session(&stage, "192.0.2.8", "mx.else.example").await;
    client.expect(&[("MAIL FROM:<ann@broken.example>", 250)]).await;
    let deferred = client.say("RCPT TO:<alice@example.com>").await;
    assert!(deferred.code == 451 && deferred.has("4.4.3"), "{deferred:?}");
    for sender in ["ann@empty.example", "ann@gone.example", "ann@bad.example"] {
        client
            .expect(&[
                ("RSET", 250),
                (&format!("MAIL FROM:<{sender}>"), 250),
                ("RCPT TO:<alice@example.com>", 250),
            ])
            .await;
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_known_is_not_judged_but_forges_nothing_either() {
    for more in [
        "relayFrom: [192.0.2.0/24]\nverification: {spf: {mode: Reject}}\n",
        "verification: {spf: {mode: Disabled, temporaryError: Defer}, dkim: {mode: Disabled}, arc: {mode: Disabled}, \
         dmarc: {mode: Disabled, temporaryError: Defer}}\n",
    ] {
        let stage = stage(more).await;
        let mut client = session(&stage, "192.0.2.8", "mx.bad.example").await;
        client
            .expect(&[
                ("MAIL FROM:<ann@bad.example>", 250),
                ("RCPT TO:<alice@example.com>", 250),
            ])
            .await;
        assert_eq!(client.data(&format!("{FORGED}{MAIL}")).await.code, 250);
        let (message, body) = stage.only().await;
        let prefix = String::from_utf8(message.item.prefix).unwrap();
        assert!(prefix.starts_with("Received: "), "{prefix}");
        assert_eq!(
            body,
            format!("Authentication-Results: mx.example.net; spf=pass\r\n{MAIL}")
        );
        stage.stop().await;
    }
}
