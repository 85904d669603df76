//! Mail of our domains leaves signed (DKIM), and mail of others does not.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postroad_mta::auth::Verifier as Password;
use postroad_verify::dkim::{Algorithm, Header, Limits, Outcome, PrivateKey, Verdict, Verifier, Wanted};
use postroad_verify::dns::{Answer, Question};

use crate::client::Client;
use crate::stage::{DOMAINS, MAIL, Play, Stage};

/// Keys in files of a folder, with their records.
pub struct KeyRing(Vec<(&'static str, PrivateKey)>);

impl KeyRing {
    pub fn new(folder: &Path, keys: &[(&'static str, Algorithm)]) -> Self {
        let made = keys.iter().map(|(selector, algorithm)| {
            let key = PrivateKey::generate(*algorithm).unwrap();
            std::fs::write(folder.join(format!("{selector}.pem")), key.to_pem().unwrap()).unwrap();
            (*selector, key)
        });
        Self(made.collect())
    }

    /// `dkim` of a domain.
    pub fn section(&self, folder: &Path) -> String {
        let mut text = "    dkim:\n      keys:\n".to_owned();
        for (selector, _) in &self.0 {
            let at = folder.display();
            writeln!(
                text,
                "        - {{selector: {selector}, keyFile: {at}/{selector}.pem}}"
            )
            .unwrap();
        }
        text
    }

    /// The record of a key of `example.com`.
    pub fn record(&self, question: &Question) -> Option<Answer> {
        let of = |selector: &str| question.name == format!("{selector}._domainkey.example.com");
        let (_, key) = self.0.iter().find(|(selector, _)| of(selector))?;
        Some(Answer::Txt(vec![key.record().unwrap().into_bytes()]))
    }

    fn outcomes(&self, message: &str) -> Vec<Outcome> {
        let (section, body) = Header::split(message.as_bytes());
        let mut wanted = Wanted::new();
        let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap();
        let mut verifier = Verifier::new(&Header::parse(section), &Limits::default(), now, &mut wanted);
        for question in verifier.questions() {
            let answer = self.record(&question).unwrap_or(Answer::NxDomain);
            verifier.answer(&question, &answer);
        }
        let mut hasher = wanted.hasher();
        hasher.update(body);
        verifier.finish(&hasher.finish())
    }

    /// Domain and selector of each signature that passes; no other is there.
    pub fn passed(&self, message: &str) -> Vec<(String, String)> {
        let outcomes = self.outcomes(message);
        let passed = outcomes.into_iter().map(|outcome| {
            assert_eq!(outcome.verdict, Verdict::Pass, "{outcome:?}\n{message}");
            (
                outcome.domain.unwrap_or_default(),
                outcome.selector.unwrap_or_default(),
            )
        });
        passed.collect()
    }
}

/// The newest message of the spool as it leaves.
pub async fn newest(stage: &Stage) -> String {
    let (spool, id) = (stage.daemon.handles().spool.clone(), stage.newest());
    tokio::task::spawn_blocking(move || {
        let mut message = spool.read(id).unwrap();
        let mut text = String::from_utf8(message.item.prefix).unwrap();
        std::io::Read::read_to_string(&mut message.body, &mut text).unwrap();
        text
    })
    .await
    .unwrap()
}

pub fn play(more: &str, domains: String) -> Play {
    Play {
        users: vec![("alice", Password::argon2id("wonder land").unwrap())],
        more: more.to_owned(),
        domains,
        ..Play::default()
    }
}

pub async fn logged_in(stage: &Stage) -> Client {
    let mut client = stage.submissions().await;
    let login = format!("AUTH PLAIN {}", STANDARD.encode("\0alice\0wonder land"));
    client
        .expect(&[("EHLO client.example", 250), (&login, 235)])
        .await;
    client
}

fn figure(stage: &Stage, name: &str) -> u64 {
    let text = stage.daemon.handles().metrics.text().unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |figure| figure.trim().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_submits_is_signed_with_each_key_and_as_it_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyRing::new(
        folder.path(),
        &[("r1", Algorithm::RsaSha256), ("e1", Algorithm::Ed25519Sha256)],
    );
    let domains = format!("{DOMAINS}{}", keys.section(folder.path()));
    let stage = play(
        "headers: {submission: {remove: [X-Secret], add: {X-Via: us}}}\n",
        domains,
    )
    .start()
    .await;
    let mut client = logged_in(&stage).await;
    // Small ones stay in memory, large ones go to a file.
    for lines in [1, 60_000] {
        client
            .expect(&[
                ("MAIL FROM:<alice@example.com>", 250),
                ("RCPT TO:<dave@else.example>", 250),
            ])
            .await;
        let body = "Hello,  world \r\n\r\n".repeat(lines);
        let mail = format!("X-Secret: s\r\nFrom: alice@example.com\r\nSubject: x\r\n\r\n{body}\r\n\r\n");
        assert_eq!(client.data(&mail).await.code, 250);
        let message = newest(&stage).await;
        let want = ["r1", "e1"].map(|selector| ("example.com".to_owned(), selector.to_owned()));
        assert_eq!(keys.passed(&message), want);
        assert!(message.starts_with("DKIM-Signature:") && message.contains("X-Via: us\r\n"));
        // What was added on the way in is signed; nothing that a reader sees can be changed or added.
        for (from, to) in [
            ("\r\nDate: ", "\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000, "),
            ("\r\nMessage-ID: <", "\r\nMessage-ID: <x"),
            ("\r\nSubject: x", "\r\nSubject: x\r\nSubject: y"),
            ("Hello,", "Bye,"),
        ] {
            let forged = message.replacen(from, to, 1);
            assert_ne!(forged, message, "{from:?} is there");
            let verdicts = keys.outcomes(&forged);
            assert!(
                verdicts.iter().all(|outcome| outcome.verdict == Verdict::Fail),
                "{to:?}: {verdicts:?}"
            );
        }
    }
    let figure = |algorithm| {
        figure(
            &stage,
            &format!("postroad_mta_dkim_signatures_total{{algorithm=\"{algorithm}\"}}"),
        )
    };
    assert_eq!((figure("Rsa"), figure("Ed25519")), (2, 2));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_of_trusted_networks_is_signed_and_that_of_strangers_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyRing::new(folder.path(), &[("e1", Algorithm::Ed25519Sha256)]);
    let domains = format!("{DOMAINS}{}", keys.section(folder.path()));
    for (more, from, want) in [
        ("relayFrom: [127.0.0.0/8]\n", "alice@example.com", 1),
        ("relayFrom: [127.0.0.0/8]\n", "carol@else.example", 0),
        ("", "alice@example.com", 0),
    ] {
        let stage = play(more, domains.clone()).start().await;
        let mut client = stage.smtp().await;
        client
            .expect(&[
                ("EHLO client.example", 250),
                ("MAIL FROM:<carol@else.example>", 250),
                ("RCPT TO:<alice@example.com>", 250),
            ])
            .await;
        let mail = MAIL.replace("carol@else.example", from);
        assert_eq!(client.data(&mail).await.code, 250);
        let message = newest(&stage).await;
        assert_eq!(keys.passed(&message).len(), want, "{more:?} {from}");
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_changes_is_followed_and_a_bad_one_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let algorithm = Algorithm::Ed25519Sha256;
    let old = KeyRing::new(folder.path(), &[("e1", algorithm)]);
    let domains = format!("{DOMAINS}{}", old.section(folder.path()));
    let stage = play("relayFrom: [127.0.0.0/8]\n", domains).start().await;
    let mut client = stage.smtp().await;
    client.expect(&[("EHLO client.example", 250)]).await;
    let mail = MAIL.replace("carol@else.example", "alice@example.com");

    std::fs::write(folder.path().join("e1.pem"), "no key").unwrap();
    stage
        .until("the bad key is told", |stage| {
            let running = stage.daemon.handles().live.state();
            running
                .error
                .is_some_and(|error| error.contains("dkim.keys[0].keyFile"))
        })
        .await;
    let envelope = [
        ("MAIL FROM:<alice@example.com>", 250),
        ("RCPT TO:<dave@else.example>", 250),
    ];
    client.expect(&envelope).await;
    assert_eq!(client.data(&mail).await.code, 250);
    assert_eq!(
        old.passed(&newest(&stage).await).len(),
        1,
        "the old key stays in use"
    );

    let new = KeyRing::new(folder.path(), &[("e1", algorithm)]);
    stage
        .until("the new key is in use", |stage| {
            stage.daemon.handles().live.state().error.is_none()
        })
        .await;
    client.expect(&envelope).await;
    assert_eq!(client.data(&mail).await.code, 250);
    assert_eq!(new.passed(&newest(&stage).await).len(), 1);
    stage.stop().await;
}
