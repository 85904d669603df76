//! XCLIENT: the session goes on as that of another client.

use super::{Event, Session, Tls, Waiting};
use crate::reply::Reply;
use crate::xclient::{Said, StandIn};

/// What a trusted peer said of the client; it overrides what the session itself has seen.
#[derive(Default)]
pub(super) struct Claims {
    pub helo: Option<String>,
    pub extended: Option<bool>,
}

impl Session {
    pub(super) fn xclient(&mut self, of: Option<StandIn>) -> Option<Event> {
        if !self.config.stand_in {
            self.say(550, "5.7.1", "XCLIENT is for trusted peers");
        } else if self.config.tls == Tls::Required {
            self.say(530, "5.7.0", "use STARTTLS first");
        } else if self.transaction.is_some() {
            self.say(503, "5.5.1", "a transaction is open");
        } else if let Some(of) = of {
            self.waiting = Waiting::AnswerStandIn(Box::new(of.clone()));
            return Some(Event::StandIn(of));
        } else {
            self.say(501, "5.5.4", "attribute not understood");
        }
        None
    }

    /// The client is another one from now on; the session starts over with a greeting, but for TLS.
    pub(super) fn stood_in(&mut self, of: StandIn, reply: &Reply) {
        if !reply.is_positive() {
            return self.reply(reply);
        }
        claim(&mut self.claims.helo, of.helo);
        claim(&mut self.claims.extended, of.extended);
        claim(&mut self.identity, of.login);
        self.client = None;
        self.exchange = None;
        self.greet();
    }

    /// Whether MAIL needs AUTH on a port for submission; changes with the client.
    pub fn require_login(&mut self, required: bool) {
        self.config.login_required = required;
    }

    /// Whether DELIVERBY is offered; changes with the client.
    pub fn offer_deliver_by(&mut self, offered: bool) {
        self.config.deliver_by = offered;
    }
}

fn claim<T>(held: &mut Option<T>, said: Said<T>) {
    match said {
        Said::Nothing => {}
        Said::Unavailable => *held = None,
        Said::Value(value) => *held = Some(value),
    }
}
