//! Reads a message as it comes in: keeps its header until that is over, and hashes its body.
//!
//! ```text
//!   octets in pieces of any size ─► header, up to the empty line ─► header::read ─► keys are asked for
//!                                                                        └─► hashes that are wanted ◄─ the rest
//! ```
//!
//! Of the body nothing is held. The header counts against the memory of all sessions, and so does what is kept of it until the message
//! ends; a large one waits for its turn.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use postroad_verify::dkim::{BodyHasher, BodyHashes};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::content::{Content, Findings};
use super::header::{self, Asks, Found};
use crate::dns::Dns;
use crate::net::Room;

/// A message that is read.
#[derive(Debug)]
pub struct Reading {
    dns: Dns,
    turns: Arc<Semaphore>,
    asks: Asks,
    state: State,
}

#[derive(Debug)]
enum State {
    /// As far as it is there.
    Header(Vec<u8>),
    Body(Box<(BodyHasher, Content)>),
}

/// Why a message cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Its header is larger than a header may be.
    TooLarge,
    /// There is no memory for it.
    NoRoom,
}

impl Reading {
    pub(super) fn new(dns: Dns, turns: Arc<Semaphore>, asks: Asks) -> Self {
        Self {
            dns,
            turns,
            asks,
            state: State::Header(Vec::new()),
        }
    }

    /// Takes the next octets, after dots were unstuffed and before anything is taken out.
    pub async fn feed(&mut self, octets: &[u8], room: &mut Room) -> Result<(), Trouble> {
        match &mut self.state {
            State::Body(body) => {
                body.0.update(octets);
                Ok(())
            }
            State::Header(held) => {
                let before = held.len();
                grow(held, octets.len(), room)?;
                held.extend_from_slice(octets);
                let end = end(held, before.saturating_sub(END.len() - 1));
                if end.map_or(held.len(), |(header, _)| header) > MOST {
                    return Err(Trouble::TooLarge);
                }
                if let Some((header, body)) = end {
                    let rest = held.split_off(body);
                    held.truncate(header);
                    self.header_ended(&rest).await;
                    // What is kept of the header, such as the values of its signatures, is smaller than it. Less than before, so there is room.
                    room.keep(header);
                }
                Ok(())
            }
        }
    }

    async fn header_ended(&mut self, rest: &[u8]) {
        let (mut hasher, content) = self.begin().await;
        hasher.update(rest);
        self.state = State::Body(Box::new((hasher, content)));
    }

    /// Reads the header, asks for what it names, and says what of the body is to be hashed.
    async fn begin(&mut self) -> (BodyHasher, Content) {
        let section = match &mut self.state {
            State::Header(held) => std::mem::take(held),
            State::Body(_) => Vec::new(),
        };
        let found = self.read(section).await;
        let hasher = found.wanted.hasher();
        (hasher, Content::begin(&self.dns, found))
    }

    async fn read(&self, section: Vec<u8>) -> Found {
        let (asks, now) = (self.asks, now());
        if section.len() <= LARGE {
            return header::read(&section, asks, now);
        }
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let work = tokio::task::spawn_blocking(move || {
            let found = header::read(&section, asks, now);
            drop(turn);
            found
        });
        work.await.unwrap_or_default()
    }

    /// The end of the message: what it came to, as far as that is known until then.
    pub(super) async fn finish(mut self, deadline: Instant) -> Findings {
        if matches!(self.state, State::Header(_)) {
            // All of it was header.
            self.header_ended(&[]).await;
        }
        match self.state {
            State::Body(body) => {
                let (hasher, content) = *body;
                content.finish(hasher.finish(), deadline).await
            }
            State::Header(_) => {
                Content::begin(&self.dns, Found::default())
                    .finish(BodyHashes::default(), deadline)
                    .await
            }
        }
    }
}

/// Makes room for more, in steps, so that little is copied.
fn grow(held: &mut Vec<u8>, more: usize, room: &mut Room) -> Result<(), Trouble> {
    let wanted = held.len() + more;
    if wanted > held.capacity() {
        let capacity = wanted.next_power_of_two().max(LEAST);
        if !room.keep(capacity) {
            return Err(Trouble::NoRoom);
        }
        held.reserve_exact(capacity - held.len());
    }
    Ok(())
}

/// Where the header ends and where the body begins. `from`: what is before it was looked at.
fn end(held: &[u8], from: usize) -> Option<(usize, usize)> {
    if held.starts_with(b"\r\n") {
        return Some((0, 2));
    }
    let at = from + memchr::memmem::find(held.get(from..)?, END)?;
    Some((at + 2, at + END.len()))
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// An empty line, and the end of the line before it.
const END: &[u8] = b"\r\n\r\n";
/// Of a header, as [`crate::accept::HeaderScan`] has it.
const MOST: usize = 1 << 20;
/// Headers above this size are read one after the other.
const LARGE: usize = 64 << 10;
/// The first room for a header.
const LEAST: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use postroad_config::Verification;

    use super::*;
    use crate::dns::table::Table;
    use crate::metrics::Metrics;
    use crate::net::{Budget, Rank};

    #[tokio::test]
    async fn what_is_kept_of_a_header_is_counted_until_the_message_is_over() {
        let metrics = Metrics::new();
        let budget = Budget::new(&metrics);
        let mut room = budget.begin(Rank::Stranger, false).unwrap();
        let before = metrics.buffers.get();
        let asks = Asks::of(&Verification::default());
        let dns = Dns::new(Table::default());
        let mut reading = Reading::new(dns, Arc::new(Semaphore::new(1)), asks);
        let header = format!(
            "DKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=s; h=from; \
             bh=aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g=; b={}\r\nFrom: ann@a.example\r\n",
            "A".repeat(20_000)
        );
        let message = format!("{header}\r\n{}", "body\r\n".repeat(20_000));
        for octets in message.as_bytes().chunks(1_000) {
            assert_eq!(reading.feed(octets, &mut room).await, Ok(()));
        }
        assert_eq!(metrics.buffers.get() - before, header.len() as u64);
        drop((reading, room));
        assert_eq!(metrics.buffers.get(), 0);
    }
}
