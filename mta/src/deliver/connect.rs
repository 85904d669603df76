//! From an address to a byte stream, in the clear or inside TLS.
//!
//! Bounded by deadlines; errors are sentences for logs and notices, bounded and on one line.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::tls_fault::TlsFault;
use crate::dsn::text::{Charset, one_line};

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// In the clear.
    Plain(TcpStream),
    /// Inside TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// The certificates that the peer shows, its own first; none in the clear.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        match self {
            Self::Plain(_) => &[],
            Self::Tls(stream) => stream.get_ref().1.peer_certificates().unwrap_or_default(),
        }
    }

    /// Version and cipher suite of TLS, as rustls and the registry of IANA name them.
    pub fn protection(&self) -> Option<String> {
        let Self::Tls(stream) = self else { return None };
        let (_, session) = stream.get_ref();
        let version = session.protocol_version()?.as_str()?;
        let suite = session.negotiated_cipher_suite()?.suite();
        let suite = suite.as_str().unwrap_or("of an unknown suite");
        Some(format!("{version} {suite}"))
    }
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoConnection {
    /// In a few words.
    pub reason: String,
    /// Nothing came back at all.
    pub timed_out: bool,
}

/// Connects.
pub async fn connect(address: SocketAddr, within: Duration) -> Result<TcpStream, NoConnection> {
    let no = |reason: String, timed_out| NoConnection { reason, timed_out };
    match tokio::time::timeout(within, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => {
            // Commands are small and written whole; waiting for more to send would only delay them.
            stream
                .set_nodelay(true)
                .map_err(|error| no(error.to_string(), false))?;
            Ok(stream)
        }
        Ok(Err(error)) => Err(no(
            error.kind().to_string(),
            error.kind() == io::ErrorKind::TimedOut,
        )),
        Err(_) => Err(no(
            format!("no connection within {} seconds", within.as_secs()),
            true,
        )),
    }
}

/// Why there is no TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoTls {
    /// In a few words.
    pub reason: String,
    /// The server or its certificate does not do; it is no matter of the moment.
    pub lasting: bool,
    /// The same as a report tells it.
    pub fault: TlsFault,
}

impl NoTls {
    /// Whether it stays until somebody mends it: a server that takes no STARTTLS for now (4yz) will.
    pub fn needs_mending(&self) -> bool {
        self.fault.needs_mending() && (self.lasting || self.fault != TlsFault::Refused)
    }

    /// What TLS itself finds wrong.
    pub fn found(error: &rustls::Error) -> Self {
        let fault = TlsFault::of(error);
        Self {
            reason: told(&error.to_string(), fault),
            lasting: fault != TlsFault::NotYetValid,
            fault,
        }
    }
}

/// Makes the connection a TLS one. `host` is what the certificate is for, where that is judged.
pub async fn handshake(
    stream: TcpStream,
    host: &str,
    config: Arc<ClientConfig>,
    within: Duration,
) -> Result<Stream, NoTls> {
    let no = |reason: String, lasting, fault| NoTls {
        reason,
        lasting,
        fault,
    };
    let misnamed = |_| {
        no(
            "the host name fits no certificate".to_owned(),
            true,
            TlsFault::Name,
        )
    };
    let name = ServerName::try_from(host.to_owned()).map_err(misnamed)?;
    match tokio::time::timeout(within, TlsConnector::from(config).connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream))),
        // What TLS itself finds wrong comes as this kind; all else is of the connection.
        // It may repeat names of the certificate, of which there can be thousands.
        Ok(Err(error)) => {
            let fault = TlsFault::of_handshake(&error);
            let is_lasting = error.kind() == io::ErrorKind::InvalidData && fault != TlsFault::NotYetValid;
            Err(no(told(&error.to_string(), fault), is_lasting, fault))
        }
        Err(_) => Err(no(
            "the handshake took too long".to_owned(),
            false,
            TlsFault::Handshake,
        )),
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, to),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, to),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, octets),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, octets),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

fn told(error: &str, fault: TlsFault) -> String {
    format!(
        "{}{}",
        one_line(error, Charset::Ascii, LONGEST_REASON),
        fault.hint()
    )
}

/// Octets.
const LONGEST_REASON: usize = 300;
