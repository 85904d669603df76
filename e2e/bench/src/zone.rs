//! A name server for the records of the load's domain: every server asks the same one, over the same loopback.
//!
//! TXT records by name; whatever else is asked for is answered with "no such name" and an SOA record, so that it may be
//! remembered (RFC 2308 section 3). An answer fits into 512 octets, or it is refused where it is made.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use postroad_e2e::kubectl::{Failure, Outcome};

/// Where it answers. Debian's resolvers know no port but 53, so that it takes a loopback address that nobody else has.
pub const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(127, 53, 0, 1)), 53);

/// Records of one name each: name in small letters without the dot at the end, and text.
pub type Records = Vec<(String, String)>;

/// Answers for the rest of the process.
pub fn serve(records: Records) -> Outcome {
    if let Some((name, _)) = records.iter().find(|(_, text)| text.len() > MOST) {
        return Err(Failure::wrong(format!(
            "the record of {name} is too long for one datagram"
        )));
    }
    let socket = UdpSocket::bind(ADDRESS)?;
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            if let Some(reply) = answer(&query[..length], &records) {
                // Who asked may have gone meanwhile.
                let _ = socket.send_to(&reply, from);
            }
        }
    });
    Ok(())
}

const MOST: usize = 420;
const TXT: u16 = 16;

/// The reply to a query with one question; `None` for what is no such query (RFC 1035 section 4.1).
fn answer(query: &[u8], records: &Records) -> Option<Vec<u8>> {
    let (name, end) = question(query)?;
    let kind = u16::from_be_bytes([*query.get(end)?, *query.get(end + 1)?]);
    let asked = query.get(12..end + 4)?;
    let text = records
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, text)| text);
    let found = text.filter(|_| kind == TXT);
    let code = if text.is_some() { 0 } else { 3 };
    let mut reply = query.get(..2)?.to_vec();
    // A response, authoritative, with recursion wanted and available; one question, and an answer or an SOA.
    reply.extend_from_slice(&[
        0x85,
        0x80 | code,
        0,
        1,
        0,
        u8::from(found.is_some()),
        0,
        u8::from(found.is_none()),
        0,
        0,
    ]);
    reply.extend_from_slice(asked);
    match found {
        Some(text) => txt(text, &mut reply),
        None => reply.extend_from_slice(SOA),
    }
    Some(reply)
}

/// The name that is asked for, and where its type is.
fn question(query: &[u8]) -> Option<(String, usize)> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = query.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += length;
    }
}

/// An hour, in a record.
const HOUR: [u8; 4] = 3_600_u32.to_be_bytes();

fn txt(text: &str, reply: &mut Vec<u8>) {
    let data: Vec<u8> = text
        .as_bytes()
        .chunks(255)
        .flat_map(|piece| {
            std::iter::once(u8::try_from(piece.len()).unwrap_or(u8::MAX)).chain(piece.iter().copied())
        })
        .collect();
    // The name of the question, TXT, IN, an hour.
    reply.extend_from_slice(&[0xc0, 12, 0, 16, 0, 1]);
    reply.extend_from_slice(&HOUR);
    reply.extend_from_slice(&u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes());
    reply.extend_from_slice(&data);
}

/// The root's SOA: no names, an hour for all its times.
const SOA: &[u8] = &[
    0, 0, 6, 0, 1, 0, 0, 0x0e, 0x10, 0, 22, 0, 0, 0, 0, 0, 1, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0x0e,
    0x10, 0, 0, 0x0e, 0x10,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str, kind: u8) -> Vec<u8> {
        let mut query = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            query.push(u8::try_from(label.len()).unwrap());
            query.extend_from_slice(label.as_bytes());
        }
        query.extend_from_slice(&[0, 0, kind, 0, 1]);
        query
    }

    #[test]
    fn a_record_is_found_whatever_its_case_and_all_else_is_said_not_to_be_there() {
        let records = vec![("a.example".to_owned(), "x".repeat(300))];
        let reply = answer(&asked("A.Example", 16), &records).unwrap();
        assert_eq!(
            (&reply[..2], reply[3] & 15, reply[7], reply[9]),
            ([7, 9].as_slice(), 0, 1, 0)
        );
        assert!(reply.len() > 300 && reply.ends_with(b"xxx"));
        let other = answer(&asked("a.example", 1), &records).unwrap();
        assert_eq!(
            (other[3] & 15, other[7], other[9]),
            (0, 0, 1),
            "the name is there, the type is not"
        );
        let none = answer(&asked("b.example", 16), &records).unwrap();
        assert_eq!((none[3] & 15, none[7], none[9]), (3, 0, 1));
        for length in 0..asked("a.example", 16).len() {
            assert!(answer(&asked("a.example", 16)[..length], &records).is_none());
        }
    }
}
