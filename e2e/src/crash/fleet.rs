//! What servers need to hand mail to each other and to be told so: an authority, a certificate, and signed tokens. All of it
//! is made by openssl, in the shape in which the operator writes it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

use crate::kubectl::{Failure, Outcome};
use crate::shell::Shell;

/// A fleet's secrets.
pub(super) struct Fleet(tempfile::TempDir);

impl Fleet {
    pub(super) fn new() -> Outcome<Self> {
        let fleet = Self(tempfile::tempdir()?);
        fleet.certificate("ca", &["-addext", "basicConstraints=critical,CA:true"])?;
        let (ca, key) = (fleet.path("ca.crt"), fleet.path("ca.key"));
        let (ca, key) = (ca.display().to_string(), key.display().to_string());
        let name = format!("subjectAltName=DNS:{NAME}");
        let end = "basicConstraints=critical,CA:false";
        let by = ["-CA", &ca, "-CAkey", &key, "-addext", &name, "-addext", end];
        fleet.certificate("leaf", &by)?;
        let sign = fleet.path("tokens.key");
        Shell::new("openssl")
            .args(["genrsa", "-out"])
            .args([sign])
            .args(["2048"])
            .run()?;
        std::fs::write(fleet.path("peer"), fleet.token(PEER, "pod")?)?;
        Ok(fleet)
    }

    /// `admin.api` of a server at that address.
    pub(super) fn api(&self, host: IpAddr) -> Outcome<Value> {
        let read = |name| std::fs::read_to_string(self.path(name));
        Ok(json!({
            "address": format!("{host}:{PORT}"),
            "certificate": read("leaf.crt")?, "key": read("leaf.key")?, "authorities": read("ca.crt")?,
            "serverName": NAME, "peerTokenFile": self.path("peer"),
            "tokens": {"issuer": ISSUER, "keySet": self.key_set()?.to_string(), "rules": [
                {"audience": OPERATOR, "subject": "operator", "role": "Operator"},
                {"audience": PEER, "subject": "pod", "role": "Peer"},
            ]},
        }))
    }

    /// The server is to give all its mail to that one. It may be told so again.
    pub(super) fn seal(&self, from: IpAddr, to: IpAddr) -> Outcome<Value> {
        let targets = json!({"targets": [format!("{to}:{PORT}")]}).to_string();
        self.ask(from, "/v1/seal", &["--data", &targets])
    }

    /// What a server says of itself.
    pub(super) fn state(&self, host: IpAddr) -> Outcome<Value> {
        self.ask(host, "/v1/state", &[])
    }

    fn ask(&self, host: IpAddr, path: &str, with: &[&str]) -> Outcome<Value> {
        let token = format!("Authorization: Bearer {}", self.token(OPERATOR, "operator")?);
        let said = Shell::new("curl")
            .args(["--silent", "--show-error", "--fail-with-body", "--max-time", "20"])
            .args(["--noproxy", "*", "--cacert"])
            .args([self.path("ca.crt")])
            .args(["--resolve", &format!("{NAME}:{PORT}:{host}"), "--header", &token])
            .args(["--header", "Content-Type: application/json"])
            .args(with)
            .args([format!("https://{NAME}:{PORT}{path}")])
            .read()?;
        serde_json::from_str(&said).map_err(|error| Failure::wrong(format!("{path}: {error}: {said}")))
    }

    fn certificate(&self, name: &str, with: &[&str]) -> Outcome {
        // Nothing of the system's own settings.
        let config = self.path("openssl.cnf");
        std::fs::write(&config, "[req]\ndistinguished_name = dn\n[dn]\n")?;
        Shell::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
            ])
            .args(["-nodes", "-days", "2", "-subj", &format!("/CN={name}"), "-config"])
            .args([config])
            .args(["-keyout".into(), self.path(&format!("{name}.key"))])
            .args(["-out".into(), self.path(&format!("{name}.crt"))])
            .args(with)
            .run()?;
        Ok(())
    }

    /// The key of the tokens (RFC 7517, RFC 7518 section 6.3.1).
    fn key_set(&self) -> Outcome<Value> {
        let said = Shell::new("openssl")
            .args(["rsa", "-noout", "-modulus", "-in"])
            .args([self.path("tokens.key")])
            .read()?;
        let digits = said.trim().strip_prefix("Modulus=").unwrap_or_default();
        let octets: Option<Vec<u8>> = (0..digits.len() / 2)
            .map(|at| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok())
            .collect();
        let octets = octets.ok_or_else(|| Failure::wrong(format!("openssl's modulus: {said}")))?;
        let key = json!({"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "one", "e": "AQAB",
            "n": BASE64.encode(octets)});
        Ok(json!({"keys": [key]}))
    }

    /// A token (RFC 7519) for ten minutes.
    fn token(&self, audience: &str, subject: &str) -> Outcome<String> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": "one"}).to_string();
        let claims = json!({"iss": ISSUER, "sub": subject, "aud": [audience], "iat": now, "exp": now + 600})
            .to_string();
        let text = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
        let signature = Shell::new("openssl")
            .args(["dgst", "-sha256", "-sign"])
            .args([self.path("tokens.key")])
            .input(text.clone())
            .run()?;
        Ok(format!("{text}.{}", BASE64.encode(signature.out)))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

const NAME: &str = "fleet.crash.test";
const PORT: u16 = 8443;
const ISSUER: &str = "https://issuer.crash.test";
const OPERATOR: &str = "admin.postroad.dev/crash/fleet";
const PEER: &str = "peer.postroad.dev/crash/fleet";
