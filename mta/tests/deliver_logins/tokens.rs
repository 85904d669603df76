//! Tokens: got once for all connections, renewed in time, and got anew where they are refused.

use std::collections::BTreeSet;

use crate::authority::{Authority, Form};
use crate::deliver_support::certificate;
use crate::probes::probe;
use crate::sink::{Reply, Script, Sink};
use crate::{bench, client, policy, route, script, server, submit, trusting, yes};

#[tokio::test]
async fn a_token_is_got_once_for_all_connections() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::numbering(3_600).await;
    let (sink, tls) = server("AUTH XOAUTH2 LOGIN", yes()).await;
    let credentials = client(&authority, "{secret: s-1}");
    let bench = bench(
        directory.path(),
        policy(&[route(&sink, "Verified", &credentials)]),
        tls,
    );
    for number in 0..20 {
        submit(&bench, &format!("mail {number}")).await;
    }
    sink.wait_for(20).await;
    bench.empty().await;
    let forms = authority.forms();
    assert_eq!(forms.len(), 1, "one flight for all");
    let said: Vec<_> = forms[0]
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            ("client_id", "id-1"),
            ("client_secret", "s-1"),
            ("grant_type", "client_credentials"),
            ("scope", "https://mail.example/.default"),
        ]
    );
    assert!(
        sink.logins()
            .iter()
            .all(|said| said == "XOAUTH2 box@example.com token-0"),
        "{:?}",
        sink.logins()
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_whatever_it_is_got_with_and_nothing_bounces() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "eyJ.platform").unwrap();
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let params = rcgen::CertificateParams::new(vec!["client.example".to_owned()]).unwrap();
    let pem = |text: String| text.trim_end().replace('\n', "\\n");
    let by_certificate = format!(
        "{{certificate: {{certificate: \"{}\", key: \"{}\"}}}}",
        pem(params.self_signed(&key).unwrap().pem()),
        pem(key.serialize_pem())
    );
    let by_file = format!("{{tokenFile: {}}}", file.display());
    let (by_secret, stated, by_platform) = tokio::join!(
        renewed("{secret: s-1}"),
        renewed(&by_certificate),
        renewed(&by_file)
    );
    assert!(by_secret.iter().all(|form| form["client_secret"] == "s-1"));
    let statements: BTreeSet<_> = stated.iter().map(|form| &form["client_assertion"]).collect();
    assert_eq!(statements.len(), stated.len(), "each statement is good once");
    let is_of_the_platform = |form: &Form| form["client_assertion"] == "eyJ.platform";
    assert!(by_platform.iter().all(is_of_the_platform));
}

/// Mail comes until the token was renewed twice. Gives the forms by which all of them were got.
async fn renewed(proof: &str) -> Vec<Form> {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::numbering(5).await;
    let (acceptor, certificate) = certificate();
    let sink = Sink::start(Script {
        // Each mail has a connection of its own, and a login.
        inside: Some(vec!["AUTH OAUTHBEARER XOAUTH2", "LIMITS MAILMAX=1"]),
        ..script("", Some(acceptor), yes())
    })
    .await;
    let credentials = client(&authority, proof);
    let policies = policy(&[route(&sink, "Verified", &credentials)]);
    let bench = bench(directory.path(), policies, trusting(certificate));
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(50));
    let mut sent = 0;
    while authority.forms().len() < 3 {
        submit(&bench, &format!("mail {sent}")).await;
        sent += 1;
        sink.wait_for(sent).await;
        assert!(sent < 2_000, "it is never renewed");
        pace.tick().await;
    }
    bench.empty().await;
    assert_eq!(bench.figure("deliveries_total{outcome=\"Failed\"}"), 0);
    bench.stop().await;
    authority.forms()
}

#[tokio::test]
async fn a_token_that_is_refused_is_got_anew_once() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::numbering(3_600).await;
    let judge: Reply = Box::new(|said, _| match said {
        "XOAUTH2 box@example.com token-1" => "235 2.7.0 welcome".to_owned(),
        _ => "535 5.7.3 Authentication unsuccessful".to_owned(),
    });
    let (sink, tls) = server("AUTH XOAUTH2", judge).await;
    let credentials = client(&authority, "{secret: s-1}");
    let bench = bench(
        directory.path(),
        policy(&[route(&sink, "Verified", &credentials)]),
        tls,
    );
    submit(&bench, "one").await;
    sink.wait_for(1).await;
    bench.empty().await;
    assert_eq!(authority.forms().len(), 2);
    bench.stop().await;
}

#[tokio::test]
async fn a_server_that_offers_oauthbearer_alone_is_logged_in_at_by_it_and_may_refuse_a_token() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::numbering(3_600).await;
    let judge: Reply = Box::new(|said, _| match said {
        "OAUTHBEARER n,a=box@example.com, token-1" => "235 2.7.0 welcome".to_owned(),
        _ => "535 5.7.8 the token is over".to_owned(),
    });
    let (sink, tls) = server("AUTH OAUTHBEARER LOGIN PLAIN", judge).await;
    let credentials = client(&authority, "{secret: s-1}");
    let bench = bench(
        directory.path(),
        policy(&[route(&sink, "Verified", &credentials)]),
        tls,
    );
    submit(&bench, "one").await;
    sink.wait_for(1).await;
    bench.empty().await;
    assert_eq!(
        sink.logins(),
        [
            "OAUTHBEARER n,a=box@example.com, token-0",
            "OAUTHBEARER n,a=box@example.com, token-1",
        ]
    );
    assert_eq!(bench.figure("deliveries_total{outcome=\"Failed\"}"), 0);
    bench.stop().await;
}

#[tokio::test]
async fn a_service_account_is_dated_by_the_clock_of_its_authority_where_ours_is_wrong() {
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let authority = Authority::start(Box::new(|form, _| {
        let payload = form["assertion"].split('.').nth(1).unwrap();
        let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let claims = base64::Engine::decode(&engine, payload).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
        assert_eq!(claims["sub"], "box@example.com");
        let theirs = jiff::Timestamp::now().as_second() + 7_200;
        let date = jiff::Timestamp::from_second(theirs).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
        let date = format!("date: {}\r\n", date.strftime("%a, %d %b %Y %H:%M:%S GMT"));
        if claims["iat"].as_i64().unwrap().abs_diff(theirs) < 120 {
            (200, date, r#"{"access_token":"dated","expires_in":3599}"#.to_owned())
        } else {
            let body = r#"{"error":"invalid_grant","error_description":"Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."}"#;
            (400, date, body.to_owned())
        }
    }))
    .await;
    let pem = key.serialize_pem().trim_end().replace('\n', "\\n");
    let credentials = format!(
        "{{googleServiceAccount: {{user: box@example.com, account: sa@p.example, key: \"{pem}\", tokenEndpoint: '{}', scope: 'https://mail.google.com/'}}}}",
        authority.url()
    );
    let (sink, tls) = server("AUTH XOAUTH2", yes()).await;
    let tested = probe(&policy(&[route(&sink, "Verified", &credentials)]), tls).await;
    assert_eq!(tested.authenticated, Some(true), "{tested:?}");
    assert_eq!(sink.logins(), ["XOAUTH2 box@example.com dated"]);
    assert_eq!(authority.forms().len(), 2);
    let expires = tested.token.unwrap().expires.unwrap();
    assert!(expires > jiff::Timestamp::now().as_second() + 3_000);
}

#[tokio::test]
async fn a_token_of_the_platform_is_read_from_its_file_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "eyJ.first\n").unwrap();
    let authority = Authority::numbering(3_600).await;
    let credentials = client(&authority, &format!("{{tokenFile: {}}}", file.display()));
    let judge: Reply = Box::new(|said, _| match said {
        "XOAUTH2 box@example.com token-1" => "235 2.7.0 welcome".to_owned(),
        _ => "535 5.7.3 Authentication unsuccessful".to_owned(),
    });
    let (sink, tls) = server("AUTH XOAUTH2", judge).await;
    let tested = probe(&policy(&[route(&sink, "Verified", &credentials)]), tls).await;
    assert_eq!(tested.authenticated, Some(true), "{tested:?}");
    for form in authority.forms() {
        assert_eq!(form["client_assertion"], "eyJ.first");
        assert_eq!(
            form["client_assertion_type"],
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        );
        assert!(!form.contains_key("client_secret"));
    }
    assert_eq!(authority.forms().len(), 2);
}
