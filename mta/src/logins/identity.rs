//! The certificate that we show to a smart host.

use std::sync::Arc;

use postroad_config::admin::LoginFault;
use postroad_config::{ClientCertificate, Credentials};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::fault::{NoLogin, advice};

/// The TLS of a handshake, with the certificate of these credentials where they have one.
///
/// It remembers no sessions: a resumed one would stand for the certificate that it began with.
pub fn presented(
    config: Arc<ClientConfig>,
    credentials: Option<&Credentials>,
) -> Result<Arc<ClientConfig>, NoLogin> {
    let Some(Credentials::ClientCertificate(pair)) = credentials else {
        return Ok(config);
    };
    let key = certified(pair)?;
    let mut config = ClientConfig::clone(&config);
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(key));
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Chain and key; they belong together.
pub fn certified(pair: &ClientCertificate) -> Result<CertifiedKey, NoLogin> {
    let fault = LoginFault::KeyInvalid;
    let no = |what: &str| NoLogin::new(fault, format!("the client certificate {what}; {}", advice(fault)));
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pair.certificate.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| no("is no PEM"))?;
    if chain.is_empty() {
        return Err(no("is missing"));
    }
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).map_err(|_| no("has no key in PEM"))?;
    CertifiedKey::from_der(chain, key, &crate::tls::provider())
        .map_err(|error| no(&format!("and its key cannot be used ({error})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> ClientCertificate {
        let made = rcgen::generate_simple_self_signed(vec!["client.example".to_owned()]).unwrap();
        ClientCertificate {
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        }
    }

    #[test]
    fn chain_and_key_belong_together_or_it_is_said() {
        assert!(certified(&pair()).is_ok());
        for (pair, what) in [
            (
                ClientCertificate {
                    certificate: String::new(),
                    ..pair()
                },
                "is missing",
            ),
            (
                ClientCertificate {
                    key: "x".into(),
                    ..pair()
                },
                "has no key",
            ),
            (
                ClientCertificate {
                    key: pair().key,
                    ..pair()
                },
                "cannot be used",
            ),
        ] {
            let no = certified(&pair).unwrap_err();
            assert!(no.reason.contains(what), "{}", no.reason);
            assert_eq!(no.fault, LoginFault::KeyInvalid);
        }
    }
}
