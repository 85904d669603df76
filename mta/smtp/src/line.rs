//! Command lines: ended by CRLF and nothing else (RFC 5321 section 2.3.8).

use memchr::{memchr, memchr2};

/// What stands at the front of the input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A whole line without its CRLF.
    Whole(Vec<u8>),
    /// Not all of it is there yet.
    Partial,
    /// Longer than the limit. What came of it is dropped; the rest is dropped as it comes.
    TooLong,
    /// A CR or LF alone. RFC 5321 section 2.3.8 forbids them; who sends them is out of step with us.
    Bare,
}

/// Input that has not been used yet.
#[derive(Default)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    start: usize,
    /// The rest of a line that was too long is still to come.
    dropping: bool,
    /// The last octet that was dropped is a CR.
    dropped_cr: bool,
}

impl Input {
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.bytes.len());
        // Ten thousand clients that are silent must not hold what they once needed.
        if self.start == self.bytes.len() && self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
            self.start = 0;
        }
        // What is used must not pile up in front of what is not.
        if self.start > 64 << 10 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
        self.dropping = false;
        self.dropped_cr = false;
    }

    /// Takes one line of at most `limit` octets with its CRLF.
    pub fn line(&mut self, limit: usize) -> Line {
        let rest = self.rest();
        if self.dropping {
            return self.drop_line();
        }
        let Some(at) = memchr2(b'\r', b'\n', rest) else {
            return if rest.len() >= limit {
                self.too_long()
            } else {
                Line::Partial
            };
        };
        if at + 2 > limit {
            return self.too_long();
        }
        if rest[at] == b'\n' {
            return Line::Bare;
        }
        match rest.get(at + 1) {
            None => Line::Partial,
            Some(b'\n') => {
                let line = rest[..at].to_vec();
                self.consume(at + 2);
                Line::Whole(line)
            }
            Some(_) => Line::Bare,
        }
    }

    fn too_long(&mut self) -> Line {
        self.dropping = true;
        self.drop_line()
    }

    fn drop_line(&mut self) -> Line {
        let rest = self.rest();
        let Some(at) = memchr(b'\n', rest) else {
            let count = rest.len();
            self.dropped_cr = rest.last().map_or(self.dropped_cr, |last| *last == b'\r');
            self.consume(count);
            return Line::Partial;
        };
        let after_cr = if at == 0 {
            self.dropped_cr
        } else {
            rest[at - 1] == b'\r'
        };
        self.consume(at + 1);
        self.dropping = false;
        self.dropped_cr = false;
        if after_cr { Line::TooLong } else { Line::Bare }
    }
}

/// Room that is kept while nothing waits.
const KEPT: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]], limit: usize) -> Vec<Line> {
        let mut input = Input::default();
        let mut found = Vec::new();
        for piece in pieces {
            input.feed(piece);
            loop {
                match input.line(limit) {
                    Line::Partial => break,
                    Line::Bare => {
                        found.push(Line::Bare);
                        return found;
                    }
                    line => found.push(line),
                }
            }
        }
        found
    }

    #[test]
    fn only_crlf_ends_a_line() {
        assert_eq!(
            lines(&[b"NO", b"OP\r", b"\nX\r\n"], 512),
            [Line::Whole(b"NOOP".into()), Line::Whole(b"X".into())]
        );
        assert_eq!(lines(&[b"NOOP\nX\r\n"], 512), [Line::Bare]);
        assert_eq!(lines(&[b"NO\rOP\r\n"], 512), [Line::Bare]);
    }

    #[test]
    fn a_long_line_is_one_refusal_however_it_comes() {
        let long = vec![b'a'; 600];
        assert_eq!(
            lines(&[&long, b"bbb\r\nNOOP\r\n"], 512),
            [Line::TooLong, Line::Whole(b"NOOP".into())]
        );
        let mut whole = long.clone();
        whole.extend_from_slice(b"\r\n");
        assert_eq!(lines(&[&whole], 512), [Line::TooLong]);
        assert_eq!(lines(&[&[b'a'; 510], b"\r\n"], 512).len(), 1);
        assert_eq!(
            lines(&[&long, b"\nRSET\r\n"], 512),
            [Line::Bare],
            "an LF alone ends nothing"
        );
        assert_eq!(
            lines(&[&long, b"\r", b"\nRSET\r\n"], 512),
            [Line::TooLong, Line::Whole(b"RSET".into())]
        );
    }
}
