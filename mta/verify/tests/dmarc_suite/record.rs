//! Texts of records (RFC 9989 sections 4.7 and 4.8).

use postroad_verify::dmarc::record::{Alignment, Suffix, Text};
use postroad_verify::dmarc::{Policy, Record};

use super::Case;

pub const CASES: &[Case] = &[
    ("all_tags", all_tags),
    ("defaults", defaults),
    ("the_version_comes_first", the_version_comes_first),
    ("the_version_is_in_exact_case", the_version_is_in_exact_case),
    (
        "blanks_around_the_version_are_accepted",
        blanks_around_the_version,
    ),
    ("values_are_in_any_case", values_are_in_any_case),
    ("pct_and_unknown_tags_are_ignored", pct_is_ignored),
    ("wrong_values_count_as_not_given", wrong_values),
    ("what_is_no_tag_is_passed_over", no_tag),
    ("the_first_of_two_counts", the_first_of_two),
    ("without_p_and_with_a_valid_rua_it_is_none", without_p_with_rua),
    ("without_p_and_rua_it_is_no_policy", without_p_and_rua),
    ("a_wrong_sp_or_np_is_like_no_p", a_wrong_sp),
    ("addresses_of_reports", addresses_of_reports),
    ("empty_parts_and_a_final_semicolon", empty_parts),
];

fn read(text: &str) -> Record {
    match Text::parse(text.as_bytes()) {
        Text::Record(record) => record,
        other => panic!("{text}: {other:?}"),
    }
}

fn isnt_dmarc(text: &str) {
    assert_eq!(Text::parse(text.as_bytes()), Text::Foreign, "{text:?}");
}

fn all_tags() {
    let record = read(
        "v=DMARC1; p=reject; sp=quarantine; np=none; adkim=s; aspf=s; psd=n; t=y; \
        rua=mailto:a@example.com; ruf=mailto:f@example.com; fo=1",
    );
    let want = Record {
        policy: Policy::Reject,
        subdomains: Some(Policy::Quarantine),
        absent: Some(Policy::None),
        dkim: Alignment::Strict,
        spf: Alignment::Strict,
        suffix: Suffix::Organization,
        testing: true,
        reports: vec!["mailto:a@example.com".to_owned()],
    };
    assert_eq!(record, want);
}

fn defaults() {
    let record = read("v=DMARC1;p=none");
    assert_eq!((record.subdomains, record.absent), (None, None));
    assert_eq!(
        (record.dkim, record.spf),
        (Alignment::Relaxed, Alignment::Relaxed)
    );
    assert_eq!(record.suffix, Suffix::Unsaid);
    assert!(!record.testing && record.reports.is_empty());
}

fn the_version_comes_first() {
    isnt_dmarc("p=none; v=DMARC1");
    isnt_dmarc("; v=DMARC1; p=none");
    isnt_dmarc(" v=DMARC1; p=none");
    isnt_dmarc("");
    isnt_dmarc("v=spf1 -all");
}

fn the_version_is_in_exact_case() {
    isnt_dmarc("v=dmarc1; p=none");
    isnt_dmarc("V=DMARC1; p=none");
    isnt_dmarc("v=DMARC1 p=none");
    isnt_dmarc("v=DMARC10; p=none");
    isnt_dmarc("v=\"DMARC1\"; p=none");
}

fn blanks_around_the_version() {
    assert_eq!(read("v = DMARC1 ; p = reject").policy, Policy::Reject);
    assert_eq!(read("v\t=\tDMARC1\t;\tp\t=\treject\t").policy, Policy::Reject);
}

fn values_are_in_any_case() {
    let record = read("v=DMARC1; p=Reject; sp=QUARANTINE; adkim=S; aspf=R; psd=Y; t=Y");
    assert_eq!(record.policy, Policy::Reject);
    assert_eq!(record.subdomains, Some(Policy::Quarantine));
    assert_eq!(record.dkim, Alignment::Strict);
    assert_eq!((record.suffix, record.testing), (Suffix::Public, true));
}

fn pct_is_ignored() {
    assert_eq!(
        read("v=DMARC1; p=reject; pct=0; x=y; rf=afrf"),
        read("v=DMARC1; p=reject")
    );
}

fn wrong_values() {
    let record = read("v=DMARC1; p=reject; adkim=x; aspf=strict; psd=maybe; t=1; rua=nowhere");
    assert_eq!(record, read("v=DMARC1; p=reject"));
}

fn no_tag() {
    let record = read("v=DMARC1; nonsense; p=reject; =x; a b=c; t=\u{fc}; q=");
    assert_eq!(record, read("v=DMARC1; p=reject"));
}

fn the_first_of_two() {
    assert_eq!(read("v=DMARC1; p=reject; p=none").policy, Policy::Reject);
}

fn without_p_with_rua() {
    for text in [
        "v=DMARC1; rua=mailto:a@example.com",
        "v=DMARC1; p=block; sp=reject; rua=mailto:a@example.com",
    ] {
        let record = read(text);
        assert_eq!((record.policy, record.subdomains), (Policy::None, None), "{text}");
    }
}

fn without_p_and_rua() {
    for text in [
        "v=DMARC1",
        "v=DMARC1;",
        "v=DMARC1; p=block",
        "v=DMARC1; sp=reject; rua=mailto:",
        "v=DMARC1; rua=a@example.com",
    ] {
        assert_eq!(
            Text::parse(text.as_bytes()),
            Text::Unusable(Suffix::Unsaid),
            "{text}"
        );
    }
}

fn a_wrong_sp() {
    for tag in ["sp=block", "np=block"] {
        let text = format!("v=DMARC1; p=reject; {tag}");
        assert_eq!(Text::parse(text.as_bytes()), Text::Unusable(Suffix::Unsaid));
        assert_eq!(
            read(&format!("{text}; rua=mailto:a@example.com")).policy,
            Policy::None
        );
    }
}

fn addresses_of_reports() {
    let reports = |list: &str| read(&format!("v=DMARC1; p=none; rua={list}")).reports;
    assert_eq!(
        reports("mailto:a@example.com , mailto:b@example.net!10m,https://r.example/x"),
        [
            "mailto:a@example.com",
            "mailto:b@example.net!10m",
            "https://r.example/x"
        ]
    );
    assert_eq!(
        reports("mailto:a, b@example.com, :x, mailto:<a@b>"),
        Vec::<String>::new()
    );
    assert_eq!(reports(&["mailto:a@example.com"; 100].join(",")).len(), 16);
}

fn empty_parts() {
    assert_eq!(read("v=DMARC1;;  ; p=reject ; ;"), read("v=DMARC1; p=reject"));
}
