//! What comes out of DNS is anybody's: no text and no answer may stop a check from ending.

#![allow(clippy::unwrap_used, reason = "a test file")]

use std::net::IpAddr;

use postroad_verify::dns::{Answer, Exchanger, Kind};
use postroad_verify::spf::{Check, Outcome, Problem, Record, Request, Step, Verdict};
use proptest::prelude::*;

/// Pieces that records are made of, so that random texts reach deep into the parser.
fn record_text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("v=spf1 ".to_owned()),
        "[-+~?]?(all|a|mx|ptr|include|exists|ip4|ip6)",
        "(redirect|exp|x)=",
        "%\\{[a-zA-Z][0-9]{0,3}r?[-.+,/_=]?\\}",
        "[:/ .%]{1,3}",
        "[0-9a-f:.]{1,12}(/[0-9]{1,3})?",
        "[a-z]{1,4}\\.example",
        any::<String>(),
    ];
    prop::collection::vec(piece, 0..14).prop_map(|pieces| format!("v=spf1 {}", pieces.concat()).into_bytes())
}

fn answer(kind: Kind, texts: &[Vec<u8>], names: &[String], pick: u8) -> Answer {
    let addresses: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    match (pick % 8, kind) {
        (0, _) => Answer::Failure,
        (1, _) => Answer::NxDomain,
        (2, _) => Answer::NoData,
        // An answer of another kind than was asked for must not confuse it.
        (3, _) | (_, Kind::Ptr) => Answer::Names(names.to_vec()),
        (_, Kind::Txt) => Answer::Txt(
            texts
                .iter()
                .skip(usize::from(pick) % 3)
                .take(1)
                .cloned()
                .collect(),
        ),
        (_, Kind::Mx) => Answer::Mx(
            names
                .iter()
                .map(|host| Exchanger {
                    preference: 1,
                    host: host.clone(),
                })
                .collect(),
        ),
        (_, Kind::A | Kind::Aaaa) => Answer::Addresses(addresses),
    }
}

proptest! {
    #[test]
    fn any_octets_parse_or_are_refused(text in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Record::parse(&text);
    }

    #[test]
    fn every_check_ends_within_its_limits(
        texts in prop::collection::vec(record_text(), 3),
        names in prop::collection::vec("[a-z.]{0,20}", 0..12),
        picks in prop::collection::vec(any::<u8>(), 1..40),
        helo in any::<String>(),
        sender in any::<String>(),
        six in any::<bool>(),
    ) {
        let client = if six { "2001:db8::1" } else { "192.0.2.1" }.parse().unwrap();
        let request = Request::mail_from(client, &helo, &format!("{sender}@a.example"));
        let (mut check, mut step) = Check::start(request);
        let mut asked = 0;
        let outcome = loop {
            match step {
                Step::Done(outcome) => break outcome,
                Step::Ask(question) => {
                    asked += 1;
                    // Records: 11. Addresses: 10 for each of 10 mx, 10 for names. Then PTR and the explanation.
                    prop_assert!(asked <= 140, "no end in sight");
                    prop_assert!(!question.name.is_empty() && question.name.len() <= 253);
                    step = check.answer(answer(question.kind, &texts, &names, picks[asked % picks.len()]));
                }
            }
        };
        if let Some(words) = &outcome.explanation {
            prop_assert!(words.bytes().all(|b| (0x20..0x7f).contains(&b)));
        }
        prop_assert_eq!(check.answer(Answer::Failure), Step::Done(outcome));
    }
}

fn with_record(client: &str, record: &str) -> Outcome {
    let request = Request::mail_from(client.parse().unwrap(), "mail.example.com", "a@example.com");
    Check::run(request, |question| match question.kind {
        Kind::Txt if question.name == "example.com" => Answer::Txt(vec![record.as_bytes().to_vec()]),
        _ => Answer::NxDomain,
    })
}

#[test]
fn a_failed_lookup_is_never_read_as_no_record() {
    let request = Request::mail_from("192.0.2.1".parse().unwrap(), "h.example", "a@example.com");
    let outcome = Check::run(request, |_| Answer::Failure);
    assert_eq!(outcome.verdict, Verdict::TempError);
    assert!(matches!(outcome.problem, Some(Problem::NoAnswer(question)) if question.name == "example.com"));
}

#[test]
fn problems_are_sentences_that_say_what_to_mend() {
    for (record, want) in [
        ("v=spf1 ip4:192.0.2 -all", "`ip4:192.0.2`: needs an address"),
        ("v=spf1 include:gone.example -all", "publishes no SPF record"),
        (
            "v=spf1 redirect=gone.example",
            "`redirect=gone.example` leads to gone.example",
        ),
        ("v=spf1 a:x.example a:y.example a:z.example -all", "do not exist"),
        ("v=spf1 redirect=example.com", "more than 10 DNS look-ups"),
    ] {
        let outcome = with_record("192.0.2.1", record);
        assert_eq!(outcome.verdict, Verdict::PermError, "{record}");
        let sentence = outcome.problem.unwrap().to_string();
        assert!(sentence.contains(want), "{record}: {sentence}");
    }
}

#[test]
fn a_mapped_client_is_an_ipv4_client() {
    let outcome = with_record("::ffff:192.0.2.7", "v=spf1 ip6:::/0 ip4:192.0.2.7 -all");
    assert_eq!(outcome.matched.as_deref(), Some("ip4:192.0.2.7"));
}

#[test]
fn senders_in_unicode_are_looked_up_by_a_labels() {
    let request = Request::mail_from("192.0.2.1".parse().unwrap(), "h.example", "ü@bücher.example");
    let (_, step) = Check::start(request);
    assert!(matches!(step, Step::Ask(question) if question.name == "xn--bcher-kva.example"));
}
