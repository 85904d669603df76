//! Signed statements (RFC 7515, RFC 7519) and who may have signed them. Pure.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// A statement whose signature was not looked at.
#[derive(Debug)]
pub(crate) struct Statement<'a> {
    pub(crate) header: Value,
    pub(crate) claims: Value,
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Statement<'a> {
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let json = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
        Some(Self {
            header: json(header)?,
            claims: json(claims)?,
            signed,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    /// By an RSA key (RFC 8017 `RSAPublicKey`), with RS256 or PS256 as the header says.
    pub(crate) fn is_by_rsa(&self, public: &[u8]) -> bool {
        let octets = self.signed.as_bytes();
        let judged = match self.header["alg"].as_str() {
            Some("RS256") => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public).verify(octets, &self.signature)
            }
            Some("PS256") => {
                UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, public).verify(octets, &self.signature)
            }
            _ => return false,
        };
        judged.is_ok()
    }

    /// By one of the keys of a set (RFC 7517), with RS256 or ES256.
    pub(crate) fn is_by_set(&self, set: &Value) -> bool {
        let keys = set["keys"].as_array();
        keys.into_iter().flatten().any(|key| self.is_by_key(key))
    }

    fn is_by_key(&self, key: &Value) -> bool {
        let number = |name: &str| {
            URL_SAFE_NO_PAD
                .decode(key[name].as_str().unwrap_or_default())
                .ok()
        };
        let is_named = self.header["kid"].is_null() || self.header["kid"] == key["kid"];
        let octets = self.signed.as_bytes();
        let judged = match (self.header["alg"].as_str(), key["kty"].as_str()) {
            _ if !is_named => return false,
            (Some("RS256"), Some("RSA")) => {
                let (Some(n), Some(e)) = (number("n"), number("e")) else {
                    return false;
                };
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, octets, &self.signature)
            }
            (Some("ES256"), Some("EC")) => {
                let (Some(x), Some(y)) = (number("x"), number("y")) else {
                    return false;
                };
                let point = [&[4][..], &x, &y].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(octets, &self.signature)
            }
            _ => return false,
        };
        judged.is_ok()
    }

    /// Whether a claim is this text, or a list with it.
    pub(crate) fn says(&self, claim: &str, text: &str) -> bool {
        match &self.claims[claim] {
            Value::String(said) => said == text,
            Value::Array(list) => list.iter().any(|said| said == text),
            _ => false,
        }
    }

    /// Seconds since 1970.
    pub(crate) fn time(&self, claim: &str) -> Option<i64> {
        self.claims[claim].as_i64()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair};
    use rcgen::{KeyPair, PKCS_RSA_SHA256, PublicKeyData as _};
    use serde_json::json;

    use super::*;

    /// As a client would sign it.
    pub(crate) fn signed(key: &KeyPair, header: &Value, claims: &Value) -> String {
        let coded = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let text = format!("{}.{}", coded(header), coded(claims));
        let pair = RsaKeyPair::from_pkcs8(&key.serialize_der()).unwrap();
        let way: &dyn aws_lc_rs::signature::RsaEncoding = if header["alg"] == "PS256" {
            &RSA_PSS_SHA256
        } else {
            &RSA_PKCS1_SHA256
        };
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(way, &SystemRandom::new(), text.as_bytes(), &mut signature)
            .unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    #[test]
    fn a_statement_is_of_the_key_that_signed_it_and_of_no_other() {
        let [key, other] = [(); 2].map(|()| KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap());
        for alg in ["RS256", "PS256"] {
            let text = signed(
                &key,
                &json!({"alg": alg}),
                &json!({"iss": "a", "aud": ["x", "y"], "exp": 7}),
            );
            let read = Statement::read(&text).unwrap();
            assert!(read.is_by_rsa(key.der_bytes()), "{alg}");
            assert!(!read.is_by_rsa(other.der_bytes()), "{alg}");
            assert!(!read.is_by_rsa(b"no key"), "{alg}");
            assert!(read.says("iss", "a") && read.says("aud", "y") && !read.says("aud", "z"));
            assert_eq!(read.time("exp"), Some(7));
            let (head, _) = text.rsplit_once('.').unwrap();
            let forged = format!("{head}.{}", URL_SAFE_NO_PAD.encode("forged"));
            assert!(
                !Statement::read(&forged).unwrap().is_by_rsa(key.der_bytes()),
                "{alg}"
            );
        }
        let unsigned = signed(&key, &json!({"alg": "none"}), &json!({}));
        assert!(!Statement::read(&unsigned).unwrap().is_by_rsa(key.der_bytes()));
    }

    #[test]
    fn what_is_no_statement_is_none() {
        for text in [
            "",
            ".",
            "..",
            "a.b.c",
            "e30.e30",
            "e30.e30.!",
            "e30..e30",
            "bm8.e30.e30",
        ] {
            assert!(Statement::read(text).is_none(), "{text}");
        }
        assert!(Statement::read("e30.e30.e30").is_some());
    }

    #[test]
    fn a_set_without_the_key_vouches_for_nothing() {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let text = signed(&key, &json!({"alg": "RS256", "kid": "k"}), &json!({}));
        let read = Statement::read(&text).unwrap();
        for set in [
            json!(null),
            json!({"keys": []}),
            json!({"keys": [{"kid": "k", "kty": "RSA", "n": "AQAB", "e": "AQAB"}]}),
            json!({"keys": [{"kid": "k", "kty": "EC", "x": "", "y": ""}]}),
        ] {
            assert!(!read.is_by_set(&set), "{set}");
        }
    }
}
