//! A mailing list changes a signed message and seals what it found: trusted, it vouches for the message.

use std::sync::Arc;

use postroad_verify::arc::{self, Sealer};
use postroad_verify::dkim::{Header, Limits, Wanted};
use postroad_verify::dns::{Answer, Kind, Question};

use crate::dns;
use crate::judging::{KEY, bring, mail, results, signed, stage};

fn names(question: &Question) -> dns::Said {
    let record = |text: &str| Answer::Txt(vec![text.as_bytes().to_vec()]);
    let answer = match (question.name.as_str(), question.kind) {
        (
            "s._domainkey.strict.example" | "s._domainkey.list.example" | "s._domainkey.other.example",
            Kind::Txt,
        ) => record(&KEY.record().unwrap()),
        ("_dmarc.strict.example", Kind::Txt) => record("v=DMARC1; p=reject"),
        _ => Answer::NxDomain,
    };
    (Some(answer), Vec::new())
}

/// The message with a set more on top, of that sealer, who found this.
pub fn sealed(by: &str, found: &str, message: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.unwrap().as_secs();
    let (section, body) = Header::split(message.as_bytes());
    let header = Header::parse(section);
    let sealer = Sealer::new(by, "s", Arc::clone(&*KEY) as _).unwrap();
    let mut wanted = Wanted::new();
    sealer.want(&mut wanted);
    let mut chain = arc::Verifier::new(&header, &Limits::default(), now, &mut wanted);
    let mut hasher = wanted.hasher();
    hasher.update(body);
    let body = hasher.finish();
    for question in chain.questions() {
        chain.answer(&question, &names(&question).0.unwrap());
    }
    let set = sealer.seal(&header, &body, &chain.finish(&body), found, now);
    set.unwrap() + message
}

const TRUSTING: &str = "verification: {arc: {trustedSealers: [list.example]}, dmarc: {mode: Enforce}}\n";
const FOUND: &str = "list.example; dkim=pass header.d=strict.example; dmarc=pass header.from=strict.example";

/// As a list makes it: the signature does not hold any more.
fn changed() -> String {
    signed("s", &mail("strict.example")).replace("Subject: x", "Subject: [list] x")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_forwarder_vouches_for_what_it_changed() {
    let stage = stage(TRUSTING, names).await;
    assert_eq!(
        bring(&stage, &sealed("list.example", FOUND, &changed()))
            .await
            .code,
        250
    );
    let field = results(&stage).await;
    for part in [
        "dkim=fail ",
        "; arc=pass (i=1, sealed by list.example); dmarc=fail (asked for reject, list.example vouches for it by ARC)",
        "header.from=strict.example policy.dmarc=none",
    ] {
        assert!(field.contains(part), "{part} is not in {field}");
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_does_and_nothing_changed_later_is_vouched_for() {
    let stage = stage(TRUSTING, names).await;
    let good = sealed("list.example", FOUND, &changed());
    for (what, message) in [
        ("no chain", changed()),
        ("a stranger's seal", sealed("other.example", FOUND, &changed())),
        ("a stranger's seal on top", sealed("other.example", FOUND, &good)),
        ("the body changed later", good.replace("Hell", "Help")),
        ("From changed later", good.replace("Ann <ann@", "Boss <boss@")),
        (
            "an older verdict",
            sealed(
                "list.example",
                "list.example; dmarc=fail header.from=strict.example",
                &changed(),
            ),
        ),
        (
            "another author's verdict",
            sealed(
                "list.example",
                "list.example; dmarc=pass header.from=other.example",
                &changed(),
            ),
        ),
        (
            "a seal that is not signed",
            good.replace("dmarc=pass", "dmarc=Pass"),
        ),
    ] {
        let reply = bring(&stage, &message).await;
        assert!(reply.code == 550 && reply.has("5.7.26"), "{what}: {reply:?}");
    }
    assert_eq!(bring(&stage, &good).await.code, 250);
    stage.stop().await;
}
