//! The header of a message that filters may change: held in memory, while its body goes to the spool.
//!
//! ```text
//!   octets that stay ─► Held::feed ─┬─► of the header: held
//!                                   └─► of the body: passed on
//! ```

use std::sync::Arc;

use postroad_filter::header::{Section, Split, Splitter};

use super::header::begins_folded;
use super::receiving::{HEADER_TOO_LARGE, NO_ROOM, Refused};
use crate::net::Room;
use crate::settings::Settings;

/// A header on its way, or whole.
#[derive(Debug)]
pub(super) struct Held {
    /// Of the time when the message began.
    pub(super) settings: Arc<Settings>,
    /// It is of a user, or of a client that may relay.
    pub(super) trusted: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    Header(Splitter),
    /// The header and what ends it.
    Body(Section, Vec<u8>),
}

/// Octets of the body among those that were fed.
#[derive(Debug)]
pub(super) enum Fed {
    /// None.
    Nothing,
    /// These.
    Some(Vec<u8>),
    /// All.
    All,
}

impl Held {
    /// Before the first octet; none where no filter sees the message.
    pub(super) fn new(settings: &Arc<Settings>, trusted: bool) -> Option<Self> {
        let filters = &settings.set.file.filters;
        let seen = filters.iter().any(|filter| filter.mail.includes(trusted));
        seen.then(|| Self {
            settings: Arc::clone(settings),
            trusted,
            state: State::Header(Splitter::new()),
        })
    }

    /// Takes the next octets. Errors: there is no memory for the header, or it is larger than any header may be.
    pub(super) fn feed(&mut self, octets: &[u8], room: &mut Room) -> Result<Fed, Refused> {
        let State::Header(splitter) = &mut self.state else {
            return Ok(Fed::All);
        };
        let most = splitter.will_hold(octets.len());
        if most > MOST_HELD {
            return Err(HEADER_TOO_LARGE);
        }
        if !room.set_aside(most) {
            return Err(NO_ROOM);
        }
        Ok(match splitter.feed(octets) {
            Some(split) => Fed::Some(self.ended(split)),
            None => Fed::Nothing,
        })
    }

    /// The message has ended. Gives what is left of its body.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        match &mut self.state {
            State::Header(splitter) => {
                let split = std::mem::take(splitter).finish();
                self.ended(split)
            }
            State::Body(..) => Vec::new(),
        }
    }

    fn ended(&mut self, split: Split) -> Vec<u8> {
        // An empty line keeps a body that begins in the middle of a field apart from what stands above it.
        let apart = split.header.is_empty() && begins_folded(&split.body);
        let end = if apart { b"\r\n".to_vec() } else { split.end };
        self.state = State::Body(Section::parse(&split.header), end);
        split.body
    }

    /// The header, where it is whole.
    pub(super) fn header(&self) -> Option<&Section> {
        match &self.state {
            State::Header(_) => None,
            State::Body(section, _) => Some(section),
        }
    }

    /// Another header in the place of this one.
    pub(super) fn replace(&mut self, section: Section) {
        if let State::Body(header, _) = &mut self.state {
            *header = section;
        }
    }

    /// As it goes on the wire, with what ends it.
    pub(super) fn write(&self) -> Vec<u8> {
        match &self.state {
            State::Header(_) => Vec::new(),
            State::Body(section, end) => [section.write().as_slice(), end].concat(),
        }
    }
}

/// Larger ones are refused when the message ends; until then no more of them is held.
const MOST_HELD: usize = (1 << 20) + (128 << 10);
