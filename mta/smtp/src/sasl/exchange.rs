//! One exchange: challenges out, responses in, until it is known who the client is.

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::bearer::{Credentials, Form};
use super::binding::ChannelBindings;
use super::prepare::{Prohibited, prepare};
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
    /// A bearer token (RFC 7628).
    OAuthBearer,
    /// The same as it was before the standard; many clients know this one alone.
    XOAuth2,
}

impl Mechanism {
    /// Its name in EHLO and AUTH.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::OAuthBearer => "OAUTHBEARER",
            Self::XOAuth2 => "XOAUTH2",
        }
    }
}

/// Why a login goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The client binds to something that was not offered.
    UnknownBinding,
    /// It binds in a mechanism that does not.
    NotPlus,
    /// It does not bind in the mechanism that does.
    Unbound,
    /// It can bind and did not see that we offer it: somebody took it out of our list.
    Downgrade,
    /// The user name or the password holds what RFC 4013 forbids.
    Prohibited,
}

impl From<Prohibited> for Refusal {
    fn from(_: Prohibited) -> Self {
        Self::Prohibited
    }
}

/// What comes next in an exchange. Names and passwords are prepared.
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
    /// Check this bearer token and call [`Exchange::token`].
    CheckToken {
        /// Who the client says that it is; empty where it says nothing.
        user: String,
        /// The token.
        token: String,
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
    Bearer(Form),
    /// A token waits for its judgement.
    Token(Form, String),
    /// The client was told why its token is refused, and says something once more.
    TokenRefused(String),
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
            Mechanism::OAuthBearer => (State::Bearer(Form::OAuthBearer), Vec::new()),
            Mechanism::XOAuth2 => (State::Bearer(Form::XOAuth2), Vec::new()),
        };
        (Self { state }, challenge)
    }

    /// Takes a response (out of base 64).
    pub fn respond(&mut self, response: &[u8]) -> Step {
        let Ok(text) = std::str::from_utf8(response) else {
            return Step::Malformed;
        };
        match std::mem::replace(&mut self.state, State::Over) {
            State::Plain => plain(text).unwrap_or_else(Step::from),
            State::LoginUser => {
                self.state = State::LoginPassword(text.to_owned());
                Step::Challenge(b"Password:".to_vec())
            }
            State::LoginPassword(user) => checked(&user, text).unwrap_or_else(Step::from),
            State::ScramFirst { plus, bindings } => {
                self.scram_first(text, plus, &bindings).unwrap_or_else(Step::from)
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
            State::Bearer(form) => match form.read(text) {
                Some(Credentials { user, token }) => {
                    self.state = State::Token(form, user.clone());
                    Step::CheckToken { user, token }
                }
                None => Step::Malformed,
            },
            // RFC 7628 section 3.2.3: a dummy response (one octet 1) ends it; XOAUTH2 has an empty one. Whatever it is, the
            // login has failed.
            State::TokenRefused(user) => Step::Failed { user },
            State::ScramEnd(_) | State::ScramVerifier { .. } | State::Token(..) | State::Over => {
                Step::Malformed
            }
        }
    }

    fn scram_first(&mut self, text: &str, plus: bool, bindings: &ChannelBindings) -> Result<Step, Stop> {
        let (flag, rest) = text.split_once(',').ok_or(Stop::Malformed)?;
        let (authorisation, bare) = rest.split_once(',').ok_or(Stop::Malformed)?;
        if !matches!(flag, "n" | "y") && !flag.starts_with("p=") {
            return Err(Stop::Malformed);
        }
        let binding = bindings.judge(flag, plus)?;
        let (user, client_nonce) = first_fields(bare).ok_or(Stop::Malformed)?;
        let user = user.map_err(Refusal::from)?;
        if !(authorisation.is_empty() || authorised(authorisation).as_ref() == Some(&user)) {
            return Err(Stop::Malformed);
        }
        let mut random = [0; 18];
        rand::fill(&mut random).map_err(|_| Stop::Malformed)?;
        let nonce = format!("{client_nonce}{}", STANDARD.encode(random));
        let header = format!("{flag},{authorisation},");
        let bound = STANDARD.encode([header.as_bytes(), binding].concat());
        self.state = State::ScramVerifier {
            user: user.clone(),
            bare: bare.to_owned(),
            nonce,
            bound,
        };
        Ok(Step::FindVerifier { user })
    }

    /// Goes on with the judgement of the token that was asked for: whose it is, or why it is refused.
    ///
    /// A refusal is a challenge first (RFC 7628 section 3.2.2); the exchange fails with the client's next response.
    pub fn token(&mut self, judged: Result<String, &str>) -> Step {
        match (std::mem::replace(&mut self.state, State::Over), judged) {
            (State::Token(..), Ok(user)) => Step::Proved { user },
            (State::Token(form, user), Err(reason)) => {
                self.state = State::TokenRefused(user);
                Step::Challenge(form.error(reason).into_bytes())
            }
            _ => Step::Malformed,
        }
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

/// Why an exchange ends.
enum Stop {
    Malformed,
    Refused(Refusal),
}

impl From<Refusal> for Stop {
    fn from(reason: Refusal) -> Self {
        Self::Refused(reason)
    }
}

impl From<Stop> for Step {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Malformed => Self::Malformed,
            Stop::Refused(reason) => Self::Refused(reason),
        }
    }
}

/// authorisation id NUL authentication id NUL password (RFC 4616 section 2).
fn plain(text: &str) -> Result<Step, Stop> {
    let mut fields = text.split('\0');
    let [Some(authorisation), Some(user), Some(password), None] = [(); 4].map(|()| fields.next()) else {
        return Err(Stop::Malformed);
    };
    let alone = authorisation.is_empty() || prepare(authorisation) == prepare(user);
    if alone {
        checked(user, password)
    } else {
        Err(Stop::Malformed)
    }
}

/// RFC 4616 section 2: what cannot be prepared, or is nothing then, is no login.
fn checked(user: &str, password: &str) -> Result<Step, Stop> {
    let sound = |text: &str| !text.is_empty() && text.len() <= LONGEST && !text.contains('\0');
    if !(sound(user) && sound(password)) {
        return Err(Stop::Malformed);
    }
    let user = prepare(user).map_err(Refusal::from)?.into_owned();
    let password = prepare(password).map_err(Refusal::from)?.into_owned();
    if user.is_empty() || password.is_empty() {
        return Err(Refusal::Prohibited.into());
    }
    Ok(Step::CheckPassword { user, password })
}

/// `n=…,r=…`: the prepared user name, and the client's nonce.
fn first_fields(bare: &str) -> Option<(Result<String, Prohibited>, &str)> {
    let mut fields = bare.split(',');
    let user = scram_name(fields.next()?.strip_prefix("n=")?)?;
    let nonce = fields.next()?.strip_prefix("r=")?;
    let printable = nonce.bytes().all(|octet| matches!(octet, b'!'..=b'~'));
    if !printable || nonce.is_empty() || nonce.len() > 256 || user.is_empty() {
        return None;
    }
    let prepared = match prepare(&user) {
        Ok(name) if name.is_empty() => Err(Prohibited),
        Ok(name) => Ok(name.into_owned()),
        Err(prohibited) => Err(prohibited),
    };
    Some((prepared, nonce))
}

/// `a=…`: an authorisation id must be the user itself.
fn authorised(field: &str) -> Option<String> {
    let name = scram_name(field.strip_prefix("a=")?)?;
    prepare(&name).ok().map(std::borrow::Cow::into_owned)
}

/// RFC 5802 section 5.1: `=2C` is a comma, `=3D` an equals sign.
pub(super) fn scram_name(text: &str) -> Option<String> {
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

/// Octets of a user name or a password: a token in the place of one has room, as far as a line of AUTH does (RFC 4954
/// section 4).
const LONGEST: usize = 9_216;

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
