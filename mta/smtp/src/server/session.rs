//! The session's state machine.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::BodyEnd;
use crate::command::{Command, Mail, Rcpt};
use crate::endings::{DataReader, EndingCheck, Fault};
use crate::line::{Input, Line};
use crate::reply::Reply;
use crate::sasl::{Exchange, Mechanism, ScramVerifier, Step};

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
    /// Mechanisms of AUTH, best first. Used on [`Role::Submission`] under TLS.
    pub mechanisms: Vec<Mechanism>,
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
            mechanisms: Vec::new(),
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
    exchange: Option<Exchange>,
    transaction: Option<Transaction>,
    errors: u32,
    idle_commands: u32,
    reset_due: bool,
    ended: Option<(String, bool)>,
}

/// Longest command line, with CRLF. RFC 5321 section 4.5.3.1.4 asks for 512 and more for parameters.
const LINE: usize = 2_048;
/// Longest line inside AUTH (RFC 4954 section 4).
const AUTH_LINE: usize = 12_288;
/// Refused commands before the session is ended.
const MOST_ERRORS: u32 = 20;
/// Commands that lead nowhere (NOOP, RSET, VRFY…) in a row before the session is ended.
const MOST_IDLE: u32 = 1_000;
/// Largest piece of a body in one event.
const PIECE: usize = 64 << 10;

impl Session {
    /// Starts a session; the greeting is in the output.
    pub fn new(config: Config) -> Self {
        let mut session = Self {
            input: Input::default(),
            output: Vec::new(),
            waiting: Waiting::Command,
            client: None,
            identity: None,
            exchange: None,
            transaction: None,
            errors: 0,
            idle_commands: 0,
            reset_due: false,
            ended: None,
            config,
        };
        // RFC 5321 section 4.2: the greeting carries our name.
        let greeting = Reply::new(220, "", format!("{} ESMTP Postroad", session.config.hostname));
        greeting.render(&mut session.output);
        session
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
        self.client
            .as_ref()
            .map(|(name, extended)| (name.as_str(), *extended))
    }

    /// Whether TLS is in use.
    pub fn is_tls(&self) -> bool {
        self.config.tls == Tls::Active
    }

    /// Whether a transaction is open, so that ending the session would cost the client work.
    pub fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Ends the session with this reply as soon as no body is being received: 421 for shutting down or time-outs.
    pub fn end(&mut self, reply: &Reply) {
        if !matches!(self.waiting, Waiting::Closed) {
            reply.render(&mut self.output);
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
        reply.render(&mut self.output);
        if reply.code() >= 500 {
            self.errors += 1;
            if self.errors >= MOST_ERRORS && matches!(self.waiting, Waiting::Command) {
                self.end(&Reply::new(421, "4.7.0", "too many errors"));
            }
        }
    }

    // --- commands ---------------------------------------------------------------------------------------------------

    fn read_command(&mut self) -> Option<Event> {
        match self.input.line(LINE) {
            Line::Partial => return Some(Event::NeedInput),
            Line::TooLong => self.say(500, "5.5.2", "line too long"),
            Line::Bare => {
                self.end(&Reply::new(
                    500,
                    "5.5.2",
                    "a line ends with CR LF; CR or LF alone is refused",
                ));
            }
            Line::Whole(line) => {
                let extended = self.client.as_ref().is_some_and(|(_, extended)| *extended);
                match Command::parse(&line, extended) {
                    Ok(command) => return self.command(command),
                    Err(error) => self.say(error.code, error.enhanced, error.text),
                }
            }
        }
        None
    }

    fn command(&mut self, command: Command) -> Option<Event> {
        let idle = !matches!(
            command,
            Command::Mail(_) | Command::Rcpt(_) | Command::Data | Command::Bdat(..)
        );
        self.idle_commands = if idle { self.idle_commands + 1 } else { 0 };
        if self.idle_commands > MOST_IDLE {
            self.end(&Reply::new(421, "4.7.0", "too many commands without a message"));
            return None;
        }
        match command {
            Command::Ehlo(name) => self.hello(name, true),
            Command::Helo(name) => self.hello(name, false),
            Command::Noop => self.say(250, "2.0.0", "ok"),
            Command::Rset => {
                self.reset();
                self.say(250, "2.0.0", "reset");
            }
            Command::Quit => {
                self.reset();
                self.end(&Reply::new(221, "2.0.0", "goodbye"));
            }
            Command::Help => self.say(214, "2.0.0", "see RFC 5321"),
            // RFC 5321 section 3.5.3: neither confirmed nor denied.
            Command::Vrfy => self.say(252, "2.5.0", "send some mail, I will try my best"),
            Command::Expn => self.say(502, "5.5.1", "not offered"),
            Command::StartTls => self.start_tls(),
            Command::Auth(mechanism, initial) => return self.auth(&mechanism, initial),
            Command::Mail(mail) => return self.mail(mail),
            Command::Rcpt(rcpt) => return self.rcpt(rcpt),
            Command::Data => return self.data(),
            Command::Bdat(size, last) => return self.bdat(size, last),
        }
        None
    }

    /// RFC 5321 section 4.1.4: a later EHLO clears the state as RSET does.
    fn hello(&mut self, name: String, extended: bool) {
        self.reset();
        self.client = Some((name, extended));
        if !extended {
            self.reply(&Reply::new(250, "", self.config.hostname.clone()));
            return;
        }
        let mut lines = vec![self.config.hostname.clone()];
        lines.extend([
            "PIPELINING".into(),
            format!("SIZE {}", self.config.size_limit),
            "8BITMIME".into(),
        ]);
        lines.extend([
            "SMTPUTF8".into(),
            "ENHANCEDSTATUSCODES".into(),
            "CHUNKING".into(),
            "DSN".into(),
        ]);
        if matches!(self.config.tls, Tls::Offered | Tls::Required) {
            lines.push("STARTTLS".into());
        }
        if self.auth_offered() {
            let names: Vec<_> = self
                .config
                .mechanisms
                .iter()
                .map(|mechanism| mechanism.name())
                .collect();
            lines.push(format!("AUTH {}", names.join(" ")));
        }
        self.reply(&Reply::new(250, "", lines.join("\n")));
    }

    fn reset(&mut self) {
        if self.transaction.take().is_some() {
            self.reset_due = true;
        }
    }

    fn start_tls(&mut self) {
        match self.config.tls {
            Tls::Unavailable => self.say(502, "5.5.1", "not offered"),
            Tls::Active => self.say(503, "5.5.1", "TLS is in use already"),
            Tls::Offered | Tls::Required => {
                self.reset();
                self.say(220, "2.0.0", "go ahead");
                // RFC 3207 section 4.2, and the injections of 2011 and 2021: what came in plain text after the command
                // is nobody's.
                self.input.clear();
                self.waiting = Waiting::Tls;
            }
        }
    }

    /// The handshake is done. All that was known of the client is forgotten (RFC 3207 section 4.2).
    pub fn tls_started(&mut self) {
        self.config.tls = Tls::Active;
        self.client = None;
        self.identity = None;
        self.exchange = None;
        self.transaction = None;
        self.input.clear();
        self.waiting = Waiting::Command;
    }

    // --- AUTH (RFC 4954) ------------------------------------------------------------------------------------------------

    fn auth_offered(&self) -> bool {
        self.config.role == Role::Submission
            && self.is_tls()
            && self.identity.is_none()
            && !self.config.mechanisms.is_empty()
    }

    fn auth(&mut self, mechanism: &str, initial: Option<String>) -> Option<Event> {
        if !self.client.as_ref().is_some_and(|(_, extended)| *extended) {
            self.say(503, "5.5.1", "say EHLO first");
        } else if self.config.role != Role::Submission {
            self.say(502, "5.5.1", "not offered here");
        } else if self.identity.is_some() || self.transaction.is_some() {
            self.say(503, "5.5.1", "not now");
        } else if !self.is_tls() {
            self.say(538, "5.7.11", "use STARTTLS first");
        } else if let Some(known) = self
            .config
            .mechanisms
            .iter()
            .find(|known| known.name() == mechanism)
        {
            let (exchange, challenge) = Exchange::start(*known);
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

    fn read_auth(&mut self) -> Option<Event> {
        match self.input.line(AUTH_LINE) {
            Line::Partial => return Some(Event::NeedInput),
            Line::TooLong => {
                self.auth_over(String::new(), false);
                self.say(500, "5.5.6", "line too long");
            }
            Line::Bare => self.end(&Reply::new(
                500,
                "5.5.2",
                "a line ends with CR LF; CR or LF alone is refused",
            )),
            Line::Whole(line) if line == b"*" => {
                self.auth_over(String::new(), false);
                self.say(501, "5.7.0", "cancelled");
            }
            Line::Whole(line) => return self.auth_response(&String::from_utf8_lossy(&line)),
        }
        None
    }

    fn auth_response(&mut self, response: &str) -> Option<Event> {
        match (STANDARD.decode(response), &mut self.exchange) {
            (Ok(response), Some(exchange)) => {
                let step = exchange.respond(&response);
                self.auth_step(step)
            }
            _ => {
                self.auth_over(String::new(), false);
                self.say(501, "5.5.2", "not base 64");
                None
            }
        }
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
            Step::FindVerifier { user } => {
                self.waiting = Waiting::AuthDecision;
                return Some(Event::FindVerifier { user });
            }
            Step::Proved { user } => self.auth_decided(user, true),
            Step::Failed { user } => self.auth_decided(user, false),
            Step::Malformed => {
                self.auth_over(String::new(), false);
                self.say(501, "5.5.2", "response not understood");
            }
        }
        None
    }

    fn auth_decided(&mut self, user: String, success: bool) {
        self.auth_over(user.clone(), success);
        if success {
            self.identity = Some(user);
            self.say(235, "2.7.0", "welcome");
        } else {
            self.say(535, "5.7.8", "authentication failed");
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
        match success {
            Some(success) => self.auth_decided(user.to_owned(), success),
            None => {
                self.auth_over(user.to_owned(), false);
                self.say(454, "4.7.0", "authentication is not possible now");
            }
        }
    }

    /// Answers [`Event::FindVerifier`]; for an unknown user with [`ScramVerifier::made_up`].
    pub fn verifier_found(&mut self, verifier: ScramVerifier) {
        if let (Waiting::AuthDecision, Some(exchange)) = (&self.waiting, &mut self.exchange) {
            let step = exchange.verifier(verifier);
            let _ = self.auth_step(step);
        }
    }

    // --- transaction -------------------------------------------------------------------------------------------------

    fn mail(&mut self, mail: Mail) -> Option<Event> {
        if self.client.is_none() {
            self.say(503, "5.5.1", "say EHLO first");
        } else if self.config.tls == Tls::Required {
            self.say(530, "5.7.0", "use STARTTLS first");
        } else if self.config.role == Role::Submission && self.identity.is_none() {
            self.say(530, "5.7.0", "authentication required");
        } else if self.transaction.is_some() {
            self.say(503, "5.5.1", "a transaction is open");
        } else if mail.size.is_some_and(|size| size > self.config.size_limit) {
            self.say(552, "5.3.4", "message too large");
        } else {
            self.waiting = Waiting::AnswerMail(mail.clone());
            return Some(Event::Mail(mail));
        }
        None
    }

    fn rcpt(&mut self, rcpt: Rcpt) -> Option<Event> {
        let Some(transaction) = &self.transaction else {
            self.say(503, "5.5.1", "say MAIL first");
            return None;
        };
        let ascii = rcpt
            .forward_path
            .as_ref()
            .is_none_or(|path| path.as_str().is_ascii());
        if transaction.body.is_some() {
            self.say(503, "5.5.1", "the message has begun");
        } else if transaction.recipients >= self.config.recipients_limit {
            // RFC 5321 section 4.5.3.1.10.
            self.say(452, "4.5.3", "too many recipients");
        } else if !ascii && !transaction.smtputf8 {
            self.say(553, "5.6.7", "that address needs SMTPUTF8");
        } else {
            self.waiting = Waiting::AnswerRcpt;
            return Some(Event::Rcpt(rcpt));
        }
        None
    }

    fn data(&mut self) -> Option<Event> {
        match &self.transaction {
            None => self.say(503, "5.5.1", "say MAIL first"),
            // RFC 3030 section 2: BDAT and DATA do not mix.
            Some(transaction) if transaction.body.is_some() => self.say(503, "5.5.1", "BDAT has begun"),
            Some(transaction) if transaction.recipients == 0 => self.say(503, "5.5.1", "no valid recipient"),
            Some(_) => {
                self.waiting = Waiting::AnswerBegin(Begin::Data);
                return Some(Event::BodyBegin);
            }
        }
        None
    }

    fn bdat(&mut self, size: u64, last: bool) -> Option<Event> {
        let refusal = match &self.transaction {
            None => Some("say MAIL first"),
            Some(transaction) if transaction.recipients == 0 => Some("no valid recipient"),
            Some(_) => None,
        };
        if let Some(text) = refusal {
            // RFC 3030 section 2: the octets follow all the same; they are read and dropped.
            self.say(503, "5.5.1", text);
            return self.discard_chunk(size);
        }
        let begun = self
            .transaction
            .as_ref()
            .is_some_and(|transaction| transaction.body.is_some());
        if begun {
            self.waiting = Waiting::Chunk { left: size, last };
            return None;
        }
        self.waiting = Waiting::AnswerBegin(Begin::Chunk(size, last));
        Some(Event::BodyBegin)
    }

    /// A chunk that nobody wants, outside a transaction.
    fn discard_chunk(&mut self, size: u64) -> Option<Event> {
        if size > self.config.size_limit {
            self.end(&Reply::new(421, "4.3.0", "out of step"));
            return None;
        }
        self.waiting = Waiting::Chunk {
            left: size,
            last: false,
        };
        None
    }

    /// Answers [`Event::Mail`], [`Event::Rcpt`], [`Event::BodyBegin`] or [`Event::BodyEnd`].
    pub fn answer(&mut self, reply: Reply) {
        match std::mem::replace(&mut self.waiting, Waiting::Command) {
            Waiting::AnswerMail(mail) => {
                if reply.is_positive() {
                    self.transaction = Some(Transaction {
                        smtputf8: mail.smtputf8,
                        ..Transaction::default()
                    });
                }
                self.reply(&reply);
            }
            Waiting::AnswerRcpt => {
                if let (true, Some(transaction)) = (reply.is_positive(), &mut self.transaction) {
                    transaction.recipients += 1;
                }
                self.reply(&reply);
            }
            Waiting::AnswerBegin(begin) => self.begin_body(begin, reply),
            Waiting::AnswerEnd => {
                self.transaction = None;
                self.reply(&reply);
            }
            other => self.waiting = other,
        }
    }

    fn begin_body(&mut self, begin: Begin, reply: Reply) {
        let mut body = BodyState::default();
        match begin {
            Begin::Data if reply.is_positive() => {
                self.output
                    .extend_from_slice(b"354 go on, end with CRLF.CRLF\r\n");
                self.waiting = Waiting::Data(DataReader::default());
            }
            // Refused before 354: no body comes, and the transaction is over.
            Begin::Data => {
                self.reset();
                self.reply(&reply);
                return;
            }
            Begin::Chunk(left, last) => {
                body.refused = (!reply.is_positive()).then_some(reply);
                self.waiting = Waiting::Chunk { left, last };
            }
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.body = Some(body);
        }
    }

    /// Refuses the body that is being received: the rest of it is read and dropped, then this is the reply.
    pub fn refuse_body(&mut self, reply: Reply) {
        if let Some(body) = self
            .transaction
            .as_mut()
            .and_then(|transaction| transaction.body.as_mut())
        {
            body.refused.get_or_insert(reply);
        }
    }

    // --- body --------------------------------------------------------------------------------------------------------

    fn read_data(&mut self) -> Option<Event> {
        let Waiting::Data(reader) = &mut self.waiting else {
            return None;
        };
        let rest = self.input.rest();
        if rest.is_empty() {
            return Some(Event::NeedInput);
        }
        let mut piece = Vec::with_capacity(rest.len().min(PIECE));
        let (used, end) = reader.feed(&rest[..rest.len().min(PIECE)], &mut piece);
        let fault = reader.fault;
        self.input.consume(used);
        if end {
            self.waiting = Waiting::Command;
        }
        let event = self.take_piece(piece);
        if end {
            // The last piece goes out before the end does.
            return self.finish_with(event, fault);
        }
        event
    }

    /// Counts a piece; gives it to the driver unless the body is refused.
    fn take_piece(&mut self, piece: Vec<u8>) -> Option<Event> {
        let limit = self.config.size_limit;
        let body = self.transaction.as_mut()?.body.as_mut()?;
        body.octets = body.octets.saturating_add(piece.len() as u64);
        if body.octets > limit {
            body.refused
                .get_or_insert(Reply::new(552, "5.3.4", "message too large"));
        }
        (body.refused.is_none() && !piece.is_empty()).then_some(Event::Body(piece))
    }

    fn finish_with(&mut self, last_piece: Option<Event>, fault: Option<Fault>) -> Option<Event> {
        if last_piece.is_some() {
            // Come back for the end with the next poll.
            self.waiting = Waiting::Chunk { left: 0, last: true };
            if let Some(body) = self
                .transaction
                .as_mut()
                .and_then(|transaction| transaction.body.as_mut())
            {
                body.endings.fault = fault;
            }
            return last_piece;
        }
        self.finish_body(fault)
    }

    fn finish_body(&mut self, fault: Option<Fault>) -> Option<Event> {
        self.waiting = Waiting::Command;
        let body = self.transaction.as_mut()?.body.take()?;
        let refusal = body.refused.or_else(|| {
            fault.map(|fault| {
                let text = match fault {
                    Fault::BareCr | Fault::BareLf => "a line ends with CR LF; CR or LF alone is refused",
                    Fault::Nul => "a zero octet is not allowed",
                };
                Reply::new(550, "5.6.11", text)
            })
        });
        if let Some(reply) = refusal {
            self.reset();
            self.reply(&reply);
            return None;
        }
        self.waiting = Waiting::AnswerEnd;
        Some(Event::BodyEnd(BodyEnd { octets: body.octets }))
    }

    fn read_chunk(&mut self) -> Option<Event> {
        let Waiting::Chunk { left, last } = &mut self.waiting else {
            return None;
        };
        if *left == 0 {
            let last = *last;
            return self.end_chunk(last);
        }
        let rest = self.input.rest();
        if rest.is_empty() {
            return Some(Event::NeedInput);
        }
        let count = rest.len().min(PIECE).min(usize::try_from(*left).unwrap_or(PIECE));
        let piece = rest[..count].to_vec();
        *left -= count as u64;
        self.input.consume(count);
        if let Some(body) = self
            .transaction
            .as_mut()
            .and_then(|transaction| transaction.body.as_mut())
        {
            body.endings.feed(&piece);
        }
        self.take_piece(piece)
    }

    fn end_chunk(&mut self, last: bool) -> Option<Event> {
        self.waiting = Waiting::Command;
        let body = self
            .transaction
            .as_mut()
            .and_then(|transaction| transaction.body.as_mut())?;
        if last {
            let fault = body.endings.end();
            return self.finish_body(fault);
        }
        if let Some(reply) = body.refused.take() {
            // RFC 3030 section 2: after a refused chunk the transaction is over.
            self.reset();
            self.reply(&reply);
        } else {
            self.say(250, "2.0.0", "chunk received");
        }
        None
    }
}
