//! TLS towards next hops: one configuration for "encrypt, whoever it is" and one for "prove who you are".
//!
//! ```text
//!   Opportunistic, Encrypted ─► any certificate (RFC 7435); the peer still proves that it holds the key
//!   Verified ─────────────────► a public authority vouches for the host's name (RFC 9525)
//! ```
//!
//! rustls with aws-lc-rs; TLS 1.2 and 1.3 (RFC 8996, RFC 9325).

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// Both configurations; sessions are resumed within each.
#[derive(Clone, Debug)]
pub struct ClientTls {
    any: Arc<ClientConfig>,
    verified: Arc<ClientConfig>,
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
        Ok(Self {
            any: Arc::new(
                builder()?
                    .dangerous()
                    .with_custom_certificate_verifier(anyone)
                    .with_no_client_auth(),
            ),
            verified: Arc::new(builder()?.with_root_certificates(roots).with_no_client_auth()),
        })
    }

    /// The configuration for a handshake.
    pub fn config(&self, verify: bool) -> Arc<ClientConfig> {
        if verify {
            self.verified.clone()
        } else {
            self.any.clone()
        }
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
