//! Listening sockets.

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// A port cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("port `{name}` cannot listen on {address}: {error}")]
pub struct BindError {
    /// Name of the port in the configuration.
    pub name: String,
    /// Where it should listen.
    pub address: SocketAddr,
    /// What the system said.
    pub error: std::io::Error,
}

/// Listens. `[::]` serves IPv4 as well; on a host without IPv6 it is `0.0.0.0`.
pub fn listen(name: &str, address: SocketAddr) -> Result<TcpListener, BindError> {
    let fail = |error| BindError {
        name: name.to_owned(),
        address,
        error,
    };
    let opened = open(address).or_else(|error| {
        let none =
            matches!(error.raw_os_error(), Some(code) if code == EAFNOSUPPORT || code == EADDRNOTAVAIL);
        if none && address.is_ipv6() && address.ip().is_unspecified() {
            open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        } else {
            Err(error)
        }
    });
    opened.and_then(TcpListener::from_std).map_err(fail)
}

fn open(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the connections of the process before.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

const BACKLOG: i32 = 1_024;
const EAFNOSUPPORT: i32 = 97;
const EADDRNOTAVAIL: i32 = 99;
