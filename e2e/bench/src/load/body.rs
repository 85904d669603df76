//! The messages: a header with the message's number, then lines of 78 octets.

/// A message of a given size, made once; each copy gets its number.
#[derive(Clone, Debug)]
pub struct Template {
    octets: Vec<u8>,
    /// Where the number is.
    number: usize,
}

/// The fields above the one with the number; those that a signature covers.
pub const FIELDS: [&str; 4] = [
    "From: <bench@source.example>\r\n",
    "To: <all@sink.example>\r\n",
    "Date: Tue, 24 Nov 2026 00:00:00 +0000\r\n",
    "Message-ID: <bench@source.example>\r\n",
];

const NUMBERED: &str = "Subject: bench ";

/// Digits of the number in the header.
const DIGITS: usize = 10;

impl Template {
    /// A message of about that many octets, at least the header's.
    pub fn new(size: usize) -> Self {
        Self::below("", &body(size.saturating_sub(header_length())))
    }

    /// The message with that body, and with these fields on top.
    pub fn below(top: &str, body: &[u8]) -> Self {
        let mut octets = [top, &FIELDS.concat(), NUMBERED].concat().into_bytes();
        let number = octets.len();
        octets.extend_from_slice(&[b'0'; DIGITS]);
        octets.extend_from_slice(b"\r\n\r\n");
        octets.extend_from_slice(body);
        Self { octets, number }
    }

    /// Octets of a message.
    pub fn len(&self) -> usize {
        self.octets.len()
    }

    /// Appends the message of that number.
    pub fn write(&self, number: u64, to: &mut Vec<u8>) {
        let at = to.len() + self.number;
        to.extend_from_slice(&self.octets);
        let text = format!("{number:0DIGITS$}");
        to[at..at + DIGITS].copy_from_slice(&text.as_bytes()[text.len() - DIGITS..]);
    }
}

/// Octets of a header with nothing on top, and the empty line.
fn header_length() -> usize {
    FIELDS.concat().len() + NUMBERED.len() + DIGITS + 4
}

/// Whole lines of so many octets together.
pub fn body(size: usize) -> Vec<u8> {
    let line = [b'x'; 76];
    let mut octets = Vec::with_capacity(size + line.len());
    while octets.len() < size {
        let rest = (size - octets.len()).saturating_sub(2).clamp(1, line.len());
        octets.extend_from_slice(&line[..rest]);
        octets.extend_from_slice(b"\r\n");
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_size_its_number_and_short_lines() {
        for size in [1_024, 10_240, 100_000] {
            let template = Template::new(size);
            let mut message = Vec::new();
            template.write(42, &mut message);
            assert!(message.len().abs_diff(size) <= 2, "{}", message.len());
            assert_eq!(message.len(), template.len());
            let text = String::from_utf8(message).unwrap();
            assert!(text.contains("bench 0000000042\r\n\r\n"), "{text}");
            assert!(text.ends_with("\r\n") && text.lines().all(|line| line.len() <= 78));
        }
    }
}
