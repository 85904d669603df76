//! What must be known of a message's header while it streams past: nothing is held but a few fields.
//!
//! ```text
//!   octets in pieces of any size ─► HeaderScan::feed ─► (empty line) ─► Findings
//! ```
//!
//! The body is not looked at. A message without an empty line is all header; one that begins with a folded line has none. A line that is no
//! field ends it as far as anything is found there; fields behind such a line count all the same up to the empty line, as others read on.

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each field is there or not, by itself"
)]
pub struct Findings {
    /// Received fields (RFC 5321 section 6.3 counts them against loops).
    pub received: usize,
    /// Who wrote them, by their `by` (RFC 5321 section 4.4), in lower case; the first [`MOST_HOPS`] of them.
    pub hops: Vec<String>,
    /// A Date field is there.
    pub date: bool,
    /// A Message-ID field is there.
    pub message_id: bool,
    /// A Sender field is there.
    pub sender: bool,
    /// Addresses of Delivered-To fields (RFC 9228), in lower case; the first [`MOST_HOPS`] of them.
    pub delivered_to: Vec<String>,
    /// The body of each From field, unfolded.
    pub from: Vec<String>,
    /// It begins with a folded line, which belongs to no field: all of it is body (see [`begins_folded`]).
    pub headless: bool,
    /// Octets of the header.
    pub size: usize,
    /// Something that ends the message: see [`Fault`].
    pub fault: Option<Fault>,
}

/// Whether a message begins in the middle of a field (RFC 5322 section 2.2.3). Below our fields its first line would go on with
/// the last of them, so an empty line is put before it: its header is ours alone, for us and for who reads it later.
pub fn begins_folded(message: &[u8]) -> bool {
    matches!(message.first(), Some(b' ' | b'\t'))
}

/// A header that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Larger than a header may be.
    TooLarge,
    /// A From field larger than is looked at: its addresses could not be judged.
    FromTooLarge,
}

/// Scans a header in pieces.
#[derive(Debug, Default)]
pub struct HeaderScan {
    found: Findings,
    line: Vec<u8>,
    /// Octets of the present line that were not kept.
    skipped: bool,
    field: Field,
    /// Fields so far.
    fields: usize,
    /// A line was no field: nothing is found any more.
    broken: bool,
    done: bool,
}

/// The field that a folded line would go on with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Field {
    #[default]
    Other,
    From,
    Received,
}

impl HeaderScan {
    /// A scan before the first octet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next octets, after dots were unstuffed.
    pub fn feed(&mut self, mut octets: &[u8]) {
        if self.found.size == 0 && begins_folded(octets) {
            self.found.headless = true;
            self.done = true;
        }
        while !self.done && !octets.is_empty() {
            let end = octets.iter().position(|octet| *octet == b'\n');
            let (piece, rest) = octets.split_at(end.map_or(octets.len(), |at| at + 1));
            self.found.size += if self.broken { 0 } else { piece.len() };
            let room = MOST_LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            self.skipped |= piece.len() > room;
            if end.is_some() {
                self.line_ended();
            }
            if self.found.size > MOST_HEADER {
                self.found.fault.get_or_insert(Fault::TooLarge);
                self.done = true;
            }
            octets = rest;
        }
    }

    /// Whether the header has ended: more octets change nothing.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// It is refused, whatever may follow.
    pub fn is_too_large(&self) -> bool {
        self.found.fault == Some(Fault::TooLarge)
    }

    /// What was found. Call it at the end of the header or of the message.
    pub fn finish(mut self) -> Findings {
        if !self.done && !self.line.is_empty() {
            self.line_ended();
        }
        self.found
    }

    fn line_ended(&mut self) {
        let taken = std::mem::take(&mut self.line);
        let skipped = std::mem::take(&mut self.skipped);
        let line = taken.strip_suffix(b"\n").unwrap_or(&taken);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line.first() {
            None => self.done = true,
            Some(b' ' | b'\t') => self.folded(line, skipped),
            Some(_) => self.started(line, skipped),
        }
    }

    fn started(&mut self, line: &[u8], skipped: bool) {
        self.field = Field::Other;
        let colon = line.iter().position(|octet| *octet == b':');
        self.fields += usize::from(colon.is_some());
        if self.fields > MOST_FIELDS {
            self.found.fault.get_or_insert(Fault::TooLarge);
            self.done = true;
            return;
        }
        let Some(colon) = colon.filter(|_| !self.broken) else {
            // No field, or behind one that is none: the body has begun without an empty line before it.
            self.broken = true;
            return;
        };
        // Obsolete syntax allows white space before the colon (RFC 5322 section 4.5).
        let name = line[..colon].trim_ascii_end();
        if name.eq_ignore_ascii_case(b"received") {
            self.found.received += 1;
            self.field = Field::Received;
            self.hop(&line[colon + 1..]);
        } else if name.eq_ignore_ascii_case(b"date") {
            self.found.date = true;
        } else if name.eq_ignore_ascii_case(b"message-id") {
            self.found.message_id = true;
        } else if name.eq_ignore_ascii_case(b"sender") {
            self.found.sender = true;
        } else if name.eq_ignore_ascii_case(b"delivered-to") {
            self.delivered_to(&line[colon + 1..]);
        } else if name.eq_ignore_ascii_case(b"from") {
            self.field = Field::From;
            self.found.from.push(String::new());
            self.from(&line[colon + 1..], skipped);
        }
    }

    fn folded(&mut self, line: &[u8], skipped: bool) {
        match self.field {
            Field::From => self.from(line, skipped),
            Field::Received => self.hop(line),
            Field::Other => {}
        }
    }

    /// The word behind `by`, where this line of the field has it.
    fn hop(&mut self, line: &[u8]) {
        let mut words = line
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        if words.any(|word| word.eq_ignore_ascii_case(b"by"))
            && let Some(name) = words.next()
            && self.found.hops.len() < MOST_HOPS
            && name.len() <= 255
        {
            let name = String::from_utf8_lossy(name.strip_suffix(b";").unwrap_or(name));
            self.found.hops.push(name.to_ascii_lowercase());
        }
    }

    fn delivered_to(&mut self, body: &[u8]) {
        let address = body.trim_ascii();
        let address = address.strip_prefix(b"<").unwrap_or(address);
        let address = address.strip_suffix(b">").unwrap_or(address);
        if self.found.delivered_to.len() < MOST_HOPS && address.len() <= 320 {
            let address = String::from_utf8_lossy(address);
            self.found.delivered_to.push(address.to_ascii_lowercase());
        }
    }

    fn from(&mut self, text: &[u8], skipped: bool) {
        let total: usize = self.found.from.iter().map(String::len).sum();
        if skipped || total + text.len() > MOST_FROM {
            self.found.fault.get_or_insert(Fault::FromTooLarge);
        } else if let Some(from) = self.found.from.last_mut() {
            from.push_str(&String::from_utf8_lossy(text));
        }
    }
}

/// Hops whose names are kept; more are a loop anyway.
const MOST_HOPS: usize = 101;
/// Kept of one line; RFC 5321 section 4.5.3.1.6 allows 1000.
const MOST_LINE: usize = 64 << 10;
const MOST_FROM: usize = 64 << 10;
/// Beyond any header of real mail; protects what reads it later.
const MOST_HEADER: usize = 1 << 20;
/// The same of the number of fields.
const MOST_FIELDS: usize = 5_000;

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"Received: a\r\n by b\r\nreceived : c\r\nFROM: Ann\r\n\t<ann@example.com>\r\n\
        Date: now\r\nSubject: x\r\n From: not a field\r\n\r\nMessage-ID: in the body\r\nFrom: body\r\n";

    fn scan<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Findings {
        let mut scan = HeaderScan::new();
        for piece in pieces {
            scan.feed(piece);
        }
        scan.finish()
    }

    #[test]
    fn fields_are_found_in_the_header_alone() {
        let found = scan([MESSAGE]);
        assert_eq!(found.received, 2);
        assert!(found.date && !found.message_id);
        assert_eq!(found.from, [" Ann\t<ann@example.com>"]);
        assert_eq!(found.fault, None);
    }

    #[test]
    fn every_way_of_cutting_it_finds_the_same() {
        let whole = scan([MESSAGE]);
        for cut in 0..=MESSAGE.len() {
            let (a, b) = MESSAGE.split_at(cut);
            assert_eq!(scan([a, b]), whole, "cut at {cut}");
        }
        assert_eq!(scan(MESSAGE.chunks(1)), whole);
    }

    #[test]
    fn what_is_too_large_is_said() {
        let long = format!("From: {}\r\n\r\n", "a".repeat(MOST_FROM + 1));
        assert_eq!(scan([long.as_bytes()]).fault, Some(Fault::FromTooLarge));
        let huge = format!("X: {}\r\n", "a".repeat(MOST_HEADER));
        assert_eq!(scan([huge.as_bytes()]).fault, Some(Fault::TooLarge));
        let many = |count| scan([format!("{}\r\n", "X: y\r\n".repeat(count)).as_bytes()]).fault;
        assert_eq!(many(MOST_FIELDS), None);
        assert_eq!(many(MOST_FIELDS + 1), Some(Fault::TooLarge));
    }

    /// Who verifies and who seals reads on behind a line that is no field, up to the empty line.
    #[test]
    fn the_number_of_fields_is_bounded_behind_a_line_that_is_none() {
        let scanned = |first: &str, count: usize, last: &str| {
            let text = format!("{first}{}{last}", "a:\r\n".repeat(count));
            let whole = scan([text.as_bytes()]);
            assert_eq!(scan(text.as_bytes().chunks(7)), whole);
            whole.fault
        };
        let broken = "no field\r\n";
        for last in ["", "\r\n", "b", "\r\na: body\r\n"] {
            assert_eq!(scanned(broken, MOST_FIELDS, last), None, "{last:?}");
        }
        assert_eq!(scanned(broken, MOST_FIELDS + 1, "\r\n"), Some(Fault::TooLarge));
        assert_eq!(scanned(broken, MOST_FIELDS, "b:"), Some(Fault::TooLarge));
        // Text without a header: its lines are no fields, and its octets no header.
        let prose = format!("{broken}{}", "words and words\r\n".repeat(MOST_FIELDS * 20));
        let found = scan([prose.as_bytes()]);
        assert_eq!((found.fault, found.size), (None, broken.len()));
        let after = scan([format!("{broken}From: b\r\nReceived: c\r\n d\r\nDate: e\r\n\r\n").as_bytes()]);
        let nothing = Findings {
            size: broken.len(),
            ..Findings::default()
        };
        assert_eq!(after, nothing);
    }

    #[test]
    fn who_wrote_the_trace_is_seen_folded_or_not() {
        let header =
            "Received: from a by MX.example; x\r\nReceived: from b\r\n\tby mx.example (x)\r\nX: by c\r\n\r\n";
        assert_eq!(scan([header.as_bytes()]).hops, ["mx.example", "mx.example"]);
    }

    #[test]
    fn where_it_was_delivered_and_who_sent_it_is_seen() {
        let header = "Delivered-To: Bob@example.com\r\ndelivered-to:<carol@example.com>\r\nSender: x@example.com\r\n\r\n\
                      Delivered-To: body@example.com\r\n";
        let found = scan([header.as_bytes()]);
        assert_eq!(found.delivered_to, ["bob@example.com", "carol@example.com"]);
        assert!(found.sender && !scan([MESSAGE]).sender);
    }

    #[test]
    fn a_header_may_end_without_an_empty_line() {
        assert_eq!(scan([b"From: a@x.example".as_slice()]).from, [" a@x.example"]);
        assert_eq!(
            scan([b"no field at all\r\nFrom: b\r\n".as_slice()]).from,
            Vec::<String>::new()
        );
        assert_eq!(scan([]), Findings::default());
    }

    #[test]
    fn a_message_that_begins_with_a_folded_line_has_no_header() {
        for message in [
            " folded\r\nReceived: a\r\nFrom: b\r\n\r\n",
            "\t\r\nDate: c\r\n",
            " ",
        ] {
            for piece in 1..=message.len() {
                let found = scan(message.as_bytes().chunks(piece));
                let headless = Findings {
                    headless: true,
                    ..Findings::default()
                };
                assert_eq!(found, headless, "{message:?}");
            }
        }
    }
}
