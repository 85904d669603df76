//! What mail-auth says of each case: `beside-mail-auth CASES`, lines of suite, id and verdict between tabs.
//!
//! It asks a name server on loopback, which has the names of one case at a time: as it would be used.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, PTR, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator};
use serde_json::Value;
use tokio::net::UdpSocket;

type Zone = Arc<Mutex<Value>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("give the file of cases")?;
    let cases: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let zone = Zone::default();
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    let address = socket.local_addr()?;
    tokio::spawn(serve(socket, Arc::clone(&zone)));
    for case in list(&cases["spf"]) {
        let number = case["zone"].as_u64().unwrap_or_default();
        set(&zone, cases["zones"][usize::try_from(number)?].clone());
        let verdict = spf(&asking(address)?, case).await;
        println!("spf\t{}\t{verdict}", text(&case["id"]));
    }
    for case in list(&cases["arc"]) {
        let keys = case["keys"].as_object().into_iter().flatten();
        let keys = keys.map(|(name, key)| (name.to_ascii_lowercase(), serde_json::json!({"TXT": [key]})));
        set(&zone, Value::Object(keys.collect()));
        let verdict = arc(&asking(address)?, text(&case["message"])).await;
        println!("arc\t{}\t{verdict}", text(&case["id"]));
    }
    Ok(())
}

async fn spf(asking: &MessageAuthenticator, case: &Value) -> String {
    let Ok(client) = text(&case["host"]).parse() else {
        return "error: no address".to_owned();
    };
    let (helo, from) = (text(&case["helo"]), text(&case["mailfrom"]));
    // Without a sender the name that the client greets with stands for it (RFC 7208 section 2.4).
    let asked = if from.is_empty() {
        SpfParameters::helo(client, helo, "receiver.example")
    } else {
        SpfParameters::mail_from(client, helo, "receiver.example", from)
    };
    format!("{:?}", asking.verify_spf(asked).await.result()).to_ascii_lowercase()
}

async fn arc(asking: &MessageAuthenticator, message: &str) -> &'static str {
    let Some(message) = AuthenticatedMessage::parse(message.as_bytes()) else {
        return "none";
    };
    match asking.verify_arc(&message).await.result() {
        DkimResult::Pass => "pass",
        DkimResult::None => "none",
        _ => "fail",
    }
}

fn asking(address: SocketAddr) -> Result<MessageAuthenticator, Box<dyn Error>> {
    let mut connection = ConnectionConfig::udp();
    connection.port = address.port();
    let server = NameServerConfig::new(address.ip(), true, vec![connection]);
    let mut options = ResolverOpts::default();
    options.cache_size = 0;
    options.attempts = 1;
    let config = ResolverConfig::from_parts(None, vec![], vec![server]);
    Ok(MessageAuthenticator::new(config, options)?)
}

async fn serve(socket: UdpSocket, zone: Zone) {
    let mut octets = vec![0; 4_096];
    while let Ok((length, peer)) = socket.recv_from(&mut octets).await {
        let query = octets.get(..length).and_then(|query| Message::from_vec(query).ok());
        let reply = query.and_then(|query| reply(&query, &zone.lock().unwrap_or_else(PoisonError::into_inner)));
        if let Some(reply) = reply.and_then(|reply| reply.to_vec().ok()) {
            let _ = socket.send_to(&reply, peer).await;
        }
    }
}

fn reply(query: &Message, zone: &Value) -> Option<Message> {
    let question = query.queries.first()?.clone();
    let mut reply = Message::response(query.metadata.id, OpCode::Query);
    reply.metadata.recursion_available = true;
    reply.add_query(question.clone());
    let mut owner = question.name().clone();
    for _ in 0..8 {
        let Some(entries) = zone.get(shown(&owner)) else {
            reply.metadata.response_code = ResponseCode::NXDomain;
            return Some(reply);
        };
        if let Some(target) = list(&entries["CNAME"]).first() {
            let target = name(text(target))?;
            reply.add_answer(Record::from_rdata(owner, 60, RData::CNAME(CNAME(target.clone()))));
            owner = target;
            continue;
        }
        let kind = question.query_type();
        let found: Vec<RData> = list(&entries[kind.to_string()])
            .iter()
            .filter_map(|value| data(kind, value))
            .collect();
        if found.is_empty() && entries["silent"] == true {
            reply.metadata.response_code = ResponseCode::ServFail;
        }
        for data in found {
            reply.add_answer(Record::from_rdata(owner.clone(), 60, data));
        }
        return Some(reply);
    }
    reply.metadata.response_code = ResponseCode::ServFail;
    Some(reply)
}

fn data(kind: RecordType, value: &Value) -> Option<RData> {
    Some(match kind {
        RecordType::A => RData::A(A(text(value).parse().ok()?)),
        RecordType::AAAA => RData::AAAA(AAAA(text(value).parse().ok()?)),
        RecordType::PTR => RData::PTR(PTR(name(text(value))?)),
        RecordType::MX => {
            let preference = u16::try_from(value[0].as_u64()?).ok()?;
            RData::MX(MX::new(preference, name(text(&value[1]))?))
        }
        RecordType::TXT => {
            let pieces: Vec<&[u8]> = text(value).as_bytes().chunks(255).collect();
            RData::TXT(TXT::from_bytes(if pieces.is_empty() { vec![b""] } else { pieces }))
        }
        _ => return None,
    })
}

/// A name of a zone as the wire has it: its octets are free.
fn name(text: &str) -> Option<Name> {
    let labels = text.trim_end_matches('.').split('.').filter(|label| !label.is_empty());
    let mut name = Name::from_labels(labels.map(str::as_bytes)).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn shown(name: &Name) -> String {
    let labels: Vec<_> = name.iter().map(String::from_utf8_lossy).collect();
    labels.join(".").to_ascii_lowercase()
}

fn set(zone: &Zone, to: Value) {
    *zone.lock().unwrap_or_else(PoisonError::into_inner) = to;
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
