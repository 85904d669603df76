//! Mail of strangers is judged by its signatures, its chain and the policy of the domain in From.

use std::sync::{Arc, LazyLock};

use postroad_verify::dkim::{Header, PrivateKey, Signer, Wanted};
use postroad_verify::dns::{Answer, Kind, Question};

use crate::client::{Client, Reply};
use crate::dns;
use crate::stage::{MAIL, Play, Stage};

pub static KEY: LazyLock<Arc<PrivateKey>> =
    LazyLock::new(|| Arc::new(PrivateKey::from_ed25519_seed(&[42; 32]).unwrap()));

/// `strict.example` wants what it does not stand behind refused, `soft.example` wants it put aside; the policy of
/// `broken.example` has no answer, and so has the key `broken` of `strict.example`.
fn names(question: &Question) -> dns::Said {
    let record = |text: &str| Answer::Txt(vec![text.as_bytes().to_vec()]);
    let answer = match (question.name.as_str(), question.kind) {
        ("s._domainkey.strict.example", Kind::Txt) => record(&KEY.record().unwrap()),
        ("_dmarc.strict.example", Kind::Txt) => record("v=DMARC1; p=reject"),
        ("_dmarc.soft.example", Kind::Txt) => record("v=DMARC1; p=quarantine"),
        ("_dmarc.broken.example" | "broken._domainkey.strict.example", _) => Answer::Failure,
        ("strict.example" | "soft.example" | "broken.example", _) => Answer::NoData,
        _ => Answer::NxDomain,
    };
    (Some(answer), Vec::new())
}

pub async fn stage(more: &str, names: impl Fn(&Question) -> dns::Said + Send + Sync + 'static) -> Stage {
    let more = format!("proxyProtocol: {{mode: Optional, trustedSources: [127.0.0.0/8]}}\n{more}");
    Play {
        more,
        resolver: dns::serve(names).to_string(),
        ..Play::default()
    }
    .start()
    .await
}

/// A session of a stranger, after EHLO.
pub async fn stranger(stage: &Stage) -> Client {
    let mut wire = Client::connect(stage.port("smtp")).await;
    wire.send(b"PROXY TCP4 192.0.2.8 192.0.2.1 40000 25\r\n").await;
    assert_eq!(wire.reply().await.code, 220);
    assert_eq!(wire.say("EHLO mx.client.example").await.code, 250);
    wire
}

const ENVELOPE: &[(&str, u16)] = &[
    ("MAIL FROM:<bounce@list.example> BODY=8BITMIME", 250),
    ("RCPT TO:<alice@example.com>", 250),
];

/// Brings one message in a session of its own.
pub async fn bring(stage: &Stage, message: &str) -> Reply {
    let mut client = stranger(stage).await;
    client.expect(ENVELOPE).await;
    client.data(message).await
}

pub fn mail(author: &str) -> String {
    format!("From: Ann <ann@{author}>\r\nTo: alice@example.com\r\nSubject: x\r\n\r\nHell\u{f6}\r\n")
}

/// The same with a signature of `strict.example` on top.
pub fn signed(selector: &str, message: &str) -> String {
    let (section, body) = Header::split(message.as_bytes());
    let signer = Signer::new("strict.example").unwrap();
    let signer = signer.with_key(selector, Arc::clone(&*KEY) as _).unwrap();
    let mut wanted = Wanted::new();
    signer.want(&mut wanted);
    let mut hasher = wanted.hasher();
    hasher.update(body);
    let fields = signer.sign(&Header::parse(section), &hasher.finish(), 1_700_000_000);
    fields.unwrap() + message
}

/// Our field on top of the newest message, unfolded.
pub async fn results(stage: &Stage) -> String {
    let id = stage.newest();
    let spool = stage.daemon.handles().spool.clone();
    let read = tokio::task::spawn_blocking(move || spool.read(id).unwrap().item.prefix);
    let prefix = String::from_utf8(read.await.unwrap()).unwrap();
    let field = prefix.split_once("\r\nReceived:").unwrap().0;
    field.replace("\r\n\t", " ")
}

const PASS: &str = "dkim=pass (256-bit key) header.d=strict.example header.s=s header.a=ed25519-sha256 \
    header.b=";
pub const ENFORCE: &str = "verification: {dmarc: {mode: Enforce}}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_message_passes_by_data_and_by_bdat_whatever_its_pieces() {
    let stage = stage(ENFORCE, names).await;
    let message = signed("s", &mail("strict.example"));
    assert_eq!(bring(&stage, &message).await.code, 250);
    let field = results(&stage).await;
    for part in [
        "Authentication-Results: mail.example.com; spf=none ",
        PASS,
        "; arc=none; dmarc=pass header.from=strict.example",
    ] {
        assert!(field.contains(part), "{part} is not in {field}");
    }
    for piece in [1, 7, 100] {
        let mut client = stranger(&stage).await;
        client.expect(ENVELOPE).await;
        for octets in message.as_bytes().chunks(piece) {
            client.send(format!("BDAT {}\r\n", octets.len()).as_bytes()).await;
            client.send(octets).await;
            assert_eq!(client.reply().await.code, 250);
        }
        assert_eq!(client.say("BDAT 0 LAST").await.code, 250);
        let field = results(&stage).await;
        assert!(
            field.contains(PASS) && field.contains("dmarc=pass"),
            "{piece}: {field}"
        );
    }
    let figures = stage.daemon.handles().metrics.text().unwrap();
    for figure in [
        "postroad_mta_dkim_total{verdict=\"Pass\"} 4",
        "postroad_mta_arc_total{verdict=\"None\"} 4",
        "postroad_mta_dmarc_total{verdict=\"Pass\",disposition=\"Accept\"} 4",
    ] {
        assert!(figures.contains(figure), "{figure} is not in {figures}");
    }
    stage.stop().await;
}

/// A body of several MiB, in a file from some point on, is hashed as it comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_signed_message_passes_and_a_changed_one_does_not() {
    let stage = stage(ENFORCE, names).await;
    let line = format!("{}\r\n", "x \t y".repeat(100));
    let message = signed("s", &(mail("strict.example") + &line.repeat(6_000)));
    assert_eq!(bring(&stage, &message).await.code, 250);
    assert!(results(&stage).await.contains(PASS));
    let changed = message.replacen("x \t y", "x \t z", 1);
    let refused = bring(&stage, &changed).await;
    assert!(refused.code == 550 && refused.has("5.7.26"), "{refused:?}");
    stage.stop().await;
}

/// RFC 8601 section 5: what claims our name goes, and a signature over it is judged as it came.
#[tokio::test(flavor = "multi_thread")]
async fn forged_results_are_gone_and_what_is_signed_with_them_is_judged_as_it_came() {
    let stage = stage(ENFORCE, names).await;
    let inner = format!(
        "Authentication-Results: mail.example.com; dkim=fail\r\n{}",
        mail("strict.example")
    );
    let forged = "Authentication-Results: mail.example.com; dmarc=pass header.from=bank.example\r\n";
    let message = format!("{forged}{}", signed("s", &inner));
    assert_eq!(bring(&stage, &message).await.code, 250);
    let (stored, body) = stage.only().await;
    let prefix = String::from_utf8(stored.item.prefix).unwrap();
    assert_eq!(prefix.matches("Authentication-Results:").count(), 1, "{prefix}");
    assert!(prefix.replace("\r\n\t", " ").contains(PASS), "{prefix}");
    assert!(
        !body.contains("Authentication-Results:") && body.starts_with("DKIM-Signature:"),
        "{body}"
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_author_wants_refused_is_refused_only_where_that_was_chosen() {
    for (more, code) in [("", 250), (ENFORCE, 550)] {
        let stage = stage(more, names).await;
        let good = signed("s", &mail("strict.example"));
        for (what, message) in [
            ("not signed", mail("strict.example")),
            (
                "From changed after it was signed",
                signed("s", &mail("soft.example")).replace("ann@soft", "ann@strict"),
            ),
            ("an author more", format!("From: <ann@strict.example>\r\n{good}")),
            ("a field in front", format!("From : boss@soft.example\r\n{good}")),
            (
                "two addresses",
                signed("s", &mail("strict.example>, <ann@soft.example")),
            ),
            ("no author", "Subject: x\r\n\r\nx\r\n".to_owned()),
        ] {
            let reply = bring(&stage, &message).await;
            assert_eq!(reply.code, code, "{what}: {reply:?}");
            if code == 550 {
                assert!(reply.has("5.7.26"), "{what}: {reply:?}");
            } else {
                let field = results(&stage).await;
                assert!(!field.contains("dmarc=pass"), "{what}: {field}");
            }
        }
        assert_eq!(stage.entries().is_empty(), code == 550);
        // Nobody's policy, and one that puts aside.
        assert_eq!(bring(&stage, &mail("nobody.example")).await.code, 250);
        assert!(
            results(&stage)
                .await
                .ends_with("dmarc=none header.from=nobody.example")
        );
        assert_eq!(bring(&stage, &mail("soft.example")).await.code, 250);
        let field = results(&stage).await;
        assert!(
            field.ends_with(
                "dmarc=fail (asked for quarantine) header.from=soft.example policy.dmarc=quarantine"
            ),
            "{field}"
        );
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_no_pass_and_defers_where_mail_is_refused_or_that_was_chosen() {
    for (more, code) in [
        (ENFORCE, 451),
        (
            "verification: {dmarc: {mode: Report, temporaryError: Defer}}\n",
            451,
        ),
        (
            "verification: {dmarc: {mode: Enforce, temporaryError: Accept}}\n",
            250,
        ),
        ("", 250),
    ] {
        let stage = stage(more, names).await;
        for message in [mail("broken.example"), signed("broken", &mail("strict.example"))] {
            let reply = bring(&stage, &message).await;
            assert_eq!(reply.code, code, "{reply:?}");
            if code == 451 {
                assert!(reply.has("4.4.3"), "{reply:?}");
            } else {
                let field = results(&stage).await;
                assert!(field.contains("dmarc=temperror reason="), "{field}");
            }
        }
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_disabled_is_not_told_and_dmarc_stands_on_it_all_the_same() {
    let stage = stage(
        "verification: {spf: {mode: Disabled}, dkim: {mode: Disabled}, arc: {mode: Disabled}}\n",
        names,
    )
    .await;
    let message = signed("s", &mail("strict.example"));
    assert_eq!(bring(&stage, &message).await.code, 250);
    assert_eq!(
        results(&stage).await,
        "Authentication-Results: mail.example.com; dmarc=pass header.from=strict.example"
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_goes_on_after_a_refusal_and_users_are_not_judged() {
    let stage = stage(&format!("relayFrom: [192.0.2.9/32]\n{ENFORCE}"), names).await;
    let mut client = stranger(&stage).await;
    client.expect(ENVELOPE).await;
    assert_eq!(client.data(&mail("strict.example")).await.code, 550);
    client.expect(ENVELOPE).await;
    assert_eq!(client.data(MAIL).await.code, 250);
    let mut known = Client::connect(stage.port("smtp")).await;
    known.send(b"PROXY TCP4 192.0.2.9 192.0.2.1 40000 25\r\n").await;
    assert_eq!(known.reply().await.code, 220);
    known.expect(&[("EHLO relay.example", 250)]).await;
    known.expect(ENVELOPE).await;
    assert_eq!(known.data(&mail("strict.example")).await.code, 250);
    stage.stop().await;
}
