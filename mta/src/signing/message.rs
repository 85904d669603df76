//! One message that is to be signed while it streams into the spool: the header is held, the body is hashed.
//!
//! ```text
//!   octets ─► Signing::feed ─► empty line: who is the author? has his domain keys? ─┬─► yes: hash the body
//!                                                                                    └─► no: forget the header
//!   end of data ─► Signing::finish ─► Ready ─► Pool ─► fields
//! ```
//!
//! A message that is sealed goes the same way; whose keys are used is known beforehand, and what was found of it is sealed with it.
//!
//! May assume: the octets are those that are stored, after fields were taken out.

use std::sync::Arc;

use postroad_verify::arc;
use postroad_verify::dkim::{BodyHasher, BodyHashes, Header, Unsignable, Wanted};
use postroad_verify::dmarc;

use super::{Chain, Keys};
use crate::net::Room;
use crate::settings::Settings;

/// A message of somebody whose mail is signed.
#[derive(Debug)]
pub struct Signing {
    settings: Arc<Settings>,
    /// Whose seal it gets; none: it is signed.
    sealer: Option<Arc<Keys>>,
    state: State,
}

/// What is known of a message at its end.
#[derive(Clone, Debug, Default)]
pub struct Facts<'a> {
    /// Its From fields as the policy has judged them.
    pub from: &'a [String],
    /// What is sealed with it. None: it is not sealed.
    pub chain: Option<Chain>,
}

#[derive(Debug)]
enum State {
    /// The header so far.
    Header(Vec<u8>),
    /// Behind the header.
    Body(Box<Body>),
    /// Not to be signed.
    No,
}

#[derive(Debug)]
struct Body {
    /// The header section, without the empty line.
    section: Vec<u8>,
    keys: Arc<Keys>,
    hasher: BodyHasher,
}

/// A whole message that waits for its signatures.
#[derive(Debug)]
pub struct Ready {
    section: Vec<u8>,
    /// What it is signed with.
    pub keys: Arc<Keys>,
    hashes: BodyHashes,
    /// What is sealed; none: it is signed.
    chain: Option<Chain>,
}

/// Why a message that should be signed is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSignature {
    /// There is no memory for its header.
    #[error("there is no memory for the header")]
    Memory,
    /// Its own form does not allow it, or a key failed.
    #[error(transparent)]
    Unsignable(#[from] Unsignable),
    /// The same of a seal.
    #[error(transparent)]
    Unsealable(#[from] arc::Unsealable),
    /// The work was cut short.
    #[error("signing was cut short")]
    CutShort,
}

impl NoSignature {
    /// Whether it is the message's own form, which no other try mends.
    pub fn is_of_message(&self) -> bool {
        !matches!(
            self,
            Self::Memory
                | Self::CutShort
                | Self::Unsignable(Unsignable::Key(_) | Unsignable::NoBody)
                | Self::Unsealable(arc::Unsealable::Key(_) | arc::Unsealable::NoBody)
        )
    }
}

impl Signing {
    /// Before the first octet; none where no domain has keys.
    pub fn new(settings: &Arc<Settings>) -> Option<Self> {
        (!settings.signers().is_empty()).then(|| Self {
            settings: Arc::clone(settings),
            sealer: None,
            state: State::Header(Vec::new()),
        })
    }

    /// Before the first octet of a message that is sealed with these keys.
    pub fn sealing(settings: &Arc<Settings>, keys: Arc<Keys>) -> Self {
        Self {
            settings: Arc::clone(settings),
            sealer: Some(keys),
            state: State::Header(Vec::new()),
        }
    }

    /// The same for another message in its place.
    #[must_use]
    pub fn anew(self) -> Self {
        Self {
            state: State::Header(Vec::new()),
            ..self
        }
    }

    /// It is sealed, not signed.
    pub fn is_seal(&self) -> bool {
        self.sealer.is_some()
    }

    /// Takes the next octets. Error: `room` is too small for the header.
    pub fn feed(&mut self, octets: &[u8], room: &mut Room) -> Result<(), NoSignature> {
        let is_seal = self.is_seal();
        match &mut self.state {
            State::No => Ok(()),
            State::Body(body) => {
                body.hasher.update(octets);
                Ok(())
            }
            State::Header(held) => {
                if held.len() + octets.len() > held.capacity() {
                    let more = octets.len().next_multiple_of(STEP);
                    if !keep(room, held.capacity() + more, is_seal) {
                        self.state = State::No;
                        return Err(NoSignature::Memory);
                    }
                    held.reserve_exact(more);
                }
                // An end may lie across two pieces.
                let from = held.len().saturating_sub(EMPTY_LINE.len() - 1);
                held.extend_from_slice(octets);
                if let Some(end) = end_of_header(held, from) {
                    let rest = held.split_off(end.body);
                    held.truncate(end.section);
                    let section = std::mem::take(held);
                    self.judge(section, room);
                    return self.feed(&rest, room);
                }
                Ok(())
            }
        }
    }

    /// The end of the message. None: it is not to be signed, nor sealed.
    pub fn finish(mut self, facts: Facts<'_>, room: &mut Room) -> Option<Ready> {
        if let State::Header(held) = &mut self.state {
            let section = std::mem::take(held);
            self.judge(section, room);
        }
        let State::Body(body) = self.state else {
            return None;
        };
        if self.sealer.is_some() {
            let chain = facts.chain.filter(|chain| chain.is_of(&body.section))?;
            return Some(Ready {
                section: body.section,
                keys: body.keys,
                hashes: body.hasher.finish(),
                chain: Some(chain),
            });
        }
        // Two readers of one header: where they see different authors, nobody knows who wrote it.
        let author = dmarc::author(facts.from).ok()?;
        (author.as_str() == body.keys.signer.domain()).then(|| Ready {
            section: body.section,
            keys: body.keys,
            hashes: body.hasher.finish(),
            chain: None,
        })
    }

    fn judge(&mut self, section: Vec<u8>, room: &mut Room) {
        let sealer = self.sealer.clone();
        let Some(keys) = sealer.or_else(|| keys_for(&self.settings, &section)) else {
            self.state = State::No;
            drop(section);
            keep(room, 0, self.is_seal());
            return;
        };
        let mut wanted = Wanted::new();
        match (&self.sealer, &keys.sealer) {
            (Some(_), Some(sealer)) => sealer.want(&mut wanted),
            _ => keys.signer.want(&mut wanted),
        }
        self.state = State::Body(Box::new(Body {
            section,
            keys,
            hasher: wanted.hasher(),
        }));
    }
}

impl Ready {
    /// A message that is there as a whole, if it is to be signed.
    pub fn whole(settings: &Settings, message: &[u8]) -> Option<Self> {
        let (section, body) = Header::split(message);
        let keys = keys_for(settings, section)?;
        let mut wanted = Wanted::new();
        keys.signer.want(&mut wanted);
        let mut hasher = wanted.hasher();
        hasher.update(body);
        Some(Self {
            section: section.to_vec(),
            keys,
            hashes: hasher.finish(),
            chain: None,
        })
    }

    /// The fields to stand on top. `prefix`: what stands between them and the header of the message. `now`: seconds since
    /// 1970. Takes its time with RSA keys.
    pub fn sign(&self, prefix: &str, now: u64) -> Result<String, NoSignature> {
        let header = [prefix.as_bytes(), &self.section].concat();
        let header = Header::parse(&header);
        match (&self.chain, &self.keys.sealer) {
            (Some(chain), Some(sealer)) => {
                let (outcome, results) = (&chain.outcome, chain.results.as_str());
                Ok(sealer.seal(&header, &self.hashes, outcome, results, now)?)
            }
            _ => Ok(self.keys.signer.sign(&header, &self.hashes, now)?),
        }
    }

    /// It is sealed, not signed.
    pub fn is_seal(&self) -> bool {
        self.chain.is_some()
    }

    /// Whether a thread that serves sockets is too good for it: by its keys, or by what there is to read.
    pub fn is_slow(&self) -> bool {
        self.keys.is_slow() || self.section.len() > LARGE
    }
}

/// A message that is sealed is judged as well, which keeps a header of its own.
fn keep(room: &mut Room, octets: usize, is_seal: bool) -> bool {
    if is_seal {
        room.keep_to_seal(octets)
    } else {
        room.keep(octets)
    }
}

/// The keys of the author's domain.
fn keys_for(settings: &Settings, section: &[u8]) -> Option<Arc<Keys>> {
    let header = Header::parse(section);
    let from: Vec<&[u8]> = header
        .named("From")
        .map(postroad_verify::dkim::Field::value)
        .collect();
    let author = dmarc::author(&from).ok()?;
    let domain = author.as_str().parse().ok()?;
    settings.signers().of(&domain).cloned()
}

struct End {
    /// Octets of the header section.
    section: usize,
    /// Where the body begins.
    body: usize,
}

fn end_of_header(held: &[u8], from: usize) -> Option<End> {
    if held.starts_with(b"\r\n") {
        return Some(End { section: 0, body: 2 });
    }
    let at = memchr::memmem::find(held.get(from..)?, EMPTY_LINE)? + from;
    Some(End {
        section: at + 2,
        body: at + EMPTY_LINE.len(),
    })
}

const EMPTY_LINE: &[u8] = b"\r\n\r\n";
/// Octets of a header that take their time, as in [`crate::verify::Reading`].
const LARGE: usize = 64 << 10;
/// A header is held in steps of this size.
const STEP: usize = 8 << 10;

#[cfg(test)]
mod tests;
