//! A client that can say anything, and believes only replies of the grammar.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

/// Bound of every wait.
pub const PATIENCE: Duration = Duration::from_secs(30);

enum Stream {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Gone,
}

pub struct Wire {
    stream: Stream,
    unread: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    pub text: String,
}

impl Reply {
    pub fn class(&self) -> u16 {
        self.code / 100
    }

    /// An EHLO keyword is offered.
    pub fn offers(&self, keyword: &str) -> bool {
        self.text
            .lines()
            .skip(1)
            .any(|line| line.split(' ').next() == Some(keyword))
    }
}

impl Wire {
    /// Connects; waits until the port is served.
    pub fn connect(address: SocketAddr) -> Self {
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            match TcpStream::connect(address) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < deadline, "{address}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: Stream::Clear(stream),
            unread: Vec::new(),
        }
    }

    /// Connects, reads the greeting, says EHLO.
    pub fn ready(address: SocketAddr) -> Self {
        let mut wire = Self::connect(address);
        wire.expect(&[("", 220), ("EHLO client.example", 250)]);
        wire
    }

    /// STARTTLS and a second EHLO.
    pub fn secure(mut self, chain: &str) -> Self {
        assert_eq!(self.say("STARTTLS").code, 220);
        self.handshake(chain);
        self.expect(&[("EHLO client.example", 250)]);
        self
    }

    /// The handshake, now.
    pub fn handshake(&mut self, chain: &str) {
        self.handshake_with(client_config(chain, rustls::DEFAULT_VERSIONS));
    }

    /// The same by a client that may have been here before.
    pub fn handshake_with(&mut self, config: Arc<ClientConfig>) {
        assert!(self.unread.is_empty(), "octets in clear before the handshake");
        let Stream::Clear(stream) = std::mem::replace(&mut self.stream, Stream::Gone) else {
            panic!("TLS twice")
        };
        let name = ServerName::try_from("mail.example.com").unwrap();
        let tls = ClientConnection::new(config, name).unwrap();
        self.stream = Stream::Tls(Box::new(StreamOwned::new(tls, stream)));
    }

    /// Whether the server took up an earlier TLS session; it has answered since the handshake.
    pub fn is_resumed(&self) -> bool {
        let Stream::Tls(tls) = &self.stream else {
            panic!("no TLS")
        };
        tls.conn.handshake_kind().unwrap() == HandshakeKind::Resumed
    }

    /// Sends TLS's `close_notify` and goes on in clear on the same socket.
    pub fn end_tls(&mut self) {
        let Stream::Tls(mut tls) = std::mem::replace(&mut self.stream, Stream::Gone) else {
            panic!("no TLS")
        };
        tls.conn.send_close_notify();
        let _ = tls.conn.complete_io(&mut tls.sock);
        self.stream = Stream::Clear(tls.sock);
    }

    /// Writes. A server that has hung up shows in the next reply; gives whether all was taken.
    pub fn send(&mut self, octets: &[u8]) -> bool {
        match &mut self.stream {
            Stream::Clear(stream) => stream.write_all(octets).is_ok(),
            Stream::Tls(stream) => stream.write_all(octets).and_then(|()| stream.flush()).is_ok(),
            Stream::Gone => false,
        }
    }

    /// The same connection in clear, for another thread to read from.
    pub fn second_end(&mut self) -> Self {
        let Stream::Clear(stream) = &self.stream else {
            panic!("TLS cannot be shared")
        };
        Self {
            stream: Stream::Clear(stream.try_clone().unwrap()),
            unread: std::mem::take(&mut self.unread),
        }
    }

    /// Waits no longer than this for each write.
    pub fn patience(&self, time: Duration) {
        if let Stream::Clear(stream) = &self.stream {
            stream.set_write_timeout(Some(time)).unwrap();
        }
    }

    /// No more will be written.
    pub fn half_close(&self) {
        if let Stream::Clear(stream) = &self.stream {
            // The server may have closed already.
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    /// Closes with RST, not FIN.
    pub fn reset(self) {
        if let Stream::Clear(stream) = self.stream {
            socket2::SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        }
    }

    /// One command and its reply; an empty line only reads.
    pub fn say(&mut self, line: &str) -> Reply {
        if !line.is_empty() {
            self.send(format!("{line}\r\n").as_bytes());
        }
        self.reply()
    }

    /// Commands one after the other; each must get the code.
    #[track_caller]
    pub fn expect(&mut self, dialogue: &[(&str, u16)]) {
        for (line, code) in dialogue {
            let reply = self.say(line);
            assert_eq!(reply.code, *code, "{line:?}: {reply:?}");
        }
    }

    /// MAIL, RCPT, DATA, the text and its end.
    #[track_caller]
    pub fn deliver(&mut self, to: &str, message: &str) -> Reply {
        self.expect(&[
            ("MAIL FROM:<sender@else.example>", 250),
            (&format!("RCPT TO:<{to}>"), 250),
            ("DATA", 354),
        ]);
        self.send(message.as_bytes());
        self.say(".")
    }

    #[track_caller]
    pub fn reply(&mut self) -> Reply {
        self.next().expect("the server hung up")
    }

    /// `None` where the server hung up.
    pub fn next(&mut self) -> Option<Reply> {
        let mut reply = Reply {
            code: 0,
            text: String::new(),
        };
        loop {
            let line = self.line()?;
            assert!(line.len() >= 4 && line.len() <= 510, "reply line: {line:?}");
            let code: u16 = line[..3].parse().unwrap();
            assert!(
                (200..600).contains(&code) && (reply.code == 0 || code == reply.code),
                "{line}"
            );
            reply.code = code;
            reply.text.push_str(&line[4..]);
            match &line[3..4] {
                " " => return Some(reply),
                "-" => reply.text.push('\n'),
                _ => panic!("{line}"),
            }
        }
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                let line = String::from_utf8(line).unwrap();
                let Some(line) = line.strip_suffix("\r\n") else {
                    panic!("a reply ends with CRLF, not as {line:?}")
                };
                assert!(
                    line.bytes().all(|octet| (b' '..=b'~').contains(&octet)),
                    "{line:?}"
                );
                return Some(line.to_owned());
            }
            let mut octets = [0; 16_384];
            let read = match &mut self.stream {
                Stream::Clear(stream) => stream.read(&mut octets),
                Stream::Tls(stream) => stream.read(&mut octets),
                Stream::Gone => Ok(0),
            };
            match read {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("the server is silent")
                }
                Ok(0) | Err(_) => return None,
                Ok(n) => self.unread.extend_from_slice(&octets[..n]),
            }
        }
    }

    /// Every reply until the server hangs up.
    pub fn rest(&mut self) -> Vec<Reply> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

/// A client that trusts this chain, speaks these versions, and remembers sessions.
pub fn client_config(
    chain: &str,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ClientConfig> {
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
    Arc::new(config)
}
