//! AUTH (RFC 4954).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::body::bare_ending;
use super::{AUTH_LINE, Event, MOST_FAILED_LOGINS, Role, Session, Waiting};
use crate::line::Line;
use crate::reply::Reply;
use crate::sasl::{ChannelBindings, Exchange, Mechanism, Refusal, ScramVerifier, Step};

impl Session {
    pub(super) fn auth_offered(&self) -> bool {
        self.config.role == Role::Submission
            && self.is_tls()
            && self.identity.is_none()
            && !self.config.mechanisms.is_empty()
    }

    /// Those that this connection can carry.
    pub(super) fn mechanisms(&self) -> impl Iterator<Item = Mechanism> {
        let bound = !self.config.bindings.is_empty();
        let fits = move |one: &Mechanism| bound || *one != Mechanism::ScramSha256Plus;
        self.config.mechanisms.iter().copied().filter(fits)
    }

    fn mechanism(&self, name: &str) -> Option<Mechanism> {
        self.mechanisms().find(|known| known.name() == name)
    }

    /// What clients were offered to bind to.
    fn offered_bindings(&self) -> ChannelBindings {
        if self.mechanisms().any(|one| one == Mechanism::ScramSha256Plus) {
            self.config.bindings.clone()
        } else {
            ChannelBindings::default()
        }
    }

    pub(super) fn auth(&mut self, mechanism: &str, initial: Option<String>) -> Option<Event> {
        if !self.client.as_ref().is_some_and(|(_, extended)| *extended) {
            self.say(503, "5.5.1", "say EHLO first");
        } else if self.config.role != Role::Submission {
            self.say(502, "5.5.1", "not offered here");
        } else if self.identity.is_some() || self.transaction.is_some() {
            self.say(503, "5.5.1", "not now");
        } else if !self.is_tls() {
            self.say(538, "5.7.11", "use STARTTLS first");
        } else if let Some(known) = self.mechanism(mechanism) {
            let (exchange, challenge) = Exchange::start(known, self.offered_bindings());
            self.exchange = Some(exchange);
            self.waiting = Waiting::AuthResponse;
            match initial {
                // RFC 4954 section 4: `=` is an initial response of no octets.
                Some(initial) => return self.auth_response(if initial == "=" { "" } else { &initial }),
                None => self.challenge(&challenge),
            }
        } else {
            self.say(504, "5.5.4", "mechanism not offered");
        }
        None
    }

    fn challenge(&mut self, challenge: &[u8]) {
        let line = format!("334 {}\r\n", STANDARD.encode(challenge));
        self.output.extend_from_slice(line.as_bytes());
    }

    pub(super) fn read_auth(&mut self) -> Option<Event> {
        match self.input.line(AUTH_LINE) {
            Line::Partial => return Some(Event::NeedInput),
            Line::TooLong => {
                self.auth_failed(String::new(), 500, "5.5.6", "line too long");
            }
            Line::Bare => self.end(&bare_ending()),
            Line::Whole(line) if line == b"*" => {
                self.auth_failed(String::new(), 501, "5.7.0", "cancelled");
            }
            Line::Whole(line) => return self.auth_response(&String::from_utf8_lossy(&line)),
        }
        None
    }

    fn auth_response(&mut self, response: &str) -> Option<Event> {
        if let (Ok(response), Some(exchange)) = (STANDARD.decode(response), &mut self.exchange) {
            let step = exchange.respond(&response);
            return self.auth_step(step);
        }
        self.auth_failed(String::new(), 501, "5.5.2", "not base 64");
        None
    }

    fn auth_step(&mut self, step: Step) -> Option<Event> {
        match step {
            Step::Challenge(challenge) => {
                self.waiting = Waiting::AuthResponse;
                self.challenge(&challenge);
            }
            Step::CheckPassword { user, password } => {
                self.waiting = Waiting::AuthDecision;
                return Some(Event::CheckPassword { user, password });
            }
            Step::CheckToken { user, token } => {
                self.waiting = Waiting::AuthDecision;
                return Some(Event::CheckToken { user, token });
            }
            Step::FindVerifier { user } => {
                self.waiting = Waiting::AuthDecision;
                return Some(Event::FindVerifier { user });
            }
            Step::Proved { user } => self.auth_decided(user, true),
            Step::Failed { user } => self.auth_decided(user, false),
            Step::Refused(reason) => {
                let (code, enhanced, text) = refusal(reason);
                self.auth_failed(String::new(), code, enhanced, text);
            }
            Step::Malformed => {
                self.auth_failed(String::new(), 501, "5.5.2", "response not understood");
            }
        }
        None
    }

    fn auth_decided(&mut self, user: String, success: bool) {
        if success {
            self.auth_over(user.clone(), true);
            self.identity = Some(user);
            self.say(235, "2.7.0", "welcome");
        } else {
            self.auth_failed(user, 535, "5.7.8", "authentication failed");
        }
    }

    /// The last of several failures ends the session: guessing costs a connection each time.
    fn auth_failed(&mut self, user: String, code: u16, enhanced: &'static str, text: &'static str) {
        self.auth_over(user, false);
        self.failed_logins += 1;
        if self.failed_logins >= MOST_FAILED_LOGINS {
            self.end(&Reply::new(421, "4.7.0", "too many failed logins"));
        } else {
            self.reply_unnoted(&Reply::new(code, enhanced, text));
        }
    }

    fn auth_over(&mut self, user: String, success: bool) {
        self.exchange = None;
        self.waiting = Waiting::Command;
        self.ended = Some((user, success));
    }

    /// Answers [`Event::CheckPassword`]. `None`: it cannot be told now (454).
    pub fn password_checked(&mut self, user: &str, success: Option<bool>) {
        if !matches!(self.waiting, Waiting::AuthDecision) {
            return;
        }
        if let Some(success) = success {
            self.auth_decided(user.to_owned(), success);
        } else {
            self.auth_over(user.to_owned(), false);
            self.reply_unnoted(&Reply::new(454, "4.7.0", "authentication is not possible now"));
        }
    }

    /// Answers [`Event::CheckToken`]: whose it is, or why it is refused (a sentence without quotation marks).
    pub fn token_checked(&mut self, judged: Result<String, &str>) {
        if let (Waiting::AuthDecision, Some(exchange)) = (&self.waiting, &mut self.exchange) {
            let step = exchange.token(judged);
            let _ = self.auth_step(step);
        }
    }

    /// Answers [`Event::CheckToken`] where nothing can be told now (454).
    pub fn token_unchecked(&mut self) {
        self.password_checked("", None);
    }

    /// Answers [`Event::FindVerifier`]; for an unknown user with [`ScramVerifier::made_up`].
    pub fn verifier_found(&mut self, verifier: ScramVerifier) {
        if let (Waiting::AuthDecision, Some(exchange)) = (&self.waiting, &mut self.exchange) {
            let step = exchange.verifier(verifier);
            let _ = self.auth_step(step);
        }
    }
}

/// What is said of it.
fn refusal(reason: Refusal) -> (u16, &'static str, &'static str) {
    match reason {
        Refusal::UnknownBinding => (535, "5.7.8", "this channel binding is not offered"),
        Refusal::NotPlus => (535, "5.7.8", "channel binding needs the mechanism with -PLUS"),
        Refusal::Unbound => (535, "5.7.8", "the mechanism with -PLUS needs channel binding"),
        Refusal::Prohibited => (
            535,
            "5.7.8",
            "user name or password hold a character that is not allowed",
        ),
        Refusal::Downgrade => (
            535,
            "5.7.8",
            "channel binding is offered, and something in between hid it",
        ),
    }
}
