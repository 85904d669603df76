//! Logins as the session sees them: each mechanism, its refusals, and what is offered where.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;

#[test]
fn auth_in_all_its_ways() {
    let plain = STANDARD.encode("\0alice\0secret");
    let wrong = STANDARD.encode("\0alice\0wrong");
    let cases: &[(&[String], &[u16])] = &[
        (&[format!("AUTH PLAIN {plain}\r\n")], &[235]),
        (&["AUTH plain\r\n".into(), format!("{plain}\r\n")], &[334, 235]),
        (
            &[
                "AUTH LOGIN\r\n".into(),
                "YWxpY2U=\r\n".into(),
                "c2VjcmV0\r\n".into(),
            ],
            &[334, 334, 235],
        ),
        (
            &["AUTH LOGIN YWxpY2U=\r\n".into(), "c2VjcmV0\r\n".into()],
            &[334, 235],
        ),
        (
            &[
                format!("AUTH PLAIN {wrong}\r\n"),
                format!("AUTH PLAIN {plain}\r\n"),
            ],
            &[535, 235],
        ),
        (
            &["AUTH PLAIN\r\n".into(), "*\r\n".into(), "NOOP\r\n".into()],
            &[334, 501, 250],
        ),
        (&["AUTH PLAIN =\r\n".into()], &[501]),
        (&["AUTH PLAIN !!!\r\n".into()], &[501]),
        (&["AUTH GSSAPI\r\n".into()], &[504]),
        (&["AUTH\r\n".into()], &[501]),
        (
            &["AUTH PLAIN\r\n".into(), format!("{}\r\n", "A".repeat(100_000))],
            &[334, 500],
        ),
        (&[format!("AUTH PLAIN {}\r\n", "A".repeat(8_000))], &[501]),
        (
            &[format!("AUTH PLAIN {plain}\r\nAUTH PLAIN {plain}\r\n")],
            &[235, 503],
        ),
        (
            &[format!("AUTH PLAIN {plain}\r\n{MAIL}AUTH PLAIN {plain}\r\n")],
            &[235, 250, 503],
        ),
        (&[format!("AUTH PLAIN {wrong}\r\n").repeat(4)], &[535, 535, 421]),
        (&["AUTH PLAIN !\r\n".repeat(3)], &[501, 501, 421]),
        (&[MAIL.into()], &[530]),
        (&[format!("AUTH PLAIN {wrong}\r\n{MAIL}")], &[535, 530]),
    ];
    for (lines, want) in cases {
        let mut driver = Driver::submission(Tls::Active);
        driver.say(HELLO);
        let codes: Vec<u16> = lines.iter().flat_map(|line| driver.say(line)).collect();
        assert_eq!(codes, *want, "{lines:?}");
        assert_eq!(driver.session.identity().is_some(), codes.contains(&235));
    }
    assert_eq!(Driver::submission(Tls::Active).say("AUTH PLAIN\r\n"), [503]);
    assert_eq!(
        Driver::submission(Tls::Active).say("HELO x\r\nAUTH PLAIN\r\n"),
        [250, 503]
    );
    assert_eq!(
        Driver::transfer().say(format!("{HELLO}AUTH PLAIN\r\n")),
        [250, 502]
    );
}

#[test]
fn scram_with_a_made_up_verifier_fails_at_the_proof_only() {
    let mut driver = Driver::submission(Tls::Active);
    driver.say(HELLO);
    let first = STANDARD.encode("n,,n=nobody,r=abc");
    assert_eq!(driver.say(format!("AUTH SCRAM-SHA-256 {first}\r\n")), [334]);
    let challenge = driver
        .out
        .lines()
        .last()
        .unwrap()
        .strip_prefix("334 ")
        .unwrap()
        .to_owned();
    let challenge = String::from_utf8(STANDARD.decode(challenge).unwrap()).unwrap();
    let nonce = challenge.split(',').next().unwrap();
    let last = STANDARD.encode(format!("c=biws,{nonce},p={}", STANDARD.encode([0; 32])));
    assert_eq!(driver.say(format!("{last}\r\n")), [535]);
    assert_eq!(driver.events, ["out"]);
}

#[test]
fn channel_binding_is_offered_where_there_is_something_to_bind_to() {
    // TLS from the start, and of a kind that cannot be bound to.
    let mut driver = Driver::submission(Tls::Active);
    driver.say(HELLO);
    assert!(
        driver
            .out
            .contains("AUTH SCRAM-SHA-256 PLAIN LOGIN OAUTHBEARER XOAUTH2")
    );
    assert_eq!(driver.say("AUTH SCRAM-SHA-256-PLUS\r\n"), [504]);
    let say = |mechanism: &str, first: &str| {
        let mut driver = Driver::submission(Tls::Required);
        driver.say(format!("{HELLO}STARTTLS\r\n"));
        driver.say(HELLO);
        driver.say(format!("AUTH {mechanism} {}\r\n", STANDARD.encode(first)))
    };
    assert_eq!(say("SCRAM-SHA-256-PLUS", "p=tls-exporter,,n=a,r=b"), [334]);
    assert_eq!(say("SCRAM-SHA-256-PLUS", "p=tls-unique,,n=a,r=b"), [535]);
    assert_eq!(say("SCRAM-SHA-256-PLUS", "n,,n=a,r=b"), [535]);
    assert_eq!(say("SCRAM-SHA-256", "n,,n=a,r=b"), [334]);
    assert_eq!(say("SCRAM-SHA-256", "y,,n=a,r=b"), [535]);
    assert_eq!(say("SCRAM-SHA-256", "p=tls-exporter,,n=a,r=b"), [535]);
}

/// RFC 7628 section 3.2, and the same dance of XOAUTH2: a refused token is a challenge, and fails with what comes next.
#[test]
fn a_token_logs_in_and_a_refused_one_is_told_why() {
    let bearer = |token: &str| STANDARD.encode(format!("n,a=me,\u{1}auth=Bearer {token}\u{1}\u{1}"));
    let old = |token: &str| STANDARD.encode(format!("user=me\u{1}auth=Bearer {token}\u{1}\u{1}"));
    let cases: &[(&[String], &[u16])] = &[
        (&[format!("AUTH OAUTHBEARER {}\r\n", bearer("good"))], &[235]),
        (
            &["AUTH OAUTHBEARER\r\n".into(), format!("{}\r\n", bearer("good"))],
            &[334, 235],
        ),
        (&[format!("AUTH XOAUTH2 {}\r\n", old("good"))], &[235]),
        (
            &[
                format!("AUTH OAUTHBEARER {}\r\n", bearer("old")),
                "AQ==\r\n".into(),
                format!("AUTH OAUTHBEARER {}\r\n", bearer("good")),
            ],
            &[334, 535, 235],
        ),
        (
            &[format!("AUTH XOAUTH2 {}\r\n", old("old")), "\r\n".into()],
            &[334, 535],
        ),
        (
            &[format!("AUTH OAUTHBEARER {}\r\n", bearer("old")), "*\r\n".into()],
            &[334, 501],
        ),
        (
            &[
                format!("AUTH OAUTHBEARER {}\r\n", bearer("old")),
                format!("{}\r\n", bearer("good")),
            ],
            &[334, 535],
        ),
        (&[format!("AUTH OAUTHBEARER {}\r\n", bearer("busy"))], &[454]),
        (&[format!("AUTH OAUTHBEARER {}\r\n", old("good"))], &[501]),
        (&["AUTH OAUTHBEARER =\r\n".into()], &[501]),
    ];
    for (lines, want) in cases {
        let mut driver = Driver::submission(Tls::Active);
        driver.say(HELLO);
        let codes: Vec<u16> = lines.iter().flat_map(|line| driver.say(line)).collect();
        assert_eq!(codes, *want, "{lines:?}");
        let identity = codes.contains(&235).then_some("orders");
        assert_eq!(driver.session.identity(), identity, "{lines:?}");
        if let Some(challenge) = driver.out.lines().find_map(|line| line.strip_prefix("334 "))
            && !challenge.is_empty()
        {
            let told = String::from_utf8(STANDARD.decode(challenge).unwrap()).unwrap();
            assert!(
                told.contains("\"status\":") && told.contains("the token has expired"),
                "{told}"
            );
        }
    }
    let mut clear = Driver::submission(Tls::Required);
    assert_eq!(
        clear.say(format!("{HELLO}AUTH OAUTHBEARER {}\r\n", bearer("good"))),
        [250, 538]
    );
}

/// RFC 4954 section 4: 12,288 octets with the command and the line end.
#[test]
fn a_token_of_eight_kibibytes_fits_into_a_line() {
    let token = "t".repeat(8_192);
    for text in [
        format!("n,a=me,\u{1}auth=Bearer {token}\u{1}\u{1}"),
        format!("user=me\u{1}auth=Bearer {token}\u{1}\u{1}"),
        format!("\0me\0{token}"),
    ] {
        let mechanism = match text.as_bytes()[0] {
            b'n' => "OAUTHBEARER",
            b'u' => "XOAUTH2",
            _ => "PLAIN",
        };
        let encoded = STANDARD.encode(&text);
        for lines in [
            vec![format!("AUTH {mechanism} {encoded}\r\n")],
            vec![format!("AUTH {mechanism}\r\n"), format!("{encoded}\r\n")],
        ] {
            let mut driver = Driver::submission(Tls::Active);
            driver.say(HELLO);
            let codes: Vec<u16> = lines.iter().flat_map(|line| driver.say(line)).collect();
            let want = if mechanism == "PLAIN" { 535 } else { 334 };
            assert_eq!(codes.last(), Some(&want), "{mechanism} {codes:?}");
        }
    }
}
