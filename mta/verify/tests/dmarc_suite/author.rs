//! Which From fields have an author (RFC 9989 section 5.3.1; RFC 5322 section 3.6.2): a message without one never passes.

use postroad_verify::dmarc::{Check, Disposition, FromError, Request, Verdict, author};
use postroad_verify::dns::Answer;

use super::Case;
use super::zone::{dkim, spf};
use postroad_verify::dmarc::Proof;

pub const CASES: &[Case] = &[
    ("a_plain_address", a_plain_address),
    ("an_address_in_brackets_behind_a_name", an_address_in_brackets),
    ("comments_and_folds_are_passed_over", comments_and_folds),
    ("a_quoted_local_part", a_quoted_local_part),
    ("a_domain_in_unicode_is_compared_by_a_labels", a_domain_in_unicode),
    ("an_encoded_word_as_the_name_is_fine", an_encoded_name),
    ("no_from_field", no_from_field),
    ("several_from_fields", several_from_fields),
    ("several_addresses", several_addresses),
    ("several_addresses_of_one_domain", several_of_one_domain),
    ("a_group", a_group),
    ("an_encoded_word_in_the_address", an_encoded_word),
    ("control_characters", control_characters),
    ("octets_that_are_no_text", no_text),
    ("an_address_before_the_brackets", an_address_before_the_brackets),
    ("a_source_route", a_source_route),
    ("text_behind_the_brackets", text_behind_the_brackets),
    ("an_open_quote_comment_or_bracket", an_open_one),
    ("a_domain_literal_or_no_domain", no_domain),
    ("without_an_author_nothing_passes", nothing_passes),
];

fn of(field: &str) -> Result<String, FromError> {
    author(&[field]).map(|domain| domain.to_string())
}

fn is(field: &str, want: &str) {
    assert_eq!(of(field).as_deref(), Ok(want), "{field:?}");
}

fn isnt(field: &str, want: FromError) {
    assert_eq!(of(field), Err(want), "{field:?}");
}

fn a_plain_address() {
    is(" ann@Example.COM", "example.com");
    is("ann@example.com\r\n", "example.com");
}

fn an_address_in_brackets() {
    is(" Ann of Moor <ann@example.com>", "example.com");
    is(" \"Moor, Ann\" <ann@example.com>", "example.com");
    is(" J. Doe <ann@example.com>", "example.com");
    is(" \"x@other.example\" <ann@example.com>", "example.com");
}

fn comments_and_folds() {
    is(
        " (a (b) \\) c) Ann\r\n\t<ann @ example (d) . com> (e)",
        "example.com",
    );
}

fn a_quoted_local_part() {
    is(" \"a@b, c\"@example.com", "example.com");
    is(" <\"x\\\" <y@z>\"@example.com>", "example.com");
}

fn a_domain_in_unicode() {
    is(" Ann <ann@Bücher.example>", "xn--bcher-kva.example");
}

fn an_encoded_name() {
    is(
        " =?utf-8?q?Ann=40other.example?= <ann@example.com>",
        "example.com",
    );
}

fn no_from_field() {
    assert_eq!(author::<&str>(&[]), Err(FromError::Missing));
}

fn several_from_fields() {
    let two = ["ann@example.com", "ann@example.com"];
    assert_eq!(author(&two), Err(FromError::SeveralFields));
}

fn several_addresses() {
    isnt(" ann@example.com, bob@other.example", FromError::SeveralMailboxes);
    isnt(
        " Ann <ann@example.com>, Bob <bob@other.example>",
        FromError::SeveralMailboxes,
    );
    isnt(" ann@example.com,", FromError::SeveralMailboxes);
}

fn several_of_one_domain() {
    isnt(" ann@example.com, bob@example.com", FromError::SeveralMailboxes);
}

fn a_group() {
    isnt(" friends: ann@example.com;", FromError::Group);
    isnt(" nobody:;", FromError::Group);
}

fn an_encoded_word() {
    isnt(" =?utf-8?q?ann?=@example.com", FromError::EncodedWord);
    isnt(" Ann <ann@=?utf-8?q?example.com?=>", FromError::EncodedWord);
}

fn control_characters() {
    for odd in ['\0', '\u{1}', '\u{8}', '\u{b}', '\u{7f}', '\u{85}', '\r', '\n'] {
        isnt(&format!(" ann{odd}@example.com"), FromError::Control);
        isnt(&format!(" \"a{odd}\" <ann@example.com>"), FromError::Control);
    }
}

fn no_text() {
    assert_eq!(author(&[b" \xff <ann@example.com>"]), Err(FromError::Malformed));
}

fn an_address_before_the_brackets() {
    isnt(" ann@example.com <eve@other.example>", FromError::Malformed);
    isnt(" <ann@example.com> <eve@other.example>", FromError::Malformed);
}

fn a_source_route() {
    isnt(" <@other.example:ann@example.com>", FromError::Malformed);
}

fn text_behind_the_brackets() {
    isnt(" <ann@example.com> eve@other.example", FromError::Malformed);
}

fn an_open_one() {
    for open in [
        " \"Ann <ann@example.com>",
        " (Ann <ann@example.com>",
        " Ann <ann@example.com",
        " ann@[example.com",
        " Ann ann@example.com>",
        " ann)@example.com",
    ] {
        isnt(open, FromError::Malformed);
    }
}

fn no_domain() {
    isnt(" ann@[192.0.2.1]", FromError::NoDomain);
    isnt(" ann@192.0.2.1", FromError::NoDomain);
    isnt(" ann@ex!ample.com", FromError::NoDomain);
    for bad in [
        " ann",
        " ann@",
        " @example.com",
        " ann@example.com.",
        " ann@.com",
        " ann@a@b.example",
        " <>",
    ] {
        assert!(of(bad).is_err(), "{bad}");
    }
}

fn nothing_passes() {
    for (fields, problem) in [
        (vec![], FromError::Missing),
        (vec!["a@example.com"; 2], FromError::SeveralFields),
        (vec!["a@example.com, b@example.com"], FromError::SeveralMailboxes),
        (vec!["g: a@example.com;"], FromError::Group),
        (vec!["=?utf-8?q?a?=@example.com"], FromError::EncodedWord),
        (vec!["a\0@example.com"], FromError::Control),
    ] {
        let request = Request {
            author: author(&fields),
            identifiers: vec![spf("example.com", Proof::Pass), dkim("example.com", Proof::Pass)],
            each_method: false,
        };
        let outcome = Check::run(request, |_| Answer::Txt(vec![b"v=DMARC1; p=reject".to_vec()]));
        assert_eq!(
            (outcome.verdict, outcome.disposition, outcome.author),
            (Verdict::PermError, Disposition::Reject, None)
        );
        assert_eq!(outcome.problem.unwrap().to_string(), problem.to_string());
    }
}
