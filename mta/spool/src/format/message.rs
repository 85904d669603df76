//! Payload of a message record: where it came from, envelope, states, prefix, and the body unless it has a file.
//!
//! ```text
//! lengths of (meta, prefix, body) and checksum of the body | meta | prefix | body (inline only)
//! meta    flags 1 | origin (flag 1) | envelope | states | extensions (flag 2, from format 2 on)
//! ```
//!
//! A message without extensions has the same bytes in every format.

use crate::format::codec::{Reader, Writer};
use crate::format::{FIRST, extensions};
use crate::handover::TransferId;
use crate::types::{BodyKind, Envelope, Notify, Recipient, RecipientState, Ret, Status};

/// Bytes of a reply text that are kept.
pub const REPLY_LIMIT: usize = 512;

const ORIGIN: u8 = 1;
const EXTENDED: u8 = 2;
const DELAY_NOTIFIED: u8 = 1;
const BY_NOTIFIED: u8 = 2;

const fn flag(bit: u8, set: bool) -> u8 {
    if set { bit } else { 0 }
}

/// A message record taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The offer it was held for, if it came by a hand-over.
    pub origin: Option<TransferId>,
    pub envelope: Envelope,
    /// States at the time it was committed.
    pub states: Vec<RecipientState>,
    pub prefix: &'a [u8],
    pub body_len: u64,
    pub body_crc: u32,
    /// The rest of the payload: the body, if it is inline.
    pub inline: &'a [u8],
}

/// Everything of the payload but an inline body.
pub fn encode(
    origin: Option<&TransferId>,
    envelope: &Envelope,
    states: &[RecipientState],
    prefix: &[u8],
    body: (u64, u32),
) -> Vec<u8> {
    let mut meta = Writer::default();
    let extended = extensions::format_of(envelope) > FIRST;
    meta.u8(flag(ORIGIN, origin.is_some()) | flag(EXTENDED, extended));
    if let Some(transfer) = origin {
        meta.transfer(transfer);
    }
    put_envelope(&mut meta, envelope);
    put_states(&mut meta, states, REPLY_LIMIT);
    if extended {
        extensions::put(&mut meta, envelope);
    }
    let mut out = Writer(Vec::with_capacity(20 + meta.0.len() + prefix.len()));
    out.count(meta.0.len());
    out.count(prefix.len());
    out.u64(body.0);
    out.u32(body.1);
    out.0.extend_from_slice(&meta.0);
    out.0.extend_from_slice(prefix);
    out.0
}

/// Takes a payload apart; `None` if it is not of this form.
pub fn decode(payload: &[u8]) -> Option<Parts<'_>> {
    let mut input = Reader(payload);
    let (meta, prefix) = (input.u32()?, input.u32()?);
    let (body_len, body_crc) = (input.u64()?, input.u32()?);
    let mut meta = Reader(input.take(usize::try_from(meta).ok()?)?);
    let prefix = input.take(usize::try_from(prefix).ok()?)?;
    let flags = meta.u8()?;
    if flags & !(ORIGIN | EXTENDED) != 0 {
        return None;
    }
    let origin = if flags & ORIGIN == 0 {
        None
    } else {
        Some(meta.transfer()?)
    };
    let mut envelope = envelope(&mut meta)?;
    let states = states(&mut meta)?;
    if flags & EXTENDED != 0 {
        extensions::read(&mut meta, &mut envelope)?;
    }
    (states.len() == envelope.recipients.len() && meta.0.is_empty()).then_some(Parts {
        origin,
        envelope,
        states,
        prefix,
        body_len,
        body_crc,
        inline: input.0,
    })
}

fn put_envelope(out: &mut Writer, envelope: &Envelope) {
    out.text(&envelope.reverse_path);
    put_terms(out, envelope);
    put_recipients(out, &envelope.recipients);
}

fn envelope(input: &mut Reader<'_>) -> Option<Envelope> {
    let reverse_path = input.text()?;
    let terms = terms(input)?;
    Some(Envelope {
        reverse_path,
        recipients: recipients(input)?,
        ..terms
    })
}

/// What an envelope says besides its paths: on disk, and from pod to pod.
pub fn put_terms(out: &mut Writer, envelope: &Envelope) {
    out.u8(match envelope.ret {
        None => 0,
        Some(Ret::Full) => 1,
        Some(Ret::Headers) => 2,
    });
    out.optional(envelope.envid.as_deref());
    out.u8(match envelope.body {
        BodyKind::SevenBit => 0,
        BodyKind::EightBitMime => 1,
        BodyKind::BinaryMime => 2,
    });
    out.u8(u8::from(envelope.smtputf8));
    out.optional(envelope.identity.as_deref());
    out.text(&envelope.client);
    out.u64(envelope.arrived);
    out.u64(envelope.expires);
}

/// The same, read into an envelope without paths.
pub fn terms(input: &mut Reader<'_>) -> Option<Envelope> {
    Some(Envelope {
        ret: match input.u8()? {
            0 => None,
            1 => Some(Ret::Full),
            2 => Some(Ret::Headers),
            _ => return None,
        },
        envid: input.optional()?,
        body: match input.u8()? {
            0 => BodyKind::SevenBit,
            1 => BodyKind::EightBitMime,
            2 => BodyKind::BinaryMime,
            _ => return None,
        },
        smtputf8: match input.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        },
        identity: input.optional()?,
        client: input.text()?,
        arrived: input.u64()?,
        expires: input.u64()?,
        ..Envelope::default()
    })
}

/// The recipients of an envelope: on disk, and from pod to pod.
pub fn put_recipients(out: &mut Writer, recipients: &[Recipient]) {
    out.count(recipients.len());
    for recipient in recipients {
        out.text(&recipient.forward_path);
        out.u8(recipient.notify.bits());
        out.optional(recipient.orcpt.as_deref());
        out.optional(recipient.original.as_deref());
    }
}

/// The same, read.
pub fn recipients(input: &mut Reader<'_>) -> Option<Vec<Recipient>> {
    // The shortest one takes seven octets.
    let count = input.count(7)?;
    (0..count).map(|_| recipient(input)).collect()
}

fn recipient(input: &mut Reader<'_>) -> Option<Recipient> {
    Some(Recipient {
        forward_path: input.text()?,
        notify: Notify::from_bits(input.u8()?),
        orcpt: input.optional()?,
        original: input.optional()?,
    })
}

/// All states of an entry. Untouched ones take one byte.
pub fn put_states(out: &mut Writer, states: &[RecipientState], reply_limit: usize) {
    out.count(states.len());
    for state in states {
        put_state(out, state, reply_limit);
    }
}

/// One state; the text of the reply is cut at a character boundary.
pub fn put_state(out: &mut Writer, state: &RecipientState, reply_limit: usize) {
    if *state == RecipientState::default() {
        return out.u8(0);
    }
    let status = match state.status {
        Status::Pending => 1,
        Status::Delivered => 2,
        Status::Failed => 3,
        Status::Expired => 4,
    };
    out.u8(status);
    out.u32(state.attempts);
    out.u64(state.next_attempt);
    // Only an envelope with extensions has the second, so the first format never sees it.
    out.u8(flag(DELAY_NOTIFIED, state.delay_notified) | flag(BY_NOTIFIED, state.by_notified));
    let cut = state.reply.floor_char_boundary(reply_limit);
    out.text(&state.reply[..cut]);
}

/// All states of an entry.
pub fn states(input: &mut Reader<'_>) -> Option<Vec<RecipientState>> {
    let count = input.count(1)?;
    (0..count).map(|_| state(input)).collect()
}

/// One state.
pub fn state(input: &mut Reader<'_>) -> Option<RecipientState> {
    let status = match input.u8()? {
        0 => return Some(RecipientState::default()),
        1 => Status::Pending,
        2 => Status::Delivered,
        3 => Status::Failed,
        4 => Status::Expired,
        _ => return None,
    };
    let (attempts, next_attempt) = (input.u32()?, input.u64()?);
    let flags = input.u8()?;
    Some(RecipientState {
        status,
        attempts,
        next_attempt,
        delay_notified: flags & DELAY_NOTIFIED != 0,
        by_notified: flags & BY_NOTIFIED != 0,
        reply: input.text()?,
    })
}
