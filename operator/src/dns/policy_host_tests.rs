//! Over real sockets on loopback: a web server by hand, so that a mistake of an HTTP crate is not made on both sides.

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::A;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::dns::exchange::Patience;
use crate::dns::loopback::{Line, NameServer, Script};

const NAME: &str = "mta-sts.example.com";

fn certificate(name: &str) -> (TlsAcceptor, RootCertStore) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    (TlsAcceptor::from(Arc::new(config)), roots)
}

/// Serves one answer to one request; gives its port.
async fn serve_once(tls: TlsAcceptor, answer: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        // A client that does not take the certificate goes away.
        let Ok(stream) = tls.accept(stream).await else {
            return;
        };
        let mut stream = BufReader::new(stream);
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") {
            stream.read_line(&mut request).await.unwrap();
        }
        assert!(
            request.starts_with("GET /.well-known/mta-sts.txt HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(
            request
                .to_ascii_lowercase()
                .contains("host: mta-sts.example.com\r\n"),
            "{request}"
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    port
}

async fn resolver(line: Option<Line>) -> Resolver {
    let mut script = Script::new();
    for kind in [RecordType::A, RecordType::AAAA] {
        let nothing = Line::Code(ResponseCode::NXDomain);
        script.insert((NAME.to_owned(), kind), line.clone().unwrap_or(nothing));
    }
    if line.is_none() {
        return Resolver::for_tests(
            vec![NameServer::start("127.0.0.1", 0, script).await.address],
            53,
            patience(),
        );
    }
    script.insert((NAME.to_owned(), RecordType::AAAA), Line::Records(vec![]));
    let server = NameServer::start("127.0.0.1", 0, script).await;
    Resolver::for_tests(vec![server.address], 53, patience())
}

fn patience() -> Patience {
    Patience {
        datagram: Duration::from_secs(1),
        stream: Duration::from_secs(5),
    }
}

fn at(address: [u8; 4]) -> Line {
    let [a, b, c, d] = address;
    Line::Records(vec![RData::A(A::new(a, b, c, d))])
}

fn answer(status: &str, kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn what_others_would_take_is_given_and_all_else_is_named() {
    let text = "version: STSv1\n";
    for (given, words) in [
        (answer("200 OK", "text/plain; charset=utf-8", text), None),
        (answer("404 Not Found", "text/plain", text), Some("404")),
        (
            answer("301 Moved\r\nLocation: https://else.example/", "text/plain", text),
            Some("no redirect"),
        ),
        (answer("200 OK", "text/html", text), Some("text/plain")),
        (
            answer("200 OK", "text/plain", &"x".repeat(LARGEST_POLICY + 1)),
            Some("too long"),
        ),
    ] {
        let (tls, roots) = certificate(NAME);
        let port = serve_once(tls, given).await;
        let hosts = PolicyHosts::trusting(roots, port, |_| true).unwrap();
        let served = hosts
            .ask("example.com", &resolver(Some(at([127, 0, 0, 1]))).await)
            .await;
        match words {
            None => assert_eq!(served, Served::Text(text.into())),
            Some(words) => assert!(
                matches!(&served, Served::Not(why) if why.contains(words)),
                "{served:?}"
            ),
        }
    }
}

#[tokio::test]
async fn a_host_proves_its_name_before_it_is_asked() {
    let (tls, roots) = certificate("else.example");
    let port = serve_once(tls, answer("200 OK", "text/plain", "x")).await;
    let hosts = PolicyHosts::trusting(roots, port, |_| true).unwrap();
    let served = hosts
        .ask("example.com", &resolver(Some(at([127, 0, 0, 1]))).await)
        .await;
    assert!(
        matches!(&served, Served::Not(why) if why.contains("certificate")),
        "{served:?}"
    );
}

#[tokio::test]
async fn no_address_is_a_fault_and_no_answer_is_none() {
    let (_, roots) = certificate(NAME);
    let hosts = PolicyHosts::trusting(roots, 1, is_elsewhere).unwrap();
    let served = hosts.ask("example.com", &resolver(None).await).await;
    assert_eq!(served, Served::Not("mta-sts.example.com has no address".into()));
    // Nobody listens there, which is not told from addresses that are not tried.
    for (address, words) in [
        ([127, 0, 0, 1], "can be asked"),
        ([169, 254, 169, 254], "can be asked"),
    ] {
        let served = hosts.ask("example.com", &resolver(Some(at(address))).await).await;
        assert!(
            matches!(&served, Served::Unknown(why) if why.contains(words)),
            "{served:?}"
        );
    }
    let (_, roots) = certificate(NAME);
    let hosts = PolicyHosts::trusting(roots, 1, |_| true).unwrap();
    let served = hosts
        .ask("example.com", &resolver(Some(at([127, 0, 0, 1]))).await)
        .await;
    assert_eq!(
        served,
        Served::Unknown("mta-sts.example.com does not answer from here".into())
    );
    let silent = resolver(Some(Line::Code(ResponseCode::ServFail))).await;
    let served = hosts.ask("example.com", &silent).await;
    assert!(
        matches!(&served, Served::Unknown(why) if why.contains("replied")),
        "{served:?}"
    );
}

#[test]
fn only_hosts_elsewhere_are_asked() {
    for (address, want) in [
        ("192.0.2.1", true),
        ("10.0.0.1", true),
        ("2001:db8::1", true),
        ("127.0.0.1", false),
        ("::1", false),
        ("::ffff:127.0.0.1", false),
        ("169.254.169.254", false),
        ("fe80::1", false),
        ("0.0.0.0", false),
        ("224.0.0.1", false),
    ] {
        assert_eq!(is_elsewhere(address.parse().unwrap()), want, "{address}");
    }
}

#[tokio::test]
async fn authorities_of_the_owner_vouch_in_place_of_others() {
    let (_, others) = certificate(NAME);
    for (named, is_taken) in [(true, true), (false, false)] {
        let (tls, roots) = certificate(NAME);
        let port = serve_once(tls, answer("200 OK", "text/plain", "x")).await;
        let hosts = PolicyHosts::trusting(others.clone(), port, |_| true).unwrap();
        let hosts = hosts.vouched_by(named.then_some(roots)).unwrap();
        let served = hosts
            .ask("example.com", &resolver(Some(at([127, 0, 0, 1]))).await)
            .await;
        assert_eq!(served == Served::Text(b"x".to_vec()), is_taken, "{served:?}");
    }
}
