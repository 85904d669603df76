//! Asking over real sockets on loopback: each way an answer can fail, and each way it can come.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::{A, CNAME, MX, NS, TXT};
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::exchange::{Found, Mode, Patience, Trouble, ask};
use super::judge::{MxWanted, Ruling, SpfWanted, mx, reasons, spf};
use super::loopback::{Line, NameServer, Script};
use super::resolver::{Resolver, named_servers};

/// Short, as silence is one of the things tested.
const PATIENCE: Patience = Patience {
    datagram: Duration::from_secs(1),
    stream: Duration::from_secs(5),
};

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn mx_data(host: &str) -> Vec<RData> {
    vec![RData::MX(MX::new(10, name(host)))]
}

fn txt_data(text: &str) -> Vec<RData> {
    // In two strings, which are joined without a separator.
    let (left, right) = text.split_at(text.len() / 2);
    vec![RData::TXT(TXT::from_bytes(vec![
        left.as_bytes(),
        right.as_bytes(),
    ]))]
}

async fn one_answer(line: Line, mode: Mode) -> Result<Found, Trouble> {
    let script = Script::from([(("example.com".to_owned(), RecordType::MX), line)]);
    let server = NameServer::start("127.0.0.1", 0, script).await;
    ask(server.address, "example.com", RecordType::MX, mode, PATIENCE).await
}

#[tokio::test]
async fn every_kind_of_answer_is_told_from_the_others() {
    let records = mx_data("mail.example.com.");
    for (line, mode, want) in [
        (
            Line::Records(records.clone()),
            Mode::Direct,
            Ok(Found::Records(records.clone())),
        ),
        (
            Line::TooLong(records.clone()),
            Mode::Direct,
            Ok(Found::Records(records.clone())),
        ),
        (Line::Records(vec![]), Mode::Direct, Ok(Found::NoData)),
        (
            Line::Code(ResponseCode::NXDomain),
            Mode::Direct,
            Ok(Found::NxDomain),
        ),
        (
            Line::Code(ResponseCode::ServFail),
            Mode::Direct,
            Err(Trouble::Code("SERVFAIL")),
        ),
        (
            Line::Code(ResponseCode::Refused),
            Mode::Direct,
            Err(Trouble::Code("REFUSED")),
        ),
        (Line::Lame, Mode::Direct, Err(Trouble::NotAuthoritative)),
        (Line::Lame, Mode::Recursive, Ok(Found::NoData)),
        (Line::Silence, Mode::Direct, Err(Trouble::TimedOut)),
        (
            Line::Records(vec![RData::CNAME(CNAME(name("other.example.")))]),
            Mode::Direct,
            Ok(Found::Alias("other.example".to_owned())),
        ),
        (
            Line::Records(vec![RData::CNAME(CNAME(name("example.com.")))]),
            Mode::Direct,
            Err(Trouble::AliasLoop),
        ),
    ] {
        assert_eq!(one_answer(line, mode).await, want);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable_or_silent() {
    let unused = {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.local_addr().unwrap()
    };
    let seen = ask(unused, "example.com", RecordType::MX, Mode::Direct, PATIENCE).await;
    assert!(
        matches!(seen, Err(Trouble::Unreachable(_) | Trouble::TimedOut)),
        "{seen:?}"
    );
}

/// A recursive resolver that knows where the zone's two servers are, and these two.
struct Zone {
    resolver: Resolver,
    upstream: NameServer,
    servers: [NameServer; 2],
}

impl Zone {
    async fn start() -> Self {
        let first = NameServer::start("127.0.0.2", 0, Script::new()).await;
        let port = first.address.port();
        let second = NameServer::start("127.0.0.3", port, Script::new()).await;
        let upstream = NameServer::start("127.0.0.1", 0, Script::new()).await;
        upstream.set(
            "example.com",
            RecordType::NS,
            Line::Records(vec![
                RData::NS(NS(name("ns2.example.net."))),
                RData::NS(NS(name("ns1.example.net."))),
            ]),
        );
        for (host, address) in [("ns1.example.net", "127.0.0.2"), ("ns2.example.net", "127.0.0.3")] {
            let address = A(address.parse().unwrap());
            upstream.set(host, RecordType::A, Line::Records(vec![RData::A(address)]));
        }
        let resolver = Resolver::for_tests(vec![upstream.address], port, PATIENCE);
        Self {
            resolver,
            upstream,
            servers: [first, second],
        }
    }

    fn both_say(&self, kind: RecordType, line: &Line) {
        for server in &self.servers {
            server.set("example.com", kind, line.clone());
        }
    }

    async fn judge_mx(&self) -> super::judge::Judgement {
        let seen = match self.resolver.authorities("example.com").await {
            Ok(servers) => Ok(self
                .resolver
                .observe(&servers, "example.com", RecordType::MX)
                .await),
            Err(trouble) => Err(trouble),
        };
        let hostnames = ["mail.example.com".to_owned()];
        mx(
            &MxWanted {
                domain: "example.com",
                hostnames: &hostnames,
            },
            &seen,
        )
    }
}

#[tokio::test]
async fn servers_are_found_by_walking_up_from_the_domain() {
    let zone = Zone::start().await;
    let servers = zone.resolver.authorities("a.b.example.com").await.unwrap();
    let names: Vec<_> = servers.iter().map(|server| server.name.as_str()).collect();
    assert_eq!(names, ["ns1.example.net", "ns2.example.net"]);
    assert_eq!(servers[0].addresses, [zone.servers[0].address]);
    assert_eq!(
        zone.resolver.authorities("other.test").await,
        Err(Trouble::NoServer)
    );
    zone.upstream
        .set("broken.test", RecordType::NS, Line::Code(ResponseCode::ServFail));
    assert_eq!(
        zone.resolver.authorities("broken.test").await,
        Err(Trouble::Code("SERVFAIL"))
    );
}

#[tokio::test]
async fn verdicts_over_the_wire() {
    let zone = Zone::start().await;
    for (first, second, ruling, reason) in [
        (
            Line::Records(mx_data("mail.example.com.")),
            Line::TooLong(mx_data("mail.example.com.")),
            Ruling::True,
            reasons::MX_FOUND,
        ),
        (
            Line::Records(mx_data("mail.example.com.")),
            Line::Records(mx_data("old.example.com.")),
            Ruling::False,
            reasons::SERVERS_DISAGREE,
        ),
        (
            Line::Records(mx_data("mail.example.com.")),
            Line::Silence,
            Ruling::True,
            reasons::MX_FOUND,
        ),
        (
            Line::Records(vec![]),
            Line::Records(vec![]),
            Ruling::False,
            reasons::MX_MISSING,
        ),
        (
            Line::Code(ResponseCode::ServFail),
            Line::Silence,
            Ruling::Unknown,
            reasons::NO_ANSWER,
        ),
        (Line::Lame, Line::Lame, Ruling::Unknown, reasons::NO_ANSWER),
    ] {
        zone.servers[0].set("example.com", RecordType::MX, first);
        zone.servers[1].set("example.com", RecordType::MX, second);
        let judged = zone.judge_mx().await;
        assert_eq!(
            (judged.ruling, judged.reason),
            (ruling, reason),
            "{}",
            judged.message
        );
    }
}

#[tokio::test]
async fn spf_is_evaluated_with_the_record_of_each_server_and_includes_from_the_resolver() {
    let zone = Zone::start().await;
    let egress: Vec<IpAddr> = vec!["192.0.2.7".parse().unwrap()];
    zone.both_say(
        RecordType::TXT,
        &Line::Records(txt_data("v=spf1 include:relay.example -all")),
    );
    let relay = Line::Records(txt_data("v=spf1 ip4:192.0.2.0/24 -all"));
    for (included, ruling, reason) in [
        (relay, Ruling::True, reasons::SPF_PASSES),
        (
            Line::Code(ResponseCode::NXDomain),
            Ruling::False,
            reasons::SPF_INVALID,
        ),
        (
            Line::Code(ResponseCode::ServFail),
            Ruling::Unknown,
            reasons::NO_ANSWER,
        ),
    ] {
        zone.upstream.set("relay.example", RecordType::TXT, included);
        let servers = zone.resolver.authorities("example.com").await.unwrap();
        let seen = super::spf::observe(
            &zone.resolver,
            &servers,
            "example.com",
            "mail.example.com",
            &egress,
        )
        .await;
        let wanted = SpfWanted {
            domain: "example.com",
            egress: &egress,
            sends: true,
            hostnames: &[],
            includes: &[],
        };
        let judged = spf(&wanted, &Ok(seen));
        assert_eq!(
            (judged.ruling, judged.reason),
            (ruling, reason),
            "{}",
            judged.message
        );
    }
}

#[tokio::test]
async fn named_resolvers_are_asked_instead_and_need_no_authority() {
    let zone = Zone::start().await;
    let own: Vec<SocketAddr> = vec![zone.upstream.address];
    zone.upstream.set("example.com", RecordType::MX, Line::Lame);
    let seen = zone
        .resolver
        .observe(&named_servers(&own), "example.com", RecordType::MX)
        .await;
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].seen, Ok(Found::NoData));
    assert_eq!(seen[0].server, zone.upstream.address.to_string());
}
