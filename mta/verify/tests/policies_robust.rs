//! Policies, their records and TLSA records are anybody's: nothing in them may stop a reader from ending, name a server that they
//! do not name, or match a certificate that is not theirs.

#![allow(clippy::unwrap_used, reason = "a test file")]

use postroad_verify::dane::{Answer, Dane, Search, Step, Tlsa};
use postroad_verify::dns;
use postroad_verify::mta_sts::{Mode, Pattern, Policy, Record};
use proptest::prelude::*;

fn policy_text() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        "(version|mode|max_age|mx) ?:[ \t]?(STSv1|enforce|testing|none|[0-9]{1,11}|\\*\\.a\\.example|[a-c.*]{1,9})",
        "[a-z:; \t]{0,9}",
        any::<String>(),
    ];
    let lines = prop::collection::vec(line, 0..8).prop_map(|lines| lines.join("\r\n"));
    let head = "version: STSv1\nmode: enforce\nmx: \\*\\.a\\.example\nmax_age: [0-9]{1,10}\n";
    (head, lines, any::<bool>()).prop_map(|(head, lines, whole)| if whole { head + &lines } else { lines })
}

fn record_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof!["(id|x)=[a-z0-9]{0,33}", "[;= ]{1,3}", any::<String>()];
    prop::collection::vec(piece, 0..5).prop_map(|pieces| format!("v=STSv1;{}", pieces.join(";")))
}

fn answer() -> impl Strategy<Value = Answer> {
    let data = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..5);
    let end = prop::option::of("[a-c]{1,3}(\\.[a-c]{1,70}){0,3}");
    prop_oneof![
        (any::<bool>(), end, data).prop_map(|(proven, end, data)| Answer::Found { proven, end, data }),
        Just(Answer::Nothing),
        Just(Answer::Failure),
    ]
}

proptest! {
    #[test]
    fn a_policy_that_is_read_is_written_as_the_same(text in policy_text(), host in "[a-c.]{1,9}example") {
        if let Ok(policy) = Policy::parse(text.as_bytes()) {
            prop_assert_eq!(Policy::parse(policy.to_string().as_bytes()), Ok(policy.clone()));
            prop_assert!(policy.mode == Mode::None || !policy.mx.is_empty());
            prop_assert!(policy.max_age <= 31_557_600);
            prop_assert_eq!(policy.names(&host), policy.mx.iter().any(|mx| mx.names(&host)));
        }
    }

    #[test]
    fn any_octets_are_read_to_their_end(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Policy::parse(&octets);
        if let Record::Id(id) = Record::of(&dns::Answer::Txt(vec![octets])) {
            prop_assert!(id.len() <= 32);
        }
    }

    #[test]
    fn an_id_is_letters_and_digits(text in record_text()) {
        if let Record::Id(id) = Record::of(&dns::Answer::Txt(vec![text.into_bytes()])) {
            prop_assert!((1..=32).contains(&id.len()));
            prop_assert!(id.bytes().all(|octet| octet.is_ascii_alphanumeric()));
        }
    }

    #[test]
    fn an_asterisk_is_one_label(label in "[a-z0-9-]{1,20}", more in "[a-z]{1,5}") {
        let pattern = Pattern::parse("*.a.example").unwrap();
        let named = format!("{label}.a.example");
        prop_assert!(pattern.names(&named));
        let deeper = format!("{more}.{label}.a.example");
        prop_assert!(!pattern.names(&deeper));
        let beside = format!("{label}.a.example.{more}");
        prop_assert!(!pattern.names(&beside));
    }

    #[test]
    fn a_record_matches_its_own_part_alone(
        octets in prop::collection::vec(any::<u8>(), 0..80),
        certificate in prop::collection::vec(any::<u8>(), 1..50),
    ) {
        if let Some(record) = Tlsa::read(&octets) {
            // A digest of nothing that is drawn here, or the very octets.
            let (certificate, key) = (&certificate[..], &b"key"[..]);
            let whole = octets[2] == 0 && (&octets[3..] == certificate || &octets[3..] == key);
            prop_assert_eq!(record.matches(certificate, key) && !whole, false);
        }
    }

    #[test]
    fn a_search_ends_and_only_proven_records_are_used(answers in prop::collection::vec(answer(), 8)) {
        let (mut search, mut step) = Search::start("mx.example", 25);
        let mut last = None;
        for answer in answers {
            match step {
                Step::Done(_) => break,
                Step::Ask(_) => {
                    step = search.answer(answer.clone());
                    last = Some(answer);
                }
            }
        }
        let Step::Done(dane) = step else {
            return Err(TestCaseError::fail("it does not end"));
        };
        let proven = matches!(last, Some(Answer::Found { proven: true, .. }));
        match dane {
            Dane::Usable { records, .. } => prop_assert!(proven && !records.is_empty()),
            Dane::Unusable => prop_assert!(proven),
            Dane::Unknown(_) => prop_assert_eq!(last, Some(Answer::Failure)),
            Dane::Absent => {}
        }
    }
}
