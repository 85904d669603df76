//! One HTTP endpoint: accepts connections, with or without TLS, and serves a router on each.
//!
//! ```text
//!   bind ─► Endpoint ─► accept ─► (TLS handshake, newest certificate) ─► HTTP/1.1 ─► router
//! ```
//!
//! Bounds: so many connections at once, so long for a handshake and for the header of a request. What a body may
//! hold and how long it may take is the router's business. Ends when its token is cancelled; open requests end first.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// Why an endpoint is not served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {what}: {error}; free the port or change admin.{field}")]
pub struct BindError {
    what: &'static str,
    field: &'static str,
    address: SocketAddr,
    error: std::io::Error,
}

/// Address of the client of a request, in its extensions.
#[derive(Clone, Copy, Debug)]
pub struct Client(pub SocketAddr);

/// The newest TLS configuration of an endpoint.
pub type Tls = Arc<ArcSwap<ServerConfig>>;

/// What an endpoint is, for its error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    pub what: &'static str,
    pub field: &'static str,
}

/// A bound endpoint that is not served yet.
pub(super) struct Endpoint {
    listener: TcpListener,
    /// Where it listens, with the port that the system chose.
    pub address: SocketAddr,
}

impl Endpoint {
    /// Binds. Errors: the address is in use, or not ours; the sentence says which.
    pub(super) async fn bind(address: SocketAddr, named: Named) -> Result<Self, BindError> {
        let failed = |error| BindError {
            what: named.what,
            field: named.field,
            address,
            error,
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Serves until `stop`, then until the open requests have ended or [`LINGER`] has passed.
    pub(super) async fn serve(self, router: Router, tls: Option<Tls>, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let open = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            let (stream, client) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an admin connection");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            // Over the limit: closed at once, the client tries again.
            let Ok(place) = places.clone().try_acquire_owned() else {
                continue;
            };
            let connection = Connection {
                router: router.clone(),
                client,
                stop: stop.clone(),
            };
            let tls = tls.as_ref().map(|tls| tls.load_full());
            open.spawn(async move {
                let _place = place;
                connection.run(stream, tls).await;
            });
        }
        drop(self.listener);
        open.close();
        let _ = tokio::time::timeout(LINGER, open.wait()).await;
    }
}

struct Connection {
    router: Router,
    client: SocketAddr,
    stop: CancellationToken,
}

impl Connection {
    async fn run(self, stream: TcpStream, tls: Option<Arc<ServerConfig>>) {
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls else {
            return self.http(stream).await;
        };
        let handshake = TlsAcceptor::from(tls).accept(stream);
        match tokio::time::timeout(HEADER_TIME, handshake).await {
            Ok(Ok(stream)) => self.http(stream).await,
            Ok(Err(error)) => tracing::debug!(client = %self.client, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(client = %self.client, "TLS handshake took too long"),
        }
    }

    async fn http(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let Self { router, client, stop } = self;
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Client(client));
            let router = router.clone();
            async move { Ok::<_, Infallible>(answer(router, request).await) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME)
            .max_headers(64);
        let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%client, %error, "admin connection ended early");
        }
    }
}

async fn answer(router: Router, request: hyper::Request<Body>) -> axum::response::Response {
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

const MOST_CONNECTIONS: usize = 128;
const HEADER_TIME: Duration = Duration::from_secs(10);
const LINGER: Duration = Duration::from_secs(5);
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_in_use_is_refused_with_the_address_and_the_field() {
        let named = Named {
            what: "health",
            field: "health",
        };
        let first = Endpoint::bind("127.0.0.1:0".parse().unwrap(), named)
            .await
            .unwrap();
        let Err(error) = Endpoint::bind(first.address, named).await else {
            panic!("bound twice")
        };
        let sentence = error.to_string();
        assert!(sentence.contains(&first.address.to_string()), "{sentence}");
        assert!(sentence.contains("admin.health"), "{sentence}");
    }
}
