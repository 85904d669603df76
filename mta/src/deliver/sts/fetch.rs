//! A domain's MTA-STS policy over HTTPS (RFC 8461 section 3.3).
//!
//! ```text
//!   mta-sts.DOMAIN ─► its addresses, none of ours ─► TLS, a public authority vouches for that name ─► GET ─► 200, text/plain, 64 KiB
//! ```
//!
//! No redirect is followed, no proxy is used, no cookie is kept; one minute for all of it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use postroad_verify::mta_sts::{LARGEST_POLICY, POLICY_PATH, Policy, policy_host};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::deliver::networks::may_be_next_hop;
use crate::dns::{Dns, Scope};

/// What a fetch needs.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    /// Whom to ask for addresses.
    pub(super) dns: Dns,
    /// Trusts those who vouch for names.
    pub(super) tls: Arc<ClientConfig>,
    /// 443; another one in tests.
    pub(super) port: u16,
}

impl Fetcher {
    /// Fetches and reads a policy. `allowed`: networks that may be reached although they are not public. Errors: a sentence
    /// for the log.
    pub(super) async fn fetch(&self, domain: &str, allowed: &[IpNet]) -> Result<Policy, String> {
        let fetched = async {
            let host = policy_host(domain);
            let text = self.text(&host, allowed).await?;
            Policy::parse(&text).map_err(|error| error.to_string())
        };
        tokio::time::timeout(PATIENCE, fetched)
            .await
            .unwrap_or_else(|_| Err(format!("no policy within {} seconds", PATIENCE.as_secs())))
    }

    async fn text(&self, host: &str, allowed: &[IpNet]) -> Result<Bytes, String> {
        let addresses = self
            .dns
            .addresses(host, Scope::Public)
            .await
            .map_err(|error| format!("no address of {host}: {error}"))?;
        let mut last = format!("{host} has private addresses only");
        let public = |address: &IpAddr| may_be_next_hop(*address, allowed);
        for address in addresses.into_iter().filter(public).take(MOST_ADDRESSES) {
            match self.get(host, SocketAddr::new(address, self.port)).await {
                Err(Trouble::Unreachable(why)) => last = why,
                Err(Trouble::Wrong(why)) => return Err(why),
                Ok(text) => return Ok(text),
            }
        }
        Err(last)
    }

    async fn get(&self, host: &str, address: SocketAddr) -> Result<Bytes, Trouble> {
        let unreachable =
            |error: std::io::Error| Trouble::Unreachable(format!("{host} ({address}): {error}"));
        let stream = match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(connected) => connected.map_err(unreachable)?,
            Err(_) => {
                return Err(Trouble::Unreachable(format!(
                    "{host} ({address}) does not answer"
                )));
            }
        };
        let name = ServerName::try_from(host.to_owned()).map_err(|error| wrong(&error))?;
        let stream = TlsConnector::from(self.tls.clone())
            .connect(name, stream)
            .await
            .map_err(|error| wrong(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| wrong(&error))?;
        // Ends when the sender is dropped.
        tokio::spawn(connection);
        let request = Request::get(POLICY_PATH)
            .header("host", host)
            .header("user-agent", concat!("postroad/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .map_err(|error| wrong(&error))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| wrong(&error))?;
        // RFC 8461 section 3.3: redirects are not followed; anything but 200 is no policy.
        if response.status() != StatusCode::OK {
            return Err(Trouble::Wrong(format!("{host} answered {}", response.status())));
        }
        let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        if !is_plain_text(kind.unwrap_or_default()) {
            return Err(Trouble::Wrong(format!("{host} did not answer with text/plain")));
        }
        let body = Limited::new(response.into_body(), LARGEST_POLICY).collect().await;
        Ok(body.map_err(|error| wrong(&error))?.to_bytes())
    }
}

/// Why there is no text.
enum Trouble {
    /// Another address may do better.
    Unreachable(String),
    /// It would not.
    Wrong(String),
}

fn wrong(why: &dyn fmt::Display) -> Trouble {
    Trouble::Wrong(why.to_string())
}

/// RFC 8461 section 3.2: the media type is text/plain, whatever its parameters.
fn is_plain_text(kind: &[u8]) -> bool {
    let kind = kind.split(|octet| *octet == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"text/plain")
}

/// For one fetch. RFC 8461 section 3.3 names this time.
const PATIENCE: Duration = Duration::from_mins(1);
/// For one connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Addresses of the host that are tried.
const MOST_ADDRESSES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_text_is_a_policy() {
        for (kind, want) in [
            ("text/plain", true),
            ("Text/Plain; charset=utf-8", true),
            ("text/plain ;x", true),
            ("text/html", false),
            ("text/plainer", false),
            ("", false),
        ] {
            assert_eq!(is_plain_text(kind.as_bytes()), want, "{kind}");
        }
    }
}
