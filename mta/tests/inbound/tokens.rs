//! ServiceAccounts that submit: a token as the credential, by each mechanism, and each way in which one is refused.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use postroad_mta::auth::Verifier;
use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::client::{Client, Reply};
use crate::stage::{Play, Stage};

const AUDIENCE: &str = "smtp.postroad.dev/mail/edge";
const API: &str = "https://kubernetes.default.svc";
const ORDERS: &str = "system:serviceaccount:shop:orders";
const DOMAINS: &str = "\
domains:
  - name: shop.example
    senders:
      - {user: 'system:serviceaccount:shop:orders', addresses: [orders@shop.example]}
      - {user: alice}
";

/// The issuer of a cluster.
struct Cluster(KeyPair);

impl Cluster {
    fn new() -> Self {
        Self(KeyPair::generate().unwrap())
    }

    /// The section of the configuration that takes its tokens.
    fn section(&self) -> String {
        let (x, y) = self.0.public_key_raw()[1..].split_at(32);
        let key = json!({"kty": "EC", "crv": "P-256", "kid": "k", "use": "sig", "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)});
        format!(
            "authentication:\n  serviceAccounts:\n    issuer: {API}\n    audience: {AUDIENCE}\n    \
             refusedAudiences: [{API}]\n    keySet: '{}'\n",
            json!({"keys": [key]})
        )
    }

    /// A token of `orders` that is good for ten minutes, with these claims changed.
    fn token(&self, change: &Value) -> String {
        let now = now();
        let mut claims = json!({"iss": API, "sub": ORDERS, "aud": [AUDIENCE],
            "iat": now, "nbf": now, "exp": now + 600});
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let header = Header {
            kid: Some("k".into()),
            ..Header::new(Algorithm::ES256)
        };
        let key = EncodingKey::from_ec_der(self.0.serialized_der());
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    }

    /// The same, with somebody to ask whether a token was revoked.
    fn reviewed(&self, clerk: &Clerk) -> Play {
        let review = json!({"address": clerk.address, "serverName": REVIEW, "authorities": clerk.authority});
        Play {
            more: format!("{}    review: {review}\n", self.section()),
            ..self.play()
        }
    }

    fn play(&self) -> Play {
        Play {
            users: vec![("alice", Verifier::argon2id("wonder land").unwrap())],
            domains: DOMAINS.to_owned(),
            more: self.section(),
            ..Play::default()
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The mechanisms, each with what it makes of a token.
const MECHANISMS: [&str; 3] = ["OAUTHBEARER", "XOAUTH2", "PLAIN"];

fn response(mechanism: &str, token: &str) -> String {
    STANDARD.encode(match mechanism {
        "OAUTHBEARER" => format!("n,,\u{1}auth=Bearer {token}\u{1}\u{1}"),
        "XOAUTH2" => format!("user=orders\u{1}auth=Bearer {token}\u{1}\u{1}"),
        _ => format!("\0orders\0{token}"),
    })
}

/// Logs in; gives the last reply, and what a refusal by challenge said.
async fn login(client: &mut Client, mechanism: &str, token: &str) -> (Reply, String) {
    let reply = client
        .say(&format!("AUTH {mechanism} {}", response(mechanism, token)))
        .await;
    if reply.code != 334 {
        return (reply, String::new());
    }
    let told = String::from_utf8(STANDARD.decode(&reply.lines[0]).unwrap()).unwrap();
    // RFC 7628 section 3.2.3.
    let last = if mechanism == "XOAUTH2" { "" } else { "AQ==" };
    (client.say(last).await, told)
}

async fn greeted(stage: &Stage) -> Client {
    let mut client = stage.submissions().await;
    client.say("EHLO client.example").await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_a_credential_by_each_mechanism_and_its_account_may_send_as_listed() {
    let cluster = Cluster::new();
    let stage = cluster.play().start().await;
    for mechanism in MECHANISMS {
        let mut client = greeted(&stage).await;
        assert_eq!(client.say("MAIL FROM:<orders@shop.example>").await.code, 530);
        let (reply, _) = login(&mut client, mechanism, &cluster.token(&json!({}))).await;
        assert_eq!(reply.code, 235, "{mechanism}: {reply:?}");
        client
            .expect(&[
                ("MAIL FROM:<billing@shop.example>", 550),
                ("MAIL FROM:<orders@shop.example>", 250),
                ("RCPT TO:<carol@else.example>", 250),
            ])
            .await;
        let forged = client.data("From: billing@shop.example\r\n\r\nx\r\n").await;
        assert_eq!(forged.code, 550, "From is judged too: {forged:?}");
    }
    let mut client = greeted(&stage).await;
    login(&mut client, "OAUTHBEARER", &cluster.token(&json!({}))).await;
    client
        .expect(&[
            ("MAIL FROM:<orders@shop.example>", 250),
            ("RCPT TO:<carol@else.example>", 250),
        ])
        .await;
    assert_eq!(
        client.data("From: orders@shop.example\r\n\r\nHi\r\n").await.code,
        250
    );
    let (message, _) = stage.only().await;
    assert_eq!(message.item.envelope.identity.as_deref(), Some(ORDERS));
    let mut client = greeted(&stage).await;
    let other = cluster.token(&json!({"sub": "system:serviceaccount:shop:other"}));
    assert_eq!(login(&mut client, "PLAIN", &other).await.0.code, 235);
    let reply = client.say("MAIL FROM:<orders@shop.example>").await;
    assert_eq!((reply.code, reply.has("5.7.1")), (550, true), "{reply:?}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_does_not_hold_is_refused_by_each_mechanism() {
    let cluster = Cluster::new();
    let stage = cluster.play().start().await;
    let rows = [
        (
            json!({"aud": ["smtp.postroad.dev/mail/other"]}),
            "not meant for this endpoint",
        ),
        (json!({"aud": [AUDIENCE, API]}), "audience that is refused"),
        (json!({"exp": now() - 120}), "expired"),
        (json!({"nbf": now() + 600}), "not valid yet"),
        (json!({"sub": "alice"}), "subject"),
    ];
    for (change, reason) in rows {
        let mut client = greeted(&stage).await;
        for mechanism in ["OAUTHBEARER", "XOAUTH2"] {
            let (reply, told) = login(&mut client, mechanism, &cluster.token(&change)).await;
            assert_eq!(
                (reply.code, reply.has("5.7.8")),
                (535, true),
                "{mechanism} {change}: {reply:?}"
            );
            assert!(
                told.contains("\"status\":") && told.contains(reason),
                "{mechanism} {change}: {told}"
            );
        }
        let mut client = greeted(&stage).await;
        let (reply, _) = login(&mut client, "PLAIN", &cluster.token(&change)).await;
        assert_eq!(
            (reply.code, reply.has("5.7.8")),
            (535, true),
            "{change}: {reply:?}"
        );
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_offered_under_tls_where_they_are_configured_and_users_log_in_beside_them() {
    let cluster = Cluster::new();
    let stage = cluster.play().start().await;
    let mut clear = Client::greeted(stage.port("submission")).await;
    assert!(!clear.say("EHLO client.example").await.offers("AUTH"));
    let line = format!(
        "AUTH OAUTHBEARER {}",
        response("OAUTHBEARER", &cluster.token(&json!({})))
    );
    assert_eq!(clear.say(&line).await.code, 538);
    let mut client = stage.submissions().await;
    let offers = client.say("EHLO client.example").await;
    assert!(offers.has("AUTH PLAIN LOGIN OAUTHBEARER XOAUTH2"), "{offers:?}");
    let password = STANDARD.encode("\0alice\0wonder land");
    client.expect(&[(&format!("AUTH PLAIN {password}"), 235)]).await;
    stage.stop().await;
    let alone = Play {
        users: vec![],
        domains: DOMAINS.to_owned(),
        more: cluster.section(),
        ..Play::default()
    };
    let stage = alone.start().await;
    let mut client = stage.submissions().await;
    let offers = client.say("EHLO client.example").await;
    assert!(offers.has("AUTH PLAIN OAUTHBEARER XOAUTH2"), "{offers:?}");
    stage.stop().await;
    let without = Play {
        users: vec![("alice", Verifier::argon2id("pw").unwrap())],
        ..Play::default()
    };
    let stage = without.start().await;
    let mut client = stage.submissions().await;
    assert!(!client.say("EHLO client.example").await.has("OAUTH"));
    let (reply, _) = login(&mut client, "OAUTHBEARER", &cluster.token(&json!({}))).await;
    assert_eq!(reply.code, 504, "{reply:?}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_keys_of_the_issuer_are_followed_without_a_restart() {
    let (old, new) = (Cluster::new(), Cluster::new());
    let stage = old.play().start().await;
    let mut client = greeted(&stage).await;
    assert_eq!(
        login(&mut client, "PLAIN", &new.token(&json!({}))).await.0.code,
        535
    );
    let before = stage.daemon.handles().live.state().hash;
    std::fs::write(stage.config(), new.play().text(stage.directory.path(), DOMAINS)).unwrap();
    stage
        .until("the new keys are in use", |stage| {
            stage.daemon.handles().live.state().hash != before
        })
        .await;
    assert_eq!(
        login(&mut client, "PLAIN", &new.token(&json!({}))).await.0.code,
        235
    );
    let mut client = greeted(&stage).await;
    assert_eq!(
        login(&mut client, "PLAIN", &old.token(&json!({}))).await.0.code,
        535
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_tokens_count_against_their_network_and_lock_no_account_out() {
    let cluster = Cluster::new();
    let stage = cluster.play().start().await;
    let (port, chain) = (stage.port("submissions"), stage.chain.clone());
    let expired = cluster.token(&json!({"exp": now() - 120}));
    let tries = (0..20).map(|n| {
        let (chain, expired) = (chain.clone(), expired.clone());
        tokio::spawn(async move {
            let mut client = Client::implicit(port, &chain).await;
            client.say("EHLO client.example").await;
            let mechanism = MECHANISMS[n % 2];
            // Counted where it is refused: this client leaves without the end of the dialogue.
            let line = format!("AUTH {mechanism} {}", response(mechanism, &expired));
            assert_eq!(client.say(&line).await.code, 334);
        })
    });
    for one in tries.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    for mechanism in MECHANISMS {
        let mut client = greeted(&stage).await;
        let (reply, _) = login(&mut client, mechanism, &expired).await;
        assert_eq!(reply.code, 454, "{mechanism}: {reply:?}");
    }
    let mut client = greeted(&stage).await;
    let password = STANDARD.encode("\0alice\0wonder land");
    assert_eq!(client.say(&format!("AUTH PLAIN {password}")).await.code, 454);
    let (reply, _) = login(&mut client, "PLAIN", &cluster.token(&json!({}))).await;
    assert_eq!(reply.code, 235, "a token that holds is no guess: {reply:?}");
    stage.stop().await;
}

const REVIEW: &str = "review.edge";

/// Stands for the operator: says of every token what it is told to say.
struct Clerk {
    address: std::net::SocketAddr,
    authority: String,
    says: std::sync::Arc<std::sync::Mutex<&'static str>>,
    asked: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl Clerk {
    async fn start() -> Self {
        use rustls::pki_types::pem::PemObject;
        let made = rcgen::generate_simple_self_signed([REVIEW.to_owned()]).unwrap();
        let key =
            rustls::pki_types::PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes());
        let config = rustls::ServerConfig::builder_with_provider(postroad_mta::tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.unwrap())
            .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let clerk = Self {
            address: listener.local_addr().unwrap(),
            authority: made.cert.pem(),
            says: std::sync::Arc::default(),
            asked: std::sync::Arc::default(),
        };
        let (says, asked) = (clerk.says.clone(), clerk.asked.clone());
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let said = *says.lock().unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                answer(&mut stream, said).await;
            }
        });
        clerk
    }

    fn asked(&self) -> usize {
        self.asked.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// Reads one request, which comes with the token in its body, and answers it.
async fn answer<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(stream: &mut S, said: &str) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut request, mut room) = (Vec::new(), [0; 4_096]);
    while !request.ends_with(b"\"}") {
        match stream.read(&mut room).await {
            Ok(read @ 1..) => request.extend_from_slice(&room[..read]),
            _ => return,
        }
    }
    assert!(request.starts_with(b"POST /v1/token-review HTTP/1.1"));
    let status = if said.is_empty() {
        "503 Service Unavailable"
    } else {
        "200 OK"
    };
    let reply = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{said}",
        said.len()
    );
    let _ = stream.write_all(reply.as_bytes()).await;
    let _ = stream.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_refused_and_one_that_nobody_can_judge_is_put_off() {
    let (cluster, clerk) = (Cluster::new(), Clerk::start().await);
    let stage = cluster.reviewed(&clerk).start().await;
    // Each token is another one, as answers are remembered for a while.
    for (number, (says, code)) in [
        ("{\"authenticated\":true}", 235),
        ("{\"authenticated\":false}", 535),
        ("", 454),
        ("nonsense", 454),
    ]
    .into_iter()
    .enumerate()
    {
        *clerk.says.lock().unwrap() = says;
        for mechanism in MECHANISMS {
            let token = cluster.token(&json!({"jti": format!("{number}{mechanism}")}));
            let mut client = greeted(&stage).await;
            let (reply, told) = login(&mut client, mechanism, &token).await;
            assert_eq!(reply.code, code, "{says} {mechanism}: {reply:?}");
            if code == 535 && mechanism != "PLAIN" {
                assert!(told.contains("revoked"), "{told}");
            }
        }
    }
    assert_eq!(clerk.asked(), 12);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_remembered_and_a_token_that_does_not_hold_is_no_question() {
    let (cluster, clerk) = (Cluster::new(), Clerk::start().await);
    *clerk.says.lock().unwrap() = "{\"authenticated\":true}";
    let stage = cluster.reviewed(&clerk).start().await;
    let token = cluster.token(&json!({}));
    for _ in 0..3 {
        let mut client = greeted(&stage).await;
        assert_eq!(login(&mut client, "XOAUTH2", &token).await.0.code, 235);
    }
    assert_eq!(clerk.asked(), 1);
    let over = cluster.token(&json!({"exp": now() - 600}));
    let mut client = greeted(&stage).await;
    assert_eq!(login(&mut client, "XOAUTH2", &over).await.0.code, 535);
    assert_eq!(clerk.asked(), 1);
    stage.stop().await;
}

/// Whoever sits at the address but cannot prove the name is not believed.
#[tokio::test(flavor = "multi_thread")]
async fn another_than_the_one_who_is_named_is_not_believed() {
    let (cluster, clerk, other) = (Cluster::new(), Clerk::start().await, Clerk::start().await);
    *clerk.says.lock().unwrap() = "{\"authenticated\":true}";
    let wrong = Clerk {
        authority: other.authority.clone(),
        ..clerk
    };
    let stage = cluster.reviewed(&wrong).start().await;
    let mut client = greeted(&stage).await;
    let token = cluster.token(&json!({}));
    assert_eq!(login(&mut client, "OAUTHBEARER", &token).await.0.code, 454);
    stage.stop().await;
}
