//! What a record says, without the bytes of messages: enough to rebuild the index.

use crate::format::codec::{Reader, Writer};
use crate::format::{FIRST, extensions, message};
use crate::handover::TransferId;
use crate::handover::source::Source;
use crate::types::{EntryId, RecipientState, RecipientUpdate, SealState, SpoolUuid};

/// Who owns an entry, as its spool keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// From a client, or released to this spool.
    Ours(Source),
    /// Held for another spool.
    Held(TransferId),
}

/// A message without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageInfo {
    /// The oldest format that can say its envelope.
    pub format: u32,
    /// The body has a file of its own.
    pub blob: bool,
    pub prefix_len: u64,
    pub body_len: u64,
    pub arrived: u64,
    pub expires: u64,
    pub states: Vec<RecipientState>,
    pub origin: Option<TransferId>,
}

/// What a record says about its entry (the entry is in the frame).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// MSG or MSGREF: an entry begins, or was copied forward.
    Message(MessageInfo),
    /// `RCPT_STATE`: new states of some recipients.
    States(Vec<RecipientUpdate>),
    /// DONE: the entry is over. Counts as long as any segment use that holds the message exists.
    Done { homes: Vec<u64> },
    /// SEAL, UNSEAL, and the first record of every segment: what is not about one entry.
    Globals { next_entry: u64, seal: SealState },
    /// HANDOVER: OFFERED, GIVEN, or taken back.
    Step(Source),
    /// HANDOVER: the held entry is ours.
    Released(TransferId),
    /// HANDOVER: the source has freed its bytes. Counts as long as any segment use with the release exists.
    Forgotten { transfer: TransferId, homes: Vec<u64> },
    /// CHECKPOINT of one entry: all that can change, written when older records of it are to go.
    Snapshot {
        states: Vec<RecipientState>,
        owner: Owner,
    },
}

const MSG: u8 = 1;
const MSGREF: u8 = 2;
const RCPT_STATE: u8 = 3;
const DONE: u8 = 4;
const SEAL: u8 = 5;
const HANDOVER_STEP: u8 = 6;
const HANDOVER_RELEASED: u8 = 7;
const HANDOVER_FORGOTTEN: u8 = 8;
const SNAPSHOT: u8 = 9;

impl Record {
    /// Kind, as the frame carries it.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Message(info) if info.blob => MSGREF,
            Self::Message(_) => MSG,
            Self::States(_) => RCPT_STATE,
            Self::Done { .. } => DONE,
            Self::Globals { .. } => SEAL,
            Self::Step(_) => HANDOVER_STEP,
            Self::Released(_) => HANDOVER_RELEASED,
            Self::Forgotten { .. } => HANDOVER_FORGOTTEN,
            Self::Snapshot { .. } => SNAPSHOT,
        }
    }

    /// The oldest format that can say this record.
    pub const fn format(&self) -> u32 {
        match self {
            Self::Message(info) => info.format,
            _ => FIRST,
        }
    }

    /// The payload; for a message it is made by [`message::encode`]. `reply_limit` bounds each reply text.
    pub fn encode(&self, reply_limit: usize) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Self::Message(_) => {}
            Self::States(updates) => {
                out.count(updates.len());
                for update in updates {
                    out.u32(update.index);
                    message::put_state(&mut out, &update.state, reply_limit);
                }
            }
            Self::Done { homes } => out.epochs(homes),
            Self::Globals { next_entry, seal } => {
                out.u64(*next_entry);
                out.u8(u8::from(seal.sealed));
                out.u64(seal.number);
            }
            Self::Step(source) => put_source(&mut out, source),
            Self::Released(transfer) => out.transfer(transfer),
            Self::Forgotten { transfer, homes } => {
                out.transfer(transfer);
                out.epochs(homes);
            }
            Self::Snapshot { states, owner } => {
                message::put_states(&mut out, states, reply_limit);
                match owner {
                    Owner::Ours(source) => put_source(&mut out, source),
                    Owner::Held(transfer) => {
                        out.u8(9);
                        out.transfer(transfer);
                    }
                }
            }
        }
        out.0
    }

    /// Reads a payload; `None` if it is not of this form.
    pub fn decode(kind: u8, payload: &[u8]) -> Option<Self> {
        let mut input = Reader(payload);
        let record = match kind {
            MSG | MSGREF => return message_info(kind == MSGREF, payload),
            RCPT_STATE => {
                let count = input.count(5)?;
                Self::States((0..count).map(|_| update(&mut input)).collect::<Option<_>>()?)
            }
            DONE => Self::Done {
                homes: input.epochs()?,
            },
            SEAL => Self::Globals {
                next_entry: input.number()?,
                seal: SealState {
                    sealed: input.u8()? == 1,
                    number: input.u64()?,
                },
            },
            HANDOVER_STEP => Self::Step(source(&mut input)?),
            HANDOVER_RELEASED => Self::Released(input.transfer()?),
            HANDOVER_FORGOTTEN => Self::Forgotten {
                transfer: input.transfer()?,
                homes: input.epochs()?,
            },
            SNAPSHOT => {
                let states = message::states(&mut input)?;
                let owner = if input.0.first() == Some(&9) {
                    input.u8()?;
                    Owner::Held(input.transfer()?)
                } else {
                    Owner::Ours(source(&mut input)?)
                };
                Self::Snapshot { states, owner }
            }
            _ => return None,
        };
        input.0.is_empty().then_some(record)
    }
}

fn message_info(blob: bool, payload: &[u8]) -> Option<Record> {
    let parts = message::decode(payload)?;
    let fits = if blob {
        parts.inline.is_empty()
    } else {
        parts.inline.len() as u64 == parts.body_len
    };
    fits.then_some(Record::Message(MessageInfo {
        format: extensions::format_of(&parts.envelope),
        blob,
        prefix_len: parts.prefix.len() as u64,
        body_len: parts.body_len,
        arrived: parts.envelope.arrived,
        expires: parts.envelope.expires,
        states: parts.states,
        origin: parts.origin,
    }))
}

fn update(input: &mut Reader<'_>) -> Option<RecipientUpdate> {
    Some(RecipientUpdate {
        index: input.u32()?,
        state: message::state(input)?,
    })
}

fn put_source(out: &mut Writer, source: &Source) {
    match source {
        Source::Owned { generation } => {
            out.u8(1);
            out.u32(*generation);
        }
        Source::Offered { transfer, target } => {
            out.u8(2);
            out.transfer(transfer);
            out.0.extend_from_slice(&target.0);
        }
        Source::Given {
            transfer,
            target,
            hold,
        } => {
            out.u8(3);
            out.transfer(transfer);
            out.0.extend_from_slice(&target.0);
            out.u64(hold.as_u64());
        }
    }
}

fn source(input: &mut Reader<'_>) -> Option<Source> {
    Some(match input.u8()? {
        1 => Source::Owned {
            generation: input.u32()?,
        },
        2 => Source::Offered {
            transfer: input.transfer()?,
            target: target(input)?,
        },
        3 => Source::Given {
            transfer: input.transfer()?,
            target: target(input)?,
            hold: EntryId::from_u64(input.u64()?),
        },
        _ => return None,
    })
}

fn target(input: &mut Reader<'_>) -> Option<SpoolUuid> {
    input.uuid()
}
