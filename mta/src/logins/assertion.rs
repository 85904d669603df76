//! Signed statements by which a client gets a token (RFC 7523), and the forms that carry them. Pure but for the signature.
//!
//! ```text
//!   Google service account   RS256 by its key          iss = account, sub = mailbox    grant_type = …:jwt-bearer
//!   client certificate       PS256, x5t#S256 names it  iss = sub = client id           client_assertion
//! ```
//!
//! The clock is passed in. Statements begin half a minute before it, so that a clock that is a little ahead does no harm.

use std::fmt::Write;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use postroad_config::admin::LoginFault;
use postroad_config::{ClientCertificate, GoogleServiceAccount, OauthClient};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;

use super::fault::{NoLogin, advice};

/// Claims of a statement.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: i64,
    nbf: i64,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
}

/// The statement of a service account that acts for a mailbox.
pub fn of_account(account: &GoogleServiceAccount, now: i64) -> Result<String, NoLogin> {
    let mut header = Header::new(Algorithm::RS256);
    header.kid.clone_from(&account.key_id);
    let claims = Claims {
        iss: &account.account,
        sub: &account.user,
        aud: &account.token_endpoint,
        iat: now - EARLY,
        nbf: now - EARLY,
        // At most an hour behind `iat`.
        exp: now - EARLY + 3_600,
        scope: Some(&account.scope),
        jti: None,
    };
    sign(&header, &claims, &account.key)
}

/// The statement of a client that has a certificate. `id`: unlike that of any other statement.
pub fn of_client(
    client: &OauthClient,
    certificate: &ClientCertificate,
    now: i64,
    id: String,
) -> Result<String, NoLogin> {
    let mut header = Header::new(Algorithm::PS256);
    header.x5t_s256 = Some(thumbprint(&certificate.certificate)?);
    let claims = Claims {
        iss: &client.client_id,
        sub: &client.client_id,
        aud: &client.token_endpoint,
        iat: now - EARLY,
        nbf: now - EARLY,
        exp: now + 600,
        scope: None,
        jti: Some(id),
    };
    sign(&header, &claims, &certificate.key)
}

/// SHA-256 of the first certificate (RFC 7515 section 4.1.8).
fn thumbprint(pem: &str) -> Result<String, NoLogin> {
    let first = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| unusable("certificate"))?;
    let digest = digest::digest(&digest::SHA256, &first);
    Ok(URL_SAFE_NO_PAD.encode(digest))
}

fn sign(header: &Header, claims: &Claims<'_>, key: &str) -> Result<String, NoLogin> {
    let key = EncodingKey::from_rsa_pem(key.as_bytes()).map_err(|_| unusable("private key (RSA)"))?;
    encode(header, claims, &key).map_err(|_| unusable("private key (RSA)"))
}

fn unusable(what: &str) -> NoLogin {
    let fault = LoginFault::KeyInvalid;
    NoLogin::new(fault, format!("the {what} cannot be used; {}", advice(fault)))
}

/// A form (`application/x-www-form-urlencoded`).
pub fn form(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = fields
        .iter()
        .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)))
        .collect();
    pairs.join("&")
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            escaped.push(char::from(octet));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(escaped, "%{octet:02X}");
        }
    }
    escaped
}

/// Seconds.
const EARLY: i64 = 30;

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
    use serde_json::Value;

    use super::*;

    /// A certificate and an RSA key made for the test.
    fn certificate() -> (ClientCertificate, String) {
        let key =
            rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        let made = rcgen::CertificateParams::new(vec!["client.example".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let pair = ClientCertificate {
            certificate: made.pem(),
            key: key.serialize_pem(),
        };
        (pair, key.public_key_pem())
    }

    fn claims(statement: &str, public: &str, algorithm: Algorithm, audience: &str) -> Value {
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&[audience]);
        let key = DecodingKey::from_rsa_pem(public.as_bytes()).unwrap();
        decode::<Value>(statement, &key, &validation).unwrap().claims
    }

    fn now() -> i64 {
        jiff::Timestamp::now().as_second()
    }

    #[test]
    fn an_account_speaks_for_its_mailbox_for_an_hour() {
        let (pair, public) = certificate();
        let account = GoogleServiceAccount {
            user: "box@example.com".into(),
            account: "sa@project.iam.gserviceaccount.com".into(),
            key_id: Some("k1".into()),
            key: pair.key,
            token_endpoint: "https://oauth2.googleapis.com/token".into(),
            scope: "https://mail.google.com/".into(),
            authorities: None,
        };
        let now = now();
        let statement = of_account(&account, now).unwrap();
        let header = decode_header(&statement).unwrap();
        assert_eq!(
            (header.alg, header.kid.as_deref()),
            (Algorithm::RS256, Some("k1"))
        );
        let claims = claims(&statement, &public, Algorithm::RS256, &account.token_endpoint);
        assert_eq!(claims["iss"], "sa@project.iam.gserviceaccount.com");
        assert_eq!(claims["sub"], "box@example.com");
        assert_eq!(claims["scope"], "https://mail.google.com/");
        assert_eq!(
            (claims["iat"].as_i64(), claims["exp"].as_i64()),
            (Some(now - 30), Some(now + 3_570))
        );
    }

    #[test]
    fn a_client_names_its_certificate() {
        let (pair, public) = certificate();
        let client = OauthClient {
            user: "box@example.com".into(),
            client_id: "id".into(),
            token_endpoint: "https://login.example/token".into(),
            scope: "s".into(),
            proof: postroad_config::ClientProof::Secret("unused".into()),
            authorities: None,
        };
        let statement = of_client(&client, &pair, now(), "unique".into()).unwrap();
        let header = decode_header(&statement).unwrap();
        assert_eq!(header.alg, Algorithm::PS256);
        // SHA-256 in base64url without padding.
        assert_eq!(header.x5t_s256.map(|thumbprint| thumbprint.len()), Some(43));
        let claims = claims(&statement, &public, Algorithm::PS256, &client.token_endpoint);
        assert_eq!(
            (&claims["iss"], &claims["sub"], &claims["jti"]),
            (&"id".into(), &"id".into(), &"unique".into())
        );
        let broken = ClientCertificate {
            key: "no key".into(),
            ..pair.clone()
        };
        let fault = of_client(&client, &broken, now(), String::new())
            .unwrap_err()
            .fault;
        assert_eq!(fault, LoginFault::KeyInvalid);
        let broken = ClientCertificate {
            certificate: "none".into(),
            ..pair
        };
        let refused = of_client(&client, &broken, now(), String::new()).unwrap_err();
        assert!(
            refused.reason.contains("the certificate cannot be used"),
            "{}",
            refused.reason
        );
    }

    #[test]
    fn forms_hold_any_text() {
        assert_eq!(
            form(&[("a", "b c&d=e/ü+"), ("f", "")]),
            "a=b%20c%26d%3De%2F%C3%BC%2B&f="
        );
    }
}
