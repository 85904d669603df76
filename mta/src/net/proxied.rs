//! The PROXY header in front of a session: who must send one, and who the client is then.
//!
//! Mode `Optional`: those of `trustedSources` begin with a header, all others are taken for what they are. Mode `Required`:
//! all come from `trustedSources`. Nobody has to wait and guess, and nobody else's header is ever believed.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use postroad_config::ProxyMode;
use postroad_smtp::proxy::{HeaderReader, Origin};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::settings::Settings;

/// How a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// With the session itself: the one who connected is the client.
    Session,
    /// With a header that names the client.
    Header,
    /// Not at all: it does not come from a load balancer, and only they may connect.
    Refused,
}

/// How a connection from there begins. Pure.
pub(super) fn beginning(settings: &Settings, source: IpAddr) -> Beginning {
    match (settings.set.file.proxy_protocol.mode, settings.is_proxy(source)) {
        (ProxyMode::Disabled, _) | (ProxyMode::Optional, false) => Beginning::Session,
        (ProxyMode::Optional | ProxyMode::Required, true) => Beginning::Header,
        (ProxyMode::Required, false) => Beginning::Refused,
    }
}

/// Reads the header and not an octet more. Errors: it is malformed, too late, or the connection ended.
pub(super) async fn client(stream: &mut TcpStream, source: SocketAddr) -> io::Result<SocketAddr> {
    let read = async {
        let mut reader = HeaderReader::default();
        let mut octets = [0; 256];
        loop {
            let piece = octets.get_mut(..reader.wanted().min(256)).unwrap_or_default();
            stream.read_exact(piece).await?;
            if let Some(origin) = reader.take(piece).map_err(io::Error::other)? {
                return Ok(match origin {
                    Origin::Connection => source,
                    Origin::Client(client) => client,
                });
            }
        }
    };
    tokio::time::timeout(HEADER, read)
        .await
        .unwrap_or_else(|_| Err(io::Error::other("no PROXY header came in time")))
}

/// A load balancer sends it at once.
const HEADER: Duration = Duration::from_secs(5);
