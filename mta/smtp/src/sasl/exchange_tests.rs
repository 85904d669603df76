use super::*;
use crate::sasl::scram::mac;

fn start(mechanism: Mechanism) -> (Exchange, Vec<u8>) {
    Exchange::start(mechanism, ChannelBindings::default())
}

fn bindings() -> ChannelBindings {
    ChannelBindings {
        exporter: Some(*b"the keys of this one connection."),
        server_end_point: None,
    }
}

#[test]
fn plain_and_login() {
    let (mut exchange, _) = start(Mechanism::Plain);
    let step = exchange.respond(b"\0alice\0secret");
    assert!(
        step == Step::CheckPassword {
            user: "alice".into(),
            password: "secret".into()
        }
    );
    for bad in [
        &b"alice\0secret"[..],
        b"bob\0alice\0secret",
        b"\0alice\0",
        b"\0\0x",
        b"\xff\0a\0b",
        b"",
    ] {
        let (mut exchange, _) = start(Mechanism::Plain);
        assert!(exchange.respond(bad) == Step::Malformed, "{bad:?}");
    }
    let (mut exchange, first) = start(Mechanism::Login);
    assert_eq!(first, b"Username:");
    assert!(exchange.respond(b"alice") == Step::Challenge(b"Password:".to_vec()));
    assert!(
        exchange.respond(b"secret")
            == Step::CheckPassword {
                user: "alice".into(),
                password: "secret".into()
            }
    );
}

/// A client with this password, that begins with `header` and says that it is bound to `c`.
fn scram(mechanism: Mechanism, bindings: ChannelBindings, header: &str, c: &[u8], password: &str) -> Step {
    let verifier = ScramVerifier::from_password("pencil", 4_096).unwrap();
    let (mut exchange, _) = Exchange::start(mechanism, bindings);
    match exchange.respond(format!("{header}n=alice,r=abc").as_bytes()) {
        Step::FindVerifier { user } => assert_eq!(user, "alice"),
        step => return step,
    }
    let Step::Challenge(first) = exchange.verifier(verifier) else {
        panic!("a challenge")
    };
    let first = String::from_utf8(first).unwrap();
    let field = |name: &str| {
        first
            .split(',')
            .find_map(|f| f.strip_prefix(name))
            .unwrap()
            .to_owned()
    };
    let without_proof = format!("c={},r={}", STANDARD.encode(c), field("r="));
    let mut salted = [0; 32];
    aws_lc_rs::pbkdf2::derive(
        aws_lc_rs::pbkdf2::PBKDF2_HMAC_SHA256,
        4_096.try_into().unwrap(),
        &STANDARD.decode(field("s=")).unwrap(),
        password.as_bytes(),
        &mut salted,
    );
    let client_key = mac(&salted, b"Client Key");
    let stored = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &client_key);
    let signature = mac(
        stored.as_ref(),
        format!("n=alice,r=abc,{first},{without_proof}").as_bytes(),
    );
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
    match exchange.respond(format!("{without_proof},p={}", STANDARD.encode(proof)).as_bytes()) {
        Step::Challenge(signature) => {
            assert!(signature.starts_with(b"v="));
            exchange.respond(b"")
        }
        step => step,
    }
}

fn proved() -> Step {
    Step::Proved { user: "alice".into() }
}

fn failed() -> Step {
    Step::Failed { user: "alice".into() }
}

#[test]
fn scram_proves_the_password_and_nothing_else() {
    let plain = |password| {
        scram(
            Mechanism::ScramSha256,
            ChannelBindings::default(),
            "n,,",
            b"n,,",
            password,
        )
    };
    assert!(plain("pencil") == proved());
    assert!(plain("pencils") == failed());
    for bad in [
        "x,,n=a,r=b",
        "n,,n=a",
        "n,a=bob,n=alice,r=x",
        "n,,n=a=b,r=x",
        "n,,n=,r=x",
        "n,,m=x,n=a,r=x",
    ] {
        let (mut exchange, _) = start(Mechanism::ScramSha256);
        assert!(exchange.respond(bad.as_bytes()) == Step::Malformed, "{bad}");
    }
}

#[test]
fn a_bound_login_holds_on_its_own_connection_alone() {
    let exporter = bindings().exporter.unwrap();
    let bound = [&b"p=tls-exporter,,"[..], &exporter].concat();
    let elsewhere = [&b"p=tls-exporter,,"[..], b"the keys of another connection!!"].concat();
    let plus =
        |header, c: &[u8], password| scram(Mechanism::ScramSha256Plus, bindings(), header, c, password);
    assert!(plus("p=tls-exporter,,", &bound, "pencil") == proved());
    assert!(plus("p=tls-exporter,,", &bound, "pen") == failed());
    assert!(plus("p=tls-exporter,,", &elsewhere, "pencil") == failed());
    assert!(plus("p=tls-exporter,,", b"p=tls-exporter,,", "pencil") == failed());
    assert!(plus("p=tls-exporter,,", b"n,,", "pencil") == failed());
    let named = [&b"p=tls-exporter,a=alice,"[..], &exporter].concat();
    assert!(plus("p=tls-exporter,a=alice,", &named, "pencil") == proved());
}

#[test]
fn flags_that_do_not_fit_are_refused_before_anything_is_told() {
    let refused = |mechanism, header| {
        matches!(
            scram(mechanism, bindings(), header, b"", "pencil"),
            Step::Refused(_)
        )
    };
    assert!(refused(Mechanism::ScramSha256Plus, "p=tls-unique,,"));
    assert!(refused(Mechanism::ScramSha256Plus, "p=tls-server-end-point,,"));
    assert!(refused(Mechanism::ScramSha256Plus, "n,,"));
    assert!(refused(Mechanism::ScramSha256Plus, "y,,"));
    assert!(refused(Mechanism::ScramSha256, "p=tls-exporter,,"));
    // The client can bind, and somebody hid that we offer it.
    assert!(refused(Mechanism::ScramSha256, "y,,"));
    // It cannot, or does not want to.
    assert!(scram(Mechanism::ScramSha256, bindings(), "n,,", b"n,,", "pencil") == proved());
    // It can, and we do not offer it here.
    let none = ChannelBindings::default();
    assert!(scram(Mechanism::ScramSha256, none, "y,,", b"y,,", "pencil") == proved());
}

#[test]
fn names_and_passwords_are_prepared_in_every_mechanism() {
    let wanted = |user: &str, password: &str| Step::CheckPassword {
        user: user.into(),
        password: password.into(),
    };
    let plain = |response: &str| start(Mechanism::Plain).0.respond(response.as_bytes());
    let login = |user: &str, password: &str| {
        let (mut exchange, _) = start(Mechanism::Login);
        exchange.respond(user.as_bytes());
        exchange.respond(password.as_bytes())
    };
    let scram = |first: &str| start(Mechanism::ScramSha256).0.respond(first.as_bytes());
    // RFC 4013 section 3: a soft hyphen is nothing, a Roman numeral its letters.
    assert!(plain("\0I\u{ad}X\0\u{2168}") == wanted("IX", "IX"));
    assert!(plain("IX\0\u{2168}\0secret") == wanted("IX", "secret"));
    assert!(login("cafe\u{301}", "wonder\u{a0}land") == wanted("caf\u{e9}", "wonder land"));
    let found = Step::FindVerifier { user: "IX".into() };
    assert!(scram("n,,n=\u{2168},r=abc") == found);
    assert!(scram("n,a=\u{2168},n=IX,r=abc") == found);
    let refused = Step::Refused(Refusal::Prohibited);
    for bad in ["\u{7}", "\u{627}1", "\u{1f600}", "\u{ad}"] {
        assert!(plain(&format!("\0{bad}\0secret")) == refused, "{bad:?}");
        assert!(plain(&format!("\0alice\0{bad}")) == refused, "{bad:?}");
        assert!(
            login("alice", bad) == refused && login(bad, "secret") == refused,
            "{bad:?}"
        );
        assert!(scram(&format!("n,,n={bad},r=abc")) == refused, "{bad:?}");
    }
}
