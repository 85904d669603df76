//! Mail that is made to cost much, or to get a verdict that it does not deserve: bounded work, and never a pass.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postroad_verify::dns::{Answer, Kind, Question};

use crate::dns;
use crate::judging::{ENFORCE, KEY, bring, mail, results, signed, stage, stranger};
use crate::stage::Stage;

/// Who was asked for, each name once.
type Asked = Arc<Mutex<BTreeSet<String>>>;

/// `strict.example` as its owner publishes it; every other name has no answer that helps.
fn usual(question: &Question) -> dns::Said {
    let record = |text: &str| Answer::Txt(vec![text.as_bytes().to_vec()]);
    let answer = match (question.name.as_str(), question.kind) {
        ("s._domainkey.strict.example", Kind::Txt) => record(&KEY.record().unwrap()),
        ("_dmarc.strict.example", Kind::Txt) => record("v=DMARC1; p=reject"),
        _ => Answer::NxDomain,
    };
    (Some(answer), Vec::new())
}

async fn watched(more: &str) -> (Stage, Asked) {
    let asked = Asked::default();
    let notes = Arc::clone(&asked);
    let find = move |question: &Question| {
        notes.lock().unwrap().insert(question.name.clone());
        usual(question)
    };
    (stage(more, find).await, asked)
}

/// What a session holds is given back, and never was more than a few headers.
fn is_modest(stage: &Stage) {
    let metrics = &stage.daemon.handles().metrics;
    assert_eq!(metrics.buffers.get(), 0);
    assert!(
        metrics.buffers_highest.get() <= 8 << 20,
        "{}",
        metrics.buffers_highest.get()
    );
}

fn keys(asked: &Asked) -> usize {
    let asked = asked.lock().unwrap();
    asked.iter().filter(|name| name.contains("._domainkey.")).count()
}

/// Ten thousand are more fields than a header may have. Of fewer, ten are all that is asked for: a right one below them is not
/// looked at.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_signatures_cost_ten_and_pass_nothing() {
    let (stage, asked) = watched(ENFORCE).await;
    let good = signed("s", &mail("strict.example"));
    assert_eq!(bring(&stage, &good).await.code, 250);
    asked.lock().unwrap().clear();
    let short = |number: usize| format!("DKIM-Signature: v=1;n={number}\r\n");
    let many: String = (0..10_000).map(short).collect();
    let refused = bring(&stage, &(many + &good)).await;
    assert!(refused.code == 552 && refused.has("5.3.4"), "{refused:?}");
    assert_eq!(keys(&asked), 0, "nothing of them can be read");
    let proper = |number: usize| {
        format!(
            "DKIM-Signature: v=1; a=ed25519-sha256; d=strict.example; s=s{number}; h=from:from; bh={bh}; b={b}\r\n",
            bh = "aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g=",
            b = "c2ln".repeat(20)
        )
    };
    let many: String = (0..4_000).map(proper).collect();
    let refused = bring(&stage, &(many + &good)).await;
    assert!(refused.code == 550 && refused.has("5.7.26"), "{refused:?}");
    assert_eq!(keys(&asked), 10);
    is_modest(&stage);
    stage.stop().await;
}

/// Nobody's policy: taken, with what was looked at in the field and no more.
#[tokio::test(flavor = "multi_thread")]
async fn the_field_stays_short_whatever_a_message_brings() {
    let (stage, _) = watched("").await;
    let many = "DKIM-Signature: v=1; a=rsa-sha256; d=x; s=y; h=from; bh=aGFzaA==; b=c2ln\r\n".repeat(4_900);
    assert_eq!(bring(&stage, &(many + &mail("nobody.example"))).await.code, 250);
    let field = results(&stage).await;
    assert_eq!(field.matches("dkim=").count(), 11);
    assert!(
        field.contains("dkim=policy reason=\"4890 more signatures were not looked at\"")
            && field.len() < 4_000,
        "{field}"
    );
    stage.stop().await;
}

/// A chain of a thousand sets is none, and asks for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_is_too_long_fails_and_asks_nothing() {
    let (stage, asked) = watched("").await;
    let set = |number: usize| {
        format!(
            "ARC-Seal: i={number}; a=rsa-sha256; cv=pass; d=x.example; s=y; b=c2ln\r\n\
             ARC-Message-Signature: i={number}; a=rsa-sha256; d=x.example; s=y; h=from; bh=aGFzaA==; b=c2ln\r\n\
             ARC-Authentication-Results: i={number}; x.example; dmarc=pass\r\n"
        )
    };
    let chain: String = (1..=1_000).rev().map(set).collect();
    assert_eq!(bring(&stage, &(chain + &mail("nobody.example"))).await.code, 250);
    let field = results(&stage).await;
    assert!(field.contains("; arc=fail reason=\""), "{field}");
    assert_eq!(keys(&asked), 0);
    is_modest(&stage);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_of_a_mebibyte_is_judged_and_a_larger_one_refused() {
    let (stage, _) = watched(ENFORCE).await;
    let good = signed("s", &mail("strict.example"));
    let field = format!("a: {}\r\n", "x".repeat(245));
    let filled = |octets: usize| format!("{}{good}", field.repeat((octets - good.len()) / field.len()));
    assert_eq!(bring(&stage, &filled(1 << 20)).await.code, 250);
    assert!(results(&stage).await.contains("dmarc=pass"));
    let refused = bring(&stage, &filled((1 << 20) + 4_096)).await;
    assert!(refused.code == 552 && refused.has("5.3.4"), "{refused:?}");
    // No field is the end of a header for some readers, and of none here.
    let hidden = format!("no field\r\n{}", filled((1 << 20) + 4_096));
    assert_eq!(bring(&stage, &hidden).await.code, 552);
    let many = format!("no field\r\n{}{good}", "a:\r\n".repeat(6_000));
    let refused = bring(&stage, &many).await;
    assert!(refused.code == 552 && refused.has("5.3.4"), "{refused:?}");
    let wide = format!("X: {}\r\n{good}", "x".repeat(900).repeat(1_300));
    let refused = bring(&stage, &wide).await;
    assert!(refused.code == 552 && refused.has("5.3.4"), "{refused:?}");
    is_modest(&stage);
    stage.stop().await;
}

/// Octets that are no text, names that mean something elsewhere, parts within parts: a verdict, and the session goes on.
#[tokio::test(flavor = "multi_thread")]
async fn odd_content_gets_a_verdict_and_no_pass() {
    let (stage, _) = watched(ENFORCE).await;
    let good = signed("s", &mail("strict.example"));
    let nested = "Content-Type: message/rfc822\r\n\r\n".repeat(5_000);
    for (what, message, code) in [
        ("a zero octet", format!("X: a\0b\r\n{good}"), 550),
        (
            "names of others",
            format!("__proto__: c\r\nconstructor: d\r\n{good}"),
            250,
        ),
        (
            "a control character in From",
            mail("strict.example").replace("Ann", "A\u{1}nn"),
            550,
        ),
        ("nested", format!("{}{nested}", mail("strict.example")), 550),
        (
            "folded first, which is all body",
            format!(" folded\r\n{good}"),
            550,
        ),
        ("no header", "\r\nbody\r\n".to_owned(), 550),
        ("empty", String::new(), 550),
    ] {
        let reply = bring(&stage, &message).await;
        assert_eq!(reply.code, code, "{what}: {reply:?}");
    }
    is_modest(&stage);
    stage.stop().await;
}

/// A name server that is of the attacker. The signature is right in all of these; its key is never had.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_answers_of_the_dns_are_no_pass() {
    let find = |question: &Question| {
        let record = KEY.record().unwrap().into_bytes();
        let (first, rest) = question.name.split_once('.').unwrap_or_default();
        match (first, rest) {
            ("loop", "_domainkey.strict.example") => {
                let alias = |name: &str| format!("{name}._domainkey.strict.example");
                (Some(Answer::NoData), vec![alias("a"), alias("b"), alias("a")])
            }
            ("huge", "_domainkey.strict.example") => (
                Some(Answer::Txt(vec![[record, vec![b' '; 55_000]].concat()])),
                Vec::new(),
            ),
            ("many", "_domainkey.strict.example") => {
                let mut texts = vec![b"v=DKIM1; p=".to_vec(); 900];
                texts.push(record);
                (Some(Answer::Txt(texts)), Vec::new())
            }
            ("binary", "_domainkey.strict.example") => {
                let text: Vec<u8> = (0..=255).cycle().take(4_000).collect();
                (Some(Answer::Txt(vec![text])), Vec::new())
            }
            ("failing", "_domainkey.strict.example") => (Some(Answer::Failure), Vec::new()),
            _ => usual(question),
        }
    };
    let stage = stage(
        "verification: {dmarc: {mode: Enforce, temporaryError: Defer}}\n",
        find,
    )
    .await;
    for (selector, codes) in [
        ("loop", [451, 550]),
        ("huge", [550, 550]),
        ("many", [550, 550]),
        ("binary", [550, 550]),
        ("failing", [451, 451]),
        ("absent", [550, 550]),
    ] {
        let reply = bring(&stage, &signed(selector, &mail("strict.example"))).await;
        assert!(codes.contains(&reply.code), "{selector}: {reply:?}");
    }
    assert_eq!(
        bring(&stage, &signed("s", &mail("strict.example"))).await.code,
        250
    );
    is_modest(&stage);
    stage.stop().await;
}

/// Ten keys and a policy of which none is ever answered: one wait for all of them, then "come again".
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_dns_holds_a_session_for_one_wait_and_no_more() {
    let find = |question: &Question| match question.name.as_str() {
        name if name.contains("strict.example") => (None, Vec::new()),
        _ => usual(question),
    };
    let stage = stage(
        "verification: {dmarc: {mode: Enforce, temporaryError: Defer}}\n",
        find,
    )
    .await;
    let message = (0..10).fold(mail("strict.example"), |message, number| {
        signed(&format!("silent{number}"), &message)
    });
    let mut client = stranger(&stage).await;
    // Twenty seconds are the most; the rest is for a busy machine. One after the other would take ten times as long.
    client.patience = Duration::from_mins(1);
    client
        .expect(&[
            ("MAIL FROM:<bounce@list.example> BODY=8BITMIME", 250),
            ("RCPT TO:<alice@example.com>", 250),
        ])
        .await;
    let reply = client.data(&message).await;
    assert!(reply.code == 451 && reply.has("4.4.3"), "{reply:?}");
    assert!(stage.entries().is_empty());
    is_modest(&stage);
    stage.stop().await;
}

/// Signatures and a chain of a forger's own, whose keys are never answered: the author's policy is known all the same.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_never_answered_do_not_hide_the_policy() {
    let find = |question: &Question| match question.name.as_str() {
        name if name.contains("silent") => (None, Vec::new()),
        _ => usual(question),
    };
    let stage = stage(ENFORCE, find).await;
    let hash = "bh=aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g=; b=c2ln";
    let set = |i: u8| {
        let claim = if i == 1 { "none" } else { "pass" };
        format!(
            "ARC-Seal: i={i}; a=rsa-sha256; cv={claim}; d=a.silent.example; s=s{i}; b=c2ln\r\n\
             ARC-Message-Signature: i={i}; a=rsa-sha256; d=a.silent.example; s=m{i}; h=from; {hash}\r\n\
             ARC-Authentication-Results: i={i}; a.silent.example; none\r\n"
        )
    };
    let signature =
        |s: u8| format!("DKIM-Signature: v=1; a=rsa-sha256; d=b.silent.example; s=d{s}; h=from; {hash}\r\n");
    let chain: String = (1..=20).rev().map(set).collect();
    let signatures: String = (0..10).map(signature).collect();
    let mut client = stranger(&stage).await;
    client.patience = Duration::from_mins(1);
    client
        .expect(&[
            ("MAIL FROM:<bounce@list.example> BODY=8BITMIME", 250),
            ("RCPT TO:<alice@example.com>", 250),
        ])
        .await;
    let reply = client
        .data(&format!("{chain}{signatures}{}", mail("strict.example")))
        .await;
    assert!(reply.code == 550 && reply.has("5.7.26"), "{reply:?}");
    stage.stop().await;
}
