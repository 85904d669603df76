//! The session's state machine.

mod body;
mod commands;
mod envelope;
mod login;
mod standing_in;

use self::standing_in::Claims;
use super::BodyEnd;
use crate::command::{Mail, Rcpt};
use crate::endings::{DataReader, EndingCheck};
use crate::line::Input;
use crate::reply::Reply;
use crate::sasl::{ChannelBindings, Exchange, Mechanism};
use crate::xclient::StandIn;

/// What the port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Mail from other servers. No AUTH.
    Transfer,
    /// Mail from users: AUTH (under TLS only) before MAIL.
    Submission,
}

/// How TLS stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Not offered.
    Unavailable,
    /// STARTTLS is offered (RFC 3207).
    Offered,
    /// STARTTLS is offered, and asked for before anything else.
    Required,
    /// In use.
    Active,
}

/// What a session offers.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is offered or not, by itself")]
pub struct Config {
    /// Our name, in the greeting and in EHLO.
    pub hostname: String,
    /// What the port is for.
    pub role: Role,
    /// How TLS stands at the start.
    pub tls: Tls,
    /// Largest message in octets (RFC 1870).
    pub size_limit: u64,
    /// Most recipients of a transaction.
    pub recipients_limit: u32,
    /// Whether MAIL waits for AUTH on [`Role::Submission`]; not for a client that may relay as it is.
    pub login_required: bool,
    /// Most transactions of the session, as LIMITS tells it (RFC 9422). The driver counts them.
    pub messages_limit: u32,
    /// Messages are held on request, for so many seconds at most and until this date and time (RFC 4865).
    pub hold: Option<(u32, String)>,
    /// REQUIRETLS is kept with a message, so that it may be asked for under TLS (RFC 8689).
    pub require_tls: bool,
    /// BY is kept with a message, so that it may be asked for (RFC 2852).
    pub deliver_by: bool,
    /// The client may speak for others by XCLIENT.
    pub stand_in: bool,
    /// Mechanisms of AUTH, best first. Used on [`Role::Submission`] under TLS; one that binds to the connection, where
    /// there is something to bind to.
    pub mechanisms: Vec<Mechanism>,
    /// What a login can be bound to where TLS is in use from the start; otherwise it comes with [`Session::tls_started`].
    pub bindings: ChannelBindings,
}

impl Config {
    /// For mail from other servers, without TLS, 50 MiB, 1,000 recipients.
    pub fn transfer(hostname: &str) -> Self {
        Self {
            hostname: hostname.to_owned(),
            role: Role::Transfer,
            tls: Tls::Unavailable,
            size_limit: 50 << 20,
            recipients_limit: 1_000,
            login_required: true,
            messages_limit: 1_000,
            hold: None,
            require_tls: false,
            deliver_by: false,
            stand_in: false,
            mechanisms: Vec::new(),
            bindings: ChannelBindings::default(),
        }
    }
}

/// What the driver has to do. Those marked *answer* wait for [`Session::answer`]; nothing else is read before.
#[derive(Clone, PartialEq, Eq)]
pub enum Event {
    /// Write [`Session::take_output`], then read and [`Session::feed`].
    NeedInput,
    /// Write the output, then do the TLS handshake and call [`Session::tls_started`]. What was received in plain text
    /// beyond the command is gone.
    StartTls,
    /// Check this password (for PLAIN and LOGIN), then call [`Session::password_checked`].
    CheckPassword {
        /// User name.
        user: String,
        /// Password.
        password: String,
    },
    /// Check this bearer token (for OAUTHBEARER and XOAUTH2), then call [`Session::token_checked`].
    CheckToken {
        /// Who the client says that it is; empty where it says nothing.
        user: String,
        /// The token.
        token: String,
    },
    /// Find the SCRAM verifier of this user, then call [`Session::verifier_found`].
    FindVerifier {
        /// User name.
        user: String,
    },
    /// AUTH ended, the reply is in the output: for counting and for a delay before the next poll.
    Authenticated {
        /// User name; empty where the client never told it.
        user: String,
        /// Whether it is that user.
        success: bool,
    },
    /// *Answer.* The peer speaks for another client from now on; a positive answer is said as a greeting. Tell
    /// [`Session::require_login`] first.
    StandIn(StandIn),
    /// *Answer.* A transaction begins.
    Mail(Mail),
    /// *Answer.* A recipient.
    Rcpt(Rcpt),
    /// *Answer.* A body comes, by DATA or BDAT; there is a recipient at least.
    BodyBegin,
    /// A piece of the body.
    Body(Vec<u8>),
    /// *Answer.* The body is whole and sound. Answer 2yz only once it is stored. The transaction is over.
    BodyEnd(BodyEnd),
    /// The transaction is over without a message: drop what came of it. The reply is in the output, or will be.
    Reset,
    /// Write the output and close.
    Close,
}

/// What is waited for.
enum Waiting {
    Command,
    AnswerMail(Mail),
    AnswerStandIn(Box<StandIn>),
    AnswerRcpt,
    AnswerBegin(Begin),
    AnswerEnd,
    AuthResponse,
    AuthDecision,
    Tls,
    Data(DataReader),
    Chunk { left: u64, last: bool },
    Closed,
}

#[derive(Clone, Copy)]
enum Begin {
    Data,
    Chunk(u64, bool),
}

/// The open transaction.
#[derive(Default)]
struct Transaction {
    smtputf8: bool,
    recipients: u32,
    body: Option<BodyState>,
}

/// A body that is being received.
#[derive(Default)]
struct BodyState {
    octets: u64,
    endings: EndingCheck,
    /// Why it is refused at its end; its octets are read and dropped until then.
    refused: Option<Reply>,
}

/// One session. See the crate's head for the loop around it.
pub struct Session {
    config: Config,
    input: Input,
    output: Vec<u8>,
    waiting: Waiting,
    /// The client's name, and whether it came by EHLO.
    client: Option<(String, bool)>,
    identity: Option<String>,
    /// What a trusted peer said of the client.
    claims: Claims,
    exchange: Option<Exchange>,
    transaction: Option<Transaction>,
    errors: u32,
    failed_logins: u32,
    idle_commands: u32,
    /// DATA was refused: what comes next may be a body of a client that did not wait.
    data_refused: bool,
    reset_due: bool,
    ended: Option<(String, bool)>,
    /// Negative replies that nobody has asked for yet.
    refusals: Vec<(u16, &'static str)>,
}

impl Session {
    /// Starts a session; the greeting is in the output.
    pub fn new(config: Config) -> Self {
        let mut session = Self {
            input: Input::default(),
            output: Vec::new(),
            waiting: Waiting::Command,
            client: None,
            identity: None,
            claims: Claims::default(),
            exchange: None,
            transaction: None,
            errors: 0,
            failed_logins: 0,
            idle_commands: 0,
            data_refused: false,
            reset_due: false,
            ended: None,
            refusals: Vec::new(),
            config,
        };
        session.greet();
        session
    }

    /// RFC 5321 section 4.2: the greeting carries our name.
    fn greet(&mut self) {
        let greeting = Reply::new(220, "", format!("{} ESMTP Postroad", self.config.hostname));
        greeting.render(&mut self.output);
    }

    /// Takes octets from the peer.
    pub fn feed(&mut self, octets: &[u8]) {
        if !matches!(self.waiting, Waiting::Closed | Waiting::Tls) {
            self.input.feed(octets);
        }
    }

    /// Takes what is to be written to the peer.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Takes code and enhanced status code of each negative reply since the last call, for counting. A failed AUTH is not
    /// among them: [`Event::Authenticated`] tells of it.
    pub fn take_refusals(&mut self) -> Vec<(u16, &'static str)> {
        std::mem::take(&mut self.refusals)
    }

    /// Octets that wait to be written. Write them before they pile up.
    pub fn output_len(&self) -> usize {
        self.output.len()
    }

    /// Who the client is, once AUTH has succeeded.
    pub fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }

    /// The name that the client gave, and whether by EHLO.
    pub fn client_name(&self) -> Option<(&str, bool)> {
        let (name, extended) = self.client.as_ref()?;
        let name = self.claims.helo.as_ref().unwrap_or(name);
        Some((name, self.claims.extended.unwrap_or(*extended)))
    }

    /// Whether TLS is in use.
    pub fn is_tls(&self) -> bool {
        self.config.tls == Tls::Active
    }

    /// Whether a transaction is open, so that ending the session would cost the client work.
    pub fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Ends the session with this reply, whatever is under way: 421 for shutting down or time-outs. Where it matters,
    /// wait until [`Session::in_transaction`] is false. [`Event::Reset`] may follow, then [`Event::Close`].
    pub fn end(&mut self, reply: &Reply) {
        if !matches!(self.waiting, Waiting::Closed) {
            reply.render(&mut self.output);
            self.note(reply);
            self.reset();
            self.exchange = None;
            self.waiting = Waiting::Closed;
        }
    }

    /// What to do next.
    pub fn poll(&mut self) -> Event {
        loop {
            if std::mem::take(&mut self.reset_due) {
                return Event::Reset;
            }
            if let Some((user, success)) = self.ended.take() {
                return Event::Authenticated { user, success };
            }
            let event = match &mut self.waiting {
                Waiting::Closed => return Event::Close,
                Waiting::Tls => return Event::StartTls,
                Waiting::Command => self.read_command(),
                Waiting::AuthResponse => self.read_auth(),
                Waiting::Data(_) => self.read_data(),
                Waiting::Chunk { .. } => self.read_chunk(),
                // The driver forgot to answer: it is asked for nothing new.
                Waiting::AnswerMail(_)
                | Waiting::AnswerStandIn(_)
                | Waiting::AnswerRcpt
                | Waiting::AnswerBegin(_)
                | Waiting::AnswerEnd
                | Waiting::AuthDecision => return Event::NeedInput,
            };
            if let Some(event) = event {
                return event;
            }
        }
    }

    fn say(&mut self, code: u16, enhanced: &'static str, text: &'static str) {
        self.reply(&Reply::new(code, enhanced, text));
    }

    fn reply(&mut self, reply: &Reply) {
        self.note(reply);
        self.reply_unnoted(reply);
    }

    fn note(&mut self, reply: &Reply) {
        if !reply.is_positive() {
            self.refusals.push((reply.code(), reply.enhanced()));
        }
    }

    /// The same for a refusal that an event tells of.
    fn reply_unnoted(&mut self, reply: &Reply) {
        reply.render(&mut self.output);
        if reply.code() >= 500 {
            self.errors += 1;
            if self.errors >= MOST_ERRORS && matches!(self.waiting, Waiting::Command) {
                self.end(&Reply::new(421, "4.7.0", "too many errors"));
            }
        }
    }
}

/// Longest command line, with CRLF. RFC 5321 section 4.5.3.1.4 asks for 512 and more for parameters.
const LINE: usize = 2_048;
/// Longest line inside AUTH (RFC 4954 section 4).
const AUTH_LINE: usize = 12_288;
/// Refused commands before the session is ended.
const MOST_ERRORS: u32 = 20;
/// Failed logins before the session is ended.
const MOST_FAILED_LOGINS: u32 = 3;
/// Commands that lead nowhere (NOOP, RSET, VRFY…) in a row before the session is ended.
const MOST_IDLE: u32 = 1_000;
/// Largest piece of a body in one event.
const PIECE: usize = 64 << 10;

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
