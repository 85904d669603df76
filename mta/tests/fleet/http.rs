//! A small HTTP client for the tests: one connection per request.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::{Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{Fleet, NAME};

/// Plain HTTP.
pub async fn plain(address: SocketAddr, path: &str) -> (StatusCode, String) {
    let stream = TcpStream::connect(address).await.unwrap();
    send(stream, Request::get(path).body(Full::default()).unwrap())
        .await
        .unwrap()
}

/// HTTPS to the admin API.
pub async fn api(
    fleet: &Fleet,
    address: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &str,
) -> (StatusCode, String) {
    attempt(fleet, address, method, path, token, body).await.unwrap()
}

/// The same of a pod that may be down.
pub async fn attempt(
    fleet: &Fleet,
    address: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &str,
) -> std::io::Result<(StatusCode, String)> {
    let stream = tls(fleet, address).await?;
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    send(stream, request.body(Full::from(body.to_owned())).unwrap()).await
}

/// The certificate that the admin API shows.
pub async fn shown(fleet: &Fleet, address: SocketAddr) -> Vec<u8> {
    let stream = tls(fleet, address).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

async fn tls(
    fleet: &Fleet,
    address: SocketAddr,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(fleet.authority.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector
        .connect(ServerName::try_from(NAME).unwrap(), stream)
        .await
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> std::io::Result<(StatusCode, String)> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(std::io::Error::other)?;
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let response = sender
        .send_request(request)
        .await
        .map_err(std::io::Error::other)?;
    let status = response.status();
    let body = response.into_body().collect().await;
    let octets = body.map_err(std::io::Error::other)?.to_bytes();
    Ok((status, String::from_utf8(octets.to_vec()).unwrap()))
}
