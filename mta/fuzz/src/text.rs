//! Pieces of text that peers write: commands, addresses, xtext, SASL responses.
//!
//! * What is read once reads the same again.
//! * No control character comes out of anything that ends up in a header, a log or another command.

use postroad_smtp::sasl::{ChannelBindings, Exchange, Mechanism, ScramVerifier, Step};
use postroad_smtp::{Address, By, ByMode, Command, decode_xtext, encode_xtext};

fn is_clean(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

fn judge_address(address: &Address) {
    let text = address.as_str();
    assert!(is_clean(text) && text.len() <= 254 && is_clean(address.local_part()));
    assert_eq!(
        Address::parse(text, true).as_ref(),
        Ok(address),
        "it does not read the same again"
    );
    if let Some(domain) = address.domain_name() {
        assert!(
            domain.is_ascii() && domain.len() <= 255 && !domain.contains(char::is_uppercase),
            "{domain}"
        );
    }
}

fn judge_time(by: By) {
    assert!(
        by.seconds > 0 || by.mode == ByMode::Notify,
        "a return in the past"
    );
    let again = Command::parse(format!("MAIL FROM:<> BY={by}").as_bytes(), true);
    let again = again.map(|command| match command {
        Command::Mail(mail) => mail.by,
        _ => None,
    });
    assert_eq!(again, Ok(Some(by)), "it does not read the same again");
}

/// One command line.
pub fn command(octets: &[u8]) {
    for extended in [false, true] {
        match Command::parse(octets, extended) {
            Ok(Command::Mail(mail)) => {
                mail.reverse_path.iter().for_each(judge_address);
                assert!(mail.envid.iter().all(|id| is_clean(id) && id.len() <= 100));
                let ascii = mail
                    .reverse_path
                    .as_ref()
                    .is_none_or(|path| path.as_str().is_ascii());
                assert!(ascii || mail.smtputf8, "an address that needs SMTPUTF8");
                mail.by.into_iter().for_each(judge_time);
            }
            Ok(Command::Rcpt(rcpt)) => {
                rcpt.forward_path.iter().for_each(judge_address);
                assert!(
                    rcpt.orcpt
                        .iter()
                        .all(|orcpt| is_clean(orcpt) && orcpt.contains(';'))
                );
            }
            Ok(Command::Ehlo(name) | Command::Helo(name)) => assert!(is_clean(&name) && !name.contains(' ')),
            Ok(_) => {}
            Err(error) => assert!((500..=555).contains(&error.code) && error.enhanced.starts_with('5')),
        }
    }
}

/// One address.
pub fn address(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else {
        return;
    };
    let any = Address::parse(text, true);
    any.iter().for_each(judge_address);
    match Address::parse(text, false) {
        Ok(address) => assert_eq!(any, Ok(address), "SMTPUTF8 changes an ASCII address"),
        Err(_) => assert!(any.is_err() || !text.is_ascii()),
    }
}

/// One xtext.
pub fn xtext(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else {
        return;
    };
    if let Some(plain) = decode_xtext(text) {
        assert!(is_clean(&plain));
        assert_eq!(decode_xtext(&encode_xtext(&plain)), Some(plain));
    }
    if is_clean(text) {
        let encoded = encode_xtext(text);
        assert!(
            encoded
                .bytes()
                .all(|octet| (b'!'..=b'~').contains(&octet) && octet != b'=')
        );
        assert_eq!(decode_xtext(&encoded).as_deref(), Some(text));
    }
}

/// As under TLS 1.3.
pub fn bindings() -> ChannelBindings {
    ChannelBindings {
        exporter: Some([7; 32]),
        server_end_point: Some(vec![9; 32].into()),
    }
}

/// Responses of a client, line by line, in each mechanism. Nobody is let in without the password.
pub fn sasl(octets: &[u8]) {
    for mechanism in [
        Mechanism::Plain,
        Mechanism::Login,
        Mechanism::ScramSha256,
        Mechanism::ScramSha256Plus,
        Mechanism::OAuthBearer,
        Mechanism::XOAuth2,
    ] {
        let (mut exchange, _) = Exchange::start(mechanism, bindings());
        for line in octets.split(|octet| *octet == b'\n') {
            let step = match exchange.respond(line) {
                Step::FindVerifier { user } => {
                    assert!(!user.is_empty());
                    exchange.verifier(ScramVerifier::made_up(&user, b"secret"))
                }
                Step::CheckToken { token, .. } => {
                    assert!(!token.is_empty());
                    exchange.token(Err("no"))
                }
                step => step,
            };
            match step {
                Step::Challenge(challenge) => {
                    assert!(challenge.iter().all(|octet| !octet.is_ascii_control()));
                }
                Step::CheckPassword { user, password } => {
                    assert!(!user.is_empty() && !password.is_empty());
                    break;
                }
                Step::Proved { .. } => panic!("nobody knows this password"),
                Step::Refused(_)
                | Step::Failed { .. }
                | Step::Malformed
                | Step::FindVerifier { .. }
                | Step::CheckToken { .. } => break,
            }
        }
    }
}
