//! The messages: a header with the message's number, then lines of 78 octets.

/// A message of a given size, made once; each copy gets its number.
#[derive(Clone, Debug)]
pub struct Template {
    octets: Vec<u8>,
}

const HEADER: &str = "From: <bench@source.example>\r\nTo: <all@sink.example>\r\nDate: Tue, 24 Nov 2026 00:00:00 +0000\r\n\
    Message-ID: <bench@source.example>\r\nSubject: bench ";

/// Digits of the number in the header.
const DIGITS: usize = 10;

impl Template {
    /// A message of about that many octets, at least the header's.
    pub fn new(size: usize) -> Self {
        let mut octets = HEADER.as_bytes().to_vec();
        octets.extend_from_slice(&[b'0'; DIGITS]);
        octets.extend_from_slice(b"\r\n\r\n");
        let line = [b'x'; 76];
        while octets.len() < size {
            let rest = (size - octets.len()).saturating_sub(2).clamp(1, line.len());
            octets.extend_from_slice(&line[..rest]);
            octets.extend_from_slice(b"\r\n");
        }
        Self { octets }
    }

    /// Octets of a message.
    pub fn len(&self) -> usize {
        self.octets.len()
    }

    /// Appends the message of that number.
    pub fn write(&self, number: u64, to: &mut Vec<u8>) {
        let at = to.len() + HEADER.len();
        to.extend_from_slice(&self.octets);
        let text = format!("{number:0DIGITS$}");
        to[at..at + DIGITS].copy_from_slice(&text.as_bytes()[text.len() - DIGITS..]);
    }
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
