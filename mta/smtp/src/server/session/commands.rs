//! Command lines: each verb that is no part of a transaction.

use super::body::bare_ending;
use super::standing_in::Claims;
use super::{AUTH_LINE, Event, LINE, MOST_IDLE, Session, Tls, Waiting};
use crate::command::Command;
use crate::line::Line;
use crate::reply::Reply;
use crate::sasl::{ChannelBindings, Mechanism};

impl Session {
    pub(super) fn read_command(&mut self) -> Option<Event> {
        // RFC 4954 section 4: a line with an initial response may be longer than others.
        let limit = if starts(self.input.rest(), b"AUTH ") {
            AUTH_LINE
        } else {
            LINE
        };
        match self.input.line(limit) {
            Line::Partial => return Some(Event::NeedInput),
            // Behind a refused DATA it is a line of a body, and more of that follows.
            Line::TooLong if self.data_refused => self.end(&line_too_long()),
            Line::TooLong => self.reply(&line_too_long()),
            Line::Bare => self.end(&bare_ending()),
            Line::Whole(line) => {
                let extended = self.client.as_ref().is_some_and(|(_, extended)| *extended);
                let refused = std::mem::take(&mut self.data_refused);
                match Command::parse(&line, extended) {
                    Ok(command) => return self.command(command),
                    // What follows may be octets that were never meant as commands: nothing of it is read.
                    Err(error) if refused || is_out_of_step(&line) => {
                        self.end(&Reply::new(error.code, error.enhanced, error.text));
                    }
                    Err(error) => self.say(error.code, error.enhanced, error.text),
                }
            }
        }
        None
    }

    pub(super) fn command(&mut self, command: Command) -> Option<Event> {
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
            Command::Xclient(of) => return self.xclient(of),
            Command::Mail(mail) => return self.mail(mail),
            Command::Rcpt(rcpt) => return self.rcpt(rcpt),
            Command::Data => return self.data(),
            Command::Bdat(size, last) => return self.bdat(size, last),
        }
        None
    }

    /// RFC 5321 section 4.1.4: a later EHLO clears the state as RSET does.
    pub(super) fn hello(&mut self, name: String, extended: bool) {
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
        // RFC 9422.
        lines.push(format!(
            "LIMITS RCPTMAX={} MAILMAX={}",
            self.config.recipients_limit, self.config.messages_limit
        ));
        if let Some((seconds, until)) = &self.config.hold {
            lines.push(format!("FUTURERELEASE {seconds} {until}"));
        }
        if self.config.deliver_by {
            // RFC 2852 section 3: without a number no time is too short.
            lines.push("DELIVERBY".into());
        }
        // RFC 8689 section 2: to be offered inside TLS alone.
        if self.config.require_tls && self.is_tls() {
            lines.push("REQUIRETLS".into());
        }
        if self.config.stand_in {
            lines.push(crate::xclient::OFFER.into());
        }
        if matches!(self.config.tls, Tls::Offered | Tls::Required) {
            lines.push("STARTTLS".into());
        }
        if self.auth_offered() {
            let names: Vec<_> = self.mechanisms().map(Mechanism::name).collect();
            lines.push(format!("AUTH {}", names.join(" ")));
        }
        self.reply(&Reply::new(250, "", lines.join("\n")));
    }

    pub(super) fn reset(&mut self) {
        if self.transaction.take().is_some() {
            self.reset_due = true;
        }
    }

    pub(super) fn start_tls(&mut self) {
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

    /// The handshake is done; a login can be bound to these. All that was known of the client is forgotten (RFC 3207
    /// section 4.2).
    pub fn tls_started(&mut self, bindings: ChannelBindings) {
        if !matches!(self.waiting, Waiting::Tls) {
            return;
        }
        self.config.tls = Tls::Active;
        self.config.bindings = bindings;
        self.client = None;
        self.identity = None;
        self.claims = Claims::default();
        self.exchange = None;
        self.transaction = None;
        self.input.clear();
        self.waiting = Waiting::Command;
    }
}

/// RFC 5321 section 4.5.3.1.9.
fn line_too_long() -> Reply {
    Reply::new(500, "5.5.2", "line too long")
}

fn starts(line: &[u8], verb: &[u8]) -> bool {
    line.get(..verb.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(verb))
}

/// A chunk of unknown length follows (BDAT), or the client speaks HTTP: a browser that was led here.
fn is_out_of_step(line: &[u8]) -> bool {
    [
        &b"BDAT"[..],
        b"GET ",
        b"POST ",
        b"PUT ",
        b"HEAD ",
        b"OPTIONS ",
        b"CONNECT ",
    ]
    .iter()
    .any(|verb| starts(line, verb))
}
