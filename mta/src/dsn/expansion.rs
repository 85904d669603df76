//! Aliases that stand for several mailboxes (RFC 3461 section 5.2.7.3).
//!
//! Pure. The sender that asked for a notice of success gets one, `expanded`, for the alias as a whole. The request goes no
//! further: a notice for each mailbox would tell the sender who they are.
//!
//! May assume: the recipients that one RCPT stands for are neighbours in the envelope.

use postroad_spool::{Envelope, Notify, Recipient};

/// Whether this recipient is one of several that an alias stands for.
pub fn is_part(envelope: &Envelope, index: u32) -> bool {
    let Some(at) = position(index) else { return false };
    let before = at.checked_sub(1);
    before.is_some_and(|before| are_of_one(envelope, before, at)) || are_of_one(envelope, at, at + 1)
}

/// Whether this recipient is the first of several that an alias stands for: the notice is its affair.
pub fn leads(envelope: &Envelope, index: u32) -> bool {
    let Some(at) = position(index) else { return false };
    let follows = at
        .checked_sub(1)
        .is_some_and(|before| are_of_one(envelope, before, at));
    !follows && are_of_one(envelope, at, at + 1)
}

/// NOTIFY as it is passed on for this recipient: without SUCCESS behind an alias of several.
pub fn passed_on(envelope: &Envelope, index: u32) -> Notify {
    let recipient = position(index).and_then(|at| envelope.recipients.get(at));
    let notify = recipient.map_or(Notify::UNSET, |recipient| recipient.notify);
    if !notify.contains(Notify::SUCCESS) || !is_part(envelope, index) {
        return notify;
    }
    match Notify::from_bits(notify.bits() & !Notify::SUCCESS.bits()) {
        Notify::UNSET => Notify::NEVER,
        rest => rest,
    }
}

fn position(index: u32) -> Option<usize> {
    usize::try_from(index).ok()
}

fn are_of_one(envelope: &Envelope, one: usize, other: usize) -> bool {
    let alias = |at: usize| {
        let recipient: Option<&Recipient> = envelope.recipients.get(at);
        recipient.and_then(|recipient| recipient.original.as_deref())
    };
    alias(one).is_some() && alias(one) == alias(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(originals: &[Option<&str>], notify: Notify) -> Envelope {
        let recipients = originals.iter().map(|original| Recipient {
            original: original.map(str::to_owned),
            notify,
            ..Recipient::default()
        });
        Envelope {
            recipients: recipients.collect(),
            ..Envelope::default()
        }
    }

    #[test]
    fn only_neighbours_with_one_alias_are_an_expansion() {
        let envelope = envelope(
            &[None, Some("a"), Some("a"), Some("a"), Some("b"), None, Some("a")],
            Notify::UNSET,
        );
        let parts: Vec<u32> = (0..8).filter(|at| is_part(&envelope, *at)).collect();
        let leaders: Vec<u32> = (0..8).filter(|at| leads(&envelope, *at)).collect();
        assert_eq!((parts, leaders), (vec![1, 2, 3], vec![1]));
    }

    #[test]
    fn success_is_not_asked_of_those_behind_an_alias() {
        for (asked, passed) in [
            (Notify::UNSET, Notify::UNSET),
            (Notify::NEVER, Notify::NEVER),
            (Notify::SUCCESS, Notify::NEVER),
            (Notify::SUCCESS.with(Notify::FAILURE), Notify::FAILURE),
            (Notify::DELAY, Notify::DELAY),
        ] {
            let several = envelope(&[Some("a"), Some("a")], asked);
            assert_eq!(passed_on(&several, 1), passed, "{asked:?}");
            assert_eq!(passed_on(&envelope(&[Some("a")], asked), 0), asked, "{asked:?}");
        }
    }
}
