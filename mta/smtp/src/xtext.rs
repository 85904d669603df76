//! xtext (RFC 3461 section 4): printable ASCII, with `+` and two hexadecimal digits for the rest.

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
}
