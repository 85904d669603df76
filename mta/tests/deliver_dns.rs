//! The resolver against a DNS server on loopback: every kind of answer is told from the others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests and their parts"
)]

#[path = "deliver_dns/hostile.rs"]
mod hostile;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, PTR, TLSA, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use postroad_mta::dns::resolver::Resolver;
use postroad_mta::dns::{Dns, DnsError, Exchange, Scope};
use postroad_verify::dane;
use postroad_verify::dns::{Answer, Exchanger, Kind, Question};
use tokio::net::UdpSocket;

/// A server whose addresses end with this octet.
async fn server(last: u8) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut octets = [0; 1_500];
        while let Ok((length, from)) = socket.recv_from(&mut octets).await {
            let asked = Message::from_vec(&octets[..length]).unwrap();
            socket
                .send_to(&answer(&asked, last).to_vec().unwrap(), from)
                .await
                .unwrap();
        }
    });
    address
}

fn answer(asked: &Message, last: u8) -> Message {
    let mut reply = asked.clone();
    reply.metadata.message_type = MessageType::Response;
    reply.metadata.recursion_available = true;
    let query = asked.queries[0].clone();
    let name = |text: &str| Name::from_ascii(text).unwrap();
    let record = |of: &Name, data| Record::from_rdata(of.clone(), 60, data);
    let own = query.name().clone();
    match (own.to_ascii().to_ascii_lowercase().as_str(), query.query_type()) {
        ("mail.test.", RecordType::MX) => {
            reply
                .answers
                .push(record(&own, RData::MX(MX::new(20, name("Two.test.")))));
            reply
                .answers
                .push(record(&own, RData::MX(MX::new(10, name("one.test.")))));
        }
        ("null.test.", RecordType::MX) => reply
            .answers
            .push(record(&own, RData::MX(MX::new(0, Name::root())))),
        ("one.test." | "both.test." | "old-only.test.", RecordType::A) => reply
            .answers
            .push(record(&own, RData::A(A(Ipv4Addr::new(192, 0, 2, last))))),
        ("alias.test.", RecordType::A) => {
            reply
                .answers
                .push(record(&own, RData::CNAME(CNAME(name("one.test.")))));
            reply.answers.push(record(
                &name("one.test."),
                RData::A(A(Ipv4Addr::new(192, 0, 2, last))),
            ));
        }
        ("new.test." | "both.test.", RecordType::AAAA) => reply.answers.push(record(
            &own,
            RData::AAAA(AAAA(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()))),
        )),
        ("signed.test.", RecordType::MX) => {
            prove(asked, &mut reply);
            let exchange = MX::new(10, name("One.signed.test."));
            reply.answers.push(record(&own, RData::MX(exchange)));
        }
        ("signed.test.", RecordType::A) => {
            prove(asked, &mut reply);
            let end = name("End.signed.test.");
            reply.answers.push(record(&own, RData::CNAME(CNAME(end.clone()))));
            let address = RData::A(A(Ipv4Addr::new(192, 0, 2, last)));
            reply.answers.push(record(&end, address));
        }
        ("signed.test.", RecordType::CNAME) => {
            prove(asked, &mut reply);
            let end = name("End.signed.test.");
            reply.answers.push(record(&own, RData::CNAME(CNAME(end))));
        }
        ("_25._tcp.signed.test.", RecordType::TLSA) => {
            prove(asked, &mut reply);
            for data in [vec![7; 32], vec![8; 32]] {
                let tlsa = TLSA::new(3.into(), 1.into(), 1.into(), data);
                reply.answers.push(record(&own, RData::TLSA(tlsa)));
            }
        }
        ("text.test.", RecordType::TXT) => {
            let text = TXT::from_bytes(vec![b"v=spf1 ".as_slice(), b"-all"]);
            reply.answers.push(record(&own, RData::TXT(text)));
            let text = TXT::from_bytes(vec![b"".as_slice()]);
            reply.answers.push(record(&own, RData::TXT(text)));
        }
        ("1.2.0.192.in-addr.arpa.", RecordType::PTR) => {
            reply
                .answers
                .push(record(&own, RData::PTR(PTR(name("One.test.")))));
        }
        ("gone.test.", _) => reply.metadata.response_code = ResponseCode::NXDomain,
        ("broken.test.", _)
        | ("half-a.test.", RecordType::A)
        | ("half-aaaa.test." | "old-only.test.", RecordType::AAAA) => {
            reply.metadata.response_code = ResponseCode::ServFail;
        }
        _ => {}
    }
    reply
}

/// As a resolver that validates does for who asks by the DO bit (RFC 4035 section 3.2.3).
fn prove(asked: &Message, reply: &mut Message) {
    let wanted = asked.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
    reply.metadata.authentic_data = wanted;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_resolver_says_to_be_proven_is_told_from_the_rest() {
    let address = server(1).await;
    let dns = Dns::new(Resolver::new(move || vec![address]));
    let ask = async |name: &str, kind| {
        let question = dane::Question {
            name: name.to_owned(),
            kind,
        };
        dns.proof(&question).await
    };
    let found = |proven, end: Option<&str>, data: Vec<Vec<u8>>| dane::Answer::Found {
        proven,
        end: end.map(str::to_owned),
        data,
    };
    let record = |octet| [&[3, 1, 1][..], &[octet; 32]].concat();
    let (exchange, end) = (b"one.signed.test".to_vec(), Some("end.signed.test"));
    // Asked twice: the second time it is known.
    for _ in 0..2 {
        for (name, kind, want) in [
            (
                "signed.test",
                dane::Kind::Mx,
                found(true, None, vec![exchange.clone()]),
            ),
            ("signed.test", dane::Kind::A, found(true, end, vec![vec![]])),
            ("signed.test", dane::Kind::Cname, found(true, None, vec![vec![]])),
            (
                "_25._tcp.signed.test",
                dane::Kind::Tlsa,
                found(true, None, vec![record(7), record(8)]),
            ),
            ("one.test", dane::Kind::A, found(false, None, vec![vec![]])),
            (
                "alias.test",
                dane::Kind::A,
                found(false, Some("one.test"), vec![vec![]]),
            ),
            ("signed.test", dane::Kind::Aaaa, dane::Answer::Nothing),
            ("_25._tcp.one.test", dane::Kind::Tlsa, dane::Answer::Nothing),
            ("gone.test", dane::Kind::A, dane::Answer::Nothing),
            ("broken.test", dane::Kind::A, dane::Answer::Failure),
        ] {
            assert_eq!(ask(name, kind).await, want, "{name} {kind:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_answer_is_told_from_the_others() {
    let address = server(1).await;
    let dns = Dns::new(Resolver::new(move || vec![address]));
    let mut exchanges = dns.mx("mail.test").await.unwrap();
    exchanges.sort();
    let exchange = |preference, host: &str| Exchange {
        preference,
        host: host.to_owned(),
    };
    assert_eq!(exchanges, [exchange(10, "one.test"), exchange(20, "two.test")]);
    assert_eq!(dns.mx("null.test").await.unwrap(), [exchange(0, "")]);
    assert_eq!(dns.mx("one.test").await, Err(DnsError::NoData));
    assert_eq!(dns.mx("gone.test").await, Err(DnsError::NxDomain));
    assert!(matches!(dns.mx("broken.test").await, Err(DnsError::Temporary(_))));
    let one = ["192.0.2.1".parse::<IpAddr>().unwrap()];
    assert_eq!(dns.addresses("one.test", Scope::Public).await.unwrap(), one);
    assert_eq!(dns.addresses("alias.test", Scope::Public).await.unwrap(), one);
    assert_eq!(dns.addresses("one.test.", Scope::Configured).await.unwrap(), one);
    assert_eq!(
        dns.addresses("gone.test", Scope::Public).await,
        Err(DnsError::NxDomain)
    );
    assert_eq!(
        dns.addresses("empty.test", Scope::Public).await,
        Err(DnsError::NoData)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_addresses_is_told_from_one_of_which_half_is_not_known() {
    let address = server(1).await;
    let dns = Dns::new(Resolver::new(move || vec![address]));
    let ask = async |host| dns.addresses(host, Scope::Public).await;
    let (old, new): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
    assert_eq!(ask("new.test").await, Ok(vec![new]));
    assert_eq!(ask("both.test").await, Ok(vec![new, old]));
    assert_eq!(ask("old-only.test").await, Ok(vec![old]));
    // One family is known to be empty, and of the other one nothing is known: mail for it waits.
    for host in ["half-a.test", "half-aaaa.test"] {
        let answer = ask(host).await;
        assert!(
            matches!(answer, Err(DnsError::Temporary(_))),
            "{host}: {answer:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_servers_are_asked_as_soon_as_the_settings_name_them() {
    let (first, second) = (server(1).await, server(2).await);
    let servers = Arc::new(Mutex::new(vec![first]));
    let named = servers.clone();
    let dns = Dns::new(Resolver::new(move || named.lock().unwrap().clone()));
    let ask = || dns.addresses("one.test", Scope::Public);
    assert_eq!(ask().await.unwrap(), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    *servers.lock().unwrap() = vec![second];
    assert_eq!(ask().await.unwrap(), ["192.0.2.2".parse::<IpAddr>().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sender_authentication_gets_records_no_data_no_name_and_no_answer_apart() {
    let address = server(1).await;
    let dns = Dns::new(Resolver::new(move || vec![address]));
    let one = Answer::Addresses(vec!["192.0.2.1".parse().unwrap()]);
    let exchanger = |preference, host: &str| Exchanger {
        preference,
        host: host.to_owned(),
    };
    for (name, kind, want) in [
        (
            "text.test",
            Kind::Txt,
            Answer::Txt(vec![b"v=spf1 -all".to_vec(), Vec::new()]),
        ),
        ("one.test", Kind::A, one.clone()),
        ("alias.test", Kind::A, one),
        ("one.test", Kind::Aaaa, Answer::NoData),
        ("null.test", Kind::Mx, Answer::Mx(vec![exchanger(0, "")])),
        (
            "mail.test",
            Kind::Mx,
            Answer::Mx(vec![exchanger(20, "Two.test"), exchanger(10, "one.test")]),
        ),
        (
            "1.2.0.192.in-addr.arpa",
            Kind::Ptr,
            Answer::Names(vec!["One.test".to_owned()]),
        ),
        ("empty.test", Kind::Txt, Answer::NoData),
        ("gone.test", Kind::Txt, Answer::NxDomain),
        ("broken.test", Kind::Txt, Answer::Failure),
        ("a b%.gone.test", Kind::A, Answer::NoData),
        ("not..askable", Kind::A, Answer::NxDomain),
    ] {
        let question = Question {
            name: name.to_owned(),
            kind,
        };
        assert_eq!(dns.answer(&question).await, want, "{question}");
    }
}
