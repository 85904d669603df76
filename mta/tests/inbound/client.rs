//! A small, strict SMTP client: refuses replies that are not of the grammar, waits ten seconds at most.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub struct Client {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
    /// Channel binding `tls-exporter` (RFC 9266), under TLS.
    pub exporter: Option<[u8; 32]>,
    /// How long it waits for a reply.
    pub patience: Duration,
}

#[derive(Clone, Debug)]
pub struct Reply {
    pub code: u16,
    pub lines: Vec<String>,
}

impl Reply {
    /// Any line holds this text.
    pub fn has(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.contains(text))
    }

    /// An EHLO keyword is offered.
    pub fn offers(&self, keyword: &str) -> bool {
        self.lines
            .iter()
            .skip(1)
            .any(|line| line.split(' ').next() == Some(keyword))
    }
}

impl Client {
    /// Connects and reads the greeting.
    pub async fn greeted(address: SocketAddr) -> Self {
        let mut client = Self::connect(address).await;
        let greeting = client.reply().await;
        assert_eq!(greeting.code, 220, "{greeting:?}");
        client
    }

    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self {
            stream: Box::new(stream),
            unread: Vec::new(),
            exporter: None,
            patience: PATIENCE,
        }
    }

    /// TLS from the first octet.
    pub async fn implicit(address: SocketAddr, chain: &str) -> Self {
        let mut client = Self::connect(address).await.secure(chain).await;
        assert_eq!(client.reply().await.code, 220);
        client
    }

    /// EHLO, STARTTLS, handshake, EHLO.
    pub async fn starttls(mut self, chain: &str) -> Self {
        assert!(self.say("EHLO client.example").await.offers("STARTTLS"));
        assert_eq!(self.say("STARTTLS").await.code, 220);
        let mut client = self.secure(chain).await;
        assert_eq!(client.say("EHLO client.example").await.code, 250);
        client
    }

    /// The handshake alone.
    pub async fn secure(self, chain: &str) -> Self {
        assert!(self.unread.is_empty(), "octets in clear before the handshake");
        self.try_secure(chain).await.expect("handshake")
    }

    pub async fn try_secure(self, chain: &str) -> std::io::Result<Self> {
        self.try_secure_as(chain, rustls::DEFAULT_VERSIONS).await
    }

    /// The same with these versions alone.
    pub async fn try_secure_as(
        self,
        chain: &str,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> std::io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(chain.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("mail.example.com").unwrap();
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, self.stream)
            .await?;
        let exporter = stream
            .get_ref()
            .1
            .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b""))
            .ok();
        Ok(Self {
            stream: Box::new(stream),
            unread: Vec::new(),
            exporter,
            patience: PATIENCE,
        })
    }

    pub async fn send(&mut self, octets: &[u8]) {
        // A server that has hung up shows in the reply.
        let _ = self.stream.write_all(octets).await;
        let _ = self.stream.flush().await;
    }

    /// One command and its reply.
    pub async fn say(&mut self, line: &str) -> Reply {
        self.send(format!("{line}\r\n").as_bytes()).await;
        self.reply().await
    }

    /// Several commands, one after the other; each must get the code.
    pub async fn expect(&mut self, dialogue: &[(&str, u16)]) {
        for (line, code) in dialogue {
            let reply = self.say(line).await;
            assert_eq!(reply.code, *code, "{line}: {reply:?}");
        }
    }

    /// A whole message: DATA, text, final dot.
    pub async fn data(&mut self, message: &str) -> Reply {
        assert_eq!(self.say("DATA").await.code, 354);
        self.send(message.as_bytes()).await;
        self.say(".").await
    }

    pub async fn reply(&mut self) -> Reply {
        self.next().await.expect("the server hung up")
    }

    /// `None` where the server hung up.
    pub async fn next(&mut self) -> Option<Reply> {
        let mut reply = Reply {
            code: 0,
            lines: Vec::new(),
        };
        loop {
            let line = self.line().await?;
            assert!(line.len() >= 4 && line.len() <= 510, "reply line: {line:?}");
            let code: u16 = line[..3].parse().unwrap();
            assert!(
                (200..600).contains(&code) && (reply.lines.is_empty() || code == reply.code),
                "{line}"
            );
            reply.code = code;
            reply.lines.push(line[4..].to_owned());
            match &line[3..4] {
                " " => return Some(reply),
                "-" => {}
                _ => panic!("{line}"),
            }
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                let line = String::from_utf8(line).unwrap();
                let line = line.strip_suffix("\r\n").expect("replies end with CRLF");
                assert!(!line.contains(['\r', '\n']), "bare line end in {line:?}");
                return Some(line.to_owned());
            }
            let mut octets = [0; 4096];
            let read = tokio::time::timeout(self.patience, self.stream.read(&mut octets)).await;
            match read.expect("the server is silent") {
                Ok(0) | Err(_) => return None,
                Ok(n) => self.unread.extend_from_slice(&octets[..n]),
            }
        }
    }

    /// The server must hang up; nothing may come before.
    pub async fn hung_up(&mut self) {
        assert!(
            self.next().await.is_none(),
            "a reply where the connection should end"
        );
    }
}

pub const PATIENCE: Duration = Duration::from_secs(10);
