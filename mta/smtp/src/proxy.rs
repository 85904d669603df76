//! The PROXY protocol, versions 1 and 2, as the side that receives it: a load balancer says who the client is, before the
//! first octet of the session.
//!
//! ```text
//!   wanted() ─► the caller reads exactly so many octets ─► take() ─► None: again │ Some(Origin): the session begins
//! ```
//!
//! Nothing is read beyond the header, so that what follows (a TLS handshake, say) is untouched. Strict: what is not of the
//! specification (haproxy.org, PROXY protocol, 2020/03/05) is refused, and the caller closes without a word.
//! The caller has made sure that the octets come from a source that it trusts, and bounds the time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Who the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The one who connected: a check of the load balancer itself, or nothing is known of the client.
    Connection,
    /// This one, by the load balancer's word.
    Client(SocketAddr),
}

/// Why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Neither version begins so.
    #[error("the connection does not begin with a PROXY header")]
    NoHeader,
    /// The text of version 1 is not of its grammar.
    #[error("the PROXY header of version 1 is malformed")]
    Text,
    /// Version, command, family or length of version 2 are not known here.
    #[error("the PROXY header of version 2 is malformed")]
    Binary,
}

/// Reads one header.
#[derive(Debug, Default)]
pub struct HeaderReader {
    octets: Vec<u8>,
}

impl HeaderReader {
    /// How many octets to read next, exactly; never 0 before the header is whole.
    pub fn wanted(&self) -> usize {
        let have = self.octets.len();
        if have < SIGNATURE.len() {
            return SIGNATURE.len() - have;
        }
        if self.octets.starts_with(TEXT) {
            return 1;
        }
        if have < FIXED {
            FIXED - have
        } else {
            self.length() + FIXED - have
        }
    }

    /// Takes what was read. `None`: read on.
    pub fn take(&mut self, octets: &[u8]) -> Result<Option<Origin>, ProxyError> {
        self.octets.extend_from_slice(octets);
        if self.octets.len() < SIGNATURE.len() {
            return Ok(None);
        }
        if self.octets.starts_with(TEXT) {
            return self.text();
        }
        if !self.octets.starts_with(SIGNATURE) {
            return Err(ProxyError::NoHeader);
        }
        if self.octets.len() < FIXED {
            return Ok(None);
        }
        if self.length() > MOST_BINARY {
            return Err(ProxyError::Binary);
        }
        if self.octets.len() < FIXED + self.length() {
            return Ok(None);
        }
        self.binary().map(Some)
    }

    fn text(&self) -> Result<Option<Origin>, ProxyError> {
        match self.octets.strip_suffix(b"\r\n") {
            Some(line) => {
                let line = std::str::from_utf8(line).map_err(|_| ProxyError::Text)?;
                parse_text(line).ok_or(ProxyError::Text).map(Some)
            }
            None if self.octets.len() >= MOST_TEXT => Err(ProxyError::Text),
            None => Ok(None),
        }
    }

    fn length(&self) -> usize {
        let [high, low] = [14, 15].map(|at| self.octets.get(at).copied().unwrap_or(0));
        usize::from(u16::from_be_bytes([high, low]))
    }

    fn binary(&self) -> Result<Origin, ProxyError> {
        let refuse = ProxyError::Binary;
        let (fixed, rest) = self.octets.split_at_checked(FIXED).ok_or(refuse)?;
        let (command, family) = (fixed[12], fixed[13]);
        match (command, family) {
            // LOCAL: whatever else is said is skipped.
            (0x20, _) | (0x21, 0x00) => Ok(Origin::Connection),
            (0x21, 0x11) => {
                let octets: [u8; 4] = part(rest, 0).ok_or(refuse)?;
                client(Ipv4Addr::from(octets).into(), rest, 8).ok_or(refuse)
            }
            (0x21, 0x21) => {
                let octets: [u8; 16] = part(rest, 0).ok_or(refuse)?;
                client(Ipv6Addr::from(octets).into(), rest, 32).ok_or(refuse)
            }
            _ => Err(refuse),
        }
    }
}

/// The source with the port that stands at `at`; the destination's port must be there too.
fn client(address: IpAddr, rest: &[u8], at: usize) -> Option<Origin> {
    let port = u16::from_be_bytes(part(rest, at)?);
    let _destination: [u8; 2] = part(rest, at + 2)?;
    Some(Origin::Client(SocketAddr::new(address.to_canonical(), port)))
}

fn part<const N: usize>(octets: &[u8], at: usize) -> Option<[u8; N]> {
    octets.get(at..at + N)?.try_into().ok()
}

/// The line of version 1, without its end.
fn parse_text(line: &str) -> Option<Origin> {
    let mut words = line.strip_prefix("PROXY ")?.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(Origin::Connection);
    }
    let (source, destination) = (words.next()?, words.next()?);
    let address = match family {
        "TCP4" => {
            destination.parse::<Ipv4Addr>().ok()?;
            IpAddr::V4(source.parse().ok()?)
        }
        "TCP6" => {
            destination.parse::<Ipv6Addr>().ok()?;
            IpAddr::V6(source.parse().ok()?)
        }
        _ => return None,
    };
    let source_port = port(words.next()?)?;
    port(words.next()?)?;
    if words.next().is_some() {
        return None;
    }
    Some(Origin::Client(SocketAddr::new(
        address.to_canonical(),
        source_port,
    )))
}

fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|octet| octet.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

const TEXT: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, command, family, length.
const FIXED: usize = 16;
/// The longest line of version 1, with CRLF.
const MOST_TEXT: usize = 107;
/// Addresses and all extensions of version 2.
const MOST_BINARY: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads as a caller does; whatever is left over was not touched.
    fn read(mut octets: &[u8]) -> (Result<Option<Origin>, ProxyError>, usize) {
        let mut reader = HeaderReader::default();
        loop {
            let wanted = reader.wanted();
            assert!(wanted > 0);
            if octets.len() < wanted {
                return (Ok(None), octets.len());
            }
            let (now, later) = octets.split_at(wanted);
            octets = later;
            match reader.take(now) {
                Ok(None) => {}
                done => return (done, octets.len()),
            }
        }
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    fn origin(text: &str) -> Origin {
        Origin::Client(text.parse().unwrap())
    }

    #[test]
    fn both_versions_name_the_client_and_leave_the_rest_alone() {
        let four = [
            &[192, 0, 2, 1, 10, 0, 0, 1][..],
            &[0x9c, 0x40, 0, 25],
            b"\x03\0\x01x",
        ]
        .concat();
        let six = [
            &[0x20, 1, 0xd, 0xb8][..],
            &[0; 11],
            &[7],
            &[0; 16],
            &[0, 9, 0, 25],
        ]
        .concat();
        for (header, want) in [
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 40000 25\r\n".to_vec(),
                origin("192.0.2.1:40000"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 ::1 9 25\r\n".to_vec(),
                origin("[2001:db8::7]:9"),
            ),
            (
                b"PROXY TCP6 ::ffff:192.0.2.1 ::1 9 25\r\n".to_vec(),
                origin("192.0.2.1:9"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), Origin::Connection),
            (b"PROXY UNKNOWN ffff:f...f 65535\r\n".to_vec(), Origin::Connection),
            (v2(0x21, 0x11, &four), origin("192.0.2.1:40000")),
            (v2(0x21, 0x21, &six), origin("[2001:db8::7]:9")),
            (v2(0x20, 0x00, b""), Origin::Connection),
            (v2(0x20, 0x11, &four), Origin::Connection),
            (v2(0x21, 0x00, b"anything"), Origin::Connection),
        ] {
            let whole = [&header[..], b"EHLO x\r\n"].concat();
            assert_eq!(read(&whole), (Ok(Some(want)), 8), "{}", header.escape_ascii());
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let short = [192, 0, 2, 1, 10, 0, 0, 1, 0x9c, 0x40, 0];
        for header in [
            b"EHLO client.example\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 40000\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 40000 25 x\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 040 25\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 65536 25\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 +1 25\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 ::1 9 25\r\n".to_vec(),
            b"PROXY TCP4  192.0.2.1 10.0.0.1 1 25\r\n".to_vec(),
            b"PROXY tcp4 192.0.2.1 10.0.0.1 1 25\r\n".to_vec(),
            b"PROXY TCP5 192.0.2.1 10.0.0.1 1 25\r\n".to_vec(),
            [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat(),
            v2(0x21, 0x11, &short),
            v2(0x21, 0x31, &[0; 216]),
            v2(0x21, 0x12, &[0; 12]),
            v2(0x22, 0x11, &[0; 12]),
            v2(0x11, 0x11, &[0; 12]),
            v2(0x21, 0x11, &[0; 4_000]),
        ] {
            let (said, _) = read(&header);
            assert!(said.is_err(), "{}: {said:?}", header.escape_ascii());
        }
    }

    #[test]
    fn a_header_that_is_cut_anywhere_is_waited_for() {
        let header = b"PROXY TCP4 192.0.2.1 10.0.0.1 40000 25\r\n";
        for end in 0..header.len() {
            assert_eq!(read(&header[..end]).0, Ok(None), "{end}");
        }
    }
}
