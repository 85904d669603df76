//! Delivery status notifications: from what became of recipients to a message in the spool (RFC 3461, RFC 3464).
//!
//! ```text
//!   queue::settle ─► Due ─► write ─► (envelope, message) ─► accept::Intake::own ─► spool ─► queue
//! ```
//!
//! A notice has the null reverse-path, so nothing is ever sent in answer to one. Whether one is due was decided before
//! (`queue::settle`); here it is written.

pub mod address;
pub mod advice;
pub mod compose;
pub mod expansion;
pub mod flood;
pub mod text;

use std::io::Read;

use postroad_spool::{BodyKind, EntryId, Envelope, Item, Notify, Recipient, Ret};

use self::compose::{About, Action, Notice, Original};
use crate::outcome::{Outcome, Source};
use crate::queue::settle::Due;

/// What a notice needs besides the entry.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Our name.
    pub hostname: &'a str,
    /// The entry.
    pub id: EntryId,
    /// The time now, in milliseconds since 1970.
    pub now: u64,
    /// Until when the entry is tried.
    pub retry_until: u64,
    /// How long notices are kept, in milliseconds.
    pub lifetime: u64,
    /// Whether the spool keeps REQUIRETLS with the notice.
    pub keeps_extensions: bool,
    /// Unguessable, in hex.
    pub token: &'a str,
}

/// Writes the notice: its envelope and its octets. `returned` is what is returned of the message.
pub fn write(
    item: &Item,
    due: &Due,
    outcomes: &[(u32, Outcome)],
    returned: &Returned,
    context: Context<'_>,
) -> (Envelope, Vec<u8>) {
    let original = match returned {
        Returned::Full(octets) => Original::Full(octets),
        Returned::Headers(octets) => Original::Headers(octets),
        Returned::TooLarge(octets) => Original::TooLarge(octets),
    };
    let envelope_id = item.envelope.envid.as_deref().and_then(text::from_xtext);
    let recipients = due.recipients.iter().map(|(index, status)| {
        let outcome = outcomes
            .iter()
            .find(|(of, _)| of == index)
            .map(|(_, outcome)| outcome);
        about(item, *index, &status.to_string(), outcome, due.action, context)
    });
    let notice = Notice {
        hostname: context.hostname,
        to: &item.envelope.reverse_path,
        envelope_id: envelope_id.as_deref(),
        queue_id: &context.id.to_string(),
        arrived: item.envelope.arrived,
        deliver_by: item.envelope.deliver_by.map(|by| by.deadline),
        now: context.now,
        token: context.token,
        action: due.action,
        recipients: recipients.collect(),
        original,
        smtputf8: item.envelope.smtputf8,
    };
    let message = compose::compose(&notice);
    let international = compose::is_international(&notice);
    (envelope(item, &message, international, context), message)
}

fn about(
    item: &Item,
    index: u32,
    status: &str,
    outcome: Option<&Outcome>,
    action: Action,
    context: Context<'_>,
) -> About {
    let recipient = usize::try_from(index)
        .ok()
        .and_then(|at| item.envelope.recipients.get(at));
    // The fate of an alias is ours: what a server said of one mailbox behind it is not to be told.
    let outcome = outcome.filter(|_| action != Action::Expanded);
    let (diagnostic, reason) = match outcome.map(|outcome| &outcome.source) {
        Some(Source::NextHop(said)) => (Some(said.clone()), None),
        Some(Source::Ourselves(reason)) => (None, Some(reason.clone())),
        None => (None, None),
    };
    About {
        address: recipient.map(shown).unwrap_or_default(),
        original: recipient.and_then(original_recipient),
        status: status.to_owned(),
        remote: outcome
            .and_then(|outcome| outcome.hop.as_ref())
            .map(|hop| hop.host.clone()),
        diagnostic,
        reason,
        last_attempt: if outcome.is_some() { context.now } else { 0 },
        retry_until: (action == Action::Delayed).then_some(context.retry_until),
    }
}

/// The address that the sender knows: what stands behind an alias is nobody's business.
fn shown(recipient: &Recipient) -> String {
    recipient
        .original
        .as_ref()
        .unwrap_or(&recipient.forward_path)
        .clone()
}

/// ORCPT, split and decoded (RFC 3461 section 4.2); none where it is no xtext.
fn original_recipient(recipient: &Recipient) -> Option<(String, String)> {
    let (kind, address) = recipient.orcpt.as_deref()?.split_once(';')?;
    Some((kind.trim().to_owned(), text::from_xtext(address.trim())?))
}

fn envelope(item: &Item, message: &[u8], international: bool, context: Context<'_>) -> Envelope {
    Envelope {
        reverse_path: String::new(),
        recipients: vec![Recipient {
            forward_path: item.envelope.reverse_path.clone(),
            // RFC 3461 section 6: nobody is told about the fate of a notice.
            notify: Notify::NEVER,
            ..Recipient::default()
        }],
        body: if message.is_ascii() {
            BodyKind::SevenBit
        } else {
            BodyKind::EightBitMime
        },
        smtputf8: international,
        // RFC 8689 section 5: the notice is protected as the message was, as far as that can be kept with it.
        require_tls: item.envelope.require_tls && context.keeps_extensions,
        client: "notice".to_owned(),
        arrived: context.now,
        expires: context.now.saturating_add(context.lifetime),
        ..Envelope::default()
    }
}

/// What is returned of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Returned {
    /// All of it.
    Full(Vec<u8>),
    /// The header section.
    Headers(Vec<u8>),
    /// The header section, as all of it would be too much.
    TooLarge(Vec<u8>),
}

/// Reads what is returned (RFC 3461 sections 4.3 and 6.2): all of a small message with a failure, unless RET=HDRS; else
/// the header section. What came with REQUIRETLS is treated as with RET=HDRS (RFC 8689 section 5). `size` counts prefix and body. Blocks on the disk.
pub fn read_returned(
    item: &Item,
    action: Action,
    size: u64,
    body: &mut impl Read,
) -> std::io::Result<Returned> {
    let full =
        action == Action::Failed && item.envelope.ret != Some(Ret::Headers) && !item.envelope.require_tls;
    let mut octets = item.prefix.clone();
    if full && size <= LARGEST_RETURNED {
        body.take(LARGEST_RETURNED).read_to_end(&mut octets)?;
        return Ok(Returned::Full(octets));
    }
    body.take(LONGEST_HEADER).read_to_end(&mut octets)?;
    // Where filters are asked, the header is part of the prefix.
    octets.truncate(MOST_SHOWN);
    let octets = header_section(octets);
    Ok(if full {
        Returned::TooLarge(octets)
    } else {
        Returned::Headers(octets)
    })
}

/// Up to the empty line; without one, up to the last whole line.
fn header_section(mut octets: Vec<u8>) -> Vec<u8> {
    let end = octets
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .or_else(|| octets.windows(2).rposition(|two| two == b"\r\n"))
        .map_or(0, |at| at + 2);
    octets.truncate(end);
    octets
}

/// A larger message comes back as its header section.
const LARGEST_RETURNED: u64 = 64 << 10;
/// A header section is returned up to this size.
const LONGEST_HEADER: u64 = 32 << 10;
/// The same with our own fields.
const MOST_SHOWN: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Hop, Status, Verdict};

    fn item(ret: Option<Ret>) -> Item {
        Item {
            envelope: Envelope {
                reverse_path: "alice@example.com".into(),
                recipients: vec![Recipient {
                    forward_path: "hidden@example.net".into(),
                    original: Some("list@example.com".into()),
                    orcpt: Some("rfc822;a+2Bb@example.com".into()),
                    ..Recipient::default()
                }],
                envid: Some("x+2By".into()),
                ret,
                ..Envelope::default()
            },
            recipients: vec![],
            prefix: b"Received: x\r\n".to_vec(),
        }
    }

    const CONTEXT: Context<'_> = Context {
        hostname: "mail.example.com",
        id: EntryId::from_u64(7),
        now: 1_700_000_000_000,
        retry_until: 0,
        lifetime: 1_000,
        keeps_extensions: true,
        token: "00112233445566778899aabbccddeeff",
    };

    #[test]
    fn a_notice_goes_to_the_sender_from_nobody_and_hides_what_an_alias_hides() {
        let hop = Hop {
            host: "mx.example.net".into(),
            address: None,
            tls: None,
            tls_policy: crate::deliver::protection::By::Route,
        };
        let mut outcome = Outcome::ours(Verdict::Failed, Status::new(5, 1, 1), "").at(hop);
        outcome.source = Source::NextHop("550 5.1.1 no".into());
        let due = Due {
            action: Action::Failed,
            recipients: vec![(0, outcome.status)],
        };
        let returned = Returned::Headers(b"Subject: x\r\n".to_vec());
        let (envelope, message) = write(&item(None), &due, &[(0, outcome)], &returned, CONTEXT);
        assert_eq!(envelope.reverse_path, "");
        assert_eq!(envelope.recipients[0].forward_path, "alice@example.com");
        assert_eq!(envelope.recipients[0].notify, Notify::NEVER);
        let text = String::from_utf8(message).unwrap();
        assert!(!text.contains("hidden"), "{text}");
        for line in [
            "Final-Recipient: rfc822; list@example.com",
            "Original-Recipient: rfc822; a+b@example.com",
            "Original-Envelope-Id: x+y",
            "Remote-MTA: dns; mx.example.net",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn what_is_returned_follows_ret_the_action_and_the_size() {
        let body = b"Subject: x\r\n\r\nbody\r\n";
        let read = |ret, action, size| read_returned(&item(ret), action, size, &mut &body[..]).unwrap();
        let full = Returned::Full(b"Received: x\r\nSubject: x\r\n\r\nbody\r\n".to_vec());
        let headers = Returned::Headers(b"Received: x\r\nSubject: x\r\n".to_vec());
        let too_large = Returned::TooLarge(b"Received: x\r\nSubject: x\r\n".to_vec());
        for (ret, action, size, want) in [
            (None, Action::Failed, 33, &full),
            (Some(Ret::Full), Action::Failed, 33, &full),
            (Some(Ret::Headers), Action::Failed, 33, &headers),
            (Some(Ret::Full), Action::Failed, 1 << 20, &too_large),
            (Some(Ret::Full), Action::Delayed, 33, &headers),
            (Some(Ret::Full), Action::Delivered, 33, &headers),
        ] {
            assert_eq!(&read(ret, action, size), want, "{ret:?} {action:?} {size}");
        }
    }

    #[test]
    fn of_a_message_with_requiretls_the_header_comes_back_and_the_same_way() {
        let mut item = item(Some(Ret::Full));
        item.envelope.require_tls = true;
        let returned = read_returned(&item, Action::Failed, 33, &mut &b"A: b\r\n\r\nx\r\n"[..]).unwrap();
        assert_eq!(returned, Returned::Headers(b"Received: x\r\nA: b\r\n".to_vec()));
        let due = Due {
            action: Action::Failed,
            recipients: vec![(0, Status::new(5, 7, 30))],
        };
        for keeps_extensions in [true, false] {
            let context = Context {
                keeps_extensions,
                ..CONTEXT
            };
            let (envelope, _) = write(&item, &due, &[], &returned, context);
            assert_eq!(envelope.require_tls, keeps_extensions);
        }
    }

    #[test]
    fn a_header_without_end_is_cut_at_a_line() {
        assert_eq!(header_section(b"A: b\r\nC: d".to_vec()), b"A: b\r\n");
        assert_eq!(header_section(b"x".to_vec()), b"");
    }
}
