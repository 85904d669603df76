//! Base 64 as tags have it: white space anywhere, padding or none (RFC 6376 section 2.10 makes it optional).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const READER: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Octets of a value. None: it is empty or no base 64.
pub(crate) fn decode(value: &str) -> Option<Vec<u8>> {
    let octets = READER.decode(super::tags::without_space(value)).ok()?;
    (!octets.is_empty()).then_some(octets)
}

pub(crate) fn encode(octets: &[u8]) -> String {
    STANDARD.encode(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_and_padding_are_no_matter() {
        for text in ["aGVsbG8=", "aGVsbG8", " aGV\r\n\tsbG8 = "] {
            assert_eq!(decode(text).as_deref(), Some(&b"hello"[..]), "{text:?}");
        }
        for text in ["", " ", "aGVsbG8==", "aGV!", "a", "aGVsbG9="] {
            assert_eq!(decode(text), None, "{text:?}");
        }
        assert_eq!(encode(b"hello"), "aGVsbG8=");
    }
}
