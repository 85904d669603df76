//! Which identifiers speak for the author (RFC 9989 section 4.10.2).

use postroad_verify::dmarc::{Disposition, Identifier, Proof, Verdict};
use postroad_verify::dns::Answer;

use super::Case;
use super::zone::{Zone, dkim, spf};

pub const CASES: &[Case] = &[
    ("the_same_domain", the_same_domain),
    ("relaxed_takes_the_organisation", relaxed),
    ("strict_takes_the_same_name_alone", strict),
    ("spf_and_dkim_have_modes_of_their_own", modes),
    ("another_organisation_never", another_organisation),
    ("a_name_that_only_ends_alike_never", ends_alike),
    ("psd_n_parts_an_organisation", psd_n_parts),
    ("below_a_public_suffix_all_are_strangers", below_a_suffix),
    ("what_has_not_passed_says_nothing", not_passed),
    ("one_of_many_is_enough", one_of_many),
    ("walks_share_their_answers", shared_answers),
    ("a_flood_of_identifiers_is_bounded", flood),
];

fn verdict(zone: &Zone, author: &str, identifiers: &[Identifier]) -> Verdict {
    zone.judge(author, identifiers).verdict
}

fn example() -> Zone {
    Zone::with("example.com", "v=DMARC1; p=reject")
}

fn the_same_domain() {
    let outcome = example().judge("example.com", &[dkim("EXAMPLE.com", Proof::Pass)]);
    assert_eq!(
        (outcome.verdict, outcome.disposition),
        (Verdict::Pass, Disposition::Accept)
    );
    assert_eq!(outcome.aligned, Some(dkim("example.com", Proof::Pass)));
}

fn relaxed() {
    for (author, signer) in [
        ("example.com", "mail.example.com"),
        ("mail.example.com", "example.com"),
        ("a.example.com", "b.c.example.com"),
    ] {
        for one in [spf(signer, Proof::Pass), dkim(signer, Proof::Pass)] {
            assert_eq!(
                verdict(&example(), author, &[one]),
                Verdict::Pass,
                "{author} {signer}"
            );
        }
    }
}

fn strict() {
    let zone = Zone::with("example.com", "v=DMARC1; p=reject; adkim=s; aspf=s");
    for one in [
        spf("a.example.com", Proof::Pass),
        dkim("a.example.com", Proof::Pass),
    ] {
        assert_eq!(verdict(&zone, "example.com", &[one]), Verdict::Fail);
    }
    assert_eq!(
        verdict(&zone, "example.com", &[spf("example.com", Proof::Pass)]),
        Verdict::Pass
    );
}

fn modes() {
    let zone = Zone::with("example.com", "v=DMARC1; p=reject; adkim=s");
    assert_eq!(
        verdict(&zone, "example.com", &[dkim("a.example.com", Proof::Pass)]),
        Verdict::Fail
    );
    assert_eq!(
        verdict(&zone, "example.com", &[spf("a.example.com", Proof::Pass)]),
        Verdict::Pass
    );
}

fn another_organisation() {
    let zone = example()
        .and("evil.example", "v=DMARC1; p=none")
        .and("evil.com", "v=DMARC1; p=none");
    for name in ["evil.example", "evil.com", "com", "example.com.evil.com"] {
        let identifiers = [spf(name, Proof::Pass), dkim(name, Proof::Pass)];
        assert_eq!(
            verdict(&zone, "example.com", &identifiers),
            Verdict::Fail,
            "{name}"
        );
    }
}

fn ends_alike() {
    for name in ["notexample.com", "xexample.com", "e-example.com"] {
        assert_eq!(
            verdict(&example(), "example.com", &[dkim(name, Proof::Pass)]),
            Verdict::Fail
        );
    }
}

fn psd_n_parts() {
    let zone = example().and("dept.example.com", "v=DMARC1; p=reject; psd=n");
    let from_dept = [dkim("mail.dept.example.com", Proof::Pass)];
    assert_eq!(verdict(&zone, "example.com", &from_dept), Verdict::Fail);
    assert_eq!(verdict(&zone, "x.dept.example.com", &from_dept), Verdict::Pass);
    let from_main = [dkim("example.com", Proof::Pass)];
    assert_eq!(verdict(&zone, "x.dept.example.com", &from_main), Verdict::Fail);
}

fn below_a_suffix() {
    let zone = Zone::with("bank", "v=DMARC1; p=reject; psd=y");
    assert_eq!(
        verdict(&zone, "moor.bank", &[dkim("other.bank", Proof::Pass)]),
        Verdict::Fail
    );
    assert_eq!(
        verdict(&zone, "moor.bank", &[dkim("bank", Proof::Pass)]),
        Verdict::Fail
    );
    assert_eq!(
        verdict(&zone, "a.moor.bank", &[dkim("b.moor.bank", Proof::Pass)]),
        Verdict::Pass
    );
}

fn not_passed() {
    let identifiers = [spf("example.com", Proof::Fail), dkim("example.com", Proof::Fail)];
    let outcome = example().judge("example.com", &identifiers);
    assert_eq!(
        (outcome.verdict, outcome.disposition),
        (Verdict::Fail, Disposition::Reject)
    );
}

fn one_of_many() {
    let identifiers = [
        spf("list.example", Proof::Pass),
        dkim("list.example", Proof::Pass),
        dkim("example.com", Proof::Fail),
        dkim("mail.example.com", Proof::Pass),
    ];
    let outcome = example().judge("example.com", &identifiers);
    assert_eq!(outcome.verdict, Verdict::Pass);
    assert_eq!(outcome.aligned, Some(dkim("mail.example.com", Proof::Pass)));
}

fn shared_answers() {
    let identifiers = [spf("b.example.com", Proof::Pass)];
    let (outcome, asked) = example().asked("a.example.com", &identifiers);
    assert_eq!(outcome.verdict, Verdict::Pass);
    assert_eq!(
        asked,
        [
            "_dmarc.a.example.com TXT",
            "_dmarc.example.com TXT",
            "_dmarc.com TXT",
            "_dmarc.b.example.com TXT",
        ]
    );
}

fn flood() {
    let many: Vec<Identifier> = (0..10_000)
        .map(|number| dkim(&format!("a.b.c.d.e.f.g{number}.example.com"), Proof::Pass))
        .collect();
    let zone = example()
        .and("a.b.c.d.e.f.example.com", "v=DMARC1; p=none")
        .answer("_dmarc.com", Answer::NoData);
    let (outcome, asked) = zone.asked("example.com", &many);
    assert_eq!(outcome.verdict, Verdict::Pass);
    assert!(asked.len() <= 2 + 10 * 8, "{}", asked.len());
    let strangers: Vec<Identifier> = (0..10_000)
        .map(|number| dkim(&format!("x.psd{number}.example.com"), Proof::Pass))
        .collect();
    let mut parted = example();
    for number in 0..10_000 {
        parted = parted.and(&format!("psd{number}.example.com"), "v=DMARC1; p=none; psd=n");
    }
    let (outcome, asked) = parted.asked("example.com", &strangers);
    assert_eq!(outcome.verdict, Verdict::Fail);
    assert!(asked.len() <= 2 + 10 * 8, "{}", asked.len());
}
