//! The encoding reads back what it wrote, and reads no bytes at all wrongly.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::codec::BEYOND;
use super::frame::{FRAME, Frame};
use super::header::Header;
use super::message;
use super::record::{Owner, Record};
use crate::handover::TransferId;
use crate::handover::source::Source;
use crate::scan::scan;
use crate::types::{
    BodyKind, ByMode, DeliverBy, EntryId, Envelope, Notify, Recipient, RecipientState, RecipientUpdate, Ret,
    SealState, SpoolUuid, Status,
};

fn transfer() -> impl Strategy<Value = TransferId> {
    (any::<[u8; 16]>(), any::<u64>(), any::<u64>(), any::<u32>()).prop_map(
        |(uuid, seal, entry, generation)| TransferId {
            source: SpoolUuid(uuid),
            seal,
            entry: EntryId::from_u64(entry),
            generation,
        },
    )
}

fn state() -> impl Strategy<Value = RecipientState> {
    let status = prop_oneof![
        Just(Status::Pending),
        Just(Status::Delivered),
        Just(Status::Failed),
        Just(Status::Expired)
    ];
    (
        status,
        any::<u32>(),
        any::<u64>(),
        any::<(bool, bool)>(),
        "\\PC{0,40}",
    )
        .prop_map(
            |(status, attempts, next_attempt, (delay_notified, by_notified), reply)| RecipientState {
                status,
                attempts,
                next_attempt,
                delay_notified,
                by_notified,
                reply,
            },
        )
}

fn source() -> impl Strategy<Value = Source> {
    let target = any::<[u8; 16]>().prop_map(SpoolUuid);
    prop_oneof![
        any::<u32>().prop_map(|generation| Source::Owned { generation }),
        (transfer(), target.clone()).prop_map(|(transfer, target)| Source::Offered { transfer, target }),
        (transfer(), target, any::<u64>()).prop_map(|(transfer, target, hold)| Source::Given {
            transfer,
            target,
            hold: EntryId::from_u64(hold)
        }),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let owner = prop_oneof![source().prop_map(Owner::Ours), transfer().prop_map(Owner::Held)];
    let update = (any::<u32>(), state()).prop_map(|(index, state)| RecipientUpdate { index, state });
    prop_oneof![
        vec(update, 0..4).prop_map(Record::States),
        vec(any::<u64>(), 0..4).prop_map(|homes| Record::Done { homes }),
        (0..BEYOND, any::<bool>(), any::<u64>()).prop_map(|(next_entry, sealed, number)| {
            Record::Globals {
                next_entry,
                seal: SealState { sealed, number },
            }
        }),
        source().prop_map(Record::Step),
        transfer().prop_map(Record::Released),
        (transfer(), vec(any::<u64>(), 0..4))
            .prop_map(|(transfer, homes)| Record::Forgotten { transfer, homes }),
        (vec(state(), 0..4), owner).prop_map(|(states, owner)| Record::Snapshot { states, owner }),
    ]
}

fn recipient() -> impl Strategy<Value = Recipient> {
    (
        "\\PC{0,20}",
        0..16_u8,
        option::of("\\PC{0,9}"),
        option::of("\\PC{0,9}"),
    )
        .prop_map(|(forward_path, notify, orcpt, original)| Recipient {
            forward_path,
            notify: Notify::from_bits(notify),
            orcpt,
            original,
        })
}

fn deliver_by() -> impl Strategy<Value = DeliverBy> {
    let mode = prop_oneof![Just(ByMode::Return), Just(ByMode::Notify)];
    (any::<u64>(), mode, any::<bool>()).prop_map(|(deadline, mode, trace)| DeliverBy {
        deadline,
        mode,
        trace,
    })
}

fn envelope() -> impl Strategy<Value = Envelope> {
    let ret = option::of(prop_oneof![Just(Ret::Full), Just(Ret::Headers)]);
    let body = prop_oneof![
        Just(BodyKind::SevenBit),
        Just(BodyKind::EightBitMime),
        Just(BodyKind::BinaryMime)
    ];
    let words = (
        "\\PC{0,20}",
        option::of("\\PC{0,9}"),
        option::of("\\PC{0,9}"),
        "\\PC{0,20}",
    );
    (
        vec(recipient(), 0..4),
        ret,
        body,
        any::<bool>(),
        words,
        any::<(u64, u64)>(),
        (any::<bool>(), option::of(deliver_by())),
    )
        .prop_map(
            |(
                recipients,
                ret,
                body,
                smtputf8,
                (reverse_path, envid, identity, client),
                (arrived, expires),
                (require_tls, deliver_by),
            )| {
                Envelope {
                    reverse_path,
                    recipients,
                    ret,
                    envid,
                    body,
                    smtputf8,
                    identity,
                    client,
                    arrived,
                    expires,
                    require_tls,
                    deliver_by,
                }
            },
        )
}

proptest! {
    #[test]
    fn a_record_reads_back(record in record()) {
        let bytes = record.encode(message::REPLY_LIMIT);
        prop_assert_eq!(Record::decode(record.kind(), &bytes), Some(record));
    }

    #[test]
    fn a_message_reads_back(
        envelope in envelope(),
        origin in option::of(transfer()),
        prefix in vec(any::<u8>(), 0..50),
        body in vec(any::<u8>(), 0..50),
    ) {
        let states = vec![RecipientState::default(); envelope.recipients.len()];
        let mut bytes = message::encode(origin.as_ref(), &envelope, &states, &prefix, (body.len() as u64, 9));
        bytes.extend_from_slice(&body);
        let parts = message::decode(&bytes).unwrap();
        prop_assert_eq!(parts.envelope, envelope);
        prop_assert_eq!((parts.origin, parts.states, parts.body_len, parts.body_crc), (origin, states, body.len() as u64, 9));
        prop_assert_eq!((parts.prefix, parts.inline), (&prefix[..], &body[..]));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(kind in any::<u8>(), bytes in vec(any::<u8>(), 0..300)) {
        let _ = Record::decode(kind, &bytes);
        let _ = message::decode(&bytes);
        let _ = Frame::read(&bytes);
        let _ = Header::decode(&bytes);
        prop_assert!(scan(&mut bytes.as_slice(), 1).records.is_empty());
    }

    #[test]
    fn a_changed_byte_of_a_record_never_reads_as_another(record in record(), at in any::<usize>(), bit in 0..8_u8) {
        let payload = record.encode(message::REPLY_LIMIT);
        let frame = Frame {
            kind: record.kind(),
            len: u32::try_from(payload.len()).unwrap(),
            crc: crc32c::crc32c(&payload),
            ordinal: 1,
            entry: EntryId::from_u64(2),
            epoch: 3,
            batch: 4,
        };
        let mut bytes = frame.encode().to_vec();
        bytes.extend_from_slice(&payload);
        prop_assert_eq!(Frame::read(&bytes), Some((frame, &payload[..])));
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        // The last four bytes of a frame are not used.
        prop_assert_eq!(Frame::read(&bytes).is_some(), (FRAME - 4..FRAME).contains(&at));
    }
}
