//! Where a header ends, while a message streams past. The header is held, the body is not.

/// Holds a header until it ends.
#[derive(Debug, Default)]
pub struct Splitter {
    held: Vec<u8>,
    /// Where the present line begins.
    line: usize,
    /// Up to here no line ends.
    seen: usize,
}

/// A header that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// The fields, with their line ends.
    pub header: Vec<u8>,
    /// What ends it: an empty line, or nothing.
    pub end: Vec<u8>,
    /// The first octets of the body.
    pub body: Vec<u8>,
}

impl Splitter {
    /// Before the first octet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Octets that are held.
    pub fn held(&self) -> usize {
        self.held.capacity()
    }

    /// Octets that will be held with so many more.
    pub fn will_hold(&self, more: usize) -> usize {
        let (held, needed) = (self.held.capacity(), self.held.len() + more);
        if needed <= held {
            held
        } else {
            needed.next_multiple_of(STEP)
        }
    }

    /// Takes the next octets. Some: the header has ended with them.
    pub fn feed(&mut self, octets: &[u8]) -> Option<Split> {
        let more = self.will_hold(octets.len()).saturating_sub(self.held.len());
        self.held.reserve_exact(more);
        self.held.extend_from_slice(octets);
        while let Some(at) = memchr::memchr(b'\n', self.held.get(self.seen..)?) {
            let end = self.seen + at + 1;
            self.seen = end;
            if let Some(split) = self.line_ended(end) {
                return Some(split);
            }
            self.line = end;
        }
        self.seen = self.held.len();
        None
    }

    /// The message has ended with its header.
    pub fn finish(mut self) -> Split {
        let end = self.held.len();
        if end > self.line
            && let Some(split) = self.line_ended(end)
        {
            return split;
        }
        Split {
            header: self.held,
            ..Split::default()
        }
    }

    /// Judges the line up to there.
    fn line_ended(&mut self, end: usize) -> Option<Split> {
        let line = self.held.get(self.line..end)?;
        let is_empty = matches!(line, b"\r\n" | b"\n");
        let is_folded = self.line > 0 && matches!(line.first(), Some(b' ' | b'\t'));
        if !is_empty && (is_folded || is_field(line)) {
            return None;
        }
        // A line that is no field: the body has begun without an empty line before it.
        let mut header = std::mem::take(&mut self.held);
        let mut rest = header.split_off(self.line);
        let body = rest.split_off(if is_empty { end - self.line } else { 0 });
        Some(Split {
            header,
            end: rest,
            body,
        })
    }
}

/// The first line of a message may not be folded: it would belong to no field.
fn is_field(line: &[u8]) -> bool {
    !matches!(line.first(), Some(b' ' | b'\t')) && line.contains(&b':')
}

/// A header is held in steps of this size.
const STEP: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn split(message: &[u8], piece: usize) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let mut splitter = Splitter::new();
        let mut pieces = message.chunks(piece);
        let mut found = None;
        while found.is_none()
            && let Some(piece) = pieces.next()
        {
            found = splitter.feed(piece);
        }
        let mut found = found.unwrap_or_else(|| splitter.finish());
        pieces.for_each(|piece| found.body.extend_from_slice(piece));
        (found.header, found.end, found.body)
    }

    #[test]
    fn a_header_ends_at_the_empty_line_or_before_what_is_no_field() {
        for (header, end, body) in [
            ("A: b\r\n c\r\nD: e\r\n", "\r\n", "body\r\n\r\nmore"),
            ("", "\r\n", "body\r\n"),
            ("A: b\r\n", "", "no field\r\nB: c\r\n\r\n"),
            ("", "", " folded\r\nA: b\r\n\r\n"),
            ("", "", "no field"),
            ("A: b\r\nC: d", "", ""),
            ("A: b\r\n", "\r\n", ""),
            ("A: b\r\n", "", ""),
            ("", "", ""),
        ] {
            let message = [header, end, body].concat();
            let want = (header.into(), end.into(), body.into());
            for piece in 1..=message.len().max(1) {
                assert_eq!(split(message.as_bytes(), piece), want, "{message:?} in {piece}");
            }
        }
    }
}
