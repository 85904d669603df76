//! One exchange: challenges out, responses in, until it is known who the client is.

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::binding::{ChannelBindings, Refusal};
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
    /// The same, bound to the TLS connection.
    ScramSha256Plus,
}

impl Mechanism {
    /// Its name in EHLO and AUTH.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
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
    /// The exchange is over for this reason.
    Refused(Refusal),
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
    ScramFirst {
        plus: bool,
        bindings: ChannelBindings,
    },
    ScramVerifier {
        user: String,
        bare: String,
        nonce: String,
        /// What `c=` has to be.
        bound: String,
    },
    ScramFinal {
        user: String,
        nonce: String,
        bound: String,
        messages: String,
        verifier: Box<ScramVerifier>,
    },
    ScramEnd(String),
    Over,
}

impl Exchange {
    /// Starts an exchange. Gives the first challenge for clients that sent no initial response.
    ///
    /// `bindings`: what a client was offered to bind to, by a mechanism that does.
    pub fn start(mechanism: Mechanism, bindings: ChannelBindings) -> (Self, Vec<u8>) {
        let (state, challenge) = match mechanism {
            Mechanism::Plain => (State::Plain, Vec::new()),
            Mechanism::Login => (State::LoginUser, b"Username:".to_vec()),
            Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => {
                let plus = mechanism == Mechanism::ScramSha256Plus;
                (State::ScramFirst { plus, bindings }, Vec::new())
            }
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
            State::ScramFirst { plus, bindings } => {
                self.scram_first(text, plus, &bindings).unwrap_or(Step::Malformed)
            }
            State::ScramFinal {
                user,
                nonce,
                bound,
                messages,
                verifier,
            } => {
                let Some((binding, without_proof, proof)) = scram_proof(text, &nonce) else {
                    return Step::Malformed;
                };
                // RFC 5802 section 5.1: the header of the first message once more, with what the client is bound to.
                if binding != bound {
                    return Step::Failed { user };
                }
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

    fn scram_first(&mut self, text: &str, plus: bool, bindings: &ChannelBindings) -> Option<Step> {
        let (flag, rest) = text.split_once(',')?;
        let (authorisation, bare) = rest.split_once(',')?;
        if !matches!(flag, "n" | "y") && !flag.starts_with("p=") {
            return None;
        }
        let binding = match bindings.judge(flag, plus) {
            Ok(binding) => binding,
            Err(reason) => return Some(Step::Refused(reason)),
        };
        // An authorisation id must be the user itself.
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
        let header = format!("{flag},{authorisation},");
        let bound = STANDARD.encode([header.as_bytes(), binding].concat());
        self.state = State::ScramVerifier {
            user: user.clone(),
            bare: bare.to_owned(),
            nonce,
            bound,
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
                bound,
            } => {
                let first = verifier.first_message(&nonce);
                let messages = format!("{bare},{first}");
                self.state = State::ScramFinal {
                    user,
                    nonce,
                    bound,
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

/// `c=…,r=…,p=…`: gives the binding, the message without the proof, and the proof.
fn scram_proof<'a>(text: &'a str, nonce: &str) -> Option<(&'a str, &'a str, Vec<u8>)> {
    let (without_proof, proof) = text.rsplit_once(",p=")?;
    let mut fields = without_proof.split(',');
    let binding = fields.next()?.strip_prefix("c=")?;
    let fresh = fields.next()?.strip_prefix("r=")? == nonce;
    let proof = STANDARD.decode(proof).ok()?;
    fresh.then_some((binding, without_proof, proof))
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
