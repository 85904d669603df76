//! What the ports show to their clients: a handshake with each of them, as a client does it.
//!
//! ```text
//!   Ports::shown ─► connect, by loopback ─► admit (known as ours) ─► session ─► STARTTLS or TLS at once ─► the leaf
//! ```
//!
//! Nothing is taken from the settings but where to knock: it is the whole way that is looked at, from the listening socket to
//! the key. Connections of ours are known by their address, so that neither the PROXY protocol nor a limit is in their way and
//! no figure counts them.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use postroad_config::admin::{CertificateState, PortShown};
use postroad_config::{Port, TlsMode};
use postroad_smtp::client::{Config, Connection, Event};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use super::Ports;
use crate::deliver::tls::ClientTls;
use crate::tls;

/// Addresses that connections of ours come from.
#[derive(Clone, Debug, Default)]
pub(super) struct Own(Arc<Mutex<HashSet<SocketAddr>>>);

/// One of them, until it is dropped.
struct Known {
    own: Own,
    address: SocketAddr,
}

impl Own {
    /// Whether a connection from there is ours.
    pub(super) fn holds(&self, source: &SocketAddr) -> bool {
        self.lock().contains(source)
    }

    /// Connects from an address that is known before anybody can accept it.
    async fn connect(&self, to: SocketAddr) -> io::Result<(TcpStream, Known)> {
        let socket = if to.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.bind(SocketAddr::new(to.ip(), 0))?;
        let address = socket.local_addr()?;
        let known = SocketAddr::new(address.ip().to_canonical(), address.port());
        self.lock().insert(known);
        let known = Known {
            own: self.clone(),
            address: known,
        };
        Ok((socket.connect(to).await?, known))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<SocketAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.own.lock().remove(&self.address);
    }
}

impl Ports {
    /// What each port with TLS shows, in the order of the settings.
    pub async fn shown(&self) -> Vec<PortShown> {
        let settings = self.shared.live.current();
        let ports = settings.set.file.ports.iter();
        let with_tls = ports.filter(|port| port.tls != TlsMode::Disabled);
        let client = match client() {
            Ok(client) => TlsConnector::from(Arc::new(client)),
            Err(error) => return with_tls.map(|port| shown(port, Err(error.to_string()))).collect(),
        };
        let looked = with_tls.map(|port| self.look(port, settings.hostname(), &client));
        futures::future::join_all(looked).await
    }

    async fn look(&self, port: &Port, hostname: &str, client: &TlsConnector) -> PortShown {
        let handshake = self.handshake(port, hostname, client);
        let looked = match tokio::time::timeout(LIMIT, handshake).await {
            Ok(looked) => looked,
            Err(_) => Err(format!("no handshake within {} s", LIMIT.as_secs())),
        };
        shown(port, looked)
    }

    async fn handshake(
        &self,
        port: &Port,
        hostname: &str,
        client: &TlsConnector,
    ) -> Result<CertificateState, String> {
        let bound = self.address(&port.name).ok_or("the port is not open")?;
        let to = SocketAddr::new(reachable(bound.ip()), bound.port());
        let said = |error: io::Error| error.to_string();
        let (mut stream, _known) = self.own.connect(to).await.map_err(said)?;
        if port.tls != TlsMode::Implicit {
            starttls(&mut stream, hostname).await?;
        }
        let name = ServerName::try_from(hostname.to_owned()).map_err(|error| error.to_string())?;
        let stream = client.connect(name, stream).await.map_err(said)?;
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let leaf = leaf.ok_or("the port shows no certificate")?;
        tls::describe(leaf).map_err(|error| error.to_string())
    }
}

fn shown(port: &Port, looked: Result<CertificateState, String>) -> PortShown {
    let (certificate, error) = match looked {
        Ok(certificate) => (Some(certificate), None),
        Err(error) => (None, Some(error)),
    };
    PortShown {
        port: port.name.clone(),
        certificate,
        error,
    }
}

/// Where a socket that listens at this address is reached from here.
fn reachable(bound: IpAddr) -> IpAddr {
    // `[::]` serves IPv4 as well, see `listen`.
    if bound.is_unspecified() {
        Ipv4Addr::LOCALHOST.into()
    } else {
        bound
    }
}

/// Any certificate, and always a whole handshake: a resumed session shows the certificate of the one before.
fn client() -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::clone(&*ClientTls::public()?.any());
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// As far as the reply to STARTTLS.
async fn starttls(stream: &mut TcpStream, hostname: &str) -> Result<(), String> {
    let mut connection = Connection::new(Config::smtp(hostname));
    let mut room = vec![0; 4 << 10];
    loop {
        let event = connection.poll();
        let output = connection.take_output();
        let written = stream.write_all(&output).await;
        written.map_err(|error| error.to_string())?;
        match event {
            Event::StartTls => return Ok(()),
            Event::Ready if connection.start_tls() => {}
            Event::Ready => return Err("STARTTLS is not offered".to_owned()),
            Event::TlsRefused(reply) => return Err(format!("STARTTLS was refused: {reply}")),
            Event::Failed(failure) => return Err(failure.error.to_string()),
            Event::NeedInput => {
                let count = stream.read(&mut room).await.map_err(|error| error.to_string())?;
                match room.get(..count).filter(|read| !read.is_empty()) {
                    Some(read) => connection.feed(read),
                    None => connection.closed(),
                }
            }
            Event::NeedBody | Event::Sent(_) | Event::LoggedIn | Event::LoginRefused(_) | Event::Closed => {
                return Err("the session ended before STARTTLS".to_owned());
            }
        }
    }
}

/// For one port. The operator waits longer.
const LIMIT: Duration = Duration::from_secs(5);
