//! What is in the blocks: entries, releases, tombs.
//!
//! Numbers have as many octets as they need, ids are counted from the one before, and a reply text is there once for
//! each block: 30 octets are enough for most entries.

use std::collections::HashMap;

use crate::format::codec::{Reader, Writer};
use crate::format::record::{Owner, Record};
use crate::handover::TransferId;
use crate::index::{Entry, Epoch, Kept, Place, Tomb};
use crate::types::{EntryId, RecipientState, Status};

const BLOB: u64 = 1;
const HANDED: u64 = 2;
const OURS: u64 = 4;

/// Octets of a block after which no further entry goes into it.
const FULL: usize = 64 << 10;

/// A block of entries in the making.
#[derive(Debug, Default)]
pub struct Entries<'a> {
    out: Vec<u8>,
    texts: Vec<&'a str>,
    known: HashMap<&'a str, u64>,
    last: u64,
    count: u64,
}

impl<'a> Entries<'a> {
    /// Appends an entry, with an id larger than the last one.
    pub fn put(&mut self, id: EntryId, entry: &'a Entry) {
        let out = &mut self.out;
        number(out, id.as_u64() - self.last);
        let owner = entry.owner();
        let ours = Kept::OURS == owner;
        let flags = [(entry.blob, BLOB), (entry.handed, HANDED), (ours, OURS)];
        number(
            out,
            flags.iter().map(|(on, flag)| if *on { *flag } else { 0 }).sum(),
        );
        for value in [entry.home.epoch, entry.home.offset, entry.home.len] {
            number(out, value.into());
        }
        number(out, entry.format.into());
        for value in [entry.prefix_len().into(), entry.body_len(), entry.arrived] {
            number(out, value);
        }
        number(out, entry.expires().wrapping_sub(entry.arrived));
        if !ours {
            let record = Record::Snapshot {
                states: Vec::new(),
                owner,
            };
            let bytes = record.encode(0);
            number(out, bytes.len() as u64);
            out.extend_from_slice(&bytes);
        }
        epochs(out, entry.noted());
        epochs(out, entry.stale());
        number(out, entry.states.len() as u64);
        for (state, reply) in entry.states.each() {
            let texts = &mut self.texts;
            let text = match reply {
                "" => 0,
                reply => *self.known.entry(reply).or_insert_with(|| {
                    texts.push(reply);
                    texts.len() as u64
                }),
            };
            put_state(out, &state, text);
        }
        self.last = id.as_u64();
        self.count += 1;
    }

    pub fn is_full(&self) -> bool {
        self.out.len() >= FULL
    }

    pub const fn count(&self) -> u64 {
        self.count
    }

    pub fn encode(self) -> Vec<u8> {
        let mut whole = Writer::default();
        whole.count(self.texts.len());
        for text in &self.texts {
            whole.text(text);
        }
        whole.0.extend_from_slice(&self.out);
        whole.0
    }
}

/// The entries of a block.
pub fn entries(payload: &[u8]) -> Option<Vec<(EntryId, Kept)>> {
    let mut input = Reader(payload);
    let count = input.count(4)?;
    let texts: Vec<String> = (0..count).map(|_| input.text()).collect::<Option<_>>()?;
    let mut last = 0_u64;
    let mut entries = Vec::new();
    while !input.0.is_empty() {
        last = last.checked_add(read(&mut input)?)?;
        entries.push((EntryId::from_u64(last), entry(&mut input, &texts)?));
    }
    Some(entries)
}

fn entry(input: &mut Reader<'_>, texts: &[String]) -> Option<Kept> {
    let flags = read(input)?;
    let home = Place {
        epoch: small(input)?,
        offset: small(input)?,
        len: small(input)?,
    };
    let format = small(input)?;
    let (prefix_len, body_len, arrived) = (read(input)?, read(input)?, read(input)?);
    let expires = arrived.wrapping_add(read(input)?);
    let owner = if flags & OURS == 0 {
        owner(input)?
    } else {
        Kept::OURS
    };
    let (noted, stale) = (read_epochs(input)?, read_epochs(input)?);
    let count = read(input)?;
    let states = (0..count).map(|_| state(input, texts)).collect::<Option<_>>()?;
    Some(Kept {
        home,
        blob: flags & BLOB != 0,
        handed: flags & HANDED != 0,
        format,
        prefix_len,
        body_len,
        arrived,
        expires,
        owner,
        noted,
        stale,
        states,
    })
}

fn owner(input: &mut Reader<'_>) -> Option<Owner> {
    let len = usize::try_from(read(input)?).ok()?;
    let kind = Record::Snapshot {
        states: Vec::new(),
        owner: Kept::OURS,
    };
    match Record::decode(kind.kind(), input.take(len)?)? {
        Record::Snapshot { owner, .. } => Some(owner),
        _ => None,
    }
}

/// Status and notices in one number: 0 is a recipient that nothing was done about.
fn put_state(out: &mut Vec<u8>, state: &RecipientState, text: u64) {
    if text == 0 && *state == RecipientState::default() {
        return number(out, 0);
    }
    let status = match state.status {
        Status::Pending => 1,
        Status::Delivered => 2,
        Status::Failed => 3,
        Status::Expired => 4,
    };
    let notices = u64::from(state.delay_notified) | u64::from(state.by_notified) << 1;
    number(out, status << 2 | notices);
    number(out, state.attempts.into());
    number(out, state.next_attempt);
    number(out, text);
}

fn state(input: &mut Reader<'_>, texts: &[String]) -> Option<RecipientState> {
    let flags = read(input)?;
    if flags == 0 {
        return Some(RecipientState::default());
    }
    let status = match flags >> 2 {
        1 => Status::Pending,
        2 => Status::Delivered,
        3 => Status::Failed,
        4 => Status::Expired,
        _ => return None,
    };
    let (attempts, next_attempt) = (small(input)?, read(input)?);
    let reply = match usize::try_from(read(input)?).ok()?.checked_sub(1) {
        Some(text) => texts.get(text)?.clone(),
        None => String::new(),
    };
    Some(RecipientState {
        status,
        attempts,
        next_attempt,
        delay_notified: flags & 1 != 0,
        by_notified: flags & 2 != 0,
        reply,
    })
}

/// A release that its source has not confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    pub transfer: TransferId,
    pub hold: EntryId,
    pub homes: Vec<Epoch>,
}

/// Appends a release to a block.
pub fn put_release(out: &mut Writer, release: &Release) {
    out.transfer(&release.transfer);
    out.u64(release.hold.as_u64());
    epochs(&mut out.0, release.homes.iter().copied());
}

/// The releases of a block.
pub fn releases(payload: &[u8]) -> Option<Vec<Release>> {
    let mut input = Reader(payload);
    let mut releases = Vec::new();
    while !input.0.is_empty() {
        releases.push(Release {
            transfer: input.transfer()?,
            hold: EntryId::from_u64(input.u64()?),
            homes: read_epochs(&mut input)?,
        });
    }
    Some(releases)
}

/// Tombs of one segment.
pub fn encode_tombs(epoch: Epoch, tombs: &[Tomb]) -> Vec<u8> {
    let mut out = Writer::default();
    out.u32(epoch);
    for tomb in tombs {
        number(&mut out.0, tomb.entry.as_u64());
        out.u8(u8::from(tomb.transfer.is_some()));
        if let Some(transfer) = &tomb.transfer {
            out.transfer(transfer);
        }
        epochs(&mut out.0, tomb.homes.iter().copied());
    }
    out.0
}

/// The segment and the tombs of a block.
pub fn tombs(payload: &[u8]) -> Option<(Epoch, Vec<Tomb>)> {
    let mut input = Reader(payload);
    let epoch = input.u32()?;
    let mut tombs = Vec::new();
    while !input.0.is_empty() {
        let entry = EntryId::from_u64(read(&mut input)?);
        let transfer = match input.u8()? {
            0 => None,
            1 => Some(Box::new(input.transfer()?)),
            _ => return None,
        };
        tombs.push(Tomb {
            entry,
            transfer,
            homes: read_epochs(&mut input)?.into(),
        });
    }
    Some((epoch, tombs))
}

fn epochs(out: &mut Vec<u8>, values: impl Iterator<Item = Epoch>) {
    let values: smallvec::SmallVec<[Epoch; 4]> = values.collect();
    number(out, values.len() as u64);
    for value in values {
        number(out, value.into());
    }
}

fn read_epochs(input: &mut Reader<'_>) -> Option<Vec<Epoch>> {
    let count = read(input)?;
    (0..count).map(|_| small(input)).collect()
}

/// Seven bits an octet, the lowest first.
fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn read(input: &mut Reader<'_>) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let octet = input.u8()?;
        value |= u64::from(octet & 0x7f) << shift;
        if octet < 0x80 {
            return Some(value);
        }
    }
    None
}

fn small<T: TryFrom<u64>>(input: &mut Reader<'_>) -> Option<T> {
    T::try_from(read(input)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_read_back(values in proptest::collection::vec(any::<u64>(), 0..20)) {
            let mut out = Vec::new();
            for value in &values {
                number(&mut out, *value >> (value % 64));
            }
            let mut input = Reader(&out);
            for value in values {
                prop_assert_eq!(read(&mut input), Some(value >> (value % 64)));
            }
            prop_assert!(input.0.is_empty());
        }

        #[test]
        fn any_octets_are_read_without_harm(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (_, _, _) = (entries(&octets), releases(&octets), tombs(&octets));
        }
    }
}
