//! Logins that are bound to their TLS connection: SCRAM-SHA-256-PLUS (RFC 5802 section 6, RFC 9266).

use aws_lc_rs::digest;
use postroad_mta::auth::Verifier;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::client::Client;
use crate::scram::Scram;
use crate::stage::{Play, Stage};

const EXPORTER: &str = "p=tls-exporter,,";
const PLUS: &str = "SCRAM-SHA-256-PLUS";

async fn stage() -> Stage {
    Play {
        users: vec![("alice", Verifier::scram("wonder land").unwrap())],
        more: "channelBinding: true\n".to_owned(),
        ..Play::default()
    }
    .start()
    .await
}

async fn connected(stage: &Stage) -> Client {
    let mut client = stage.submissions().await;
    let offer = client.say("EHLO client.example").await;
    assert!(
        offer.has("AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"),
        "{offer:?}"
    );
    client
}

fn alice<'a>(mechanism: &'a str, header: &'a str, binding: &'a [u8]) -> Scram<'a> {
    Scram {
        mechanism,
        header,
        binding,
        ..Scram::unbound("alice", "wonder land")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_bound_over_implicit_tls_and_over_starttls() {
    let stage = stage().await;
    let over_starttls = Client::greeted(stage.port("submission"))
        .await
        .starttls(&stage.chain)
        .await;
    for mut client in [connected(&stage).await, over_starttls] {
        let exporter = client.exporter.unwrap();
        let reply = alice(PLUS, EXPORTER, &exporter).login(&mut client).await;
        assert_eq!(reply.code, 235, "{reply:?}");
        client
            .expect(&[
                ("MAIL FROM:<alice@example.com>", 250),
                ("RCPT TO:<x@else.example>", 250),
            ])
            .await;
    }
    // RFC 5929 section 4.1: the certificate in DER; its signature uses SHA-256.
    let leaf = CertificateDer::from_pem_slice(stage.chain.as_bytes()).unwrap();
    let end_point = digest::digest(&digest::SHA256, &leaf);
    let login = alice(PLUS, "p=tls-server-end-point,,", end_point.as_ref());
    assert_eq!(login.login(&mut connected(&stage).await).await.code, 235);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_was_passed_on_by_somebody_in_between_fails() {
    let stage = stage().await;
    // The client logs in on its own connection, and its messages arrive on another.
    let other = connected(&stage).await.exporter.unwrap();
    let mut client = connected(&stage).await;
    assert_ne!(client.exporter, Some(other));
    for (binding, header) in [
        (&other[..], EXPORTER),
        (b"", EXPORTER),
        (&[0; 32], "p=tls-server-end-point,,"),
    ] {
        let reply = alice(PLUS, header, binding).login(&mut client).await;
        assert!(matches!(reply.code, 535 | 421), "{header}: {reply:?}");
    }
    let exporter = connected(&stage).await.exporter.unwrap();
    let mut client = connected(&stage).await;
    let wrong = Scram {
        password: "wrong",
        ..alice(PLUS, EXPORTER, &exporter)
    };
    assert_eq!(wrong.login(&mut client).await.code, 535);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_offer_and_flags_that_do_not_fit_are_refused() {
    let stage = stage().await;
    for (mechanism, header, sentence) in [
        (PLUS, "p=tls-unique,,", "not offered"),
        (PLUS, "n,,", "needs channel binding"),
        (PLUS, "y,,", "needs channel binding"),
        ("SCRAM-SHA-256", EXPORTER, "-PLUS"),
        ("SCRAM-SHA-256", "y,,", "hid it"),
    ] {
        let mut client = connected(&stage).await;
        let reply = alice(mechanism, header, b"").login(&mut client).await;
        assert_eq!(reply.code, 535, "{mechanism} {header}: {reply:?}");
        assert!(reply.has(sentence), "{reply:?}");
        let reply = Scram::unbound("alice", "wonder land").login(&mut client).await;
        assert_eq!(reply.code, 235, "the session goes on: {reply:?}");
    }
    stage.stop().await;
}

/// RFC 9266 section 4.2: below TLS 1.3 there is nothing sound to bind to that we can tell of.
#[tokio::test(flavor = "multi_thread")]
async fn binding_is_not_offered_under_tls_1_2() {
    let stage = stage().await;
    let client = Client::connect(stage.port("submissions")).await;
    let mut client = client
        .try_secure_as(&stage.chain, &[&rustls::version::TLS12])
        .await
        .unwrap();
    assert_eq!(client.reply().await.code, 220);
    let offer = client.say("EHLO client.example").await;
    assert!(offer.has("AUTH SCRAM-SHA-256 PLAIN LOGIN"), "{offer:?}");
    let exporter = client.exporter.unwrap();
    let reply = alice(PLUS, EXPORTER, &exporter).login(&mut client).await;
    assert_eq!(reply.code, 504);
    // The client could, and knows that we do not offer it.
    let reply = alice("SCRAM-SHA-256", "y,,", b"").login(&mut client).await;
    assert_eq!(reply.code, 235);
    stage.stop().await;
}

/// Clients that take the strongest mechanism and cannot bind must not meet it unasked.
#[tokio::test(flavor = "multi_thread")]
async fn binding_is_not_offered_unless_the_file_says_so() {
    let stage = Play {
        users: vec![("alice", Verifier::scram("wonder land").unwrap())],
        ..Play::default()
    }
    .start()
    .await;
    let mut client = stage.submissions().await;
    let offer = client.say("EHLO client.example").await;
    assert!(offer.has("AUTH SCRAM-SHA-256 PLAIN LOGIN"), "{offer:?}");
    let exporter = client.exporter.unwrap();
    let reply = alice(PLUS, EXPORTER, &exporter).login(&mut client).await;
    assert_eq!(reply.code, 504);
    let reply = alice("SCRAM-SHA-256", "y,,", b"").login(&mut client).await;
    assert_eq!(reply.code, 235);
    stage.stop().await;
}
