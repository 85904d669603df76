//! One message asked of one filter, step by step.

use super::macros::Stage;
use super::options::{Actions, Options, Steps};
use super::packet::{self, Packets};
use super::reply::Reply;
use super::{CHUNK, commands};
use crate::answer::{Answer, Change, Malformed, Verdict};
use crate::message::Message;

/// What the driver has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Send these octets.
    Send(Vec<u8>),
    /// Wait for octets and feed them.
    NeedInput(Wait),
    /// Give the next piece of the body, at most [`CHUNK`] octets, or an empty one at its end.
    NeedBody,
    /// The next octets of another body: kept until the answer is there, for it may never come.
    Body(Vec<u8>),
    /// The answer. `new_body`: what came as [`Event::Body`] is the body from now on.
    Done {
        /// What the filter says.
        answer: Answer,
        /// The body is another one, perhaps an empty one.
        new_body: bool,
    },
}

/// What is waited for; each has its own patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The answer to a command.
    Reply,
    /// The verdict: the filter has the whole message.
    Verdict,
}

/// Asks about one message. Anything that is not as the protocol has it is an error, and nothing of the answer stays.
#[derive(Debug)]
pub struct Client {
    message: Message,
    step: Step,
    /// The step waits for an answer.
    waits: bool,
    options: Options,
    packets: Packets,
    out: Vec<u8>,
    changes: Vec<Change>,
    size: usize,
    quarantine: Option<String>,
    new_body: bool,
}

/// The command that comes next, or whose answer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Options,
    Connect,
    Helo,
    Mail,
    Rcpt(usize),
    Data,
    Field(usize),
    EndOfHeader,
    Body,
    EndOfMessage,
    Over,
}

impl Client {
    /// Before the first octet.
    pub fn new(message: Message) -> Self {
        Self {
            message,
            step: Step::Options,
            waits: false,
            options: Options::default(),
            packets: Packets::new(),
            out: Vec::new(),
            changes: Vec::new(),
            size: 0,
            quarantine: None,
            new_body: false,
        }
    }

    /// What to do next. Errors: the filter broke the protocol; hang up.
    pub fn poll(&mut self) -> Result<Event, Malformed> {
        loop {
            while !self.waits && self.out.len() < CHUNK {
                match self.step {
                    Step::Body if self.wants_body() => break,
                    Step::Over => break,
                    _ => self.command(),
                }
            }
            if !self.out.is_empty() {
                // What it said before it was asked would be taken for the answer to something else.
                if !self.packets.is_empty() {
                    return Err(Malformed("it answers what it was not asked"));
                }
                return Ok(Event::Send(std::mem::take(&mut self.out)));
            }
            if !self.waits {
                return if self.step == Step::Over {
                    Ok(self.done(Answer::only(Verdict::Accept)))
                } else {
                    Ok(Event::NeedBody)
                };
            }
            let Some(packet) = self.packets.take()? else {
                return Ok(Event::NeedInput(if self.step == Step::EndOfMessage {
                    Wait::Verdict
                } else {
                    Wait::Reply
                }));
            };
            if let Some(event) = self.answered(Reply::parse(&packet)?)? {
                return Ok(event);
            }
        }
    }

    /// Takes octets of the filter.
    pub fn feed(&mut self, octets: &[u8]) {
        self.packets.feed(octets);
    }

    /// The next piece of the body, as asked for; an empty one ends it.
    pub fn give_body(&mut self, piece: &[u8]) {
        if piece.is_empty() {
            self.step = Step::EndOfMessage;
            return;
        }
        for piece in piece.chunks(CHUNK) {
            packet::write(&mut self.out, b'B', &[piece]);
        }
        self.waits = !self.has(Steps::SILENT_BODY);
    }

    /// What is said before the connection ends, whatever the answer was.
    pub fn farewell() -> Vec<u8> {
        let mut out = Vec::new();
        packet::write(&mut out, b'Q', &[]);
        out
    }

    /// The same where there was no answer: what the filter has of the message is void.
    pub fn abort() -> Vec<u8> {
        let mut out = Vec::new();
        packet::write(&mut out, b'A', &[]);
        packet::write(&mut out, b'Q', &[]);
        out
    }

    fn has(&self, step: Steps) -> bool {
        self.options.steps.has(step)
    }

    fn wants_body(&self) -> bool {
        !self.has(Steps::NO_BODY) && self.message.body > 0
    }

    /// Writes the command of this step, unless the filter does without it.
    fn command(&mut self) {
        match self.step {
            Step::Options => {
                packet::write(&mut self.out, b'O', &[&Options::offer()]);
                self.waits = true;
            }
            Step::Connect => {
                if !self.has(Steps::NO_CONNECT) {
                    self.macros(Stage::Connect, b'C', None);
                    commands::connect(&mut self.out, &self.message);
                }
                self.sent(Steps::NO_CONNECT, Steps::SILENT_CONNECT);
            }
            Step::Helo => {
                if !self.has(Steps::NO_HELO) {
                    self.macros(Stage::Helo, b'H', None);
                    commands::helo(&mut self.out, &self.message);
                }
                self.sent(Steps::NO_HELO, Steps::SILENT_HELO);
            }
            Step::Mail => {
                if !self.has(Steps::NO_MAIL) {
                    self.macros(Stage::Mail, b'M', None);
                    commands::mail(&mut self.out, &self.message);
                }
                self.sent(Steps::NO_MAIL, Steps::SILENT_MAIL);
            }
            Step::Rcpt(number) => {
                if !self.has(Steps::NO_RCPT)
                    && let Some(recipient) = self.message.recipients.get(number).cloned()
                {
                    self.macros(Stage::Rcpt, b'R', Some(&recipient));
                    commands::rcpt(&mut self.out, &recipient);
                }
                self.sent(Steps::NO_RCPT, Steps::SILENT_RCPT);
            }
            Step::Data => {
                // Version 3 and older do not know it.
                let skipped = self.has(Steps::NO_DATA) || self.options.version < 4;
                if skipped {
                    self.step = self.next();
                    return;
                }
                self.macros(Stage::Data, b'T', None);
                packet::write(&mut self.out, b'T', &[]);
                self.sent(Steps::NO_DATA, Steps::SILENT_DATA);
            }
            Step::Field(number) => {
                if !self.has(Steps::NO_FIELDS)
                    && let Some(field) = self.message.header.fields().get(number)
                {
                    let leading_space = self.has(Steps::LEADING_SPACE);
                    commands::field(&mut self.out, field, leading_space);
                    self.sent(Steps::NO_FIELDS, Steps::SILENT_FIELDS);
                } else {
                    self.step = Step::EndOfHeader;
                }
            }
            Step::EndOfHeader => {
                if !self.has(Steps::NO_END_OF_HEADER) {
                    self.macros(Stage::EndOfHeader, b'N', None);
                    packet::write(&mut self.out, b'N', &[]);
                }
                self.sent(Steps::NO_END_OF_HEADER, Steps::SILENT_END_OF_HEADER);
            }
            Step::Body => self.step = Step::EndOfMessage,
            Step::EndOfMessage => {
                self.macros(Stage::EndOfMessage, b'E', None);
                packet::write(&mut self.out, b'E', &[]);
                self.waits = true;
            }
            Step::Over => {}
        }
    }

    /// The command was sent, or is one that the filter does without: its answer is waited for, or the next one comes.
    fn sent(&mut self, without: Steps, silent: Steps) {
        if self.has(without) || self.has(silent) {
            self.step = self.next();
        } else {
            self.waits = true;
        }
    }

    fn next(&self) -> Step {
        match self.step {
            Step::Options => Step::Connect,
            Step::Connect if self.message.helo.is_empty() => Step::Mail,
            Step::Connect => Step::Helo,
            Step::Helo => Step::Mail,
            Step::Mail => Step::Rcpt(0),
            Step::Rcpt(number) if number + 1 < self.message.recipients.len() => Step::Rcpt(number + 1),
            Step::Rcpt(_) => Step::Data,
            Step::Data => Step::Field(0),
            Step::Field(number) => Step::Field(number + 1),
            Step::EndOfHeader | Step::Body => Step::Body,
            Step::EndOfMessage | Step::Over => Step::Over,
        }
    }

    fn macros(&mut self, stage: Stage, command: u8, recipient: Option<&str>) {
        let values = stage.values(&self.message, &self.options.macros, recipient);
        if !values.is_empty() {
            packet::write(&mut self.out, b'D', &[&[command], &values]);
        }
    }

    /// An answer came while one was waited for.
    fn answered(&mut self, reply: Reply) -> Result<Option<Event>, Malformed> {
        if self.step == Step::Options {
            let Reply::Options(options) = reply else {
                return Err(Malformed("it does not begin with its options"));
            };
            self.options = options;
            self.go_on();
            return Ok(None);
        }
        match reply {
            Reply::Progress => Ok(None),
            Reply::Options(_) => Err(Malformed("it says its options twice")),
            Reply::Unable => Err(Malformed("it says that it cannot serve")),
            Reply::Continue | Reply::Accept if self.step == Step::EndOfMessage => Ok(Some(self.accepted())),
            Reply::Continue => {
                self.go_on();
                Ok(None)
            }
            Reply::Skip if self.step == Step::Body && self.has(Steps::SKIP) => {
                self.waits = false;
                self.step = Step::EndOfMessage;
                Ok(None)
            }
            Reply::Skip => Err(Malformed("it skips what is no body")),
            Reply::Accept => Ok(Some(self.done(Answer::only(Verdict::Accept)))),
            Reply::Reject => Ok(Some(self.done(Answer::reject()))),
            Reply::TempFail => Ok(Some(self.done(Answer::temp_fail()))),
            Reply::Discard => Ok(Some(self.done(Answer::only(Verdict::Discard)))),
            Reply::Refuse(refusal) => Ok(Some(self.done(Answer::only(Verdict::Refuse(refusal))))),
            Reply::Change(_) | Reply::Body(_) | Reply::Quarantine(_) if self.step != Step::EndOfMessage => {
                Err(Malformed("it changes a message before its end"))
            }
            Reply::Change(change) => self.change(change).map(|()| None),
            Reply::Quarantine(reason) => {
                self.may(Actions::QUARANTINE)?;
                self.quarantine = Some(reason);
                Ok(None)
            }
            Reply::Body(octets) => {
                self.may(Actions::CHANGE_BODY)?;
                self.new_body = true;
                Ok((!octets.is_empty()).then_some(Event::Body(octets)))
            }
        }
    }

    fn go_on(&mut self) {
        self.waits = false;
        self.step = self.next();
    }

    fn may(&self, action: Actions) -> Result<(), Malformed> {
        if self.options.actions.has(action) {
            Ok(())
        } else {
            Err(Malformed("it changes what was not agreed on"))
        }
    }

    fn change(&mut self, mut change: Change) -> Result<(), Malformed> {
        self.may(match &change {
            Change::Add { .. } | Change::Insert { .. } => Actions::ADD_FIELDS,
            Change::Replace { .. } | Change::Remove { .. } => Actions::CHANGE_FIELDS,
            Change::From(_) => Actions::CHANGE_FROM,
            // Either allows both ways of saying it.
            Change::AddRecipient(_) if self.options.actions.has(Actions::ADD_RECIPIENTS_WITH) => {
                Actions::ADD_RECIPIENTS_WITH
            }
            Change::AddRecipient(_) => Actions::ADD_RECIPIENTS,
            Change::RemoveRecipient(_) => Actions::REMOVE_RECIPIENTS,
        })?;
        if let Change::Add { value, .. } | Change::Insert { value, .. } | Change::Replace { value, .. } =
            &mut change
            && !self.options.steps.has(Steps::LEADING_SPACE)
        {
            value.insert(0, b' ');
        }
        self.size += change.size();
        if self.changes.len() >= MOST_CHANGES || self.size > MOST_OCTETS {
            return Err(Malformed("it makes too many changes"));
        }
        self.changes.push(change);
        Ok(())
    }

    /// The message goes on, with all that was said of it.
    fn accepted(&mut self) -> Event {
        let answer = Answer {
            verdict: Verdict::Accept,
            changes: std::mem::take(&mut self.changes),
            quarantine: self.quarantine.take(),
        };
        let new_body = self.new_body;
        self.over();
        Event::Done { answer, new_body }
    }

    fn done(&mut self, answer: Answer) -> Event {
        self.over();
        Event::Done {
            answer,
            new_body: false,
        }
    }

    fn over(&mut self) {
        self.step = Step::Over;
        self.waits = false;
        self.out.clear();
    }
}

/// Changes of one filter to one message.
pub const MOST_CHANGES: usize = 1_000;
/// Octets of them.
const MOST_OCTETS: usize = 1 << 20;
