//! Certificates and tokens of a run: an authority, leaves for what serves TLS, bearer tokens for the admin endpoint.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postroad_config::{AdminApi, TokenAuthority, TokenRole, TokenRule};
use postroad_e2e::kubectl::{Failure, Outcome};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

/// The name that everything with a certificate has.
pub const NAME: &str = "fleet.bench.example";

const ISSUER: &str = "https://issuer.bench.example";
const OPERATOR: &str = "operator.bench.example";
const PEER: &str = "peer.bench.example";

/// Who signs certificates and tokens.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    signer: KeyPair,
}

impl Authority {
    /// New keys.
    pub fn new() -> Outcome<Self> {
        let mut params = CertificateParams::new(Vec::<String>::new()).map_err(wrong)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().map_err(wrong)?;
        let pem = params.self_signed(&key).map_err(wrong)?.pem();
        Ok(Self {
            pem,
            issuer: Issuer::new(params, key),
            signer: KeyPair::generate().map_err(wrong)?,
        })
    }

    /// A chain and a key in PEM for [`NAME`].
    pub fn certificate(&self) -> Outcome<(String, String)> {
        let key = KeyPair::generate().map_err(wrong)?;
        let leaf = CertificateParams::new(vec![NAME.to_owned()]).map_err(wrong)?;
        let chain = leaf.signed_by(&key, &self.issuer).map_err(wrong)?.pem();
        Ok((chain, key.serialize_pem()))
    }

    /// TLS as a client that trusts this authority alone.
    pub fn client(&self) -> Outcome<Arc<rustls::ClientConfig>> {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.pem.as_bytes()).map_err(wrong)?)
            .map_err(wrong)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(wrong)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }

    /// A token that may do everything.
    pub fn operator_token(&self) -> Outcome<String> {
        self.token(OPERATOR)
    }

    fn token(&self, audience: &str) -> Outcome<String> {
        let key = jsonwebtoken::EncodingKey::from_ec_der(self.signer.serialized_der());
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
        header.kid = Some("bench".into());
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_err(wrong)?
            .as_secs();
        let claims =
            json!({"iss": ISSUER, "sub": "bench", "aud": [audience], "exp": now + 3_000, "iat": now});
        jsonwebtoken::encode(&header, &claims, &key).map_err(wrong)
    }

    /// The admin endpoint of one daemon of a fleet; its token for the others is written into its folder.
    pub fn api(&self, address: SocketAddr, folder: &Path) -> Outcome<AdminApi> {
        let token_file = folder.join("token");
        std::fs::write(&token_file, self.token(PEER)?)?;
        let (certificate, key) = self.certificate()?;
        let rule = |audience: &str, role| TokenRule {
            audience: audience.into(),
            subject: "bench".into(),
            role,
        };
        Ok(AdminApi {
            address,
            certificate,
            key,
            authorities: self.pem.clone(),
            server_name: NAME.parse().map_err(|_| Failure::wrong("a bad name"))?,
            tokens: TokenAuthority {
                issuer: ISSUER.into(),
                key_set: self.key_set(),
                refused_audiences: Vec::new(),
                rules: vec![rule(OPERATOR, TokenRole::Operator), rule(PEER, TokenRole::Peer)],
            },
            peer_token_file: Some(token_file),
        })
    }

    fn key_set(&self) -> String {
        // An uncompressed point: one octet, then x and y.
        let (x, y) = self.signer.public_key_raw()[1..].split_at(32);
        let text = |octets| URL_SAFE_NO_PAD.encode(octets);
        json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "bench", "use": "sig", "alg": "ES256",
            "x": text(x), "y": text(y)}]})
        .to_string()
    }
}

fn wrong(error: impl std::fmt::Display) -> Failure {
    Failure::wrong(error.to_string())
}
