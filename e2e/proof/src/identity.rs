//! A certificate for loopback that is its own authority, for servers of the harness.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::server::{Said, text};

/// Certificate and key.
#[derive(Clone)]
pub struct Identity {
    /// The certificate, PEM: what clients trust.
    pub certificate: String,
    /// What a server shows.
    pub config: Arc<ServerConfig>,
}

impl Identity {
    /// A new one.
    pub fn new() -> Said<Self> {
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).map_err(text)?;
        Self::of(&own.cert.pem(), &own.signing_key.serialize_pem())
    }

    /// One that somebody else made, PEM.
    pub fn of(certificate: &str, key: &str) -> Said<Self> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(text)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(text)?
            .with_no_client_auth()
            .with_single_cert(chain.map_err(text)?, key)
            .map_err(text)?;
        Ok(Self {
            certificate: certificate.to_owned(),
            config: Arc::new(config),
        })
    }
}
