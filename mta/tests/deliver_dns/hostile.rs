//! Answers that no honest server gives, octet by octet: each is over within the time of a question, nothing panics, and a
//! broken packet is never taken for "there is no such name", which would return mail.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postroad_mta::dns::resolver::Resolver;
use postroad_mta::dns::{Dns, DnsError, Scope};
use postroad_verify::dns::{Answer, Kind, Question};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// A question as it came: its id, its name, and the octets of its question section.
struct Asked {
    id: [u8; 2],
    name: String,
    kind: u16,
    section: Vec<u8>,
}

impl Asked {
    fn read(octets: &[u8]) -> Self {
        let mut at = 12;
        let mut labels = Vec::new();
        while octets[at] != 0 {
            let end = at + 1 + usize::from(octets[at]);
            labels.push(String::from_utf8_lossy(&octets[at + 1..end]).to_ascii_lowercase());
            at = end;
        }
        Self {
            id: [octets[0], octets[1]],
            name: labels.join("."),
            kind: u16::from_be_bytes([octets[at + 1], octets[at + 2]]),
            section: octets[12..at + 5].to_vec(),
        }
    }

    /// A whole reply: `flags` below QR, RD and RA, how many answers it claims to hold, and their octets.
    fn reply(&self, flags: u16, count: u16, answers: &[u8]) -> Vec<u8> {
        let mut reply = self.id.to_vec();
        reply.extend((0x8180 | flags).to_be_bytes());
        reply.extend([0, 1]);
        reply.extend(count.to_be_bytes());
        reply.extend([0, 0, 0, 0]);
        reply.extend(&self.section);
        reply.extend(answers);
        reply
    }

    /// Where the first answer begins.
    fn first_answer(&self) -> usize {
        12 + self.section.len()
    }
}

/// A record of the name that was asked for, whose data says to be so long.
fn record(kind: u16, ttl: u32, length: usize, data: &[u8]) -> Vec<u8> {
    let mut record = vec![0xc0, 12];
    record.extend(kind.to_be_bytes());
    record.extend([0, 1]);
    record.extend(ttl.to_be_bytes());
    record.extend(u16::try_from(length).unwrap().to_be_bytes());
    record.extend(data);
    record
}

fn whole(kind: u16, data: &[u8]) -> Vec<u8> {
    record(kind, 60, data.len(), data)
}

fn name(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in text.split('.') {
        octets.push(u8::try_from(label.len()).unwrap());
        octets.extend(label.as_bytes());
    }
    octets.push(0);
    octets
}

fn pointer(to: usize) -> [u8; 2] {
    (0xc000 | u16::try_from(to).unwrap()).to_be_bytes()
}

const A: u16 = 1;
const CNAME: u16 = 5;
const MX: u16 = 15;
const TXT: u16 = 16;
/// TC (RFC 1035 section 4.1.1).
const TRUNCATED: u16 = 0x0200;

/// What this server says; `None`: nothing. Over UDP what does not fit is cut.
fn say(asked: &Asked) -> Option<Vec<u8>> {
    let exchange = |rest: &[u8]| [&[0, 10][..], rest].concat();
    let inside = asked.first_answer() + 12;
    Some(match (asked.name.as_str(), asked.kind) {
        ("short-address.test", A) => asked.reply(0, 1, &whole(A, &[192, 0, 2])),
        ("long-address.test", A) => asked.reply(0, 1, &whole(A, &[192, 0, 2, 1, 9])),
        ("data-beyond-the-end.test", _) => asked.reply(0, 1, &record(asked.kind, 60, 400, &[0, 10, 0])),
        ("points-to-itself.test", MX) => asked.reply(0, 1, &whole(MX, &exchange(&pointer(inside + 2)))),
        ("points-in-a-circle.test", MX) => {
            let circle = [pointer(inside + 4), pointer(inside + 2)].concat();
            asked.reply(0, 1, &whole(MX, &exchange(&circle)))
        }
        ("points-beyond-the-end.test", MX) => asked.reply(0, 1, &whole(MX, &exchange(&pointer(0x3fff)))),
        ("long-label.test", MX) => asked.reply(
            0,
            1,
            &whole(MX, &exchange(&[&[0x7f; 1][..], &[b'x'; 127]].concat())),
        ),
        ("fewer-than-it-says.test", _) => asked.reply(0, 50, &[]),
        ("half-a-header.test", _) => asked.id.iter().copied().chain([0x81, 0x80, 0]).collect(),
        ("text-beyond-its-data.test", TXT) => asked.reply(0, 1, &whole(TXT, b"\xffshort")),
        ("another-id.test", _) => {
            let mut reply = asked.reply(0, 1, &whole(A, &[192, 0, 2, 1]));
            reply[0] ^= 0xff;
            reply
        }
        ("alias-of-itself.test", _) => asked.reply(0, 1, &whole(CNAME, &pointer(12))),
        ("never-whole.test", _) => asked.reply(TRUNCATED, 0, &[]),
        ("many-addresses.test", A) => {
            let one = |n: u16| whole(A, &[192, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
            asked.reply(0, 3_000, &(0..3_000).flat_map(one).collect::<Vec<_>>())
        }
        ("many-exchanges.test", MX) => {
            let one = |n: u16| {
                whole(
                    MX,
                    &[&n.to_be_bytes()[..], &name(&format!("mx{n}.test"))].concat(),
                )
            };
            asked.reply(0, 2_000, &(0..2_000).flat_map(one).collect::<Vec<_>>())
        }
        ("long-text.test", TXT) => {
            let piece = [&[255][..], &[b'x'; 255]].concat();
            asked.reply(0, 1, &whole(TXT, &piece.repeat(254)))
        }
        ("no-time-to-live.test", A) => asked.reply(0, 1, &record(A, 0, 4, &[192, 0, 2, 1])),
        ("good.test", A) => asked.reply(0, 1, &whole(A, &[192, 0, 2, 1])),
        (chain, _) if chain.ends_with(".chain.test") => {
            let number: u32 = chain.split('.').next()?.parse().ok()?;
            asked.reply(0, 1, &whole(CNAME, &name(&format!("{}.chain.test", number + 1))))
        }
        _ => asked.reply(0, 0, &[]),
    })
}

async fn serve() -> SocketAddr {
    let (datagrams, streams) = loop {
        let datagrams = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(streams) = TcpListener::bind(datagrams.local_addr().unwrap()).await {
            break (datagrams, streams);
        }
    };
    let address = datagrams.local_addr().unwrap();
    tokio::spawn(async move {
        let mut octets = [0; 1_500];
        while let Ok((length, from)) = datagrams.recv_from(&mut octets).await {
            let asked = Asked::read(&octets[..length]);
            if let Some(reply) = say(&asked) {
                let fits = reply.len() <= 1_200;
                let reply = if fits {
                    reply
                } else {
                    asked.reply(TRUNCATED, 0, &[])
                };
                let _ = datagrams.send_to(&reply, from).await;
            }
        }
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = streams.accept().await {
            tokio::spawn(exchange(stream));
        }
    });
    address
}

/// RFC 1035 section 4.2.2.
async fn exchange(mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let mut octets = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut octets).await?;
        if let Some(reply) = say(&Asked::read(&octets)) {
            let length = u16::try_from(reply.len()).map_err(std::io::Error::other)?;
            stream.write_u16(length).await?;
            stream.write_all(&reply).await?;
        }
    }
}

/// Longer than any question may take, with a busy machine in mind.
const OVER: Duration = Duration::from_mins(2);

#[tokio::test(flavor = "multi_thread")]
async fn broken_answers_are_no_answer_and_end_in_time() {
    let address = serve().await;
    let dns = Arc::new(Dns::new(Resolver::new(move || vec![address])));
    let mut asked = tokio::task::JoinSet::new();
    for host in [
        "short-address.test",
        "long-address.test",
        "data-beyond-the-end.test",
        "fewer-than-it-says.test",
        "half-a-header.test",
        "another-id.test",
        "never-whole.test",
    ] {
        let dns = Arc::clone(&dns);
        asked.spawn(async move { (host, dns.addresses(host, Scope::Public).await.map(|_| ())) });
    }
    for domain in [
        "data-beyond-the-end.test",
        "points-to-itself.test",
        "points-in-a-circle.test",
        "points-beyond-the-end.test",
        "long-label.test",
        "fewer-than-it-says.test",
        "half-a-header.test",
    ] {
        let dns = Arc::clone(&dns);
        asked.spawn(async move { (domain, dns.mx(domain).await.map(|_| ())) });
    }
    let all = tokio::time::timeout(OVER, asked.join_all())
        .await
        .expect("a question did not end");
    assert_eq!(all.len(), 14);
    for (name, found) in all {
        assert!(matches!(found, Err(DnsError::Temporary(_))), "{name}: {found:?}");
    }
    let text = Question {
        name: "text-beyond-its-data.test".to_owned(),
        kind: Kind::Txt,
    };
    assert_eq!(dns.answer(&text).await, Answer::Failure);
    // The resolver is as good as before.
    assert_eq!(dns.addresses("good.test", Scope::Public).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_that_lead_nowhere_end_in_time() {
    let address = serve().await;
    let dns = Dns::new(Resolver::new(move || vec![address]));
    for name in ["alias-of-itself.test", "1.chain.test"] {
        let question = Question {
            name: name.to_owned(),
            kind: Kind::Txt,
        };
        let all = async {
            (
                dns.addresses(name, Scope::Public).await,
                dns.mx(name).await,
                dns.answer(&question).await,
            )
        };
        let (addresses, exchanges, texts) = tokio::time::timeout(OVER, all).await.expect(name);
        assert!(addresses.is_err() && exchanges.is_err(), "{name}");
        assert!(!matches!(texts, Answer::Txt(_)), "{name}: {texts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_come_over_tcp_and_are_kept_to_what_a_packet_holds() {
    let address = serve().await;
    let dns = Dns::new(Resolver::new(move || vec![address]));
    let all = async {
        assert_eq!(
            dns.addresses("many-addresses.test", Scope::Public)
                .await
                .unwrap()
                .len(),
            3_000
        );
        assert_eq!(dns.mx("many-exchanges.test").await.unwrap().len(), 2_000);
        let question = Question {
            name: "long-text.test".to_owned(),
            kind: Kind::Txt,
        };
        let Answer::Txt(texts) = dns.answer(&question).await else {
            panic!("no text")
        };
        assert_eq!(texts.iter().map(Vec::len).collect::<Vec<_>>(), [254 * 255]);
        for _ in 0..3 {
            let found = dns.addresses("no-time-to-live.test", Scope::Public).await;
            assert_eq!(found.unwrap().len(), 1);
        }
    };
    tokio::time::timeout(OVER, all).await.expect("it did not end");
}
