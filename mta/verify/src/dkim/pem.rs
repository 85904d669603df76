//! PEM around private keys (RFC 7468): one block is read, one is written. What is decoded is wiped when it is let go.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// A block between its markers.
pub(crate) struct Block<'a> {
    pub(crate) label: &'a str,
    pub(crate) der: Zeroizing<Vec<u8>>,
}

/// The first block of a private key. None: there is none that can be read.
pub(crate) fn read(text: &str) -> Option<Block<'_>> {
    let mut rest = text;
    loop {
        let (_, after) = rest.split_once("-----BEGIN ")?;
        let (label, after) = after.split_once("-----")?;
        let (content, after) = after.split_once(&*format!("-----END {label}-----"))?;
        rest = after;
        if label.ends_with("PRIVATE KEY") {
            let der = decode(content)?;
            return Some(Block { label, der });
        }
    }
}

fn decode(content: &str) -> Option<Zeroizing<Vec<u8>>> {
    let letters = content.bytes().filter(|letter| !letter.is_ascii_whitespace());
    let mut packed = Zeroizing::new(Vec::with_capacity(content.len()));
    packed.extend(letters);
    // Room for all: growing would leave copies behind.
    let mut der = Zeroizing::new(Vec::with_capacity(content.len()));
    STANDARD.decode_vec(&*packed, &mut der).ok()?;
    Some(der)
}

/// One block.
pub(crate) fn write(label: &str, der: &[u8]) -> Zeroizing<String> {
    let mut encoded = Zeroizing::new(String::with_capacity(der.len() * 2));
    STANDARD.encode_string(der, &mut encoded);
    let mut text = Zeroizing::new(String::with_capacity(encoded.len() * 2 + 128));
    for part in ["-----BEGIN ", label, "-----\n"] {
        text.push_str(part);
    }
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    for part in ["-----END ", label, "-----\n"] {
        text.push_str(part);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let der: Vec<u8> = (0..=255).collect();
        let text = write("PRIVATE KEY", &der);
        assert!(text.lines().all(|line| line.len() <= 64));
        let block = read(&text).unwrap();
        assert_eq!((block.label, &**block.der), ("PRIVATE KEY", &der[..]));
    }

    #[test]
    fn other_blocks_and_text_around_are_passed_over() {
        let text = "words\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n\
            -----BEGIN RSA PRIVATE KEY-----\r\nAA\r\nEC\r\n-----END RSA PRIVATE KEY-----";
        let block = read(text).unwrap();
        assert_eq!((block.label, &**block.der), ("RSA PRIVATE KEY", &[0, 1, 2][..]));
    }

    #[test]
    fn broken_blocks_are_none() {
        for text in [
            "",
            "-----BEGIN PRIVATE KEY-----\nAAEC\n",
            "-----BEGIN PRIVATE KEY-----\nA*\n-----END PRIVATE KEY-----",
            "-----BEGIN PUBLIC KEY-----\nAAEC\n-----END PUBLIC KEY-----",
        ] {
            assert!(read(text).is_none(), "{text}");
        }
    }
}
