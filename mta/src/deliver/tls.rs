//! TLS towards next hops: one configuration for "encrypt, whoever it is", one for "prove who you are", and one for each
//! connection whose certificate is told by TLSA records.
//!
//! ```text
//!   Offered, Encrypted ─► any certificate (RFC 7435); the peer still proves that it holds the key
//!   Verified ───────────► a public authority vouches for the host's name (RFC 9525)
//!   Vouched ────────────► one of the route's own authorities does
//!   Dane ───────────────► dane_certificate.rs
//! ```
//!
//! rustls with aws-lc-rs; TLS 1.2 and 1.3 (RFC 8996, RFC 9325).

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    Resumption, WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::connect::NoTls;
use super::dane_certificate::Recorded;
use super::protection::{Anchors, Need};
use super::vouchers::Vouchers;

/// The configurations; sessions are resumed within each of the first two.
#[derive(Clone, Debug)]
pub struct ClientTls {
    provider: Arc<CryptoProvider>,
    any: Arc<ClientConfig>,
    verified: Arc<ClientConfig>,
    roots: Arc<RootCertStore>,
    nobody: Arc<ClientConfig>,
    vouchers: Vouchers,
}

impl ClientTls {
    /// Trusts the public authorities of Mozilla's list.
    ///
    /// Errors: none in practice; the provider has the protocol versions that are asked of it.
    pub fn public() -> Result<Self, rustls::Error> {
        Self::trusting(RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        })
    }

    /// Trusts these authorities. Errors: as [`ClientTls::public`].
    pub fn trusting(roots: RootCertStore) -> Result<Self, rustls::Error> {
        let provider = crate::tls::provider();
        let builder =
            || ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let anyone = Arc::new(Anyone(provider.clone()));
        let roots = Arc::new(roots);
        Ok(Self {
            provider: provider.clone(),
            any: Arc::new(
                builder()?
                    .dangerous()
                    .with_custom_certificate_verifier(anyone)
                    .with_no_client_auth(),
            ),
            verified: Arc::new(
                builder()?
                    .with_root_certificates(roots.clone())
                    .with_no_client_auth(),
            ),
            roots,
            nobody: Arc::new(
                builder()?
                    .with_root_certificates(RootCertStore::empty())
                    .with_no_client_auth(),
            ),
            vouchers: Vouchers::default(),
        })
    }

    /// The configuration for a handshake, and the name that the server is asked for.
    pub fn config<'a>(&self, host: &'a str, need: &'a Need) -> (&'a str, Arc<ClientConfig>) {
        match need {
            Need::Verified => (host, self.verified.clone()),
            Need::Vouched(authorities) => (host, self.vouched(authorities)),
            // RFC 7672 section 8.1: the name where the records are.
            Need::Dane(anchors) => (anchors.base.as_str(), self.recorded(anchors)),
            Need::Clear | Need::Offered | Need::Encrypted => (host, self.any.clone()),
        }
    }

    /// What an authority that vouches for names would find wrong with what a host shows, its own certificate first: a public one,
    /// or one of these (PEM).
    pub fn flaw(&self, host: &str, shown: &[CertificateDer<'_>], authorities: Option<&str>) -> Option<NoTls> {
        let (leaf, chain) = shown.split_first()?;
        let roots = authorities.map_or_else(|| self.roots.clone(), |named| self.vouchers.of(named));
        let judged = || {
            let parsed = ParsedCertificate::try_from(leaf)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&parsed, &roots, chain, UnixTime::now(), algorithms)?;
            let name = ServerName::try_from(host).map_err(|_| CertificateError::NotValidForName)?;
            verify_server_name(&parsed, &name)
        };
        judged().err().map(|error| NoTls::found(&error))
    }

    /// The configuration that takes any certificate.
    pub fn any(&self) -> Arc<ClientConfig> {
        self.any.clone()
    }

    /// The configuration that takes certificates for a name from a public authority.
    pub fn public_names(&self) -> Arc<ClientConfig> {
        self.verified.clone()
    }

    /// The configuration that takes certificates for a name from one of these authorities (PEM). What is no certificate vouches
    /// for nobody. No session is resumed: one of before was perhaps proven by others.
    pub fn vouched(&self, authorities: &str) -> Arc<ClientConfig> {
        let roots = self.vouchers.of(authorities);
        let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(roots, self.provider.clone()).build()
        else {
            return self.nobody.clone();
        };
        let mut config = ClientConfig::clone(&self.nobody);
        config.dangerous().set_certificate_verifier(verifier);
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }

    /// A session of before was perhaps proven by other records, so none is resumed.
    fn recorded(&self, anchors: &Arc<Anchors>) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.any);
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(Recorded::new(anchors.clone(), self.provider.clone())));
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }
}

/// Takes every certificate, and checks that the peer holds its key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
