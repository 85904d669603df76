//! One connection to a next hop: greeting, EHLO, STARTTLS, one transaction after another, QUIT.
//!
//! The peer is trusted as little as a client is: what it sends is bounded, a reply that nobody asked for ends the
//! connection, and what it offered in clear is forgotten when TLS begins.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::capabilities::Capabilities;
use super::message::{Error, Failure, Message, Outcome, Stage, Unsuited};
use super::reply::{PeerReply, ReplyError, ReplyReader};
use super::transaction::Transaction;
use crate::sasl::client::{Login, LoginError};

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 5321.
    Smtp,
    /// RFC 2033: LHLO, and one reply for each recipient after the message.
    Lmtp,
}

/// How a connection is used.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our name for EHLO: a domain, or an address literal in brackets.
    pub hostname: String,
    /// What is spoken.
    pub protocol: Protocol,
}

impl Config {
    /// SMTP.
    pub fn smtp(hostname: impl Into<String>) -> Self {
        Self {
            hostname: hostname.into(),
            protocol: Protocol::Smtp,
        }
    }

    /// LMTP.
    pub fn lmtp(hostname: impl Into<String>) -> Self {
        Self {
            hostname: hostname.into(),
            protocol: Protocol::Lmtp,
        }
    }
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Write [`Connection::take_output`], then read and [`Connection::feed`] (or [`Connection::closed`]).
    NeedInput,
    /// The peer waits for the handshake: write the output, do it on the raw stream, then [`Connection::tls_started`].
    StartTls,
    /// The peer refused STARTTLS. [`Event::Ready`] follows: go on in clear, or quit.
    TlsRefused(PeerReply),
    /// The peer has taken the login. [`Event::Ready`] follows.
    LoggedIn,
    /// The peer refused the login. [`Event::Ready`] follows: quit, or try another one.
    LoginRefused(PeerReply),
    /// Nothing is under way: [`Connection::start_tls`], [`Connection::log_in`], [`Connection::send`] or [`Connection::quit`].
    Ready,
    /// Write the output (with the next piece, where it is small), then give the next piece with [`Connection::body`], or [`Connection::body_end`].
    NeedBody,
    /// The transaction is over: one outcome for each recipient, in their order. [`Event::Ready`] follows.
    Sent(Vec<Outcome>),
    /// The connection is of no use any more: write the output, where there is some, and close. Said once.
    Failed(Failure),
    /// Over: write the output, where there is some, and close.
    Closed,
}

/// A reply that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Greeting,
    Hello,
    PlainHello,
    StartTls,
    Auth,
    Quit,
    Reset,
    Mail,
    Rcpt(usize),
    Data,
    /// The end of the message; in LMTP for this recipient.
    End(Option<usize>),
}

impl Due {
    pub fn stage(self) -> Stage {
        match self {
            Self::Greeting => Stage::Greeting,
            Self::Hello | Self::PlainHello => Stage::Hello,
            Self::StartTls => Stage::StartTls,
            Self::Auth => Stage::Auth,
            Self::Quit => Stage::Idle,
            Self::Reset => Stage::Reset,
            Self::Mail => Stage::Mail,
            Self::Rcpt(_) => Stage::Rcpt,
            Self::Data => Stage::Data,
            Self::End(_) => Stage::End,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Up to the first reply to EHLO, and in STARTTLS, AUTH and QUIT.
    Talking,
    Handshake,
    Ready,
    Transaction,
    Over,
}

/// One connection. See the module's head for the loop around it.
pub struct Connection {
    config: Config,
    phase: Phase,
    reader: ReplyReader,
    output: Vec<u8>,
    due: VecDeque<Due>,
    capabilities: Capabilities,
    peer: String,
    our_address: Option<IpAddr>,
    tls: bool,
    login: Option<Login>,
    /// What the login begins with, where that is too long for the command itself.
    first_response: Option<String>,
    transaction: Option<Transaction>,
    /// The last transaction left something open at the peer: RSET goes first.
    reset_due: bool,
    transactions: u32,
    peer_closed: bool,
    /// What the next poll tells.
    news: Option<Event>,
}

impl Connection {
    /// A new connection; the peer speaks first.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            phase: Phase::Talking,
            reader: ReplyReader::default(),
            output: Vec::new(),
            due: VecDeque::from([Due::Greeting]),
            capabilities: Capabilities::default(),
            peer: String::new(),
            our_address: None,
            tls: false,
            login: None,
            first_response: None,
            transaction: None,
            reset_due: false,
            transactions: 0,
            peer_closed: false,
            news: None,
        }
    }

    /// Takes octets from the peer.
    pub fn feed(&mut self, octets: &[u8]) {
        if self.phase == Phase::Over {
            return;
        }
        self.reader.feed(octets);
        // While a body goes out nothing is read here; a peer that floods us meanwhile is cut off.
        if self.reader.waiting() > MOST_WAITING {
            self.fail(Error::Reply(ReplyError::TooLong));
        }
    }

    /// The peer has closed the stream, or it broke: reading and writing are over. What was fed is still used.
    pub fn closed(&mut self) {
        self.peer_closed = true;
    }

    /// Takes what is to be written to the peer.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Octets that wait to be written.
    pub fn output(&self) -> usize {
        self.output.len()
    }

    /// What the peer offered in its last reply to EHLO or LHLO; nothing after HELO.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// What the peer calls itself in its last reply to EHLO, LHLO or HELO (RFC 5321 section 4.1.1.1); unproven.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Our own address, where the peer prints it in its greeting or its last reply to EHLO; unproven.
    pub fn our_address(&self) -> Option<IpAddr> {
        self.our_address
    }

    /// Whether TLS is in use.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Transactions that were begun on this connection.
    pub fn transactions(&self) -> u32 {
        self.transactions
    }

    /// Where the dialogue is: what the next reply will be about. For messages about time-outs.
    pub fn stage(&self) -> Stage {
        self.due.front().map_or(Stage::Idle, |due| due.stage())
    }

    /// What to do next.
    pub fn poll(&mut self) -> Event {
        loop {
            if let Some(news) = self.news.take() {
                return news;
            }
            match self.phase {
                Phase::Over => return Event::Closed,
                Phase::Handshake if !self.peer_closed => return Event::StartTls,
                Phase::Ready if !self.reader.is_amid() && !self.peer_closed => return Event::Ready,
                Phase::Transaction if self.body_is_open() && !self.peer_closed => return Event::NeedBody,
                _ => {}
            }
            match self.reader.next() {
                Err(error) => self.fail(Error::Reply(error)),
                Ok(Some(reply)) => self.reply(reply),
                Ok(None) if self.peer_closed => self.fail_closed(),
                Ok(None) if self.phase == Phase::Ready => self.fail(Error::Unasked),
                Ok(None) => return Event::NeedInput,
            }
        }
    }

    /// Asks for TLS (RFC 3207). `false` when it is not offered, in use already, or something is under way.
    pub fn start_tls(&mut self) -> bool {
        let possible = self.is_idle() && self.capabilities.start_tls && !self.tls;
        if possible {
            self.phase = Phase::Talking;
            self.command("STARTTLS", Due::StartTls);
        }
        possible
    }

    /// The handshake is done. What the peer offered in clear is forgotten (RFC 3207 section 4.2); EHLO is said again.
    pub fn tls_started(&mut self) {
        if self.phase != Phase::Handshake {
            return;
        }
        if self.reader.is_amid() {
            self.fail(Error::Injection);
            return;
        }
        self.tls = true;
        self.capabilities = Capabilities::default();
        self.phase = Phase::Talking;
        self.hello();
    }

    /// The stream was under TLS from the first octet (port 465 and its like).
    pub fn tls_from_start(&mut self) {
        self.tls = true;
    }

    /// Begins a login (RFC 4954). `false`, and nothing is sent: TLS is not in use, the mechanism is not offered, or something is
    /// under way.
    pub fn log_in(&mut self, mut login: Login) -> bool {
        let name = login.mechanism().name();
        let possible =
            self.is_idle() && self.tls && self.capabilities.mechanisms.iter().any(|offered| offered == name);
        if possible {
            self.phase = Phase::Talking;
            let line = format!("AUTH {name}");
            match login.first() {
                // RFC 4954 section 4: an initial response must fit into a command line of the usual length.
                Some(first) if line.len() + 1 + first.len() + 2 <= LONGEST_COMMAND => {
                    self.command(&format!("{line} {first}"), Due::Auth);
                }
                first => {
                    self.first_response = first;
                    self.command(&line, Due::Auth);
                }
            }
            self.login = Some(login);
        }
        possible
    }

    /// Begins a transaction. Errors: nothing was sent, and the connection can be used on.
    pub fn send(&mut self, message: Message) -> Result<(), Unsuited> {
        if !self.is_idle() {
            return Err(Unsuited::NotReady);
        }
        let transaction =
            Transaction::new(message, &self.capabilities, self.config.protocol, self.reset_due)?;
        self.reset_due = false;
        self.transactions += 1;
        self.transaction = Some(transaction);
        self.phase = Phase::Transaction;
        self.advance();
        Ok(())
    }

    /// Gives a piece of the message. A fault of it is told by [`Event::Failed`].
    pub fn body(&mut self, piece: &[u8]) {
        if let Some(transaction) = &mut self.transaction
            && let Err(error) = transaction.body(piece, &mut self.output)
        {
            self.fail(error);
        }
    }

    /// The message is whole. A fault of it is told by [`Event::Failed`].
    pub fn body_end(&mut self) {
        if let Some(transaction) = &mut self.transaction
            && let Err(error) = transaction.body_end(&mut self.output, &mut self.due)
        {
            self.fail(error);
        }
    }

    /// Ends the connection in good manners: [`Event::Closed`] follows.
    pub fn quit(&mut self) {
        if self.is_idle() {
            self.phase = Phase::Talking;
            self.command("QUIT", Due::Quit);
        }
    }

    fn is_idle(&self) -> bool {
        self.phase == Phase::Ready && self.news.is_none() && !self.reader.is_amid() && !self.peer_closed
    }

    fn body_is_open(&self) -> bool {
        self.transaction.as_ref().is_some_and(Transaction::body_is_open)
    }

    fn command(&mut self, line: &str, due: Due) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
        self.due.push_back(due);
    }

    fn hello(&mut self) {
        let verb = match self.config.protocol {
            Protocol::Smtp => "EHLO",
            Protocol::Lmtp => "LHLO",
        };
        let line = format!("{verb} {}", self.config.hostname);
        self.command(&line, Due::Hello);
    }

    fn reply(&mut self, reply: PeerReply) {
        let Some(due) = self.due.front().copied() else {
            // A peer that gives up says 421 (RFC 5321 section 3.8); one that refuses a body half-way closes behind it.
            let refusal = reply.code() == 421 || (self.peer_closed && reply.code() >= 400);
            self.fail(if refusal {
                Error::Refused(reply)
            } else {
                Error::Unasked
            });
            return;
        };
        if reply.code() == 421 && due != Due::Quit {
            self.fail(Error::Refused(reply));
            return;
        }
        self.due.pop_front();
        match due {
            Due::Greeting if reply.code() == 220 => {
                self.our_address = printed_address(reply.lines().first().map_or("", String::as_str));
                self.hello();
            }
            Due::Hello if reply.is_positive() => {
                self.capabilities = Capabilities::read(&reply, self.tls);
                self.greeted(&reply);
            }
            Due::Hello if self.may_fall_back(&reply) => {
                let line = format!("HELO {}", self.config.hostname);
                self.command(&line, Due::PlainHello);
            }
            Due::PlainHello if reply.is_positive() => self.greeted(&reply),
            Due::Greeting | Due::Hello | Due::PlainHello => self.fail_at(due.stage(), refused(reply)),
            Due::StartTls => self.tls_reply(reply),
            Due::Auth => self.login_reply(reply),
            Due::Quit => self.phase = Phase::Over,
            _ => self.transaction_reply(due, reply),
        }
    }

    fn greeted(&mut self, reply: &PeerReply) {
        let name = reply.lines().first().and_then(|line| line.split(' ').next());
        name.unwrap_or_default().clone_into(&mut self.peer);
        let printed = printed_address(reply.lines().first().map_or("", String::as_str));
        self.our_address = printed.or(self.our_address);
        self.phase = Phase::Ready;
    }

    /// RFC 5321 section 3.2: HELO for a peer that does not know EHLO.
    fn may_fall_back(&self, reply: &PeerReply) -> bool {
        self.config.protocol == Protocol::Smtp && matches!(reply.code(), 500..=504 | 550)
    }

    fn tls_reply(&mut self, reply: PeerReply) {
        if reply.code() != 220 {
            self.phase = Phase::Ready;
            self.news = Some(Event::TlsRefused(reply));
        } else if self.reader.is_amid() {
            // Whoever put them there wants them read as if TLS had protected them (CVE-2011-0411 and its kind).
            self.fail_at(Stage::StartTls, Error::Injection);
        } else {
            self.phase = Phase::Handshake;
        }
    }

    fn login_reply(&mut self, reply: PeerReply) {
        let Some(login) = &mut self.login else {
            self.fail(Error::Unasked);
            return;
        };
        match reply.code() {
            235 if login.is_complete() && self.first_response.is_none() => self.logged_in(Event::LoggedIn),
            235 => self.fail_at(Stage::Auth, LoginError::Unproven.into()),
            334 => {
                let answer = match self.first_response.take() {
                    Some(first) => Ok(first),
                    None => login.respond(reply.lines().first().map_or("", String::as_str)),
                };
                match answer {
                    Ok(answer) => self.command(&answer, Due::Auth),
                    Err(error) => self.fail_at(Stage::Auth, error.into()),
                }
            }
            400.. => self.logged_in(Event::LoginRefused(reply)),
            _ => self.fail_at(Stage::Auth, Error::OutOfPlace(reply)),
        }
    }

    fn logged_in(&mut self, news: Event) {
        self.login = None;
        self.first_response = None;
        self.phase = Phase::Ready;
        self.news = Some(news);
    }

    fn transaction_reply(&mut self, due: Due, reply: PeerReply) {
        let Some(transaction) = &mut self.transaction else {
            self.fail(Error::Unasked);
            return;
        };
        if let Err(error) = transaction.reply(due, reply, &mut self.output, &mut self.due) {
            self.fail_at(due.stage(), error);
        } else {
            self.advance();
        }
    }

    /// Sends what can be sent now, or tells that the transaction is over.
    fn advance(&mut self) {
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        transaction.advance(&self.capabilities, &mut self.output, &mut self.due);
        if !transaction.is_over(&self.due) {
            return;
        }
        if let Some(transaction) = self.transaction.take() {
            self.reset_due = transaction.leaves_state();
            self.phase = Phase::Ready;
            self.news = Some(Event::Sent(transaction.into_outcomes()));
        }
    }

    fn fail_closed(&mut self) {
        if self.due.front() == Some(&Due::Quit) {
            self.phase = Phase::Over;
        } else {
            self.fail(Error::Closed {
                amid: self.reader.is_amid(),
            });
        }
    }

    fn fail(&mut self, error: Error) {
        self.fail_at(self.stage(), error);
    }

    fn fail_at(&mut self, stage: Stage, error: Error) {
        let transaction = self.transaction.take();
        let uncertain = transaction.as_ref().is_some_and(Transaction::is_given);
        let outcomes = transaction.map(Transaction::into_known).unwrap_or_default();
        self.phase = Phase::Over;
        self.login = None;
        self.first_response = None;
        // Nothing more may leave, least of all the end of a body.
        self.output.clear();
        self.reader.clear();
        if matches!(
            (&error, stage),
            (Error::Refused(_), Stage::Greeting | Stage::Hello)
        ) {
            self.output.extend_from_slice(b"QUIT\r\n");
        }
        self.news = Some(Event::Failed(Failure {
            error,
            stage,
            outcomes,
            uncertain,
        }));
    }
}

/// The one address in the text of a greeting, behind the name of the host: `mx.example at your service, [192.0.2.1]`. Where there
/// are two, one is perhaps its own.
fn printed_address(line: &str) -> Option<IpAddr> {
    let words = line.split_once(' ')?.1;
    let mut found = words
        .split(|c: char| c.is_whitespace() || matches!(c, '[' | ']' | '(' | ')' | ',' | ';' | '<' | '>'))
        .map(|word| word.strip_prefix("IPv6:").unwrap_or(word).trim_end_matches('.'))
        .filter_map(|word| word.parse::<IpAddr>().ok());
    let first = found.next()?;
    found.all(|other| other == first).then_some(first)
}

fn refused(reply: PeerReply) -> Error {
    if reply.code() >= 400 {
        Error::Refused(reply)
    } else {
        Error::OutOfPlace(reply)
    }
}

/// Octets of a command line with its end (RFC 5321 section 4.5.3.1.4).
const LONGEST_COMMAND: usize = 512;
/// Octets of the peer that may wait unread while a body goes out.
const MOST_WAITING: usize = 256 << 10;

#[cfg(test)]
#[path = "connection_login_tests.rs"]
mod login_tests;
#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
