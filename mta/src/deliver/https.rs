//! HTTPS to a host that a stranger names.
//!
//! ```text
//!   name ─► its addresses, none of ours ─► TLS, a public authority vouches for the name ─► HTTP/1.1, for one request
//! ```
//!
//! No redirect is followed and no proxy is used. The caller bounds the time of all of it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::networks::may_be_next_hop;
use super::tls::ClientTls;
use super::tls_fault::TlsFault;
use crate::dns::{Dns, Scope};

/// What a connection needs.
#[derive(Clone, Debug)]
pub struct Https {
    dns: Dns,
    tls: ClientTls,
}

/// What the configuration says of hosts that a stranger names.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds<'a> {
    /// Networks that may be reached although they are not public.
    pub allowed: &'a [IpNet],
    /// Who vouches for names (PEM) in place of the public authorities.
    pub authorities: Option<&'a str>,
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoHttps {
    /// In a sentence.
    pub reason: String,
    /// What TLS found wrong, where it came to that.
    pub fault: Option<TlsFault>,
}

impl Https {
    /// Asks `dns` for addresses and trusts those whom `tls` trusts to vouch for names.
    pub fn new(dns: Dns, tls: &ClientTls) -> Self {
        Self {
            dns,
            tls: tls.clone(),
        }
    }

    /// Connects to a host for one request with such a body.
    pub async fn open<B>(&self, host: &str, port: u16, bounds: Bounds<'_>) -> Result<SendRequest<B>, NoHttps>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let addresses = self.dns.addresses(host, Scope::Public).await;
        let addresses =
            addresses.map_err(|error| NoHttps::unreached(format!("no address of {host}: {error}")))?;
        let public = |address: &IpAddr| may_be_next_hop(*address, bounds.allowed);
        let mut last = format!("{host} has private addresses only");
        for address in addresses.into_iter().filter(public).take(MOST_ADDRESSES) {
            let address = SocketAddr::new(address, port);
            match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return self.inside_tls(host, stream, self.proof(bounds)).await,
                Ok(Err(error)) => last = format!("{host} ({address}): {error}"),
                Err(_) => last = format!("{host} ({address}) does not answer"),
            }
        }
        Err(NoHttps::unreached(last))
    }

    fn proof(&self, bounds: Bounds<'_>) -> Arc<ClientConfig> {
        let named = bounds.authorities;
        named.map_or_else(|| self.tls.public_names(), |named| self.tls.vouched(named))
    }

    async fn inside_tls<B>(
        &self,
        host: &str,
        stream: TcpStream,
        tls: Arc<ClientConfig>,
    ) -> Result<SendRequest<B>, NoHttps>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|error| NoHttps::unreached(error.to_string()))?;
        let connected = TlsConnector::from(tls).connect(name, stream).await;
        let stream = connected.map_err(|error| NoHttps::no_tls(&error))?;
        let spoken = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = spoken.map_err(|error| NoHttps::unreached(error.to_string()))?;
        // Ends when the sender is dropped.
        tokio::spawn(connection);
        Ok(sender)
    }
}

impl NoHttps {
    fn unreached(reason: String) -> Self {
        Self { reason, fault: None }
    }

    fn no_tls(error: &io::Error) -> Self {
        Self {
            reason: error.to_string(),
            fault: Some(TlsFault::of_handshake(error)),
        }
    }
}

/// For one connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Addresses of the host that are tried.
const MOST_ADDRESSES: usize = 4;
