//! Ways to get a pass that is not deserved, or to make a verifier work for nothing. Each has a name in the field.

#![allow(clippy::unwrap_used, reason = "a test file")]

mod zone;

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::Ed25519KeyPair;
use postroad_verify::dkim::{
    Canonicalization, Header, KeyError, Limits, Outcome, PrivateKey, Problem, Signer, TagError, Unsignable,
    Verdict, Verifier, Wanted, overall,
};
use postroad_verify::dns::Answer;
use zone::{Zone, above, hashes, sign, verify};

const NOW: u64 = 1_700_000_000;
const SEED: [u8; 32] = [42; 32];

const MESSAGE: &str = "Received: from a\r\nFrom: Alice <alice@example.com>\r\nTo: bob@example.org\r\n\
    Subject: hello\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700\r\n\r\nA body.\r\nOf two lines.\r\n";

const TAGS: &str = "a=ed25519-sha256; d=example.com; s=s; h=from:to:subject:date";

fn record() -> String {
    PrivateKey::from_ed25519_seed(&SEED).unwrap().record().unwrap()
}

fn zone() -> Zone {
    Zone::default().with("s", "example.com", &record())
}

fn signer() -> Signer {
    let key = PrivateKey::from_ed25519_seed(&SEED).unwrap();
    Signer::new("example.com")
        .unwrap()
        .with_key("s", Arc::new(key))
        .unwrap()
}

/// The message as our signer signs it.
fn signed(message: &str) -> String {
    let fields = sign(message.as_bytes(), &signer(), NOW).unwrap();
    format!("{fields}{message}")
}

/// The message with a right signature of other tags than our signer would write: made by code of its own.
fn signed_as(tags: &str, message: &str) -> String {
    let (header, body) = message.split_once("\r\n\r\n").unwrap();
    let tag = |name: &str| tags.split("; ").find_map(|tag| tag.strip_prefix(name));
    // The bodies here are canonical as they are.
    let length = tag("l=").map_or(body.len(), |length| length.parse().unwrap());
    let hash = base64(digest(&SHA256, &body.as_bytes()[..length.min(body.len())]).as_ref());
    let relaxed = |field: &str| {
        let (name, value) = field.split_once(':').unwrap();
        let words: Vec<&str> = value.split_whitespace().collect();
        format!("{}:{}", name.to_lowercase(), words.join(" "))
    };
    let mut fields: Vec<String> = header.split("\r\n").map(relaxed).collect();
    let mut text = String::new();
    for name in tag("h=").unwrap_or_default().split(':') {
        let prefix = format!("{}:", name.to_lowercase());
        if let Some(at) = fields.iter().rposition(|field| field.starts_with(&prefix)) {
            text.push_str(&fields.remove(at));
            text.push_str("\r\n");
        }
    }
    let unsigned = format!("DKIM-Signature: v=1; {tags}; c=relaxed/relaxed; bh={hash}; b=");
    text.push_str(&relaxed(&unsigned));
    let pair = Ed25519KeyPair::from_seed_unchecked(&SEED).unwrap();
    let signature = pair.sign(digest(&SHA256, text.as_bytes()).as_ref());
    format!("{unsigned}{}\r\n{message}", base64(signature.as_ref()))
}

fn base64(octets: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, octets)
}

fn check_with(message: &str, zone: &Zone) -> Outcome {
    let outcomes = verify(message.as_bytes(), zone, NOW, 13);
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    outcomes.into_iter().next().unwrap()
}

fn check(message: &str) -> Outcome {
    check_with(message, &zone())
}

fn problem(message: &str, zone: &Zone) -> (Verdict, Problem) {
    let outcome = check_with(message, zone);
    (outcome.verdict, outcome.problem.unwrap())
}

#[test]
fn what_is_signed_and_left_alone_passes() {
    for message in [signed(MESSAGE), signed_as(TAGS, MESSAGE)] {
        let outcome = check(&message);
        assert_eq!((outcome.verdict, outcome.problem), (Verdict::Pass, None));
        assert_eq!(outcome.domain.as_deref(), Some("example.com"));
        assert_eq!(
            (outcome.selector.as_deref(), outcome.key_bits),
            (Some("s"), Some(256))
        );
        assert!(!outcome.testing && outcome.mark.unwrap().len() == 8);
    }
}

#[test]
fn relaxed_signatures_bear_changes_of_white_space_only() {
    let message = signed(MESSAGE);
    let refolded = message.replace("Subject: hello", "SUBJECT :\thello  ");
    assert_eq!(check(&format!("{refolded}\r\n\r\n")).verdict, Verdict::Pass);
    for (from, to) in [("hello", "hell o"), ("alice@", "al1ce@")] {
        assert_eq!(
            problem(&message.replace(from, to), &zone()),
            (Verdict::Fail, Problem::Wrong)
        );
    }
    let body = message.replace("two", "three");
    assert_eq!(problem(&body, &zone()), (Verdict::Fail, Problem::BodyChanged));
}

#[test]
fn a_body_that_is_appended_behind_l_is_not_trusted() {
    let tags = format!("{TAGS}; l=9");
    let message = signed_as(&tags, MESSAGE);
    for (message, octets) in [
        (message.clone(), 24),
        (format!("{message}<b>Click here</b>\r\n"), 43),
    ] {
        let want = Problem::PartlySigned { signed: 9, octets };
        assert_eq!(problem(&message, &zone()), (Verdict::Policy, want));
    }
    // All of the body: nothing is left to append.
    let whole = signed_as(&format!("{TAGS}; l=24"), MESSAGE);
    assert_eq!(check(&whole).verdict, Verdict::Pass);
    let want = Problem::Shortened {
        signed: 24,
        octets: 9,
    };
    assert_eq!(
        problem(&whole.replace("Of two lines.\r\n", ""), &zone()),
        (Verdict::Fail, want)
    );
    let empty = signed_as(&format!("{TAGS}; l=0"), MESSAGE);
    assert_eq!(problem(&empty, &zone()).0, Verdict::Policy);
}

#[test]
fn a_second_from_is_caught_by_oversigning() {
    let message = signed(MESSAGE);
    for added in [
        "From: boss@example.com",
        "from : x@y.example",
        "Subject: pay now",
        "Reply-To: me@evil.example",
        "Content-Type: text/html",
        "Cc: all@example.com",
    ] {
        for message in [
            format!("{added}\r\n{message}"),
            message.replace("\r\nDate:", &format!("\r\n{added}\r\nDate:")),
        ] {
            assert_eq!(
                problem(&message, &zone()),
                (Verdict::Fail, Problem::Wrong),
                "{added}"
            );
        }
    }
    // Trace fields come on the way.
    assert_eq!(
        check(&format!("Received: from x\r\n{message}")).verdict,
        Verdict::Pass
    );
}

/// Another signer's, that signs only what is there: the pass is right by RFC 6376, and the second From is for DMARC to refuse.
#[test]
fn a_second_from_above_an_unprotected_one_is_seen_as_two() {
    let message = format!("From: boss@example.com\r\n{}", signed_as(TAGS, MESSAGE));
    assert_eq!(check(&message).verdict, Verdict::Pass);
    let (section, _) = Header::split(message.as_bytes());
    assert_eq!(Header::parse(section).named("from").count(), 2);
    // One below is the one that a verifier takes first.
    let below = signed_as(TAGS, MESSAGE).replace("Date:", "From: boss@example.com\r\nDate:");
    assert_eq!(problem(&below, &zone()), (Verdict::Fail, Problem::Wrong));
}

#[test]
fn a_message_with_two_authors_or_none_is_not_signed() {
    for (message, count) in [
        (format!("From: x@example.com\r\n{MESSAGE}"), 2),
        (MESSAGE.replace("From:", "X-From:"), 0),
    ] {
        let refused = sign(message.as_bytes(), &signer(), NOW);
        assert_eq!(refused, Err(Unsignable::From(count)));
    }
    let many = format!("{}{MESSAGE}", "To: x@example.com\r\n".repeat(1_000));
    assert_eq!(
        sign(many.as_bytes(), &signer(), NOW),
        Err(Unsignable::TooManyFields)
    );
}

/// Its first line would become the end of our own field, with tags of the sender's choice.
#[test]
fn a_message_that_begins_in_the_middle_of_a_field_is_not_signed() {
    let refused = sign(format!(" b=AAAA\r\n{MESSAGE}").as_bytes(), &signer(), NOW);
    assert_eq!(refused, Err(Unsignable::BeginsFolded));
}

#[test]
fn a_signature_without_from_proves_nothing() {
    let message = signed_as("a=ed25519-sha256; d=example.com; s=s; h=to:subject", MESSAGE);
    assert_eq!(
        problem(&message, &zone()),
        (Verdict::PermError, Problem::FromNotSigned)
    );
}

#[test]
fn rsa_sha1_is_refused_before_its_key_is_asked_for() {
    let message = signed_as(&TAGS.replace("ed25519-sha256", "rsa-sha1"), MESSAGE);
    assert_eq!(
        problem(&message, &zone()),
        (Verdict::PermError, Problem::Historic)
    );
    let (section, _) = Header::split(message.as_bytes());
    let verifier = Verifier::new(
        &Header::parse(section),
        &Limits::default(),
        NOW,
        &mut Wanted::new(),
    );
    assert_eq!(verifier.questions(), []);
}

#[test]
fn an_rsa_key_of_512_bits_is_refused() {
    // Made for this test; its other half is not kept.
    const SHORT: &str = "v=DKIM1; k=rsa; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAPUyo+PYRYuKcQjUrHPoSvzBlmPRPAHD\
        qc/CZXIQZXL85uSK+6JY+WqPtfgJuH9UAdqFbIaymXjdETD98POpk38CAwEAAQ==";
    let message = signed_as(&TAGS.replace("ed25519-sha256", "rsa-sha256"), MESSAGE);
    let zone = Zone::default().with("s", "example.com", SHORT);
    let want = Problem::Key(KeyError::Short(512));
    assert_eq!(problem(&message, &zone), (Verdict::PermError, want));
}

#[test]
fn tags_that_are_given_twice_spoil_the_signature() {
    let message = signed_as(&format!("{TAGS}; d=victim.example"), MESSAGE);
    let want = Problem::Tags(TagError::Twice("d".to_owned()));
    assert_eq!(problem(&message, &zone()), (Verdict::Neutral, want));
}

#[test]
fn a_key_for_the_domain_alone_does_not_serve_its_sub_domains() {
    let strict = Zone::default().with("s", "example.com", &format!("{}; t=s", record()));
    let sub = signed_as(&format!("{TAGS}; i=@mail.example.com"), MESSAGE);
    assert_eq!(check(&sub).verdict, Verdict::Pass);
    let want = Problem::Key(KeyError::Strict);
    assert_eq!(problem(&sub, &strict), (Verdict::PermError, want));
    let own = signed_as(&format!("{TAGS}; i=alice@EXAMPLE.com"), MESSAGE);
    assert_eq!(check_with(&own, &strict).verdict, Verdict::Pass);
    let other = signed_as(&format!("{TAGS}; i=@evilexample.com"), MESSAGE);
    assert_eq!(problem(&other, &zone()), (Verdict::PermError, Problem::Identity));
}

#[test]
fn signatures_have_their_time() {
    for (times, want) in [
        (format!("t={NOW}; x={}", NOW + 1), None),
        (format!("x={}", NOW - 300), None),
        (format!("x={}", NOW - 301), Some(Problem::Expired(NOW - 301))),
        (format!("t={}", NOW + 300), None),
        (format!("t={}", NOW + 301), Some(Problem::Future(NOW + 301))),
        (format!("t={NOW}; x={NOW}"), Some(Problem::Malformed("x"))),
        ("x=999999999999999999999999".to_owned(), None),
    ] {
        let outcome = check(&signed_as(&format!("{TAGS}; {times}"), MESSAGE));
        assert_eq!(outcome.problem, want, "{times}");
        let verdict = want.map_or(Verdict::Pass, |problem| problem.verdict());
        assert_eq!(outcome.verdict, verdict, "{times}");
    }
    let expiring = sign(MESSAGE.as_bytes(), &signer().expiring(60), NOW).unwrap();
    let message = above(&expiring, MESSAGE.as_bytes());
    let later = |seconds| verify(&message, &zone(), NOW + seconds, 100)[0].verdict;
    assert_eq!((later(60), later(361)), (Verdict::Pass, Verdict::Fail));
}

#[test]
fn a_failed_look_up_is_not_a_missing_key() {
    let message = signed(MESSAGE);
    let (section, body) = Header::split(message.as_bytes());
    for (answer, want) in [
        (Some(Answer::Failure), Verdict::TempError),
        (None, Verdict::TempError),
        // An answer of another kind than was asked for is none.
        (Some(Answer::Names(Vec::new())), Verdict::TempError),
        (Some(Answer::NoData), Verdict::PermError),
        (Some(Answer::NxDomain), Verdict::PermError),
        (Some(Answer::Txt(Vec::new())), Verdict::PermError),
    ] {
        let mut wanted = Wanted::new();
        let mut verifier = Verifier::new(&Header::parse(section), &Limits::default(), NOW, &mut wanted);
        let questions = verifier.questions();
        assert_eq!(questions.len(), 1);
        if let Some(answer) = &answer {
            verifier.answer(&questions[0], answer);
        }
        let outcomes = verifier.finish(&hashes(&wanted, body, 100));
        assert_eq!(outcomes[0].verdict, want, "{answer:?}");
    }
}

#[test]
fn revoked_keys_and_keys_among_other_texts() {
    let message = signed(MESSAGE);
    let with = |texts: &[&str]| {
        texts
            .iter()
            .fold(Zone::default(), |zone, text| zone.with("s", "example.com", text))
    };
    let good = record();
    let another = PrivateKey::from_ed25519_seed(&[1; 32]).unwrap().record().unwrap();
    for texts in [
        &["v=spf1 -all", &good][..],
        &[&another, &good],
        &["v=DKIM1; p=", &good],
    ] {
        assert_eq!(
            check_with(&message, &with(texts)).verdict,
            Verdict::Pass,
            "{texts:?}"
        );
    }
    for (texts, want) in [
        (&["v=DKIM1; p="][..], Problem::Key(KeyError::Revoked)),
        (&["v=spf1 -all", "v=DKIM1; p="], Problem::Key(KeyError::Revoked)),
        (&[&another, "v=spf1 -all"], Problem::Wrong),
        // There is an end to trying.
        (
            &["a=1", "a=1", "a=1", "a=1", &good],
            Problem::Key(KeyError::NoKey),
        ),
    ] {
        assert_eq!(problem(&message, &with(texts)).1, want, "{texts:?}");
    }
}

#[test]
fn a_domain_that_tests_says_so() {
    let testing = Zone::default().with("s", "example.com", &format!("{}; t=y", record()));
    let outcome = check_with(&signed(MESSAGE), &testing);
    assert!(outcome.testing && outcome.verdict == Verdict::Pass);
    let outcome = check_with(&signed(MESSAGE).replace("hello", "bye"), &testing);
    assert!(outcome.testing && outcome.verdict == Verdict::Fail);
}

#[test]
fn ten_thousand_signatures_are_counted_and_ten_looked_at() {
    let one = signed(MESSAGE);
    let field = one.strip_suffix(MESSAGE).unwrap();
    let message = format!("{}{one}", field.repeat(10_000));
    let (section, body) = Header::split(message.as_bytes());
    let limits = Limits {
        header_octets: usize::MAX,
        ..Limits::default()
    };
    let mut wanted = Wanted::new();
    let mut verifier = Verifier::new(&Header::parse(section), &limits, NOW, &mut wanted);
    let questions = verifier.questions();
    assert_eq!(questions.len(), 1, "one key is asked for once");
    verifier.answer(&questions[0], &zone().answer(&questions[0]));
    let outcomes = verifier.finish(&hashes(&wanted, body, 100));
    assert_eq!(outcomes.len(), 11);
    assert_eq!(outcomes[10].problem, Some(Problem::TooMany(9_991)));
    assert!(
        outcomes[..10]
            .iter()
            .all(|outcome| outcome.verdict == Verdict::Pass)
    );
    assert_eq!(overall(&outcomes), Verdict::Pass);
    // The header is above its limit too.
    let outcomes = verify(message.as_bytes(), &zone(), NOW, 100);
    assert_eq!(outcomes[0].problem, Some(Problem::LargeHeader(1024 * 1024)));
    assert_eq!(overall(&outcomes), Verdict::Policy);
}

#[test]
fn large_headers_and_signatures_are_refused_unread() {
    let message = format!("X: {}\r\n{}", "x".repeat(1024 * 1024), signed(MESSAGE));
    assert_eq!(problem(&message, &zone()).1, Problem::LargeHeader(1024 * 1024));
    let message = signed_as(&format!("{TAGS}; z={}", "x".repeat(40_000)), MESSAGE);
    assert_eq!(
        problem(&message, &zone()),
        (Verdict::Policy, Problem::TooLarge(32 * 1024))
    );
    let names = format!("from{}", ":a".repeat(10_000));
    let many = format!("{}{MESSAGE}", "A: b\r\n".repeat(10_000));
    let message = signed_as(&TAGS.replace("from:", &format!("{names}:")), &many);
    assert_eq!(check(&message).verdict, Verdict::Pass);
}

/// The hasher keeps a few kilobytes whatever the body is: its size is a constant of the code, and what it gives back for 50 MB
/// in small chunks is what one call gives.
#[test]
fn a_body_of_50_mb_streams_through() {
    let line = [b"word \t ".repeat(10).as_slice(), b"\r\n\r\n\r\n"].concat();
    let mut wanted = Wanted::new();
    wanted.add(Canonicalization::Relaxed, None);
    wanted.add(Canonicalization::Simple, Some(1_000));
    let mut small = wanted.hasher();
    let mut sent = 0_usize;
    while sent < 50_000_000 {
        small.update(&line);
        sent += line.len();
    }
    // Octets of empty lines at the end stay a count.
    for _ in 0..10_000 {
        small.update(b"\r\n\r\n");
    }
    let lines = sent / line.len();
    let small = small.finish();
    let hash = small.find(Canonicalization::Relaxed, None).unwrap();
    // 49 octets of words and one line end, two more between.
    assert_eq!(hash.octets, (lines * 55 - 4) as u64);
    let canonical = [b"word ".repeat(10).trim_ascii_end(), b"\r\n\r\n\r\n"]
        .concat()
        .repeat(lines);
    let want = digest(&SHA256, &canonical[..canonical.len() - 4]);
    assert_eq!(hash.sha256[..], *want.as_ref());
}

#[test]
fn control_characters_and_nul_never_pass_into_an_outcome() {
    let message = signed_as(&format!("{TAGS}; i=a\u{0}b@example.com"), MESSAGE);
    let outcome = check(&message);
    assert_eq!((outcome.verdict, outcome.identity), (Verdict::Neutral, None));
}
