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
    assert!(driver.out.contains("AUTH SCRAM-SHA-256 PLAIN LOGIN"));
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
