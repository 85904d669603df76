//! SASL, the client's side: which mechanism is used, and what is said in it. Pure but for the nonce of SCRAM.
//!
//! ```text
//!   a password   SCRAM-SHA-256 ─► PLAIN ─► LOGIN       the first of these that the server offers
//!   a token      XOAUTH2 ─► OAUTHBEARER
//! ```
//!
//! SCRAM comes first, as the server never learns the password by it and has to prove that it knows it. XOAUTH2 comes first,
//! as the providers document it and some announce the other without taking it. Whoever uses this sends nothing outside of TLS.

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::{pbkdf2, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use super::exchange::Mechanism;
use super::prepare::prepare;
use super::scram::{mac, sha256};

/// What a client proves itself by.
#[derive(Clone, PartialEq, Eq)]
pub enum Proof {
    /// A password.
    Password {
        /// User name.
        user: String,
        /// The password.
        password: String,
    },
    /// A bearer token (RFC 6750).
    Token {
        /// Who it stands for.
        user: String,
        /// The token.
        token: String,
    },
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => write!(f, "Password({user}, …)"),
            Self::Token { user, .. } => write!(f, "Token({user}, …)"),
        }
    }
}

impl Proof {
    /// Mechanisms that can carry it, the one that is preferred first.
    pub fn mechanisms(&self) -> &'static [Mechanism] {
        match self {
            Self::Password { .. } => &[Mechanism::ScramSha256, Mechanism::Plain, Mechanism::Login],
            Self::Token { .. } => &[Mechanism::XOAuth2, Mechanism::OAuthBearer],
        }
    }

    /// The mechanism that is used with a server that offers these (in upper case).
    pub fn choose(&self, offered: &[String]) -> Option<Mechanism> {
        let known = |mechanism: &&Mechanism| offered.iter().any(|name| name == mechanism.name());
        self.mechanisms().iter().find(known).copied()
    }
}

/// Why a login cannot go on. Nothing of it is shown to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The user name or the password holds what RFC 4013 or the mechanism forbids.
    #[error("the user name or the password holds a character that cannot be sent")]
    Prohibited,
    /// The mechanism does not carry this kind of proof.
    #[error("the mechanism does not carry what there is to log in with")]
    Mechanism,
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness,
    /// The server's challenge makes no sense.
    #[error("the server's challenge makes no sense")]
    Challenge,
    /// The server asks for more work than a login is worth.
    #[error("the server asks for more than 600000 iterations of SCRAM")]
    Iterations,
    /// The server does not know the password itself: it is another one than it says.
    #[error("the server could not prove that it knows the password")]
    Unproven,
}

/// A login under way.
pub struct Login {
    mechanism: Mechanism,
    state: State,
}

enum State {
    /// All is said in one message, which is not sent yet.
    Once(Vec<u8>),
    /// LOGIN: user name and password, each when it is asked for.
    Asked(Vec<Vec<u8>>),
    /// The proof is with the server; its reply is due.
    Sent,
    /// The server was told that we know that it refuses the token.
    Refused,
    ScramFirst(Scram),
    ScramFinal {
        /// What the server has to say.
        signature: [u8; 32],
    },
}

struct Scram {
    /// `n=…,r=…`.
    bare: String,
    nonce: String,
    password: String,
    sent: bool,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({}, …)", self.mechanism.name())
    }
}

impl Login {
    /// Begins a login. Errors: the proof cannot be said in this mechanism.
    pub fn new(proof: &Proof, mechanism: Mechanism) -> Result<Self, LoginError> {
        let mut nonce = [0; 24];
        rand::fill(&mut nonce).map_err(|_| LoginError::Randomness)?;
        Self::with_nonce(proof, mechanism, STANDARD.encode(nonce))
    }

    fn with_nonce(proof: &Proof, mechanism: Mechanism, nonce: String) -> Result<Self, LoginError> {
        let state = match (proof, mechanism) {
            (Proof::Password { user, password }, Mechanism::Plain) => {
                // RFC 4616 section 2: the parts are separated by a zero octet.
                if user.contains('\0') || password.contains('\0') {
                    return Err(LoginError::Prohibited);
                }
                State::Once(format!("\0{user}\0{password}").into_bytes())
            }
            (Proof::Password { user, password }, Mechanism::Login) => {
                State::Asked(vec![password.clone().into_bytes(), user.clone().into_bytes()])
            }
            (Proof::Password { user, password }, Mechanism::ScramSha256) => {
                let prepared = |text: &str| {
                    let text = prepare(text).map_err(|_| LoginError::Prohibited)?;
                    Ok(text.into_owned())
                };
                let user = escaped(&prepared(user)?);
                State::ScramFirst(Scram {
                    bare: format!("n={user},r={nonce}"),
                    nonce,
                    password: prepared(password)?,
                    sent: false,
                })
            }
            (Proof::Token { user, token }, Mechanism::XOAuth2 | Mechanism::OAuthBearer) => {
                let sound = |text: &str| !text.chars().any(char::is_control);
                if !sound(user) || !sound(token) {
                    return Err(LoginError::Prohibited);
                }
                let head = if mechanism == Mechanism::XOAuth2 {
                    format!("user={user}")
                } else {
                    // RFC 7628 section 3.1; RFC 5801 section 4: no channel binding, and whose mailbox it is.
                    format!("n,a={},", escaped(user))
                };
                State::Once(format!("{head}\u{1}auth=Bearer {token}\u{1}\u{1}").into_bytes())
            }
            _ => return Err(LoginError::Mechanism),
        };
        Ok(Self { mechanism, state })
    }

    /// The mechanism.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// What the client says first, in base 64; absent where the server speaks first.
    pub fn first(&mut self) -> Option<String> {
        match &mut self.state {
            State::Once(message) => {
                let message = std::mem::take(message);
                self.state = State::Sent;
                Some(STANDARD.encode(message))
            }
            State::ScramFirst(scram) if !scram.sent => {
                scram.sent = true;
                Some(STANDARD.encode(format!("n,,{}", scram.bare)))
            }
            _ => None,
        }
    }

    /// What is answered to a challenge, both in base 64; an empty answer is an empty line.
    pub fn respond(&mut self, challenge: &str) -> Result<String, LoginError> {
        match &mut self.state {
            State::Asked(parts) => {
                let part = parts.pop().ok_or(LoginError::Challenge)?;
                if parts.is_empty() {
                    self.state = State::Sent;
                }
                Ok(STANDARD.encode(part))
            }
            // The token is refused, and the challenge says why; the real reply comes after this answer, which RFC 7628 section
            // 3.2.3 calls a dummy. XOAUTH2 wants an empty line.
            State::Sent if self.mechanism == Mechanism::OAuthBearer => {
                self.state = State::Refused;
                Ok(STANDARD.encode("\u{1}"))
            }
            State::Sent if self.mechanism == Mechanism::XOAuth2 => {
                self.state = State::Refused;
                Ok(String::new())
            }
            State::ScramFirst(scram) => {
                let (answer, signature) = scram.finish(&decoded(challenge)?)?;
                self.state = State::ScramFinal { signature };
                Ok(STANDARD.encode(answer))
            }
            State::ScramFinal { signature } => {
                let said = decoded(challenge)?;
                let said = said
                    .strip_prefix("v=")
                    .and_then(|said| STANDARD.decode(said).ok());
                if !said.is_some_and(|said| bool::from(said.as_slice().ct_eq(signature))) {
                    return Err(LoginError::Unproven);
                }
                self.state = State::Sent;
                Ok(String::new())
            }
            State::Once(_) | State::Sent | State::Refused => Err(LoginError::Challenge),
        }
    }

    /// Whether a server that says yes now has done its part.
    pub fn is_complete(&self) -> bool {
        matches!(self.state, State::Sent)
    }
}

impl Scram {
    /// Answers the server's first message (RFC 5802 section 3): the last message of the client, and what the server has to say
    /// to it.
    fn finish(&self, server_first: &str) -> Result<(String, [u8; 32]), LoginError> {
        let mut fields = server_first.split(',');
        let mut field = |name: &str| {
            let field = fields.next().and_then(|field| field.strip_prefix(name));
            field.ok_or(LoginError::Challenge)
        };
        let (nonce, salt, iterations) = (field("r=")?, field("s=")?, field("i=")?);
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(LoginError::Challenge);
        }
        let salt = STANDARD.decode(salt).map_err(|_| LoginError::Challenge)?;
        let iterations: NonZeroU32 = iterations.parse().map_err(|_| LoginError::Challenge)?;
        if iterations.get() > MOST_ITERATIONS {
            return Err(LoginError::Iterations);
        }
        let mut salted = [0; 32];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            iterations,
            &salt,
            self.password.as_bytes(),
            &mut salted,
        );
        let without_proof = format!("c={},r={nonce}", STANDARD.encode("n,,"));
        let messages = format!("{},{server_first},{without_proof}", self.bare);
        let mut proof = mac(&salted, b"Client Key");
        let signature = mac(&sha256(&proof), messages.as_bytes());
        for (octet, mask) in proof.iter_mut().zip(signature) {
            *octet ^= mask;
        }
        let answer = format!("{without_proof},p={}", STANDARD.encode(proof));
        Ok((answer, mac(&mac(&salted, b"Server Key"), messages.as_bytes())))
    }
}

/// RFC 5802 section 5.1: `=2C` is a comma, `=3D` an equals sign.
fn escaped(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

fn decoded(challenge: &str) -> Result<String, LoginError> {
    let octets = STANDARD
        .decode(challenge.trim())
        .map_err(|_| LoginError::Challenge)?;
    String::from_utf8(octets).map_err(|_| LoginError::Challenge)
}

/// As many as careful servers ask for; more would only cost us time.
const MOST_ITERATIONS: u32 = 600_000;

#[cfg(test)]
mod tests {
    use super::super::binding::ChannelBindings;
    use super::super::exchange::{Exchange, Step};
    use super::super::scram::ScramVerifier;
    use super::*;

    fn password(user: &str, password: &str) -> Proof {
        Proof::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        }
    }

    fn token(user: &str) -> Proof {
        Proof::Token {
            user: user.to_owned(),
            token: "ya29.vF9".to_owned(),
        }
    }

    fn text(base64: &str) -> String {
        String::from_utf8(STANDARD.decode(base64).unwrap()).unwrap()
    }

    #[test]
    fn the_preferred_mechanism_of_those_offered_is_chosen() {
        let offered = |names: &str| names.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (password, token) = (password("a", "b"), token("a"));
        for (names, by_password, by_token) in [
            ("PLAIN LOGIN", Some(Mechanism::Plain), None),
            ("LOGIN XOAUTH2", Some(Mechanism::Login), Some(Mechanism::XOAuth2)),
            (
                "LOGIN PLAIN SCRAM-SHA-256 OAUTHBEARER",
                Some(Mechanism::ScramSha256),
                Some(Mechanism::OAuthBearer),
            ),
            ("OAUTHBEARER XOAUTH2", None, Some(Mechanism::XOAuth2)),
            ("GSSAPI NTLM", None, None),
            ("", None, None),
        ] {
            assert_eq!(password.choose(&offered(names)), by_password, "{names}");
            assert_eq!(token.choose(&offered(names)), by_token, "{names}");
        }
    }

    #[test]
    fn each_mechanism_says_what_its_standard_says() {
        let first = |proof: &Proof, mechanism| {
            let mut login = Login::new(proof, mechanism).unwrap();
            let first = login.first().unwrap();
            assert!(login.first().is_none() && login.is_complete());
            text(&first)
        };
        assert_eq!(
            first(&password("tim", "tanstaaf"), Mechanism::Plain),
            "\0tim\0tanstaaf"
        );
        assert_eq!(
            first(&token("some,user=x@example.com"), Mechanism::OAuthBearer),
            "n,a=some=2Cuser=3Dx@example.com,\u{1}auth=Bearer ya29.vF9\u{1}\u{1}"
        );
        assert_eq!(
            first(&token("u@example.com"), Mechanism::XOAuth2),
            "user=u@example.com\u{1}auth=Bearer ya29.vF9\u{1}\u{1}"
        );
        let mut login = Login::new(&password("u", "p"), Mechanism::Login).unwrap();
        assert!(login.first().is_none() && !login.is_complete());
        let said = [login.respond("VXNlcm5hbWU6"), login.respond("not base 64")];
        assert_eq!(said.map(|said| text(&said.unwrap())), ["u", "p"]);
        assert!(login.is_complete());
        assert_eq!(login.respond(""), Err(LoginError::Challenge));
    }

    #[test]
    fn a_refused_token_is_answered_so_that_the_real_reply_comes() {
        for (mechanism, answer) in [(Mechanism::XOAuth2, ""), (Mechanism::OAuthBearer, "AQ==")] {
            let mut login = Login::new(&token("u"), mechanism).unwrap();
            let _ = login.first();
            assert_eq!(login.respond("eyJzdGF0dXMiOiI0MDAifQ==").unwrap(), answer);
            assert_eq!(login.respond(""), Err(LoginError::Challenge), "once is enough");
        }
    }

    #[test]
    fn what_cannot_be_said_is_refused_before_it_is_sent() {
        for (proof, mechanism) in [
            (password("a\0b", "c"), Mechanism::Plain),
            (password("a", "b\0c"), Mechanism::Plain),
            (password("a", "b\u{7}"), Mechanism::ScramSha256),
            (token("a\u{1}auth=Bearer x"), Mechanism::XOAuth2),
        ] {
            let refused = Login::new(&proof, mechanism).err();
            assert_eq!(refused, Some(LoginError::Prohibited), "{proof:?}");
        }
        let wrong = Login::new(&password("a", "b"), Mechanism::XOAuth2).err();
        assert_eq!(wrong, Some(LoginError::Mechanism));
    }

    /// RFC 7677 section 3, the example exchange, from the client's side.
    #[test]
    fn the_exchange_of_rfc_7677() {
        let nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
        let mut login =
            Login::with_nonce(&password("user", "pencil"), Mechanism::ScramSha256, nonce).unwrap();
        assert_eq!(text(&login.first().unwrap()), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let challenge =
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let answer = login.respond(&STANDARD.encode(challenge)).unwrap();
        assert_eq!(
            text(&answer),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(!login.is_complete(), "the server has proved nothing yet");
        let last = STANDARD.encode("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(login.respond(&last).unwrap(), "");
        assert!(login.is_complete());
    }

    #[test]
    fn a_server_that_proves_nothing_is_not_believed() {
        let started = || {
            let proof = password("user", "pencil");
            let mut login = Login::with_nonce(&proof, Mechanism::ScramSha256, "abc".to_owned()).unwrap();
            let _ = login.first();
            login
        };
        for (challenge, error) in [
            ("r=abc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", LoginError::Challenge),
            (
                "r=xyzabc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
                LoginError::Challenge,
            ),
            ("r=abcd,s=!,i=4096", LoginError::Challenge),
            ("r=abcd,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0", LoginError::Challenge),
            ("r=abcd,s=W22ZaJ0SNY7soEsUEjb6gQ==", LoginError::Challenge),
            (
                "r=abcd,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=600001",
                LoginError::Iterations,
            ),
            ("e=other-error", LoginError::Challenge),
        ] {
            assert_eq!(
                started().respond(&STANDARD.encode(challenge)),
                Err(error),
                "{challenge}"
            );
        }
        let mut login = started();
        let challenge = "r=abcd,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        login.respond(&STANDARD.encode(challenge)).unwrap();
        let forged = STANDARD.encode("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(login.respond(&forged), Err(LoginError::Unproven));
    }

    #[test]
    fn our_own_server_takes_what_our_client_says() {
        let verifier = ScramVerifier::from_password("s3cret,=", 4_096).unwrap();
        let proof = password("ann,=x", "s3cret,=");
        let mut login = Login::new(&proof, Mechanism::ScramSha256).unwrap();
        let mut exchange = Exchange::start(Mechanism::ScramSha256, ChannelBindings::default()).0;
        let first = STANDARD.decode(login.first().unwrap()).unwrap();
        let Step::FindVerifier { user } = exchange.respond(&first) else {
            panic!("no verifier is asked for");
        };
        assert_eq!(user, "ann,=x");
        let Step::Challenge(challenge) = exchange.verifier(verifier) else {
            panic!("no challenge");
        };
        let answer = login.respond(&STANDARD.encode(challenge)).unwrap();
        let Step::Challenge(challenge) = exchange.respond(&STANDARD.decode(answer).unwrap()) else {
            panic!("the proof is refused");
        };
        let last = login.respond(&STANDARD.encode(challenge)).unwrap();
        assert!(last.is_empty() && login.is_complete());
        assert!(matches!(exchange.respond(b""), Step::Proved { user } if user == "ann,=x"));
    }
}
