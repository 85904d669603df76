use postroad_verify::dane::Kind;
use postroad_verify::mta_sts::Policy;

use super::*;

fn terms(tls: TlsMode, require_tls: bool) -> Terms {
    Terms { tls, require_tls }
}

fn policy(mode: &str, mx: &str) -> Policy {
    Policy::parse(format!("version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: 60\n").as_bytes()).unwrap()
}

fn usable() -> Dane {
    Dane::Usable {
        base: "mx.example".into(),
        records: vec![Tlsa::read(&[&[3, 1, 1][..], &[7; 32]].concat()).unwrap()],
    }
}

fn unknown() -> Dane {
    Dane::Unknown(dane::Question {
        name: "_25._tcp.mx.example".into(),
        kind: Kind::Tlsa,
    })
}

/// In short: what is needed and by whom, or why not.
fn told(terms: Terms, dane: &Dane, policy: Option<&Policy>, proven: bool, waived: bool) -> &'static str {
    let facts = Facts {
        domain: Some("to.example"),
        host: "mx.example",
        proven,
        dane,
        policy,
        waived,
    };
    match decide(terms, &facts) {
        Ok(Protection { need, by }) => match (need, by) {
            (Need::Clear, By::Route) => "clear",
            (Need::Offered, By::Route) => "offered",
            (Need::Offered, By::MtaStsTesting) => "testing",
            (Need::Offered, By::Waived) => "waived",
            (Need::Encrypted, By::Route) => "encrypted",
            (Need::Encrypted, By::Dane) => "encrypted by dane",
            (Need::Verified, By::Route) => "verified",
            (Need::Verified, By::MtaSts) => "verified by sts",
            (Need::Dane(_), By::Dane) => "dane",
            other => panic!("{other:?}"),
        },
        Err(Refusal::Unknown(_)) => "unknown",
        Err(Refusal::NoDane) => "no dane",
        Err(Refusal::NotNamed) => "not named",
        Err(Refusal::Unproven) => "unproven",
    }
}

#[test]
fn automatic_takes_dane_then_mta_sts_then_what_is_offered() {
    let named = policy("enforce", "*.example");
    let other = policy("enforce", "mail.other.example");
    let testing = policy("testing", "mail.other.example");
    let none = policy("none", "mx.example");
    let policies = [None, Some(&named), Some(&other), Some(&testing), Some(&none)];
    for (dane, want) in [
        (
            Dane::Absent,
            ["offered", "verified by sts", "not named", "testing", "offered"],
        ),
        (
            Dane::Unusable,
            [
                "encrypted by dane",
                "verified by sts",
                "not named",
                "encrypted by dane",
                "encrypted by dane",
            ],
        ),
        (usable(), ["dane"; 5]),
        (unknown(), ["unknown"; 5]),
    ] {
        let automatic = terms(TlsMode::Automatic, false);
        let got = policies.map(|policy| told(automatic, &dane, policy, false, false));
        assert_eq!(got, want, "{dane:?}");
    }
}

#[test]
fn dane_only_takes_nothing_else() {
    let named = policy("enforce", "mx.example");
    for (dane, want) in [
        (Dane::Absent, "no dane"),
        (Dane::Unusable, "no dane"),
        (usable(), "dane"),
        (unknown(), "unknown"),
    ] {
        for require_tls in [false, true] {
            for waived in [false, true] {
                let only = terms(TlsMode::DaneOnly, require_tls);
                let got = told(only, &dane, Some(&named), true, waived);
                assert_eq!(got, want, "{dane:?} {require_tls} {waived}");
            }
        }
    }
}

#[test]
fn other_modes_ask_nobody() {
    let other = policy("enforce", "mail.other.example");
    for (mode, want) in [
        (TlsMode::Disabled, "clear"),
        (TlsMode::Opportunistic, "offered"),
        (TlsMode::Encrypted, "encrypted"),
        (TlsMode::Verified, "verified"),
    ] {
        assert!(!asks(terms(mode, false)));
        for dane in [Dane::Absent, Dane::Unusable, usable(), unknown()] {
            assert_eq!(told(terms(mode, false), &dane, Some(&other), true, true), want);
        }
    }
}

#[test]
fn requiretls_needs_a_server_whose_name_somebody_vouches_for() {
    let named = policy("enforce", "mx.example");
    let other = policy("enforce", "mail.other.example");
    let testing = policy("testing", "mx.example");
    for mode in [
        TlsMode::Disabled,
        TlsMode::Opportunistic,
        TlsMode::Encrypted,
        TlsMode::Verified,
        TlsMode::Automatic,
    ] {
        for (dane, policy, proven, want) in [
            (Dane::Absent, None, false, "unproven"),
            (Dane::Absent, None, true, "verified"),
            (Dane::Absent, Some(&named), false, "verified by sts"),
            (Dane::Absent, Some(&other), false, "unproven"),
            (Dane::Absent, Some(&other), true, "unproven"),
            (Dane::Absent, Some(&testing), false, "unproven"),
            (Dane::Absent, Some(&testing), true, "verified"),
            (Dane::Unusable, None, false, "unproven"),
            (Dane::Unusable, None, true, "verified"),
            (usable(), None, false, "dane"),
            (unknown(), Some(&named), true, "unknown"),
        ] {
            // The header takes nothing from it (RFC 8689 section 4.1).
            for waived in [false, true] {
                let got = told(terms(mode, true), &dane, policy, proven, waived);
                assert_eq!(got, want, "{mode:?} {dane:?} {policy:?} {proven}");
            }
        }
    }
}

#[test]
fn a_header_waives_what_the_domain_asks_for() {
    let named = policy("enforce", "mx.example");
    for dane in [Dane::Absent, Dane::Unusable, usable(), unknown()] {
        let automatic = terms(TlsMode::Automatic, false);
        assert_eq!(told(automatic, &dane, Some(&named), false, true), "waived");
    }
}

#[test]
fn a_certificate_of_an_authority_may_name_the_server_or_the_domain() {
    let dane = Dane::Usable {
        base: "end.example".into(),
        records: vec![Tlsa::read(&[&[2, 1, 1][..], &[7; 32]].concat()).unwrap()],
    };
    let facts = Facts {
        domain: Some("to.example"),
        host: "mx.example",
        proven: true,
        dane: &dane,
        policy: None,
        waived: false,
    };
    let Ok(Protection {
        need: Need::Dane(anchors),
        ..
    }) = decide(terms(TlsMode::Automatic, false), &facts)
    else {
        panic!("no DANE");
    };
    assert_eq!(anchors.names, ["end.example", "mx.example", "to.example"]);
    assert_eq!(anchors.base, "end.example");
}

#[test]
fn authorities_of_a_route_vouch_where_public_ones_would() {
    let authorities: Arc<str> = "PEM".into();
    for mode in [
        TlsMode::Disabled,
        TlsMode::Opportunistic,
        TlsMode::Encrypted,
        TlsMode::Verified,
    ] {
        let usual = Protection::from(mode);
        let own = usual.clone().vouched_by(Some(&authorities));
        if mode == TlsMode::Verified {
            assert_eq!(own.need, Need::Vouched(authorities.clone()));
            assert!(own.need.is_strict());
        } else {
            assert_eq!(own, usual);
        }
        assert_eq!(usual.clone().vouched_by(None), usual);
    }
}

#[test]
fn a_try_without_records_is_never_in_the_clear_where_mail_would_not_be() {
    for (mode, want) in [
        (TlsMode::Disabled, Need::Clear),
        (TlsMode::Opportunistic, Need::Offered),
        (TlsMode::Automatic, Need::Offered),
        (TlsMode::Encrypted, Need::Encrypted),
        (TlsMode::DaneOnly, Need::Encrypted),
        (TlsMode::Verified, Need::Verified),
    ] {
        assert_eq!(Protection::from(mode).need, want, "{mode:?}");
    }
}
