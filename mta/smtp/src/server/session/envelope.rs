//! The transaction up to its body: MAIL, RCPT, DATA, BDAT (RFC 5321 section 3.3, RFC 3030).

use super::{Begin, BodyState, Event, Role, Session, Tls, Transaction, Waiting};
use crate::command::{Mail, Rcpt};
use crate::endings::DataReader;
use crate::reply::Reply;

impl Session {
    pub(super) fn mail(&mut self, mail: Mail) -> Option<Event> {
        if self.client.is_none() {
            self.say(503, "5.5.1", "say EHLO first");
        } else if self.config.tls == Tls::Required {
            self.say(530, "5.7.0", "use STARTTLS first");
        } else if self.config.role == Role::Submission
            && self.config.login_required
            && self.identity.is_none()
        {
            self.say(530, "5.7.0", "authentication required");
        } else if self.transaction.is_some() {
            self.say(503, "5.5.1", "a transaction is open");
        } else if !self.offers_all_of(&mail) {
            self.say(555, "5.5.4", "parameter not recognised or not offered");
        } else if mail.require_tls && !self.is_tls() {
            // RFC 8689 section 2, with X.7.10 of RFC 5248.
            self.say(530, "5.7.10", "REQUIRETLS is for messages that come over TLS");
        } else if mail.size.is_some_and(|size| size > self.config.size_limit) {
            self.say(552, "5.3.4", "message too large");
        } else {
            self.waiting = Waiting::AnswerMail(mail.clone());
            return Some(Event::Mail(mail));
        }
        None
    }

    fn offers_all_of(&self, mail: &Mail) -> bool {
        (mail.hold.is_none() || self.config.hold.is_some())
            && (!mail.require_tls || self.config.require_tls)
            && (mail.by.is_none() || self.config.deliver_by)
    }

    pub(super) fn rcpt(&mut self, rcpt: Rcpt) -> Option<Event> {
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

    pub(super) fn data(&mut self) -> Option<Event> {
        let refusal = match &self.transaction {
            None => "say MAIL first",
            // RFC 3030 section 2: BDAT and DATA do not mix.
            Some(transaction) if transaction.body.is_some() => "BDAT has begun",
            Some(transaction) if transaction.recipients == 0 => "no valid recipient",
            Some(_) => {
                self.waiting = Waiting::AnswerBegin(Begin::Data);
                return Some(Event::BodyBegin);
            }
        };
        self.refuse_data(&Reply::new(503, "5.5.1", refusal));
        None
    }

    /// DATA is the last command of a group (RFC 2920 section 3.1): octets behind it are a body of a client that did
    /// not wait for 354. No part of it may be run as commands.
    fn refuse_data(&mut self, reply: &Reply) {
        if self.input.rest().is_empty() {
            self.reply(reply);
            self.data_refused = true;
        } else {
            self.end(reply);
        }
    }

    pub(super) fn bdat(&mut self, size: u64, last: bool) -> Option<Event> {
        let refusal = match &self.transaction {
            None => Some("say MAIL first"),
            Some(transaction) if transaction.recipients == 0 => Some("no valid recipient"),
            Some(_) => None,
        };
        if let Some(text) = refusal {
            // RFC 3030 section 2: the octets follow all the same; they are read and dropped.
            self.reset();
            self.say(503, "5.5.1", text);
            return self.discard_chunk(size);
        }
        if size > self.most_dropped() {
            self.end(&Reply::new(552, "5.3.4", "message too large"));
            return None;
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
    pub(super) fn discard_chunk(&mut self, size: u64) -> Option<Event> {
        if size > self.most_dropped() {
            self.end(&Reply::new(421, "4.7.0", "out of step"));
            return None;
        }
        if !matches!(self.waiting, Waiting::Closed) {
            self.waiting = Waiting::Chunk {
                left: size,
                last: false,
            };
        }
        None
    }

    /// Largest chunk that is read at all, be it to drop it.
    fn most_dropped(&self) -> u64 {
        self.config.size_limit.saturating_mul(2).max(1 << 20)
    }

    /// Answers [`Event::StandIn`], [`Event::Mail`], [`Event::Rcpt`], [`Event::BodyBegin`] or [`Event::BodyEnd`].
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
            Waiting::AnswerStandIn(of) => self.stood_in(*of, &reply),
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

    pub(super) fn begin_body(&mut self, begin: Begin, reply: Reply) {
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
                self.refuse_data(&reply);
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
}
