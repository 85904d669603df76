//! Answers that no honest server gives, octet by octet: each is over within the time of a question, nothing panics, and a
//! broken packet is never taken for "there is no such name", which would return mail.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use postroad_mta::dns::resolver::Resolver;
use postroad_mta::dns::{Dns, DnsError, Scope};
use postroad_verify::dane;
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

/// A record of some name.
fn record_of(owner: &str, data: [u8; 4]) -> Vec<u8> {
    [&name(owner)[..], &record(A, 60, 4, &data)[2..]].concat()
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
const NXDOMAIN: u16 = 3;
/// Where mail must not go.
const FORGED: [u8; 4] = [192, 0, 2, 66];

/// A reply with a record of the name that was asked for, to a question that was not.
fn misplaced(asked: &Asked, how: &str) -> Vec<u8> {
    let mut section = asked.section.clone();
    let end = section.len();
    match how {
        "name" | "gone" => section[1] ^= 1,
        "kind" => section[end - 3] ^= 16,
        "class" => section[end - 1] = 3,
        _ => section.clear(),
    }
    let questions = u8::from(!section.is_empty());
    let other = Asked {
        id: asked.id,
        name: asked.name.clone(),
        kind: asked.kind,
        section,
    };
    let mut reply = if how == "gone" {
        other.reply(NXDOMAIN, 0, &[])
    } else {
        other.reply(0, 1, &record_of(&asked.name, FORGED))
    };
    reply[5] = questions;
    reply
}

/// What this server says; `None`: nothing. Over UDP what does not fit is cut, and the answer for a name `tcp-…` as well.
fn say(asked: &Asked) -> Option<Vec<u8>> {
    let over = asked.name.strip_prefix("tcp-").unwrap_or(&asked.name);
    if let Some(how) = over.strip_suffix(".other.test") {
        return Some(misplaced(asked, how));
    }
    let exchange = |rest: &[u8]| [&[0, 10][..], rest].concat();
    let inside = asked.first_answer() + 12;
    Some(match (over, asked.kind) {
        ("foreign.test", A) => {
            let records = [
                record_of("victim.test", FORGED),
                record_of(&asked.name, [192, 0, 2, 1]),
                record_of("victim.test", FORGED),
            ];
            asked.reply(0, 3, &records.concat())
        }
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
        ("good.test" | "forged-first.test", A) => asked.reply(0, 1, &whole(A, &[192, 0, 2, 1])),
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
            if asked.name == "forged-first.test" {
                let _ = datagrams.send_to(&misplaced(&asked, "name"), from).await;
            }
            if let Some(reply) = say(&asked) {
                let fits = reply.len() <= 1_200 && !asked.name.starts_with("tcp-");
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
        "tcp-another-id.test",
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
    assert_eq!(all.len(), 15);
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

/// RFC 5452 section 9.1. Taken for an answer, a forged or mixed-up "no such name" would return mail, and a forged address would
/// send it elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_to_another_question_is_no_answer() {
    let address = serve().await;
    let dns = Arc::new(Dns::new(Resolver::new(move || vec![address])));
    let mut asked = tokio::task::JoinSet::new();
    for how in ["name", "kind", "class", "none", "gone"] {
        for way in ["", "tcp-"] {
            let (dns, host) = (Arc::clone(&dns), format!("{way}{how}.other.test"));
            asked.spawn(async move {
                let proof = dane::Question {
                    name: host.clone(),
                    kind: dane::Kind::A,
                };
                let text = Question {
                    name: host.clone(),
                    kind: Kind::Txt,
                };
                let full = format!("{host}.");
                let found = tokio::join!(
                    dns.addresses(&host, Scope::Public),
                    dns.addresses(&full, Scope::Configured),
                    dns.mx(&host),
                    dns.answer(&text),
                    dns.proof(&proof),
                );
                (host, found)
            });
        }
    }
    let all = tokio::time::timeout(OVER, asked.join_all())
        .await
        .expect("a question did not end");
    assert_eq!(all.len(), 10);
    for (host, (public, configured, exchanges, text, proof)) in all {
        assert!(
            matches!(public, Err(DnsError::Temporary(_))),
            "{host}: {public:?}"
        );
        assert!(
            matches!(configured, Err(DnsError::Temporary(_))),
            "{host}: {configured:?}"
        );
        assert!(
            matches!(exchanges, Err(DnsError::Temporary(_))),
            "{host}: {exchanges:?}"
        );
        assert_eq!(text, Answer::Failure, "{host}");
        assert_eq!(proof, dane::Answer::Failure, "{host}");
    }
    let right = ["192.0.2.1".parse::<IpAddr>().unwrap()];
    for host in ["forged-first.test", "foreign.test", "tcp-foreign.test"] {
        let found = dns.addresses(host, Scope::Public).await;
        assert_eq!(found.as_deref(), Ok(&right[..]), "{host}");
    }
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
