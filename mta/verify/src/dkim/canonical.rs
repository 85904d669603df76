//! Canonical form of header fields (RFC 6376 sections 3.4.1 and 3.4.2). The body's is in `body`.

use std::fmt;

use super::header::Field;

/// How much a field or a body may change on its way without harm to a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Canonicalization {
    /// Not at all.
    Simple,
    /// In white space.
    Relaxed,
}

impl fmt::Display for Canonicalization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Simple => "simple",
            Self::Relaxed => "relaxed",
        })
    }
}

impl Canonicalization {
    /// Reads `c=`: one for the header and one for the body, `simple` where none is given.
    pub(crate) fn pair(text: &str) -> Option<(Self, Self)> {
        let (header, body) = text.split_once('/').unwrap_or((text, "simple"));
        Some((Self::read(header)?, Self::read(body)?))
    }

    fn read(text: &str) -> Option<Self> {
        // Words of an ABNF are read without regard to case (RFC 5234 section 2.3).
        [Self::Simple, Self::Relaxed]
            .into_iter()
            .find(|how| how.to_string().eq_ignore_ascii_case(text))
    }

    /// Appends the canonical form of a field, without a CRLF at its end.
    pub(crate) fn field(self, field: &Field<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Simple => out.extend_from_slice(field.raw()),
            Self::Relaxed => relaxed(field, out),
        }
    }
}

fn relaxed(field: &Field<'_>, out: &mut Vec<u8>) {
    out.extend(field.name().iter().map(u8::to_ascii_lowercase));
    out.push(b':');
    let (mut space, mut begun) = (false, false);
    let value = field.value();
    for (at, octet) in value.iter().enumerate() {
        let folding = match octet {
            b' ' | b'\t' => {
                space = true;
                true
            }
            b'\r' => value.get(at + 1) == Some(&b'\n'),
            b'\n' => at > 0 && value.get(at - 1) == Some(&b'\r'),
            _ => false,
        };
        if folding {
            continue;
        }
        if space && begun {
            out.push(b' ');
        }
        out.push(*octet);
        (space, begun) = (false, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(how: Canonicalization, field: &str) -> String {
        let mut out = Vec::new();
        how.field(&Field::parse(field.as_bytes()).unwrap(), &mut out);
        String::from_utf8(out).unwrap()
    }

    /// The example of RFC 6376 section 3.4.5, and edges of it.
    #[test]
    fn relaxed_fields_lose_their_folding() {
        for (field, want) in [
            ("A: X\r\n", "a:X"),
            ("B : Y\t\r\n\tZ  \r\n", "b:Y Z"),
            ("C:", "c:"),
            ("C: \r\n \r\n", "c:"),
            ("Subject:a:b \t c", "subject:a:b c"),
            ("D: a\r\n\r\n b", "d:a b"),
            ("E: a\nb \r c", "e:a\nb \r c"),
        ] {
            assert_eq!(canonical(Canonicalization::Relaxed, field), want, "{field:?}");
        }
    }

    #[test]
    fn simple_fields_stay_as_they_are() {
        assert_eq!(
            canonical(Canonicalization::Simple, "B : Y\t\r\n\tZ  \r\n"),
            "B : Y\t\r\n\tZ  "
        );
    }

    #[test]
    fn a_pair_is_two_known_words_or_one() {
        use Canonicalization::{Relaxed, Simple};
        assert_eq!(Canonicalization::pair("relaxed/simple"), Some((Relaxed, Simple)));
        assert_eq!(Canonicalization::pair("relaxed"), Some((Relaxed, Simple)));
        assert_eq!(
            Canonicalization::pair("Relaxed/RELAXED"),
            Some((Relaxed, Relaxed))
        );
        for wrong in ["", "nowsp", "relaxed/", "/simple", "simple/simple/simple"] {
            assert_eq!(Canonicalization::pair(wrong), None, "{wrong}");
        }
    }
}
