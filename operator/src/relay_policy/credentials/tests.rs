use serde_json::json;

use super::*;

fn hosts(host: &str) -> Vec<Endpoint> {
    vec![Endpoint {
        host: host.into(),
        port: 587,
    }]
}

fn given(value: Value) -> crd::Credentials {
    serde_json::from_value(value).unwrap()
}

fn made(value: Value, host: &str, entries: &[(&str, &str)]) -> Result<Credentials, Invalid> {
    made_in(value, host, None, entries)
}

/// The same for a provider that is given with a region.
fn made_in(
    value: Value,
    host: &str,
    region: Option<&str>,
    entries: &[(&str, &str)],
) -> Result<Credentials, Invalid> {
    let entries = entries
        .iter()
        .map(|(name, value)| (*name, value.as_bytes()))
        .collect();
    let hosts = hosts(host);
    let place = Place {
        hosts: &hosts,
        region,
    };
    credentials(&given(value), place, &entries, now())
}

/// A moment in the life of the certificates.
fn now() -> Timestamp {
    Timestamp::from_second(1_600_000_000).unwrap()
}

/// An RSA pair, in PEM.
fn rsa() -> (String, String) {
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let made = rcgen::CertificateParams::new(vec!["client.example".to_owned()]).unwrap();
    (made.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// What is changed in a good file, and a word of the refusal.
type Change = (fn(&mut Value), &'static str);

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

#[test]
fn a_password_loses_the_line_end_of_its_file() {
    let made = made(
        json!({"type": "Password", "secretRef": {"name": "s"}}),
        "h",
        &[("username", "ann\n"), ("password", "pass word\r\n")],
    );
    let Ok(Credentials::Password(made)) = made else {
        panic!("{made:?}");
    };
    assert_eq!((made.user.as_str(), made.password.as_str()), ("ann", "pass word"));
}

#[test]
fn a_key_of_aws_becomes_the_password_of_its_region_and_stays_here() {
    let aws = |region: Option<&str>, host: &str, of_provider: Option<&str>| {
        let mut value = json!({"type": "AwsAccessKey", "secretRef": {"name": "s"}});
        if let Some(region) = region {
            value["region"] = json!(region);
        }
        made_in(
            value,
            host,
            of_provider,
            &[
                ("accessKeyId", "AKIAIOSFODNN7EXAMPLE"),
                ("secretAccessKey", SECRET),
            ],
        )
    };
    for (region, host, of_provider) in [
        (None, "email-smtp.eu-west-1.amazonaws.com", None),
        (Some("eu-west-1"), "email-smtp.eu-west-1.amazonaws.com", None),
        (Some("eu-west-1"), "ses.inside.example", None),
        (None, "ses.inside.example", Some("eu-west-1")),
        (Some("eu-west-1"), "ses.inside.example", Some("eu-west-1")),
    ] {
        let Ok(Credentials::Password(made)) = aws(region, host, of_provider) else {
            panic!("{region:?} {host}");
        };
        assert_eq!(made.user, "AKIAIOSFODNN7EXAMPLE");
        assert_eq!(made.password, "BMW5RDrXmmVs0lV7GpI4oLkHXpZ4stDsk6q91z1g38Pk");
    }
    for (region, host, of_provider, word) in [
        (
            Some("us-east-1"),
            "email-smtp.eu-west-1.amazonaws.com",
            None,
            "one region",
        ),
        (
            Some("us-east-1"),
            "ses.inside.example",
            Some("eu-west-1"),
            "`eu-west-1`",
        ),
        (
            None,
            "email-smtp.us-east-1.amazonaws.com",
            Some("eu-west-1"),
            "one region",
        ),
        (Some("EU West 1"), "h", None, "no region of AWS"),
        (None, "h", None, "is missing"),
    ] {
        let error = aws(region, host, of_provider).unwrap_err();
        assert_eq!(error.field, "spec.routes.credentials.region");
        assert!(error.sentence.contains(word), "{error}");
    }
}

#[test]
fn tokens_of_a_client_are_asked_for_as_its_proof_says() {
    let (certificate, key) = rsa();
    let client = |proof: &str, entries: &[(&str, &str)]| {
        let value = json!({
            "type": "OAuthClient", "user": "box@example.com", "clientId": "id", "tenant": "example.com", "proof": proof,
            "secretRef": {"name": "s"},
        });
        let made = made(value, "smtp.office365.com", entries);
        let Ok(Credentials::OauthClient(made)) = made else {
            panic!("{made:?}");
        };
        assert_eq!(
            made.token_endpoint,
            "https://login.microsoftonline.com/example.com/oauth2/v2.0/token"
        );
        assert_eq!(made.scope, "https://outlook.office365.com/.default");
        made.proof
    };
    assert_eq!(
        client("ClientSecret", &[("clientSecret", "x")]),
        ClientProof::Secret("x".into())
    );
    assert_eq!(
        client("ServiceAccountToken", &[]),
        ClientProof::TokenFile(FEDERATED_TOKEN.into())
    );
    let proof = client("Certificate", &[("tls.crt", &certificate), ("tls.key", &key)]);
    assert!(matches!(proof, ClientProof::Certificate(_)));
}

#[test]
fn the_file_of_google_is_read() {
    let (_, key) = rsa();
    let file = |change: fn(&mut Value)| {
        let mut file = json!({
            "type": "service_account", "client_email": "sa@p.iam.gserviceaccount.com", "private_key_id": "k1",
            "private_key": key, "token_uri": "https://oauth2.googleapis.com/token",
        });
        change(&mut file);
        let value =
            json!({"type": "GoogleServiceAccount", "user": "box@example.com", "secretRef": {"name": "s"}});
        made(value, "smtp.gmail.com", &[("key.json", &file.to_string())])
    };
    let Ok(Credentials::GoogleServiceAccount(good)) = file(|_| {}) else {
        panic!("the file is refused");
    };
    assert_eq!(
        (good.account.as_str(), good.key_id.as_deref(), good.scope.as_str()),
        (
            "sa@p.iam.gserviceaccount.com",
            Some("k1"),
            "https://mail.google.com/"
        )
    );
    let changes: [Change; 5] = [
        (|file| file["private_key"] = Value::Null, "`private_key`"),
        (|file| file["private_key"] = json!("CANARY"), "no RSA key"),
        (|file| file["client_email"] = json!(""), "`client_email`"),
        (|file| file["type"] = json!("authorized_user"), "service account"),
        (
            |file| file["token_uri"] = json!("http://CANARY.example/"),
            "`token_uri`",
        ),
    ];
    for (change, word) in changes {
        let error = file(change).unwrap_err();
        assert!(
            error.sentence.contains(word) && !error.sentence.contains("CANARY"),
            "{error}"
        );
    }
}

#[test]
fn each_wrong_entry_is_named_and_never_shown() {
    let (certificate, _) = rsa();
    let (_, other) = rsa();
    let of = |kind: &str| json!({"type": kind, "secretRef": {"name": "s"}});
    let aws = || {
        let mut value = of("AwsAccessKey");
        value["region"] = json!("eu-west-1");
        value
    };
    for (value, entries, name, word) in [
        (of("Password"), vec![], "username", "it is empty"),
        (
            of("Password"),
            vec![("user", "CANARY"), ("pass", "CANARY")],
            "username",
            "it has pass, user",
        ),
        (
            of("Password"),
            vec![("username", "ann"), ("password", "\n")],
            "password",
            "is empty",
        ),
        (
            aws(),
            vec![
                ("accessKeyId", "ASIAIOSFODNN7EXAMPLE"),
                ("secretAccessKey", SECRET),
            ],
            "accessKeyId",
            "temporary",
        ),
        (
            aws(),
            vec![("accessKeyId", "CANARY"), ("secretAccessKey", SECRET)],
            "accessKeyId",
            "no id",
        ),
        (
            aws(),
            vec![
                ("accessKeyId", "AKIAIOSFODNN7EXAMPLE"),
                ("secretAccessKey", "CANARY CANARY CANARY"),
            ],
            "secretAccessKey",
            "no secret key",
        ),
        (
            aws(),
            vec![
                ("accessKeyId", "AKIAIOSFODNN7EXAMPLE"),
                ("secretAccessKey", "BMW5RDrXmmVs0lV7GpI4oLkHXpZ4stDsk6q91z1g38Pk"),
            ],
            "secretAccessKey",
            "type Password",
        ),
        (
            of("ClientCertificate"),
            vec![("tls.crt", "CANARY"), ("tls.key", "CANARY")],
            "tls.crt",
            "no certificate",
        ),
        (
            of("ClientCertificate"),
            vec![("tls.crt", certificate.as_str()), ("tls.key", other.as_str())],
            "tls.key",
            "no key of the certificate",
        ),
        (
            of("ClientCertificate"),
            vec![("tls.crt", certificate.as_str()), ("tls.key", "CANARY")],
            "tls.key",
            "BEGIN PRIVATE KEY",
        ),
    ] {
        let error = made(value, "h", &entries).unwrap_err();
        assert_eq!(error.field, "spec.routes.credentials.secretRef");
        assert!(error.sentence.contains(&format!("`{name}`")), "{error}");
        assert!(
            error.sentence.contains(word) && !error.sentence.contains("CANARY"),
            "{error}"
        );
    }
}

#[test]
fn a_certificate_past_its_end_or_of_the_future_is_not_shown_to_anybody() {
    let (certificate, key) = rsa();
    let entries: Entries<'_> = [("tls.crt", certificate.as_bytes()), ("tls.key", key.as_bytes())].into();
    let late = Timestamp::from_second(200_000_000_000).unwrap();
    let given = given(json!({"type": "ClientCertificate", "secretRef": {"name": "s"}}));
    let hosts = hosts("h");
    let place = Place {
        hosts: &hosts,
        region: None,
    };
    assert!(credentials(&given, place, &entries, now()).is_ok());
    let error = credentials(&given, place, &entries, late).unwrap_err();
    assert!(error.sentence.contains("past its end"), "{error}");
    let error = credentials(&given, place, &entries, Timestamp::UNIX_EPOCH).unwrap_err();
    assert!(
        error.sentence.contains("1970-01-01T00:00:00Z") && error.sentence.contains("NTP"),
        "{error}"
    );
}
