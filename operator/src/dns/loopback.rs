//! A name server on loopback for tests: says what its script says, over UDP and TCP.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::exchange::name_text;

/// What is said about one name and type.
#[derive(Clone)]
pub(super) enum Line {
    Records(Vec<RData>),
    Code(ResponseCode),
    Silence,
    /// Over UDP only the flag that it did not fit, over TCP the records.
    TooLong(Vec<RData>),
    /// Without authority.
    Lame,
}

pub(super) type Script = HashMap<(String, RecordType), Line>;

pub(super) struct NameServer {
    pub(super) address: SocketAddr,
    script: Arc<Mutex<Script>>,
}

impl NameServer {
    /// Serves on an address of loopback; port 0 takes a free one (for both transports).
    pub(super) async fn start(ip: &str, port: u16, script: Script) -> Self {
        let ip: IpAddr = ip.parse().unwrap();
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind((ip, port)).await.unwrap();
            let taken = tcp.local_addr().unwrap();
            match UdpSocket::bind(taken).await {
                Ok(udp) => break (tcp, udp),
                Err(error) => assert_eq!(port, 0, "{taken}: {error}"),
            }
        };
        let address = tcp.local_addr().unwrap();
        let script = Arc::new(Mutex::new(script));
        tokio::spawn(serve_udp(udp, Arc::clone(&script)));
        tokio::spawn(serve_tcp(tcp, Arc::clone(&script)));
        Self { address, script }
    }

    pub(super) fn set(&self, name: &str, kind: RecordType, line: Line) {
        self.script.lock().unwrap().insert((name.to_owned(), kind), line);
    }
}

async fn serve_udp(socket: UdpSocket, script: Arc<Mutex<Script>>) {
    let mut buffer = vec![0; 4_096];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
        // A reply with another identifier first: it must be passed over.
        if let Some((mut reply, truncate)) = reply_to(&buffer[..length], &script) {
            let id = reply.metadata.id;
            reply.metadata.id = id.wrapping_add(1);
            let _ = socket.send_to(&reply.to_vec().unwrap(), peer).await;
            reply.metadata.id = id;
            let reply = if truncate { reply.truncate() } else { reply };
            let _ = socket.send_to(&reply.to_vec().unwrap(), peer).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, script: Arc<Mutex<Script>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let Ok(length) = stream.read_u16().await else {
            continue;
        };
        let mut buffer = vec![0; usize::from(length)];
        if stream.read_exact(&mut buffer).await.is_ok()
            && let Some((reply, _)) = reply_to(&buffer, &script)
        {
            let bytes = reply.to_vec().unwrap();
            let _ = stream.write_u16(u16::try_from(bytes.len()).unwrap()).await;
            let _ = stream.write_all(&bytes).await;
        }
    }
}

fn reply_to(query: &[u8], script: &Mutex<Script>) -> Option<(Message, bool)> {
    let query = Message::from_vec(query).unwrap();
    let question = query.queries[0].clone();
    let line = script
        .lock()
        .unwrap()
        .get(&(name_text(question.name()), question.query_type()))
        .cloned();
    let mut reply = Message::response(query.metadata.id, OpCode::Query);
    reply.metadata.authoritative = true;
    reply.metadata.recursion_available = query.metadata.recursion_desired;
    reply.add_query(question.clone());
    let mut truncate = false;
    match line {
        None => reply.metadata.response_code = ResponseCode::NXDomain,
        Some(Line::Silence) => return None,
        Some(Line::Code(code)) => reply.metadata.response_code = code,
        Some(Line::Lame) => reply.metadata.authoritative = false,
        Some(Line::Records(records)) => add(&mut reply, &question, records),
        Some(Line::TooLong(records)) => {
            truncate = true;
            add(&mut reply, &question, records);
        }
    }
    Some((reply, truncate))
}

fn add(reply: &mut Message, question: &hickory_resolver::proto::op::Query, records: Vec<RData>) {
    for data in records {
        reply.add_answer(Record::from_rdata(question.name().clone(), 60, data));
    }
}
