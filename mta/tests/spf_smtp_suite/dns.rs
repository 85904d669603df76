//! A DNS server on loopback, UDP and TCP, that says what a test decides: as a recursive resolver would say it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, PTR, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use postroad_verify::dns::{Answer, Kind, Question};

/// What there is: the answer (`None`: nobody answers; a failure: SERVFAIL), and aliases that lead to it.
pub type Said = (Option<Answer>, Vec<String>);

type Find = Arc<dyn Fn(&Question) -> Said + Send + Sync>;

/// Serves until the process ends; gives the address, the same for both transports.
pub fn serve(find: impl Fn(&Question) -> Said + Send + Sync + 'static) -> SocketAddr {
    let (datagrams, streams) = bind();
    let address = datagrams.local_addr().unwrap();
    let find: Find = Arc::new(find);
    let shared = Arc::clone(&find);
    std::thread::spawn(move || {
        let mut octets = [0; 4_096];
        while let Ok((length, from)) = datagrams.recv_from(&mut octets) {
            if let Some(reply) = reply(&shared, &octets[..length], MOST_DATAGRAM) {
                let _ = datagrams.send_to(&reply, from);
            }
        }
    });
    std::thread::spawn(move || {
        for stream in streams.incoming().flatten() {
            let find = Arc::clone(&find);
            std::thread::spawn(move || drop(exchange(stream, &find)));
        }
    });
    address
}

fn bind() -> (UdpSocket, TcpListener) {
    loop {
        let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        if let Ok(streams) = TcpListener::bind(datagrams.local_addr().unwrap()) {
            return (datagrams, streams);
        }
    }
}

/// RFC 1035 section 4.2.2.
fn exchange(mut stream: TcpStream, find: &Find) -> std::io::Result<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut octets = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut octets)?;
        let Some(reply) = reply(find, &octets, usize::from(u16::MAX)) else {
            return Ok(());
        };
        let length = u16::try_from(reply.len())
            .map_err(std::io::Error::other)?
            .to_be_bytes();
        stream.write_all(&[length.as_slice(), &reply].concat())?;
    }
}

/// `None`: nobody answers.
fn reply(find: &Find, octets: &[u8], most: usize) -> Option<Vec<u8>> {
    let asked = Message::from_vec(octets).ok()?;
    let query = asked.queries.first()?.clone();
    let labels: Vec<String> = query
        .name()
        .iter()
        .map(|label| String::from_utf8_lossy(label).into_owned())
        .collect();
    let kind = kind(query.query_type());
    let (answer, aliases) = find(&Question {
        name: labels.join("."),
        kind: kind.unwrap_or(Kind::Txt),
    });
    let mut reply = asked.clone();
    reply.metadata.message_type = MessageType::Response;
    reply.metadata.recursion_available = true;
    let mut owner = query.name().clone();
    for alias in aliases {
        let target = name(&alias);
        let alias = RData::CNAME(CNAME(target.clone()));
        reply.answers.push(Record::from_rdata(owner, 60, alias));
        owner = target;
    }
    let answer = answer?;
    match answer {
        Answer::NxDomain => reply.metadata.response_code = ResponseCode::NXDomain,
        Answer::Failure => reply.metadata.response_code = ResponseCode::ServFail,
        _ => {}
    }
    for data in records(answer).into_iter().filter(|_| kind.is_some()) {
        reply.answers.push(Record::from_rdata(owner.clone(), 60, data));
    }
    let whole = reply.to_vec().unwrap();
    if whole.len() <= most {
        return Some(whole);
    }
    reply.answers.clear();
    reply.metadata.truncation = true;
    reply.to_vec().ok()
}

fn kind(of: RecordType) -> Option<Kind> {
    Some(match of {
        RecordType::TXT => Kind::Txt,
        RecordType::A => Kind::A,
        RecordType::AAAA => Kind::Aaaa,
        RecordType::MX => Kind::Mx,
        RecordType::PTR => Kind::Ptr,
        _ => return None,
    })
}

fn records(answer: Answer) -> Vec<RData> {
    match answer {
        Answer::Txt(texts) => texts.iter().map(|text| RData::TXT(strings(text))).collect(),
        Answer::Addresses(addresses) => addresses
            .into_iter()
            .map(|address| match address {
                std::net::IpAddr::V4(v4) => RData::A(A(v4)),
                std::net::IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
            })
            .collect(),
        Answer::Mx(exchangers) => exchangers
            .iter()
            .map(|mx| RData::MX(MX::new(mx.preference, name(&mx.host))))
            .collect(),
        Answer::Names(names) => names.iter().map(|of| RData::PTR(PTR(name(of)))).collect(),
        Answer::NoData | Answer::NxDomain | Answer::Failure => Vec::new(),
    }
}

/// One text as several strings, so that they must be joined; no text is one empty string, since a record without strings cannot
/// exist on the wire.
fn strings(text: &[u8]) -> TXT {
    let strings: Vec<&[u8]> = if text.is_empty() {
        vec![b"".as_slice()]
    } else {
        text.chunks(LONGEST_STRING).collect()
    };
    TXT::from_bytes(strings)
}

fn name(text: &str) -> Name {
    let text = text.trim_end_matches('.');
    if text.is_empty() {
        return Name::root();
    }
    let mut name = Name::from_labels(text.split('.').map(str::as_bytes)).unwrap();
    name.set_fqdn(true);
    name
}

/// Small, so that some answers must come by TCP.
const MOST_DATAGRAM: usize = 300;
const LONGEST_STRING: usize = 40;
