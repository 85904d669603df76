//! Takes fields out of a header while it streams past. The body, and every field that stays, keep each octet.
//!
//! ```text
//!   octets in pieces of any size ─► FieldFilter::feed ─► octets that stay
//! ```
//!
//! Nothing is held but the name of the field that begins, at most 80 octets of it.

/// Passes on everything but the named fields.
#[derive(Debug)]
pub struct FieldFilter {
    /// Names in lower case.
    names: Vec<String>,
    state: State,
    /// The beginning of a line that is not judged yet.
    held: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the beginning of a line, or in the name of a field. The flag: the field before it was taken out.
    Beginning { after_removed: bool },
    /// In a line that stays.
    Keep,
    /// In a line that goes.
    Remove,
    /// Behind the header.
    Body,
}

impl FieldFilter {
    /// A filter for fields of these names, in any case.
    pub fn new(names: &[String]) -> Self {
        Self {
            names: names.iter().map(|name| name.to_ascii_lowercase()).collect(),
            state: State::Beginning { after_removed: false },
            held: Vec::new(),
        }
    }

    /// Whether the header is over: all that comes stays.
    pub fn is_done(&self) -> bool {
        self.state == State::Body
    }

    /// Takes the next octets and puts those that stay behind `out`.
    pub fn feed(&mut self, mut octets: &[u8], out: &mut Vec<u8>) {
        while let Some((first, rest)) = octets.split_first() {
            match self.state {
                State::Body => {
                    out.extend_from_slice(octets);
                    return;
                }
                State::Beginning { after_removed } => {
                    self.held.push(*first);
                    octets = rest;
                    self.begin(after_removed, out);
                }
                State::Keep | State::Remove => {
                    let end = memchr::memchr(b'\n', octets).map_or(octets.len(), |at| at + 1);
                    let (line, rest) = octets.split_at(end);
                    let removed = self.state == State::Remove;
                    if !removed {
                        out.extend_from_slice(line);
                    }
                    if line.ends_with(b"\n") {
                        self.state = State::Beginning {
                            after_removed: removed,
                        };
                    }
                    octets = rest;
                }
            }
        }
    }

    /// What is still held when the message ends.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
    }

    /// Judges the line that begins, as soon as it can be.
    fn begin(&mut self, after_removed: bool, out: &mut Vec<u8>) {
        let held = self.held.as_slice();
        let next = match held {
            // A folded line belongs to its field (RFC 5322 section 2.2.3).
            [b' ' | b'\t', ..] => Some(if after_removed { State::Remove } else { State::Keep }),
            [name @ .., b':'] => Some(if self.is_named(name) {
                State::Remove
            } else {
                State::Keep
            }),
            // The empty line; or no field, and the body has begun without an empty line before it.
            [.., b'\n'] => Some(State::Body),
            _ if held.len() > LONGEST => Some(State::Keep),
            _ => None,
        };
        let Some(next) = next else { return };
        if next == State::Remove {
            self.held.clear();
        } else {
            out.append(&mut self.held);
        }
        self.state = next;
    }

    /// Obsolete syntax allows white space before the colon (RFC 5322 section 4.5).
    fn is_named(&self, name: &[u8]) -> bool {
        let name = name.trim_ascii_end();
        self.names
            .iter()
            .any(|known| known.as_bytes().eq_ignore_ascii_case(name))
    }
}

/// Longer than any name that can be given, with some white space.
const LONGEST: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] =
        b"X-Mailer: one\r\n two\r\n\tthree\r\nSubject: x\r\nx-mailer : four\r\nX-Mailer-Kind: stays\r\n\
        Folded: a\r\n X-Mailer: stays too\r\n\r\nX-Mailer: of the body\r\n";

    fn filtered<'a>(names: &[&str], pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut filter = FieldFilter::new(&names);
        let mut out = Vec::new();
        for piece in pieces {
            filter.feed(piece, &mut out);
        }
        filter.finish(&mut out);
        out
    }

    #[test]
    fn named_fields_go_with_their_folded_lines_and_all_else_stays() {
        let want = b"Subject: x\r\nX-Mailer-Kind: stays\r\nFolded: a\r\n X-Mailer: stays too\r\n\r\n\
            X-Mailer: of the body\r\n";
        assert_eq!(filtered(&["X-Mailer"], [MESSAGE]), want);
        for cut in 0..=MESSAGE.len() {
            let (a, b) = MESSAGE.split_at(cut);
            assert_eq!(filtered(&["x-MAILER"], [a, b]), want, "cut at {cut}");
        }
        assert_eq!(filtered(&["X-Mailer"], MESSAGE.chunks(1)), want);
    }

    #[test]
    fn without_a_match_every_octet_stays() {
        for message in [
            MESSAGE,
            b"",
            b"no field at all\r\nX: y\r\n",
            b"Subject",
            b"\r\nX: y\r\n",
            b"\r",
            &[b'a'; 500],
        ] {
            assert_eq!(filtered(&["Absent"], [message]), message);
            assert_eq!(filtered(&["Absent"], message.chunks(1)), message);
        }
    }
}
