//! Who may submit: PLAIN, LOGIN and SCRAM-SHA-256, under TLS alone.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postroad_mta::auth::Verifier;

use crate::client::Client;
use crate::scram::Scram;
use crate::stage::{DOMAINS, Play, Stage};

async fn stage() -> Stage {
    let users = vec![
        ("alice", Verifier::scram("wonder land").unwrap()),
        ("bob", Verifier::argon2id("builder").unwrap()),
    ];
    Play {
        users,
        ..Play::default()
    }
    .start()
    .await
}

fn plain(user: &str, password: &str) -> String {
    format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{user}\0{password}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_and_login_work_over_starttls_and_implicit_tls() {
    let stage = stage().await;
    let mut over_starttls = Client::greeted(stage.port("submission"))
        .await
        .starttls(&stage.chain)
        .await;
    let mut implicit = stage.submissions().await;
    assert_eq!(implicit.say("EHLO client.example").await.code, 250);
    for client in [&mut over_starttls, &mut implicit] {
        let reply = client.say(&plain("bob", "builder")).await;
        assert_eq!(reply.code, 235, "{reply:?}");
        assert_eq!(
            client.say(&plain("bob", "builder")).await.code,
            503,
            "once per session"
        );
    }
    let mut client = stage.submissions().await;
    client
        .expect(&[
            ("EHLO client.example", 250),
            ("AUTH LOGIN", 334),
            (&STANDARD.encode("alice"), 334),
            (&STANDARD.encode("wonder land"), 235),
        ])
        .await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scram_proves_both_ends() {
    let users = vec![("alice", Verifier::scram("wonder land").unwrap())];
    let stage = Play {
        users,
        ..Play::default()
    }
    .start()
    .await;
    let mut client = stage.submissions().await;
    assert!(client.say("EHLO client.example").await.has("SCRAM-SHA-256"));
    assert_eq!(scram(&mut client, "alice", "wonder land").await, 235);
    let mut client = stage.submissions().await;
    client.say("EHLO client.example").await;
    assert_eq!(scram(&mut client, "alice", "wrong").await, 535);
    let mut client = stage.submissions().await;
    client.say("EHLO client.example").await;
    assert_eq!(
        scram(&mut client, "nobody", "wrong").await,
        535,
        "the same dialogue"
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_and_unknown_users_get_the_same_reply_and_then_the_door() {
    let stage = stage().await;
    let mut client = stage.submissions().await;
    client.say("EHLO client.example").await;
    let wrong = client.say(&plain("bob", "wrong")).await;
    let unknown = client.say(&plain("eve", "wrong")).await;
    assert_eq!((wrong.code, &wrong.lines), (535, &unknown.lines));
    let last = client.say(&plain("bob", "wrong again")).await;
    assert!(matches!(last.code, 421 | 535), "{last:?}");
    if last.code == 535 {
        assert_eq!(client.reply().await.code, 421);
    }
    client.hung_up().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_taken_in_clear_or_on_the_transfer_port() {
    let stage = stage().await;
    let mut client = Client::greeted(stage.port("submission")).await;
    assert!(!client.say("EHLO client.example").await.offers("AUTH"));
    let reply = client.say(&plain("bob", "builder")).await;
    assert!((500..600).contains(&reply.code), "{reply:?}");
    assert_eq!(client.say("MAIL FROM:<alice@example.com>").await.code, 530);
    let mut client = stage.smtp().await.starttls(&stage.chain).await;
    assert!(!client.say("EHLO client.example").await.offers("AUTH"));
    assert!((500..600).contains(&client.say(&plain("bob", "builder")).await.code));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scram_is_offered_only_where_every_user_can_use_it() {
    let stage = stage().await;
    let mut client = stage.submissions().await;
    assert!(
        !client.say("EHLO client.example").await.has("SCRAM"),
        "a client takes the best one that is offered"
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_cancel() {
    let stage = stage().await;
    let mut client = stage.submissions().await;
    client
        .expect(&[
            ("EHLO client.example", 250),
            ("AUTH LOGIN", 334),
            ("*", 501),
            ("AUTH PLAIN", 334),
            ("not base64!", 501),
            ("AUTH NOSUCH", 504),
            ("NOOP", 250),
        ])
        .await;
    stage.stop().await;
}

/// Gives the last code.
async fn scram(client: &mut Client, user: &str, password: &str) -> u16 {
    Scram::unbound(user, password).login(client).await.code
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_over_many_sessions_is_stopped_and_locks_nobody_out() {
    let stage = stage().await;
    let mut home = stage.submissions().await;
    home.expect(&[
        ("EHLO client.example", 250),
        (&plain("alice", "wonder land"), 235),
    ])
    .await;
    let (port, chain) = (stage.port("submissions"), stage.chain.clone());
    let guesses = (0..10).map(|_| {
        let chain = chain.clone();
        tokio::spawn(async move {
            let mut client = Client::implicit(port, &chain).await;
            client.say("EHLO client.example").await;
            for _ in 0..2 {
                client.say(&plain("bob", "wrong")).await;
            }
        })
    });
    for guess in guesses.collect::<Vec<_>>() {
        guess.await.unwrap();
    }
    let mut client = stage.submissions().await;
    client.say("EHLO client.example").await;
    let right = client.say(&plain("bob", "builder")).await;
    let wrong = client.say(&plain("bob", "wrong")).await;
    assert_eq!(
        (right.code, &right.lines),
        (454, &wrong.lines),
        "it does not tell"
    );
    let mut home = stage.submissions().await;
    home.expect(&[
        ("EHLO client.example", 250),
        (&plain("alice", "wonder land"), 235),
    ])
    .await;
    stage.stop().await;
}

/// RFC 4013: one text, however it was typed; and what is forbidden is refused with a sentence, before anything is looked up.
#[tokio::test(flavor = "multi_thread")]
async fn names_and_passwords_are_prepared() {
    let stage = Play {
        users: vec![("caf\u{e9}", Verifier::scram("wonder land \u{2168}").unwrap())],
        domains: DOMAINS.replace("user: alice", "user: caf\u{e9}"),
        ..Play::default()
    }
    .start()
    .await;
    let (user, password) = ("cafe\u{301}", "wonder\u{a0}land IX");
    let mut client = stage.submissions().await;
    client
        .expect(&[("EHLO client.example", 250), (&plain(user, password), 235)])
        .await;
    client.expect(&[("MAIL FROM:<alice@example.com>", 250)]).await;
    let mut client = stage.submissions().await;
    client
        .expect(&[
            ("EHLO client.example", 250),
            ("AUTH LOGIN", 334),
            (&STANDARD.encode(user), 334),
            (&STANDARD.encode(password), 235),
        ])
        .await;
    let mut client = stage.submissions().await;
    client.say("EHLO client.example").await;
    // The client of SCRAM prepares what it hashes; names are prepared here as well.
    assert_eq!(scram(&mut client, user, "wonder land IX").await, 235);
    for response in [plain("al\u{7}ice", "x"), plain("caf\u{e9}", "\u{1f600}")] {
        let mut client = stage.submissions().await;
        client.say("EHLO client.example").await;
        let reply = client.say(&response).await;
        assert_eq!(reply.code, 535, "{reply:?}");
        assert!(reply.has("not allowed"), "{reply:?}");
    }
    stage.stop().await;
}
