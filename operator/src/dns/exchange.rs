//! One question to one server: UDP, then TCP when the answer did not fit (RFC 1035 section 4.2, RFC 7766).
//!
//! The socket is connected, the port and the identifier are random, and only a reply with our identifier and our
//! question is taken; anything else that arrives is passed over until the time is up (RFC 5452).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use postroad_verify::dns::{Answer, Exchanger, is_askable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Largest reply that we ask for over UDP: fits every path without fragments.
const UDP_PAYLOAD: u16 = 1_232;

/// Aliases that are followed inside one reply.
const MOST_ALIASES: usize = 8;

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Records of the type asked for.
    Records(Vec<RData>),
    /// The name exists, but not with this type.
    NoData,
    /// There is no such name.
    NxDomain,
    /// The name is an alias of this one, about which the server says nothing more.
    Alias(String),
}

/// Why a server's word is not known. Says nothing about whether there are records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// No reply in time.
    #[error("no reply in time")]
    TimedOut,
    /// The server cannot be reached.
    #[error("not reachable ({0})")]
    Unreachable(io::ErrorKind),
    /// An error code.
    #[error("replied {0}")]
    Code(&'static str),
    /// A reply that cannot be read.
    #[error("sent a reply that cannot be read")]
    Unreadable,
    /// Asked directly, the server does not answer with authority (a lame delegation).
    #[error("is not authoritative for the zone")]
    NotAuthoritative,
    /// Aliases without end.
    #[error("has a loop of aliases")]
    AliasLoop,
    /// There is nobody to ask.
    #[error("no server to ask")]
    NoServer,
}

/// How a question is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To a resolver: it shall find out.
    Recursive,
    /// To a server of the zone: only what it knows with authority counts.
    Direct,
}

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For each of the two tries over UDP.
    pub datagram: Duration,
    /// For a whole exchange over TCP.
    pub stream: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            datagram: Duration::from_secs(2),
            stream: Duration::from_secs(4),
        }
    }
}

/// Asks a server. Error: its word is not known.
pub async fn ask(
    server: SocketAddr,
    name: &str,
    kind: RecordType,
    mode: Mode,
    patience: Patience,
) -> Result<Found, Trouble> {
    read(&reply_of(server, name, kind, mode, patience).await?, kind, mode)
}

/// Asks a resolver whether DNSSEC proves its answer (RFC 6840 section 5.7). Error: its word is not known.
pub async fn is_authentic(
    server: SocketAddr,
    name: &str,
    kind: RecordType,
    patience: Patience,
) -> Result<bool, Trouble> {
    let reply = reply_of(server, name, kind, Mode::Recursive, patience).await?;
    read(&reply, kind, Mode::Recursive).map(|_| reply.metadata.authentic_data)
}

async fn reply_of(
    server: SocketAddr,
    name: &str,
    kind: RecordType,
    mode: Mode,
    patience: Patience,
) -> Result<Message, Trouble> {
    let query = build(name, kind, mode)?;
    let mut reply = Err(Trouble::TimedOut);
    for _ in 0..2 {
        reply = timed(patience.datagram, over_udp(server, &query)).await;
        if !matches!(reply, Err(Trouble::TimedOut)) {
            break;
        }
    }
    let mut reply = reply?;
    if reply.metadata.truncation {
        reply = timed(patience.stream, over_tcp(server, &query)).await?;
    }
    Ok(reply)
}

async fn timed<T>(
    patience: Duration,
    exchange: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    timeout(patience, exchange)
        .await
        .unwrap_or(Err(Trouble::TimedOut))
}

fn build(name: &str, kind: RecordType, mode: Mode) -> Result<Message, Trouble> {
    let name = wire_name(name).ok_or(Trouble::Unreadable)?;
    let mut query = Message::query();
    query.metadata.recursion_desired = mode == Mode::Recursive;
    // A resolver that validates then says so, without its signatures.
    query.metadata.authentic_data = mode == Mode::Recursive;
    query.add_query(Query::query(name, kind));
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_PAYLOAD).set_version(0);
    query.set_edns(edns);
    Ok(query)
}

/// A name as the wire has it. Its octets are free: SPF macros make names that no host has.
fn wire_name(name: &str) -> Option<Name> {
    if !is_askable(name) {
        return None;
    }
    let mut name = Name::from_labels(name.split('.').map(str::as_bytes)).ok()?;
    name.set_fqdn(true);
    Some(name)
}

async fn over_udp(server: SocketAddr, query: &Message) -> Result<Message, Trouble> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await.map_err(unreachable)?;
    socket.connect(server).await.map_err(unreachable)?;
    socket
        .send(&query.to_vec().map_err(|_| Trouble::Unreadable)?)
        .await
        .map_err(unreachable)?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await.map_err(unreachable)?;
        if let Some(reply) = reply_to(query, &buffer[..length]) {
            return Ok(reply);
        }
    }
}

async fn over_tcp(server: SocketAddr, query: &Message) -> Result<Message, Trouble> {
    let mut stream = TcpStream::connect(server).await.map_err(unreachable)?;
    let query_bytes = query.to_vec().map_err(|_| Trouble::Unreadable)?;
    let length = u16::try_from(query_bytes.len()).map_err(|_| Trouble::Unreadable)?;
    // Length and message in one write (RFC 7766 section 8).
    let framed = [length.to_be_bytes().as_slice(), &query_bytes].concat();
    stream.write_all(&framed).await.map_err(unreachable)?;
    let length = stream.read_u16().await.map_err(unreachable)?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await.map_err(unreachable)?;
    reply_to(query, &buffer).ok_or(Trouble::Unreadable)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unreachable(error: io::Error) -> Trouble {
    Trouble::Unreachable(error.kind())
}

fn reply_to(query: &Message, bytes: &[u8]) -> Option<Message> {
    let reply = Message::from_vec(bytes).ok()?;
    let same_question = match (reply.queries.as_slice(), query.queries.as_slice()) {
        ([theirs], [ours]) => {
            theirs.query_type() == ours.query_type() && same_name(theirs.name(), ours.name())
        }
        // Some servers leave the question out of an error.
        ([], _) => reply.metadata.response_code != ResponseCode::NoError,
        _ => false,
    };
    let ours = reply.metadata.id == query.metadata.id && reply.metadata.message_type == MessageType::Response;
    (ours && same_question).then_some(reply)
}

fn same_name(left: &Name, right: &Name) -> bool {
    left.to_lowercase() == right.to_lowercase()
}

fn read(reply: &Message, kind: RecordType, mode: Mode) -> Result<Found, Trouble> {
    let exists = match reply.metadata.response_code {
        ResponseCode::NoError => true,
        ResponseCode::NXDomain => false,
        code => return Err(Trouble::Code(code_name(code))),
    };
    if mode == Mode::Direct && !reply.metadata.authoritative {
        return Err(Trouble::NotAuthoritative);
    }
    let Some(question) = reply.queries.first() else {
        return Err(Trouble::Unreadable);
    };
    let mut owner = question.name().to_lowercase();
    let mut aliases = 0;
    loop {
        let records: Vec<RData> = reply
            .answers
            .iter()
            .filter(|record| record.record_type() == kind && same_name(&record.name, &owner))
            .map(|record| record.data.clone())
            .collect();
        if !records.is_empty() {
            return Ok(Found::Records(records));
        }
        let alias = reply.answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if same_name(&record.name, &owner) => Some(target.0.to_lowercase()),
            _ => None,
        });
        match alias {
            Some(_) if aliases == MOST_ALIASES => return Err(Trouble::AliasLoop),
            Some(target) => owner = target,
            // A recursive resolver followed the alias to its end; a server of the zone may know its own part only.
            None if exists && aliases > 0 && mode == Mode::Direct => {
                return Ok(Found::Alias(name_text(&owner)));
            }
            None if exists => return Ok(Found::NoData),
            None => return Ok(Found::NxDomain),
        }
        aliases += 1;
    }
}

fn code_name(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::Refused => "REFUSED",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::NotImp => "NOTIMP",
        _ => "an error",
    }
}

/// A name as we write it: lower case, no final dot.
pub fn name_text(name: &Name) -> String {
    let text = name.to_lowercase().to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

impl Found {
    /// The answer as verdicts take it.
    pub fn into_answer(self) -> Answer {
        let records = match self {
            Self::Records(records) => records,
            Self::NoData => return Answer::NoData,
            Self::NxDomain => return Answer::NxDomain,
            Self::Alias(_) => return Answer::Failure,
        };
        match records.first() {
            Some(RData::TXT(_)) => Answer::Txt(texts(&records)),
            Some(RData::A(_) | RData::AAAA(_)) => Answer::Addresses(addresses(&records)),
            Some(RData::MX(_)) => Answer::Mx(exchangers(&records)),
            Some(RData::PTR(_) | RData::NS(_)) => Answer::Names(names(&records)),
            _ => Answer::Failure,
        }
    }
}

/// TXT records, the strings of each joined.
pub fn texts(records: &[RData]) -> Vec<Vec<u8>> {
    let text = |record: &RData| match record {
        RData::TXT(text) => Some(text.txt_data.concat()),
        _ => None,
    };
    records.iter().filter_map(text).collect()
}

/// Addresses of A and AAAA records.
pub fn addresses(records: &[RData]) -> Vec<IpAddr> {
    let address = |record: &RData| match record {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    };
    records.iter().filter_map(address).collect()
}

/// MX records by preference, then name.
pub fn exchangers(records: &[RData]) -> Vec<Exchanger> {
    let exchanger = |record: &RData| match record {
        RData::MX(mx) => Some(Exchanger {
            preference: mx.preference,
            host: name_text(&mx.exchange),
        }),
        _ => None,
    };
    let mut list: Vec<Exchanger> = records.iter().filter_map(exchanger).collect();
    list.sort();
    list
}

/// Names of NS and PTR records.
pub fn names(records: &[RData]) -> Vec<String> {
    let name = |record: &RData| match record {
        RData::NS(name) => Some(name_text(&name.0)),
        RData::PTR(name) => Some(name_text(&name.0)),
        _ => None,
    };
    records.iter().filter_map(name).collect()
}
