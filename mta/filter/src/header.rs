//! The header of a message as fields, and the changes that filters make to it. Fields that stay keep each octet.
//!
//! ```text
//!   octets ─► Splitter ─► header, what ends it │ the body
//!   header ─► Section::parse ─► apply(Change) … ─► Section::write
//! ```
//!
//! Places are counted as milter does: the first field is the one that the mail server itself puts on top and no filter sees,
//! so that 0 and 1 both mean the top of what a filter sees.

mod section;
mod splitter;

pub use section::{Field, Section};
pub use splitter::{Split, Splitter};

use crate::answer::Malformed;

/// Whether a field may have that name: printable ASCII without a colon (RFC 5322 section 2.2), and not too long.
pub fn is_name(name: &[u8]) -> bool {
    (1..=MOST_NAME).contains(&name.len())
        && name
            .iter()
            .all(|octet| matches!(octet, b'!'..=b'9' | b';'..=b'~'))
}

/// A value as it may stand in a field: its lines end with CR LF, and each but the first begins with white space, whatever ends
/// them at the filter's. Errors: it holds what no field may.
pub fn value(text: &[u8]) -> Result<Vec<u8>, Malformed> {
    let text = text.trim_ascii_end();
    let mut value = Vec::with_capacity(text.len() + 2);
    let mut octets = text.iter().copied().peekable();
    while let Some(octet) = octets.next() {
        match octet {
            0 => return Err(Malformed("a field holds a zero octet")),
            b'\r' if octets.peek() != Some(&b'\n') => return Err(Malformed("a field holds a bare CR")),
            b'\r' => {}
            b'\n' => {
                // An empty line would end the header, and any other beginning would begin a field.
                let empty = matches!(octets.peek(), Some(b'\r' | b'\n'));
                if !empty {
                    value.extend_from_slice(b"\r\n");
                    if !matches!(octets.peek(), Some(b' ' | b'\t')) {
                        value.push(b'\t');
                    }
                }
            }
            octet => value.push(octet),
        }
    }
    Ok(without_blank_lines(&value))
}

/// A folded line of white space alone is obsolete syntax (RFC 5322 section 4.2), and some readers end the header there.
fn without_blank_lines(value: &[u8]) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = value.split(|octet| *octet == b'\n').collect();
    let mut first = true;
    lines.retain(|line| std::mem::take(&mut first) || !line.trim_ascii().is_empty());
    let mut kept = lines.join(&b'\n');
    if kept.ends_with(b"\r") {
        kept.pop();
    }
    kept
}

const MOST_NAME: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_begins_another_field_or_ends_the_header() {
        for (text, want) in [
            (&b"plain"[..], &b"plain"[..]),
            (b" lead", b" lead"),
            (b"a\n b\r\n\tc", b"a\r\n b\r\n\tc"),
            (b"a\nBcc: x@example.com", b"a\r\n\tBcc: x@example.com"),
            (b"a\r\n\r\nbody", b"a\r\n\tbody"),
            (b"a\n\n\nb\n", b"a\r\n\tb"),
            (b"a\n \n\t\nb", b"a\r\n\tb"),
            (b"a\r\n", b"a"),
            (b"", b""),
        ] {
            assert_eq!(value(text).unwrap(), want, "{}", String::from_utf8_lossy(text));
        }
        for text in [&b"a\0b"[..], b"a\rb"] {
            assert!(value(text).is_err());
        }
    }

    #[test]
    fn names_are_printable_and_have_no_colon() {
        assert!(is_name(b"X-Spam") && is_name(b"!") && is_name(&[b'a'; 128]));
        for name in [
            &b""[..],
            b"X Y",
            b"X:",
            b"X\r",
            "X-\u{e9}".as_bytes(),
            &[b'a'; 129],
        ] {
            assert!(!is_name(name), "{}", String::from_utf8_lossy(name));
        }
    }
}
