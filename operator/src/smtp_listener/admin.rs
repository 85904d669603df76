//! Talking to the admin endpoints of the pods: HTTPS by address, the name of the fleet proved, a short-lived token of the
//! operator's own account. IO only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, Client};
use postroad_config::admin::{
    LostRequest, NetworkState, PortShown, Refusal, RelayTest, RelayTested, SealRequest, State, UpstreamTest,
    UpstreamTested,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;
use tokio_rustls::TlsConnector;

/// Why a pod could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No connection, no TLS, no HTTP.
    #[error("{0}")]
    Unreachable(String),
    /// It answered with a refusal.
    #[error("{0}: {1}")]
    Refused(u16, String),
    /// No token.
    #[error("no token for the pods: {0}")]
    Token(#[from] kube::Error),
}

/// Longest time that one question may take.
const DEADLINE: Duration = Duration::from_secs(3);
/// A pod takes five seconds at most to look at its own ports.
const LOOK: Duration = Duration::from_secs(8);
/// A pod takes 25 seconds at most to test ports, or smart hosts.
const TEST: Duration = Duration::from_secs(28);
/// Tokens are good for ten minutes and used for seven.
const TOKEN_LIFE: Duration = Duration::from_mins(7);

/// The API server's audiences hardly ever change: its arguments do.
const AUDIENCES_LIFE: Duration = Duration::from_hours(1);

/// Tokens of the operator's own account, one for each audience, and the API server's own audiences; kept in memory.
#[derive(Default)]
pub struct Tokens {
    tokens: Mutex<HashMap<String, (Instant, String)>>,
    api_audiences: Mutex<Option<(Instant, Vec<String>)>>,
}

impl Tokens {
    /// The audiences of the API server: those of a token for which none are asked. The token itself is dropped.
    pub async fn api_audiences(
        &self,
        client: &Client,
        namespace: &str,
        account: &str,
    ) -> Result<Vec<String>, kube::Error> {
        let known = self
            .api_audiences
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some((since, audiences)) = known
            && since.elapsed() < AUDIENCES_LIFE
        {
            return Ok(audiences);
        }
        let answer = request(client, namespace, account, None).await?;
        let audiences = answer.spec.and_then(|spec| spec.audiences).unwrap_or_default();
        let fresh = Some((Instant::now(), audiences.clone()));
        *self.api_audiences.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(audiences)
    }

    /// A token for an audience.
    pub async fn get(
        &self,
        client: &Client,
        namespace: &str,
        account: &str,
        audience: &str,
    ) -> Result<String, AdminError> {
        if let Some((since, token)) = self.lock().get(audience)
            && since.elapsed() < TOKEN_LIFE
        {
            return Ok(token.clone());
        }
        let answer = request(client, namespace, account, Some(vec![audience.to_owned()])).await?;
        let token = answer.status.and_then(|status| status.token).unwrap_or_default();
        let mut tokens = self.lock();
        tokens.retain(|_, (since, _)| since.elapsed() < TOKEN_LIFE);
        tokens.insert(audience.to_owned(), (Instant::now(), token.clone()));
        Ok(token)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, String)>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for a ten-minute token of an account. `audiences`: absent = those of the API server.
async fn request(
    client: &Client,
    namespace: &str,
    account: &str,
    audiences: Option<Vec<String>>,
) -> Result<TokenRequest, kube::Error> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences,
            expiration_seconds: Some(600),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    accounts
        .create_token_request(account, &PostParams::default(), &request)
        .await
}

/// Access to the pods of one listener.
pub struct Fleet {
    connector: TlsConnector,
    name: ServerName<'static>,
    token: String,
}

impl Fleet {
    /// `authority`: PEM of the listener's authority. `name`: what its endpoints prove.
    pub fn new(authority: &str, name: &str, token: String) -> Result<Self, AdminError> {
        let unreachable = |error: &dyn std::fmt::Display| AdminError::Unreachable(error.to_string());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
            let certificate = certificate.map_err(|error| unreachable(&error))?;
            roots.add(certificate).map_err(|error| unreachable(&error))?;
        }
        let config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|error| unreachable(&error))?
                .with_root_certificates(roots)
                .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).map_err(|error| unreachable(&error))?;
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            name,
            token,
        })
    }

    /// What a pod says of itself.
    pub async fn state(&self, address: &str) -> Result<State, AdminError> {
        self.ask("GET", address, "/v1/state", Bytes::new(), DEADLINE)
            .await
    }

    /// What the ports of a pod show: it connects to each of them, as a client does.
    pub async fn certificates(&self, address: &str) -> Result<Vec<PortShown>, AdminError> {
        self.ask("GET", address, "/v1/certificates", Bytes::new(), LOOK)
            .await
    }

    /// What a pod has seen of the network.
    pub async fn network(&self, address: &str) -> Result<NetworkState, AdminError> {
        self.ask("GET", address, "/v1/network", Bytes::new(), DEADLINE)
            .await
    }

    /// Has a pod try to relay through ports.
    pub async fn relay_test(&self, address: &str, test: &RelayTest) -> Result<Vec<RelayTested>, AdminError> {
        let body = serde_json::to_vec(test).unwrap_or_default();
        self.ask("POST", address, "/v1/relay-test", body.into(), TEST)
            .await
    }

    /// Has a pod try the smart hosts of a policy.
    pub async fn upstream_test(
        &self,
        address: &str,
        test: &UpstreamTest,
    ) -> Result<Vec<UpstreamTested>, AdminError> {
        let body = serde_json::to_vec(test).unwrap_or_default();
        self.ask("POST", address, "/v1/upstream-test", body.into(), TEST)
            .await
    }

    /// Seals a pod. `targets`: see [`SealRequest::targets`].
    pub async fn seal(&self, address: &str, targets: Vec<String>) -> Result<State, AdminError> {
        let body = serde_json::to_vec(&SealRequest { targets }).unwrap_or_default();
        self.ask("POST", address, "/v1/seal", body.into(), DEADLINE).await
    }

    /// Takes the seal off.
    pub async fn unseal(&self, address: &str) -> Result<State, AdminError> {
        self.ask("POST", address, "/v1/unseal", Bytes::new(), DEADLINE)
            .await
    }

    /// Tells a pod that the volume with this spool is lost.
    pub async fn lost(&self, address: &str, spool: &str) -> Result<State, AdminError> {
        let request = LostRequest {
            spool: spool.to_owned(),
        };
        let body = serde_json::to_vec(&request).unwrap_or_default();
        self.ask("POST", address, "/v1/lost", body.into(), DEADLINE).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        address: &str,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<T, AdminError> {
        match tokio::time::timeout(limit, self.exchange(method, address, path, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(AdminError::Unreachable(format!(
                "no answer within {} s",
                limit.as_secs()
            ))),
        }
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: &str,
        address: &str,
        path: &str,
        body: Bytes,
    ) -> Result<T, AdminError> {
        let unreachable = |error: &dyn std::fmt::Display| AdminError::Unreachable(error.to_string());
        // Pods are addressed by IP: no name is looked up.
        let address: std::net::SocketAddr = address.parse().map_err(|error| unreachable(&error))?;
        let tcp = tokio::net::TcpStream::connect(address)
            .await
            .map_err(|error| unreachable(&error))?;
        let tls = self
            .connector
            .connect(self.name.clone(), tcp)
            .await
            .map_err(|error| unreachable(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls))
            .await
            .map_err(|error| unreachable(&error))?;
        let driver = tokio::spawn(connection);
        let request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.name.to_str().as_ref())
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| unreachable(&error))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| unreachable(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), 64 << 10)
            .collect()
            .await
            .map_err(|error| unreachable(&error))?;
        driver.abort();
        let body = body.to_bytes();
        if !status.is_success() {
            let text = serde_json::from_slice::<Refusal>(&body)
                .map_or_else(|_| "refused".to_owned(), |refusal| refusal.error);
            return Err(AdminError::Refused(status.as_u16(), text));
        }
        serde_json::from_slice(&body).map_err(|error| unreachable(&error))
    }
}
