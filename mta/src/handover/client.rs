//! The client of another pod's admin endpoint: one connection, our own token, the fleet's authorities.
//!
//! ```text
//!   SocketAddr ─► TCP ─► TLS (serverName, authorities) ─► HTTP/1.1 ─► state | exchange | ask | post
//! ```
//!
//! The token file is read for every request, as the kubelet rotates it; its text goes nowhere else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use axum::http::{HeaderValue, Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use postroad_config::AdminApi;
use postroad_config::admin::{Refusal, State};
use postroad_spool::SpoolUuid;
use postroad_spool::handover::{ToSource, ToTarget};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use super::leaving::host_name;
use super::stream::{Frames, StreamError};
use super::wire::{Frame, WireError};
use crate::settings::Live;
use crate::tls;

/// Header with the address of the sender's own admin endpoint.
pub(super) const ADMIN_ADDRESS: &str = "postroad-admin-address";

/// Header with the host name of the sender, which is the name of its pod.
pub(super) const POD: &str = "postroad-pod";

/// Header with the UUID of the sender's spool.
pub(super) const SPOOL: &str = "postroad-spool";

/// Why another pod could not be asked, or did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// `admin.api` or its `peerTokenFile` is not configured, or cannot be used.
    #[error("{0}")]
    Ourselves(String),
    /// No connection.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(SocketAddr, String),
    /// Nothing came for too long.
    #[error("{0} did not answer in time")]
    Silent(SocketAddr),
    /// It said no.
    #[error("{0} refused with {1}: {2}")]
    Refused(SocketAddr, StatusCode, String),
    /// What it said makes no sense.
    #[error("{0}: {1}")]
    Nonsense(SocketAddr, StreamError),
}

type RequestBody = BoxBody<Bytes, std::io::Error>;

/// A connection to another pod's admin endpoint.
pub(crate) struct Peer {
    address: SocketAddr,
    sender: http1::SendRequest<RequestBody>,
    live: Live,
    patience: Duration,
    ourselves: Ourselves,
}

/// What we say of ourselves to the other pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ourselves {
    /// Our spool.
    pub spool: SpoolUuid,
    /// Our admin endpoint.
    pub address: Option<SocketAddr>,
}

/// A reply.
pub(super) struct Reply {
    /// All but the last.
    pub frames: Vec<Frame>,
    /// Whether the target takes more offers.
    pub accepting: bool,
}

impl Peer {
    /// Connects; the server must prove the fleet's name.
    pub(crate) async fn connect(
        live: &Live,
        address: SocketAddr,
        ourselves: Ourselves,
        patience: Duration,
    ) -> Result<Self, PeerError> {
        let unreachable = |error: &dyn std::fmt::Display| PeerError::Unreachable(address, error.to_string());
        let settings = live.current();
        let api = settings.set.file.admin.api.as_ref();
        let (config, name) =
            trust(api.ok_or_else(|| PeerError::Ourselves("admin.api is not configured".into()))?)?;
        let connecting = async {
            let stream = TcpStream::connect(address)
                .await
                .map_err(|error| unreachable(&error))?;
            let _ = stream.set_nodelay(true);
            let stream = TlsConnector::from(config).connect(name, stream).await;
            let stream = TokioIo::new(stream.map_err(|error| unreachable(&error))?);
            http1::handshake(stream)
                .await
                .map_err(|error| unreachable(&error))
        };
        let connected = tokio::time::timeout(CONNECT_TIME, connecting).await;
        let (sender, connection) = connected.map_err(|_| PeerError::Silent(address))??;
        // Ends when the sender is dropped.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self {
            address,
            sender,
            live: live.clone(),
            patience,
            ourselves,
        })
    }

    /// What it says of itself.
    pub(super) async fn state(&mut self) -> Result<State, PeerError> {
        let request = self.request(
            Method::GET,
            "/v1/state",
            Full::default().map_err(|never| match never {}).boxed(),
        );
        let request = request.await?;
        let response = tokio::time::timeout(self.patience, self.sender.send_request(request));
        let response = response.await.map_err(|_| PeerError::Silent(self.address))?;
        let response = self.good(response).await?;
        let text = self.text(response).await?;
        serde_json::from_slice(&text)
            .map_err(|_| self.nonsense(WireError("its state is not readable").into()))
    }

    /// Sends JSON to a verb, and gives what it answers.
    pub(crate) async fn post(&mut self, verb: &str, body: Vec<u8>) -> Result<Bytes, PeerError> {
        let body = Full::from(body).map_err(|never| match never {}).boxed();
        let mut request = self.request(Method::POST, verb, body).await?;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        let response = self.sender.send_request(request).await;
        let response = self.good(response).await?;
        self.text(response).await
    }

    /// Sends a target's questions, gives the source's messages.
    pub(super) async fn ask(&mut self, questions: &[ToSource]) -> Result<Vec<ToTarget>, PeerError> {
        let mut octets = Vec::new();
        for question in questions {
            Frame::ToSource(*question).encode(&mut octets);
        }
        Frame::End { accepting: true }.encode(&mut octets);
        let (send, body) = mpsc::channel(1);
        let _ = send.try_send(Ok(Bytes::from(octets)));
        drop(send);
        let reply = self
            .exchange("/v1/handover/ask", body, std::future::ready(()))
            .await?;
        let messages = reply.frames.into_iter().filter_map(|frame| match frame {
            Frame::ToTarget(message) => Some(message),
            _ => None,
        });
        Ok(messages.collect())
    }

    /// Sends what `feed` puts into the channel, and gives what comes back.
    pub(super) async fn exchange(
        &mut self,
        verb: &str,
        body: mpsc::Receiver<std::io::Result<Bytes>>,
        feed: impl Future<Output = ()>,
    ) -> Result<Reply, PeerError> {
        let pieces = futures::stream::unfold(body, |mut body| async {
            let piece = body.recv().await?;
            Some((piece.map(hyper::body::Frame::data), body))
        });
        let request = self
            .request(Method::POST, verb, BodyExt::boxed(StreamBody::new(pieces)))
            .await?;
        let mut response = std::pin::pin!(self.sender.send_request(request));
        let mut feed = std::pin::pin!(feed);
        // A refusal may come before all is sent.
        let early = tokio::select! {
            response = response.as_mut() => Some(response),
            () = feed.as_mut() => None,
        };
        let response = match early {
            Some(response) => response,
            None => tokio::time::timeout(self.patience * 2, response)
                .await
                .map_err(|_| PeerError::Silent(self.address))?,
        };
        let response = self.good(response).await?;
        let mut frames = Frames::new(response.into_body(), self.patience);
        let mut answers = Vec::new();
        loop {
            match frames.next().await.map_err(|error| self.nonsense(error))? {
                Frame::End { accepting } => {
                    return Ok(Reply {
                        frames: answers,
                        accepting,
                    });
                }
                frame if answers.len() < MOST_ANSWERS => answers.push(frame),
                _ => return Err(self.nonsense(WireError("it answers more than was asked").into())),
            }
        }
    }

    async fn request(
        &self,
        method: Method,
        verb: &str,
        body: RequestBody,
    ) -> Result<Request<RequestBody>, PeerError> {
        let settings = self.live.current();
        let file = settings
            .set
            .file
            .admin
            .api
            .as_ref()
            .and_then(|api| api.peer_token_file.clone());
        let file =
            file.ok_or_else(|| PeerError::Ourselves("admin.api.peerTokenFile is not configured".into()))?;
        let unreadable = |error: &dyn std::fmt::Display| {
            PeerError::Ourselves(format!(
                "the token file {} cannot be used: {error}",
                file.display()
            ))
        };
        let path = file.clone();
        let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await;
        let token = read
            .map_err(|error| unreadable(&error))?
            .map_err(|error| unreadable(&error))?;
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.trim()))
            .map_err(|_| unreadable(&"it holds no token"))?;
        bearer.set_sensitive(true);
        let mut request = Request::builder()
            .method(method)
            .uri(verb)
            .header(HOST, self.address.to_string())
            .header(AUTHORIZATION, bearer);
        request = request.header(SPOOL, self.ourselves.spool.to_string());
        // It is for the log alone.
        if let Ok(host) = HeaderValue::try_from(host_name()) {
            request = request.header(POD, host);
        }
        if let Some(own) = self.ourselves.address {
            request = request.header(ADMIN_ADDRESS, own.to_string());
        }
        request
            .body(body)
            .map_err(|error| PeerError::Ourselves(error.to_string()))
    }

    /// The response, where its status is 200.
    async fn good(
        &self,
        response: hyper::Result<Response<Incoming>>,
    ) -> Result<Response<Incoming>, PeerError> {
        let response = response.map_err(|error| PeerError::Unreachable(self.address, error.to_string()))?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(response);
        }
        let text = self.text(response).await.unwrap_or_default();
        let sentence =
            serde_json::from_slice::<Refusal>(&text).map_or_else(|_| String::new(), |refusal| refusal.error);
        Err(PeerError::Refused(self.address, status, sentence))
    }

    async fn text(&self, response: Response<Incoming>) -> Result<Bytes, PeerError> {
        let long = response
            .headers()
            .get(CONTENT_LENGTH)
            .is_some_and(|length| length.len() > 6);
        if long {
            return Err(self.nonsense(WireError("its answer is too long").into()));
        }
        let body = tokio::time::timeout(
            self.patience,
            Limited::new(response.into_body(), LONGEST_TEXT).collect(),
        );
        let body = body.await.map_err(|_| PeerError::Silent(self.address))?;
        let body = body.map_err(|error| PeerError::Unreachable(self.address, error.to_string()))?;
        Ok(body.to_bytes())
    }

    fn nonsense(&self, error: StreamError) -> PeerError {
        PeerError::Nonsense(self.address, error)
    }
}

/// Who is trusted, and the name that must be proved.
fn trust(api: &AdminApi) -> Result<(Arc<ClientConfig>, ServerName<'static>), PeerError> {
    let bad = |what: &str| PeerError::Ourselves(format!("admin.api.{what}"));
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(api.authorities.as_bytes()) {
        let authority = authority.map_err(|_| bad("authorities is not PEM"))?;
        roots
            .add(authority)
            .map_err(|_| bad("authorities holds something that is no certificate"))?;
    }
    let config = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|_| bad("authorities cannot be used"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(api.server_name.as_str().to_owned())
        .map_err(|_| bad("serverName is no name"))?;
    Ok((Arc::new(config), name))
}

const CONNECT_TIME: Duration = Duration::from_secs(5);
const LONGEST_TEXT: usize = 64 << 10;
const MOST_ANSWERS: usize = 8_192;
