//! Addresses with their type, as the fields of a notice show them (RFC 3464 section 2.1.2, RFC 6533 section 3).
//!
//! Pure. A notice in UTF-8 shows an address as it is; any other one writes what is not ASCII as `\x{HEX}`, so that nothing
//! is lost on the way to a sender that cannot take UTF-8.

use std::fmt::Write;

use super::text::{Charset, one_line};

/// An address with its type in front: `rfc822; a@b`, or `utf-8; ü@b` where it is not ASCII.
pub fn typed(address: &str, charset: Charset) -> String {
    if address.is_ascii() {
        format!("rfc822; {}", one_line(address, charset, LONGEST))
    } else {
        format!("utf-8; {}", international(address, charset))
    }
}

/// The sender's ORCPT, as `type` and decoded address.
pub fn original(kind: &str, address: &str, charset: Charset) -> String {
    let kind = one_line(kind, Charset::Ascii, LONGEST_TYPE);
    if kind.eq_ignore_ascii_case("utf-8") {
        format!("{kind}; {}", international(address, charset))
    } else {
        format!("{kind}; {}", one_line(address, charset, LONGEST))
    }
}

fn international(address: &str, charset: Charset) -> String {
    let line = one_line(address, Charset::Unicode, LONGEST);
    match charset {
        Charset::Unicode => line,
        Charset::Ascii => escaped(&line),
    }
}

/// utf-8-addr-xtext of RFC 6533 section 3, but for the `+` and `=` that only a command would have to hide.
fn escaped(address: &str) -> String {
    let mut out = String::with_capacity(address.len() * 2);
    for character in address.chars() {
        if character.is_ascii() && character != '\\' {
            out.push(character);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{{{:X}}}", u32::from(character));
        }
    }
    out
}

/// Escaped, each octet of it becomes four at most; the line stays below 998 octets.
const LONGEST: usize = 220;
/// An address type is a keyword.
const LONGEST_TYPE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_follows_the_address_and_ascii_notices_escape() {
        for (address, charset, want) in [
            ("a@b.example", Charset::Ascii, "rfc822; a@b.example"),
            ("a@b.example", Charset::Unicode, "rfc822; a@b.example"),
            ("b\u{fc}b@example", Charset::Unicode, "utf-8; b\u{fc}b@example"),
            ("b\u{fc}b@example", Charset::Ascii, r"utf-8; b\x{FC}b@example"),
            (
                "a@b\r\nAction: delivered",
                Charset::Ascii,
                "rfc822; a@b Action: delivered",
            ),
        ] {
            assert_eq!(typed(address, charset), want);
        }
    }

    #[test]
    fn what_the_sender_called_the_recipient_keeps_its_type() {
        for (kind, address, charset, want) in [
            ("rfc822", "a+b@c", Charset::Ascii, "rfc822; a+b@c"),
            ("x400", "/C=xx/", Charset::Ascii, "x400; /C=xx/"),
            ("UTF-8", "\u{fc}@c", Charset::Ascii, r"UTF-8; \x{FC}@c"),
            ("utf-8", "\u{fc}@c", Charset::Unicode, "utf-8; \u{fc}@c"),
        ] {
            assert_eq!(original(kind, address, charset), want);
        }
    }

    #[test]
    fn no_address_makes_a_line_too_long() {
        let long = "\u{fc}".repeat(5_000);
        assert!(typed(&long, Charset::Ascii).len() < 900);
    }
}
