//! Bodies on their way out: no CR, LF or zero octet alone ever leaves, and dots are stuffed for DATA.

use memchr::memchr3;

use crate::endings::Fault;

/// Writes one body.
pub(super) struct BodyWriter {
    /// Dots are stuffed (DATA); otherwise the octets are counted (BDAT).
    stuffed: bool,
    line_start: bool,
    /// A CR waits for its LF: it is not sent before.
    after_cr: bool,
    /// The last octet of a counted body: a chunk is whole with it, so that it waits for the end.
    held: Option<u8>,
}

impl BodyWriter {
    /// For DATA.
    pub fn stuffed() -> Self {
        Self {
            stuffed: true,
            line_start: true,
            after_cr: false,
            held: None,
        }
    }

    /// For a chunk of known length.
    pub fn counted() -> Self {
        Self {
            stuffed: false,
            ..Self::stuffed()
        }
    }

    /// Writes a piece. After a fault nothing of the piece may be sent.
    pub fn write(&mut self, mut piece: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        if self.after_cr && !piece.is_empty() {
            if piece[0] != b'\n' {
                return Err(Fault::BareCr);
            }
            out.extend_from_slice(b"\r\n");
            (self.after_cr, self.line_start) = (false, true);
            piece = &piece[1..];
        }
        while !piece.is_empty() {
            // RFC 5321 section 4.5.2.
            if self.stuffed && self.line_start && piece[0] == b'.' {
                out.push(b'.');
            }
            let Some(at) = memchr3(b'\r', b'\n', 0, piece) else {
                out.extend_from_slice(piece);
                self.line_start = false;
                return Ok(());
            };
            match (piece[at], piece.get(at + 1)) {
                (b'\r', Some(b'\n')) => {
                    out.extend_from_slice(&piece[..at + 2]);
                    self.line_start = true;
                    piece = &piece[at + 2..];
                }
                (b'\r', None) => {
                    out.extend_from_slice(&piece[..at]);
                    self.line_start &= at == 0;
                    self.after_cr = true;
                    return Ok(());
                }
                (b'\r', Some(_)) => return Err(Fault::BareCr),
                (b'\n', _) => return Err(Fault::BareLf),
                _ => return Err(Fault::Nul),
            }
        }
        Ok(())
    }

    /// All octets are written: a counted body keeps the last one back, so that the peer has no message before
    /// [`BodyWriter::end`] says so.
    pub fn hold_last(&mut self, out: &mut Vec<u8>) {
        if !self.stuffed && !self.after_cr && self.held.is_none() {
            self.held = out.pop();
        }
    }

    /// Ends the body.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        if self.after_cr {
            return Err(Fault::BareCr);
        }
        if self.stuffed {
            // RFC 5321 section 4.1.1.4: the CRLF of the last line is the one before the dot.
            let end: &[u8] = if self.line_start { b".\r\n" } else { b"\r\n.\r\n" };
            out.extend_from_slice(end);
        }
        out.extend(self.held.take());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::endings::DataReader;

    fn write(mut writer: BodyWriter, pieces: &[&[u8]]) -> Result<Vec<u8>, Fault> {
        let mut out = Vec::new();
        for piece in pieces {
            writer.write(piece, &mut out)?;
        }
        writer.end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn dots_and_the_end() {
        for (body, sent) in [
            (&b""[..], &b".\r\n"[..]),
            (b"a\r\n", b"a\r\n.\r\n"),
            (b"a", b"a\r\n.\r\n"),
            (b".", b"..\r\n.\r\n"),
            (b".\r\n..\r\n", b"..\r\n...\r\n.\r\n"),
            (b"\r\n.\r\n", b"\r\n..\r\n.\r\n"),
        ] {
            assert_eq!(write(BodyWriter::stuffed(), &[body]).unwrap(), sent);
        }
        assert_eq!(write(BodyWriter::counted(), &[b".\r\n"]).unwrap(), b".\r\n");
    }

    #[test]
    fn what_smtp_cannot_carry_is_refused() {
        for (body, fault) in [
            (&b"a\nb"[..], Fault::BareLf),
            (b"a\rb", Fault::BareCr),
            (b"a\r", Fault::BareCr),
            (b"a\0", Fault::Nul),
            (b"\r\r\n", Fault::BareCr),
        ] {
            for split in 0..=body.len() {
                assert_eq!(
                    write(BodyWriter::stuffed(), &[&body[..split], &body[split..]]),
                    Err(fault),
                    "{body:?}"
                );
                assert_eq!(
                    write(BodyWriter::counted(), &[&body[..split], &body[split..]]),
                    Err(fault),
                    "{body:?}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            words in proptest::collection::vec(prop_oneof![Just("\r\n"), Just("."), Just("a"), Just("..")], 0..30),
            at in 0_usize..60,
        ) {
            let mut body = words.concat().into_bytes();
            let at = at.min(body.len());
            let sent = write(BodyWriter::stuffed(), &[&body[..at], &body[at..]]).unwrap();
            let mut read = Vec::new();
            let mut reader = DataReader::default();
            prop_assert_eq!(reader.feed(&sent, &mut read), (sent.len(), true));
            if !body.is_empty() && !body.ends_with(b"\r\n") {
                body.extend_from_slice(b"\r\n");
            }
            prop_assert_eq!(read, body);
            prop_assert!(reader.fault.is_none());
        }
    }
}
