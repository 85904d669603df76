//! Mail of strangers that goes on to another server is sealed with what was found of it (ARC, RFC 8617), where the domain that it was
//! sent to says so.

use postroad_verify::arc::{Outcome, Problem, Verdict, Verifier};
use postroad_verify::dkim::{Algorithm, Header, Limits, Wanted};
use postroad_verify::dns::{Answer, Kind, Question};

use crate::dns;
use crate::judging::{KEY, mail, signed, stranger};
use crate::signing::{KeyRing, newest};
use crate::stage::{DOMAINS, Play, Stage};
use crate::vouching::sealed;

/// A domain that seals, and who judges what it sealed.
struct World {
    stage: Stage,
    keys: KeyRing,
    _folder: tempfile::TempDir,
}

fn names(question: &Question) -> Answer {
    match (question.name.as_str(), question.kind) {
        ("s._domainkey.strict.example" | "s._domainkey.list.example", Kind::Txt) => {
            Answer::Txt(vec![KEY.record().unwrap().into_bytes()])
        }
        ("_dmarc.strict.example", Kind::Txt) => Answer::Txt(vec![b"v=DMARC1; p=none".to_vec()]),
        ("s._domainkey.away.example", _) => Answer::Failure,
        _ => Answer::NxDomain,
    }
}

impl World {
    async fn new(keys: &[(&'static str, Algorithm)], more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyRing::new(folder.path(), keys);
        let domains = format!("{DOMAINS}{}      arc: Forwarded\n", keys.section(folder.path()));
        let more = format!("proxyProtocol: {{mode: Optional, trustedSources: [127.0.0.0/8]}}\n{more}");
        let resolver = dns::serve(|question| (Some(names(question)), Vec::new())).to_string();
        let stage = Play {
            domains,
            more,
            resolver,
            ..Play::default()
        };
        Self {
            stage: stage.start().await,
            keys,
            _folder: folder,
        }
    }

    /// Brings a message for that address, and gives it as it leaves.
    async fn brought(&self, to: &str, message: &str) -> String {
        let mut client = stranger(&self.stage).await;
        let to = format!("RCPT TO:<{to}@example.com>");
        client
            .expect(&[("MAIL FROM:<bounce@list.example> BODY=8BITMIME", 250), (&to, 250)])
            .await;
        assert_eq!(client.data(message).await.code, 250);
        newest(&self.stage).await
    }

    /// What our own verifier says of the chain.
    fn judged(&self, message: &str) -> Outcome {
        let (section, body) = Header::split(message.as_bytes());
        let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap();
        let mut wanted = Wanted::new();
        let mut chain = Verifier::new(&Header::parse(section), &Limits::default(), now, &mut wanted);
        for question in chain.questions() {
            let own = self.keys.record(&question);
            chain.answer(&question, &own.unwrap_or_else(|| names(&question)));
        }
        let mut hasher = wanted.hasher();
        hasher.update(body);
        chain.finish(&hasher.finish())
    }

    fn seals(&self) -> u64 {
        let text = self.stage.daemon.handles().metrics.text().unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("postroad_mta_arc_seals_total "));
        line.unwrap().parse().unwrap()
    }
}

fn count(message: &str) -> usize {
    message.matches("ARC-Seal:").count()
}

/// The newest seal says this of the chain before it.
fn says(message: &str, state: &str) -> bool {
    let seal = message.split_once("\r\nARC-Message-Signature:").unwrap().0;
    let unfolded = seal.replace("\r\n", "");
    unfolded.contains(&format!("; cv={state};"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_alias_takes_elsewhere_is_sealed_with_what_was_found_of_it() {
    let kinds = [("e1", Algorithm::Ed25519Sha256), ("r1", Algorithm::RsaSha256)];
    let world = World::new(&kinds, "headers: {transfer: {add: {X-Via: us}}}\n").await;
    let good = signed("s", &mail("strict.example"));
    // Small ones stay in memory, large ones go to a file.
    for message in [good.clone(), good + &"Hell\u{f6},  world \r\n\r\n".repeat(60_000)] {
        let leaves = world.brought("sales", &message).await;
        assert!(leaves.starts_with("ARC-Seal: a=rsa-sha256;"), "{leaves:.900}");
        let outcome = world.judged(&leaves);
        assert_eq!(
            (outcome.verdict, outcome.sets.len()),
            (Verdict::Pass, 1),
            "{outcome:?}"
        );
        assert!(says(&leaves, "none") && outcome.author_signed);
        let set = &outcome.sets[0];
        assert_eq!(
            (set.sealer.as_str(), set.selector.as_str()),
            ("example.com", "r1")
        );
        for part in [
            "mail.example.com; ",
            "spf=none ",
            "dkim=",
            "arc=none",
            "dmarc=",
            "header.from=strict.example",
        ] {
            assert!(set.results.contains(part), "{part} is not in {}", set.results);
        }
        for (from, to) in [
            ("Hell\u{f6}", "Help"),
            ("\r\nSubject: x", "\r\nSubject: y"),
            ("dmarc=", "dmarc=x"),
        ] {
            let forged = leaves.replacen(from, to, 1);
            assert_eq!(world.judged(&forged).verdict, Verdict::Fail, "{to:?}");
        }
        // Here its way ends.
        assert_eq!(count(&world.brought("alice", &message).await), 0);
    }
    assert_eq!(world.seals(), 2);
    world.stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_holds_goes_on_and_one_that_failed_is_sealed_once() {
    // It is looked at though nobody is told of it.
    let more = "verification: {arc: {mode: Disabled}}\n";
    let world = World::new(&[("e1", Algorithm::Ed25519Sha256)], more).await;
    let first = sealed(
        "list.example",
        "list.example; dmarc=pass",
        &mail("strict.example"),
    );
    let leaves = world.brought("sales", &first).await;
    let outcome = world.judged(&leaves);
    assert_eq!(outcome.verdict, Verdict::Pass, "{outcome:?}");
    let sealers: Vec<_> = outcome.sets.iter().map(|set| set.sealer.as_str()).collect();
    assert_eq!(sealers, ["list.example", "example.com"]);
    assert!(says(&leaves, "pass"), "{leaves}");

    let leaves = world
        .brought("sales", &first.replacen("Hell\u{f6}", "Help", 1))
        .await;
    assert!(count(&leaves) == 2 && says(&leaves, "fail"), "{leaves}");
    assert_eq!(world.judged(&leaves).problem, Some(Problem::FailedBefore(2)));
    // Nobody adds to it.
    assert_eq!(count(&world.brought("sales", &leaves).await), 2);

    // Its key cannot be had now: whoever gets it next may know more.
    let unknown = first.replace("d=list.example", "d=away.example");
    let leaves = world.brought("sales", &unknown).await;
    assert_eq!(count(&leaves), 1, "{leaves}");
    assert_eq!(world.seals(), 2);
    world.stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_of_our_own_users_and_what_nobody_judged_is_not_sealed() {
    let keys = [("e1", Algorithm::Ed25519Sha256)];
    let world = World::new(&keys, "relayFrom: [192.0.2.0/24]\n").await;
    assert_eq!(count(&world.brought("sales", &mail("strict.example")).await), 0);
    let own = world.brought("sales", &mail("example.com")).await;
    assert!(own.starts_with("DKIM-Signature:") && count(&own) == 0);
    let nothing = "verification: {spf: {mode: Disabled}, dkim: {mode: Disabled}, arc: {mode: Disabled}, dmarc: {mode: Disabled}}\n";
    let silent = World::new(&keys, nothing).await;
    assert_eq!(count(&silent.brought("sales", &mail("strict.example")).await), 0);
    world.stage.stop().await;
    silent.stage.stop().await;
}
