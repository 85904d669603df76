//! Asks the host of a domain's MTA-STS policy for it, as other servers do (RFC 8461 section 3.3). Decides nothing about the text.
//!
//! ```text
//!   mta-sts.DOMAIN ─► its addresses ─► TLS, a public authority vouches for that name ─► GET ─► 200, text/plain, 64 KiB
//! ```
//!
//! The name is a stranger's, so nothing is sent before the host has proven that it is its own, and addresses of this machine or
//! link are not tried. Which of several things keeps a host from answering is not told: it would say what there is in our network.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::proto::rr::RecordType;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use postroad_verify::mta_sts::{LARGEST_POLICY, POLICY_PATH, policy_host};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::exchange::{Found, addresses};
use super::judge::Served;
use super::resolver::Resolver;

/// The way to hosts of policies. Cheap to clone.
#[derive(Clone)]
pub struct PolicyHosts {
    tls: Arc<ClientConfig>,
    port: u16,
    may_be_asked: fn(IpAddr) -> bool,
}

impl PolicyHosts {
    /// Trusts the public authorities of Mozilla's list. Errors: none in practice; the provider has the protocol versions that are
    /// asked of it.
    pub fn public() -> Result<Self, rustls::Error> {
        let roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        Self::trusting(roots, HTTPS, is_elsewhere)
    }

    fn trusting(
        roots: RootCertStore,
        port: u16,
        may_be_asked: fn(IpAddr) -> bool,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            tls: Arc::new(tls),
            port,
            may_be_asked,
        })
    }

    /// The same, but these authorities vouch for the host where some are named, and the public ones do not. Errors: as
    /// [`PolicyHosts::public`].
    pub fn vouched_by(&self, authorities: Option<RootCertStore>) -> Result<Self, rustls::Error> {
        authorities.map_or_else(
            || Ok(self.clone()),
            |roots| Self::trusting(roots, self.port, self.may_be_asked),
        )
    }

    /// Asks for the policy of a domain.
    pub async fn ask(&self, domain: &str, resolver: &Resolver) -> Served {
        let host = policy_host(domain);
        tokio::time::timeout(PATIENCE, self.text(&host, resolver))
            .await
            .unwrap_or_else(|_| Err(silent(&host)))
            .unwrap_or_else(|served| served)
    }

    async fn text(&self, host: &str, resolver: &Resolver) -> Result<Served, Served> {
        let found = self.addresses(host, resolver).await?;
        let mut last = Served::Unknown(format!("{host} has no address that can be asked from here"));
        for address in found.into_iter().filter(|address| (self.may_be_asked)(*address)) {
            match tokio::time::timeout(CONNECT, TcpStream::connect(SocketAddr::new(address, self.port))).await
            {
                Ok(Ok(stream)) => return self.get(host, stream).await,
                Ok(Err(_)) | Err(_) => last = silent(host),
            }
        }
        Err(last)
    }

    async fn addresses(&self, host: &str, resolver: &Resolver) -> Result<Vec<IpAddr>, Served> {
        let mut list: Vec<IpAddr> = vec![];
        let mut trouble = None;
        for kind in [RecordType::A, RecordType::AAAA] {
            match resolver.recursive(host, kind).await {
                Ok(Found::Records(records)) => list.extend(addresses(&records)),
                Ok(_) => {}
                Err(error) => trouble = Some(error),
            }
        }
        list.truncate(MOST_ADDRESSES);
        match trouble {
            _ if !list.is_empty() => Ok(list),
            Some(error) => Err(Served::Unknown(format!("{host}: {error}"))),
            None => Err(Served::Not(format!("{host} has no address"))),
        }
    }

    async fn get(&self, host: &str, stream: TcpStream) -> Result<Served, Served> {
        let broken = |_: &dyn fmt::Display| silent(host);
        let name = ServerName::try_from(host.to_owned()).map_err(|error| broken(&error))?;
        let stream = TlsConnector::from(self.tls.clone()).connect(name, stream).await;
        let stream = stream.map_err(|error| no_tls(host, &error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        // Ends when the sender is dropped.
        tokio::spawn(connection);
        let request = Request::get(POLICY_PATH)
            .header("host", host)
            .header("user-agent", concat!("postroad/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .map_err(|error| broken(&error))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| broken(&error))?;
        if response.status() != StatusCode::OK {
            let sentence = format!("{host} answered {}; no redirect is followed", response.status());
            return Err(Served::Not(sentence));
        }
        let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        if !is_plain_text(kind.unwrap_or_default()) {
            return Err(Served::Not(format!("{host} does not serve it as text/plain")));
        }
        let body = Limited::new(response.into_body(), LARGEST_POLICY).collect().await;
        let body = body.map_err(|_| Served::Not(format!("what {host} serves is cut short or too long")))?;
        Ok(Served::Text(body.to_bytes().to_vec()))
    }
}

fn silent(host: &str) -> Served {
    Served::Unknown(format!("{host} does not answer from here"))
}

/// A certificate that nobody may take is the host's fault; all else may be of the way to it.
fn no_tls(host: &str, error: &std::io::Error) -> Served {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(rustls::Error::InvalidCertificate(why)) => {
            let why: String = format!("{why:?}").chars().take(LONGEST_REASON).collect();
            Served::Not(format!(
                "the certificate of {host} is not one that others take: {why}"
            ))
        }
        _ => silent(host),
    }
}

/// RFC 8461 section 3.2: whatever its parameters.
fn is_plain_text(kind: &[u8]) -> bool {
    let kind = kind.split(|octet| *octet == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"text/plain")
}

/// Not this machine, nor its link, where clouds have services that trust whoever asks.
fn is_elsewhere(address: IpAddr) -> bool {
    let local = match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let address = address.to_canonical();
    !(local || address.is_loopback() || address.is_unspecified() || address.is_multicast())
}

const HTTPS: u16 = 443;
/// For all of it; a reconcile waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// For one connection.
const CONNECT: Duration = Duration::from_secs(3);
/// Addresses of the host that are tried.
const MOST_ADDRESSES: usize = 2;
/// Of what is wrong with a certificate, which may repeat a thousand names.
const LONGEST_REASON: usize = 200;

#[cfg(test)]
#[path = "policy_host_tests.rs"]
mod tests;
