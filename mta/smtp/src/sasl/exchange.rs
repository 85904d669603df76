//! One exchange: challenges out, responses in, until it is known who the client is.

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::scram::ScramVerifier;

/// A mechanism that we offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// Of old clients; never standardised.
    Login,
    /// RFC 7677.
    ScramSha256,
}

impl Mechanism {
    /// Its name in EHLO and AUTH.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
        }
    }
}

/// What comes next in an exchange.
#[derive(Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this challenge (not yet in base 64) and wait for a response.
    Challenge(Vec<u8>),
    /// Check this password; the exchange is over.
    CheckPassword {
        /// User name.
        user: String,
        /// Password.
        password: String,
    },
    /// Find the verifier of this user and call [`Exchange::verifier`].
    FindVerifier {
        /// User name.
        user: String,
    },
    /// The client proved that it is this user; the exchange is over.
    Proved {
        /// User name.
        user: String,
    },
    /// The client failed to prove it; the exchange is over.
    Failed {
        /// User name.
        user: String,
    },
    /// The response makes no sense; the exchange is over.
    Malformed,
}

/// An exchange under way.
pub struct Exchange {
    state: State,
}

enum State {
    Plain,
    LoginUser,
    LoginPassword(String),
    ScramFirst,
    ScramVerifier {
        user: String,
        bare: String,
        nonce: String,
        gs2: String,
    },
    ScramFinal {
        user: String,
        nonce: String,
        gs2: String,
        messages: String,
        verifier: Box<ScramVerifier>,
    },
    ScramEnd(String),
    Over,
}

impl Exchange {
    /// Starts an exchange. Gives the first challenge for clients that sent no initial response.
    pub fn start(mechanism: Mechanism) -> (Self, Vec<u8>) {
        let (state, challenge) = match mechanism {
            Mechanism::Plain => (State::Plain, Vec::new()),
            Mechanism::Login => (State::LoginUser, b"Username:".to_vec()),
            Mechanism::ScramSha256 => (State::ScramFirst, Vec::new()),
        };
        (Self { state }, challenge)
    }

    /// Takes a response (out of base 64).
    pub fn respond(&mut self, response: &[u8]) -> Step {
        let Ok(text) = std::str::from_utf8(response) else {
            return Step::Malformed;
        };
        match std::mem::replace(&mut self.state, State::Over) {
            State::Plain => plain(text).unwrap_or(Step::Malformed),
            State::LoginUser => {
                self.state = State::LoginPassword(text.to_owned());
                Step::Challenge(b"Password:".to_vec())
            }
            State::LoginPassword(user) => checked(&user, text).unwrap_or(Step::Malformed),
            State::ScramFirst => self.scram_first(text).unwrap_or(Step::Malformed),
            State::ScramFinal {
                user,
                nonce,
                gs2,
                messages,
                verifier,
            } => {
                let proof = scram_proof(text, &nonce, &gs2);
                let Some((without_proof, proof)) = proof else {
                    return Step::Malformed;
                };
                match verifier.verify(&format!("{messages},{without_proof}"), &proof) {
                    Some(signature) => {
                        self.state = State::ScramEnd(user);
                        Step::Challenge(format!("v={signature}").into_bytes())
                    }
                    None => Step::Failed { user },
                }
            }
            // RFC 4954 section 4: the client answers the server's signature with an empty response.
            State::ScramEnd(user) if text.is_empty() => Step::Proved { user },
            State::ScramEnd(_) | State::ScramVerifier { .. } | State::Over => Step::Malformed,
        }
    }

    fn scram_first(&mut self, text: &str) -> Option<Step> {
        // gs2-header: no channel binding offered, so `p=` cannot be; an authorisation id must be the user itself.
        let (flag, rest) = text.split_once(',')?;
        let (authorisation, bare) = rest.split_once(',')?;
        if !matches!(flag, "n" | "y") {
            return None;
        }
        let mut fields = bare.split(',');
        let user = scram_name(fields.next()?.strip_prefix("n=")?)?;
        let client_nonce = fields.next()?.strip_prefix("r=")?;
        let named = authorisation.is_empty() || scram_name(authorisation.strip_prefix("a=")?)? == user;
        let printable = client_nonce.bytes().all(|b| matches!(b, b'!'..=b'~'));
        if !named || !printable || client_nonce.is_empty() || client_nonce.len() > 256 || user.is_empty() {
            return None;
        }
        let mut random = [0; 18];
        rand::fill(&mut random).ok()?;
        let nonce = format!("{client_nonce}{}", STANDARD.encode(random));
        let gs2 = STANDARD.encode(format!("{flag},{authorisation},"));
        self.state = State::ScramVerifier {
            user: user.clone(),
            bare: bare.to_owned(),
            nonce,
            gs2,
        };
        Some(Step::FindVerifier { user })
    }

    /// Goes on with the verifier that was asked for (for an unknown user: [`ScramVerifier::made_up`]).
    pub fn verifier(&mut self, verifier: ScramVerifier) -> Step {
        match std::mem::replace(&mut self.state, State::Over) {
            State::ScramVerifier {
                user,
                bare,
                nonce,
                gs2,
            } => {
                let first = verifier.first_message(&nonce);
                let messages = format!("{bare},{first}");
                self.state = State::ScramFinal {
                    user,
                    nonce,
                    gs2,
                    messages,
                    verifier: Box::new(verifier),
                };
                Step::Challenge(first.into_bytes())
            }
            _ => Step::Malformed,
        }
    }
}

/// authorisation id NUL authentication id NUL password (RFC 4616 section 2).
fn plain(text: &str) -> Option<Step> {
    let mut fields = text.split('\0');
    let (authorisation, user, password) = (fields.next()?, fields.next()?, fields.next()?);
    let alone = authorisation.is_empty() || authorisation == user;
    (fields.next().is_none() && alone).then(|| checked(user, password))?
}

fn checked(user: &str, password: &str) -> Option<Step> {
    let sound = |text: &str| !text.is_empty() && text.len() <= 4_096 && !text.contains('\0');
    (sound(user) && sound(password)).then(|| Step::CheckPassword {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

/// RFC 5802 section 5.1: `=2C` is a comma, `=3D` an equals sign.
fn scram_name(text: &str) -> Option<String> {
    let unescaped = text.replace("=2C", ",").replace("=3D", "=");
    let escapes = text.matches('=').count();
    (escapes == text.matches("=2C").count() + text.matches("=3D").count() && unescaped.len() <= 255)
        .then_some(unescaped)
}

/// `c=…,r=…,p=…`: gives the message without the proof, and the proof.
fn scram_proof(text: &str, nonce: &str, gs2: &str) -> Option<(String, Vec<u8>)> {
    let (without_proof, proof) = text.rsplit_once(",p=")?;
    let mut fields = without_proof.split(',');
    let bound = fields.next()?.strip_prefix("c=")? == gs2;
    let fresh = fields.next()?.strip_prefix("r=")? == nonce;
    let proof = STANDARD.decode(proof).ok()?;
    (bound && fresh).then(|| (without_proof.to_owned(), proof))
}

#[cfg(test)]
mod tests {
    use super::super::scram::mac;
    use super::*;

    #[test]
    fn plain_and_login() {
        let (mut exchange, _) = Exchange::start(Mechanism::Plain);
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
            let (mut exchange, _) = Exchange::start(Mechanism::Plain);
            assert!(exchange.respond(bad) == Step::Malformed, "{bad:?}");
        }
        let (mut exchange, first) = Exchange::start(Mechanism::Login);
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

    fn scram(password: &str) -> Step {
        let verifier = ScramVerifier::from_password("pencil", 4_096).unwrap();
        let (mut exchange, _) = Exchange::start(Mechanism::ScramSha256);
        assert!(exchange.respond(b"n,,n=alice,r=abc") == Step::FindVerifier { user: "alice".into() });
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
        let without_proof = format!("c=biws,r={}", field("r="));
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

    #[test]
    fn scram_proves_the_password_and_nothing_else() {
        assert!(scram("pencil") == Step::Proved { user: "alice".into() });
        assert!(scram("pencils") == Step::Failed { user: "alice".into() });
        for bad in [
            "p=tls-unique,,n=a,r=b",
            "n,,n=a",
            "n,a=bob,n=alice,r=x",
            "n,,n=a=b,r=x",
            "n,,n=,r=x",
        ] {
            let (mut exchange, _) = Exchange::start(Mechanism::ScramSha256);
            assert!(exchange.respond(bad.as_bytes()) == Step::Malformed, "{bad}");
        }
    }
}
