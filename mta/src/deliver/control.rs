//! Takes the header fields out of a message that steer a provider other than the one that it goes to, and those that the policy names.
//!
//! ```text
//!   octets in pieces ─► header: field by field, kept or left out ─► first empty line ─► body as it is
//! ```
//!
//! They are of our own senders: mail of strangers keeps what it has, as its signatures may be over it. What is stored stays
//! as it is; the same message may go to the provider that they are for by another route.

use std::io;

use postroad_config::provider::{Provider, is_control};
use postroad_spool::{EntryId, Spool};

use super::body;

/// What passes, for one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passing {
    /// All fields: the message is not of our own senders.
    All,
    /// Those that steer this provider, and those that steer none.
    Of(Option<Provider>),
}

/// Which fields are left out.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeftOut<'a> {
    /// Of those that steer providers.
    pub(super) passing: Passing,
    /// Names that the policy gives.
    pub(super) names: &'a [String],
}

impl LeftOut<'_> {
    /// All fields pass.
    pub(super) fn is_nothing(self) -> bool {
        self.passing == Passing::All && self.names.is_empty()
    }

    fn has(self, name: &[u8]) -> bool {
        let steers = match self.passing {
            Passing::All => false,
            Passing::Of(lane) => is_control(name, lane),
        };
        let is_named = |known: &String| known.as_bytes().eq_ignore_ascii_case(name);
        steers || self.names.iter().any(is_named)
    }
}

/// Reads a message from its first octet on.
#[derive(Debug)]
pub(super) struct Filter<'a> {
    fields: LeftOut<'a>,
    /// Beginning of a line that is not decided on.
    head: Vec<u8>,
    state: State,
    /// The field that the last line was of is left out.
    left_out: bool,
    /// Octets that were left out.
    removed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Beginning,
    Kept,
    LeftOut,
    Body,
}

impl<'a> Filter<'a> {
    pub(super) fn new(fields: LeftOut<'a>) -> Self {
        Self {
            fields,
            head: Vec::new(),
            state: State::Beginning,
            left_out: false,
            removed: 0,
        }
    }

    /// What is left of a piece.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut kept = Vec::with_capacity(piece.len() + self.head.len());
        for (at, octet) in piece.iter().enumerate() {
            if self.state == State::Body {
                kept.extend_from_slice(piece.get(at..).unwrap_or_default());
                return kept;
            }
            self.take(*octet, &mut kept);
        }
        kept
    }

    /// What is left at the end of the message.
    pub(super) fn end(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.head)
    }

    fn take(&mut self, octet: u8, kept: &mut Vec<u8>) {
        match self.state {
            State::Beginning => {
                self.head.push(octet);
                self.decide(octet, kept);
            }
            State::Kept | State::Body => kept.push(octet),
            State::LeftOut => self.removed += 1,
        }
        if octet == b'\n' && self.state != State::Body {
            self.state = State::Beginning;
        }
    }

    /// A line is decided on at its colon, or where it can have none of a field any more.
    fn decide(&mut self, octet: u8, kept: &mut Vec<u8>) {
        let is_folded = matches!(self.head.first(), Some(b' ' | b'\t'));
        if is_folded {
            // RFC 5322 section 2.2.3: it goes on with the field before.
        } else if octet == b':' {
            let name = self.head.split_last().map_or(&[][..], |(_, name)| name);
            self.left_out = self.fields.has(name.trim_ascii_end());
        } else if octet == b'\n' {
            self.left_out = false;
            if matches!(self.head.as_slice(), b"\n" | b"\r\n") {
                self.state = State::Body;
                kept.append(&mut self.head);
                return;
            }
        } else if self.head.len() < LONGEST_NAME {
            return;
        } else {
            self.left_out = false;
        }
        if self.left_out {
            self.removed += self.head.len() as u64;
            self.head.clear();
            self.state = State::LeftOut;
        } else {
            kept.append(&mut self.head);
            self.state = State::Kept;
        }
    }

    fn is_in_body(&self) -> bool {
        self.state == State::Body
    }
}

/// The message without those fields; none where it has none of them.
pub(super) fn without(octets: &[u8], fields: LeftOut<'_>) -> Option<Vec<u8>> {
    if removed_of(octets, fields) == 0 {
        return None;
    }
    let mut filter = Filter::new(fields);
    let mut kept = filter.feed(octets);
    kept.extend(filter.end());
    Some(kept)
}

fn removed_of(octets: &[u8], fields: LeftOut<'_>) -> u64 {
    let mut filter = Filter::new(fields);
    let mut unused = Vec::new();
    for octet in octets {
        if filter.is_in_body() {
            break;
        }
        filter.take(*octet, &mut unused);
        unused.clear();
    }
    filter.removed
}

/// Octets that are left out of a message in the spool: its header is read for it.
pub(super) async fn removed(spool: Spool, entry: EntryId, fields: LeftOut<'_>) -> io::Result<u64> {
    let mut pieces = body::read(spool, entry);
    let mut filter = Filter::new(fields);
    while let Some(piece) = pieces.recv().await {
        filter.feed(&piece?);
        if filter.is_in_body() {
            break;
        }
    }
    Ok(filter.removed)
}

/// A name is at most as long as a line (RFC 5322 section 2.1.1); those of providers are shorter.
const LONGEST_NAME: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lane: Option<Provider>) -> LeftOut<'static> {
        LeftOut {
            passing: Passing::Of(lane),
            names: &[],
        }
    }

    const MAIL: &[u8] = b"Subject: x\r\nX-SMTPAPI: {\"a\":\r\n  1}\r\nx-mailgun-tag : t\r\nTo: y\r\n folded\r\n\r\nX-SMTPAPI: body\r\n";

    fn text(lane: Option<Provider>) -> String {
        let left = without(MAIL, of(lane)).unwrap_or_else(|| MAIL.to_vec());
        String::from_utf8(left).unwrap()
    }

    #[test]
    fn a_field_goes_with_its_folded_lines_and_the_body_stays() {
        assert_eq!(
            text(None),
            "Subject: x\r\nTo: y\r\n folded\r\n\r\nX-SMTPAPI: body\r\n"
        );
        let mine = text(Some(Provider::SendGrid));
        assert!(
            mine.contains("X-SMTPAPI: {\"a\":\r\n  1}\r\n") && !mine.contains("mailgun"),
            "{mine}"
        );
        assert!(text(Some(Provider::Mailgun)).contains("x-mailgun-tag : t\r\n"));
    }

    #[test]
    fn fields_that_a_policy_names_go_from_all_mail() {
        let names = ["subject".to_owned(), "To".to_owned()];
        let fields = LeftOut {
            passing: Passing::All,
            names: &names,
        };
        let left = String::from_utf8(without(MAIL, fields).unwrap()).unwrap();
        assert!(
            left.starts_with("X-SMTPAPI") && left.contains("x-mailgun-tag"),
            "{left}"
        );
        assert!(!left.contains("Subject") && !left.contains("folded"), "{left}");
        let none = LeftOut { names: &[], ..fields };
        assert!(none.is_nothing() && without(MAIL, none).is_none());
    }

    #[test]
    fn it_does_not_matter_how_a_message_is_cut() {
        let whole = without(MAIL, of(None)).unwrap();
        for size in 1..MAIL.len() {
            let mut filter = Filter::new(of(None));
            let mut kept = vec![];
            for piece in MAIL.chunks(size) {
                kept.extend(filter.feed(piece));
            }
            kept.extend(filter.end());
            assert_eq!(kept, whole, "pieces of {size}");
            assert_eq!(filter.removed, (MAIL.len() - whole.len()) as u64);
        }
    }

    #[test]
    fn what_has_none_of_them_is_not_copied() {
        let long = [b"A".repeat(5_000), b": b\r\n\r\nX-MC-Tags: no\r\n".to_vec()].concat();
        for mail in [
            &b"Subject: x\r\n\r\nbody"[..],
            b"",
            b"no header\r\nat all",
            b"X-SES",
            &long,
        ] {
            assert_eq!(without(mail, of(None)), None, "{}", String::from_utf8_lossy(mail));
        }
        // An end within the header loses nothing.
        let mut filter = Filter::new(of(None));
        let mut kept = filter.feed(b"Subject: x\r\nX-SES");
        kept.extend(filter.end());
        assert_eq!(kept, b"Subject: x\r\nX-SES");
    }

    #[tokio::test]
    async fn of_a_stored_message_the_header_tells_how_much_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (spool, _) = Spool::open(dir.path(), &postroad_spool::Options::default()).unwrap();
        let mut incoming = spool.begin();
        incoming.write(MAIL).unwrap();
        let envelope = postroad_spool::Envelope {
            recipients: vec![postroad_spool::Recipient::default()],
            ..postroad_spool::Envelope::default()
        };
        let entry = incoming
            .commit(envelope, b"X-MC-Tags: a\r\n".to_vec())
            .await
            .unwrap();
        let gone = removed(spool, entry, of(None)).await.unwrap();
        let left = without(MAIL, of(None)).unwrap();
        assert_eq!(gone, (14 + MAIL.len() - left.len()) as u64);
    }
}
