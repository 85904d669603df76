//! Keys and certificates: an authority for all hosts, and what the customer has to prove itself.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256, PublicKeyData as _,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};

/// Something that has to be there is not.
pub(crate) type Failed = Box<dyn std::error::Error + Send + Sync>;

/// A certificate and its key, PEM.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
    der: CertificateDer<'static>,
}

/// All keys.
pub(crate) struct Keys {
    /// The certificate of the authority, PEM.
    pub(crate) authority: String,
    root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    /// Shown to the connector; for the customer's domain.
    pub(crate) connector: Pair,
    /// Signs statements to Entra; an RSA key.
    pub(crate) client: Pair,
    client_key: KeyPair,
    google: KeyPair,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// `domain`: the customer's.
    pub(crate) fn new(domain: &str) -> Result<Self, Failed> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "Stand-in authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = params.self_signed(&key)?;
        let issuer = Issuer::new(params, key);
        let connector = issued(
            &issuer,
            &[domain],
            &KeyPair::generate()?,
            ExtendedKeyUsagePurpose::ClientAuth,
        )?;
        let client_key = KeyPair::generate_for(&PKCS_RSA_SHA256)?;
        let client = CertificateParams::new(vec![domain.to_owned()])?.self_signed(&client_key)?;
        Ok(Self {
            authority: root.pem(),
            root: root.der().clone(),
            issuer,
            connector,
            client: Pair {
                certificate: client.pem(),
                key: client_key.serialize_pem(),
                der: client.der().clone(),
            },
            client_key,
            google: KeyPair::generate_for(&PKCS_RSA_SHA256)?,
        })
    }

    /// TLS of a server of these names. `asks`: for a certificate of the client, of the same authority; it may have none.
    pub(crate) fn server(&self, names: &[&str], asks: bool) -> Result<Arc<ServerConfig>, Failed> {
        let pair = issued(
            &self.issuer,
            names,
            &KeyPair::generate()?,
            ExtendedKeyUsagePurpose::ServerAuth,
        )?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let builder = if asks {
            let mut roots = RootCertStore::empty();
            roots.add(self.root.clone())?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()?;
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?;
        Ok(Arc::new(
            builder.with_single_cert(vec![pair.der, self.root.clone()], key)?,
        ))
    }

    /// The key file of a service account, as Google gives it.
    pub(crate) fn google_json(&self, account: &str) -> Value {
        json!({
            "type": "service_account", "private_key_id": KEY_ID, "private_key": self.google.serialize_pem(),
            "client_email": account, "token_uri": "https://oauth2.googleapis.com/token",
        })
    }

    /// RFC 8017 `RSAPublicKey` of the service account.
    pub(crate) fn google_public(&self) -> &[u8] {
        self.google.der_bytes()
    }

    /// RFC 8017 `RSAPublicKey` of the client of Entra.
    pub(crate) fn client_public(&self) -> &[u8] {
        self.client_key.der_bytes()
    }

    /// `x5t#S256` and `x5t` of the client's certificate (RFC 7515 section 4.1.8).
    pub(crate) fn thumbprints(&self) -> [String; 2] {
        use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
        [&SHA256, &SHA1_FOR_LEGACY_USE_ONLY].map(|way| URL_SAFE_NO_PAD.encode(digest(way, &self.client.der)))
    }

    #[cfg(test)]
    pub(crate) fn google(&self) -> &KeyPair {
        &self.google
    }

    #[cfg(test)]
    pub(crate) fn client_key(&self) -> &KeyPair {
        &self.client_key
    }
}

fn issued(
    issuer: &Issuer<'_, KeyPair>,
    names: &[&str],
    key: &KeyPair,
    usage: ExtendedKeyUsagePurpose,
) -> Result<Pair, Failed> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params.extended_key_usages = vec![usage];
    let certificate = params.signed_by(key, issuer)?;
    Ok(Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
        der: certificate.der().clone(),
    })
}

/// That many letters and digits, which nobody guesses.
pub(crate) fn word(length: usize) -> Result<String, Failed> {
    let mut octets = vec![0; length];
    aws_lc_rs::rand::fill(&mut octets)?;
    let letters = b"abcdefghijkmnopqrstuvwxyz2345678";
    Ok(octets
        .iter()
        .filter_map(|octet| letters.get(usize::from(octet % 32)))
        .map(|letter| char::from(*letter))
        .collect())
}

/// Id of the key of the service account.
pub(crate) const KEY_ID: &str = "stand-in-1";
