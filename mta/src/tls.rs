//! The certificate that the ports show: from PEM text to a rustls configuration and to what is said of it.
//!
//! rustls with aws-lc-rs alone; TLS 1.2 and 1.3 (RFC 8996), hybrid post-quantum key exchange first.

use std::sync::Arc;

use postroad_config::admin::CertificateState;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Why chain and key cannot be served. Never holds key material.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The chain is not PEM, or empty.
    #[error("tls.certificate holds no readable PEM certificate; give the chain, leaf first")]
    Chain,
    /// The key is not PEM.
    #[error("tls.key holds no readable PEM private key")]
    Key,
    /// Key and leaf do not fit, or are of a kind that TLS does not know.
    #[error("tls: certificate and key cannot be served together: {0}")]
    Pair(rustls::Error),
    /// The leaf cannot be parsed.
    #[error("tls.certificate: the leaf is not an X.509 certificate")]
    Leaf,
}

/// A certificate that can be served.
#[derive(Clone, Debug)]
pub struct Served {
    /// For new handshakes.
    pub config: Arc<ServerConfig>,
    /// What the admin API says of it.
    pub state: CertificateState,
}

/// Reads chain and key. Errors: see [`TlsError`].
pub fn serve(chain: &str, key: &str) -> Result<Served, TlsError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::Chain)?;
    let leaf = chain.first().ok_or(TlsError::Chain)?;
    let state = describe(leaf)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| TlsError::Key)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Pair)?;
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(TlsError::Pair)?;
    Ok(Served {
        config: Arc::new(config),
        state,
    })
}

/// The one provider of cryptography for TLS.
pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn describe(leaf: &CertificateDer<'_>) -> Result<CertificateState, TlsError> {
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| TlsError::Leaf)?;
    let names = leaf
        .subject_alternative_name()
        .ok()
        .flatten()
        .map(|names| {
            names
                .value
                .general_names
                .iter()
                .filter_map(|name| match name {
                    GeneralName::DNSName(name) => Some((*name).to_owned()),
                    _ => None,
                })
                .collect()
        })
        .unwrap_or_default();
    let digits = leaf.tbs_certificate.raw_serial();
    // DER prefixes a zero octet where the first bit is set; it is no part of the number.
    let digits = digits
        .strip_prefix(&[0])
        .filter(|rest| !rest.is_empty())
        .unwrap_or(digits);
    let serial = digits.iter().fold(String::new(), |mut hex, byte| {
        for nibble in [byte >> 4, byte & 15] {
            hex.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
        hex
    });
    Ok(CertificateState {
        serial,
        not_after: leaf.validity().not_after.timestamp(),
        names,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_good_pair_is_described() {
        let (chain, key) = pair("mail.example.com");
        let served = serve(&chain, &key).unwrap();
        assert_eq!(served.state.names, ["mail.example.com"]);
        assert!(!served.state.serial.is_empty() && served.state.not_after > 0);
    }

    #[test]
    fn what_cannot_be_served_is_refused_without_showing_the_key() {
        let (chain, key) = pair("a.example");
        let (_, other) = pair("b.example");
        assert!(matches!(serve("", &key), Err(TlsError::Chain)));
        assert!(matches!(serve(&chain, "nonsense"), Err(TlsError::Key)));
        let error = serve(&chain, &other).unwrap_err();
        assert!(matches!(error, TlsError::Pair(_)), "{error}");
        assert!(!format!("{error:?}").contains("PRIVATE"));
    }
}
