//! Takes fields Authentication-Results that claim our name out of a header while it streams past (RFC 8601 section 5):
//! what reads the message later trusts the field that we write.
//!
//! ```text
//!   octets in pieces of any size ─► ForgedFilter::feed ─► octets that stay
//! ```
//!
//! Nothing is held but the beginning of a line, and such a field until it is judged, at most [`MOST`] octets. Unlike
//! other parts it goes on behind a line that is no field, up to the empty line: some readers do so as well.

use postroad_verify::results::{Claim, NAME, claim};

/// Passes on everything but forged fields.
#[derive(Debug)]
pub struct ForgedFilter {
    own: String,
    state: State,
    held: Vec<u8>,
    removed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the beginning of a line, in what may be the name.
    Name,
    /// In a line that stays.
    Keep,
    /// In the field, of which all is held.
    Field,
    /// At the beginning of the line behind it, or behind a fold of it.
    FieldLine,
    /// In a field that goes.
    Drop,
    /// At the beginning of the line behind that.
    DropLine,
    /// Behind the header.
    Body,
}

impl ForgedFilter {
    /// Takes out what claims this name.
    pub fn new(own: &str) -> Self {
        Self {
            own: own.to_owned(),
            state: State::Name,
            held: Vec::new(),
            removed: 0,
        }
    }

    /// Whether the header is over: all that comes stays.
    pub fn is_done(&self) -> bool {
        self.state == State::Body
    }

    /// Fields that were taken out.
    pub fn removed(&self) -> u64 {
        self.removed
    }

    /// Takes the next octets and puts those that stay behind `out`.
    pub fn feed(&mut self, mut octets: &[u8], out: &mut Vec<u8>) {
        while let Some((first, rest)) = octets.split_first() {
            let is_fold = matches!(first, b' ' | b'\t');
            octets = match self.state {
                State::Body => {
                    out.extend_from_slice(octets);
                    return;
                }
                State::Name => {
                    self.held.push(*first);
                    self.begin(out);
                    rest
                }
                State::FieldLine if is_fold => self.turn(State::Field, octets),
                State::FieldLine => {
                    self.judge(out);
                    self.turn(State::Name, octets)
                }
                State::DropLine if is_fold => self.turn(State::Drop, octets),
                State::DropLine => self.turn(State::Name, octets),
                State::Keep | State::Field | State::Drop => self.line(octets, out),
            };
        }
    }

    /// What is still held when the message ends.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if matches!(self.state, State::Field | State::FieldLine) {
            self.judge(out);
        }
        out.append(&mut self.held);
    }

    fn turn<'a>(&mut self, state: State, octets: &'a [u8]) -> &'a [u8] {
        self.state = state;
        octets
    }

    /// The rest of a line, as far as it is there.
    fn line<'a>(&mut self, octets: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let end = memchr::memchr(b'\n', octets).map_or(octets.len(), |at| at + 1);
        let (line, rest) = octets.split_at(end);
        let ended = line.ends_with(b"\n");
        match self.state {
            State::Keep => out.extend_from_slice(line),
            State::Field => {
                let room = MOST.saturating_sub(self.held.len());
                self.held.extend_from_slice(&line[..line.len().min(room)]);
                if line.len() > room {
                    // Judged by its beginning; the rest goes the same way.
                    let stays = self.judge(out);
                    self.state = if stays { State::Keep } else { State::Drop };
                    return &octets[room..];
                }
            }
            _ => {}
        }
        if ended {
            self.state = match self.state {
                State::Field => State::FieldLine,
                State::Drop => State::DropLine,
                _ => State::Name,
            };
        }
        rest
    }

    /// Judges the line that begins, as soon as it can be.
    fn begin(&mut self, out: &mut Vec<u8>) {
        let named = self.held.len().min(NAME.len());
        let next = match self.held.as_slice() {
            [b'\r'] => return,
            [b'\n'] | [b'\r', b'\n'] => State::Body,
            [.., b'\n'] => State::Name,
            held if !held[..named].eq_ignore_ascii_case(&NAME.as_bytes()[..named]) => State::Keep,
            held if held.len() <= NAME.len() => return,
            [.., b':'] => State::Field,
            // Obsolete syntax allows white space before the colon (RFC 5322 section 4.5).
            [.., b' ' | b'\t'] if self.held.len() < MOST => return,
            [.., b' ' | b'\t'] => State::Drop,
            _ => State::Keep,
        };
        self.state = next;
        match next {
            State::Field => {}
            State::Drop => self.drop_held(),
            _ => out.append(&mut self.held),
        }
    }

    /// Judges the field that is held; whether it stays.
    fn judge(&mut self, out: &mut Vec<u8>) -> bool {
        let body = memchr::memchr(b':', &self.held).map_or(0, |at| at + 1);
        let stays = claim(&self.held[body..], &self.own) == Claim::Theirs;
        if stays {
            out.append(&mut self.held);
        } else {
            self.drop_held();
        }
        stays
    }

    fn drop_held(&mut self) {
        self.held.clear();
        self.removed += 1;
    }
}

/// Held of one field; its name stands at its beginning.
const MOST: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (String, u64) {
        let mut filter = ForgedFilter::new("mail.example.com");
        let mut out = Vec::new();
        for piece in pieces {
            filter.feed(piece, &mut out);
        }
        filter.finish(&mut out);
        (String::from_utf8(out).unwrap(), filter.removed())
    }

    /// Every way of cutting it comes to the same.
    fn is_filtered(message: &str, want: &str, removed: u64) {
        let want = (want.to_owned(), removed);
        assert_eq!(filtered([message.as_bytes()]), want);
        assert_eq!(filtered(message.as_bytes().chunks(1)), want);
        for cut in (0..=message.len()).step_by(1 + message.len() / 500) {
            let (a, b) = message.as_bytes().split_at(cut);
            assert_eq!(filtered([a, b]), want, "cut at {cut}");
        }
    }

    const REST: &str = "Subject: x\r\n y\r\n\r\nAuthentication-Results: mail.example.com; of the body\r\n";

    #[test]
    fn every_spelling_of_a_forged_field_goes() {
        for field in [
            "Authentication-Results: mail.example.com; spf=pass\r\n",
            "authentication-RESULTS: MAIL.example.com; spf=pass\r\n",
            "Authentication-Results : mail.example.com; spf=pass\r\n",
            "Authentication-Results\t \t:mail.example.com; spf=pass\r\n",
            "Authentication-Results:\r\n\tmail.example.com\r\n 1\r\n ; spf=pass\r\n\tsmtp.mailfrom=a\r\n",
            "Authentication-Results: (a\r\n b) \"mail.\\example.com\"; spf=pass\r\n",
            "Authentication-Results: mail.example.com. (; none\r\n",
            "Authentication-Results: (mail.example.com; spf=pass\r\n",
            "Authentication-Results:\r\n",
            "Authentication-Results: mail.example.com; spf=pass\n",
        ] {
            is_filtered(&format!("{field}{REST}"), REST, 1);
            is_filtered(
                &format!("From: a\r\n{field}{field}{REST}"),
                &format!("From: a\r\n{REST}"),
                2,
            );
            is_filtered(
                &format!("no field\r\n{field}{REST}"),
                &format!("no field\r\n{REST}"),
                1,
            );
            is_filtered(field, "", 1);
        }
    }

    #[test]
    fn what_is_too_long_to_judge_goes_and_its_folds_with_it() {
        let comment = format!(
            "Authentication-Results: ({}) mail.example.com; spf=pass\r\n more\r\n",
            "x".repeat(3 * MOST)
        );
        is_filtered(&format!("{comment}{REST}"), REST, 1);
        let blanks = format!(
            "Authentication-Results{}: mail.example.com; spf=pass\r\n more\r\n",
            " ".repeat(2 * MOST)
        );
        is_filtered(&format!("{blanks}{REST}"), REST, 1);
    }

    #[test]
    fn all_else_stays_to_the_octet() {
        let long = format!(
            "Authentication-Results: mx.example.net; reason=\"{}\"\r\n more\r\n\r\nbody",
            "x".repeat(3 * MOST)
        );
        for message in [
            REST,
            "",
            "\r\n",
            "\r",
            "A",
            "Authentication-Result: mail.example.com;\r\nAuthentication-Results-X: mail.example.com;\r\n\r\n",
            "Authentication-Results mail.example.com; spf=pass\r\n\r\n",
            "Authentication-Results: mx.example.net; spf=pass\r\n more\r\n\r\n",
            "ARC-Authentication-Results: i=1; mail.example.com; spf=pass\r\n\r\n",
            "X: a\r\n Authentication-Results: mail.example.com;\r\n\r\n",
            "Authentication-Resul",
            long.as_str(),
        ] {
            is_filtered(message, message, 0);
        }
    }
}
