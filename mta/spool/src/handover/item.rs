//! An entry without its body as octets, as one pod says it to another. Apart from the disk, so that neither binds the other:
//! they share the fields of an envelope, whose octets are fixed in both.
//!
//! ```text
//!   plain      envelope | states | prefix | length of the body           what every version reads
//!   extended   the same | extensions, as on disk                         format 2 of the spool and later
//! ```
//!
//! The giver takes the form: plain wherever it says all. An entry that needs the extended one is offered only to a spool
//! that writes a format that can say it. Pure; reading never panics and never reserves more than the input is long.

use crate::format::codec::{Reader, Writer};
use crate::format::{FIRST, extensions, message};
use crate::spool::Item;
use crate::types::{Envelope, RecipientState, Status};

/// Whether an envelope has nothing that the plain form cannot say.
pub const fn is_plain(envelope: &Envelope) -> bool {
    extensions::format_of(envelope) == FIRST
}

/// The item and the length of its body, in the form that [`is_plain`] tells.
pub fn encode(item: &Item, body: u64) -> Vec<u8> {
    let mut out = Writer::default();
    let plain = is_plain(&item.envelope);
    put_envelope(&mut out, &item.envelope);
    out.count(item.recipients.len());
    for state in &item.recipients {
        put_state(&mut out, state, plain);
    }
    out.count(item.prefix.len());
    out.0.extend_from_slice(&item.prefix);
    out.u64(body);
    if !plain {
        extensions::put(&mut out, &item.envelope);
    }
    out.0
}

/// The item and the length of its body; `None` if it is not of this form, or says something that is not known here.
pub fn decode(octets: &[u8], plain: bool) -> Option<(Item, u64)> {
    let mut input = Reader(octets);
    let mut envelope = envelope(&mut input)?;
    // The shortest state takes 18 octets.
    let count = input.count(18)?;
    let recipients: Vec<_> = (0..count).map(|_| state(&mut input)).collect::<Option<_>>()?;
    let length = input.count(1)?;
    let prefix = input.take(length)?.to_vec();
    let body = input.u64()?;
    if !plain {
        extensions::read(&mut input, &mut envelope)?;
    }
    let whole = input.0.is_empty() && recipients.len() == envelope.recipients.len();
    let item = Item {
        envelope,
        recipients,
        prefix,
    };
    whole.then_some((item, body))
}

fn put_envelope(out: &mut Writer, envelope: &Envelope) {
    out.text(&envelope.reverse_path);
    message::put_recipients(out, &envelope.recipients);
    message::put_terms(out, envelope);
}

fn envelope(input: &mut Reader<'_>) -> Option<Envelope> {
    let (reverse_path, recipients) = (input.text()?, message::recipients(input)?);
    Some(Envelope {
        reverse_path,
        recipients,
        ..message::terms(input)?
    })
}

fn put_state(out: &mut Writer, state: &RecipientState, plain: bool) {
    out.u8(match state.status {
        Status::Pending => 0,
        Status::Delivered => 1,
        Status::Failed => 2,
        Status::Expired => 3,
    });
    out.u32(state.attempts);
    out.u64(state.next_attempt);
    // The first version takes 0 and 1 only. Without a deadline no such notice is sent.
    let by_notified = !plain && state.by_notified;
    out.u8(u8::from(state.delay_notified) | u8::from(by_notified) << 1);
    out.text(&state.reply);
}

fn state(input: &mut Reader<'_>) -> Option<RecipientState> {
    let status = match input.u8()? {
        0 => Status::Pending,
        1 => Status::Delivered,
        2 => Status::Failed,
        3 => Status::Expired,
        _ => return None,
    };
    let (attempts, next_attempt, notices) = (input.u32()?, input.u64()?, input.u8()?);
    (notices <= 3).then_some(())?;
    Some(RecipientState {
        status,
        attempts,
        next_attempt,
        delay_notified: notices & 1 != 0,
        by_notified: notices & 2 != 0,
        reply: input.text()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{BodyKind, ByMode, DeliverBy, Notify, Recipient, Ret};

    fn plain() -> Item {
        Item {
            envelope: Envelope {
                reverse_path: "a@b".into(),
                recipients: vec![Recipient {
                    forward_path: "c@d".into(),
                    notify: Notify::DELAY,
                    orcpt: Some("x".into()),
                    original: None,
                }],
                ret: Some(Ret::Headers),
                body: BodyKind::EightBitMime,
                smtputf8: true,
                arrived: 5,
                expires: 9,
                ..Envelope::default()
            },
            recipients: vec![RecipientState {
                status: Status::Expired,
                attempts: 4,
                next_attempt: 8,
                delay_notified: true,
                reply: "no".into(),
                ..RecipientState::default()
            }],
            prefix: b"P".to_vec(),
        }
    }

    fn extended() -> Item {
        let mut item = plain();
        item.envelope.require_tls = true;
        item.envelope.deliver_by = Some(DeliverBy {
            deadline: 7,
            mode: ByMode::Notify,
            trace: true,
        });
        item.recipients[0].by_notified = true;
        item
    }

    /// Pods of the first version say and read exactly this.
    #[test]
    fn the_plain_form_does_not_change() {
        let octets = [
            &[3, 0, 0, 0][..],
            b"a@b",
            &[1, 0, 0, 0, 3, 0, 0, 0],
            b"c@d",
            &[4, 1, 1, 0, 0, 0],
            b"x",
            // No original; RET, no ENVID, BODY, SMTPUTF8, no identity, no client.
            &[0, 2, 0, 1, 1, 0, 0, 0, 0, 0],
            &[5, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0],
            &[1, 0, 0, 0, 3, 4, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0],
            b"no",
            &[1, 0, 0, 0],
            b"P",
            &[70, 0, 0, 0, 0, 0, 0, 0],
        ]
        .concat();
        assert_eq!(encode(&plain(), 70), octets);
        assert_eq!(decode(&octets, true), Some((plain(), 70)));
    }

    #[test]
    fn both_forms_read_back_and_nothing_else_does() {
        for item in [plain(), extended()] {
            let is_plain = is_plain(&item.envelope);
            let mut octets = encode(&item, 70);
            assert_eq!(decode(&octets, is_plain), Some((item, 70)));
            for end in 0..octets.len() {
                assert_eq!(decode(&octets[..end], is_plain), None, "cut at {end}");
            }
            assert_eq!(decode(&octets, !is_plain), None, "the other form");
            octets.push(0);
            assert_eq!(decode(&octets, is_plain), None);
        }
    }
}
