//! What pods say to each other in a hand-over, as octets. Its own format, apart from that of the disk; how an entry is
//! said is [`postroad_spool::handover::item`]'s.
//!
//! ```text
//!   frame     length 4 | kind 1 | payload         numbers little-endian; the length counts kind and payload
//!   exchange  (Freed Release Query Abort)* (Item body)* End    source ─► target; a body follows its frame, unframed
//!             (Held Unknown Released Ask)* End                 the reply
//!   ask       Ask* End                                         target ─► source
//!             (Freed Release Query Abort)* End                 the reply
//! ```
//!
//! End closes each of them: a stream that was cut is never taken for a whole one. Pure; decoding never panics and never
//! reserves more than the input is long.

use postroad_spool::handover::{ToSource, ToTarget, TransferId, item};
use postroad_spool::{EntryId, Item, SpoolUuid};

/// Longest frame: an item with 50,000 recipients and their states.
pub const LONGEST_FRAME: usize = 64 << 20;

/// Why octets are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other pod's message cannot be read: {0}")]
pub struct WireError(pub &'static str);

/// An offered entry, without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// The offer.
    pub transfer: TransferId,
    /// Envelope, states and prefix.
    pub item: Item,
    /// Octets of the body that follows.
    pub body: u64,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// What a source says; offers come as [`Frame::Offered`].
    ToTarget(ToTarget),
    /// What a target says.
    ToSource(ToSource),
    /// An offer with its item.
    Offered(Box<Offered>),
    /// Nothing follows.
    End {
        /// Whether more offers are welcome.
        accepting: bool,
    },
}

impl Frame {
    /// Appends the frame with its length.
    pub fn encode(&self, to: &mut Vec<u8>) {
        let start = to.len();
        to.extend_from_slice(&[0; 4]);
        match self {
            Self::ToTarget(message) => put_to_target(to, message),
            Self::ToSource(message) => put_to_source(to, message),
            Self::Offered(offered) => {
                let kind = if item::is_plain(&offered.item.envelope) {
                    20
                } else {
                    22
                };
                put_kind(to, kind, &offered.transfer);
                to.extend(item::encode(&offered.item, offered.body));
            }
            Self::End { accepting } => to.extend_from_slice(&[21, u8::from(*accepting)]),
        }
        let length = u32::try_from(to.len() - start - 4).unwrap_or(u32::MAX);
        to[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// Reads a frame without its length.
    pub fn decode(frame: &[u8]) -> Result<Self, WireError> {
        let mut from = Reader(frame);
        let frame = match from.u8()? {
            1 => Self::ToTarget(ToTarget::Query(from.transfer()?)),
            2 => Self::ToTarget(ToTarget::Release {
                transfer: from.transfer()?,
                hold: from.entry()?,
            }),
            3 => Self::ToTarget(ToTarget::Freed(from.transfer()?)),
            4 => Self::ToTarget(ToTarget::Abort(from.transfer()?)),
            10 => Self::ToSource(ToSource::Held {
                transfer: from.transfer()?,
                hold: from.entry()?,
            }),
            11 => Self::ToSource(ToSource::Unknown(from.transfer()?)),
            12 => Self::ToSource(ToSource::Released(from.transfer()?)),
            13 => Self::ToSource(ToSource::Ask {
                transfer: from.transfer()?,
                released: from.flag()?,
            }),
            20 => Self::Offered(Box::new(from.offered(true)?)),
            // A pod that reads the first format of the spool only does not know this kind, and is never sent one.
            22 => Self::Offered(Box::new(from.offered(false)?)),
            21 => Self::End {
                accepting: from.flag()?,
            },
            _ => return Err(WireError("a frame's kind is unknown")),
        };
        if from.0.is_empty() {
            Ok(frame)
        } else {
            Err(WireError("a frame is longer than its content"))
        }
    }
}

fn put_kind(to: &mut Vec<u8>, kind: u8, transfer: &TransferId) {
    to.push(kind);
    to.extend_from_slice(&transfer.source.0);
    to.extend_from_slice(&transfer.seal.to_le_bytes());
    to.extend_from_slice(&transfer.entry.as_u64().to_le_bytes());
    to.extend_from_slice(&transfer.generation.to_le_bytes());
}

fn put_to_target(to: &mut Vec<u8>, message: &ToTarget) {
    match message {
        // An offer without its item is a question about it.
        ToTarget::Offer(transfer) | ToTarget::Query(transfer) => put_kind(to, 1, transfer),
        ToTarget::Release { transfer, hold } => {
            put_kind(to, 2, transfer);
            to.extend_from_slice(&hold.as_u64().to_le_bytes());
        }
        ToTarget::Freed(transfer) => put_kind(to, 3, transfer),
        ToTarget::Abort(transfer) => put_kind(to, 4, transfer),
    }
}

fn put_to_source(to: &mut Vec<u8>, message: &ToSource) {
    match message {
        ToSource::Held { transfer, hold } => {
            put_kind(to, 10, transfer);
            to.extend_from_slice(&hold.as_u64().to_le_bytes());
        }
        ToSource::Unknown(transfer) => put_kind(to, 11, transfer),
        ToSource::Released(transfer) => put_kind(to, 12, transfer),
        ToSource::Ask { transfer, released } => {
            put_kind(to, 13, transfer);
            to.push(u8::from(*released));
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        self.take(N)?.try_into().map_err(|_| SHORT)
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn entry(&mut self) -> Result<EntryId, WireError> {
        Ok(EntryId::from_u64(self.u64()?))
    }

    fn flag(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError("a flag is neither 0 nor 1")),
        }
    }

    fn transfer(&mut self) -> Result<TransferId, WireError> {
        Ok(TransferId {
            source: SpoolUuid(self.array()?),
            seal: self.u64()?,
            entry: self.entry()?,
            generation: self.u32()?,
        })
    }

    /// All that is left.
    fn offered(&mut self, plain: bool) -> Result<Offered, WireError> {
        let transfer = self.transfer()?;
        let octets = std::mem::take(&mut self.0);
        let (item, body) =
            item::decode(octets, plain).ok_or(WireError("an offered entry is not as it should be"))?;
        Ok(Offered { transfer, item, body })
    }
}

const SHORT: WireError = WireError("it ends too early");

#[cfg(test)]
mod tests {
    use postroad_spool::{
        BodyKind, ByMode, DeliverBy, Envelope, Notify, Recipient, RecipientState, Ret, Status,
    };
    use proptest::prelude::*;

    use super::*;

    fn transfer() -> TransferId {
        TransferId {
            source: SpoolUuid([9; 16]),
            seal: 3,
            entry: EntryId::from_u64(77),
            generation: 2,
        }
    }

    fn offered() -> Offered {
        let envelope = Envelope {
            reverse_path: "a@b.example".into(),
            recipients: vec![
                Recipient {
                    forward_path: "c@d.example".into(),
                    notify: Notify::SUCCESS.with(Notify::DELAY),
                    orcpt: Some("rfc822;x@d.example".into()),
                    original: Some("x@d.example".into()),
                },
                Recipient::default(),
            ],
            ret: Some(Ret::Headers),
            envid: Some("q".into()),
            body: BodyKind::EightBitMime,
            smtputf8: true,
            identity: Some("app".into()),
            client: "192.0.2.1".into(),
            arrived: 5,
            expires: 9,
            require_tls: true,
            deliver_by: Some(DeliverBy {
                deadline: 7,
                mode: ByMode::Notify,
                trace: true,
            }),
        };
        let tried = RecipientState {
            status: Status::Expired,
            attempts: 4,
            next_attempt: 8,
            delay_notified: true,
            by_notified: true,
            reply: "450 later".into(),
        };
        Offered {
            transfer: transfer(),
            item: Item {
                envelope,
                recipients: vec![tried, RecipientState::default()],
                prefix: b"Received: x\r\n".to_vec(),
            },
            body: 12_345,
        }
    }

    /// As an older pod says it.
    fn plain() -> Offered {
        let mut plain = offered();
        plain.item.envelope.require_tls = false;
        plain.item.envelope.deliver_by = None;
        plain.item.recipients[0].by_notified = false;
        plain
    }

    #[test]
    fn every_frame_reads_back_the_same() {
        let (transfer, hold) = (transfer(), EntryId::from_u64(5));
        for frame in [
            Frame::ToTarget(ToTarget::Query(transfer)),
            Frame::ToTarget(ToTarget::Release { transfer, hold }),
            Frame::ToTarget(ToTarget::Freed(transfer)),
            Frame::ToTarget(ToTarget::Abort(transfer)),
            Frame::ToSource(ToSource::Held { transfer, hold }),
            Frame::ToSource(ToSource::Unknown(transfer)),
            Frame::ToSource(ToSource::Released(transfer)),
            Frame::ToSource(ToSource::Ask {
                transfer,
                released: true,
            }),
            Frame::Offered(Box::new(offered())),
            Frame::Offered(Box::new(plain())),
            Frame::End { accepting: true },
        ] {
            let mut octets = Vec::new();
            frame.encode(&mut octets);
            assert_eq!(
                octets[..4],
                u32::try_from(octets.len() - 4).unwrap().to_le_bytes()
            );
            assert_eq!(Frame::decode(&octets[4..]), Ok(frame));
        }
    }

    #[test]
    fn a_frame_that_is_cut_or_too_long_is_refused() {
        refuse_cuts(plain());
        refuse_cuts(offered());
    }

    fn refuse_cuts(offered: Offered) {
        let mut octets = Vec::new();
        Frame::Offered(Box::new(offered)).encode(&mut octets);
        for end in 4..octets.len() {
            assert!(Frame::decode(&octets[4..end]).is_err(), "cut at {end}");
        }
        octets.push(0);
        assert!(Frame::decode(&octets[4..]).is_err());
    }

    #[test]
    fn states_and_recipients_must_be_as_many() {
        let mut offered = offered();
        offered.item.recipients.pop();
        let mut octets = Vec::new();
        Frame::Offered(Box::new(offered)).encode(&mut octets);
        assert!(Frame::decode(&octets[4..]).is_err());
    }

    proptest! {
        #[test]
        fn decoding_any_octets_never_panics(kind in 0_u8..24, rest in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut octets = vec![kind];
            octets.extend(rest);
            let _ = Frame::decode(&octets);
        }
    }
}
