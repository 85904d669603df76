use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING};
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use postroad_config::TokenRule;
use serde_json::{Value, json};

use super::*;

pub(super) const NOW: i64 = 1_800_000_000;
const ADMIN: &str = "admin.postroad.dev/mail/edge";
const PEER: &str = "peer.postroad.dev/mail/edge";

/// A signing key, and the entry of the key set that verifies it.
pub(super) struct Signer {
    algorithm: Algorithm,
    key: EncodingKey,
    pub(super) jwk: Value,
}

pub(super) fn es256(id: &str) -> Signer {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    elliptic(&pair, id, "P-256", Algorithm::ES256)
}

fn elliptic(pair: &EcdsaKeyPair, id: &str, curve: &str, algorithm: Algorithm) -> Signer {
    let (x, y) = pair.public_key().as_ref()[1..].split_at((pair.public_key().as_ref().len() - 1) / 2);
    Signer {
        algorithm,
        key: EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref()),
        jwk: json!({"kty": "EC", "crv": curve, "kid": id, "use": "sig",
            "alg": format!("{algorithm:?}"), "x": BASE64.encode(x), "y": BASE64.encode(y)}),
    }
}

fn eddsa(id: &str) -> Signer {
    let pair = Ed25519KeyPair::generate().unwrap();
    Signer {
        algorithm: Algorithm::EdDSA,
        key: EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref()),
        jwk: json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": BASE64.encode(pair.public_key().as_ref())}),
    }
}

fn rs256(id: &str) -> Signer {
    let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let public = pair.public_key();
    let private: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let pem = rcgen_pem(private.as_ref());
    Signer {
        algorithm: Algorithm::RS256,
        key: EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(),
        jwk: json!({"kty": "RSA", "kid": id, "alg": "RS256", "use": "sig",
            "n": BASE64.encode(public.modulus().big_endian_without_leading_zero()),
            "e": BASE64.encode(public.exponent().big_endian_without_leading_zero())}),
    }
}

fn rcgen_pem(der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<String> = text
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        lines.join("\n")
    )
}

fn judge(signers: &[&Signer]) -> Authenticator {
    let keys: Vec<&Value> = signers.iter().map(|signer| &signer.jwk).collect();
    Authenticator::new(&TokenAuthority {
        issuer: "https://issuer.example".into(),
        key_set: json!({"keys": keys}).to_string(),
        refused_audiences: vec!["https://api.example".into()],
        rules: vec![
            TokenRule {
                audience: ADMIN.into(),
                subject: "operator".into(),
                role: TokenRole::Operator,
            },
            TokenRule {
                audience: PEER.into(),
                subject: "edge-mta".into(),
                role: TokenRole::Peer,
            },
        ],
    })
    .unwrap()
}

fn claims() -> Value {
    json!({"iss": "https://issuer.example", "sub": "operator", "aud": [ADMIN],
        "exp": NOW + 600, "nbf": NOW - 1, "iat": NOW - 1})
}

fn with(field: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[field] = value;
    claims
}

pub(super) fn sign(signer: &Signer, claims: &Value) -> String {
    let mut header = Header::new(signer.algorithm);
    header.kid = signer.jwk["kid"].as_str().map(str::to_owned);
    encode(&header, claims, &signer.key).unwrap()
}

#[test]
fn a_good_token_of_every_algorithm_gives_its_role() {
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let signers = [
        es256("a"),
        eddsa("b"),
        rs256("c"),
        elliptic(&p384, "d", "P-384", Algorithm::ES384),
    ];
    let judge = judge(&signers.iter().collect::<Vec<_>>());
    for signer in &signers {
        let bearer = judge.authenticate(&sign(signer, &claims()), NOW).unwrap();
        assert_eq!(
            bearer,
            Bearer {
                subject: "operator".into(),
                role: TokenRole::Operator
            }
        );
    }
}

#[test]
fn each_claim_that_does_not_hold_is_named() {
    let signer = es256("a");
    let judge = judge(&[&signer]);
    for (claims, wanted) in [
        (with("iss", json!("https://other.example")), TokenError::Issuer),
        (with("exp", json!(NOW - 31)), TokenError::Expired),
        (with("nbf", json!(NOW + 31)), TokenError::NotYet),
        (with("iat", json!(NOW + 31)), TokenError::NotYet),
        (
            with("aud", json!("admin.postroad.dev/mail/other")),
            TokenError::Audience,
        ),
        (
            with("aud", json!("admin.postroad.dev/mail/edge/")),
            TokenError::Audience,
        ),
        (with("aud", json!([])), TokenError::Audience),
        (
            with("aud", json!([ADMIN, "https://api.example"])),
            TokenError::RefusedAudience,
        ),
        (with("aud", json!([PEER])), TokenError::Subject),
        (with("sub", json!("somebody")), TokenError::Subject),
        (with("sub", json!("")), TokenError::Subject),
        (with("exp", json!("soon")), TokenError::Malformed),
    ] {
        assert_eq!(
            judge.authenticate(&sign(&signer, &claims), NOW),
            Err(wanted),
            "{claims}"
        );
    }
}

#[test]
fn clocks_may_differ_a_little_and_two_audiences_are_fine() {
    let signer = es256("a");
    let judge = judge(&[&signer]);
    for claims in [
        with("exp", json!(NOW - 29)),
        with("nbf", json!(NOW + 30)),
        with("aud", json!(["x", ADMIN])),
        with("aud", json!(ADMIN)),
    ] {
        assert!(
            judge.authenticate(&sign(&signer, &claims), NOW).is_ok(),
            "{claims}"
        );
    }
}

#[test]
fn a_token_without_expiry_is_refused() {
    let signer = es256("a");
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove("exp");
    assert_eq!(
        judge(&[&signer]).authenticate(&sign(&signer, &claims), NOW),
        Err(TokenError::Malformed)
    );
}

#[test]
fn the_role_is_that_of_the_rule_with_audience_and_subject() {
    let signer = es256("a");
    let mut claims = with("aud", json!([PEER, ADMIN]));
    claims["sub"] = json!("edge-mta");
    let bearer = judge(&[&signer])
        .authenticate(&sign(&signer, &claims), NOW)
        .unwrap();
    assert_eq!(bearer.role, TokenRole::Peer);
}

#[test]
fn a_key_that_is_not_in_the_set_is_refused_by_id_and_by_signature() {
    let (known, stranger, same_id) = (es256("a"), es256("z"), es256("a"));
    let judge = judge(&[&known]);
    assert_eq!(
        judge.authenticate(&sign(&stranger, &claims()), NOW),
        Err(TokenError::UnknownKey)
    );
    assert_eq!(
        judge.authenticate(&sign(&same_id, &claims()), NOW),
        Err(TokenError::Signature)
    );
}

#[test]
fn a_token_without_key_id_is_taken_only_where_there_is_one_key() {
    let (one, two) = (es256("a"), es256("b"));
    let token = encode(&Header::new(Algorithm::ES256), &claims(), &one.key).unwrap();
    assert!(judge(&[&one]).authenticate(&token, NOW).is_ok());
    assert_eq!(
        judge(&[&one, &two]).authenticate(&token, NOW),
        Err(TokenError::UnknownKey)
    );
}

#[test]
fn the_algorithm_is_the_keys_and_never_the_tokens() {
    let signer = rs256("a");
    let judge = judge(&[&signer]);
    // HMAC with the public modulus as its secret.
    let secret = signer.jwk["n"].as_str().unwrap();
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("a".into());
    let forged = encode(&header, &claims(), &EncodingKey::from_secret(secret.as_bytes())).unwrap();
    assert_eq!(judge.authenticate(&forged, NOW), Err(TokenError::Algorithm));
    // The right key with another of its algorithms.
    let mut header = Header::new(Algorithm::RS512);
    header.kid = Some("a".into());
    let other = encode(&header, &claims(), &signer.key).unwrap();
    assert_eq!(judge.authenticate(&other, NOW), Err(TokenError::Algorithm));
    // `none` (RFC 7519 section 6).
    let none = format!(
        "{}.{}.",
        BASE64.encode(r#"{"alg":"none","kid":"a"}"#),
        BASE64.encode(claims().to_string())
    );
    assert_eq!(judge.authenticate(&none, NOW), Err(TokenError::Malformed));
}

#[test]
fn a_changed_token_and_nonsense_are_refused_without_panic() {
    let signer = es256("a");
    let judge = judge(&[&signer]);
    let good = sign(&signer, &claims());
    let mut parts: Vec<&str> = good.split('.').collect();
    let changed = BASE64.encode(with("sub", json!("edge-mta")).to_string());
    parts[1] = &changed;
    assert_eq!(
        judge.authenticate(&parts.join("."), NOW),
        Err(TokenError::Signature)
    );
    for text in [
        "",
        ".",
        "..",
        "a.b.c",
        "\u{e9}.\u{e9}.\u{e9}",
        &"a".repeat(20_000),
    ] {
        assert_eq!(
            judge.authenticate(text, NOW),
            Err(TokenError::Malformed),
            "{}",
            text.len()
        );
    }
}

#[test]
fn a_critical_header_parameter_is_refused() {
    let signer = es256("a");
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some("a".into());
    header.crit = Some(vec!["b64".into()]);
    let token = encode(&header, &claims(), &signer.key).unwrap();
    assert_eq!(
        judge(&[&signer]).authenticate(&token, NOW),
        Err(TokenError::Critical)
    );
}

#[test]
fn a_key_set_passes_over_what_it_does_not_know_and_refuses_to_be_empty() {
    let signer = es256("a");
    let unknown = json!({"kty": "XYZ", "kid": "q"});
    let symmetric = json!({"kty": "oct", "kid": "s", "k": "c2VjcmV0"});
    let mut sealing = es256("e").jwk;
    sealing["use"] = json!("enc");
    let keys = json!({"keys": [unknown, symmetric, sealing, signer.jwk]}).to_string();
    assert!(
        KeySet::parse(&keys).unwrap().find(None).is_some(),
        "one key is usable"
    );
    assert!(matches!(
        KeySet::parse(r#"{"keys": []}"#),
        Err(KeySetError::NoKey)
    ));
    assert!(matches!(
        KeySet::parse(&json!({"keys": [symmetric]}).to_string()),
        Err(KeySetError::NoKey)
    ));
    assert!(matches!(
        KeySet::parse("nonsense"),
        Err(KeySetError::Unreadable(_))
    ));
}

#[test]
fn errors_never_show_the_token() {
    let signer = es256("a");
    let token = sign(&signer, &with("iss", json!("x")));
    let error = judge(&[&signer]).authenticate(&token, NOW).unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(token.split('.').all(|part| !shown.contains(part)));
}
