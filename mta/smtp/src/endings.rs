//! Bodies: strict line endings, and the end of DATA (RFC 5321 sections 2.3.8 and 4.5.2).
//!
//! Only CR LF `.` CR LF ends DATA. A CR, LF or NUL that stands alone spoils the message, but the reading goes on to the
//! real end, so that the session stays in step and no part of a body is ever run as a command.

use memchr::memchr3;

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// CR without LF.
    BareCr,
    /// LF without CR.
    BareLf,
    /// An octet of zero.
    Nul,
}

/// Reads a body of DATA: takes the dots off and finds the end.
#[derive(Default)]
pub(crate) struct DataReader {
    place: Place,
    pub fault: Option<Fault>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    LineStart,
    InLine,
    Cr,
    Dot,
    DotCr,
}

impl DataReader {
    /// Takes octets; gives how many were used and whether the end was among them. The body goes to `out`.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> (usize, bool) {
        let mut at = 0;
        while let Some(&octet) = input.get(at) {
            match (self.place, octet) {
                (Place::LineStart, b'.') => self.place = Place::Dot,
                (Place::DotCr, b'\n') => {
                    self.place = Place::LineStart;
                    return (at + 1, true);
                }
                (Place::Dot, b'\r') => self.place = Place::DotCr,
                (Place::Cr, b'\n') => {
                    out.extend_from_slice(b"\r\n");
                    self.place = Place::LineStart;
                }
                (Place::Cr | Place::DotCr, _) => {
                    self.fault.get_or_insert(Fault::BareCr);
                    out.push(b'\r');
                    self.place = Place::InLine;
                    continue;
                }
                // A dot before anything else on the line is the sender's stuffing.
                (Place::LineStart | Place::Dot, _) => {
                    self.place = Place::InLine;
                    continue;
                }
                (Place::InLine, _) => {
                    at += self.in_line(&input[at..], out);
                    continue;
                }
            }
            at += 1;
        }
        (at, false)
    }

    /// Copies up to the next octet that matters, and takes that one. At least one octet.
    fn in_line(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let Some(at) = memchr3(b'\r', b'\n', 0, input) else {
            out.extend_from_slice(input);
            return input.len();
        };
        out.extend_from_slice(&input[..at]);
        match input[at] {
            b'\r' => self.place = Place::Cr,
            b'\n' => {
                self.fault.get_or_insert(Fault::BareLf);
                out.push(b'\n');
            }
            _ => {
                self.fault.get_or_insert(Fault::Nul);
                out.push(0);
            }
        }
        at + 1
    }
}

/// Checks a body that comes in counted pieces (BDAT, RFC 3030), and one that we are about to send.
#[derive(Default)]
pub(crate) struct EndingCheck {
    after_cr: bool,
    pub fault: Option<Fault>,
}

impl EndingCheck {
    pub fn feed(&mut self, input: &[u8]) {
        let mut at = 0;
        if self.after_cr
            && let Some(&first) = input.first()
        {
            self.after_cr = false;
            if first == b'\n' {
                at = 1;
            } else {
                self.fault.get_or_insert(Fault::BareCr);
            }
        }
        while at < input.len() {
            let Some(found) = memchr3(b'\r', b'\n', 0, &input[at..]) else {
                return;
            };
            at += found;
            match (input[at], input.get(at + 1)) {
                (b'\r', Some(b'\n')) => {
                    at += 1;
                }
                (b'\r', None) => self.after_cr = true,
                (b'\r', Some(_)) => drop(self.fault.get_or_insert(Fault::BareCr)),
                (b'\n', _) => drop(self.fault.get_or_insert(Fault::BareLf)),
                _ => drop(self.fault.get_or_insert(Fault::Nul)),
            }
            at += 1;
        }
    }

    /// The body is over: gives the fault, a CR left alone among them.
    pub fn end(&mut self) -> Option<Fault> {
        if self.after_cr {
            self.fault.get_or_insert(Fault::BareCr);
        }
        self.fault
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]]) -> (Vec<u8>, Option<Fault>, Option<usize>) {
        let mut reader = DataReader::default();
        let mut out = Vec::new();
        let mut total = 0;
        for piece in pieces {
            let (used, end) = reader.feed(piece, &mut out);
            total += used;
            if end {
                return (out, reader.fault, Some(total));
            }
        }
        (out, reader.fault, None)
    }

    #[test]
    fn empty_message_is_accepted() {
        assert_eq!(read(&[b".\r\n"]), (vec![], None, Some(3)));
    }

    #[test]
    fn dots_are_taken_off_once() {
        let (body, fault, end) = read(&[b"a\r\n..b\r\n.c\r\n...\r\n.\r\n"]);
        assert_eq!(
            (body.as_slice(), fault),
            (b"a\r\n.b\r\nc\r\n..\r\n".as_slice(), None)
        );
        assert!(end.is_some());
    }

    /// Each look-alike of the end must not end the body, in every split.
    #[test]
    fn nothing_but_crlf_dot_crlf_ends_the_body() {
        let alike: &[&[u8]] = &[
            b"\n.\n",
            b"\n.\r\n",
            b"\r\n.\n",
            b"\r.\r",
            b"\r.\r\n",
            b"\r\n.\r",
            b"\n.\r",
            b"\r\n.\0\r\n",
            b"\r\n.\r\r\n",
            b"\r\r\n.\r\r\n",
            b"\r\n\0.\r\n",
            b"\n\n.\r\n",
            b"\r\n.\n\r\n",
            b"\0\r\n.\n",
        ];
        for look_alike in alike {
            let mut text = b"before".to_vec();
            text.extend_from_slice(look_alike);
            text.extend_from_slice(b"MAIL FROM:<evil@example.org>\r\n.\r\n");
            for split in 0..=text.len() {
                let (_, fault, end) = read(&[&text[..split], &text[split..]]);
                assert_eq!(end, Some(text.len()), "{look_alike:?} split at {split}");
                assert!(fault.is_some(), "{look_alike:?} must spoil the message");
            }
        }
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            body in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), Just(0), Just(b'a')], 0..40),
            at in 0_usize..40,
        ) {
            let at = at.min(body.len());
            prop_assert_eq!(read(&[&body]), read(&[&body[..at], &body[at..]]));
            let mut whole = EndingCheck::default();
            whole.feed(&body);
            let mut split = EndingCheck::default();
            split.feed(&body[..at]);
            split.feed(&body[at..]);
            prop_assert_eq!(whole.end().is_some(), split.end().is_some());
            let clean = !body.contains(&0) && String::from_utf8_lossy(&body).replace("\r\n", "").find(['\r', '\n']).is_none();
            prop_assert_eq!(whole.fault.is_none(), clean);
        }
    }
}
