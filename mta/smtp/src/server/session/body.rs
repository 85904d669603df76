//! Bodies as they come, by DATA or by BDAT, up to their end.

use super::super::BodyEnd;
use super::{Event, PIECE, Session, Waiting};
use crate::endings::Fault;
use crate::reply::Reply;

impl Session {
    pub(super) fn read_data(&mut self) -> Option<Event> {
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
    pub(super) fn take_piece(&mut self, piece: Vec<u8>) -> Option<Event> {
        let limit = self.config.size_limit;
        let body = self.transaction.as_mut()?.body.as_mut()?;
        body.octets = body.octets.saturating_add(piece.len() as u64);
        if body.octets > limit {
            body.refused
                .get_or_insert(Reply::new(552, "5.3.4", "message too large"));
        }
        (body.refused.is_none() && !piece.is_empty()).then_some(Event::Body(piece))
    }

    pub(super) fn finish_with(&mut self, last_piece: Option<Event>, fault: Option<Fault>) -> Option<Event> {
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

    pub(super) fn finish_body(&mut self, fault: Option<Fault>) -> Option<Event> {
        self.waiting = Waiting::Command;
        let body = self.transaction.as_mut()?.body.take()?;
        match (body.refused, fault) {
            (None, None) => {
                self.waiting = Waiting::AnswerEnd;
                return Some(Event::BodyEnd(BodyEnd { octets: body.octets }));
            }
            (Some(reply), _) => {
                self.reset();
                self.reply(&reply);
            }
            // What it holds to be the end of a line or of a message may differ from ours: nothing more is read of it.
            (None, Some(Fault::BareCr | Fault::BareLf)) => self.end(&bare_ending()),
            (None, Some(Fault::Nul)) => {
                self.reset();
                self.say(550, "5.6.11", "a zero octet is not allowed");
            }
        }
        None
    }

    pub(super) fn read_chunk(&mut self) -> Option<Event> {
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

    pub(super) fn end_chunk(&mut self, last: bool) -> Option<Event> {
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

/// CR or LF alone, in a command or in a body: that session is over (CVE-2023-51764 and its kin).
pub(super) fn bare_ending() -> Reply {
    Reply::new(550, "5.6.11", "a line ends with CR LF; CR or LF alone is refused")
}
