//! Replies of a peer (RFC 5321 section 4.2), read with distrust.
//!
//! Bounded in the line and in the whole; only CRLF ends a line. The text is kept as printable characters only, so that
//! it can go into logs and notices as it is.

use memchr::memchr2;

/// A reply of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerReply {
    code: u16,
    enhanced: Option<(u8, u16, u16)>,
    lines: Vec<String>,
}

impl PeerReply {
    /// A reply that no peer gave, for failures that are told like one.
    pub fn made(code: u16, enhanced: (u8, u16, u16), text: impl Into<String>) -> Self {
        Self {
            code,
            enhanced: Some(enhanced),
            lines: vec![text.into()],
        }
    }

    /// The reply code, 200 to 599.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced status code (RFC 2034), where the peer gave one of the same class.
    pub fn enhanced(&self) -> Option<(u8, u16, u16)> {
        self.enhanced
    }

    /// The lines of text without codes: printable characters only, at least one line, which may be empty.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The text in one line.
    pub fn text(&self) -> String {
        self.lines.join(" ")
    }

    /// 2yz.
    pub fn is_positive(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// 5yz.
    pub fn is_permanent(&self) -> bool {
        self.code >= 500
    }
}

impl std::fmt::Display for PeerReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some((class, subject, detail)) = self.enhanced {
            write!(f, " {class}.{subject}.{detail}")?;
        }
        for line in self.lines.iter().filter(|line| !line.is_empty()) {
            write!(f, " {line}")?;
        }
        Ok(())
    }
}

/// Why octets of a peer are no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A line is longer than 2048 octets.
    #[error("a line of the reply is too long")]
    LineTooLong,
    /// A reply is longer than 64 KiB or 512 lines.
    #[error("the reply is too long")]
    TooLong,
    /// CR or LF alone.
    #[error("a line of the reply does not end with CR LF")]
    BareEnding,
    /// Does not begin with a code of 2yz to 5yz.
    #[error("the reply has no valid code")]
    Code,
    /// Two lines of one reply have different codes.
    #[error("the lines of the reply have different codes")]
    Mismatch,
}

/// Reads replies out of octets that come in any pieces.
#[derive(Default)]
pub(super) struct ReplyReader {
    input: Vec<u8>,
    start: usize,
    /// The reply so far.
    code: Option<u16>,
    lines: Vec<String>,
    octets: usize,
}

impl ReplyReader {
    pub fn feed(&mut self, octets: &[u8]) {
        if self.start == self.input.len() {
            self.input.clear();
            self.start = 0;
        } else if self.start > MOST_OCTETS {
            self.input.drain(..self.start);
            self.start = 0;
        }
        self.input.extend_from_slice(octets);
    }

    /// Whether octets are left that no reply has used.
    pub fn has_rest(&self) -> bool {
        self.start < self.input.len()
    }

    /// Whether a reply has begun and not ended.
    pub fn is_amid(&self) -> bool {
        self.has_rest() || self.code.is_some()
    }

    /// Octets that wait. A peer that talks without being asked is cut off by them.
    pub fn waiting(&self) -> usize {
        self.input.len() - self.start
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes the next reply; `None` when not all of it is there.
    pub fn next(&mut self) -> Result<Option<PeerReply>, ReplyError> {
        loop {
            let rest = &self.input[self.start..];
            let Some(at) = memchr2(b'\r', b'\n', rest) else {
                return if rest.len() >= MOST_LINE {
                    Err(ReplyError::LineTooLong)
                } else {
                    Ok(None)
                };
            };
            if at + 2 > MOST_LINE {
                return Err(ReplyError::LineTooLong);
            }
            match (rest[at], rest.get(at + 1)) {
                (b'\r', None) => return Ok(None),
                (b'\r', Some(b'\n')) => {}
                _ => return Err(ReplyError::BareEnding),
            }
            let (code, last, text) = split(&rest[..at])?;
            let text = printable(text);
            self.start += at + 2;
            self.octets += at + 2;
            if self.code.is_some_and(|first| first != code) {
                return Err(ReplyError::Mismatch);
            }
            if self.octets > MOST_OCTETS || self.lines.len() >= MOST_LINES {
                return Err(ReplyError::TooLong);
            }
            self.code = Some(code);
            self.lines.push(text);
            if last {
                self.code = None;
                self.octets = 0;
                return Ok(Some(finish(code, std::mem::take(&mut self.lines))));
            }
        }
    }
}

/// Code, whether it is the last line, text. A code alone is a last line (RFC 5321 section 4.2.1).
fn split(line: &[u8]) -> Result<(u16, bool, &[u8]), ReplyError> {
    let (&[a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9'], rest) =
        line.split_first_chunk().ok_or(ReplyError::Code)?
    else {
        return Err(ReplyError::Code);
    };
    let code = [a, b, c]
        .iter()
        .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    match rest.split_first() {
        None => Ok((code, true, rest)),
        Some((b' ', text)) => Ok((code, true, text)),
        Some((b'-', text)) => Ok((code, false, text)),
        Some(_) => Err(ReplyError::Code),
    }
}

fn printable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Takes the enhanced status code off each line (RFC 2034 section 3).
fn finish(code: u16, mut lines: Vec<String>) -> PeerReply {
    let enhanced = lines
        .first()
        .and_then(|line| enhanced(code, line))
        .map(|(status, _)| status);
    if enhanced.is_some() {
        for line in &mut lines {
            if let Some((status, length)) = self::enhanced(code, line)
                && Some(status) == enhanced
            {
                line.drain(..length);
            }
        }
    }
    PeerReply {
        code,
        enhanced,
        lines,
    }
}

/// `class.subject.detail` of the code's class in front of a text, and its length with the space behind it.
fn enhanced(code: u16, text: &str) -> Option<((u8, u16, u16), usize)> {
    let word = text.split(' ').next()?;
    let mut parts = word.split('.');
    let class: u8 = number(parts.next()?, 1)?.try_into().ok()?;
    let subject = number(parts.next()?, 3)?;
    let detail = number(parts.next()?, 3)?;
    if parts.next().is_some() || u16::from(class) != code / 100 || class == 3 {
        return None;
    }
    let length = word.len() + usize::from(word.len() < text.len());
    Some(((class, subject, detail), length))
}

fn number(text: &str, digits: usize) -> Option<u16> {
    let plain = (1..=digits).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// RFC 5321 section 4.5.3.1.5 says 512; some peers say more.
const MOST_LINE: usize = 2_048;
const MOST_LINES: usize = 512;
const MOST_OCTETS: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(octets: &[u8]) -> Result<Vec<PeerReply>, ReplyError> {
        read_pieces(&[octets])
    }

    fn read_pieces(pieces: &[&[u8]]) -> Result<Vec<PeerReply>, ReplyError> {
        let mut reader = ReplyReader::default();
        let mut found = Vec::new();
        for piece in pieces {
            reader.feed(piece);
            while let Some(reply) = reader.next()? {
                found.push(reply);
            }
        }
        Ok(found)
    }

    #[test]
    fn replies_and_what_they_say() {
        for (octets, code, enhanced, text) in [
            (&b"250 ok\r\n"[..], 250, None, "ok"),
            (b"250\r\n", 250, None, ""),
            (b"250 \r\n", 250, None, ""),
            (b"250-a\r\n250 b\r\n", 250, None, "a b"),
            (
                b"550 5.1.1 no such user\r\n",
                550,
                Some((5, 1, 1)),
                "no such user",
            ),
            (b"550 5.1.1\r\n", 550, Some((5, 1, 1)), ""),
            (b"550-5.7.1 a\r\n550 5.7.1 b\r\n", 550, Some((5, 7, 1)), "a b"),
            (
                b"450 5.1.1 of another class\r\n",
                450,
                None,
                "5.1.1 of another class",
            ),
            (b"550 5.1.1234 x\r\n", 550, None, "5.1.1234 x"),
            (
                b"550 8 bit \xff and \x07 bell\r\n",
                550,
                None,
                "8 bit \u{fffd} and   bell",
            ),
            (b"571 5.7.1 x\r\n", 571, Some((5, 7, 1)), "x"),
        ] {
            let found = read(octets).unwrap();
            assert_eq!(found.len(), 1, "{octets:?}");
            assert_eq!(
                (found[0].code(), found[0].enhanced(), found[0].text().as_str()),
                (code, enhanced, text)
            );
        }
    }

    #[test]
    fn what_is_no_reply() {
        for (octets, error) in [
            (&b"250 ok\n"[..], ReplyError::BareEnding),
            (b"250 o\rk\r\n", ReplyError::BareEnding),
            (b"999 ok\r\n", ReplyError::Code),
            (b"099 ok\r\n", ReplyError::Code),
            (b"150 ok\r\n", ReplyError::Code),
            (b"25 ok\r\n", ReplyError::Code),
            (b"2500 ok\r\n", ReplyError::Code),
            (b"\r\n", ReplyError::Code),
            (b"5.7.2\r\n", ReplyError::Code),
            (b"hello\r\n", ReplyError::Code),
            (b"250-a\r\n251 b\r\n", ReplyError::Mismatch),
        ] {
            assert_eq!(read(octets), Err(error), "{octets:?}");
        }
        assert_eq!(read(&[b'2'; 3_000]), Err(ReplyError::LineTooLong));
        assert_eq!(read(&b"250-a\r\n".repeat(600)), Err(ReplyError::TooLong));
        let long = [&b"250-"[..], &[b'a'; 1_000], b"\r\n"].concat();
        assert_eq!(read(&long.repeat(70)), Err(ReplyError::TooLong));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter_and_nothing_panics(
            words in proptest::collection::vec(
                prop_oneof![Just("250"), Just("-"), Just(" "), Just("5.1.1"), Just("\r\n"), Just("\r"), Just("\n"), Just("x"), Just("550 5.")],
                0..30,
            ),
            at in 0_usize..80,
        ) {
            let octets = words.concat().into_bytes();
            let at = at.min(octets.len());
            prop_assert_eq!(read(&octets), read_pieces(&[&octets[..at], &octets[at..]]));
        }
    }
}
