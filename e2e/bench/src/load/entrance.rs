//! How a session comes in, up to the point where it may say MAIL: who is said to connect, TLS, who logs in.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postroad_e2e::kubectl::{Failure, Outcome};
use rustls::ProtocolVersion;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::client::{Replies, Session, greet};
use crate::credentials::NAME;

/// The half of a connection that is read.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// The half that is written.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// How sessions come in.
#[derive(Clone, Debug, Default)]
pub enum Entrance {
    /// In the clear, as themselves.
    #[default]
    Plain,
    /// In the clear, behind a load balancer that names [`CLIENT`] by the PROXY protocol.
    Proxied,
    /// In TLS 1.3 from the first octet, then a login by AUTH PLAIN.
    Login(Login),
}

/// Who logs in, and what it trusts.
#[derive(Clone, Debug)]
pub struct Login {
    /// Trusts the certificate of the server.
    pub tls: Arc<rustls::ClientConfig>,
    /// The user.
    pub user: &'static str,
    /// Its password.
    pub password: &'static str,
}

/// The client that a load balancer names; a documentation address (RFC 5737).
pub const CLIENT: &str = "192.0.2.10";

impl Entrance {
    /// Connects, and does all of it.
    pub async fn open(&self, address: SocketAddr) -> Outcome<Session> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        match self {
            Self::Plain => greeted(stream).await,
            Self::Proxied => {
                stream.write_all(proxy_header(address.port()).as_bytes()).await?;
                greeted(stream).await
            }
            Self::Login(login) => login.open(stream).await,
        }
    }
}

/// What a load balancer says first (PROXY protocol, version 1).
pub fn proxy_header(port: u16) -> String {
    format!("PROXY TCP4 {CLIENT} 192.0.2.1 40000 {port}\r\n")
}

async fn greeted(stream: TcpStream) -> Outcome<Session> {
    let (from, out) = stream.into_split();
    let (mut replies, mut out): (_, Writer) = (Replies::new(Box::new(from) as Reader), Box::new(out));
    let offered = greet(&mut replies, &mut out).await?;
    Ok(Session::new(out, replies, &offered))
}

impl Login {
    async fn open(&self, stream: TcpStream) -> Outcome<Session> {
        let name = ServerName::try_from(NAME).map_err(|error| Failure::wrong(error.to_string()))?;
        let secret = TlsConnector::from(self.tls.clone()).connect(name, stream).await?;
        let version = secret.get_ref().1.protocol_version();
        if version != Some(ProtocolVersion::TLSv1_3) {
            return Err(Failure::wrong(format!(
                "TLS 1.3 was wanted, the server took {version:?}"
            )));
        }
        let (from, out) = tokio::io::split(secret);
        let (mut replies, mut out): (_, Writer) = (Replies::new(Box::new(from) as Reader), Box::new(out));
        let offered = greet(&mut replies, &mut out).await?;
        // RFC 4616 section 2: no authorization identity, then the user and the password.
        let token = STANDARD.encode(format!("\0{}\0{}", self.user, self.password));
        out.write_all(format!("AUTH PLAIN {token}\r\n").as_bytes())
            .await?;
        out.flush().await?;
        replies.expect("235").await?;
        Ok(Session::new(out, replies, &offered))
    }
}
