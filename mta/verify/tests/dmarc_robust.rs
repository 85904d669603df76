//! Headers and DNS are anybody's: nothing in them may stop an evaluation from ending, pass for somebody else, or leave
//! the field that we write.

#![allow(clippy::unwrap_used, reason = "a test file")]

use postroad_verify::dmarc::record::Text;
use postroad_verify::dmarc::{Check, Domain, Identifier, Method, Proof, Request, Step, Verdict, author};
use postroad_verify::dns::{Answer, Kind};
use postroad_verify::results::{Claim, Field, NAME, Property, Statement, claim};
use proptest::prelude::*;

fn from_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z]{1,4}",
        "[ \t,:;<>()@.\"\\\\\\[\\]]{1,3}",
        Just("@example.com".to_owned()),
        Just("=?utf-8?q?x?=".to_owned()),
        Just("\r\n ".to_owned()),
        any::<String>(),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn record_text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        "(p|sp|np|t|psd|adkim|aspf|rua) ?= ?(none|quarantine|reject|y|n|s|mailto:a@b.c)",
        "[;= ]{1,3}",
        any::<String>(),
    ];
    prop::collection::vec(piece, 0..8)
        .prop_map(|pieces| format!("v=DMARC1;{}", pieces.join(";")).into_bytes())
}

fn domain() -> impl Strategy<Value = Domain> {
    "([a-c]\\.){0,11}(com|b\\.com|c\\.com)".prop_map(|name| Domain::parse(&name).unwrap())
}

fn identifier() -> impl Strategy<Value = Identifier> {
    let method = prop_oneof![Just(Method::Spf), Just(Method::Dkim)];
    let proof = prop_oneof![Just(Proof::Pass), Just(Proof::Fail), Just(Proof::Unknown)];
    (method, domain(), proof).prop_map(|(method, domain, proof)| Identifier {
        method,
        domain,
        proof,
    })
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in prop::collection::vec(any::<u8>(), 0..400), from in from_text()) {
        let _ = Text::parse(&text);
        let _ = author(&[&text]);
        let _ = claim(&text, "mail.example.com");
        if let Ok(domain) = author(&[&from]) {
            prop_assert!(Domain::parse(domain.as_str()) == Some(domain));
        }
    }

    #[test]
    fn every_evaluation_ends_within_its_limits_and_passes_by_an_aligned_pass_alone(
        texts in prop::collection::vec(record_text(), 1..5),
        picks in prop::collection::vec(any::<u8>(), 1..40),
        from in domain(),
        identifiers in prop::collection::vec(identifier(), 0..30),
    ) {
        let request = Request { author: Ok(from.clone()), identifiers: identifiers.clone(), each_method: true };
        let (mut check, mut step) = Check::start(request);
        let mut asked = 0_usize;
        let outcome = loop {
            match step {
                Step::Done(outcome) => break outcome,
                Step::Ask(question) => {
                    asked += 1;
                    // The author's walk, one for each of ten identifiers, and whether the author exists.
                    prop_assert!(asked <= 11 * 8 + 1, "no end in sight");
                    let pick = picks[asked % picks.len()];
                    step = check.answer(match (pick % 8, question.kind) {
                        (0, _) => Answer::Failure,
                        (1, _) => Answer::NxDomain,
                        (2, _) => Answer::NoData,
                        (3, _) => Answer::Names(vec!["x".to_owned()]),
                        (4, Kind::Txt) => Answer::Txt(texts.clone()),
                        _ => Answer::Txt(texts.iter().skip(usize::from(pick) % texts.len()).take(1).cloned().collect()),
                    });
                }
            }
        };
        if outcome.verdict == Verdict::Pass {
            let aligned = outcome.aligned.clone().unwrap();
            prop_assert!(identifiers.contains(&aligned) && aligned.proof == Proof::Pass);
            let last = |domain: &Domain| domain.as_str().rsplit('.').next().map(str::to_owned);
            prop_assert_eq!(last(&aligned.domain), last(&from));
        }
        prop_assert_eq!(check.answer(Answer::Failure), Step::Done(outcome));
    }

    #[test]
    fn nothing_leaves_the_field_that_we_write(
        words in any::<Option<String>>(),
        reason in any::<Option<String>>(),
        value in any::<String>(),
        hostile in "[\r\n\"\\\\();=@ a]{0,500}",
    ) {
        let statement = |value: &str| Statement {
            method: "spf",
            result: "fail",
            comment: words.clone(),
            reason: reason.clone(),
            properties: vec![Property { kind: "smtp", name: "mailfrom", value: value.to_owned() }],
        };
        let field = Field {
            authserv_id: "mail.example.com".to_owned(),
            statements: vec![statement(&value), statement(&hostile)],
        };
        let text = field.text();
        let body = text.strip_prefix(NAME).unwrap().strip_prefix(':').unwrap().strip_suffix("\r\n").unwrap();
        prop_assert_eq!(claim(body.as_bytes(), "MAIL.example.com"), Claim::Ours);
        for (number, line) in body.split("\r\n").enumerate() {
            prop_assert!(line.len() <= 998 && line.bytes().all(|octet| octet == b'\t' || (b' '..=b'~').contains(&octet)));
            prop_assert!(number == 0 || (line.starts_with('\t') && !line.trim().is_empty()), "{line:?}");
        }
        prop_assert_eq!(semicolons(body), 2);
    }
}

/// Semicolons outside of quotes and comments: one before each statement.
fn semicolons(text: &str) -> usize {
    let (mut count, mut depth, mut quoted, mut escaped) = (0, 0_u32, false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted || depth > 0 => escaped = true,
            '"' if depth == 0 => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            ';' if !quoted && depth == 0 => count += 1,
            _ => {}
        }
    }
    assert!(!quoted && depth == 0, "an open quote or comment: {text:?}");
    count
}
