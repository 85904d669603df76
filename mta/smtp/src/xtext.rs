//! xtext (RFC 3461 section 4): printable ASCII, with `+` and two hexadecimal digits for the rest; and its kin for addresses
//! of the type `utf-8` (RFC 6533 section 3), with `\x{HEX}`.

use std::fmt::Write;

/// Decodes; `None` where it is no xtext or decodes to control characters or to something that is no UTF-8.
pub fn decode(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        match octet {
            b'+' => {
                let high = hex(rest.next()?)?;
                let low = hex(rest.next()?)?;
                octets.push(high << 4 | low);
            }
            b'=' => return None,
            b'!'..=b'~' => octets.push(octet),
            _ => return None,
        }
    }
    let text = String::from_utf8(octets).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

/// RFC 3461: upper-case hexadecimal digits.
fn hex(octet: u8) -> Option<u8> {
    match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'A'..=b'F' => Some(octet - b'A' + 10),
        _ => None,
    }
}

/// Encodes.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'!'..=b'~' if !matches!(octet, b'+' | b'=') => out.push(char::from(octet)),
            _ => {
                let digit = |value: u8| char::from(b"0123456789ABCDEF"[usize::from(value & 15)]);
                out.extend(['+', digit(octet >> 4), digit(octet)]);
            }
        }
    }
    out
}

/// Decodes the address of an ORCPT of this type.
pub fn decode_address(kind: &str, text: &str) -> Option<String> {
    if kind.eq_ignore_ascii_case("utf-8") {
        // Old clients know xtext only, which has no backslash of this meaning.
        decode_unitext(text).or_else(|| decode(text).filter(|_| !text.contains('\\')))
    } else {
        decode(text)
    }
}

/// Encodes the address of an ORCPT of this type, in UTF-8 where the peer takes it.
pub fn encode_address(kind: &str, address: &str, utf8: bool) -> String {
    if !kind.eq_ignore_ascii_case("utf-8") {
        return encode(address);
    }
    let mut out = String::with_capacity(address.len());
    for character in address.chars() {
        let plain = character.is_ascii_graphic() && !matches!(character, '\\' | '+' | '=');
        if plain || (utf8 && !character.is_ascii() && !character.is_control()) {
            out.push(character);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{{{:X}}}", u32::from(character));
        }
    }
    out
}

/// utf-8-addr-xtext and utf-8-addr-unitext of RFC 6533 section 3.
fn decode_unitext(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if let Some(escape) = rest.strip_prefix("\\x{") {
            let (digits, behind) = escape.split_once('}')?;
            if !(2..=6).contains(&digits.len()) || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            out.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
            rest = behind;
            continue;
        }
        if matches!(character, '\\' | '+' | '=' | ' ') {
            return None;
        }
        out.push(character);
        rest = rest.get(character.len_utf8()..)?;
    }
    (!out.chars().any(char::is_control)).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusals() {
        for text in ["plain", "a+b=c", "with space", "bücher", ""] {
            assert_eq!(decode(&encode(text)).as_deref(), Some(text));
        }
        for bad in ["+0d", "+0D+0A", "a=b", "+4", "+ZZ", "a b", "+FF"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn addresses_of_type_utf_8_have_an_encoding_of_their_own() {
        for (address, utf8, text) in [
            ("b\u{fc}b@x.example", true, "b\u{fc}b@x.example"),
            ("b\u{fc}b@x.example", false, r"b\x{FC}b@x.example"),
            (r"a\+=b@x", true, r"a\x{5C}\x{2B}\x{3D}b@x"),
        ] {
            assert_eq!(encode_address("utf-8", address, utf8), text);
            assert_eq!(decode_address("UTF-8", text).as_deref(), Some(address));
        }
        for bad in [
            r"\x{D}\x{A}",
            r"\x{D800}",
            r"\x{0041",
            r"\y",
            "a b",
            r"\x{0000041}",
        ] {
            assert_eq!(decode_address("utf-8", bad), None, "{bad}");
        }
        assert_eq!(decode_address("rfc822", "a+2Bb").as_deref(), Some("a+b"));
    }
}
