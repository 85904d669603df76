//! Whether a token that holds by itself was revoked: asked of whoever can say it, and remembered for half a minute.
//!
//! ```text
//!   token ─► asked within 30 s? ─► TLS to `review.address`, whose name the authority must prove ─► POST /v1/token-review
//! ```
//!
//! What cannot be found out is neither: the client gets 454 and comes again.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use axum::http::Request;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use postroad_config::Review;
use postroad_config::admin::{ReviewRequest, Reviewed};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::tls;

/// Asks, and remembers. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Reviewer(Arc<Mutex<Answers>>);

/// What was said of a token, by its digest, and when.
type Answers = HashMap<[u8; 32], (Instant, bool)>;

impl Reviewer {
    /// Whether a token holds. Errors: it cannot be found out now; one sentence, without the token.
    pub async fn holds(&self, review: &Review, token: &str) -> Result<bool, String> {
        let proof = proof(&review.address, token);
        if let Some(held) = self.known(&proof) {
            return Ok(held);
        }
        let holds = match tokio::time::timeout(PATIENCE, ask(review, token)).await {
            Ok(answer) => answer?,
            Err(_) => return Err(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        self.keep(proof, holds);
        Ok(holds)
    }

    fn known(&self, proof: &[u8; 32]) -> Option<bool> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, held) = kept.get(proof)?;
        (since.elapsed() < KEPT).then_some(*held)
    }

    fn keep(&self, proof: [u8; 32], holds: bool) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST_KEPT {
            kept.retain(|_, (since, _)| since.elapsed() < KEPT);
        }
        if kept.len() < MOST_KEPT {
            kept.insert(proof, (Instant::now(), holds));
        }
    }
}

async fn ask(review: &Review, token: &str) -> Result<bool, String> {
    let stream = TcpStream::connect(review.address)
        .await
        .map_err(|error| error.to_string())?;
    let name =
        ServerName::try_from(review.server_name.as_str().to_owned()).map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(Arc::new(trust(review)?))
        .connect(name, stream)
        .await
        .map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // Ends when the sender is dropped.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let body = serde_json::to_vec(&ReviewRequest {
        token: token.to_owned(),
    })
    .map_err(|error| error.to_string())?;
    let request = Request::post("/v1/token-review")
        .header("host", review.server_name.as_str())
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| error.to_string())?;
    let status = response.status();
    if !status.is_success() {
        return Err(format!("it answered {status}"));
    }
    let body = Limited::new(response.into_body(), LARGEST).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    let reviewed: Reviewed = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    Ok(reviewed.authenticated)
}

fn trust(review: &Review) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(review.authorities.as_bytes()) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    let config = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn proof(address: &SocketAddr, token: &str) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(address.to_string().as_bytes());
    context.update(b"\n");
    context.update(token.as_bytes());
    let mut proof = [0; 32];
    for (to, from) in proof.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    proof
}

const KEPT: Duration = Duration::from_secs(30);
const MOST_KEPT: usize = 10_000;
/// Longer than whoever is asked may take.
const PATIENCE: Duration = Duration::from_secs(12);
const LARGEST: usize = 4 << 10;
