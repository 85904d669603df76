//! `access`: who is let in by lists of our own, by lists and names in the DNS, by greylisting and by rates; and who is not asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postroad_mta::auth::Verifier;
use postroad_verify::dns::{Answer, Kind, Question};

use crate::client::{Client, Reply};
use crate::dns;
use crate::log_page::{Page, are_described};
use crate::stage::{MAIL, Play, Stage};

/// `bl.example` and `second.example` have 192.0.2.66; `all.example` has the whole world; `busy.example` says that it was asked
/// too often; `silent.example` fails; 192.0.2.7 has a name that leads back, 192.0.2.8 one that does not.
fn names(question: &Question) -> Answer {
    let address = |text: &str| Answer::Addresses(vec![text.parse().unwrap()]);
    match (question.name.as_str(), question.kind) {
        ("2.0.0.127.bl.example" | "66.2.0.192.bl.example", Kind::A) => address("127.0.0.2"),
        ("2.0.0.127.second.example" | "66.2.0.192.second.example", Kind::A) => address("127.0.0.4"),
        (name, Kind::A) if name.ends_with(".all.example") => address("127.0.0.2"),
        (name, Kind::A) if name.ends_with(".busy.example") => address("127.255.255.254"),
        (name, Kind::A) if name.ends_with(".silent.example") => Answer::Failure,
        ("7.2.0.192.in-addr.arpa" | "8.2.0.192.in-addr.arpa", Kind::Ptr) => {
            Answer::Names(vec!["mx.good.example".into()])
        }
        ("10.2.0.192.in-addr.arpa", Kind::Ptr) => Answer::Failure,
        ("mx.good.example", Kind::A) => address("192.0.2.7"),
        _ => Answer::NxDomain,
    }
}

/// A stage, and how often the DNS was asked about clients.
async fn stage(more: &str) -> (Stage, Arc<AtomicUsize>) {
    let asked = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&asked);
    let find = move |question: &Question| {
        let of_client = [".bl.example", ".second.example", ".in-addr.arpa"];
        if of_client.iter().any(|zone| question.name.ends_with(zone)) {
            count.fetch_add(1, Ordering::SeqCst);
        }
        (Some(names(question)), Vec::new())
    };
    let more = format!(
        "proxyProtocol: {{mode: Optional, trustedSources: [127.0.0.0/8]}}\n\
         verification: {{spf: {{mode: Disabled}}, dkim: {{mode: Disabled}}, arc: {{mode: Disabled}}, dmarc: {{mode: Disabled}}}}\n{more}"
    );
    let stage = Play {
        users: vec![("alice", Verifier::scram("pw").unwrap())],
        more,
        resolver: dns::serve(find).to_string(),
        ..Play::default()
    };
    (stage.start().await, asked)
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

/// What a client is told at RCPT.
async fn told(stage: &Stage, client: &str, from: &str, to: &str) -> Reply {
    let mut wire = session(stage, client, "mx.client.example").await;
    assert_eq!(wire.say(&format!("MAIL FROM:<{from}>")).await.code, 250);
    wire.say(&format!("RCPT TO:<{to}>")).await
}

async fn alice(stage: &Stage) -> Client {
    let mut wire = Client::connect(stage.port("submissions")).await;
    wire.send(b"PROXY TCP4 192.0.2.66 192.0.2.1 40000 465\r\n").await;
    let mut client = wire.secure(&stage.chain).await;
    assert_eq!(client.reply().await.code, 220);
    client
        .expect(&[
            ("EHLO client.example", 250),
            (&format!("AUTH PLAIN {}", STANDARD.encode("\0alice\0pw")), 235),
        ])
        .await;
    client
}

const ALICE: &str = "From: Alice <alice@example.com>\r\n\r\nHi\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn own_lists_refuse_and_allow_by_address_and_domain() {
    let (stage, _) = stage(
        "relayFrom: [198.51.100.0/24]\n\
         access:\n  \
           allow: [{networks: [192.0.2.77/32]}, {senderDomains: [friend.example], networks: [192.0.2.0/24]}]\n  \
           deny:\n    \
             - {networks: [192.0.2.64/27, 198.51.100.0/24]}\n    \
             - {senderDomains: [spam.example]}\n    \
             - {heloDomains: [bad.example]}\n    \
             - {recipientDomains: [example.com], senderDomains: [loud.example]}\n",
    )
    .await;
    for (client, from, code) in [
        ("192.0.2.70", "a@good.example", 550),
        ("192.0.2.77", "a@good.example", 250),
        ("192.0.2.70", "a@mx.friend.example", 250),
        ("203.0.113.1", "a@friend.example", 250),
        ("203.0.113.1", "a@x.spam.example", 550),
        ("203.0.113.1", "a@loud.example", 550),
        ("203.0.113.1", "", 250),
        ("198.51.100.1", "a@spam.example", 250),
    ] {
        let reply = told(&stage, client, from, "alice@example.com").await;
        assert_eq!(reply.code, code, "{client} {from}: {reply:?}");
        assert!(code == 250 || reply.has("5.7.1 Mail of this client"), "{reply:?}");
    }
    let mut bad = session(&stage, "203.0.113.1", "mx.bad.example").await;
    bad.expect(&[
        ("MAIL FROM:<a@good.example>", 250),
        ("RCPT TO:<nobody@example.com>", 550),
        ("RCPT TO:<alice@example.com>", 550),
        ("DATA", 503),
    ])
    .await;
    let figures = stage.daemon.handles().metrics.text().unwrap();
    assert!(
        figures.contains("postroad_mta_access_denied_total{check=\"Deny\"} 4"),
        "{figures}"
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_in_the_dns_add_up_to_a_refusal() {
    let (stage, _) = stage(
        "access:\n  \
           dnsBlocklists: [{zone: bl.example}, {zone: second.example, name: b, score: 2}, {zone: all.example, score: 9}, \
         {zone: busy.example, score: 9}, {zone: silent.example, score: 9}]\n  \
           dnsBlocklistThreshold: 3\n",
    )
    .await;
    let listed = told(&stage, "192.0.2.66", "a@good.example", "alice@example.com").await;
    assert!(listed.code == 554 && listed.has("5.7.1"), "{listed:?}");
    assert!(listed.has("(bl.example, b)"), "{listed:?}");
    // Not by lists that are none, or that gave no answer.
    let other = told(&stage, "192.0.2.67", "a@good.example", "alice@example.com").await;
    assert_eq!(other.code, 250, "{other:?}");
    // RFC 5321 section 4.5.1.
    let postmaster = told(&stage, "192.0.2.66", "a@good.example", "postmaster@example.com").await;
    assert_eq!(postmaster.code, 250, "{postmaster:?}");
    let figures = stage.daemon.handles().metrics.text().unwrap();
    for (list, answer, count) in [
        ("bl.example", "Listed", 1),
        ("bl.example", "NotListed", 1),
        ("b", "Listed", 1),
        ("all.example", "Broken", 2),
        ("busy.example", "Unknown", 2),
        ("silent.example", "Unknown", 2),
    ] {
        let line = format!(
            "postroad_mta_dns_blocklist_answers_total{{list=\"{list}\",answer=\"{answer}\"}} {count}"
        );
        assert!(figures.contains(&line), "{line} is not in {figures}");
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_waited_for_where_that_was_chosen() {
    for zone in ["busy.example", "silent.example"] {
        let (stage, _) = stage(&format!(
            "access: {{dnsBlocklists: [{{zone: {zone}, temporaryError: Defer}}]}}\n"
        ))
        .await;
        let reply = told(&stage, "192.0.2.67", "a@good.example", "alice@example.com").await;
        assert!(
            reply.code == 451 && reply.has("4.4.3") && reply.has(zone),
            "{reply:?}"
        );
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_needs_the_name_that_was_asked_for() {
    for (mode, codes) in [
        ("Named", [250, 250, 550, 250]),
        ("Confirmed", [250, 550, 550, 250]),
    ] {
        let (stage, _) = stage(&format!("access: {{reverseDns: {{mode: {mode}}}}}\n")).await;
        for (client, code) in ["192.0.2.7", "192.0.2.8", "192.0.2.9", "192.0.2.10"]
            .into_iter()
            .zip(codes)
        {
            let reply = told(&stage, client, "a@good.example", "alice@example.com").await;
            assert_eq!(reply.code, code, "{mode} {client}: {reply:?}");
            assert!(code == 250 || reply.has("5.7.25"), "{reply:?}");
        }
        stage.stop().await;
    }
    let (stage, _) = stage("access: {reverseDns: {mode: Named, temporaryError: Defer}}\n").await;
    let reply = told(&stage, "192.0.2.10", "a@good.example", "alice@example.com").await;
    assert!(reply.code == 451 && reply.has("4.4.3"), "{reply:?}");
    stage.stop().await;
}

const ALL: &str = "access:\n  \
    dnsBlocklists: [{zone: bl.example}]\n  \
    reverseDns: {mode: Confirmed}\n  \
    greylisting: {delay: 1h}\n  \
    allow: [{networks: [192.0.2.65/32]}]\n";

#[tokio::test(flavor = "multi_thread")]
async fn users_and_known_clients_are_neither_looked_up_nor_put_off() {
    let (stage, asked) = stage(&format!("relayFrom: [192.0.2.66/32]\n{ALL}")).await;
    let mut user = alice(&stage).await;
    user.expect(&[
        ("MAIL FROM:<alice@example.com>", 250),
        ("RCPT TO:<bob@example.com>", 250),
        ("RCPT TO:<carol@else.example>", 250),
    ])
    .await;
    assert_eq!(user.data(ALICE).await.code, 250);
    for client in ["192.0.2.65", "192.0.2.66", "127.0.0.1"] {
        let reply = told(&stage, client, "a@good.example", "alice@example.com").await;
        assert_eq!(reply.code, 250, "{client}: {reply:?}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0, "questions about clients");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dns_is_asked_once_in_a_session() {
    let (stage, asked) =
        stage("access: {reverseDns: {mode: Named}, dnsBlocklists: [{zone: bl.example}]}\n").await;
    let mut client = session(&stage, "192.0.2.7", "mx.good.example").await;
    for _ in 0..3 {
        client
            .expect(&[
                ("MAIL FROM:<a@good.example>", 250),
                ("RCPT TO:<alice@example.com>", 250),
                ("RCPT TO:<bob@example.com>", 250),
                ("RSET", 250),
            ])
            .await;
    }
    // The client's name, the client on the list, and the list's two test entries.
    assert_eq!(asked.load(Ordering::SeqCst), 4);
    stage.stop().await;
}

/// One try to bring a mail; the reply that ends it.
async fn brought(stage: &Stage, client: &str, from: &str, to: &str) -> Reply {
    let mut wire = session(stage, client, "mx.client.example").await;
    assert_eq!(wire.say(&format!("MAIL FROM:<{from}>")).await.code, 250);
    let reply = wire.say(&format!("RCPT TO:<{to}>")).await;
    if reply.code != 250 {
        return reply;
    }
    wire.data(MAIL).await
}

/// Tries until the mail is taken.
async fn in_time(stage: &Stage, client: &str, from: &str, to: &str) {
    let taken = async {
        while brought(stage, client, from, to).await.code != 250 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), taken)
        .await
        .expect("it passes after the delay");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_sender_comes_again_and_is_remembered_over_a_restart() {
    let (stage, _) = stage("access: {greylisting: {delay: 1s, allowClientsAfter: 3}}\n").await;
    // A recipient that does not exist is refused for good, and makes no tuple.
    let missing = brought(&stage, "192.0.2.7", "a@good.example", "nobody@example.com").await;
    assert_eq!(missing.code, 550, "{missing:?}");
    let first = brought(&stage, "192.0.2.7", "a@good.example", "alice@example.com").await;
    assert!(
        first.code == 451 && first.has("4.7.1") && first.has("(in 1 seconds)"),
        "{first:?}"
    );
    let figures = stage.daemon.handles().metrics.text().unwrap();
    assert!(figures.contains("postroad_mta_greylist_tuples 1\n"), "{figures}");
    // From a neighbour, by another name of the same sender.
    in_time(&stage, "192.0.2.8", "A@good.example", "alice@example.com").await;
    assert_eq!(
        brought(&stage, "192.0.2.7", "a@good.example", "bob@example.com")
            .await
            .code,
        451
    );
    let config = stage.config();
    let Stage {
        daemon,
        directory,
        chain,
    } = stage;
    daemon.stop(crate::stage::AT_ONCE).await;
    let daemon = postroad_mta::daemon::Daemon::start(&config).await.unwrap();
    let stage = Stage {
        daemon,
        directory,
        chain,
    };
    let again = brought(&stage, "192.0.2.7", "a@good.example", "alice@example.com").await;
    assert_eq!(again.code, 250, "it passed before the restart: {again:?}");
    in_time(&stage, "192.0.2.7", "a@good.example", "bob@example.com").await;
    in_time(&stage, "192.0.2.7", "b@good.example", "bob@example.com").await;
    let known = brought(&stage, "192.0.2.7", "new@else.example", "alice@example.com").await;
    assert_eq!(known.code, 250, "three of this network came again: {known:?}");
    let stranger = brought(&stage, "192.0.3.7", "new@else.example", "alice@example.com").await;
    assert_eq!(stranger.code, 451, "{stranger:?}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_its_rates_and_each_recipient_counts() {
    let (stage, _) = stage(
        "relayFrom: [192.0.2.66/32]\n\
         access: {rates: {client: {messages: [{count: 3, per: 1d}], recipients: [{count: 4, per: 1d}]}}}\n",
    )
    .await;
    let mut client = session(&stage, "192.0.2.7", "mx.client.example").await;
    client
        .expect(&[
            ("MAIL FROM:<a@good.example>", 250),
            ("RCPT TO:<nobody@example.com>", 550),
            ("RCPT TO:<alice@example.com>", 250),
            ("RCPT TO:<bob@example.com>", 250),
        ])
        .await;
    assert_eq!(client.data(MAIL).await.code, 250);
    for _ in 0..2 {
        assert_eq!(
            brought(&stage, "192.0.2.7", "a@good.example", "alice@example.com")
                .await
                .code,
            250
        );
    }
    let excess = brought(&stage, "192.0.2.7", "b@else.example", "alice@example.com").await;
    assert!(
        excess.code == 450 && excess.has("4.7.28") && excess.has("from your address"),
        "{excess:?}"
    );
    for (other, sender) in [("192.0.2.8", "a@good.example"), ("192.0.2.66", "a@good.example")] {
        for _ in 0..3 {
            assert_eq!(
                brought(&stage, other, sender, "alice@example.com").await.code,
                250,
                "{other}"
            );
        }
    }
    let figures = stage.daemon.handles().metrics.text().unwrap();
    for line in [
        "postroad_mta_access_denied_total{check=\"Rate\"} 1",
        "postroad_mta_refused_total{class=\"Limit\"} 1",
    ] {
        assert!(figures.contains(line), "{line} is not in {figures}");
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_rates_wherever_the_user_is() {
    let (stage, _) = stage("access: {rates: {user: {messages: [{count: 2, per: 1d}]}, client: {messages: [{count: 1, per: 1d}]}}}\n").await;
    for _ in 0..2 {
        let mut user = alice(&stage).await;
        user.expect(&[
            ("MAIL FROM:<alice@example.com>", 250),
            ("RCPT TO:<bob@example.com>", 250),
            ("RCPT TO:<carol@else.example>", 250),
        ])
        .await;
        assert_eq!(user.data(ALICE).await.code, 250);
    }
    let mut user = alice(&stage).await;
    user.expect(&[("MAIL FROM:<alice@example.com>", 250)]).await;
    let excess = user.say("RCPT TO:<bob@example.com>").await;
    assert!(
        excess.code == 450 && excess.has("Too many messages of this user"),
        "{excess:?}"
    );
    stage.stop().await;
}

/// On one thread, so that all that the sessions write goes to the page of this test.
#[tokio::test]
async fn the_log_says_what_was_looked_at_and_what_decided() {
    let (page, _writing) = Page::begin();
    let (stage, _) = stage(
        "access:\n  \
           dnsBlocklists: [{zone: bl.example}, {zone: second.example, name: b, score: 2}]\n  \
           dnsBlocklistThreshold: 3\n  \
           reverseDns: {mode: Named}\n  \
           greylisting: {delay: 1h}\n  \
           deny: [{senderDomains: [spam.example]}]\n",
    )
    .await;
    assert_eq!(
        brought(&stage, "192.0.2.7", "a@spam.example", "alice@example.com")
            .await
            .code,
        550
    );
    assert_eq!(
        brought(&stage, "192.0.2.7", "a@good.example", "alice@example.com")
            .await
            .code,
        451
    );
    assert_eq!(
        brought(&stage, "192.0.2.66", "a@good.example", "alice@example.com")
            .await
            .code,
        550
    );
    let refused = page.events("refused");
    let of = |name: &str| {
        refused
            .iter()
            .map(|line| line[name].as_str().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("check"), ["Deny", "Greylisting", "ReverseDns"]);
    assert_eq!(
        of("access"),
        [
            "deny[0]",
            "name: mx.good.example; lists: bl.example=no b=no, 0 of 3; greylisting: 3600 seconds left",
            "name: none; lists: bl.example=127.0.0.2 (1) b=127.0.0.4 (2), 3 of 3",
        ]
    );
    are_described(&refused);
    stage.stop().await;
}
