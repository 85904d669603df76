//! No answer is never "none", and what has no result is never a fail.

use postroad_verify::dmarc::{Disposition, Proof, Verdict};
use postroad_verify::dns::Answer;

use super::Case;
use super::zone::{Zone, dkim, spf};

pub const CASES: &[Case] = &[
    ("no_answer_about_the_author", no_answer_about_the_author),
    (
        "no_answer_about_the_organisation",
        no_answer_about_the_organisation,
    ),
    ("no_answer_about_existence", no_answer_about_existence),
    ("no_answer_in_a_walk_for_alignment", no_answer_for_alignment),
    ("a_pass_needs_no_more_answers", a_pass_needs_no_more),
    ("a_check_of_the_author_without_result", a_check_without_result),
    (
        "without_result_a_policy_of_nothing_asks_for_no_other_time",
        a_policy_of_nothing,
    ),
    (
        "a_check_of_a_stranger_without_result_is_nothing",
        a_stranger_without_result,
    ),
];

fn silent(zone: Zone, name: &str) -> Zone {
    zone.answer(name, Answer::Failure)
}

fn is_unknown(zone: &Zone, author: &str) {
    let outcome = zone.judge(author, &[]);
    assert_eq!(
        (outcome.verdict, outcome.disposition),
        (Verdict::TempError, Disposition::Defer)
    );
    assert!(outcome.problem.unwrap().to_string().contains("no answer"));
}

fn no_answer_about_the_author() {
    let zone = Zone::with("example.com", "v=DMARC1; p=none");
    is_unknown(&silent(zone, "_dmarc.a.example.com"), "a.example.com");
}

fn no_answer_about_the_organisation() {
    is_unknown(&silent(Zone::default(), "_dmarc.example.com"), "a.example.com");
    let zone = Zone::with("example.com", "v=DMARC1; p=none");
    is_unknown(&silent(zone, "_dmarc.com"), "a.example.com");
}

fn no_answer_about_existence() {
    let zone = Zone::with("example.com", "v=DMARC1; p=none; np=reject");
    is_unknown(&silent(zone, "a.example.com"), "a.example.com");
}

fn no_answer_for_alignment() {
    let zone = silent(
        Zone::with("example.com", "v=DMARC1; p=reject"),
        "_dmarc.b.example.com",
    );
    let outcome = zone.judge("example.com", &[dkim("b.example.com", Proof::Pass)]);
    assert_eq!(
        (outcome.verdict, outcome.disposition),
        (Verdict::TempError, Disposition::Defer)
    );
}

fn a_pass_needs_no_more() {
    let zone = silent(
        Zone::with("example.com", "v=DMARC1; p=reject"),
        "_dmarc.b.example.com",
    );
    let identifiers = [
        dkim("b.example.com", Proof::Pass),
        spf("c.example.com", Proof::Pass),
    ];
    assert_eq!(zone.judge("example.com", &identifiers).verdict, Verdict::Pass);
}

fn a_check_without_result() {
    let zone = Zone::with("example.com", "v=DMARC1; p=reject");
    for one in [
        spf("example.com", Proof::Unknown),
        dkim("mail.example.com", Proof::Unknown),
    ] {
        let outcome = zone.judge("example.com", &[one]);
        assert_eq!(
            (outcome.verdict, outcome.disposition),
            (Verdict::TempError, Disposition::Defer)
        );
    }
}

fn a_policy_of_nothing() {
    let unknown = [spf("a.example.com", Proof::Unknown)];
    for (record, disposition) in [
        ("v=DMARC1; p=none", Disposition::Accept),
        ("v=DMARC1; p=reject; sp=none", Disposition::Accept),
        ("v=DMARC1; p=quarantine; t=y", Disposition::Accept),
        ("v=DMARC1; p=none; sp=quarantine", Disposition::Defer),
        ("v=DMARC1; p=reject; t=y", Disposition::Defer),
        // The name has records of its own; whether it is there is known.
        ("v=DMARC1; p=none; np=reject", Disposition::Accept),
    ] {
        let zone = Zone::with("example.com", record).answer("a.example.com", Answer::NoData);
        let outcome = zone.judge("a.example.com", &unknown);
        assert_eq!(
            (outcome.verdict, outcome.disposition),
            (Verdict::TempError, disposition),
            "{record}"
        );
        assert!(outcome.problem.is_some(), "{record}");
    }
    let zone = silent(
        Zone::with("example.com", "v=DMARC1; p=none; np=reject"),
        "a.example.com",
    );
    assert_eq!(
        zone.judge("a.example.com", &unknown).disposition,
        Disposition::Defer
    );
}

fn a_stranger_without_result() {
    let zone = Zone::with("example.com", "v=DMARC1; p=reject");
    let outcome = zone.judge("example.com", &[dkim("evil.example", Proof::Unknown)]);
    assert_eq!(
        (outcome.verdict, outcome.disposition),
        (Verdict::Fail, Disposition::Reject)
    );
}
