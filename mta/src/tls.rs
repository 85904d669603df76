//! The certificate that the ports show: from PEM text to a rustls configuration and to what is said of it.
//!
//! rustls with aws-lc-rs alone; TLS 1.2 and 1.3 (RFC 8996), or 1.3 alone; hybrid post-quantum key exchange first.

use std::sync::Arc;

use aws_lc_rs::digest;
use postroad_config::admin::CertificateState;
use postroad_config::{Port, Role, TlsMode, TlsVersion};
use postroad_smtp::sasl::ChannelBindings;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ServerSessionMemoryCache;
use rustls::{ProtocolVersion, ServerConfig, ServerConnection};
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
    /// For new handshakes, by [`Service`].
    configs: [Arc<ServerConfig>; 4],
    /// Digest of all that it was made of.
    made_of: [u8; 32],
    /// What the admin API says of it.
    pub state: CertificateState,
    /// Channel binding `tls-server-end-point`; absent where the certificate's signature has no digest of its own.
    pub end_point: Option<Arc<[u8]>>,
}

/// What a port is for. A TLS session of one service is resumed at no other: who was led there by somebody in between must
/// not be taken for a client that has seen this service before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Mail from other servers.
    Transfer,
    /// Mail from users, by STARTTLS.
    Submission,
    /// Mail from users, TLS from the first octet.
    Submissions,
    /// The admin endpoint.
    Admin,
}

impl Service {
    /// Of a port.
    pub fn of(port: &Port) -> Self {
        match (port.role, port.tls) {
            (Role::Transfer, _) => Self::Transfer,
            (Role::Submission, TlsMode::Implicit) => Self::Submissions,
            (Role::Submission, _) => Self::Submission,
        }
    }
}

impl Served {
    /// The same, or the one `before` where that was made of the same: a client that comes back after a change of something
    /// else resumes its TLS session. With another certificate or key all begin anew.
    ///
    /// The keys of tickets stay in this process. Shared between pods they would have to be derived from a secret that lives
    /// long, and whoever learns that one could read what was recorded of TLS 1.2 long before.
    #[must_use]
    pub fn or_the_one_before(self, before: Option<&Self>) -> Self {
        match before {
            Some(before) if before.made_of == self.made_of => before.clone(),
            _ => self,
        }
    }

    /// For new handshakes of this service.
    pub fn config(&self, service: Service) -> &Arc<ServerConfig> {
        let [transfer, submission, submissions, admin] = &self.configs;
        match service {
            Service::Transfer => transfer,
            Service::Submission => submission,
            Service::Submissions => submissions,
            Service::Admin => admin,
        }
    }
}

/// Reads chain and key, for clients that speak `oldest` or a newer version. Errors: see [`TlsError`].
pub fn serve(chain: &str, key: &str, oldest: TlsVersion) -> Result<Served, TlsError> {
    let made_of = digest_of(chain, key, oldest);
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::Chain)?;
    let leaf = chain.first().ok_or(TlsError::Chain)?;
    let state = describe(leaf)?;
    let end_point = end_point(leaf)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| TlsError::Key)?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(oldest))
        .map_err(TlsError::Pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Pair)?;
    Ok(Served {
        configs: [apart(&config)?, apart(&config)?, apart(&config)?, apart(&config)?],
        made_of,
        state,
        end_point,
    })
}

fn digest_of(chain: &str, key: &str, oldest: TlsVersion) -> [u8; 32] {
    let mut all = digest::Context::new(&digest::SHA256);
    for part in [chain, key] {
        all.update(&(part.len() as u64).to_be_bytes());
        all.update(part.as_bytes());
    }
    all.update(&[u8::from(oldest == TlsVersion::Tls13)]);
    let mut found = [0; 32];
    found.copy_from_slice(all.finish().as_ref());
    found
}

fn versions(oldest: TlsVersion) -> &'static [&'static rustls::SupportedProtocolVersion] {
    match oldest {
        TlsVersion::Tls12 => rustls::ALL_VERSIONS,
        TlsVersion::Tls13 => NEWEST_ALONE,
    }
}

/// The same with keys for tickets, and a memory of sessions, of its own.
fn apart(config: &ServerConfig) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = config.clone();
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(TlsError::Pair)?;
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    Ok(Arc::new(config))
}

/// The one provider of cryptography for TLS.
pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// What a login on this connection can be bound to. RFC 9266 section 4.2 wants extended master secrets of TLS 1.2, and rustls
/// does not tell of them: nothing is offered below TLS 1.3.
pub fn bindings(connection: &ServerConnection, served: &Served) -> ChannelBindings {
    if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return ChannelBindings::default();
    }
    ChannelBindings {
        exporter: connection
            .export_keying_material([0; 32], EXPORTER, Some(b""))
            .ok(),
        server_end_point: served.end_point.clone(),
    }
}

/// RFC 5929 section 4.1: the digest of the certificate under the hash of its signature, and under SHA-256 in place of SHA-1.
fn end_point(leaf: &CertificateDer<'_>) -> Result<Option<Arc<[u8]>>, TlsError> {
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| TlsError::Leaf)?;
    let algorithm = match parsed.signature_algorithm.algorithm.to_id_string().as_str() {
        // RSA and ECDSA, RFC 4055 section 5 and RFC 5758 section 3.2.
        "1.2.840.113549.1.1.5" | "1.2.840.113549.1.1.11" | "1.2.840.10045.4.3.2" => &digest::SHA256,
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => &digest::SHA384,
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => &digest::SHA512,
        // Ed25519 and RSASSA-PSS: not defined, or not by the name alone.
        _ => return Ok(None),
    };
    Ok(Some(Arc::from(digest::digest(algorithm, leaf).as_ref())))
}

/// What the admin API says of a certificate. Errors: it is no X.509.
pub fn describe(leaf: &CertificateDer<'_>) -> Result<CertificateState, TlsError> {
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

static NEWEST_ALONE: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];
/// Sessions of clients that know no tickets, per service.
const SESSIONS: usize = 256;
/// RFC 9266 section 2.
const EXPORTER: &[u8] = b"EXPORTER-Channel-Binding";

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
        let served = serve(&chain, &key, TlsVersion::Tls12).unwrap();
        assert_eq!(served.state.names, ["mail.example.com"]);
        assert!(!served.state.serial.is_empty() && served.state.not_after > 0);
    }

    #[test]
    fn what_cannot_be_served_is_refused_without_showing_the_key() {
        let (chain, key) = pair("a.example");
        let (_, other) = pair("b.example");
        assert!(matches!(serve("", &key, TlsVersion::Tls12), Err(TlsError::Chain)));
        assert!(matches!(
            serve(&chain, "nonsense", TlsVersion::Tls12),
            Err(TlsError::Key)
        ));
        let error = serve(&chain, &other, TlsVersion::Tls12).unwrap_err();
        assert!(matches!(error, TlsError::Pair(_)), "{error}");
        assert!(!format!("{error:?}").contains("PRIVATE"));
    }

    /// Both ends in one place: how the handshake went, and what each end has to bind to.
    fn meet(
        client: &Arc<rustls::ClientConfig>,
        served: &Served,
        service: Service,
    ) -> (rustls::HandshakeKind, ChannelBindings, Option<[u8; 32]>) {
        let name = "a.example".try_into().unwrap();
        let mut one = rustls::ClientConnection::new(Arc::clone(client), name).unwrap();
        let mut other = ServerConnection::new(Arc::clone(served.config(service))).unwrap();
        while one.wants_write() || other.wants_write() {
            let mut octets = Vec::new();
            one.write_tls(&mut octets).unwrap();
            other.read_tls(&mut octets.as_slice()).unwrap();
            other.process_new_packets().unwrap();
            octets.clear();
            other.write_tls(&mut octets).unwrap();
            one.read_tls(&mut octets.as_slice()).unwrap();
            one.process_new_packets().unwrap();
        }
        assert!(!one.is_handshaking() && !other.is_handshaking());
        let exported = one.export_keying_material([0; 32], EXPORTER, Some(b"")).ok();
        (
            other.handshake_kind().unwrap(),
            bindings(&other, served),
            exported,
        )
    }

    fn client(chain: &str, version: &'static rustls::SupportedProtocolVersion) -> Arc<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(chain.as_bytes()).unwrap())
            .unwrap();
        let config = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }

    #[test]
    fn both_ends_bind_to_the_same_and_each_connection_to_its_own() {
        let (chain, key) = pair("a.example");
        let served = serve(&chain, &key, TlsVersion::Tls12).unwrap();
        let config = client(&chain, &rustls::version::TLS13);
        let (_, one, ours) = meet(&config, &served, Service::Submission);
        assert_eq!((one.exporter, ours.is_some()), (ours, true));
        // rcgen signs with ECDSA and SHA-256.
        let leaf = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
        let want = digest::digest(&digest::SHA256, &leaf);
        assert_eq!(one.server_end_point.as_deref(), Some(want.as_ref()));
        let (kind, other, _) = meet(&config, &served, Service::Submission);
        assert_eq!(kind, rustls::HandshakeKind::Resumed);
        assert!(other.exporter.is_some() && other.exporter != one.exporter);
        let config = client(&chain, &rustls::version::TLS12);
        assert!(
            meet(&config, &served, Service::Submission).1.is_empty(),
            "TLS 1.2"
        );
    }

    #[test]
    fn a_session_outlives_a_reload_but_no_other_key_certificate_or_oldest_version() {
        use rustls::HandshakeKind::Resumed;
        let (chain, key) = pair("a.example");
        let before = serve(&chain, &key, TlsVersion::Tls12).unwrap();
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let client = client(&chain, version);
            assert_ne!(meet(&client, &before, Service::Transfer).0, Resumed);
            let anew = || serve(&chain, &key, TlsVersion::Tls12).unwrap();
            let kept = anew().or_the_one_before(Some(&before));
            assert_eq!(meet(&client, &kept, Service::Transfer).0, Resumed);
            let anew = anew().or_the_one_before(None);
            assert_ne!(meet(&client, &anew, Service::Transfer).0, Resumed);
        }
        let (other_chain, other_key) = pair("a.example");
        for other in [
            serve(&other_chain, &other_key, TlsVersion::Tls12),
            serve(&chain, &key, TlsVersion::Tls13),
        ] {
            let other = other.unwrap();
            let made_of = other.made_of;
            assert_eq!(other.or_the_one_before(Some(&before)).made_of, made_of);
            assert_ne!(made_of, before.made_of);
        }
    }

    #[test]
    fn a_session_is_resumed_at_its_own_service_alone() {
        use rustls::HandshakeKind::Resumed;
        let (chain, key) = pair("a.example");
        let served = serve(&chain, &key, TlsVersion::Tls12).unwrap();
        let services = [
            Service::Transfer,
            Service::Submission,
            Service::Submissions,
            Service::Admin,
        ];
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            for first in services {
                for second in services {
                    let client = client(&chain, version);
                    assert_ne!(meet(&client, &served, first).0, Resumed);
                    let kind = meet(&client, &served, second).0;
                    assert_eq!(
                        kind == Resumed,
                        first == second,
                        "{version:?} {first:?} {second:?} {kind:?}"
                    );
                }
            }
        }
    }
}
