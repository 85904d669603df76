//! The PROXY header: read exactly, never beyond it, the same in any pieces.

use postroad_smtp::proxy::{HeaderReader, Origin, ProxyError};

use crate::pieces;

/// Reads as the daemon does: as many octets as are wanted. Gives what was used.
fn read(octets: &[u8]) -> (Result<Option<Origin>, ProxyError>, usize) {
    let mut reader = HeaderReader::default();
    let mut used = 0;
    loop {
        let wanted = reader.wanted();
        assert!(wanted > 0 && wanted <= 70_000, "{wanted}");
        if used + wanted > octets.len() {
            return (Ok(None), used);
        }
        match reader.take(&octets[used..used + wanted]) {
            Ok(None) => used += wanted,
            done => return (done, used + wanted),
        }
    }
}

/// Any octets in front of a session.
pub fn header(octets: &[u8]) {
    let (found, used) = read(octets);
    if let Ok(Some(_)) = found {
        // What follows the header is nobody's business.
        assert_eq!(read(&octets[..used]), (found, used));
        assert_eq!(read(&octets[..used - 1]).0, Ok(None), "an octet less is enough");
    }
    // Other pieces than it asks for must not panic either.
    let mut reader = HeaderReader::default();
    for piece in pieces(octets) {
        if !matches!(reader.take(piece), Ok(None)) {
            break;
        }
    }
}
