//! Messages with signatures and chains, and the key records that they name.
//!
//! * No octets get a pass: their writer has no key of the zone.
//! * How the body is cut changes no verdict.
//! * What we sign and seal ourselves passes, whatever the message; no line of ours is too long.
//! * No control character comes out of anything that ends up in a header or a log.

use std::sync::Arc;

use postroad_verify::arc::{self, Sealer};
use postroad_verify::dkim::{
    BodyHashes, Header, KeyRecord, Limits, Outcome, PrivateKey, Signer, Unsignable, Verdict, Verifier, Wanted,
};
use postroad_verify::dns::{Answer, Question};

use crate::pieces;

const NOW: u64 = 1_700_000_000;
const DOMAIN: &str = "example.com";

fn key() -> Arc<PrivateKey> {
    Arc::new(PrivateKey::from_ed25519_seed(&[3; 32]).expect("32 octets are a key"))
}

/// The first line is what DNS says, the rest is the message.
fn parts(octets: &[u8]) -> (Answer, &[u8]) {
    let end = octets.iter().position(|octet| *octet == b'\n').unwrap_or(0);
    let (first, message) = octets.split_at(end);
    let answer = match first {
        b"failure" => Answer::Failure,
        b"nothing" => Answer::NoData,
        text => {
            let own = key().record().expect("a key has a record");
            Answer::Txt(vec![text.to_vec(), own.into_bytes()])
        }
    };
    (answer, message.get(1..).unwrap_or_default())
}

fn hashes(wanted: &Wanted, chunks: &[&[u8]]) -> BodyHashes {
    let mut hasher = wanted.hasher();
    for chunk in chunks {
        hasher.update(chunk);
    }
    hasher.finish()
}

fn is_clean(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

fn verdicts(message: &[u8], answer: &Answer) -> Vec<Outcome> {
    let (section, body) = Header::split(message);
    let mut wanted = Wanted::new();
    let mut verifier = Verifier::new(&Header::parse(section), &Limits::default(), NOW, &mut wanted);
    let questions = verifier.questions();
    assert!(questions.len() <= Limits::default().signatures);
    for question in &questions {
        verifier.answer(judged(question), answer);
    }
    let whole = verifier.clone().finish(&hashes(&wanted, &[body]));
    let cut = verifier.finish(&hashes(&wanted, &pieces(body)));
    assert_eq!(whole, cut, "the cuts of the body matter");
    whole
}

fn judged(question: &Question) -> &Question {
    assert!(question.name.len() <= 253 && question.name.is_ascii() && is_clean(&question.name));
    question
}

/// A message as a verifier and a signer see it.
pub fn dkim(octets: &[u8]) {
    let (answer, message) = parts(octets);
    if let Answer::Txt(texts) = &answer {
        let _ = texts.first().map(|text| KeyRecord::parse(text));
    }
    for outcome in verdicts(message, &answer) {
        assert!(outcome.verdict != Verdict::Pass && outcome.problem.is_some());
        let texts = [outcome.domain, outcome.identity, outcome.selector, outcome.mark];
        assert!(texts.iter().flatten().all(|text| is_clean(text)));
        assert!(is_clean(
            &outcome
                .problem
                .map(|problem| problem.to_string())
                .unwrap_or_default()
        ));
    }
    sign(message);
}

fn sign(message: &[u8]) {
    let (section, body) = Header::split(message);
    let header = Header::parse(section);
    let signer = Signer::new(DOMAIN)
        .and_then(|signer| signer.with_key("s", key()))
        .expect("a domain and a selector");
    let mut wanted = Wanted::new();
    signer.want(&mut wanted);
    match signer.sign(&header, &hashes(&wanted, &pieces(body)), NOW) {
        Ok(fields) => {
            assert!(fields.ends_with("\r\n") && fields.lines().all(|line| line.len() <= 78));
            let whole = [fields.as_bytes(), section, b"\r\n", body].concat();
            let own = Answer::Txt(vec![key().record().expect("a key has a record").into_bytes()]);
            // The section may end in the middle of a line; then the empty line is none.
            if Header::split(&whole).1 == body {
                assert_eq!(
                    verdicts(&whole, &own).first().map(|first| first.verdict),
                    Some(Verdict::Pass)
                );
            }
        }
        Err(Unsignable::From(count)) => assert!(count != 1),
        Err(Unsignable::BeginsFolded) => assert!(matches!(section.first(), Some(b' ' | b'\t'))),
        Err(Unsignable::TooManyFields) => {}
        Err(other) => panic!("{other}"),
    }
}

/// A message as a verifier and a sealer of chains see it.
pub fn arc(octets: &[u8]) {
    let (answer, message) = parts(octets);
    let (section, body) = Header::split(message);
    let header = Header::parse(section);
    let mut wanted = Wanted::new();
    let sealer = Sealer::new(DOMAIN, "s", key()).expect("a domain and a selector");
    sealer.want(&mut wanted);
    let mut verifier = arc::Verifier::new(&header, &Limits::default(), NOW, &mut wanted);
    let questions = verifier.questions();
    for question in &questions {
        verifier.answer(judged(question), &answer);
    }
    let hashes = hashes(&wanted, &pieces(body));
    let chain = verifier.finish(&hashes);
    assert!(chain.verdict != arc::Verdict::Pass && chain.sets.is_empty());
    assert_eq!(chain.verdict == arc::Verdict::Fail, chain.problem.is_some());
    assert!(is_clean(
        &chain
            .problem
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default()
    ));
    let results = String::from_utf8_lossy(section.get(..section.len().min(200)).unwrap_or_default());
    if let Ok(set) = sealer.seal(&header, &hashes, &chain, &results, NOW) {
        let fields = Header::parse(set.as_bytes());
        assert_eq!(fields.fields().len(), 3, "{set}");
    }
}
