//! The API server as the harness sees it: JSON over HTTPS, by a client that shares no code with the operator's.

use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

use crate::server::{Said, text};

/// Connections to the API server.
pub type Upstream = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client with a token.
#[derive(Clone)]
pub struct Api {
    /// The connections.
    pub upstream: Upstream,
    /// `host:port`.
    pub address: String,
    token: String,
}

impl Api {
    /// `certificate`: the server's own, DER, the only one that is trusted.
    pub fn new(address: &str, certificate: &[u8], token: &str) -> Said<Self> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from(certificate.to_vec()))
            .map_err(text)?;
        let config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(text)?
                .with_root_certificates(roots)
                .with_no_client_auth();
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_http1()
            .build();
        Ok(Self {
            upstream: Client::builder(TokioExecutor::new()).build(connector),
            address: address.to_owned(),
            token: token.to_owned(),
        })
    }

    /// Reads.
    pub async fn get(&self, path: &str) -> Said<Value> {
        self.ask(Method::GET, path, "application/json", None).await
    }

    /// Reads what may not be there.
    pub async fn find(&self, path: &str) -> Said<Option<Value>> {
        match self.send(Method::GET, path, "application/json", None).await? {
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, value) => good(path, status, value).map(Some),
        }
    }

    /// Applies an object under a manager's name, forced.
    pub async fn apply(&self, path: &str, object: &Value) -> Said<Value> {
        let path = format!("{path}?fieldManager=person&force=true");
        self.ask(Method::PATCH, &path, "application/apply-patch+yaml", Some(object))
            .await
    }

    /// Merges a few fields.
    pub async fn merge(&self, path: &str, change: &Value) -> Said<Value> {
        self.ask(Method::PATCH, path, "application/merge-patch+json", Some(change))
            .await
    }

    /// Writes an object as a whole. The refusal of the server is the inner error.
    pub async fn replace(&self, path: &str, object: &Value) -> Said<Result<Value, String>> {
        let (status, value) = self
            .send(Method::PUT, path, "application/json", Some(object))
            .await?;
        Ok(good(path, status, value))
    }

    /// Deletes; gone already is fine.
    pub async fn delete(&self, path: &str) -> Said<()> {
        match self.send(Method::DELETE, path, "application/json", None).await? {
            (StatusCode::NOT_FOUND, _) => Ok(()),
            (status, value) => good(path, status, value).map(drop),
        }
    }

    /// Creates.
    pub async fn create(&self, path: &str, object: &Value) -> Said<Value> {
        self.ask(Method::POST, path, "application/json", Some(object))
            .await
    }

    async fn ask(&self, method: Method, path: &str, kind: &str, body: Option<&Value>) -> Said<Value> {
        let (status, value) = self.send(method, path, kind, body).await?;
        good(path, status, value)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Option<&Value>,
    ) -> Said<(StatusCode, Value)> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.address))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", kind)
            .body(Full::new(Bytes::from(body)))
            .map_err(text)?;
        let answer = self
            .upstream
            .request(request)
            .await
            .map_err(|error| format!("{path}: {error}"))?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(text)?.to_bytes();
        let value = serde_json::from_slice(&body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
        Ok((status, value))
    }
}

fn good(path: &str, status: StatusCode, value: Value) -> Said<Value> {
    if status.is_success() {
        return Ok(value);
    }
    Err(format!(
        "{path}: {status}: {}",
        value["message"].as_str().unwrap_or_default()
    ))
}
