//! Which record applies (RFC 9989 section 4.10.1), and what it asks for.

use postroad_verify::dmarc::{Disposition, Policy, Problem, Verdict};
use postroad_verify::dns::Answer;

use super::Case;
use super::zone::{Zone, domain};

pub const CASES: &[Case] = &[
    ("the_authors_own_record", the_authors_own),
    ("inherited_from_the_organisation", inherited),
    ("no_record_is_none", no_record),
    ("several_are_discarded_and_the_walk_goes_on", several),
    ("several_of_the_organisation_count_as_none", several_above),
    ("a_record_without_policy_counts_as_none", without_policy),
    ("a_text_that_is_not_dmarc_is_skipped", foreign_text),
    ("p_for_the_name_itself_sp_below_it", p_and_sp),
    ("np_for_a_name_that_does_not_exist", np),
    ("a_name_without_data_exists", no_data_exists),
    ("np_absent_means_sp_and_sp_absent_means_p", fallbacks),
    ("the_walk_stops_at_psd_n", psd_n),
    ("the_organisation_is_one_below_psd_y", psd_y),
    ("the_suffix_speaks_where_the_organisation_does_not", suffix_speaks),
    (
        "the_suffix_is_silent_where_the_organisation_speaks",
        suffix_is_silent,
    ),
    ("mail_of_the_suffix_itself", suffix_itself),
    ("eight_questions_at_most_and_in_order", eight_questions),
    ("eight_labels_are_asked_one_by_one", eight_labels),
    ("a_record_beyond_the_walk_is_not_found", beyond_the_walk),
    ("t_lowers_by_one_step", t_lowers),
    ("the_own_record_costs_one_question", one_question),
    ("a_name_too_long_to_ask_for", too_long),
];

fn fails(zone: &Zone, author: &str) -> (Policy, Disposition, String) {
    let outcome = zone.judge(author, &[]);
    assert_eq!(outcome.verdict, Verdict::Fail, "{outcome:?}");
    (
        outcome.requested.unwrap(),
        outcome.disposition,
        outcome.record_at.unwrap().to_string(),
    )
}

fn asks(zone: &Zone, author: &str, want: Policy, at: &str) {
    let (policy, _, found) = fails(zone, author);
    assert_eq!((policy, found.as_str()), (want, at), "{author}");
}

fn the_authors_own() {
    let zone = Zone::with("a.example.com", "v=DMARC1; p=quarantine").and("example.com", "v=DMARC1; p=reject");
    asks(&zone, "a.example.com", Policy::Quarantine, "a.example.com");
}

fn inherited() {
    let zone = Zone::with("example.com", "v=DMARC1; p=reject");
    asks(&zone, "x.y.example.com", Policy::Reject, "example.com");
}

fn no_record() {
    let outcome = Zone::default().judge("example.com", &[]);
    assert_eq!(
        (outcome.verdict, outcome.disposition, outcome.problem),
        (Verdict::None, Disposition::Accept, None)
    );
}

fn several() {
    let two = ["v=DMARC1; p=reject", "v=DMARC1; p=none"];
    let zone = Zone::with("example.com", "v=DMARC1; p=reject").texts("_dmarc.a.example.com", &two);
    asks(&zone, "a.example.com", Policy::Reject, "example.com");
    let suffix = Zone::with("com", "v=DMARC1; p=quarantine; psd=y").texts("_dmarc.example.com", &two);
    asks(&suffix, "a.example.com", Policy::Quarantine, "com");
    let alone = Zone::default().texts("_dmarc.a.example.com", &two);
    let outcome = alone.judge("a.example.com", &[]);
    assert_eq!(outcome.verdict, Verdict::None);
    assert_eq!(
        outcome.problem,
        Some(Problem::SeveralRecords(domain("a.example.com")))
    );
}

fn several_above() {
    let two = ["v=DMARC1; p=reject", "v=DMARC1; p=reject"];
    let zone = Zone::default().texts("_dmarc.example.com", &two);
    let outcome = zone.judge("a.example.com", &[]);
    assert_eq!(outcome.verdict, Verdict::None);
    assert_eq!(
        outcome.problem,
        Some(Problem::SeveralRecords(domain("example.com")))
    );
}

fn without_policy() {
    let zone = Zone::with("example.com", "v=DMARC1; p=reject").and("a.example.com", "v=DMARC1; sp=none");
    let outcome = zone.judge("a.example.com", &[]);
    assert_eq!(outcome.verdict, Verdict::None);
    assert_eq!(outcome.problem, Some(Problem::NoPolicy(domain("a.example.com"))));
}

fn foreign_text() {
    let texts = ["hello", "v=spf1 -all", "v=DMARC1; p=reject", "v=DMARC2; p=none"];
    let zone = Zone::default().texts("_dmarc.example.com", &texts);
    asks(&zone, "example.com", Policy::Reject, "example.com");
    let foreign = Zone::with("example.com", "v=DMARC1; p=reject").texts("_dmarc.a.example.com", &["hello"]);
    asks(&foreign, "a.example.com", Policy::Reject, "example.com");
}

fn p_and_sp() {
    let zone = Zone::with("example.com", "v=DMARC1; p=none; sp=reject");
    asks(&zone, "example.com", Policy::None, "example.com");
    asks(&zone, "a.example.com", Policy::Reject, "example.com");
}

fn np() {
    let zone = Zone::with("example.com", "v=DMARC1; p=none; sp=quarantine; np=reject");
    asks(&zone, "gone.example.com", Policy::Reject, "example.com");
    let there = zone.answer(
        "there.example.com",
        Answer::Addresses(vec!["192.0.2.1".parse().unwrap()]),
    );
    asks(&there, "there.example.com", Policy::Quarantine, "example.com");
}

fn no_data_exists() {
    let zone =
        Zone::with("example.com", "v=DMARC1; p=none; np=reject").answer("a.example.com", Answer::NoData);
    asks(&zone, "a.example.com", Policy::None, "example.com");
}

fn fallbacks() {
    let sp = Zone::with("example.com", "v=DMARC1; p=none; sp=quarantine");
    asks(&sp, "gone.example.com", Policy::Quarantine, "example.com");
    let np = Zone::with("example.com", "v=DMARC1; p=quarantine; np=reject")
        .answer("a.example.com", Answer::NoData);
    asks(&np, "a.example.com", Policy::Quarantine, "example.com");
    asks(&np, "gone.example.com", Policy::Reject, "example.com");
}

fn psd_n() {
    let zone =
        Zone::with("b.example.com", "v=DMARC1; p=quarantine; psd=n").and("example.com", "v=DMARC1; p=reject");
    let (outcome, asked) = zone.asked("a.b.example.com", &[]);
    assert_eq!(outcome.requested, Some(Policy::Quarantine));
    assert_eq!(asked, ["_dmarc.a.b.example.com TXT", "_dmarc.b.example.com TXT"]);
}

fn psd_y() {
    let zone = Zone::with("bank", "v=DMARC1; p=none; psd=y").and("moor.bank", "v=DMARC1; p=reject");
    asks(&zone, "a.moor.bank", Policy::Reject, "moor.bank");
}

fn suffix_speaks() {
    let zone = Zone::with("bank", "v=DMARC1; p=none; sp=reject; psd=y");
    asks(&zone, "a.moor.bank", Policy::Reject, "bank");
    asks(&zone, "moor.bank", Policy::Reject, "bank");
}

fn suffix_is_silent() {
    // A record between the author and the organisation is nobody's (section 4.10.1).
    let zone = Zone::with("bank", "v=DMARC1; p=reject; psd=y")
        .and("moor.bank", "v=DMARC1; p=quarantine")
        .and("b.moor.bank", "v=DMARC1; p=none");
    asks(&zone, "a.b.moor.bank", Policy::Quarantine, "moor.bank");
}

fn suffix_itself() {
    let zone = Zone::with("bank", "v=DMARC1; p=reject; sp=none; psd=y");
    asks(&zone, "bank", Policy::Reject, "bank");
}

fn eight_questions() {
    let (outcome, asked) = Zone::default().asked("a.b.c.d.e.f.g.h.i.j.mail.example.com", &[]);
    assert_eq!(outcome.verdict, Verdict::None);
    assert_eq!(
        asked,
        [
            "_dmarc.a.b.c.d.e.f.g.h.i.j.mail.example.com TXT",
            "_dmarc.g.h.i.j.mail.example.com TXT",
            "_dmarc.h.i.j.mail.example.com TXT",
            "_dmarc.i.j.mail.example.com TXT",
            "_dmarc.j.mail.example.com TXT",
            "_dmarc.mail.example.com TXT",
            "_dmarc.example.com TXT",
            "_dmarc.com TXT",
        ]
    );
}

fn eight_labels() {
    let (_, asked) = Zone::default().asked("a.b.c.d.e.f.g.h", &[]);
    assert_eq!(asked.len(), 8);
    assert_eq!(asked[1], "_dmarc.b.c.d.e.f.g.h TXT");
    let (_, asked) = Zone::default().asked("a.b.c.d.e.f.g.h.i", &[]);
    assert_eq!(asked.len(), 8);
    assert_eq!(asked[1], "_dmarc.c.d.e.f.g.h.i TXT");
}

fn beyond_the_walk() {
    let zone = Zone::with("b.c.d.e.f.g.example.com", "v=DMARC1; p=reject; psd=n");
    let outcome = zone.judge("mail.a.b.c.d.e.f.g.example.com", &[]);
    assert_eq!(outcome.verdict, Verdict::None);
}

fn t_lowers() {
    for (policy, want) in [
        ("reject", Disposition::Quarantine),
        ("quarantine", Disposition::Accept),
        ("none", Disposition::Accept),
    ] {
        let zone = Zone::with("example.com", &format!("v=DMARC1; p={policy}; t=y"));
        assert_eq!(fails(&zone, "example.com").1, want, "{policy}");
    }
    let zone = Zone::with("example.com", "v=DMARC1; p=reject; t=n");
    assert_eq!(fails(&zone, "example.com").1, Disposition::Reject);
}

fn one_question() {
    let zone = Zone::with("example.com", "v=DMARC1; p=reject; np=none");
    assert_eq!(zone.asked("example.com", &[]).1, ["_dmarc.example.com TXT"]);
}

fn too_long() {
    let label = "a".repeat(61);
    let author = format!("{label}.{label}.{label}.{label}.com");
    let (outcome, asked) = Zone::with("com", "v=DMARC1; p=reject").asked(&author, &[]);
    assert!(
        asked.iter().all(|question| question.len() <= 253 + 4),
        "{asked:?}"
    );
    assert_eq!(outcome.requested, Some(Policy::Reject));
}
