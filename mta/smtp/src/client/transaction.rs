//! One transaction from MAIL to the last reply.
//!
//! ```text
//!   [RSET] ─► MAIL ─► RCPT … ─┬─► BDAT n LAST ─► body ─► reply (LMTP: one for each accepted recipient)
//!                             └─► DATA ─► 354 ─► body ─► reply
//! ```
//!
//! With PIPELINING (RFC 2920) all of the envelope goes in one flight, DATA with it; with CHUNKING (RFC 3030) a small
//! message goes in that flight too, so that a transaction takes one round trip.

use std::collections::VecDeque;
use std::fmt::Write;

use super::body::BodyWriter;
use super::capabilities::Capabilities;
use super::connection::{Due, Protocol};
use super::message::{Error, Message, Outcome, Recipient, Stage, Unsuited};
use super::reply::PeerReply;
use crate::address::Address;
use crate::command::{BodyType, By, ByMode, Notify, Ret};
use crate::xtext;

/// What is sent next.
#[derive(Clone, Copy)]
enum Step {
    Reset,
    Mail,
    Rcpt(usize),
    Content,
    Sent,
}

enum Body {
    NotYet,
    Open(BodyWriter),
    Given,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// A last reply was taken: the peer's transaction is over.
    Reached,
    /// No content will be sent; the peer may still hold the envelope.
    GivenUp,
}

pub(super) struct Transaction {
    message: Message,
    protocol: Protocol,
    /// BDAT, otherwise DATA.
    chunked: bool,
    /// The content command goes with the envelope.
    eager: bool,
    utf8: bool,
    step: Step,
    body: Body,
    /// Octets of the body still to come.
    left: u64,
    /// The reply to MAIL, where it was a refusal.
    refused: Option<PeerReply>,
    accepted: Vec<bool>,
    outcomes: Vec<Option<Outcome>>,
    end: End,
}

impl Transaction {
    pub fn new(
        message: Message,
        offered: &Capabilities,
        protocol: Protocol,
        reset_due: bool,
    ) -> Result<Self, Unsuited> {
        let utf8 = check(&message, offered)?;
        check_promises(&message, offered, protocol)?;
        let count = message.recipients.len();
        let small = message.size <= SMALL;
        Ok(Self {
            protocol,
            chunked: offered.chunking,
            // LMTP replies once for each accepted recipient: their number must be known first.
            eager: !message.envelope_only
                && offered.pipelining
                && protocol == Protocol::Smtp
                && (small || !offered.chunking),
            utf8,
            step: if reset_due { Step::Reset } else { Step::Mail },
            body: Body::NotYet,
            left: message.size,
            refused: None,
            accepted: vec![false; count],
            outcomes: vec![None; count],
            end: End::Open,
            message,
        })
    }

    pub fn body_is_open(&self) -> bool {
        matches!(self.body, Body::Open(_))
    }

    /// Sends what can be sent now.
    pub fn advance(&mut self, offered: &Capabilities, out: &mut Vec<u8>, due: &mut VecDeque<Due>) {
        while self.end == End::Open && due.len() < MOST_DUE && (offered.pipelining || due.is_empty()) {
            match self.step {
                Step::Reset => {
                    out.extend_from_slice(b"RSET\r\n");
                    due.push_back(Due::Reset);
                    self.step = Step::Mail;
                }
                Step::Mail => {
                    out.extend_from_slice(mail_line(&self.message, offered, self.utf8).as_bytes());
                    due.push_back(Due::Mail);
                    self.step = Step::Rcpt(0);
                }
                Step::Rcpt(_) if self.refused.is_some() => self.end = End::GivenUp,
                Step::Rcpt(at) => {
                    let Some(recipient) = self.message.recipients.get(at) else {
                        self.step = Step::Content;
                        continue;
                    };
                    out.extend_from_slice(rcpt_line(recipient, offered, self.utf8).as_bytes());
                    due.push_back(Due::Rcpt(at));
                    self.step = Step::Rcpt(at + 1);
                }
                Step::Content if due.is_empty() && (self.message.envelope_only || !self.is_wanted()) => {
                    self.end = End::GivenUp;
                }
                Step::Content if due.is_empty() || self.eager => self.content(out, due),
                Step::Content | Step::Sent => return,
            }
        }
    }

    fn is_wanted(&self) -> bool {
        self.refused.is_none() && self.accepted.contains(&true)
    }

    fn content(&mut self, out: &mut Vec<u8>, due: &mut VecDeque<Due>) {
        if self.chunked {
            out.extend_from_slice(format!("BDAT {} LAST\r\n", self.left).as_bytes());
            self.body = Body::Open(BodyWriter::counted());
            self.push_ends(due);
        } else {
            out.extend_from_slice(b"DATA\r\n");
            due.push_back(Due::Data);
        }
        self.step = Step::Sent;
    }

    /// RFC 2033 section 4.2: one reply for each recipient that was accepted, in their order.
    fn push_ends(&self, due: &mut VecDeque<Due>) {
        match self.protocol {
            Protocol::Smtp => due.push_back(Due::End(None)),
            Protocol::Lmtp => due.extend(
                self.accepted
                    .iter()
                    .enumerate()
                    .filter(|(_, accepted)| **accepted)
                    .map(|(at, _)| Due::End(Some(at))),
            ),
        }
    }

    /// Takes a reply. Errors: it cannot be one to that command.
    pub fn reply(
        &mut self,
        due_now: Due,
        reply: PeerReply,
        out: &mut Vec<u8>,
        due: &mut VecDeque<Due>,
    ) -> Result<(), Error> {
        let fits = if due_now == Due::Data {
            reply.code() == 354
        } else {
            reply.is_positive()
        };
        if !fits && reply.code() < 400 {
            return Err(Error::OutOfPlace(reply));
        }
        match due_now {
            Due::Reset if !fits => return Err(Error::Refused(reply)),
            Due::Mail if !fits => self.refused = Some(reply),
            Due::Rcpt(at) if fits && self.message.envelope_only => self.decide(at, Stage::Rcpt, &reply),
            Due::Rcpt(at) if fits => self.accepted[at] = self.refused.is_none(),
            Due::Rcpt(at) => self.decide(at, Stage::Rcpt, &reply),
            Due::Data if fits && self.is_wanted() => self.body = Body::Open(BodyWriter::stuffed()),
            // RFC 2920 section 3.1: DATA went with an envelope that was refused, and yet a body is wanted.
            // It gets an empty one, to no recipient.
            Due::Data if fits => {
                out.extend_from_slice(b".\r\n");
                due.push_back(Due::End(None));
                self.body = Body::Given;
            }
            Due::Data => {
                self.decide_accepted(Stage::Data, &reply);
                self.end = End::GivenUp;
            }
            Due::End(Some(at)) => {
                self.decide(at, Stage::End, &reply);
                self.end = End::Reached;
            }
            Due::End(None) => {
                self.decide_accepted(Stage::End, &reply);
                self.end = End::Reached;
            }
            _ => {}
        }
        Ok(())
    }

    fn decide(&mut self, at: usize, stage: Stage, reply: &PeerReply) {
        self.outcomes[at] = Some(Outcome {
            stage,
            reply: reply.clone(),
        });
    }

    fn decide_accepted(&mut self, stage: Stage, reply: &PeerReply) {
        for at in 0..self.accepted.len() {
            if self.accepted[at] {
                self.decide(at, stage, reply);
            }
        }
    }

    /// Writes a piece of the body. After an error nothing may be sent any more.
    pub fn body(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let Body::Open(writer) = &mut self.body else {
            return Ok(());
        };
        self.left = self.left.checked_sub(piece.len() as u64).ok_or(Error::Length)?;
        out.reserve(piece.len() + 16);
        writer.write(piece, out).map_err(Error::Body)?;
        if self.left == 0 && !piece.is_empty() {
            writer.hold_last(out);
        }
        Ok(())
    }

    pub fn body_end(&mut self, out: &mut Vec<u8>, due: &mut VecDeque<Due>) -> Result<(), Error> {
        let Body::Open(writer) = &mut self.body else {
            return Ok(());
        };
        if self.left > 0 {
            return Err(Error::Length);
        }
        writer.end(out).map_err(Error::Body)?;
        if !self.chunked {
            self.push_ends(due);
        }
        self.body = Body::Given;
        Ok(())
    }

    /// The whole body was handed out.
    pub fn is_given(&self) -> bool {
        matches!(self.body, Body::Given)
    }

    pub fn is_over(&self, due: &VecDeque<Due>) -> bool {
        self.end != End::Open && due.is_empty() && !self.body_is_open()
    }

    /// Whether the peer still holds an envelope.
    pub fn leaves_state(&self) -> bool {
        self.end != End::Reached
    }

    /// What is known by now, for a connection that fails.
    pub fn into_known(mut self) -> Vec<Option<Outcome>> {
        if let Some(reply) = self.refused.take() {
            let outcome = Outcome {
                stage: Stage::Mail,
                reply,
            };
            return vec![Some(outcome); self.outcomes.len()];
        }
        self.outcomes
    }

    pub fn into_outcomes(self) -> Vec<Outcome> {
        let undecided = || Outcome {
            stage: Stage::Data,
            reply: PeerReply::made(451, (4, 5, 0), "the peer gave no reply for this recipient"),
        };
        self.into_known()
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(undecided))
            .collect()
    }
}

/// Whether the message can go over a connection that offers this; gives whether it needs SMTPUTF8.
fn check(message: &Message, offered: &Capabilities) -> Result<bool, Unsuited> {
    if message.recipients.is_empty() {
        return Err(Unsuited::NoRecipient);
    }
    let mut utf8 = message.smtputf8;
    let paths = message
        .recipients
        .iter()
        .map(|recipient| recipient.forward_path.as_str());
    for path in paths.chain(Some(message.reverse_path.as_str()).filter(|path| !path.is_empty())) {
        let postmaster = path.eq_ignore_ascii_case("postmaster");
        if !postmaster && Address::parse(path, true).is_err() {
            return Err(Unsuited::Address);
        }
        utf8 |= !path.is_ascii();
    }
    if utf8 && !offered.smtputf8 {
        return Err(Unsuited::Smtputf8);
    }
    if message.body == BodyType::EightBit && !offered.eight_bit {
        return Err(Unsuited::EightBit);
    }
    match offered.size_limit {
        Some(limit) if message.size > limit => Err(Unsuited::TooLarge(limit)),
        _ => Ok(utf8),
    }
}

/// What the sender was promised has to be promised by the peer as well.
fn check_promises(message: &Message, offered: &Capabilities, protocol: Protocol) -> Result<(), Unsuited> {
    if message.require_tls && !offered.require_tls {
        return Err(Unsuited::RequireTls);
    }
    match (message.by, offered.deliver_by) {
        (
            Some(By {
                mode: ByMode::Return,
                seconds,
                ..
            }),
            offered,
        ) => match (offered, u32::try_from(seconds)) {
            (_, Err(_) | Ok(0)) => Err(Unsuited::TooLate),
            (Some(least), Ok(left)) if left < least => Err(Unsuited::TooLate),
            // LMTP is the delivery itself: nothing is left to be promised.
            (None, Ok(_)) if protocol == Protocol::Smtp => Err(Unsuited::DeliverBy),
            (_, Ok(_)) => Ok(()),
        },
        _ => Ok(()),
    }
}

fn mail_line(message: &Message, offered: &Capabilities, utf8: bool) -> String {
    let mut line = format!("MAIL FROM:<{}>", message.reverse_path);
    if offered.size {
        push(&mut line, "SIZE", &message.size.to_string());
    }
    if offered.eight_bit {
        push(
            &mut line,
            "BODY",
            if message.body == BodyType::EightBit {
                "8BITMIME"
            } else {
                "7BIT"
            },
        );
    }
    if utf8 {
        line.push_str(" SMTPUTF8");
    }
    if offered.dsn {
        match message.ret {
            Some(Ret::Full) => push(&mut line, "RET", "FULL"),
            Some(Ret::Headers) => push(&mut line, "RET", "HDRS"),
            None => {}
        }
        if let Some(envid) = &message.envid {
            push(&mut line, "ENVID", &xtext::encode(envid));
        }
    }
    if message.require_tls {
        line.push_str(" REQUIRETLS");
    }
    if let Some(by) = message.by.filter(|_| offered.deliver_by.is_some()) {
        push(&mut line, "BY", &by.to_string());
    }
    line.push_str("\r\n");
    line
}

fn rcpt_line(recipient: &Recipient, offered: &Capabilities, utf8: bool) -> String {
    let mut line = format!("RCPT TO:<{}>", recipient.forward_path);
    if offered.dsn {
        if let Some(notify) = recipient.notify {
            push(&mut line, "NOTIFY", &notify_words(notify));
        }
        let orcpt = recipient.orcpt.as_deref().and_then(|orcpt| orcpt.split_once(';'));
        if let Some((kind, address)) =
            orcpt.filter(|(kind, _)| kind.bytes().all(|octet| octet.is_ascii_graphic()))
        {
            push(
                &mut line,
                "ORCPT",
                &format!(
                    "{kind};{}",
                    xtext::encode_address(kind, address, offered.smtputf8 && utf8)
                ),
            );
        }
    }
    line.push_str("\r\n");
    line
}

fn push(line: &mut String, keyword: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = write!(line, " {keyword}={value}");
}

fn notify_words(notify: Notify) -> String {
    let words: Vec<&str> = [
        (notify.success, "SUCCESS"),
        (notify.failure, "FAILURE"),
        (notify.delay, "DELAY"),
    ]
    .into_iter()
    .filter_map(|(wanted, word)| wanted.then_some(word))
    .collect();
    if words.is_empty() {
        "NEVER".into()
    } else {
        words.join(",")
    }
}

/// A message up to this goes with its envelope in one flight where BDAT is offered.
const SMALL: u64 = 64 << 10;
/// Replies that may be due at once: both sides' buffers hold that much, so that neither waits for the other
/// (RFC 2920 section 3.1).
const MOST_DUE: usize = 100;
